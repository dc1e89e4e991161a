/* What follows a product, on sums that are still in the first-level cache. Text for one instruction set at a
 * time, like the headers of cpu/simd: <isa>/gemm.c includes simd/vec_<isa>.h and then this. */
#ifndef OC_COMPUTE_CPU_GEMM_FINISH_H
#define OC_COMPUTE_CPU_GEMM_FINISH_H

#include "compute/cpu/gemm/gemm.h"
#include "compute/cpu/simd/gelu.h"
#include "compute/cpu/simd/vec.h"

/* Where one row's sums go. Copies, so that no store can be taken for a change of them. */
typedef struct finish_to {
    const float *bias; /* from the first column on, or NULL */
    const void *add;   /* residual, or C itself; or NULL */
    void *pre_act, *c; /* the former or NULL */
    size_t at, n;      /* of the first element in the tensors; of sums */
} finish_to;

OC_INLINE void finish_span(const finish_to f, const float *sums, oc_act act, bool bias, bool add, oc_dtype t) {
    V_EACH(j, k, 0, f.n, {
        vf v = v_load(sums + j); /* rows of sums are whole vectors */
        if (bias) v = v + v_get(f.bias, j, k, OC_F32);
        if (f.pre_act) v_put(f.pre_act, f.at + j, k, v, t);
        v = act_value(v, act, t);
        if (add) v = v + v_get(f.add, f.at + j, k, t);
        v_put(f.c, f.at + j, k, v, t);
    });
}

OC_INLINE void finish_row(const finish_to f, const float *sums, oc_act act, oc_dtype t) {
    if (f.bias && f.add)
        finish_span(f, sums, act, true, true, t);
    else if (f.bias)
        finish_span(f, sums, act, true, false, t);
    else if (f.add)
        finish_span(f, sums, act, false, true, t);
    else
        finish_span(f, sums, act, false, false, t);
}

OC_INLINE void finish_rows(finish_to f, int rows, size_t ldc, const float *sums, size_t ld, oc_act act, oc_dtype t) {
    for (int i = 0; i < rows; i++, f.at += ldc, sums += ld) finish_row(f, sums, act, t);
}

/* Rows row.., columns col.. of C from their sums (stride ld). */
static void finish(const oc_gemm *g, int row, int col, int rows, int cols, const float *sums, size_t ld) {
    static const oc_epilogue none;
    const oc_epilogue *e = g->e ? g->e : &none;
    const finish_to f = {.bias = e->bias ? e->bias + col : NULL,
                         .add = g->accumulate ? g->c : e->residual,
                         .pre_act = e->pre_act,
                         .c = g->c,
                         .at = (size_t)row * g->ldc + (size_t)col,
                         .n = (size_t)cols};
    if (e->act == OC_ACT_GELU_TANH)
        OC_BY_TYPE(g->c_type, finish_rows, f, rows, g->ldc, sums, ld, OC_ACT_GELU_TANH);
    else if (e->act == OC_ACT_GELU_ERF)
        OC_BY_TYPE(g->c_type, finish_rows, f, rows, g->ldc, sums, ld, OC_ACT_GELU_ERF);
    else
        OC_BY_TYPE(g->c_type, finish_rows, f, rows, g->ldc, sums, ld, OC_ACT_NONE);
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
        if (k < VL) v = v + (first - v_first(first, k)); /* what lies behind the last one counts as the first */
        highest = v_max(highest, v);
    });
    *max = v_highest(highest);
    *sum = t == OC_BF16 ? exponentials(p, z, (size_t)n, *max, OC_BF16) : exponentials(p, z, (size_t)n, *max, OC_F32);
}

static void softmax_scale(void *p, oc_dtype t, int n, float factor) {
    const vf f = v_set1(factor);
    if (t == OC_BF16)
        V_EACH(j, k, 0, (size_t)n, { v_put(p, j, k, f * v_get(p, j, k, OC_BF16), OC_BF16); });
    else
        V_EACH(j, k, 0, (size_t)n, { v_put(p, j, k, f * v_get(p, j, k, OC_F32), OC_F32); });
}

#endif
