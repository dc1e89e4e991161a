/* simd/norm: LayerNorm and RMSNorm, forward (with the residual addition in front) and backward.
 *
 * A row of C channels stays in the first-level cache, so each row is passed over two or three times and
 * memory once. Weight gradients are sums over rows: the rows are cut into blocks, as many as N says (never
 * the number of threads), each block is summed by one thread in row order into its own [2, C] of scratch,
 * then the blocks are added in order. */
#ifndef OC_SIMD_NORM_H
#define OC_SIMD_NORM_H

#include <math.h>

#include "compute/cpu/simd/vec.h"

/* x += add, rounded to t; returns the sum of the new x and, in *squares, of its squares. */
OC_INLINE float take_row(void *x, const void *plus, size_t C, float *squares, oc_dtype t) {
    vf sum = v_zero(), sum2 = v_zero();
    if (plus) V_EACH(i, k, 0, C, { v_put(x, i, k, v_get(x, i, k, t) + v_get(plus, i, k, t), t); });
    V_EACH(i, k, 0, C, {
        vf a = v_get(x, i, k, t);
        sum += a;
        sum2 = v_fma(a, a, sum2);
    });
    *squares = v_sum(sum2);
    return v_sum(sum);
}

/* ---- LayerNorm -------------------------------------------------------------------------------- */

typedef struct layernorm_args {
    void *y;
    float *mean, *rstd;
    void *x;
    const void *add;
    const float *w, *b;
    size_t C;
    float eps;
} layernorm_args;

/* The variance is taken about the mean in a pass of its own: x may sit far from zero. */
OC_INLINE void layernorm_fwd_rows(const layernorm_args *a, oc_range r, oc_dtype t) {
    size_t C = a->C;
    for (size_t n = r.begin; n < r.end; n++) {
        void *x = oc_at_mut(a->x, n * C, t), *y = oc_at_mut(a->y, n * C, t);
        float squares, mean = take_row(x, a->add ? oc_at(a->add, n * C, t) : NULL, C, &squares, t) / (float)C;
        vf m = v_set1(mean), var = v_zero();
        V_EACH(i, k, 0, C, {
            vf d = v_first(v_get(x, i, k, t) - m, k);
            var = v_fma(d, d, var);
        });
        float rstd = 1.0f / sqrtf(v_sum(var) / (float)C + a->eps);
        vf s = v_set1(rstd);
        V_EACH(i, k, 0, C, {
            vf xhat = (v_get(x, i, k, t) - m) * s;
            v_put(y, i, k, v_fma(xhat, v_get(a->w, i, k, OC_F32), v_get(a->b, i, k, OC_F32)), t);
        });
        if (a->mean) a->mean[n] = mean;
        if (a->rstd) a->rstd[n] = rstd;
    }
}

static void layernorm_fwd(oc_compute *c, void *y, float *mean, float *rstd, void *x, const void *plus,
                          const float *w, const float *b, int N, int C, float eps, oc_dtype t) {
    layernorm_args a = {y, mean, rstd, x, plus, w, b, (size_t)C, eps};
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * (size_t)C, { OC_BY_TYPE(t, layernorm_fwd_rows, &a, r); });
}

typedef struct norm_bwd_args {
    void *dx;
    float *dw, *db; /* sums of this block of rows [C], or NULL */
    const void *dy, *x;
    const float *mean, *rstd, *w; /* mean NULL: RMSNorm */
    size_t C;
} norm_bwd_args;

/* With xhat = (x - mean) rstd and g = w dy:
 *   LayerNorm dx += rstd (g - average(g) - xhat average(g xhat));  RMSNorm the same without average(g) and
 * mean. dw += dy xhat, db += dy. */
OC_INLINE void norm_bwd_rows(const norm_bwd_args *a, oc_range r, bool centred, oc_dtype t) {
    size_t C = a->C;
    for (size_t n = r.begin; n < r.end; n++) {
        const void *x = oc_at(a->x, n * C, t), *dy = oc_at(a->dy, n * C, t);
        void *dx = oc_at_mut(a->dx, n * C, t);
        vf s = v_set1(a->rstd[n]), m = centred ? v_set1(a->mean[n]) : v_zero();
        vf sum_g = v_zero(), sum_gx = v_zero();
        V_EACH(i, k, 0, C, {
            vf xhat = (v_get(x, i, k, t) - m) * s;
            vf g = v_get(dy, i, k, t) * v_get(a->w, i, k, OC_F32);
            sum_g += g;
            sum_gx = v_fma(g, xhat, sum_gx);
        });
        vf mean_g = centred ? v_set1(v_sum(sum_g) / (float)C) : v_zero(),
           mean_gx = v_set1(v_sum(sum_gx) / (float)C);
        V_EACH(i, k, 0, C, {
            vf xhat = (v_get(x, i, k, t) - m) * s;
            vf d = v_get(dy, i, k, t);
            vf g = d * v_get(a->w, i, k, OC_F32);
            v_put(dx, i, k, v_fma(s, g - mean_g - xhat * mean_gx, v_get(dx, i, k, t)), t);
            if (a->dw) v_put(a->dw, i, k, v_fma(d, xhat, v_get(a->dw, i, k, OC_F32)), OC_F32);
            if (a->db) v_put(a->db, i, k, v_get(a->db, i, k, OC_F32) + d, OC_F32);
        });
    }
}

OC_INLINE void norm_bwd_block(const norm_bwd_args *a, oc_range r, oc_dtype t) {
    if (a->mean)
        norm_bwd_rows(a, r, true, t);
    else
        norm_bwd_rows(a, r, false, t);
}

static void norm_bwd(oc_compute *c, void *dx, float *dw, float *db, const void *dy, const void *x,
                     const float *mean, const float *rstd, const float *w, int N, int C, oc_dtype t) {
    enum { ROWS = 32, MOST = 32 };
    int blocks = OC_MIN((N + ROWS - 1) / ROWS, MOST);
    size_t stride = ((size_t)C + 15) / 16 * 16;
    float *part = dw || db ? oc_compute_scratch(c, -1, (size_t)blocks * 2 * stride * sizeof *part) : NULL;
    int team = oc_cpu_team(c, (size_t)N * (size_t)C);
#pragma omp parallel for schedule(static) num_threads(team)
    for (int b = 0; b < blocks; b++) {
        oc_range r = {(size_t)N * (size_t)b / (size_t)blocks, (size_t)N * (size_t)(b + 1) / (size_t)blocks};
        float *sum = part ? part + (size_t)b * 2 * stride : NULL;
        if (sum) memset(sum, 0, 2 * stride * sizeof *sum);
        norm_bwd_args a = {dx, dw ? sum : NULL, db ? sum + stride : NULL, dy, x, mean, rstd, w, (size_t)C};
        OC_BY_TYPE(t, norm_bwd_block, &a, r);
    }
    for (int b = 0; b < blocks; b++) {
        const float *sum = part ? part + (size_t)b * 2 * stride : NULL;
        if (dw)
            V_EACH(i, k, 0, (size_t)C,
                   { v_put(dw, i, k, v_get(dw, i, k, OC_F32) + v_get(sum, i, k, OC_F32), OC_F32); });
        if (db)
            V_EACH(i, k, 0, (size_t)C,
                   { v_put(db, i, k, v_get(db, i, k, OC_F32) + v_get(sum + stride, i, k, OC_F32), OC_F32); });
    }
}

static void layernorm_bwd(oc_compute *c, void *dx, float *dw, float *db, const void *dy, const void *x,
                          const float *mean, const float *rstd, const float *w, int N, int C, oc_dtype t) {
    norm_bwd(c, dx, dw, db, dy, x, mean, rstd, w, N, C, t);
}

/* ---- RMSNorm ---------------------------------------------------------------------------------- */

typedef struct rmsnorm_args {
    void *y;
    float *rstd;
    void *x;
    const void *add;
    const float *w;
    size_t C;
    float eps;
} rmsnorm_args;

OC_INLINE void rmsnorm_fwd_rows(const rmsnorm_args *a, oc_range r, oc_dtype t) {
    size_t C = a->C;
    for (size_t n = r.begin; n < r.end; n++) {
        void *x = oc_at_mut(a->x, n * C, t), *y = oc_at_mut(a->y, n * C, t);
        float squares;
        take_row(x, a->add ? oc_at(a->add, n * C, t) : NULL, C, &squares, t);
        float rstd = 1.0f / sqrtf(squares / (float)C + a->eps);
        vf s = v_set1(rstd);
        V_EACH(i, k, 0, C, { v_put(y, i, k, v_get(x, i, k, t) * s * v_get(a->w, i, k, OC_F32), t); });
        if (a->rstd) a->rstd[n] = rstd;
    }
}

static void rmsnorm_fwd(oc_compute *c, void *y, float *rstd, void *x, const void *plus, const float *w, int N,
                        int C, float eps, oc_dtype t) {
    rmsnorm_args a = {y, rstd, x, plus, w, (size_t)C, eps};
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * (size_t)C, { OC_BY_TYPE(t, rmsnorm_fwd_rows, &a, r); });
}

static void rmsnorm_bwd(oc_compute *c, void *dx, float *dw, const void *dy, const void *x, const float *rstd,
                        const float *w, int N, int C, oc_dtype t) {
    norm_bwd(c, dx, dw, NULL, dy, x, NULL, rstd, w, N, C, t);
}

static void fill_norm(oc_ops *o) {
    o->layernorm_fwd = layernorm_fwd;
    o->layernorm_bwd = layernorm_bwd;
    o->rmsnorm_fwd = rmsnorm_fwd;
    o->rmsnorm_bwd = rmsnorm_bwd;
}

#endif
