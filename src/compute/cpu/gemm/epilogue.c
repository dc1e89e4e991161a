/* What follows a product, for kernels that have no epilogue of their own: plain loops that a compiler
 * vectorises.
 *
 * exp, and from it tanh and erf, are polynomials without branches. Relative error of exp below 2e-7 on [-87,
 * 88], where it is clamped; absolute error of erf below 2e-7 (Abramowitz and Stegun 7.1.26). */
#include "compute/cpu/gemm/gemm.h"

/* exp(x) = 2^k exp(r), |r| <= ln(2)/2, exp(r) by its Taylor polynomial of degree 7 in Horner form. Adding
 * 1.5 * 2^23 rounds to an integer and leaves it in the low bits; of a NaN these bits mean nothing, but r stays
 * NaN. */
static inline float fast_exp(float x) {
    const float round = 12582912.0f;
    union {
        float f;
        uint32_t u;
    } bits = {.f = round}, scale;
    uint32_t zero = bits.u;
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    bits.f = x * 1.44269504f + round;
    float k = bits.f - round;
    float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.38888889e-3f + r * 1.98412698e-4f;
    p = 8.33333333e-3f + r * p;
    p = 4.16666667e-2f + r * p;
    p = 1.66666667e-1f + r * p;
    p = 1.0f + r * (1.0f + r * (0.5f + r * p));
    scale.u = (bits.u - zero + 127u) << 23;
    return p * scale.f;
}

static inline float gelu_tanh(float x) { /* x sigmoid(2u), since 1 + tanh(u) = 2 sigmoid(2u) */
    float u = 0.79788456f * (x + 0.044715f * x * x * x);
    return x / (1.0f + fast_exp(-2.0f * u));
}

static inline float gelu_erf(float x) {
    float z = (x < 0 ? -x : x) * 0.70710678f;
    float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = t * (0.254829592f +
                   t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    float tail = 0.5f * p * fast_exp(-z * z); /* (1 - erf(z)) / 2 */
    return x * (x < 0 ? tail : 1.0f - tail);
}

static void activate(float *v, int n, oc_act act) {
    if (act == OC_ACT_GELU_TANH)
        for (int j = 0; j < n; j++) v[j] = gelu_tanh(v[j]);
    if (act == OC_ACT_GELU_ERF)
        for (int j = 0; j < n; j++) v[j] = gelu_erf(v[j]);
}

static void store(void *y, size_t at, const float *v, int n, oc_dtype t) {
    if (t == OC_F32)
        for (int j = 0; j < n; j++) ((float *)y)[at + (size_t)j] = v[j];
    else
        for (int j = 0; j < n; j++) ((uint16_t *)y)[at + (size_t)j] = oc_f32_to_bf16(v[j]);
}

static void add(float *v, const void *x, size_t at, int n, oc_dtype t) {
    if (t == OC_F32)
        for (int j = 0; j < n; j++) v[j] += ((const float *)x)[at + (size_t)j];
    else
        for (int j = 0; j < n; j++) v[j] += oc_bf16_to_f32(((const uint16_t *)x)[at + (size_t)j]);
}

/* n sums of one row, in place; `at` is the place of the first in the tensors of type g->c_type. */
static void finish_piece(const oc_gemm *g, size_t at, int col, int n, float *v) {
    const oc_epilogue *e = g->e;
    if (e && e->bias) add(v, e->bias, (size_t)col, n, OC_F32);
    if (e && e->pre_act) store(e->pre_act, at, v, n, g->c_type);
    if (e) activate(v, n, e->act);
    if (e && e->residual) add(v, e->residual, at, n, g->c_type);
    if (g->accumulate) add(v, g->c, at, n, g->c_type);
    store(g->c, at, v, n, g->c_type);
}

void oc_gemm_finish(const oc_gemm *g, int row, int col, int rows, int cols, const float *sums, size_t ld) {
    enum { PIECE = 512 };
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j += PIECE) {
            float v[PIECE];
            int n = OC_MIN(PIECE, cols - j);
            const float *from = sums + (size_t)i * ld + (size_t)j;
            for (int q = 0; q < n; q++) v[q] = from[q];
            finish_piece(g, (size_t)(row + i) * g->ldc + (size_t)(col + j), col + j, n, v);
        }
}

static void softmax_piece(void *p, oc_dtype t, const float *z, int n, float *max, float *sum) {
    enum { PIECE = 64 };
    *max = z[0];
    for (int j = 1; j < n; j++) *max = z[j] > *max ? z[j] : *max;
    *sum = 0;
    for (int j0 = 0; j0 < n; j0 += PIECE) {
        float v[PIECE];
        int m = OC_MIN(PIECE, n - j0);
        for (int j = 0; j < m; j++) v[j] = fast_exp(z[j0 + j] - *max);
        for (int j = 0; j < m; j++) *sum += v[j];
        if (p) store(p, (size_t)j0, v, m, t);
    }
}

static void softmax_scale(void *p, oc_dtype t, int n, float factor) {
    if (t == OC_F32)
        for (int j = 0; j < n; j++) ((float *)p)[j] *= factor;
    else
        for (int j = 0; j < n; j++)
            ((uint16_t *)p)[j] = oc_f32_to_bf16(factor * oc_bf16_to_f32(((uint16_t *)p)[j]));
}

const oc_gemm_softmax oc_gemm_softmax_portable = {softmax_piece, softmax_scale};

void oc_gemm_widen(oc_compute *c, float *y, const uint16_t *x, size_t ld, int rows, int cols) {
#pragma omp parallel for num_threads(c->threads)
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            y[(size_t)i * (size_t)cols + (size_t)j] = oc_bf16_to_f32(x[(size_t)i * ld + (size_t)j]);
}
