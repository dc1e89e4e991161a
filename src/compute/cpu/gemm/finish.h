/* What follows a product, on sums that are still in the first-level cache. Text for one instruction set at a
 * time, like the headers of cpu/simd: <isa>/gemm.c includes simd/vec_<isa>.h and then this. */
#ifndef OC_COMPUTE_CPU_GEMM_FINISH_H
#define OC_COMPUTE_CPU_GEMM_FINISH_H

#include "compute/cpu/gemm/gemm.h"
#include "compute/cpu/simd/gelu.h"
#include "compute/cpu/simd/vec.h"

/* One row: n sums of columns col.., whose tensors of type t begin at element `at`. */
OC_INLINE void finish_row(const oc_gemm *g, size_t at, int col, size_t n, const float *sums, oc_dtype t) {
    static const oc_epilogue none;
    const oc_epilogue *e = g->e ? g->e : &none;
    const void *add = g->accumulate ? g->c : e->residual;
    V_EACH(j, k, 0, n, {
        vf v = v_load(sums + j); /* rows of sums are whole vectors */
        if (e->bias) v = v + v_get(e->bias + col, j, k, OC_F32);
        if (e->pre_act) v_put(e->pre_act, at + j, k, v, t);
        v = act_value(v, e->act, t);
        if (add) v = v + v_get(add, at + j, k, t);
        v_put(g->c, at + j, k, v, t);
    });
}

/* Rows row.., columns col.. of C from their sums (stride ld). */
static void finish(const oc_gemm *g, int row, int col, int rows, int cols, const float *sums, size_t ld) {
    for (size_t i = 0; i < (size_t)rows; i++) {
        size_t at = ((size_t)row + i) * g->ldc + (size_t)col;
        if (g->c_type == OC_BF16)
            finish_row(g, at, col, (size_t)cols, sums + i * ld, OC_BF16);
        else
            finish_row(g, at, col, (size_t)cols, sums + i * ld, OC_F32);
    }
}

/* See oc_gemm_softmax. */
OC_INLINE float exponentials(void *p, const float *z, size_t n, float max, oc_dtype t) {
    vf sum = v_zero();
    V_EACH(j, k, 0, n, {
        vf e = v_first(v_exp(v_get(z, j, k, OC_F32) - v_set1(max)), k);
        sum = sum + e;
        if (p) v_put(p, j, k, e, t);
    });
    return v_sum(sum);
}

static void softmax_piece(void *p, oc_dtype t, const float *z, int n, float *max, float *sum) {
    const vf first = v_set1(z[0]);
    vf highest = first;
    V_EACH(j, k, 0, (size_t)n, {
        vf v = v_get(z, j, k, OC_F32);
        if (k < VL)
            v = v + (first - v_first(first, k)); /* what lies behind the last one counts as the first */
        highest = v_max(highest, v);
    });
    *max = v_highest(highest);
    *sum = t == OC_BF16 ? exponentials(p, z, (size_t)n, *max, OC_BF16)
                        : exponentials(p, z, (size_t)n, *max, OC_F32);
}

static void softmax_scale(void *p, oc_dtype t, int n, float factor) {
    const vf f = v_set1(factor);
    if (t == OC_BF16)
        V_EACH(j, k, 0, (size_t)n, { v_put(p, j, k, f * v_get(p, j, k, OC_BF16), OC_BF16); });
    else
        V_EACH(j, k, 0, (size_t)n, { v_put(p, j, k, f * v_get(p, j, k, OC_F32), OC_F32); });
}

#endif
