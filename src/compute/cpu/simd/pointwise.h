/* simd/pointwise: activations, SwiGLU, addition, conversion. Bound by memory, or by exp where the data is in cache. */
#ifndef OC_SIMD_POINTWISE_H
#define OC_SIMD_POINTWISE_H

#include "compute/cpu/simd/vec.h"

/* ---- GELU ------------------------------------------------------------------------------------------------------------
 * tanh form: 0.5 x (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3), which is x sigmoid(2u): no cancellation.
 * erf form: x Phi(x), Phi(x) = 0.5 erfc(-x/sqrt2), from the scaled function so that the left tail keeps its digits and
 * the density that the gradient needs is a by-product. */

#define GELU_2U 1.5957691216057308f /* 2 sqrt(2/pi) */
#define GELU_CUBE 0.044715f

OC_INLINE vf gelu_tanh(vf x) {
    vf u2 = v_set1(GELU_2U) * x * v_fma(v_set1(GELU_CUBE) * x, x, v_set1(1.0f));
    return x * v_sigmoid(u2);
}
/* d/dx x s(2u) = s + x s (1 - s) (2u)' */
OC_INLINE vf gelu_tanh_grad(vf x) {
    vf one = v_set1(1.0f), x2 = x * x;
    vf s = v_sigmoid(v_set1(GELU_2U) * x * v_fma(v_set1(GELU_CUBE), x2, one));
    vf du = v_set1(GELU_2U) * v_fma(v_set1(3.0f * GELU_CUBE), x2, one);
    /* where s has become 0 or 1, du may already be infinite */
    vf bend = x * s * (one - s);
    return s + bend * v_min(v_set1(1e30f), du);
}

/* Phi(x), and e = exp(-x^2/2). */
OC_INLINE vf normal_cdf(vf x, vf *e) {
    vf half = v_set1(0.5f);
    *e = v_exp(v_zero() - x * x * half);
    vf tail = half * *e * v_erfcx(v_abs(x) * v_set1(0.7071067811865476f)); /* Phi(-|x|) */
    return v_select(v_less(v_zero(), x), v_set1(1.0f) - tail, tail);
}
OC_INLINE vf gelu_erf(vf x) {
    vf e;
    return x * normal_cdf(x, &e);
}
OC_INLINE vf gelu_erf_grad(vf x) {
    vf e, cdf = normal_cdf(x, &e);
    return v_fma(x * v_set1(0.3989422804014327f), e, cdf);
}

OC_INLINE vf act_value(vf x, oc_act act) {
    return act == OC_ACT_GELU_TANH ? gelu_tanh(x) : act == OC_ACT_GELU_ERF ? gelu_erf(x) : x;
}
OC_INLINE vf act_slope(vf x, oc_act act) {
    return act == OC_ACT_GELU_TANH ? gelu_tanh_grad(x) : act == OC_ACT_GELU_ERF ? gelu_erf_grad(x) : v_set1(1.0f);
}

OC_INLINE void act_fwd_range(void *y, const void *x, oc_range r, oc_act act, oc_dtype t) {
    V_EACH(i, k, r.begin, r.end, { v_put(y, i, k, act_value(v_get(x, i, k, t), act), t); });
}
OC_INLINE void act_bwd_range(void *dx, const void *dy, const void *x, oc_range r, oc_act act, oc_dtype t) {
    V_EACH(i, k, r.begin, r.end,
           { v_put(dx, i, k, v_get(dy, i, k, t) * act_slope(v_get(x, i, k, t), act), t); });
}

static void act_fwd(oc_compute *c, void *y, const void *x, size_t n, oc_act act, oc_dtype t) {
    OC_SPLIT(c, r, n, 64, n, {
        if (act == OC_ACT_GELU_TANH) OC_BY_TYPE(t, act_fwd_range, y, x, r, OC_ACT_GELU_TANH);
        else if (act == OC_ACT_GELU_ERF) OC_BY_TYPE(t, act_fwd_range, y, x, r, OC_ACT_GELU_ERF);
        else OC_BY_TYPE(t, act_fwd_range, y, x, r, OC_ACT_NONE);
    });
}

static void act_bwd(oc_compute *c, void *dx, const void *dy, const void *x, size_t n, oc_act act, oc_dtype t) {
    OC_SPLIT(c, r, n, 64, n, {
        if (act == OC_ACT_GELU_TANH) OC_BY_TYPE(t, act_bwd_range, dx, dy, x, r, OC_ACT_GELU_TANH);
        else if (act == OC_ACT_GELU_ERF) OC_BY_TYPE(t, act_bwd_range, dx, dy, x, r, OC_ACT_GELU_ERF);
        else OC_BY_TYPE(t, act_bwd_range, dx, dy, x, r, OC_ACT_NONE);
    });
}

/* ---- SwiGLU ---------------------------------------------------------------------------------------------------------- */

OC_INLINE void swiglu_fwd_rows(void *y, const void *gu, oc_range r, size_t F, oc_dtype t) {
    for (size_t n = r.begin; n < r.end; n++) {
        const void *g = oc_at(gu, n * 2 * F, t), *u = oc_at(g, F, t);
        void *out = oc_at_mut(y, n * F, t);
        V_EACH(i, k, 0, F, {
            vf gate = v_get(g, i, k, t);
            v_put(out, i, k, gate * v_sigmoid(gate) * v_get(u, i, k, t), t);
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
            vf s = v_sigmoid(gate);
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

/* ---- Addition and conversion ------------------------------------------------------------------------------------------ */

OC_INLINE void add_range(void *y, const void *a, const void *b, oc_range r, oc_dtype t) {
    V_EACH(i, k, r.begin, r.end, { v_put(y, i, k, v_get(a, i, k, t) + v_get(b, i, k, t), t); });
}

static void add(oc_compute *c, void *y, const void *a, const void *b, size_t n, oc_dtype t) {
    OC_SPLIT(c, r, n, 64, n, { OC_BY_TYPE(t, add_range, y, a, b, r); });
}

/* dst[0..n) = src[0..n) for any pair of types. */
static void convert_span(void *dst, oc_dtype td, const void *src, oc_dtype ts, size_t n) {
    if (td == ts) memcpy(dst, src, n * oc_dtype_size(td));
    else if (td == OC_BF16) v_copy(dst, OC_BF16, src, OC_F32, n);
    else v_copy(dst, OC_F32, src, OC_BF16, n);
}

static void convert(oc_compute *c, void *y, oc_dtype ty, const void *x, oc_dtype tx, size_t n) {
    OC_SPLIT(c, r, n, 64, n, {
        convert_span(oc_at_mut(y, r.begin, ty), ty, oc_at(x, r.begin, tx), tx, r.end - r.begin);
    });
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
