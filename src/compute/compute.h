/* compute: the operations a vision-language model is made of, each with its gradient, as one table per processor.
 *
 * The model is written once against this header: explicit forward and backward, no graph. A backend fills an oc_ops
 * (cpu/ref is plain C and defines the truth; the vectorised CPU tables and CUDA mirror its file names), and
 * oc_compute_open picks one at run time.
 *
 * Types. Activations and matrices have the compute dtype T, OC_F32 or OC_BF16, passed as `t`; where the comment says
 * f32 they are float whatever T is. With T = bf16 all sums, statistics, softmax and losses are float32 inside and
 * rounded once on output. Vectors (biases, norm weights) are always f32. Gradients of parameters are f32 and are
 * ADDED to; gradients of activations are overwritten unless the comment says so.
 * Sizes. N packed tokens (rows), C channels, F hidden width of an MLP, NH/NKV query/key-value heads, HS head size,
 * V vocabulary. Tensors are row-major; `ld` arguments are row strides in elements. Index arithmetic is size_t.
 * Threads. Kernels split by index, so results do not depend on the number of threads, and are bit-identical from run
 * to run for the same thread count. Reductions have a fixed order. (Backend "portable" multiplies with oneDNN, whose
 * sums may depend on the number of threads.)
 * Memory. Everything that operations read and write lies in memory of the device: weights, activations, gradients, caches,
 * row numbers, pixels. What is given by value (sizes, descriptions like oc_attention and oc_epilogue, NULL or not) is read
 * before the call returns. On a processor memory of the device is ordinary memory and every call is over when it returns.
 * On a device of its own operations run behind the caller, in the order of the calls; a pointer to its memory can be moved
 * by arithmetic but not read, `upload` and `download` are the only ways in and out, and `download` and `sum_squares`, which
 * hand values to the caller, wait for what was called before them.
 * Callers check shapes; kernels return void and never allocate except oc_matrix creation and per-thread scratch that
 * is kept in the oc_compute (and may fail: oc_compute_try). */
#ifndef OC_COMPUTE_COMPUTE_H
#define OC_COMPUTE_COMPUTE_H

#include "base/base.h"

typedef struct oc_compute oc_compute;

/* ---- Matrices -------------------------------------------------------------------------------------------------------
 * A weight matrix W [rows, cols] = [out features, in features] together with whatever packed copies the backend wants
 * of it. The source is f32 (master weights) or bf16 (inference from a checkpoint) and must outlive the handle; packs
 * are made lazily on first use and remade after oc_matrix_changed. In every backend a handle begins with its description, which
 * the profile reads. Not thread safe. */
typedef struct oc_matrix oc_matrix;

typedef struct oc_matrix_desc {
    const void *w;   /* [rows, cols], leading dimension cols */
    oc_dtype w_type; /* OC_F32 or OC_BF16 */
    oc_dtype t;      /* compute dtype of the products */
    int rows, cols;
} oc_matrix_desc;

typedef enum { OC_ACT_NONE, OC_ACT_GELU_TANH, OC_ACT_GELU_ERF } oc_act;

/* What follows a product before it is stored: y = residual + act(x W^T + bias). Zero means nothing. */
typedef struct oc_epilogue {
    const float *bias; /* [rows] or NULL */
    oc_act act;
    void *pre_act;        /* T [N, rows] or NULL: receives x W^T + bias, for the backward pass of act */
    const void *residual; /* T [N, rows] or NULL; may be y itself */
} oc_epilogue;

/* AdamW (Loshchilov and Hutter, arXiv 1711.05101), decoupled decay:
 *   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= lr * ( m/(1-b1^step) / (sqrt(v/(1-b2^step)) + eps) + decay * w )
 * with g = grad * grad_scale (clipping, loss scale). step counts from 1. */
typedef struct oc_adamw {
    float lr, beta1, beta2, eps, decay, grad_scale;
    int step;
} oc_adamw;

/* Attention over one interval of keys per row: query row i attends to key rows [lo[i], hi[i]) of the same packed
 * tensor (DESIGN 1: this one rule is every mask that we need). Softmax scale is given (usually HS^-0.5). Query head h reads
 * key/value head h / (NH / NKV). An empty interval (lo == hi) gives o = 0. lo and hi are not assumed monotonic,
 * but tiles outside of the union of a tile's intervals are skipped.
 * q [N, NH*HS] at stride ldq, k, v [N, NKV*HS] at stride ldkv (so they may live in one fused QKV buffer). */
typedef struct oc_attention {
    int N, NH, NKV, HS;     /* HS: 8 to 128 in steps of 4 */
    int ldq, ldkv, ldo;     /* row strides of q / k and v / o, in elements; dq, dk, dv, do have the same ones */
    const int32_t *lo, *hi; /* [N] */
    float scale;
    oc_dtype t;
} oc_attention;

typedef struct oc_ops {
    const char *name;                            /* "ref", "avx2", "avx512", "avx512_bf16", "amx", "cuda" */
    bool native_bf16;                            /* multiplies bf16 in hardware */
    void (*close)(oc_compute *);                 /* frees the backend and the oc_compute itself */
    size_t (*scratch_bytes)(const oc_compute *); /* oc_compute_scratch_bytes */
    const char *(*describe)(const oc_compute *); /* oc_compute_describe */

    /* -- Memory of the device. -- */
    bool host_memory; /* it is ordinary memory: callers may read and write it, and pass their own to operations */
    void *(*device_alloc)(oc_compute *, size_t bytes); /* 64-byte aligned, not cleared; NULL: there is no more */
    void (*device_free)(oc_compute *, void *);         /* NULL allowed */
    void (*upload)(oc_compute *, void *to, const void *from, size_t bytes); /* `from` may change when it returns */
    void (*download)(oc_compute *, void *to, const void *from, size_t bytes);
    void (*copy)(oc_compute *, void *to, const void *from, size_t bytes); /* within the device; no overlap */
    void (*zero)(oc_compute *, void *x, size_t bytes);

    /* -- Linear: y[N,rows] = epilogue(x[N,cols] W^T); ldx, ldy row strides (residual and pre_act use ldy too). -- */
    void (*linear_fwd)(oc_compute *, void *y, int ldy, const void *x, int ldx, oc_matrix *w, int N,
                       const oc_epilogue *e);
    /* dx[N,cols] = dy[N,rows] W, or dx += with accumulate. */
    void (*linear_bwd_x)(oc_compute *, void *dx, int lddx, const void *dy, int lddy, oc_matrix *w, int N,
                         bool accumulate);
    /* dw[rows,cols] += dy^T x (f32); db[rows] += column sums of dy (f32) where db is not NULL. */
    void (*linear_bwd_w)(oc_compute *, float *dw, float *db, const void *dy, int lddy, const void *x, int ldx,
                         oc_dtype t, int N, int rows, int cols);

    /* -- Vocabulary projection and loss in one, in chunks of rows; [n, V] logits never exist whole. -------------
     * For each of the n given rows of x [n, C]: logits = x W^T (W: V x C), loss_i = logsumexp(logits) - logits[target_i].
     * loss [n] f32 (not scaled). If dx is not NULL also, with d_i = (softmax - onehot) * scale * weight_i (weight [n] f32,
     * NULL: 1): dx[n,C] = d W (T), and where dw is not NULL dw[V,C] += d^T x (f32). correct (may be NULL) [n] receives 1
     * where argmax == target. */
    void (*linear_xent)(oc_compute *, float *loss, uint8_t *correct, void *dx, float *dw, const void *x,
                        const int32_t *target, const float *weight, oc_matrix *w, int n, float scale);

    /* -- Attention. lse [N, NH] f32 = logsumexp of the scaled scores, kept for the backward pass (NULL: inference).
     *    Flash attention (Dao, arXiv 2307.08691). dq, dk, dv are overwritten. -- */
    void (*attention_fwd)(oc_compute *, void *o, float *lse, const void *q, const void *k, const void *v,
                          const oc_attention *a);
    void (*attention_bwd)(oc_compute *, void *dq, void *dk, void *dv, const void *dO, const void *o, const float *lse,
                          const void *q, const void *k, const void *v, const oc_attention *a);
    /* One query row per sequence against a KV cache, for decoding. q, o [B, NH*HS] T; k, v rows of NKV*HS, T. The keys and
     * values of sequence b are the len[b] rows from first[b] on. a->N, lo, hi, ldkv are not used. */
    void (*attention_decode)(oc_compute *, void *o, const void *q, const void *k, const void *v, const int32_t *first,
                             const int32_t *len, int B, const oc_attention *a);

    /* -- Normalisation. x, y, dx, dy T [N,C] contiguous. LayerNorm: y = (x-mean)*rstd*w + b (Ba et al., 1607.06450).
     *    RMSNorm: y = x * rstd * w (Zhang and Sennrich, 1910.07467). mean, rstd [N] f32 saved for bwd.
     *    If add is not NULL, x is first replaced by x + add (T, rounded), which is the residual stream's update.
     *    bwd: dx += gradient (the residual stream's gradient is already there), dw, db [C] += (NULL: frozen). -- */
    void (*layernorm_fwd)(oc_compute *, void *y, float *mean, float *rstd, void *x, const void *add, const float *w,
                          const float *b, int N, int C, float eps, oc_dtype t);
    void (*layernorm_bwd)(oc_compute *, void *dx, float *dw, float *db, const void *dy, const void *x,
                          const float *mean, const float *rstd, const float *w, int N, int C, oc_dtype t);
    void (*rmsnorm_fwd)(oc_compute *, void *y, float *rstd, void *x, const void *add, const float *w, int N, int C,
                        float eps, oc_dtype t);
    void (*rmsnorm_bwd)(oc_compute *, void *dx, float *dw, const void *dy, const void *x, const float *rstd,
                        const float *w, int N, int C, oc_dtype t);

    /* -- Rotary positions (Su et al., 2104.09864), rotate-half pairs (j, j + HS/2), in place on `heads` heads of x
     *    [N, heads*HS] at stride ldx. angle = position[n] * theta^(-2j/HS), both formed in f32. sign -1: the inverse
     *    rotation, which is the backward pass. table: see oc_rope_table. -- */
    void (*rope)(oc_compute *, void *x, int ldx, const int32_t *position, const float *table, int N, int heads, int HS,
                 int sign, oc_dtype t);

    /* -- Pointwise. n elements; y may alias x. gelu per oc_act; dx = dy * act'(x), dx may alias dy. -- */
    void (*act_fwd)(oc_compute *, void *y, const void *x, size_t n, oc_act act, oc_dtype t);
    void (*act_bwd)(oc_compute *, void *dx, const void *dy, const void *x, size_t n, oc_act act, oc_dtype t);
    /* SwiGLU (Shazeer, 2002.05202): gu [N, 2F] holds gate in columns [0,F) and up in [F,2F); y[N,F] = silu(gate)*up. */
    void (*swiglu_fwd)(oc_compute *, void *y, const void *gu, int N, int F, oc_dtype t);
    void (*swiglu_bwd)(oc_compute *, void *dgu, const void *dy, const void *gu, int N, int F, oc_dtype t);
    void (*add)(oc_compute *, void *y, const void *a, const void *b, size_t n, oc_dtype t); /* y = a + b, may alias */
    void (*convert)(oc_compute *, void *y, oc_dtype ty, const void *x, oc_dtype tx, size_t n); /* f32 <-> bf16 */

    /* -- Rows. C contiguous channels a row. -- */
    /* y[n] = table[id[n]], table f32 or bf16 [V, C]; ids are valid rows. */
    void (*embedding_fwd)(oc_compute *, void *y, const int32_t *id, const void *table, oc_dtype table_t, int N, int C,
                          oc_dtype t);
    /* dtable[id[n]] += dy[n] (f32), rows with id < 0 skipped; repeated ids are added in ascending n. */
    void (*embedding_bwd)(oc_compute *, float *dtable, const int32_t *id, const void *dy, int N, int C, int V,
                          oc_dtype t);
    /* y[n] = x[row[n]]; row < 0 gives zeros. */
    void (*gather_rows)(oc_compute *, void *y, const void *x, const int32_t *row, int N, int C, oc_dtype t);
    /* y[row[n]] = x[n], x at stride ldx; rows are distinct; row < 0 skipped. With accumulate: y[row[n]] += x[n] in ascending n,
     * rows may repeat. */
    void (*scatter_rows)(oc_compute *, void *y, const void *x, int ldx, const int32_t *row, int N, int C,
                         bool accumulate, oc_dtype t);

    /* -- Images. pixels f32 [I,3,S,S] -> y T [I*G*G, 3*P*P], G = S / P (rest dropped), order inside a patch: channel,
     *    row, column, as a convolution kernel [C,3,P,P] flattened. -- */
    void (*patchify)(oc_compute *, void *y, const float *pixels, int I, int S, int P, oc_dtype t);
    /* x[n] += pos[n % P] for N rows (learned positions, pos f32 [P,C]); bwd: dpos[n % P] += dx[n]. */
    void (*position_add_fwd)(oc_compute *, void *x, const float *pos, int N, int P, int C, oc_dtype t);
    void (*position_add_bwd)(oc_compute *, float *dpos, const void *dx, int N, int P, int C, oc_dtype t);
    /* s x s neighbouring patches of a G x G grid side by side: x [I, G*G, C] -> y [I, (G/s)^2, s*s*C], block order: row,
     * column. Rows and columns past (G/s)*s are dropped; bwd gives them zero. */
    void (*merge_fwd)(oc_compute *, void *y, const void *x, int I, int G, int s, int C, oc_dtype t);
    void (*merge_bwd)(oc_compute *, void *dx, const void *dy, int I, int G, int s, int C, oc_dtype t);

    /* -- Optimizer, f32. -- */
    void (*adamw)(oc_compute *, float *w, float *m, float *v, const float *g, size_t n, const oc_adamw *o);
    double (*sum_squares)(oc_compute *, const float *x, size_t n); /* fixed order, double accumulators */
    void (*average)(oc_compute *, float *avg, const float *w, size_t n, float keep,
                    float add); /* avg = keep avg + add w */
    void (*swap)(oc_compute *, float *x, float *y, size_t n);
    void (*add_narrow)(oc_compute *, uint16_t *y, const float *x, size_t n); /* y += x: bf16, rounded to nearest */
    /* y[i] = x[i] as bf16, rounded by oc_round_stochastic with a number that follows from key and first + i. */
    void (*round_random)(oc_compute *, uint16_t *y, const float *x, size_t n, uint64_t key, size_t first);

    /* Matrix handles; create fails with NULL when memory is out. */
    oc_matrix *(*matrix_create)(oc_compute *, const oc_matrix_desc *);
    void (*matrix_changed)(oc_compute *, oc_matrix *); /* the source values changed: packs are stale */
    void (*matrix_free)(oc_compute *, oc_matrix *);
    size_t (*matrix_bytes)(const oc_matrix *, bool with_backward); /* memory the packs take (will take) */
} oc_ops;

/* cos and sin for positions [0, max_pos): table [max_pos][HS/2][2] = (cos, sin). inv_freq[j] = theta^(-2j/HS) in f32,
 * angle = position * inv_freq in f32, as transformers does. */
void oc_rope_table(float *table, int max_pos, int HS, float theta);

typedef struct oc_compute_options {
    int threads; /* 0: all cores that the process may use */
    /* NULL: the best for this processor; "ref", "avx2", "avx512", "avx512_bf16", "amx" to force one. */
    const char *backend;
} oc_compute_options;

struct oc_compute {
    oc_ops ops;
    int threads;
    void *scratch;              /* of the backend, grown only in oc_compute_reserve-like set-up paths or at first use */
    void *backend;              /* private */
    struct oc_profile *profile; /* compute/profile.h; NULL: not running */
    struct oc_compute_try *trying; /* the oc_compute_try that is running, or NULL */
};

/* Fails (OC_ERR_UNSUPPORTED) when a forced backend does not exist on this processor, listing those that do. */
oc_status oc_compute_open(oc_compute **out, const oc_compute_options *opt, oc_error *err);
void oc_compute_close(oc_compute *);
/* Runs work(ctx), in which operations may be called. OC_ERR_NOMEM when one of them could not have the memory that it works
 * in, OC_ERR_DEVICE when its device failed: the rest of `work` was then not done and what operations should have written is
 * undefined. After the former all handles are as good as before; a device that failed may go on failing until it is closed.
 * Outside of such a call either aborts. `work` must own nothing that would be lost when it does not return. */
oc_status oc_compute_try(oc_compute *c, void (*work)(void *ctx), void *ctx, oc_error *err);
/* Memory of the device, with an error that says how much was wanted and for what. *out: address of a pointer. Freed with
 * ops.device_free. */
oc_status oc_compute_alloc_for(oc_compute *c, void *out, size_t bytes, const char *what, oc_error *err);
/* Memory that operations have taken to work in so far, and keep. */
size_t oc_compute_scratch_bytes(const oc_compute *c);
bool oc_compute_has_native_bf16(const oc_compute *); /* multiplies bf16 in hardware: `auto` picks bf16 then */
const char *oc_compute_describe(const oc_compute *); /* one line: backend, instruction sets, threads */

#endif
