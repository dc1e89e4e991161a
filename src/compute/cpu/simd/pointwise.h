/* simd/pointwise: activations, SwiGLU, addition, conversion. Bound by memory, or by exp where the data is in
 * cache. */
#ifndef OC_SIMD_POINTWISE_H
#define OC_SIMD_POINTWISE_H

#include "compute/cpu/simd/gelu.h"
#include "compute/cpu/simd/vec.h"

/* ---- Activations ------------------------------------------------------------------------------ */

OC_INLINE void act_fwd_range(void *y, const void *x, oc_range r, oc_act act, oc_dtype t) {
    V_EACH(i, k, r.begin, r.end, { v_put(y, i, k, act_value(v_get(x, i, k, t), act, t), t); });
}
OC_INLINE void act_bwd_range(void *dx, const void *dy, const void *x, oc_range r, oc_act act, oc_dtype t) {
    V_EACH(i, k, r.begin, r.end,
           { v_put(dx, i, k, v_get(dy, i, k, t) * act_slope(v_get(x, i, k, t), act, t), t); });
}

static void act_fwd(oc_compute *c, void *y, const void *x, size_t n, oc_act act, oc_dtype t) {
    OC_SPLIT(c, r, n, 64, n, {
        if (act == OC_ACT_GELU_TANH)
            OC_BY_TYPE(t, act_fwd_range, y, x, r, OC_ACT_GELU_TANH);
        else if (act == OC_ACT_GELU_ERF)
            OC_BY_TYPE(t, act_fwd_range, y, x, r, OC_ACT_GELU_ERF);
        else
            OC_BY_TYPE(t, act_fwd_range, y, x, r, OC_ACT_NONE);
    });
}

static void act_bwd(oc_compute *c, void *dx, const void *dy, const void *x, size_t n, oc_act act,
                    oc_dtype t) {
    OC_SPLIT(c, r, n, 64, n, {
        if (act == OC_ACT_GELU_TANH)
            OC_BY_TYPE(t, act_bwd_range, dx, dy, x, r, OC_ACT_GELU_TANH);
        else if (act == OC_ACT_GELU_ERF)
            OC_BY_TYPE(t, act_bwd_range, dx, dy, x, r, OC_ACT_GELU_ERF);
        else
            OC_BY_TYPE(t, act_bwd_range, dx, dy, x, r, OC_ACT_NONE);
    });
}

/* ---- SwiGLU ----------------------------------------------------------------------------------- */

OC_INLINE void swiglu_fwd_rows(void *y, const void *gu, oc_range r, size_t F, oc_dtype t) {
    for (size_t n = r.begin; n < r.end; n++) {
        const void *g = oc_at(gu, n * 2 * F, t), *u = oc_at(g, F, t);
        void *out = oc_at_mut(y, n * F, t);
        V_EACH(i, k, 0, F, {
            vf gate = v_get(g, i, k, t);
            v_put(out, i, k, gate * v_sigmoid(gate, t) * v_get(u, i, k, t), t);
        });
    }
}

/* silu' = s (1 + g (1 - s)); dgate = dy up silu', dup = dy silu. */
OC_INLINE void swiglu_bwd_rows(void *dgu, const void *dy, const void *gu, oc_range r, size_t F, oc_dtype t) {
    for (size_t n = r.begin; n < r.end; n++) {
        const void *g = oc_at(gu, n * 2 * F, t), *u = oc_at(g, F, t), *d = oc_at(dy, n * F, t);
        void *dg = oc_at_mut(dgu, n * 2 * F, t), *du = oc_at_mut(dg, F, t);
        V_EACH(i, k, 0, F, {
            vf one = v_set1(1.0f);
            vf gate = v_get(g, i, k, t);
            vf dv = v_get(d, i, k, t);
            vf s = v_sigmoid(gate, t);
            vf slope = s * v_fma(gate, one - s, one);
            vf up = v_get(u, i, k, t);
            v_put(dg, i, k, dv * up * slope, t);
            v_put(du, i, k, dv * gate * s, t);
        });
    }
}

static void swiglu_fwd(oc_compute *c, void *y, const void *gu, int N, int F, oc_dtype t) {
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * (size_t)F,
             { OC_BY_TYPE(t, swiglu_fwd_rows, y, gu, r, (size_t)F); });
}

static void swiglu_bwd(oc_compute *c, void *dgu, const void *dy, const void *gu, int N, int F, oc_dtype t) {
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * (size_t)F,
             { OC_BY_TYPE(t, swiglu_bwd_rows, dgu, dy, gu, r, (size_t)F); });
}

/* ---- Addition and conversion ------------------------------------------------------------------ */

OC_INLINE void add_range(void *y, const void *a, const void *b, oc_range r, oc_dtype t) {
    V_EACH(i, k, r.begin, r.end, { v_put(y, i, k, v_get(a, i, k, t) + v_get(b, i, k, t), t); });
}

static void add(oc_compute *c, void *y, const void *a, const void *b, size_t n, oc_dtype t) {
    OC_SPLIT(c, r, n, 64, n, { OC_BY_TYPE(t, add_range, y, a, b, r); });
}

/* dst[0..n) = src[0..n) for any pair of types. */
static void convert_span(void *dst, oc_dtype td, const void *src, oc_dtype ts, size_t n) {
    if (td == ts)
        memcpy(dst, src, n * oc_dtype_size(td));
    else if (td == OC_BF16)
        v_copy(dst, OC_BF16, src, OC_F32, n);
    else
        v_copy(dst, OC_F32, src, OC_BF16, n);
}

static void convert(oc_compute *c, void *y, oc_dtype ty, const void *x, oc_dtype tx, size_t n) {
    OC_SPLIT(c, r, n, 64, n,
             { convert_span(oc_at_mut(y, r.begin, ty), ty, oc_at(x, r.begin, tx), tx, r.end - r.begin); });
}

static void fill_pointwise(oc_ops *o) {
    o->act_fwd = act_fwd;
    o->act_bwd = act_bwd;
    o->swiglu_fwd = swiglu_fwd;
    o->swiglu_bwd = swiglu_bwd;
    o->add = add;
    o->convert = convert;
}

#endif
