/* 1. counting  2. one wrapper per operation  3. public calls */
#include "compute/profile.h"

#include <stdlib.h>
#include <string.h>

#include "compute/cpu/ref/ref.h"

/* ---- 1. Counting --------------------------------------------------------------------------------------------------- */

/* name, its parameters, how they are passed on, floating-point operations (a multiply-add is two), the names of its sizes
 * and the sizes, bytes of operands and results (each once: what a perfect cache would read and write). */
#define OPERATIONS(X)                                                                                                  \
    X(linear_fwd,                                                                                                      \
      (oc_compute * c, void *y, int ldy, const void *x, int ldx, oc_matrix *w, int N, const oc_epilogue *e),           \
      (c, y, ldy, x, ldx, w, N, e), product(w, N), "N rows cols", (N, desc(w)->rows, desc(w)->cols),                   \
      matrix_traffic(w, N))                                                                                            \
    X(linear_bwd_x, (oc_compute * c, void *dx, int lddx, const void *dy, int lddy, oc_matrix *w, int N, bool acc),     \
      (c, dx, lddx, dy, lddy, w, N, acc), product(w, N), "N rows cols", (N, desc(w)->rows, desc(w)->cols),             \
      matrix_traffic(w, N))                                                                                            \
    X(linear_bwd_w,                                                                                                    \
      (oc_compute * c, float *dw, float *db, const void *dy, int lddy, const void *x, int ldx, oc_dtype t, int N,      \
       int rows, int cols),                                                                                            \
      (c, dw, db, dy, lddy, x, ldx, t, N, rows, cols), 2.0 * N * rows * cols, "N rows cols", (N, rows, cols),          \
      ((double)N * (rows + cols)) * SIZE(t) + 8.0 * rows * cols)                                                       \
    X(linear_xent,                                                                                                     \
      (oc_compute * c, float *loss, uint8_t *correct, void *dx, float *dw, const void *x, const int32_t *target,       \
       const float *weight, oc_matrix *w, int n, float scale),                                                         \
      (c, loss, correct, dx, dw, x, target, weight, w, n, scale), product(w, n) * (1 + (dx != NULL) + (dx && dw)), "n V C",    \
      (n, desc(w)->rows, desc(w)->cols), (1 + (dx != NULL) + (dx && dw)) * matrix_traffic(w, n))                       \
    X(attention_fwd,                                                                                                   \
      (oc_compute * c, void *o, float *lse, const void *q, const void *k, const void *v, const oc_attention *a),       \
      (c, o, lse, q, k, v, a), 2 * scores(a), "N heads kv_heads head_size", (a->N, a->NH, a->NKV, a->HS),              \
      attention_traffic(a, 1))                                                                                         \
    X(attention_bwd,                                                                                                   \
      (oc_compute * c, void *dq, void *dk, void *dv, const void *dO, const void *o, const float *lse, const void *q,   \
       const void *k, const void *v, const oc_attention *a),                                                           \
      (c, dq, dk, dv, dO, o, lse, q, k, v, a), 5 * scores(a), "N heads kv_heads head_size",                            \
      (a->N, a->NH, a->NKV, a->HS), attention_traffic(a, 2))                                                           \
    X(attention_decode,                                                                                                \
      (oc_compute * c, void *o, const void *q, const void *const *kc, const void *const *vc, const int32_t *len,       \
       int B, const oc_attention *a),                                                                                  \
      (c, o, q, kc, vc, len, B, a), decode_work(len, B, a), "B heads kv_heads head_size", (B, a->NH, a->NKV, a->HS),   \
      decode_work(len, B, a) / 2 / a->NH * a->NKV * SIZE(a->t))                                                        \
    X(layernorm_fwd,                                                                                                   \
      (oc_compute * c, void *y, float *mean, float *rstd, void *x, const void *add, const float *w, const float *b,    \
       int N, int C, float eps, oc_dtype t),                                                                           \
      (c, y, mean, rstd, x, add, w, b, N, C, eps, t), 0, "N C", (N, C), 2.0 * N * C * SIZE(t))                         \
    X(layernorm_bwd,                                                                                                   \
      (oc_compute * c, void *dx, float *dw, float *db, const void *dy, const void *x, const float *mean,               \
       const float *rstd, const float *w, int N, int C, oc_dtype t),                                                   \
      (c, dx, dw, db, dy, x, mean, rstd, w, N, C, t), 0, "N C", (N, C), 4.0 * N * C * SIZE(t))                         \
    X(rmsnorm_fwd,                                                                                                     \
      (oc_compute * c, void *y, float *rstd, void *x, const void *add, const float *w, int N, int C, float eps,        \
       oc_dtype t),                                                                                                    \
      (c, y, rstd, x, add, w, N, C, eps, t), 0, "N C", (N, C), 2.0 * N * C * SIZE(t))                                  \
    X(rmsnorm_bwd,                                                                                                     \
      (oc_compute * c, void *dx, float *dw, const void *dy, const void *x, const float *rstd, const float *w, int N,   \
       int C, oc_dtype t),                                                                                             \
      (c, dx, dw, dy, x, rstd, w, N, C, t), 0, "N C", (N, C), 4.0 * N * C * SIZE(t))                                   \
    X(rope,                                                                                                            \
      (oc_compute * c, void *x, int ldx, const int32_t *pos, const float *table, int N, int heads, int HS, int sign,   \
       oc_dtype t),                                                                                                    \
      (c, x, ldx, pos, table, N, heads, HS, sign, t), 0, "N heads head_size", (N, heads, HS),                          \
      2.0 * N * heads * HS * SIZE(t))                                                                                  \
    X(act_fwd, (oc_compute * c, void *y, const void *x, size_t n, oc_act act, oc_dtype t), (c, y, x, n, act, t), 0,    \
      "n", ((int64_t)n), 2.0 * (double)n * SIZE(t))                                                                    \
    X(act_bwd, (oc_compute * c, void *dx, const void *dy, const void *x, size_t n, oc_act act, oc_dtype t),            \
      (c, dx, dy, x, n, act, t), 0, "n", ((int64_t)n), 3.0 * (double)n * SIZE(t))                                      \
    X(swiglu_fwd, (oc_compute * c, void *y, const void *gu, int N, int F, oc_dtype t), (c, y, gu, N, F, t), 0, "N F",  \
      (N, F), 3.0 * N * F * SIZE(t))                                                                                   \
    X(swiglu_bwd, (oc_compute * c, void *dgu, const void *dy, const void *gu, int N, int F, oc_dtype t),               \
      (c, dgu, dy, gu, N, F, t), 0, "N F", (N, F), 5.0 * N * F * SIZE(t))                                              \
    X(add, (oc_compute * c, void *y, const void *a, const void *b, size_t n, oc_dtype t), (c, y, a, b, n, t), 0, "n",  \
      ((int64_t)n), 3.0 * (double)n * SIZE(t))                                                                         \
    X(convert, (oc_compute * c, void *y, oc_dtype ty, const void *x, oc_dtype tx, size_t n), (c, y, ty, x, tx, n), 0,  \
      "n", ((int64_t)n), (double)n *(SIZE(ty) + SIZE(tx)))                                                             \
    X(embedding_fwd,                                                                                                   \
      (oc_compute * c, void *y, const int32_t *id, const void *table, oc_dtype tt, int N, int C, oc_dtype t),          \
      (c, y, id, table, tt, N, C, t), 0, "N C", (N, C), (double)N *C *(SIZE(tt) + SIZE(t)))                            \
    X(embedding_bwd,                                                                                                   \
      (oc_compute * c, float *dtable, const int32_t *id, const void *dy, int N, int C, int V, oc_dtype t),             \
      (c, dtable, id, dy, N, C, V, t), 0, "N C V", (N, C, V), (double)N *C *(SIZE(t) + 8))                             \
    X(gather_rows, (oc_compute * c, void *y, const void *x, const int32_t *row, int N, int C, oc_dtype t),             \
      (c, y, x, row, N, C, t), 0, "N C", (N, C), 2.0 * N * C * SIZE(t))                                                \
    X(scatter_rows, (oc_compute * c, void *y, const void *x, const int32_t *row, int N, int C, bool acc, oc_dtype t),  \
      (c, y, x, row, N, C, acc, t), 0, "N C", (N, C), (2.0 + acc) * N * C * SIZE(t))                                   \
    X(patchify, (oc_compute * c, void *y, const float *pixels, int I, int S, int P, oc_dtype t),                       \
      (c, y, pixels, I, S, P, t), 0, "images size patch", (I, S, P), 3.0 * I * S * S * (4 + SIZE(t)))                  \
    X(position_add_fwd, (oc_compute * c, void *x, const float *pos, int N, int P, int C, oc_dtype t),                  \
      (c, x, pos, N, P, C, t), 0, "N C", (N, C), 2.0 * N * C * SIZE(t) + 4.0 * P * C)                                  \
    X(position_add_bwd, (oc_compute * c, float *dpos, const void *dx, int N, int P, int C, oc_dtype t),                \
      (c, dpos, dx, N, P, C, t), 0, "N C", (N, C), 1.0 * N * C * SIZE(t) + 8.0 * P * C)                                \
    X(merge_fwd, (oc_compute * c, void *y, const void *x, int I, int G, int s, int C, oc_dtype t),                     \
      (c, y, x, I, G, s, C, t), 0, "images grid merge C", (I, G, s, C), 2.0 * I * G * G * C * SIZE(t))                 \
    X(merge_bwd, (oc_compute * c, void *dx, const void *dy, int I, int G, int s, int C, oc_dtype t),                   \
      (c, dx, dy, I, G, s, C, t), 0, "images grid merge C", (I, G, s, C), 2.0 * I * G * G * C * SIZE(t))               \
    X(adamw, (oc_compute * c, float *w, float *m, float *v, const float *g, size_t n, const oc_adamw *o),              \
      (c, w, m, v, g, n, o), 0, "n", ((int64_t)n), 28.0 * (double)n)

#define ENUMERATE(name, ...) OP_##name,
enum { OPERATIONS(ENUMERATE) OP_sum_squares, N_OPERATIONS };
_Static_assert((int)N_OPERATIONS <= (int)OC_PROFILE_ROWS, "a row for each operation");

struct oc_profile {
    oc_ops real;
    oc_profile_row row[N_OPERATIONS];
    oc_trace *trace; /* not owned, may be NULL */
    int depth;       /* operations that are running: one may call another */
};

#define SIZE(t) ((double)oc_dtype_size(t))

static const oc_matrix_desc *desc(const oc_matrix *w) { return oc_ref_matrix(w); }

static double product(const oc_matrix *w, int N) { return 2.0 * N * desc(w)->rows * desc(w)->cols; }

static double matrix_traffic(const oc_matrix *w, int N) {
    const oc_matrix_desc *d = desc(w);
    return (double)N * ((double)d->rows + d->cols) * SIZE(d->t) + (double)d->rows * d->cols * SIZE(d->w_type);
}

/* q, k, v in, o out (`passes` 1); those, o and dO in, dq, dk, dv out (2). */
static double attention_traffic(const oc_attention *a, int passes) {
    return passes * 2.0 * a->N * (a->NH + a->NKV) * a->HS * SIZE(a->t);
}

/* Operations of one product between queries and keys (or probabilities and values), over the pairs that see each other. */
static double scores(const oc_attention *a) {
    double pairs = 0;
    for (int i = 0; i < a->N; i++) pairs += a->hi[i] - a->lo[i];
    return 2 * pairs * a->NH * a->HS;
}

static double decode_work(const int32_t *len, int B, const oc_attention *a) {
    double keys = 0;
    for (int b = 0; b < B; b++) keys += len[b];
    return 4 * keys * a->NH * a->HS;
}

static double enter(struct oc_profile *p) { return p->depth++ ? 0 : oc_now(); }

/* e: sizes, arithmetic and traffic of the call that began at e->start. */
static void leave(struct oc_profile *p, int op, oc_trace_event e) {
    if (--p->depth) return;
    e.seconds = oc_now() - e.start;
    p->row[op].calls++;
    p->row[op].seconds += e.seconds;
    p->row[op].flops += e.flops;
    e.name = p->row[op].name;
    e.category = OC_PROFILE_CATEGORY;
    oc_trace_add(p->trace, &e);
}

/* ---- 2. Wrappers --------------------------------------------------------------------------------------------------- */

#define VALUES(...) __VA_ARGS__
#define WRAPPER(name, params, args, work, labels, sizes, traffic)                                                      \
    static void profiled_##name params {                                                                               \
        double start = enter(c->profile);                                                                              \
        c->profile->real.name args;                                                                                    \
        leave(                                                                                                         \
            c->profile, OP_##name,                                                                                     \
            (oc_trace_event){.dims = labels, .dim = {VALUES sizes}, .start = start, .flops = work, .bytes = traffic}); \
    }
OPERATIONS(WRAPPER)

static double profiled_sum_squares(oc_compute *c, const float *x, size_t n) {
    double start = enter(c->profile), sum = c->profile->real.sum_squares(c, x, n);
    leave(c->profile, OP_sum_squares,
          (oc_trace_event){.dims = "n", .dim = {(int64_t)n}, .start = start, .bytes = 4.0 * (double)n});
    return sum;
}

/* ---- 3. Public ----------------------------------------------------------------------------------------------------- */

static void set_names(struct oc_profile *p) {
#define NAME(op, ...) p->row[OP_##op].name = #op;
    OPERATIONS(NAME)
    p->row[OP_sum_squares].name = "sum_squares";
}

oc_status oc_profile_start(oc_compute *c, oc_error *err) {
    oc_trace *trace = c->profile ? c->profile->trace : NULL;
    oc_profile_stop(c);
    struct oc_profile *p = oc_calloc(1, sizeof *p);
    if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a profile");
    set_names(p);
    p->real = c->ops;
    p->trace = trace;
    c->profile = p;
#define WRAP(name, ...) c->ops.name = profiled_##name;
    OPERATIONS(WRAP)
    c->ops.sum_squares = profiled_sum_squares;
    return OC_OK;
}

void oc_profile_trace(oc_compute *c, oc_trace *trace) {
    if (c->profile) c->profile->trace = trace;
}

void oc_profile_gave_up(oc_compute *c) {
    if (c->profile) c->profile->depth = 0;
}

void oc_profile_stop(oc_compute *c) {
    if (!c->profile) return;
    c->ops = c->profile->real;
    oc_free(c->profile);
    c->profile = NULL;
}

static int by_seconds(const void *a, const void *b) {
    const oc_profile_row *x = a, *y = b;
    return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : strcmp(x->name, y->name);
}

int oc_profile_read(const oc_compute *c, oc_profile_row row[OC_PROFILE_ROWS]) {
    int n = 0;
    for (int i = 0; c->profile && i < N_OPERATIONS; i++)
        if (c->profile->row[i].calls) row[n++] = c->profile->row[i];
    qsort(row, (size_t)n, sizeof *row, by_seconds);
    return n;
}
