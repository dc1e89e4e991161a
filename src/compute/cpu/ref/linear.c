/* Linear layers and matrix handles.
 *
 *   y = residual + act(x W^T + bias)     x [N, cols], W [rows, cols], y [N, rows]
 *   dx = dy W                            dw += dy^T x,  db += column sums of dy
 *
 * A handle is the description itself: nothing is packed, so the source is read anew by every product. Where
 * the compute type is bf16 and the source f32, each weight is rounded to bf16 on the way, as a packed copy
 * would hold it. Sums are double. */
#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

float oc_ref_weight(const oc_matrix_desc *w, size_t i) {
    float v = oc_ref_get(w->w, i, w->w_type);
    return w->t == OC_BF16 ? oc_bf16_to_f32(oc_f32_to_bf16(v)) : v;
}

static void linear_fwd(oc_compute *c, void *y, int ldy, const void *x, int ldx, oc_matrix *m, int N,
                       const oc_epilogue *e) {
    const oc_matrix_desc *w = oc_ref_matrix(m);
    size_t rows = (size_t)w->rows, cols = (size_t)w->cols;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * rows * cols))
    for (int n = 0; n < N; n++) {
        size_t xn = (size_t)n * (size_t)ldx, yn = (size_t)n * (size_t)ldy;
        for (size_t r = 0; r < rows; r++) {
            double sum = e->bias ? (double)e->bias[r] : 0.0;
            for (size_t k = 0; k < cols; k++)
                sum += (double)oc_ref_get(x, xn + k, w->t) * (double)oc_ref_weight(w, r * cols + k);
            if (e->pre_act) oc_ref_set(e->pre_act, yn + r, w->t, (float)sum);
            float out = oc_ref_act((float)sum, e->act);
            if (e->residual) out += oc_ref_get(e->residual, yn + r, w->t);
            oc_ref_set(y, yn + r, w->t, out);
        }
    }
}

static void linear_bwd_x(oc_compute *c, void *dx, int lddx, const void *dy, int lddy, oc_matrix *m, int N,
                         bool accumulate) {
    const oc_matrix_desc *w = oc_ref_matrix(m);
    size_t rows = (size_t)w->rows, cols = (size_t)w->cols;
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * rows * cols))
    for (int n = 0; n < N; n++) {
        size_t dxn = (size_t)n * (size_t)lddx, dyn = (size_t)n * (size_t)lddy;
        for (size_t k = 0; k < cols; k++) {
            double sum = accumulate ? (double)oc_ref_get(dx, dxn + k, w->t) : 0.0;
            for (size_t r = 0; r < rows; r++)
                sum += (double)oc_ref_get(dy, dyn + r, w->t) * (double)oc_ref_weight(w, r * cols + k);
            oc_ref_set(dx, dxn + k, w->t, (float)sum);
        }
    }
}

static void linear_bwd_w(oc_compute *c, float *dw, float *db, const void *dy, int lddy, const void *x,
                         int ldx, oc_dtype t, int N, int rows, int cols) {
#pragma omp parallel for num_threads(oc_cpu_team(c, (size_t)N * (size_t)rows * (size_t)cols))
    for (int r = 0; r < rows; r++) {
        for (int k = 0; dw && k < cols; k++) {
            double sum = 0;
            for (size_t n = 0; n < (size_t)N; n++)
                sum += (double)oc_ref_get(dy, n * (size_t)lddy + (size_t)r, t) *
                       (double)oc_ref_get(x, n * (size_t)ldx + (size_t)k, t);
            dw[(size_t)r * (size_t)cols + (size_t)k] += (float)sum;
        }
        if (!db) continue;
        double sum = 0;
        for (size_t n = 0; n < (size_t)N; n++) sum += (double)oc_ref_get(dy, n * (size_t)lddy + (size_t)r, t);
        db[r] += (float)sum;
    }
}

/* ---- Handles ------------------------------------------------------------------------------------------- */

static oc_matrix *matrix_create(oc_compute *c, const oc_matrix_desc *desc) {
    OC_UNUSED(c);
    oc_matrix_desc *m = oc_alloc(sizeof *m);
    if (m) *m = *desc;
    return (oc_matrix *)m;
}

static void matrix_changed(oc_compute *c, oc_matrix *m) {
    OC_UNUSED(c);
    OC_UNUSED(m);
}

static void matrix_free(oc_compute *c, oc_matrix *m) {
    OC_UNUSED(c);
    oc_free(m);
}

static size_t matrix_bytes(const oc_matrix *m, bool with_backward) {
    OC_UNUSED(m);
    OC_UNUSED(with_backward);
    return 0;
}

void oc_ref_fill_linear(oc_ops *ops) {
    ops->linear_fwd = linear_fwd;
    ops->linear_bwd_x = linear_bwd_x;
    ops->linear_bwd_w = linear_bwd_w;
    ops->matrix_create = matrix_create;
    ops->matrix_changed = matrix_changed;
    ops->matrix_free = matrix_free;
    ops->matrix_bytes = matrix_bytes;
}
