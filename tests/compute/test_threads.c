/* Results do not depend on the number of threads, and are the same from run to run: every operation of every
 * backend with 1, 2 and 3 threads, bit for bit. Sizes are above OC_CPU_LARGE, or nobody would help. */
#include "compute/common.h"

enum { MAX_RESULTS = 48, N = 150, C = 136, ROWS = 152, V = 700 };

/* What one run of all operations wrote. */
typedef struct results {
    int count;
    struct {
        const char *what;
        void *data;
        size_t bytes;
    } r[MAX_RESULTS];
} results;

static void *result(ctx *x, results *out, const char *what, size_t n, oc_dtype t) {
    assert_true(out->count < MAX_RESULTS);
    void *p = normal_n(x, n, t, 1.0, 0.0);
    out->r[out->count].what = what;
    out->r[out->count].data = p;
    out->r[out->count++].bytes = n * oc_dtype_size(t);
    return p;
}

static void run_linear(ctx *x, results *out) {
    const oc_ops *ops = &x->c->ops;
    const float *w = normal_f32(x, ROWS * C, 0.1), *head = normal_f32(x, V * C, 0.1),
                *b = normal_f32(x, ROWS, 1.0);
    const void *in = normal(x, N * C, 1.0), *dy = normal(x, N * ROWS, 1.0);
    oc_matrix *m = ops->matrix_create(x->c, &(oc_matrix_desc){.w = w, .t = x->t, .rows = ROWS, .cols = C});
    oc_matrix *h = ops->matrix_create(x->c, &(oc_matrix_desc){.w = head, .t = x->t, .rows = V, .cols = C});
    int32_t *target = take(N * 4);
    for (int i = 0; i < N; i++) target[i] = (int32_t)oc_rng_below(&x->rng, V);
    const oc_epilogue e = {
        .bias = b, .act = OC_ACT_GELU_TANH, .pre_act = result(x, out, "pre_act", N * ROWS, x->t)};
    ops->linear_fwd(x->c, result(x, out, "linear_fwd", N * ROWS, x->t), ROWS, in, C, m, N, &e);
    ops->linear_fwd(x->c, result(x, out, "linear_fwd of one row", ROWS, x->t), ROWS, in, C, m, 1,
                    &(oc_epilogue){0});
    ops->linear_bwd_x(x->c, result(x, out, "linear_bwd_x", N * C, x->t), C, dy, ROWS, m, N, false);
    ops->linear_bwd_x(x->c, result(x, out, "linear_bwd_x +=", N * C, x->t), C, dy, ROWS, m, N, true);
    float *dw = result(x, out, "linear_bwd_w dw", ROWS * C, OC_F32),
          *db = result(x, out, "linear_bwd_w db", ROWS, OC_F32);
    ops->linear_bwd_w(x->c, dw, db, dy, ROWS, in, C, x->t, N, ROWS, C);
    float *loss = result(x, out, "linear_xent loss", N, OC_F32),
          *dh = result(x, out, "linear_xent dw", V * C, OC_F32);
    ops->linear_xent(x->c, loss, NULL, result(x, out, "linear_xent dx", N * C, x->t), dh, in, target, NULL, h, N,
                     0.5f);
    ops->matrix_free(x->c, m);
    ops->matrix_free(x->c, h);
}

static void run_attention(ctx *x, results *out) {
    enum { NH = 6, NKV = 2, HS = 24, QW = NH * HS, KW = NKV * HS };
    const oc_ops *ops = &x->c->ops;
    int32_t *lo = take(N * 4), *hi = take(N * 4), len[3] = {N, 77, 1};
    for (int i = 0; i < N; i++) lo[i] = i < 70 ? 0 : 70, hi[i] = i < 40 ? 40 : i + 1;
    const oc_attention a = {.N = N,
                            .NH = NH,
                            .NKV = NKV,
                            .HS = HS,
                            .ldq = QW,
                            .ldkv = KW,
                            .ldo = QW,
                            .lo = lo,
                            .hi = hi,
                            .scale = 0.2f,
                            .t = x->t};
    const void *q = normal(x, N * QW, 1.0), *k = normal(x, N * KW, 1.0), *v = normal(x, N * KW, 1.0);
    const void *dO = normal(x, N * QW, 1.0);
    void *o = result(x, out, "attention_fwd o", N * QW, x->t);
    float *lse = result(x, out, "attention_fwd lse", N * NH, OC_F32);
    ops->attention_fwd(x->c, o, lse, q, k, v, &a);
    void *dq = result(x, out, "attention_bwd dq", N * QW, x->t),
         *dk = result(x, out, "attention_bwd dk", N * KW, x->t);
    ops->attention_bwd(x->c, dq, dk, result(x, out, "attention_bwd dv", N * KW, x->t), dO, o, lse, q, k, v,
                       &a);
    static const int32_t first[3] = {0};
    ops->attention_decode(x->c, result(x, out, "attention_decode", 3 * QW, x->t), q, k, v, first, len, 3,
                          &a);
    ops->attention_decode(x->c, result(x, out, "attention_decode of one", QW, x->t), q, k, v, first, len, 1,
                          &a);
}

static void run_norms(ctx *x, results *out) {
    const oc_ops *ops = &x->c->ops;
    const float *w = normal_f32(x, C, 1.0), *b = normal_f32(x, C, 1.0);
    const void *add = normal(x, N * C, 1.0), *dy = normal(x, N * C, 1.0);
    void *in = result(x, out, "layernorm_fwd x", N * C, x->t);
    float *mean = result(x, out, "layernorm_fwd mean", N, OC_F32),
          *rstd = result(x, out, "layernorm_fwd rstd", N, OC_F32);
    ops->layernorm_fwd(x->c, result(x, out, "layernorm_fwd y", N * C, x->t), mean, rstd, in, add, w, b, N, C,
                       1e-6f, x->t);
    float *dw = result(x, out, "layernorm_bwd dw", C, OC_F32),
          *db = result(x, out, "layernorm_bwd db", C, OC_F32);
    void *dx = result(x, out, "layernorm_bwd dx", N * C, x->t);
    ops->layernorm_bwd(x->c, dx, dw, db, dy, in, mean, rstd, w, N, C, x->t);
    rstd = result(x, out, "rmsnorm_fwd rstd", N, OC_F32);
    ops->rmsnorm_fwd(x->c, result(x, out, "rmsnorm_fwd y", N * C, x->t), rstd, in, NULL, w, N, C, 1e-6f,
                     x->t);
    dw = result(x, out, "rmsnorm_bwd dw", C, OC_F32);
    ops->rmsnorm_bwd(x->c, result(x, out, "rmsnorm_bwd dx", N * C, x->t), dw, dy, in, rstd, w, N, C, x->t);
}

static void run_rest(ctx *x, results *out) {
    enum { HS = 8, F = C / 2 };
    const oc_ops *ops = &x->c->ops;
    size_t n = N * C;
    const void *in = normal(x, n, 2.0), *dy = normal(x, n, 1.0);
    const float *pos = normal_f32(x, 10 * C, 1.0), *grad = normal_f32(x, V * C, 1.0);
    int32_t *id = take(N * 4), *position = take(N * 4);
    for (int i = 0; i < N; i++) id[i] = i % 7 - 1, position[i] = i;
    float table[N * HS];
    oc_rope_table(table, N, HS, 10000.0f);
    ops->rope(x->c, result(x, out, "rope", n, x->t), C, position, table, N, C / HS, HS, 1, x->t);
    ops->act_fwd(x->c, result(x, out, "act_fwd", n, x->t), in, n, OC_ACT_GELU_ERF, x->t);
    ops->act_bwd(x->c, result(x, out, "act_bwd", n, x->t), dy, in, n, OC_ACT_GELU_TANH, x->t);
    ops->swiglu_fwd(x->c, result(x, out, "swiglu_fwd", N * F, x->t), in, N, F, x->t);
    ops->swiglu_bwd(x->c, result(x, out, "swiglu_bwd", n, x->t), dy, in, N, F, x->t);
    ops->add(x->c, result(x, out, "add", n, x->t), in, dy, n, x->t);
    ops->convert(x->c, result(x, out, "convert", V * C, OC_BF16), OC_BF16, grad, OC_F32, V * C);
    ops->embedding_fwd(x->c, result(x, out, "embedding_fwd", n, x->t), id + 1, grad, OC_F32, 5, C, x->t);
    ops->embedding_bwd(x->c, result(x, out, "embedding_bwd", 6 * C, OC_F32), id, dy, N, C, 6, x->t);
    ops->scatter_rows(x->c, result(x, out, "scatter_rows", 6 * C, x->t), dy, C, id, N, C, true, x->t);
    ops->position_add_fwd(x->c, result(x, out, "position_add_fwd", n, x->t), pos, N, 10, C, x->t);
    ops->position_add_bwd(x->c, result(x, out, "position_add_bwd", 10 * C, OC_F32), dy, N, 10, C, x->t);
    float *w = result(x, out, "adamw w", V * C, OC_F32), *m = result(x, out, "adamw m", V * C, OC_F32),
          *v = take(V * C * 4);
    const oc_adamw o = {
        .lr = 0.1f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .decay = 0.1f, .grad_scale = 1, .step = 3};
    ops->adamw(x->c, w, m, v, grad, V * C, &o);
    double *sum = result(x, out, "sum_squares", 2, OC_F32);
    *sum = ops->sum_squares(x->c, grad, V * C);
}

static results run_all(const char *backend, oc_dtype t, int threads) {
    ctx x = {.c = open_backend(backend, threads), .t = t, .rng = oc_rng_seed(7)};
    results out = {0};
    /* oneDNN, which multiplies there, divides long sums among its threads as it likes */
    if (strcmp(backend, "portable") != 0) run_linear(&x, &out);
    run_attention(&x, &out);
    run_norms(&x, &out);
    run_rest(&x, &out);
    oc_compute_close(x.c);
    return out;
}

static void test_same_bits(void **state) {
    OC_UNUSED(state);
    static const int threads[] = {1, 2, 3};
    const char *name[16];
    int backends = oc_compute_backends(name, 16);
    for (int i = 0; i < backends; i++)
        for (oc_dtype t = OC_F32; t <= OC_BF16; t++) {
            const results want = run_all(name[i], t, 2);
            for (size_t k = 0; k < OC_COUNT(threads); k++) {
                const results got = run_all(name[i], t, threads[k]);
                assert_int_equal(got.count, want.count);
                for (int r = 0; r < want.count; r++)
                    if (memcmp(got.r[r].data, want.r[r].data, want.r[r].bytes) != 0)
                        fail_msg("%s %s, %s: %d threads differ from 2", name[i], oc_dtype_name(t),
                                 want.r[r].what, threads[k]);
            }
            release_all();
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
