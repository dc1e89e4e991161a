/* Activations, SwiGLU, addition, conversion.
 *
 *   GELU (Hendrycks and Gimpel, arXiv 1606.08415), exact:  x Phi(x) = x/2 (1 + erf(x / sqrt 2))
 *   its tanh form:                                         x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
 *   SwiGLU (Shazeer, arXiv 2002.05202):                    silu(gate) up,  silu(x) = x / (1 + exp(-x)) */
#include <math.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

static const double SQRT_2_OVER_PI = 0.79788456080286535588, CUBIC = 0.044715,
                    INV_SQRT_2PI = 0.39894228040143267794;

float oc_ref_act(float v, oc_act act) {
    double x = (double)v;
    switch (act) {
    case OC_ACT_GELU_TANH: return (float)(0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x))));
    case OC_ACT_GELU_ERF: return (float)(0.5 * x * (1.0 + erf(x * M_SQRT1_2)));
    case OC_ACT_NONE: break;
    }
    return v;
}

float oc_ref_act_grad(float v, oc_act act) {
    double x = (double)v;
    switch (act) {
    case OC_ACT_GELU_TANH: {
        double th = tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
        double inner = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
        return (float)(0.5 * (1.0 + th) + 0.5 * x * (1.0 - th * th) * inner);
    }
    case OC_ACT_GELU_ERF:
        return (float)(0.5 * (1.0 + erf(x * M_SQRT1_2)) + x * INV_SQRT_2PI * exp(-0.5 * x * x));
    case OC_ACT_NONE: break;
    }
    return 1.0f;
}

static void act_fwd(oc_compute *c, void *y, const void *x, size_t n, oc_act act, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++) oc_ref_set(y, i, t, oc_ref_act(oc_ref_get(x, i, t), act));
}

static void act_bwd(oc_compute *c, void *dx, const void *dy, const void *x, size_t n, oc_act act,
                    oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++)
        oc_ref_set(dx, i, t, oc_ref_get(dy, i, t) * oc_ref_act_grad(oc_ref_get(x, i, t), act));
}

static void swiglu_fwd(oc_compute *c, void *y, const void *gu, int N, int F, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)F))
    for (int n = 0; n < N; n++)
        for (size_t f = 0; f < (size_t)F; f++) {
            size_t at = (size_t)n * 2 * (size_t)F + f;
            double gate = (double)oc_ref_get(gu, at, t), up = (double)oc_ref_get(gu, at + (size_t)F, t);
            oc_ref_set(y, (size_t)n * (size_t)F + f, t, (float)(gate / (1.0 + exp(-gate)) * up));
        }
}

/* With s = sigmoid(gate): d silu / d gate = s (1 + gate (1 - s)). */
static void swiglu_bwd(oc_compute *c, void *dgu, const void *dy, const void *gu, int N, int F, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)F))
    for (int n = 0; n < N; n++)
        for (size_t f = 0; f < (size_t)F; f++) {
            size_t at = (size_t)n * 2 * (size_t)F + f;
            double gate = (double)oc_ref_get(gu, at, t), up = (double)oc_ref_get(gu, at + (size_t)F, t);
            double d = (double)oc_ref_get(dy, (size_t)n * (size_t)F + f, t), s = 1.0 / (1.0 + exp(-gate));
            oc_ref_set(dgu, at, t, (float)(d * up * s * (1.0 + gate * (1.0 - s))));
            oc_ref_set(dgu, at + (size_t)F, t, (float)(d * gate * s));
        }
}

static void add(oc_compute *c, void *y, const void *a, const void *b, size_t n, oc_dtype t) {
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++) oc_ref_set(y, i, t, oc_ref_get(a, i, t) + oc_ref_get(b, i, t));
}

static void convert(oc_compute *c, void *y, oc_dtype ty, const void *x, oc_dtype tx, size_t n) {
#pragma omp parallel for num_threads(oc_cpu_team(c, n))
    for (size_t i = 0; i < n; i++) oc_ref_set(y, i, ty, oc_ref_get(x, i, tx));
}

void oc_ref_fill_pointwise(oc_ops *ops) {
    ops->act_fwd = act_fwd;
    ops->act_bwd = act_bwd;
    ops->swiglu_fwd = swiglu_fwd;
    ops->swiglu_bwd = swiglu_bwd;
    ops->add = add;
    ops->convert = convert;
}
