/* Vocabulary projection and cross-entropy in one.
 *
 *   z = W x_i                     logits of row i, [V]
 *   loss_i = logsumexp(z) - z[target_i]
 *   d = (softmax(z) - onehot(target_i)) * scale,   dx_i = d W,   dw += d x_i^T
 *
 * One row at a time: its V logits are the only thing stored, and become d in place. */
#include <math.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

typedef struct row {
    const oc_matrix_desc *w;
    const void *x;
    size_t at; /* of the row's first element in x and dx */
    float *z;  /* [V] logits, then d */
} row;

static void logits(const oc_compute *c, const row *r) {
    size_t C = (size_t)r->w->cols;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)r->w->rows * C))
    for (int v = 0; v < r->w->rows; v++) {
        double sum = 0;
        for (size_t k = 0; k < C; k++)
            sum +=
                (double)oc_ref_get(r->x, r->at + k, r->w->t) * (double)oc_ref_weight(r->w, (size_t)v * C + k);
        r->z[v] = (float)sum;
    }
}

/* The first of the largest. */
static int argmax(const float *z, int V) {
    int best = 0;
    for (int v = 1; v < V; v++)
        if (z[v] > z[best]) best = v;
    return best;
}

static double logsumexp(const float *z, int V, float largest) {
    double sum = 0;
    for (int v = 0; v < V; v++) sum += exp((double)z[v] - (double)largest);
    return (double)largest + log(sum);
}

/* Split by channels, so that each W row is read in pieces and every sum runs over v in order. */
static void grad_x(const oc_compute *c, void *dx, const row *r) {
    enum { BLOCK = 32 };
    int C = r->w->cols;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)r->w->rows * (size_t)C))
    for (int k0 = 0; k0 < C; k0 += BLOCK) {
        int len = OC_MIN(BLOCK, C - k0);
        double sum[BLOCK] = {0};
        for (int v = 0; v < r->w->rows; v++)
            for (int k = 0; k < len; k++)
                sum[k] +=
                    (double)r->z[v] * (double)oc_ref_weight(r->w, (size_t)v * (size_t)C + (size_t)(k0 + k));
        for (int k = 0; k < len; k++) oc_ref_set(dx, r->at + (size_t)(k0 + k), r->w->t, (float)sum[k]);
    }
}

static void grad_w(const oc_compute *c, float *dw, const row *r) {
    size_t C = (size_t)r->w->cols;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)r->w->rows * C))
    for (int v = 0; v < r->w->rows; v++)
        for (size_t k = 0; k < C; k++)
            dw[(size_t)v * C + k] += r->z[v] * oc_ref_get(r->x, r->at + k, r->w->t);
}

static void linear_xent(oc_compute *c, float *loss, uint8_t *correct, void *dx, float *dw, const void *x,
                        const int32_t *target, const float *weight, oc_matrix *m, int n, float scale) {
    row r = {.w = oc_ref_matrix(m), .x = x};
    int V = r.w->rows;
    r.z = oc_compute_scratch(c, -1, (size_t)V * sizeof *r.z);
    for (int i = 0; i < n; i++) {
        r.at = (size_t)i * (size_t)r.w->cols;
        logits(c, &r);
        int best = argmax(r.z, V);
        double lse = logsumexp(r.z, V, r.z[best]);
        loss[i] = (float)(lse - (double)r.z[target[i]]);
        if (correct) correct[i] = best == target[i];
        if (!dx) continue;
        const double d = (double)scale * (weight ? (double)weight[i] : 1);
        for (int v = 0; v < V; v++)
            r.z[v] = (float)((exp((double)r.z[v] - lse) - (v == target[i])) * d);
        grad_x(c, dx, &r);
        if (dw) grad_w(c, dw, &r);
    }
}

void oc_ref_fill_xent(oc_ops *ops) { ops->linear_xent = linear_xent; }
