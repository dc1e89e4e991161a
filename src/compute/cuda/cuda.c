/* 1. opening and memory  2. matrices and products  3. the vocabulary's loss  4. everything else  5. the table */
#include "compute/cuda/cuda.h"

#include <math.h>
#include <stdio.h>

#include "compute/backend.h"
#include "compute/cuda/kernels.h"

/* ---- 1. Opening and memory ----------------------------------------------------------------------------------------- */

static void check(oc_compute *c, cudaError_t e, const char *what) {
    if (e != cudaSuccess) oc_compute_fail(c, what, cudaGetErrorString(e));
}

/* A launch that was refused is known at once; one that failed on the device at the next download. */
static void launched(oc_compute *c, const char *what) { check(c, cudaGetLastError(), what); }

static cudaStream_t stream_of(const oc_compute *c) { return oc_cuda_of(c)->stream; }

static void *device_alloc(oc_compute *c, size_t bytes) {
    void *p = NULL;
    OC_UNUSED(c);
    if (cudaMalloc(&p, bytes ? bytes : 1) == cudaSuccess) return p;
    cudaGetLastError(); /* it was told */
    return NULL;
}

/* cudaFree waits for the device, so nothing that still runs loses its memory. */
static void device_free(oc_compute *c, void *p) {
    OC_UNUSED(c);
    if (p) cudaFree(p); /* what it may report happened before, and the next download reports it too */
}

/* From pageable memory the call returns when the bytes have been taken. */
static void upload(oc_compute *c, void *to, const void *from, size_t bytes) {
    check(c, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(c)), "upload");
}

static void download(oc_compute *c, void *to, const void *from, size_t bytes) {
    check(c, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(c)), "download");
    check(c, cudaStreamSynchronize(stream_of(c)), "download");
}

static void copy(oc_compute *c, void *to, const void *from, size_t bytes) {
    check(c, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(c)), "copy");
}

static void zero(oc_compute *c, void *x, size_t bytes) { check(c, cudaMemsetAsync(x, 0, bytes, stream_of(c)), "zero"); }

void *oc_cuda_scratch(oc_compute *c, size_t bytes) {
    oc_cuda *cuda = oc_cuda_of(c);
    if (bytes <= cuda->scratch_bytes) return cuda->scratch;
    device_free(c, cuda->scratch);
    cuda->scratch_bytes = 0;
    if (!(cuda->scratch = device_alloc(c, bytes))) oc_compute_give_up(c, bytes);
    cuda->scratch_bytes = bytes;
    return cuda->scratch;
}

static void close_cuda(oc_compute *c) {
    oc_cuda *cuda = oc_cuda_of(c);
    if (cuda->stream) cudaStreamSynchronize(cuda->stream);
    oc_cuda_products_close(cuda);
    device_free(c, cuda->scratch);
    if (cuda->stream) cudaStreamDestroy(cuda->stream);
    oc_free(cuda);
    oc_free(c);
}

static size_t scratch_bytes(const oc_compute *c) {
    return oc_cuda_of(c)->scratch_bytes + oc_cuda_of(c)->products_bytes;
}
static const char *describe(const oc_compute *c) { return oc_cuda_of(c)->describe; }

/* ---- 2. Matrices and products -------------------------------------------------------------------------------------- */

/* Begins with the description, as every backend's handle does (compute/profile.c reads it). */
struct oc_matrix {
    oc_matrix_desc d;
    void *copy; /* the weights in the type of the products, where that is another one; NULL before the first use */
    bool stale;
};

static oc_matrix *matrix_create(oc_compute *c, const oc_matrix_desc *d) {
    OC_UNUSED(c);
    oc_matrix *w = oc_calloc(1, sizeof *w);
    if (w) *w = (oc_matrix){.d = *d, .stale = true};
    return w;
}

static void matrix_changed(oc_compute *c, oc_matrix *w) {
    OC_UNUSED(c);
    w->stale = true;
}

static void matrix_free(oc_compute *c, oc_matrix *w) {
    if (!w) return;
    device_free(c, w->copy);
    oc_free(w);
}

static size_t elements(const oc_matrix *w) { return (size_t)w->d.rows * (size_t)w->d.cols; }
static size_t copy_bytes(const oc_matrix *w) { return w->d.t == w->d.w_type ? 0 : elements(w) * oc_dtype_size(w->d.t); }

static size_t matrix_bytes(const oc_matrix *w, bool with_backward) {
    OC_UNUSED(with_backward);
    return copy_bytes(w);
}

static oc_cuda_type type(oc_dtype t) { return t == OC_F32 ? OC_CUDA_F32 : OC_CUDA_BF16; }
static oc_cuda_act act_of(oc_act a) {
    return a == OC_ACT_GELU_TANH ? OC_CUDA_GELU_TANH : a == OC_ACT_GELU_ERF ? OC_CUDA_GELU_ERF : OC_CUDA_LINEAR;
}

/* The weights in the type of the products. */
static const void *weights(oc_compute *c, oc_matrix *w) {
    if (copy_bytes(w) == 0) return w->d.w;
    if (!w->copy && !(w->copy = device_alloc(c, copy_bytes(w)))) oc_compute_give_up(c, copy_bytes(w));
    if (w->stale) oc_cuda_convert(stream_of(c), w->copy, type(w->d.t), w->d.w, type(w->d.w_type), elements(w));
    w->stale = false;
    return w->copy;
}

static void linear_fwd(oc_compute *c, void *y, int ldy, const void *x, int ldx, oc_matrix *w, int N,
                       const oc_epilogue *e) {
    static const oc_epilogue none = {0};
    if (!e) e = &none;
    const oc_dtype t = w->d.t;
    const bool plain = !e->bias && e->act == OC_ACT_NONE && !e->pre_act && !e->residual;
    const void *weight = weights(c, w);
    float *sum = plain ? NULL : oc_cuda_scratch(c, (size_t)N * (size_t)w->d.rows * sizeof *sum);
    oc_cuda_multiply(c, plain ? y : sum, x, weight,
                     &(oc_cuda_product){.m = N,
                                        .n = w->d.rows,
                                        .k = w->d.cols,
                                        .lda = ldx,
                                        .ldb = w->d.cols,
                                        .ldc = plain ? ldy : w->d.rows,
                                        .transpose_b = true,
                                        .ta = t,
                                        .tb = t,
                                        .tc = plain ? t : OC_F32});
    if (!plain)
        oc_cuda_epilogue(stream_of(c), y, ldy, sum, e->bias, act_of(e->act), e->pre_act, e->residual, N, w->d.rows,
                         type(t));
    launched(c, "linear_fwd");
}

static void linear_bwd_x(oc_compute *c, void *dx, int lddx, const void *dy, int lddy, oc_matrix *w, int N,
                         bool accumulate) {
    const oc_dtype t = w->d.t;
    oc_cuda_multiply(c, dx, dy, weights(c, w),
                     &(oc_cuda_product){.m = N,
                                        .n = w->d.cols,
                                        .k = w->d.rows,
                                        .lda = lddy,
                                        .ldb = w->d.cols,
                                        .ldc = lddx,
                                        .ta = t,
                                        .tb = t,
                                        .tc = t,
                                        .beta = accumulate ? 1.0f : 0.0f});
    launched(c, "linear_bwd_x");
}

static void linear_bwd_w(oc_compute *c, float *dw, float *db, const void *dy, int lddy, const void *x, int ldx,
                         oc_dtype t, int N, int rows, int cols) {
    oc_cuda_multiply(c, dw, dy, x,
                     &(oc_cuda_product){.m = rows,
                                        .n = cols,
                                        .k = N,
                                        .lda = lddy,
                                        .ldb = ldx,
                                        .ldc = cols,
                                        .transpose_a = true,
                                        .ta = t,
                                        .tb = t,
                                        .tc = OC_F32,
                                        .beta = 1.0f});
    if (db) {
        float *part = oc_cuda_scratch(c, (size_t)OC_CUDA_PARTS * (size_t)rows * sizeof *part);
        oc_cuda_add_columns(stream_of(c), db, dy, lddy, N, rows, part, type(t));
    }
    launched(c, "linear_bwd_w");
}

/* ---- 3. The vocabulary's loss -------------------------------------------------------------------------------------- */

/* Rows whose logits are there at a time: [XENT_ROWS, V] in float32, and their gradient. */
enum { XENT_ROWS = 512 };

static void linear_xent(oc_compute *c, float *loss, uint8_t *correct, void *dx, float *dw, const void *x,
                        const int32_t *target, const float *weight, oc_matrix *w, int n, float scale) {
    const oc_dtype t = w->d.t;
    const int V = w->d.rows, C = w->d.cols;
    const size_t most = (size_t)OC_MIN(n, XENT_ROWS) * (size_t)V, row = (size_t)C * oc_dtype_size(t);
    float *z = oc_cuda_scratch(c, most * (sizeof *z + (t == OC_BF16 ? sizeof(uint16_t) : 0)));
    void *d = t == OC_BF16 ? (void *)(z + most) : z;
    const void *matrix = weights(c, w);
    for (int i = 0; i < n; i += XENT_ROWS) {
        const int rows = OC_MIN(XENT_ROWS, n - i);
        const void *xi = (const char *)x + (size_t)i * row;
        oc_cuda_multiply(c, z, xi, matrix,
                         &(oc_cuda_product){.m = rows,
                                            .n = V,
                                            .k = C,
                                            .lda = C,
                                            .ldb = C,
                                            .ldc = V,
                                            .transpose_b = true,
                                            .ta = t,
                                            .tb = t,
                                            .tc = OC_F32});
        oc_cuda_xent(stream_of(c), loss + i, correct ? correct + i : NULL, dx ? d : NULL, z, target + i,
                     weight ? weight + i : NULL, rows, V, scale, type(t));
        if (!dx) continue;
        oc_cuda_multiply(
            c, (char *)dx + (size_t)i * row, d, matrix,
            &(oc_cuda_product){.m = rows, .n = C, .k = V, .lda = V, .ldb = C, .ldc = C, .ta = t, .tb = t, .tc = t});
        if (dw)
            oc_cuda_multiply(c, dw, d, xi,
                             &(oc_cuda_product){.m = V,
                                                .n = C,
                                                .k = rows,
                                                .lda = V,
                                                .ldb = C,
                                                .ldc = C,
                                                .transpose_a = true,
                                                .ta = t,
                                                .tb = t,
                                                .tc = OC_F32,
                                                .beta = 1.0f});
    }
    launched(c, "linear_xent");
}

/* ---- 4. Everything else -------------------------------------------------------------------------------------------- */

static oc_cuda_attention shape(const oc_attention *a) {
    OC_ASSERT(a->HS <= 128 && a->HS % 4 == 0);
    return (oc_cuda_attention){.N = a->N,
                               .NH = a->NH,
                               .NKV = a->NKV,
                               .HS = a->HS,
                               .ldq = a->ldq,
                               .ldkv = a->ldkv,
                               .ldo = a->ldo,
                               .lo = a->lo,
                               .hi = a->hi,
                               .scale = a->scale};
}

static void attention_fwd(oc_compute *c, void *o, float *lse, const void *q, const void *k, const void *v,
                          const oc_attention *a) {
    const oc_cuda_attention s = shape(a);
    oc_cuda_attention_fwd(stream_of(c), o, lse, q, k, v, &s, type(a->t));
    launched(c, "attention_fwd");
}

static void attention_bwd(oc_compute *c, void *dq, void *dk, void *dv, const void *dO, const void *o, const float *lse,
                          const void *q, const void *k, const void *v, const oc_attention *a) {
    const oc_cuda_attention s = shape(a);
    float *delta = oc_cuda_scratch(c, (size_t)a->N * (size_t)a->NH * sizeof *delta);
    oc_cuda_attention_bwd(stream_of(c), dq, dk, dv, dO, o, lse, q, k, v, delta, &s, type(a->t));
    launched(c, "attention_bwd");
}

static void attention_decode(oc_compute *c, void *o, const void *q, const void *k, const void *v, const int32_t *first,
                             const int32_t *len, int B, const oc_attention *a) {
    const oc_cuda_attention s = shape(a);
    oc_cuda_attention_decode(stream_of(c), o, q, k, v, first, len, B, &s, type(a->t));
    launched(c, "attention_decode");
}

static void layernorm_fwd(oc_compute *c, void *y, float *mean, float *rstd, void *x, const void *add, const float *w,
                          const float *b, int N, int C, float eps, oc_dtype t) {
    oc_cuda_norm_fwd(stream_of(c), true, y, mean, rstd, x, add, w, b, N, C, eps, type(t));
    launched(c, "layernorm_fwd");
}

static void rmsnorm_fwd(oc_compute *c, void *y, float *rstd, void *x, const void *add, const float *w, int N, int C,
                        float eps, oc_dtype t) {
    oc_cuda_norm_fwd(stream_of(c), false, y, NULL, rstd, x, add, w, NULL, N, C, eps, type(t));
    launched(c, "rmsnorm_fwd");
}

static void norm_bwd(oc_compute *c, bool layer, void *dx, float *dw, float *db, const void *dy, const void *x,
                     const float *mean, const float *rstd, const float *w, int N, int C, oc_dtype t) {
    oc_cuda_norm_bwd(stream_of(c), layer, dx, dy, x, mean, rstd, w, N, C, type(t));
    if (dw || db) {
        float *part = oc_cuda_scratch(c, (size_t)OC_CUDA_PARTS * 2 * (size_t)C * sizeof *part);
        oc_cuda_norm_bwd_w(stream_of(c), layer, dw, db, dy, x, mean, rstd, N, C, part, type(t));
    }
    launched(c, "norm_bwd");
}

static void layernorm_bwd(oc_compute *c, void *dx, float *dw, float *db, const void *dy, const void *x,
                          const float *mean, const float *rstd, const float *w, int N, int C, oc_dtype t) {
    norm_bwd(c, true, dx, dw, db, dy, x, mean, rstd, w, N, C, t);
}

static void rmsnorm_bwd(oc_compute *c, void *dx, float *dw, const void *dy, const void *x, const float *rstd,
                        const float *w, int N, int C, oc_dtype t) {
    norm_bwd(c, false, dx, dw, NULL, dy, x, NULL, rstd, w, N, C, t);
}

static void rope(oc_compute *c, void *x, int ldx, const int32_t *position, const float *table, int N, int heads, int HS,
                 int sign, oc_dtype t) {
    oc_cuda_rope(stream_of(c), x, ldx, position, table, N, heads, HS, sign, type(t));
    launched(c, "rope");
}

static void act_fwd(oc_compute *c, void *y, const void *x, size_t n, oc_act act, oc_dtype t) {
    oc_cuda_act_fwd(stream_of(c), y, x, n, act_of(act), type(t));
    launched(c, "act_fwd");
}

static void act_bwd(oc_compute *c, void *dx, const void *dy, const void *x, size_t n, oc_act act, oc_dtype t) {
    oc_cuda_act_bwd(stream_of(c), dx, dy, x, n, act_of(act), type(t));
    launched(c, "act_bwd");
}

static void swiglu_fwd(oc_compute *c, void *y, const void *gu, int N, int F, oc_dtype t) {
    oc_cuda_swiglu_fwd(stream_of(c), y, gu, N, F, type(t));
    launched(c, "swiglu_fwd");
}

static void swiglu_bwd(oc_compute *c, void *dgu, const void *dy, const void *gu, int N, int F, oc_dtype t) {
    oc_cuda_swiglu_bwd(stream_of(c), dgu, dy, gu, N, F, type(t));
    launched(c, "swiglu_bwd");
}

static void add(oc_compute *c, void *y, const void *a, const void *b, size_t n, oc_dtype t) {
    oc_cuda_add(stream_of(c), y, a, b, n, type(t));
    launched(c, "add");
}

static void convert(oc_compute *c, void *y, oc_dtype ty, const void *x, oc_dtype tx, size_t n) {
    oc_cuda_convert(stream_of(c), y, type(ty), x, type(tx), n);
    launched(c, "convert");
}

static void embedding_fwd(oc_compute *c, void *y, const int32_t *id, const void *table, oc_dtype table_t, int N, int C,
                          oc_dtype t) {
    oc_cuda_embedding_fwd(stream_of(c), y, id, table, type(table_t), N, C, type(t));
    launched(c, "embedding_fwd");
}

static void embedding_bwd(oc_compute *c, float *dtable, const int32_t *id, const void *dy, int N, int C, int V,
                          oc_dtype t) {
    OC_UNUSED(V);
    oc_cuda_add_to_rows(stream_of(c), dtable, OC_CUDA_F32, dy, C, id, N, C, type(t));
    launched(c, "embedding_bwd");
}

static void gather_rows(oc_compute *c, void *y, const void *x, const int32_t *row, int N, int C, oc_dtype t) {
    oc_cuda_gather_rows(stream_of(c), y, x, row, N, C, type(t));
    launched(c, "gather_rows");
}

static void scatter_rows(oc_compute *c, void *y, const void *x, int ldx, const int32_t *row, int N, int C,
                         bool accumulate, oc_dtype t) {
    if (accumulate)
        oc_cuda_add_to_rows(stream_of(c), y, type(t), x, ldx, row, N, C, type(t));
    else
        oc_cuda_put_rows(stream_of(c), y, x, ldx, row, N, C, type(t));
    launched(c, "scatter_rows");
}

static void patchify(oc_compute *c, void *y, const float *pixels, int I, int S, int P, oc_dtype t) {
    oc_cuda_patchify(stream_of(c), y, pixels, I, S, P, type(t));
    launched(c, "patchify");
}

static void position_add_fwd(oc_compute *c, void *x, const float *pos, int N, int P, int C, oc_dtype t) {
    oc_cuda_position_add_fwd(stream_of(c), x, pos, N, P, C, type(t));
    launched(c, "position_add_fwd");
}

static void position_add_bwd(oc_compute *c, float *dpos, const void *dx, int N, int P, int C, oc_dtype t) {
    oc_cuda_position_add_bwd(stream_of(c), dpos, dx, N, P, C, type(t));
    launched(c, "position_add_bwd");
}

static void merge_fwd(oc_compute *c, void *y, const void *x, int I, int G, int s, int C, oc_dtype t) {
    oc_cuda_merge_fwd(stream_of(c), y, x, I, G, s, C, type(t));
    launched(c, "merge_fwd");
}

static void merge_bwd(oc_compute *c, void *dx, const void *dy, int I, int G, int s, int C, oc_dtype t) {
    if (G % s) zero(c, dx, (size_t)I * (size_t)G * (size_t)G * (size_t)C * oc_dtype_size(t));
    oc_cuda_merge_bwd(stream_of(c), dx, dy, I, G, s, C, type(t));
    launched(c, "merge_bwd");
}

static void adamw(oc_compute *c, float *w, float *m, float *v, const float *g, size_t n, const oc_adamw *o) {
    const float unbias_m = (float)(1.0 / (1.0 - pow((double)o->beta1, o->step)));
    const float unbias_v = (float)(1.0 / (1.0 - pow((double)o->beta2, o->step)));
    oc_cuda_adamw(stream_of(c), w, m, v, g, n, o->lr, o->beta1, o->beta2, o->eps, o->decay, o->grad_scale, unbias_m,
                  unbias_v);
    launched(c, "adamw");
}

static double sum_squares(oc_compute *c, const float *x, size_t n) {
    double part[OC_CUDA_SQUARES], sum = 0;
    double *there = oc_cuda_scratch(c, sizeof part);
    oc_cuda_sum_squares(stream_of(c), there, x, n);
    launched(c, "sum_squares");
    download(c, part, there, sizeof part);
    for (int i = 0; i < OC_CUDA_SQUARES; i++) sum += part[i];
    return sum;
}

static void average(oc_compute *c, float *avg, const float *w, size_t n, float keep, float more) {
    oc_cuda_average(stream_of(c), avg, w, n, keep, more);
    launched(c, "average");
}

static void swap(oc_compute *c, float *x, float *y, size_t n) {
    oc_cuda_swap(stream_of(c), x, y, n);
    launched(c, "swap");
}

static void add_narrow(oc_compute *c, uint16_t *y, const float *x, size_t n) {
    oc_cuda_add_narrow(stream_of(c), y, x, n);
    launched(c, "add_narrow");
}

static void round_random(oc_compute *c, uint16_t *y, const float *x, size_t n, uint64_t key, size_t first) {
    oc_cuda_round_random(stream_of(c), y, x, n, key, first);
    launched(c, "round_random");
}

/* ---- 5. The table -------------------------------------------------------------------------------------------------- */

const oc_ops *oc_cuda_table(void) {
    static const oc_ops table = {.name = "cuda",
                                 .native_bf16 = true,
                                 .close = close_cuda,
                                 .scratch_bytes = scratch_bytes,
                                 .describe = describe,
                                 .host_memory = false,
                                 .device_alloc = device_alloc,
                                 .device_free = device_free,
                                 .upload = upload,
                                 .download = download,
                                 .copy = copy,
                                 .zero = zero,
                                 .linear_fwd = linear_fwd,
                                 .linear_bwd_x = linear_bwd_x,
                                 .linear_bwd_w = linear_bwd_w,
                                 .linear_xent = linear_xent,
                                 .attention_fwd = attention_fwd,
                                 .attention_bwd = attention_bwd,
                                 .attention_decode = attention_decode,
                                 .layernorm_fwd = layernorm_fwd,
                                 .layernorm_bwd = layernorm_bwd,
                                 .rmsnorm_fwd = rmsnorm_fwd,
                                 .rmsnorm_bwd = rmsnorm_bwd,
                                 .rope = rope,
                                 .act_fwd = act_fwd,
                                 .act_bwd = act_bwd,
                                 .swiglu_fwd = swiglu_fwd,
                                 .swiglu_bwd = swiglu_bwd,
                                 .add = add,
                                 .convert = convert,
                                 .embedding_fwd = embedding_fwd,
                                 .embedding_bwd = embedding_bwd,
                                 .gather_rows = gather_rows,
                                 .scatter_rows = scatter_rows,
                                 .patchify = patchify,
                                 .position_add_fwd = position_add_fwd,
                                 .position_add_bwd = position_add_bwd,
                                 .merge_fwd = merge_fwd,
                                 .merge_bwd = merge_bwd,
                                 .adamw = adamw,
                                 .sum_squares = sum_squares,
                                 .average = average,
                                 .swap = swap,
                                 .add_narrow = add_narrow,
                                 .round_random = round_random,
                                 .matrix_create = matrix_create,
                                 .matrix_changed = matrix_changed,
                                 .matrix_free = matrix_free,
                                 .matrix_bytes = matrix_bytes};
    return &table;
}

/* The device is there, and its name is known. */
static oc_status select_device(oc_cuda *cuda, int ordinal, oc_error *err) {
    struct cudaDeviceProp p;
    int count = 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e != cudaSuccess)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "no CUDA device can be used: %s", cudaGetErrorString(e));
    if (ordinal < 0 || ordinal >= count)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "there is no CUDA device %d; there are %d", ordinal, count);
    if ((e = cudaSetDevice(ordinal)) != cudaSuccess || (e = cudaGetDeviceProperties(&p, ordinal)) != cudaSuccess)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "CUDA device %d cannot be used: %s", ordinal, cudaGetErrorString(e));
    snprintf(cuda->describe, sizeof cuda->describe, "cuda (%s, compute capability %d.%d, %.0f GiB)", p.name, p.major,
             p.minor, (double)p.totalGlobalMem / (1 << 30));
    return OC_OK;
}

oc_status oc_cuda_open(oc_compute **out, int ordinal, oc_error *err) {
    oc_compute *c = oc_calloc(1, sizeof *c);
    oc_cuda *cuda = oc_calloc(1, sizeof *cuda);
    *out = NULL;
    if (!c || !cuda) {
        oc_free(c), oc_free(cuda);
        return oc_fail(err, OC_ERR_NOMEM, "no memory for a compute backend");
    }
    c->ops = *oc_cuda_table();
    c->threads = 1;
    c->backend = cuda;
    oc_status st = select_device(cuda, ordinal, err);
    if (st == OC_OK && cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking) != cudaSuccess)
        st = oc_fail(err, OC_ERR_UNSUPPORTED, "no stream on CUDA device %d", ordinal);
    if (st == OC_OK) st = oc_cuda_products_open(cuda, err);
    if (st != OC_OK) {
        close_cuda(c);
        return st;
    }
    *out = c;
    return OC_OK;
}
