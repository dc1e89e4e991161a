/* simd/gelu: the activations of one vector, and their slopes; for simd/pointwise and the epilogues of matrix
 * products.
 *
 * tanh form: 0.5 x (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3), which is x sigmoid(2u): no
 * cancellation. erf form: x Phi(x), Phi(x) = 0.5 erfc(-x/sqrt2), from the scaled function so that the left
 * tail keeps its digits and the density that the gradient needs is a by-product. */
#ifndef OC_SIMD_GELU_H
#define OC_SIMD_GELU_H

#include "compute/cpu/simd/vec.h"

#define GELU_2U   1.5957691216057308f /* 2 sqrt(2/pi) */
#define GELU_CUBE 0.044715f

OC_INLINE vf gelu_tanh(vf x, oc_dtype t) {
    vf u2 = v_set1(GELU_2U) * x * v_fma(v_set1(GELU_CUBE) * x, x, v_set1(1.0f));
    return x * v_sigmoid(u2, t);
}
/* d/dx x s(2u) = s + x s (1 - s) (2u)' */
OC_INLINE vf gelu_tanh_grad(vf x, oc_dtype t) {
    vf one = v_set1(1.0f), x2 = x * x;
    vf s = v_sigmoid(v_set1(GELU_2U) * x * v_fma(v_set1(GELU_CUBE), x2, one), t);
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

/* t: the type that the result is stored in. */
OC_INLINE vf act_value(vf x, oc_act act, oc_dtype t) {
    return act == OC_ACT_GELU_TANH ? gelu_tanh(x, t) : act == OC_ACT_GELU_ERF ? gelu_erf(x) : x;
}
OC_INLINE vf act_slope(vf x, oc_act act, oc_dtype t) {
    return act == OC_ACT_GELU_TANH  ? gelu_tanh_grad(x, t)
           : act == OC_ACT_GELU_ERF ? gelu_erf_grad(x)
                                    : v_set1(1.0f);
}

#endif
