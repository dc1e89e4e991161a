/* simd/optimizer: AdamW in one pass over the parameters, and the sum of squares for the gradient's norm. Both
 * are bound by memory. */
#ifndef OC_SIMD_OPTIMIZER_H
#define OC_SIMD_OPTIMIZER_H

#include <math.h>

#include "compute/cpu/simd/vec.h"

/* w, m, v are read and written, g read: 28 bytes of traffic for each parameter. */
static void adamw(oc_compute *c, float *w, float *m, float *v, const float *g, size_t n, const oc_adamw *o) {
    float correct1 = (float)(1.0 / (1.0 - pow((double)o->beta1, o->step)));
    float correct2 = (float)(1.0 / (1.0 - pow((double)o->beta2, o->step)));
    OC_SPLIT(c, r, n, 64, n, {
        vf b1 = v_set1(o->beta1);
        vf a1 = v_set1(1.0f - o->beta1);
        vf b2 = v_set1(o->beta2);
        vf a2 = v_set1(1.0f - o->beta2);
        vf c1 = v_set1(correct1);
        vf c2 = v_set1(correct2);
        vf eps = v_set1(o->eps);
        vf decay = v_set1(o->decay);
        vf lr = v_set1(o->lr);
        vf scale = v_set1(o->grad_scale);
        V_EACH(i, k, r.begin, r.end, {
            vf gi = v_get(g, i, k, OC_F32) * scale;
            vf mi = v_fma(b1, v_get(m, i, k, OC_F32), a1 * gi);
            vf vi2 = v_fma(b2, v_get(v, i, k, OC_F32), a2 * gi * gi);
            vf wi = v_get(w, i, k, OC_F32);
            vf step = mi * c1 / (v_sqrt(vi2 * c2) + eps);
            v_put(m, i, k, mi, OC_F32);
            v_put(v, i, k, vi2, OC_F32);
            v_put(w, i, k, wi - lr * v_fma(decay, wi, step), OC_F32);
        });
    });
}

static double sum_squares_span(const float *x, size_t n) {
    vd s0 = vd_zero(), s1 = vd_zero();
    V_EACH(i, k, 0, n, {
        vf a = v_get(x, i, k, OC_F32);
        s0 = vd_fma(vd_low(a), vd_low(a), s0);
        s1 = vd_fma(vd_high(a), vd_high(a), s1);
    });
    return vd_sum(s0) + vd_sum(s1);
}

/* 128 blocks whose borders depend on n alone, added in order. */
static double sum_squares(oc_compute *c, const float *x, size_t n) {
    enum { BLOCKS = 128 };
    double part[BLOCKS], sum = 0;
    size_t block = (n / BLOCKS + 64) / 64 * 64;
#pragma omp parallel for schedule(static) num_threads(oc_cpu_team(c, n))
    for (size_t b = 0; b < BLOCKS; b++) {
        size_t begin = OC_MIN(b * block, n), end = OC_MIN(begin + block, n);
        part[b] = sum_squares_span(x + begin, end - begin);
    }
    for (int b = 0; b < BLOCKS; b++) sum += part[b];
    return sum;
}

static void fill_optimizer(oc_ops *o) {
    o->adamw = adamw;
    o->sum_squares = sum_squares;
}

#endif
