/* Linear layers and matrix handles as products C = A B:
 *
 *   y  = epilogue(x W^T)   A = x,    B = W^T
 *   dx = dy W              A = dy,   B = W
 *   dw += dy^T x           A = dy^T, B = x */
#include "compute/cpu/gemm/gemm.h"

static oc_gemm_operand weight(const oc_matrix *w, bool trans) {
    return (oc_gemm_operand){w->d.w, w->d.w_type, trans, (size_t)w->d.cols};
}

static void linear_fwd(oc_compute *c, void *y, int ldy, const void *x, int ldx, oc_matrix *w, int N,
                       const oc_epilogue *e) {
    if (N == 0) return;
    oc_gemm_run(c, &(oc_gemm){
                       .m = N,
                       .n = w->d.rows,
                       .k = w->d.cols,
                       .t = w->d.t,
                       .a = {x, w->d.t, false, (size_t)ldx},
                       .b = weight(w, true),
                       .c = y,
                       .c_type = w->d.t,
                       .ldc = (size_t)ldy,
                       .e = e,
                       .w = w,
                   });
}

static void linear_bwd_x(oc_compute *c, void *dx, int lddx, const void *dy, int lddy, oc_matrix *w, int N,
                         bool accumulate) {
    if (N == 0) return;
    oc_gemm_run(c, &(oc_gemm){
                       .m = N,
                       .n = w->d.cols,
                       .k = w->d.rows,
                       .t = w->d.t,
                       .a = {dy, w->d.t, false, (size_t)lddy},
                       .b = weight(w, false),
                       .c = dx,
                       .c_type = w->d.t,
                       .ldc = (size_t)lddx,
                       .accumulate = accumulate,
                       .w = w,
                   });
}

/* db[r] += sum over n of dy[n,r], in ascending n within stripes of tokens that do not depend on the threads.
 */
static void bias_gradient(oc_compute *c, float *db, const void *dy, size_t ld, oc_dtype t, int N, int rows) {
    enum { BLOCK = 64 };
#pragma omp parallel for num_threads(c->threads)
    for (int r0 = 0; r0 < rows; r0 += BLOCK) {
        int len = OC_MIN(BLOCK, rows - r0);
        float sum[BLOCK] = {0};
        for (int n0 = 0; n0 < N; n0 += BLOCK) { /* partial sums keep the error of long columns small */
            float part[BLOCK] = {0};
            for (int n = n0; n < OC_MIN(n0 + BLOCK, N); n++) {
                size_t at = (size_t)n * ld + (size_t)r0;
                if (t == OC_F32)
                    for (int r = 0; r < len; r++) part[r] += ((const float *)dy)[at + (size_t)r];
                else
                    for (int r = 0; r < len; r++)
                        part[r] += oc_bf16_to_f32(((const uint16_t *)dy)[at + (size_t)r]);
            }
            for (int r = 0; r < len; r++) sum[r] += part[r];
        }
        for (int r = 0; r < len; r++) db[r0 + r] += sum[r];
    }
}

static void linear_bwd_w(oc_compute *c, float *dw, float *db, const void *dy, int lddy, const void *x,
                         int ldx, oc_dtype t, int N, int rows, int cols) {
    if (N == 0) return;
    if (db) bias_gradient(c, db, dy, (size_t)lddy, t, N, rows);
    if (!dw) return;
    oc_gemm_run(c, &(oc_gemm){
                       .m = rows,
                       .n = cols,
                       .k = N,
                       .t = t,
                       .a = {dy, t, true, (size_t)lddy},
                       .b = {x, t, false, (size_t)ldx},
                       .c = dw,
                       .c_type = OC_F32,
                       .ldc = (size_t)cols,
                       .accumulate = true,
                   });
}

/* ---- Handles --------------------------------------------------------------------------------------- */

static oc_matrix *matrix_create(oc_compute *c, const oc_matrix_desc *d) {
    oc_matrix *w = oc_calloc(1, sizeof *w);
    if (!w) return NULL;
    w->d = *d;
    w->packs = oc_gemm_packs(c, d->t);
    return w;
}

static void matrix_changed(oc_compute *c, oc_matrix *w) {
    OC_UNUSED(c);
    for (int i = 0; i < OC_GEMM_PACKS; i++) w->fresh[i] = false;
}

static void matrix_free(oc_compute *c, oc_matrix *w) {
    OC_UNUSED(c);
    if (!w) return;
    for (int i = 0; i < OC_GEMM_PACKS; i++) oc_gemm_dnnl_pack_free(w->pack[i]);
    oc_free(w);
}

static size_t matrix_bytes(const oc_matrix *w, bool with_backward) {
    if (!w->packs) return 0;
    return (size_t)w->d.rows * (size_t)w->d.cols * sizeof(float) * (with_backward ? 2 : 1);
}

void oc_cpu_gemm_fill(oc_ops *ops, const oc_cpu_features *f) {
    OC_UNUSED(f);
    ops->linear_fwd = linear_fwd;
    ops->linear_bwd_x = linear_bwd_x;
    ops->linear_bwd_w = linear_bwd_w;
    ops->linear_xent = oc_gemm_linear_xent;
    ops->matrix_create = matrix_create;
    ops->matrix_changed = matrix_changed;
    ops->matrix_free = matrix_free;
    ops->matrix_bytes = matrix_bytes;
}
