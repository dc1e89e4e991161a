/* AdamW (Loshchilov and Hutter, arXiv 1711.05101), the sum of squares for the global norm, averaged weights, and what is kept
 * in bf16. */
#include <math.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

/* The two bias corrections are formed in double once; the rest is f32, as the moments are stored. */
static void adamw(oc_compute *c, float *w, float *m, float *v, const float *g, size_t n, const oc_adamw *o) {
    float m_unbias = (float)(1.0 / (1.0 - pow((double)o->beta1, o->step)));
    float v_unbias = (float)(1.0 / (1.0 - pow((double)o->beta2, o->step)));
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * o->grad_scale;
        m[i] = o->beta1 * m[i] + (1.0f - o->beta1) * grad;
        v[i] = o->beta2 * v[i] + (1.0f - o->beta2) * grad * grad;
        float step = m[i] * m_unbias / (sqrtf(v[i] * v_unbias) + o->eps);
        w[i] -= o->lr * (step + o->decay * w[i]);
    }
}

/* Always in PARTS pieces whose sums are added in order, however many threads there are. */
static double sum_squares(oc_compute *c, const float *x, size_t n) {
    enum { PARTS = 256 };
    double part[PARTS];
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t p = 0; p < PARTS; p++) {
        size_t begin = n / PARTS * p + OC_MIN(p, n % PARTS), end = begin + n / PARTS + (p < n % PARTS);
        double sum = 0;
        for (size_t i = begin; i < end; i++) sum += (double)x[i] * (double)x[i];
        part[p] = sum;
    }
    double total = 0;
    for (size_t p = 0; p < PARTS; p++) total += part[p];
    return total;
}

static void average(oc_compute *c, float *restrict avg, const float *restrict w, size_t n, float keep, float add) {
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++) avg[i] = keep * avg[i] + add * w[i];
}

static void add_narrow(oc_compute *c, uint16_t *y, const float *x, size_t n) {
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++) y[i] = oc_f32_to_bf16(oc_bf16_to_f32(y[i]) + x[i]);
}

static void swap(oc_compute *c, float *restrict x, float *restrict y, size_t n) {
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++) {
        float t = x[i];
        x[i] = y[i];
        y[i] = t;
    }
}

/* A number for each element of each key (the finalizer of MurmurHash3, Appleby 2011). */
static uint32_t random_at(uint64_t key, size_t i) {
    uint64_t z = key ^ (uint64_t)i * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 33) * 0xff51afd7ed558ccdu;
    z = (z ^ z >> 33) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(z >> 32);
}

static void round_random(oc_compute *c, uint16_t *y, const float *x, size_t n, uint64_t key, size_t first) {
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++) y[i] = oc_round_stochastic(x[i], random_at(key, first + i));
}

void oc_ref_fill_optimizer(oc_ops *ops) {
    ops->adamw = adamw;
    ops->sum_squares = sum_squares;
    ops->average = average;
    ops->swap = swap;
    ops->add_narrow = add_narrow;
    ops->round_random = round_random;
}
