/* What follows a product, on sums that are still in the first-level cache: bias, activation, residual or accumulation,
 * and the softmax of the vocabulary loss. Included by the f32 and the bf16 kernel, which differ in how bf16 is rounded.
 *
 * exp has a relative error below 2e-7; tanh comes from exp, erf from Abramowitz and Stegun 7.1.26 (absolute error 2e-7). */
#ifndef OC_COMPUTE_CPU_AVX512_GEMM_FINISH_H
#define OC_COMPUTE_CPU_AVX512_GEMM_FINISH_H

#include <math.h>

#include "compute/cpu/avx512/gemm_pack.h"
#include "compute/cpu/gemm/gemm.h"

/* exp(x) = 2^n exp(r) with |r| <= ln(2)/2; underflows to 0, overflows to infinity, NaN stays NaN. */
static inline __m512 vexp(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-110.0f), _mm512_min_ps(_mm512_set1_ps(100.0f), x)); /* of two, NaN is the second's */
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.38888889e-3f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.33333333e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.16666667e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.66666667e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static inline __m512 vgelu_tanh(__m512 x) { /* x sigmoid(2u), since 1 + tanh(u) = 2 sigmoid(2u) */
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(0.044715f), one);
    __m512 u2 = _mm512_mul_ps(_mm512_mul_ps(x, cubic), _mm512_set1_ps(-2.0f * 0.79788456f));
    return _mm512_div_ps(x, _mm512_add_ps(one, vexp(u2)));
}

static inline __m512 vgelu_erf(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), one));
    __m512 p = _mm512_set1_ps(1.061405429f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-1.453152027f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(1.421413741f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-0.284496736f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.254829592f));
    p = _mm512_mul_ps(_mm512_mul_ps(p, t), _mm512_set1_ps(0.5f));
    __m512 tail = _mm512_mul_ps(p, vexp(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(z, z)))); /* (1 - erf z) / 2 */
    __m512 phi = _mm512_mask_sub_ps(tail, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ), one, tail);
    return _mm512_mul_ps(x, phi);
}

/* Rows row.., columns col.. of C from their sums (stride ld). */
static void finish(const oc_gemm *g, int row, int col, int rows, int cols, const float *sums, size_t ld) {
    static const oc_epilogue none;
    const oc_epilogue *e = g->e ? g->e : &none;
    const void *add = g->accumulate ? g->c : e->residual;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j += 16) {
            __mmask16 m = lanes(cols - j);
            size_t at = (size_t)(row + i) * g->ldc + (size_t)(col + j);
            __m512 v = _mm512_loadu_ps(sums + (size_t)i * ld + (size_t)j);
            if (e->bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, e->bias + col + j));
            if (e->pre_act) store16(e->pre_act, at, g->c_type, v, m);
            if (e->act == OC_ACT_GELU_TANH) v = vgelu_tanh(v);
            else if (e->act == OC_ACT_GELU_ERF) v = vgelu_erf(v);
            if (add) v = _mm512_add_ps(v, load16(add, at, g->c_type, m));
            store16(g->c, at, g->c_type, v, m);
        }
}

static void softmax_piece(void *p, oc_dtype t, const float *z, int n, float *max, int *first, float *sum) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 largest = lowest, total = _mm512_setzero_ps();
    for (int j = 0; j < n; j += 16) largest = _mm512_max_ps(largest, _mm512_mask_loadu_ps(lowest, lanes(n - j), z + j));
    *max = _mm512_reduce_max_ps(largest);
    const __m512 top = _mm512_set1_ps(*max);
    *first = 0;
    for (int j = 0; j < n; j += 16) {
        __mmask16 equal = _mm512_mask_cmp_ps_mask(lanes(n - j), _mm512_maskz_loadu_ps(lanes(n - j), z + j), top, _CMP_EQ_OQ);
        if (!equal) continue;
        *first = j + __builtin_ctz(equal);
        break;
    }
    for (int j = 0; j < n; j += 16) {
        __mmask16 m = lanes(n - j);
        __m512 e = vexp(_mm512_sub_ps(_mm512_mask_loadu_ps(lowest, m, z + j), top));
        total = _mm512_mask_add_ps(total, m, total, e);
        if (p) store16(p, (size_t)j, t, e, m);
    }
    *sum = _mm512_reduce_add_ps(total);
}

static void softmax_scale(void *p, oc_dtype t, int n, float factor) {
    const __m512 f = _mm512_set1_ps(factor);
    for (int j = 0; j < n; j += 16) {
        __mmask16 m = lanes(n - j);
        store16(p, (size_t)j, t, _mm512_mul_ps(f, load16(p, (size_t)j, t, m)), m);
    }
}

#endif
