/* 1. counting  2. one wrapper per operation  3. public calls */
#include "compute/profile.h"

#include <stdlib.h>
#include <string.h>

#include "compute/cpu/ref/ref.h"

/* ---- 1. Counting --------------------------------------------------------------------------------------------------- */

/* name, its parameters after oc_compute *, how they are passed on, floating-point operations (a multiply-add is two). */
#define OPERATIONS(X)                                                                                                  \
    X(linear_fwd,                                                                                                      \
      (oc_compute * c, void *y, int ldy, const void *x, int ldx, oc_matrix *w, int N, const oc_epilogue *e),           \
      (c, y, ldy, x, ldx, w, N, e), product(w, N))                                                                     \
    X(linear_bwd_x, (oc_compute * c, void *dx, int lddx, const void *dy, int lddy, oc_matrix *w, int N, bool acc),     \
      (c, dx, lddx, dy, lddy, w, N, acc), product(w, N))                                                               \
    X(linear_bwd_w,                                                                                                    \
      (oc_compute * c, float *dw, float *db, const void *dy, int lddy, const void *x, int ldx, oc_dtype t, int N,      \
       int rows, int cols),                                                                                            \
      (c, dw, db, dy, lddy, x, ldx, t, N, rows, cols), 2.0 * N * rows * cols)                                          \
    X(linear_xent,                                                                                                     \
      (oc_compute * c, float *loss, uint8_t *correct, void *dx, float *dw, const void *x, const int32_t *target,       \
       oc_matrix *w, int n, float scale),                                                                              \
      (c, loss, correct, dx, dw, x, target, w, n, scale), product(w, n) * (1 + (dx != NULL) + (dx && dw)))             \
    X(attention_fwd,                                                                                                   \
      (oc_compute * c, void *o, float *lse, const void *q, const void *k, const void *v, const oc_attention *a),       \
      (c, o, lse, q, k, v, a), 2 * scores(a))                                                                          \
    X(attention_bwd,                                                                                                   \
      (oc_compute * c, void *dq, void *dk, void *dv, const void *dO, const void *o, const float *lse, const void *q,   \
       const void *k, const void *v, const oc_attention *a),                                                           \
      (c, dq, dk, dv, dO, o, lse, q, k, v, a), 5 * scores(a))                                                          \
    X(attention_decode,                                                                                                \
      (oc_compute * c, void *o, const void *q, const void *const *kc, const void *const *vc, const int32_t *len,       \
       int B, const oc_attention *a),                                                                                  \
      (c, o, q, kc, vc, len, B, a), decode_work(len, B, a))                                                            \
    X(layernorm_fwd,                                                                                                   \
      (oc_compute * c, void *y, float *mean, float *rstd, void *x, const void *add, const float *w, const float *b,    \
       int N, int C, float eps, oc_dtype t),                                                                           \
      (c, y, mean, rstd, x, add, w, b, N, C, eps, t), 0)                                                               \
    X(layernorm_bwd,                                                                                                   \
      (oc_compute * c, void *dx, float *dw, float *db, const void *dy, const void *x, const float *mean,               \
       const float *rstd, const float *w, int N, int C, oc_dtype t),                                                   \
      (c, dx, dw, db, dy, x, mean, rstd, w, N, C, t), 0)                                                               \
    X(rmsnorm_fwd,                                                                                                     \
      (oc_compute * c, void *y, float *rstd, void *x, const void *add, const float *w, int N, int C, float eps,        \
       oc_dtype t),                                                                                                    \
      (c, y, rstd, x, add, w, N, C, eps, t), 0)                                                                        \
    X(rmsnorm_bwd,                                                                                                     \
      (oc_compute * c, void *dx, float *dw, const void *dy, const void *x, const float *rstd, const float *w, int N,   \
       int C, oc_dtype t),                                                                                             \
      (c, dx, dw, dy, x, rstd, w, N, C, t), 0)                                                                         \
    X(rope,                                                                                                            \
      (oc_compute * c, void *x, int ldx, const int32_t *pos, const float *table, int N, int heads, int HS, int sign,   \
       oc_dtype t),                                                                                                    \
      (c, x, ldx, pos, table, N, heads, HS, sign, t), 0)                                                               \
    X(act_fwd, (oc_compute * c, void *y, const void *x, size_t n, oc_act act, oc_dtype t), (c, y, x, n, act, t), 0)    \
    X(act_bwd, (oc_compute * c, void *dx, const void *dy, const void *x, size_t n, oc_act act, oc_dtype t),            \
      (c, dx, dy, x, n, act, t), 0)                                                                                    \
    X(swiglu_fwd, (oc_compute * c, void *y, const void *gu, int N, int F, oc_dtype t), (c, y, gu, N, F, t), 0)         \
    X(swiglu_bwd, (oc_compute * c, void *dgu, const void *dy, const void *gu, int N, int F, oc_dtype t),               \
      (c, dgu, dy, gu, N, F, t), 0)                                                                                    \
    X(add, (oc_compute * c, void *y, const void *a, const void *b, size_t n, oc_dtype t), (c, y, a, b, n, t), 0)       \
    X(convert, (oc_compute * c, void *y, oc_dtype ty, const void *x, oc_dtype tx, size_t n), (c, y, ty, x, tx, n), 0)  \
    X(embedding_fwd,                                                                                                   \
      (oc_compute * c, void *y, const int32_t *id, const void *table, oc_dtype tt, int N, int C, oc_dtype t),          \
      (c, y, id, table, tt, N, C, t), 0)                                                                               \
    X(embedding_bwd,                                                                                                   \
      (oc_compute * c, float *dtable, const int32_t *id, const void *dy, int N, int C, int V, oc_dtype t),             \
      (c, dtable, id, dy, N, C, V, t), 0)                                                                              \
    X(gather_rows, (oc_compute * c, void *y, const void *x, const int32_t *row, int N, int C, oc_dtype t),             \
      (c, y, x, row, N, C, t), 0)                                                                                      \
    X(scatter_rows, (oc_compute * c, void *y, const void *x, const int32_t *row, int N, int C, bool acc, oc_dtype t),  \
      (c, y, x, row, N, C, acc, t), 0)                                                                                 \
    X(patchify, (oc_compute * c, void *y, const float *pixels, int I, int S, int P, oc_dtype t),                       \
      (c, y, pixels, I, S, P, t), 0)                                                                                   \
    X(position_add_fwd, (oc_compute * c, void *x, const float *pos, int N, int P, int C, oc_dtype t),                  \
      (c, x, pos, N, P, C, t), 0)                                                                                      \
    X(position_add_bwd, (oc_compute * c, float *dpos, const void *dx, int N, int P, int C, oc_dtype t),                \
      (c, dpos, dx, N, P, C, t), 0)                                                                                    \
    X(merge_fwd, (oc_compute * c, void *y, const void *x, int I, int G, int s, int C, oc_dtype t),                     \
      (c, y, x, I, G, s, C, t), 0)                                                                                     \
    X(merge_bwd, (oc_compute * c, void *dx, const void *dy, int I, int G, int s, int C, oc_dtype t),                   \
      (c, dx, dy, I, G, s, C, t), 0)                                                                                   \
    X(adamw, (oc_compute * c, float *w, float *m, float *v, const float *g, size_t n, const oc_adamw *o),              \
      (c, w, m, v, g, n, o), 0)

#define ENUMERATE(name, params, args, flops) OP_##name,
enum { OPERATIONS(ENUMERATE) OP_sum_squares, N_OPERATIONS };
_Static_assert((int)N_OPERATIONS <= (int)OC_PROFILE_ROWS, "a row for each operation");

struct oc_profile {
    oc_ops real;
    oc_profile_row row[N_OPERATIONS];
    int depth; /* operations that are running: one may call another */
};

static double product(const oc_matrix *w, int N) {
    const oc_matrix_desc *d = oc_ref_matrix(w);
    return 2.0 * N * d->rows * d->cols;
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

static void leave(struct oc_profile *p, int op, double start, double flops) {
    if (--p->depth) return;
    p->row[op].calls++;
    p->row[op].seconds += oc_now() - start;
    p->row[op].flops += flops;
}

/* ---- 2. Wrappers --------------------------------------------------------------------------------------------------- */

#define WRAPPER(name, params, args, flops)                                                                             \
    static void profiled_##name params {                                                                               \
        double start = enter(c->profile);                                                                              \
        c->profile->real.name args;                                                                                    \
        leave(c->profile, OP_##name, start, flops);                                                                    \
    }
OPERATIONS(WRAPPER)

static double profiled_sum_squares(oc_compute *c, const float *x, size_t n) {
    double start = enter(c->profile), sum = c->profile->real.sum_squares(c, x, n);
    leave(c->profile, OP_sum_squares, start, 0);
    return sum;
}

/* ---- 3. Public ----------------------------------------------------------------------------------------------------- */

static void set_names(struct oc_profile *p) {
#define NAME(op, params, args, flops) p->row[OP_##op].name = #op;
    OPERATIONS(NAME)
    p->row[OP_sum_squares].name = "sum_squares";
}

oc_status oc_profile_start(oc_compute *c, oc_error *err) {
    oc_profile_stop(c);
    struct oc_profile *p = oc_calloc(1, sizeof *p);
    if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a profile");
    set_names(p);
    p->real = c->ops;
    c->profile = p;
#define WRAP(name, params, args, flops) c->ops.name = profiled_##name;
    OPERATIONS(WRAP)
    c->ops.sum_squares = profiled_sum_squares;
    return OC_OK;
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
