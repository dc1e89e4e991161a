/* Every operation of the table that returns nothing, once: for what wraps them all (profile.c; the tests' device).
 *
 *     X(name, its parameters, how they are passed on, floating-point operations (a multiply-add is two), the names of its
 *       sizes, the sizes, bytes of operands and results (each once: what a perfect cache would read and write))
 *
 * Whoever expands it defines D(pointer to memory of the device), E(oc_epilogue *) and A(oc_attention *), which see each
 * argument of that kind; who uses the figures also SIZE, READABLE, desc, product, matrix_traffic, attention_traffic, scores and
 * decode_work, as profile.c does.
 * sum_squares, which returns a number, and the handling of matrices and memory are not in it. */
#ifndef OC_COMPUTE_OPERATIONS_H
#define OC_COMPUTE_OPERATIONS_H

#include "compute/compute.h"

#define OC_OPERATIONS(X)                                                                                               \
    X(linear_fwd,                                                                                                      \
      (oc_compute * c, void *y, int ldy, const void *x, int ldx, oc_matrix *w, int N, const oc_epilogue *e),           \
      (c, D(y), ldy, D(x), ldx, w, N, E(e)), product(w, N), "N rows cols", (N, desc(w)->rows, desc(w)->cols),          \
      matrix_traffic(w, N))                                                                                            \
    X(linear_bwd_x, (oc_compute * c, void *dx, int lddx, const void *dy, int lddy, oc_matrix *w, int N, bool acc),     \
      (c, D(dx), lddx, D(dy), lddy, w, N, acc), product(w, N), "N rows cols", (N, desc(w)->rows, desc(w)->cols),       \
      matrix_traffic(w, N))                                                                                            \
    X(linear_bwd_w,                                                                                                    \
      (oc_compute * c, float *dw, float *db, const void *dy, int lddy, const void *x, int ldx, oc_dtype t, int N,      \
       int rows, int cols),                                                                                            \
      (c, D(dw), D(db), D(dy), lddy, D(x), ldx, t, N, rows, cols), 2.0 * N * rows * cols, "N rows cols",               \
      (N, rows, cols), ((double)N * (rows + cols)) * SIZE(t) + 8.0 * rows * cols)                                      \
    X(linear_xent,                                                                                                     \
      (oc_compute * c, float *loss, uint8_t *correct, void *dx, float *dw, const void *x, const int32_t *target,       \
       const float *weight, oc_matrix *w, int n, float scale),                                                         \
      (c, D(loss), D(correct), D(dx), D(dw), D(x), D(target), D(weight), w, n, scale),                                 \
      product(w, n) * (1 + (dx != NULL) + (dx && dw)), "n V C", (n, desc(w)->rows, desc(w)->cols),                     \
      (1 + (dx != NULL) + (dx && dw)) * matrix_traffic(w, n))                                                          \
    X(attention_fwd,                                                                                                   \
      (oc_compute * c, void *o, float *lse, const void *q, const void *k, const void *v, const oc_attention *a),       \
      (c, D(o), D(lse), D(q), D(k), D(v), A(a)), 2 * scores(READABLE(c), a), "N heads kv_heads head_size",             \
      (a->N, a->NH, a->NKV, a->HS), attention_traffic(a, 1))                                                           \
    X(attention_bwd,                                                                                                   \
      (oc_compute * c, void *dq, void *dk, void *dv, const void *dO, const void *o, const float *lse, const void *q,   \
       const void *k, const void *v, const oc_attention *a),                                                           \
      (c, D(dq), D(dk), D(dv), D(dO), D(o), D(lse), D(q), D(k), D(v), A(a)), 5 * scores(READABLE(c), a),               \
      "N heads kv_heads head_size", (a->N, a->NH, a->NKV, a->HS), attention_traffic(a, 2))                             \
    X(attention_decode,                                                                                                \
      (oc_compute * c, void *o, const void *q, const void *k, const void *v, const int32_t *first, const int32_t *len, \
       int B, const oc_attention *a),                                                                                  \
      (c, D(o), D(q), D(k), D(v), D(first), D(len), B, A(a)), decode_work(READABLE(c), len, B, a),                     \
      "B heads kv_heads head_size", (B, a->NH, a->NKV, a->HS),                                                         \
      decode_work(READABLE(c), len, B, a) / 2 / a->NH * a->NKV * SIZE(a->t))                                           \
    X(layernorm_fwd,                                                                                                   \
      (oc_compute * c, void *y, float *mean, float *rstd, void *x, const void *add, const float *w, const float *b,    \
       int N, int C, float eps, oc_dtype t),                                                                           \
      (c, D(y), D(mean), D(rstd), D(x), D(add), D(w), D(b), N, C, eps, t), 0, "N C", (N, C), 2.0 * N * C * SIZE(t))    \
    X(layernorm_bwd,                                                                                                   \
      (oc_compute * c, void *dx, float *dw, float *db, const void *dy, const void *x, const float *mean,               \
       const float *rstd, const float *w, int N, int C, oc_dtype t),                                                   \
      (c, D(dx), D(dw), D(db), D(dy), D(x), D(mean), D(rstd), D(w), N, C, t), 0, "N C", (N, C), 4.0 * N * C * SIZE(t)) \
    X(rmsnorm_fwd,                                                                                                     \
      (oc_compute * c, void *y, float *rstd, void *x, const void *add, const float *w, int N, int C, float eps,        \
       oc_dtype t),                                                                                                    \
      (c, D(y), D(rstd), D(x), D(add), D(w), N, C, eps, t), 0, "N C", (N, C), 2.0 * N * C * SIZE(t))                   \
    X(rmsnorm_bwd,                                                                                                     \
      (oc_compute * c, void *dx, float *dw, const void *dy, const void *x, const float *rstd, const float *w, int N,   \
       int C, oc_dtype t),                                                                                             \
      (c, D(dx), D(dw), D(dy), D(x), D(rstd), D(w), N, C, t), 0, "N C", (N, C), 4.0 * N * C * SIZE(t))                 \
    X(rope,                                                                                                            \
      (oc_compute * c, void *x, int ldx, const int32_t *pos, const float *table, int N, int heads, int HS, int sign,   \
       oc_dtype t),                                                                                                    \
      (c, D(x), ldx, D(pos), D(table), N, heads, HS, sign, t), 0, "N heads head_size", (N, heads, HS),                 \
      2.0 * N * heads * HS * SIZE(t))                                                                                  \
    X(act_fwd, (oc_compute * c, void *y, const void *x, size_t n, oc_act act, oc_dtype t), (c, D(y), D(x), n, act, t), \
      0, "n", ((int64_t)n), 2.0 * (double)n * SIZE(t))                                                                 \
    X(act_bwd, (oc_compute * c, void *dx, const void *dy, const void *x, size_t n, oc_act act, oc_dtype t),            \
      (c, D(dx), D(dy), D(x), n, act, t), 0, "n", ((int64_t)n), 3.0 * (double)n * SIZE(t))                             \
    X(swiglu_fwd, (oc_compute * c, void *y, const void *gu, int N, int F, oc_dtype t), (c, D(y), D(gu), N, F, t), 0,   \
      "N F", (N, F), 3.0 * N * F * SIZE(t))                                                                            \
    X(swiglu_bwd, (oc_compute * c, void *dgu, const void *dy, const void *gu, int N, int F, oc_dtype t),               \
      (c, D(dgu), D(dy), D(gu), N, F, t), 0, "N F", (N, F), 5.0 * N * F * SIZE(t))                                     \
    X(add, (oc_compute * c, void *y, const void *a, const void *b, size_t n, oc_dtype t), (c, D(y), D(a), D(b), n, t), \
      0, "n", ((int64_t)n), 3.0 * (double)n * SIZE(t))                                                                 \
    X(convert, (oc_compute * c, void *y, oc_dtype ty, const void *x, oc_dtype tx, size_t n),                           \
      (c, D(y), ty, D(x), tx, n), 0, "n", ((int64_t)n), (double)n *(SIZE(ty) + SIZE(tx)))                              \
    X(embedding_fwd,                                                                                                   \
      (oc_compute * c, void *y, const int32_t *id, const void *table, oc_dtype tt, int N, int C, oc_dtype t),          \
      (c, D(y), D(id), D(table), tt, N, C, t), 0, "N C", (N, C), (double)N *C *(SIZE(tt) + SIZE(t)))                   \
    X(embedding_bwd,                                                                                                   \
      (oc_compute * c, float *dtable, const int32_t *id, const void *dy, int N, int C, int V, oc_dtype t),             \
      (c, D(dtable), D(id), D(dy), N, C, V, t), 0, "N C V", (N, C, V), (double)N *C *(SIZE(t) + 8))                    \
    X(gather_rows, (oc_compute * c, void *y, const void *x, const int32_t *row, int N, int C, oc_dtype t),             \
      (c, D(y), D(x), D(row), N, C, t), 0, "N C", (N, C), 2.0 * N * C * SIZE(t))                                       \
    X(scatter_rows,                                                                                                    \
      (oc_compute * c, void *y, const void *x, int ldx, const int32_t *row, int N, int C, bool acc, oc_dtype t),       \
      (c, D(y), D(x), ldx, D(row), N, C, acc, t), 0, "N C", (N, C), (2.0 + acc) * N * C * SIZE(t))                     \
    X(patchify, (oc_compute * c, void *y, const float *pixels, int I, int S, int P, oc_dtype t),                       \
      (c, D(y), D(pixels), I, S, P, t), 0, "images size patch", (I, S, P), 3.0 * I * S * S * (4 + SIZE(t)))            \
    X(position_add_fwd, (oc_compute * c, void *x, const float *pos, int N, int P, int C, oc_dtype t),                  \
      (c, D(x), D(pos), N, P, C, t), 0, "N C", (N, C), 2.0 * N * C * SIZE(t) + 4.0 * P * C)                            \
    X(position_add_bwd, (oc_compute * c, float *dpos, const void *dx, int N, int P, int C, oc_dtype t),                \
      (c, D(dpos), D(dx), N, P, C, t), 0, "N C", (N, C), 1.0 * N * C * SIZE(t) + 8.0 * P * C)                          \
    X(merge_fwd, (oc_compute * c, void *y, const void *x, int I, int G, int s, int C, oc_dtype t),                     \
      (c, D(y), D(x), I, G, s, C, t), 0, "images grid merge C", (I, G, s, C), 2.0 * I * G * G * C * SIZE(t))           \
    X(merge_bwd, (oc_compute * c, void *dx, const void *dy, int I, int G, int s, int C, oc_dtype t),                   \
      (c, D(dx), D(dy), I, G, s, C, t), 0, "images grid merge C", (I, G, s, C), 2.0 * I * G * G * C * SIZE(t))         \
    X(adamw, (oc_compute * c, float *w, float *m, float *v, const float *g, size_t n, const oc_adamw *o),              \
      (c, D(w), D(m), D(v), D(g), n, o), 0, "n", ((int64_t)n), 28.0 * (double)n)                                       \
    X(average, (oc_compute * c, float *avg, const float *w, size_t n, float keep, float add),                          \
      (c, D(avg), D(w), n, keep, add), 0, "n", ((int64_t)n), 12.0 * (double)n)                                         \
    X(swap, (oc_compute * c, float *x, float *y, size_t n), (c, D(x), D(y), n), 0, "n", ((int64_t)n),                  \
      16.0 * (double)n)                                                                                                \
    X(add_narrow, (oc_compute * c, uint16_t * y, const float *x, size_t n), (c, D(y), D(x), n), 0, "n", ((int64_t)n),  \
      8.0 * (double)n)                                                                                                 \
    X(round_random, (oc_compute * c, uint16_t * y, const float *x, size_t n, uint64_t key, size_t first),              \
      (c, D(y), D(x), n, key, first), 0, "n", ((int64_t)n), 6.0 * (double)n)                                           \
    X(zero, (oc_compute * c, void *x, size_t bytes), (c, D(x), bytes), 0, "n", ((int64_t)bytes), (double)bytes)

#endif
