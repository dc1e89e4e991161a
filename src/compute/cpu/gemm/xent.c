/* Vocabulary projection and cross-entropy in one, a chunk of rows at a time:
 *
 *   z = x W^T  [rows, V] f32        loss_i = logsumexp(z_i) - z_i[target_i]
 *   d = (softmax(z) - onehot) * scale, rounded to T, in the memory of z
 *   dx = d W                        dw += d^T x */
#include <math.h>

#include "compute/cpu/gemm/gemm.h"

/* Rows of a chunk: logits of about this many bytes, at least MIN_ROWS, since W and dw are streamed once per chunk. */
enum { LOGITS_BYTES = 8 << 20, MIN_ROWS = 256, MAX_ROWS = 1024 };

static int chunk_rows(int V) {
    size_t rows = (size_t)LOGITS_BYTES / ((size_t)V * sizeof(float));
    return (int)OC_MIN(OC_MAX(rows, (size_t)MIN_ROWS), (size_t)MAX_ROWS);
}

static int argmax(const float *z, int V) {
    int best = 0;
    for (int v = 1; v < V; v++)
        if (z[v] > z[best]) best = v;
    return best;
}

/* z becomes d (type t) in place: element v of d never lies behind element v of z. */
static void softmax_gradient(float *z, int V, int target, float lse, float scale, oc_dtype t) {
    for (int v = 0; v < V; v++) {
        float d = (expf(z[v] - lse) - (v == target ? 1.0f : 0.0f)) * scale;
        if (t == OC_F32) z[v] = d;
        else ((uint16_t *)(void *)z)[v] = oc_f32_to_bf16(d);
    }
}

static void losses(oc_compute *c, float *loss, uint8_t *correct, float *z, const int32_t *target, int rows, int V,
                   bool gradient, float scale, oc_dtype t) {
#pragma omp parallel for num_threads(c->threads)
    for (int i = 0; i < rows; i++) {
        float *zi = z + (size_t)i * (size_t)V;
        int best = argmax(zi, V);
        float largest = zi[best];
        double sum = 0;
        for (int v = 0; v < V; v++) sum += (double)expf(zi[v] - largest);
        float lse = largest + (float)log(sum);
        loss[i] = lse - zi[target[i]];
        if (correct) correct[i] = best == target[i];
        if (gradient) softmax_gradient(zi, V, target[i], lse, scale, t);
    }
}

void oc_gemm_linear_xent(oc_compute *c, float *loss, uint8_t *correct, void *dx, float *dw, const void *x,
                         const int32_t *target, oc_matrix *w, int n, float scale) {
    int V = w->d.rows, C = w->d.cols;
    oc_dtype t = w->d.t;
    size_t size = oc_dtype_size(t), ld = (size_t)C;
    int chunk = OC_MIN(chunk_rows(V), n);
    float *z = oc_gemm_buffer(c, OC_GEMM_BUFFER_LOGITS, (size_t)chunk * (size_t)V * sizeof *z);
    size_t ldd = (size_t)V * sizeof *z / size; /* d lies in the rows of z */
    for (int i = 0; i < n; i += chunk) {
        int rows = OC_MIN(chunk, n - i);
        const void *xi = (const char *)x + (size_t)i * ld * size;
        oc_gemm_run(c, &(oc_gemm){
            .m = rows, .n = V, .k = C, .t = t, .a = {xi, t, false, ld}, .b = {w->d.w, w->d.w_type, true, ld},
            .c = z, .c_type = OC_F32, .ldc = (size_t)V, .w = w,
        });
        losses(c, loss + i, correct ? correct + i : NULL, z, target + i, rows, V, dx != NULL, scale, t);
        if (!dx) continue;
        oc_gemm_run(c, &(oc_gemm){
            .m = rows, .n = C, .k = V, .t = t, .a = {z, t, false, ldd}, .b = {w->d.w, w->d.w_type, false, ld},
            .c = (char *)dx + (size_t)i * ld * size, .c_type = t, .ldc = ld, .w = w,
        });
        if (!dw) continue;
        oc_gemm_run(c, &(oc_gemm){
            .m = V, .n = C, .k = rows, .t = t, .a = {z, t, true, ldd}, .b = {xi, t, false, ld},
            .c = dw, .c_type = OC_F32, .ldc = ld, .accumulate = true,
        });
    }
}
