/* simd/vec: what the shared kernels are written in. The kernels of this folder are text for one instruction
 * set at a time: <isa>/kernels.c includes simd/vec_<isa>.h, which defines vf, vi, vm, vd, VL      vectors of
 * VL floats, VL int32, VL truth values, VL/2 doubles v_load, v_store, v_load_part, v_store_part (the first k
 * lanes; loads clear the rest), the same for bf16, v_fma, ... and then this header and the kernel files,
 * whose functions are all static. One exported function per instruction set puts them into the table.
 *
 * Here: elements of either storage type, the loop over VL lanes with its remainder, exp and sigmoid, and how
 * threads split an index range. The storage type is an argument `t` of functions that are always inlined;
 * callers pass a constant (OC_BY_TYPE), so each type gets its own loop. */
#ifndef OC_SIMD_VEC_H
#define OC_SIMD_VEC_H

#include <omp.h>

#include "compute/compute.h"
#include "compute/cpu/cpu.h"

/* ---- Elements of type t ----------------------------------------------------------------------- */

/* Elements i .. i+k-1 of p, 1 <= k <= VL. A constant k = VL is a plain load or store. */
OC_INLINE vf v_get(const void *p, size_t i, size_t k, oc_dtype t) {
    if (t == OC_BF16) {
        const uint16_t *h = (const uint16_t *)p + i;
        return k == VL ? v_load_bf16(h) : v_load_bf16_part(h, k);
    }
    const float *f = (const float *)p + i;
    return k == VL ? v_load(f) : v_load_part(f, k);
}
OC_INLINE void v_put(void *p, size_t i, size_t k, vf x, oc_dtype t) {
    if (t == OC_BF16) {
        uint16_t *h = (uint16_t *)p + i;
        if (k == VL)
            v_store_bf16(h, x);
        else
            v_store_bf16_part(h, x, k);
    } else {
        float *f = (float *)p + i;
        if (k == VL)
            v_store(f, x);
        else
            v_store_part(f, x, k);
    }
}

/* Address of element i. */
OC_INLINE const void *oc_at(const void *p, size_t i, oc_dtype t) {
    return (const char *)p + i * oc_dtype_size(t);
}
OC_INLINE void *oc_at_mut(void *p, size_t i, oc_dtype t) { return (char *)p + i * oc_dtype_size(t); }

/* The statement(s) for i in steps of VL with k = VL, then once for the remainder with k < VL. */
#define V_EACH(i, k, begin, end, ...)                                                                        \
    do {                                                                                                     \
        size_t i = (begin);                                                                                  \
        for (; i + VL <= (end); i += VL) {                                                                   \
            const size_t k = VL;                                                                             \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
        if (i < (end)) {                                                                                     \
            const size_t k = (end)-i;                                                                        \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    } while (0)

/* f(..., t) with t a constant of the two compute types. */
#define OC_BY_TYPE(t, f, ...)                                                                                \
    do {                                                                                                     \
        if ((t) == OC_BF16)                                                                                  \
            f(__VA_ARGS__, OC_BF16);                                                                         \
        else                                                                                                 \
            f(__VA_ARGS__, OC_F32);                                                                          \
    } while (0)

/* dst[0..n) = src[0..n), converted. */
OC_INLINE void v_copy(void *dst, oc_dtype td, const void *src, oc_dtype ts, size_t n) {
    V_EACH(i, k, 0, n, { v_put(dst, i, k, v_get(src, i, k, ts), td); });
}

/* ---- Functions -------------------------------------------------------------------------------- */

/* 2^r on [-1/2, 1/2] as 1 + r p(r), Chebyshev fit, relative error 5e-9. */
OC_INLINE vf v_exp2_poly(vf r) {
    vf p = v_set1(0.0001545316294214853f);
    p = v_fma(p, r, v_set1(0.001339086336464892f));
    p = v_fma(p, r, v_set1(0.009618082557285924f));
    p = v_fma(p, r, v_set1(0.05550357114219124f));
    p = v_fma(p, r, v_set1(0.24022650760568087f));
    p = v_fma(p, r, v_set1(0.6931471880262288f));
    return v_fma(p, r, v_set1(1.0f));
}

/* 2^x, relative error about 1e-7 (the rounding of the last steps); 0 for -inf. */
OC_INLINE vf v_exp2(vf x) {
    x = v_max(v_set1(-300.0f), x); /* -inf becomes finite here; NaN, as second operand, stays */
    vf n = v_round(x);
    return v_scale2(v_exp2_poly(x - n), n);
}

/* e^x = 2^n 2^(r/ln2) with r = x - n ln2 formed in two steps (Cody and Waite), relative error 2e-7. */
OC_INLINE vf v_exp(vf x) {
    x = v_max(v_set1(-200.0f), v_min(v_set1(200.0f), x));
    vf n = v_round(x * v_set1(1.4426950408889634f));
    vf r = v_fma(n, v_set1(-0.693359375f), x);
    r = v_fma(n, v_set1(2.12194440e-4f), r);
    return v_scale2(v_exp2_poly(r * v_set1(1.4426950408889634f)), n);
}

/* ln x for x > 0: e ln2 + 2 artanh(s), s = (m-1)/(m+1), |s| <= 0.2; error 1e-7 absolute near 1, relative
 * elsewhere. */
OC_INLINE vf v_log(vf x) {
    vf e, m = v_split(x, &e), one = v_set1(1.0f), s = (m - one) / (m + one), s2 = s * s;
    vf p = v_fma(s2, v_set1(2.0f / 9), v_set1(2.0f / 7));
    p = v_fma(p, s2, v_set1(2.0f / 5));
    p = v_fma(p, s2, v_set1(2.0f / 3));
    return v_fma(e, v_set1(0.6931471805599453f), s * v_fma(p, s2, v_set1(2.0f)));
}

/* 2^x, relative error 7e-6, for results that are rounded to bf16 (2e-3). x finite. */
OC_INLINE vf v_exp2_short(vf x) {
    vf n = v_round(x), r = x - n;
    vf p = v_set1(0.009656710288546616f);
    p = v_fma(p, r, v_set1(0.05583828294621976f));
    p = v_fma(p, r, v_set1(0.24022530097412198f));
    p = v_fma(p, r, v_set1(0.6931367338836215f));
    return v_scale2(v_fma(p, r, v_set1(1.0f)), n);
}

/* 1 / (1 + e^-x), for results of type t. */
OC_INLINE vf v_sigmoid(vf x, oc_dtype t) {
    vf one = v_set1(1.0f);
    return one /
           (one + (t == OC_BF16 ? v_exp2_short(x * v_set1(-1.4426950408889634f)) : v_exp(v_zero() - x)));
}

/* erfc(z) / exp(-z^2) for z >= 0: t * polynomial(t) with t = 1 / (1 + 0.4 z), Chebyshev fit, relative error
 * 2e-7 up to z = 39, where exp(-z^2) has long been 0. */
OC_INLINE vf v_erfcx(vf z) {
    static const float c[] = {0.050522696269247463f,  -0.18416680859250947f, 0.17159495760751173f,
                              -0.008231292404533384f, 0.14298639667026822f,  0.16802018053188458f,
                              0.20793598750748127f,   0.22566192994207485f,  0.22567606422676978f};
    vf t = v_set1(1.0f) / v_fma(z, v_set1(0.4f), v_set1(1.0f));
    vf p = v_set1(c[0]);
    for (size_t i = 1; i < OC_COUNT(c); i++) p = v_fma(p, t, v_set1(c[i]));
    return p * t;
}

/* ---- Threads ---------------------------------------------------------------------------------- */

/* The calling thread's part of [0, n), cut at multiples of `unit`. */
typedef struct oc_range {
    size_t begin, end;
} oc_range;

OC_INLINE oc_range oc_share(size_t n, size_t unit) {
    size_t units = (n + unit - 1) / unit, team = (size_t)omp_get_num_threads(),
           me = (size_t)omp_get_thread_num();
    size_t begin = units * me / team * unit, end = units * (me + 1) / team * unit;
    return (oc_range){OC_MIN(begin, n), OC_MIN(end, n)};
}

/* Runs the statement(s) in a team, each thread with its share r of [0, n). `work`: elements in all
 * (oc_cpu_team). */
#define OC_PRAGMA(text) _Pragma(#text)
#define OC_SPLIT(c, r, n, unit, work, ...)                                                                   \
    OC_PRAGMA(omp parallel num_threads(oc_cpu_team(c, work))) {                                              \
        oc_range r = oc_share(n, unit);                                                                      \
        __VA_ARGS__                                                                                          \
    }

#endif
