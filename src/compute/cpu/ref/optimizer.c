/* AdamW (Loshchilov and Hutter, arXiv 1711.05101) and the sum of squares for the global norm. */
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

void oc_ref_fill_optimizer(oc_ops *ops) {
    ops->adamw = adamw;
    ops->sum_squares = sum_squares;
}
