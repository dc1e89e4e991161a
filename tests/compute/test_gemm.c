/* Matrix products behind the table: every engine against sums in double, at the sizes where packing, panels,
 * blocks of k and tasks end; what the parity tests of the table do not reach. */
#include "compute/common.h"
#include "compute/cpu/gemm/gemm.h"

/* ---- Every engine against the definition ----------------------------------------------------------- */

typedef struct product {
    int m, n, k, pad; /* pad: how much longer than their rows all strides are */
} product;

static float activated(float v, oc_act act) {
    double x = (double)v;
    if (act == OC_ACT_GELU_ERF) return (float)(0.5 * x * (1 + erf(x / sqrt(2))));
    if (act == OC_ACT_GELU_TANH)
        return (float)(0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))));
    return v;
}

/* Element (i, j) of an operand as a number of type t. */
static double operand(const oc_gemm_operand *o, oc_dtype t, size_t i, size_t j) {
    float v = get(o->p, o->trans ? j * o->ld + i : i * o->ld + j, o->type);
    return (double)(t == OC_BF16 ? oc_bf16_to_f32(oc_f32_to_bf16(v)) : v);
}

static void by_definition(const oc_gemm *g) {
    for (size_t i = 0; i < (size_t)g->m; i++)
        for (size_t j = 0; j < (size_t)g->n; j++) {
            size_t at = i * g->ldc + j;
            double sum = g->accumulate ? (double)get(g->c, at, g->c_type) : 0;
            for (size_t p = 0; p < (size_t)g->k; p++)
                sum += operand(&g->a, g->t, i, p) * operand(&g->b, g->t, p, j);
            if (g->e && g->e->bias) sum += (double)g->e->bias[j];
            if (g->e && g->e->pre_act) put(g->e->pre_act, at, g->c_type, sum);
            float v = g->e ? activated((float)sum, g->e->act) : (float)sum;
            if (g->e && g->e->residual) v += get(g->e->residual, at, g->c_type);
            put(g->c, at, g->c_type, (double)v);
        }
}

/* Runs one product on every engine that can, each on its own copy of what is written. */
static void on_every_engine(ctx *x, const oc_gemm *g) {
    size_t n = span(g->m, g->n, (int)g->ldc);
    oc_gemm want = *g;
    oc_epilogue e_want = g->e ? *g->e : (oc_epilogue){0};
    want.c = copy_of(g->c, n, g->c_type);
    if (g->e) want.e = &e_want;
    if (e_want.pre_act) e_want.pre_act = copy_of(g->e->pre_act, n, g->c_type);
    if (e_want.residual == g->c) e_want.residual = want.c;
    by_definition(&want);
    for (int engine = 0; engine < OC_GEMM_ENGINES; engine++) {
        oc_gemm got = *g;
        oc_epilogue e = e_want;
        if (!oc_gemm_can(x->c, g, (oc_gemm_engine)engine)) continue;
        got.c = copy_of(g->c, n, g->c_type);
        if (g->e) got.e = &e;
        if (e.pre_act) e.pre_act = copy_of(g->e->pre_act, n, g->c_type);
        if (e.residual) e.residual = g->e->residual == g->c ? got.c : g->e->residual;
        oc_gemm_run_on(x->c, &got, (oc_gemm_engine)engine);
        char what[64];
        snprintf(what, sizeof what, "engine %d", engine);
        same(x, what, got.c, want.c, g->m, g->n, (int)g->ldc, g->c_type, tolerance(g->c_type), 0.5);
        if (e.pre_act)
            same(x, what, e.pre_act, e_want.pre_act, g->m, g->n, (int)g->ldc, g->c_type, tolerance(g->c_type),
                 0.5);
    }
}

/* Rows, columns and k around 6, 16, 64, 256 and the blocks of k (576 and 256 units), and long strides. */
static const product products[] = {
    {1, 1, 1, 0},      {6, 64, 32, 0},    {7, 65, 33, 1},     {13, 257, 31, 9},
    {65, 63, 1153, 0}, {33, 5, 1300, 7},  {129, 300, 9, 0},   {70, 16, 77, 200},
    {3, 130, 2310, 0}, {130, 31, 601, 0}, {100, 3, 16500, 0}, /* panels of B that are too large to keep */
};

static void forward_and_backward(ctx *x) {
    for (size_t s = 0; s < OC_COUNT(products); s++)
        for (int variant = 0; variant < 6; variant++) {
            const product *p = &products[s];
            oc_dtype w_type = variant % 2 ? OC_F32 : OC_BF16;
            bool trans = variant != 4, pad = p->pad > 0;
            snprintf(x->shape, sizeof x->shape, "m %d, n %d, k %d, strides +%d, variant %d", p->m, p->n, p->k,
                     p->pad, variant);
            size_t lda = (size_t)(p->k + p->pad), ldc = (size_t)(p->n + p->pad),
                   ldb = (size_t)(trans ? p->k : p->n);
            oc_epilogue e = {.act = (oc_act)(variant % 3)};
            oc_gemm g = {.m = p->m, .n = p->n, .k = p->k, .t = x->t, .ldc = ldc, .c_type = x->t};
            g.a = (oc_gemm_operand){normal(x, span(p->m, p->k, (int)lda), 1.0), x->t, false, lda};
            g.b = (oc_gemm_operand){normal_n(x, (size_t)p->n * (size_t)p->k, w_type, 1.0 / sqrt(p->k), 0),
                                    w_type, trans, ldb};
            g.c = normal(x, span(p->m, p->n, (int)ldc), 1.0);
            oc_matrix w = {.d = {.w = g.b.p,
                                 .w_type = w_type,
                                 .t = x->t,
                                 .rows = trans ? p->n : p->k,
                                 .cols = trans ? p->k : p->n}};
            g.w = &w;
            if (variant < 4) g.e = &e;
            if (variant == 4) g.accumulate = pad;
            if (variant & 1) e.bias = normal_f32(x, (size_t)p->n, 1.0);
            if (variant & 2) e.pre_act = normal(x, span(p->m, p->n, (int)ldc), 1.0);
            if (variant == 1) e.residual = normal(x, span(p->m, p->n, (int)ldc), 1.0);
            if (variant == 3 || variant == 0) e.residual = g.c;
            on_every_engine(x, &g);
            for (int i = 0; i < OC_GEMM_PACKS; i++) oc_gemm_dnnl_pack_free(w.pack[i]);
            release_all();
        }
}

static void test_products(void **state) {
    OC_UNUSED(state);
    each_backend(2, forward_and_backward);
}

static void weight_gradient(ctx *x) {
    for (size_t s = 0; s < OC_COUNT(products); s++) {
        const product *p = &products[s];
        snprintf(x->shape, sizeof x->shape, "gradient, m %d, n %d, k %d, strides +%d", p->m, p->n, p->k,
                 p->pad);
        oc_gemm g = {.m = p->m,
                     .n = p->n,
                     .k = p->k,
                     .t = x->t,
                     .ldc = (size_t)p->n,
                     .c_type = OC_F32,
                     .accumulate = s % 2};
        size_t lda = (size_t)(p->m + p->pad), ldb = (size_t)(p->n + p->pad);
        g.a = (oc_gemm_operand){normal(x, span(p->k, p->m, (int)lda), 1.0), x->t, true, lda};
        g.b = (oc_gemm_operand){normal(x, span(p->k, p->n, (int)ldb), 1.0), x->t, false, ldb};
        g.c = normal_f32(x, (size_t)p->m * (size_t)p->n, 1.0);
        on_every_engine(x, &g);
        release_all();
    }
}

static void test_weight_gradient(void **state) {
    OC_UNUSED(state);
    each_backend(2, weight_gradient);
}

/* More tokens than the shared panels of a gradient take at once (8 MiB). */
static void many_tokens(ctx *x) {
    enum { M = 60, COLS = 64 };
    int N = x->t == OC_F32 ? 36000 : 71000;
    oc_gemm g = {.m = M, .n = COLS, .k = N, .t = x->t, .ldc = COLS, .c_type = OC_F32};
    g.a = (oc_gemm_operand){normal(x, (size_t)N * M, 1.0), x->t, true, M};
    g.b = (oc_gemm_operand){normal(x, (size_t)N * COLS, 1.0), x->t, false, COLS};
    g.c = normal_f32(x, M * COLS, 1.0);
    if (!oc_gemm_can(x->c, &g, OC_GEMM_BLOCKED)) return;
    const float *a = converted(g.a.p, (size_t)N * M, x->t, OC_F32),
                *b = converted(g.b.p, (size_t)N * COLS, x->t, OC_F32);
    double *sum = take(M * COLS * sizeof *sum);
    for (size_t n = 0; n < (size_t)N; n++)
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < COLS; j++)
                sum[i * COLS + j] += (double)a[n * M + i] * (double)b[n * COLS + j];
    float *want = take(M * COLS * sizeof *want);
    for (size_t i = 0; i < M * COLS; i++) want[i] = (float)sum[i];
    oc_gemm_run_on(x->c, &g, OC_GEMM_BLOCKED);
    snprintf(x->shape, sizeof x->shape, "gradient of %d tokens", N);
    same_flat(x, "blocked", g.c, want, M * COLS, OC_F32, TOL_F32, 1.0);
}

static void test_many_tokens(void **state) {
    OC_UNUSED(state);
    each_backend(2, many_tokens);
}

/* ---- Sinks ----------------------------------------------------------------------------------------- */

enum { SINK_M = 131, SINK_N = 1100, SINK_K = 700 };

static void collect(void *context, int row, int col, int rows, int cols, const float *sums, size_t ld) {
    float *c = context;
    assert_int_equal(col % OC_GEMM_GROUP, 0);
    assert_int_equal(cols, OC_MIN(OC_GEMM_GROUP, SINK_N - col));
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) c[(row + i) * SINK_N + col + j] += sums[(size_t)i * ld + (size_t)j];
}

static void sink(ctx *x) {
    oc_gemm g = {.m = SINK_M, .n = SINK_N, .k = SINK_K, .t = x->t, .ldc = SINK_N, .c_type = OC_F32};
    g.a = (oc_gemm_operand){normal(x, SINK_M * SINK_K, 1.0), x->t, false, SINK_K};
    g.b = (oc_gemm_operand){normal_n(x, SINK_N * SINK_K, OC_F32, 1.0, 0), OC_F32, true, SINK_K};
    float *stored = g.c = normal_f32(x, SINK_M * SINK_N, 1.0),
          *collected = take(SINK_M * SINK_N * sizeof(float));
    if (!oc_gemm_can(x->c, &g, OC_GEMM_BLOCKED)) return;
    oc_gemm_run_on(x->c, &g, OC_GEMM_BLOCKED);
    g.sink = collect;
    g.sink_context = collected;
    oc_gemm_run_on(x->c, &g, OC_GEMM_BLOCKED);
    identical(x, "each sum exactly once", collected, stored, SINK_M * SINK_N, OC_F32);
}

static void test_sink(void **state) {
    OC_UNUSED(state);
    each_backend(2, sink);
}

/* ---- Threads --------------------------------------------------------------------------------------- */

static void product_on_threads(ctx *x, int threads, const void *in, const void *w, void *y, float *dw) {
    enum { N = 211, COLS = 130, ROWS = 515 };
    oc_compute *c = open_backend(x->c->ops.name, threads);
    const oc_matrix_desc d = {.w = w, .w_type = OC_F32, .t = x->t, .rows = ROWS, .cols = COLS};
    oc_matrix *m = c->ops.matrix_create(c, &d);
    const oc_epilogue e = {.act = OC_ACT_GELU_TANH};
    c->ops.linear_fwd(c, y, ROWS, in, COLS, m, N, &e);
    c->ops.linear_bwd_w(c, dw, NULL, y, ROWS, in, COLS, x->t, N, ROWS, COLS);
    c->ops.matrix_free(c, m);
    oc_compute_close(c);
}

static void thread_counts(ctx *x) {
    const void *in = normal(x, 211 * 130, 1.0), *w = normal_f32(x, 515 * 130, 0.1);
    void *y = take(211 * 515 * 4), *y2 = take(211 * 515 * 4);
    float *dw = take(515 * 130 * 4), *dw2 = take(515 * 130 * 4);
    product_on_threads(x, 1, in, w, y, dw);
    for (int threads = 2; threads <= 5; threads++) {
        memset(dw2, 0, 515 * 130 * 4);
        product_on_threads(x, threads, in, w, y2, dw2);
        snprintf(x->shape, sizeof x->shape, "%d threads", threads);
        identical(x, "linear_fwd", y2, y, 211 * 515, x->t);
        identical(x, "linear_bwd_w", dw2, dw, 515 * 130, OC_F32);
    }
}

static void test_threads_do_not_change_results(void **state) {
    OC_UNUSED(state);
    each_backend(3, thread_counts);
}

/* ---- oneDNN's cache of primitives ------------------------------------------------------------------ */

static void cache(ctx *x) {
    enum { MOST = 420, N = 3, K = 5 };
    const void *in = normal(x, MOST * K, 1.0);
    float *w = normal_f32(x, N * K, 1.0);
    void *first = take(MOST * N * 4), *y = take(MOST * N * 4);
    oc_matrix m = {.d = {.w = w, .w_type = OC_F32, .t = x->t, .rows = N, .cols = K}};
    oc_gemm g = {.n = N,
                 .k = K,
                 .t = x->t,
                 .a = {in, x->t, false, K},
                 .b = {w, OC_F32, true, K},
                 .c_type = x->t,
                 .ldc = N,
                 .w = &m};
    int most = 0;
    for (int round = 0; round < 2; round++)
        for (g.m = 1; g.m <= MOST; g.m++) {
            g.c = round ? y : first;
            oc_gemm_run_on(x->c, &g, OC_GEMM_DNNL);
            most = OC_MAX(most, oc_gemm_dnnl_cached(oc_gemm_state_of(x->c)->dnnl));
        }
    assert_in_range(most, 2, MOST - 1); /* some were dropped, made again, and give the same */
    snprintf(x->shape, sizeof x->shape, "after eviction");
    identical(x, "product", y, first, MOST * N, x->t);
    oc_gemm_dnnl_pack_free(m.pack[OC_GEMM_FORWARD]);
}

static void test_cache_is_bounded(void **state) {
    OC_UNUSED(state);
    each_backend(1, cache);
}

/* ---- Handles, empty batches, the loss at its edges ------------------------------------------------- */

static void edges(ctx *x) {
    enum { ROWS = 70, COLS = 48, N = 5 };
    const oc_ops *ops = &x->c->ops;
    float *w = take(ROWS * COLS * sizeof *w), loss[N];
    const oc_matrix_desc d = {.w = w, .w_type = OC_F32, .t = x->t, .rows = ROWS, .cols = COLS};
    oc_matrix *m = ops->matrix_create(x->c, &d);
    const oc_epilogue none = {0};
    int32_t target[N] = {0, 1, ROWS - 1, 0, 7};
    uint8_t correct[N];
    void *in = normal(x, N * COLS, 1.0), *dx = take(N * COLS * 4);

    /* No rows: nothing is read or written. */
    ops->linear_fwd(x->c, NULL, ROWS, NULL, COLS, m, 0, &none);
    ops->linear_bwd_x(x->c, NULL, COLS, NULL, ROWS, m, 0, true);
    ops->linear_bwd_w(x->c, w, w, NULL, ROWS, NULL, COLS, x->t, 0, ROWS, COLS);
    ops->linear_xent(x->c, NULL, NULL, NULL, NULL, NULL, NULL, NULL, m, 0, 1.0f);

    /* All logits equal: the first is the argmax, the loss log V. */
    ops->linear_xent(x->c, loss, correct, dx, NULL, in, target, NULL, m, N, 1.0f);
    for (int i = 0; i < N; i++) {
        assert_true(fabs((double)loss[i] - log(ROWS)) < 1e-5);
        assert_int_equal(correct[i], target[i] == 0);
    }
    /* A NaN anywhere must reach the loss of its row, and no other. */
    put(in, 2 * COLS + 5, x->t, NAN);
    for (int i = 0; i < ROWS * COLS; i++) w[i] = 0.01f * (float)(i % 13);
    ops->matrix_changed(x->c, m);
    ops->linear_xent(x->c, loss, NULL, dx, NULL, in, target, NULL, m, N, 1.0f);
    for (int i = 0; i < N; i++) assert_int_equal(isnan(loss[i]) != 0, i == 2);
    ops->matrix_free(x->c, m);
    ops->matrix_free(x->c, NULL);
}

static void test_edges(void **state) {
    OC_UNUSED(state);
    each_backend(1, edges);
}

/* More rows than one chunk has, and an odd vocabulary: dx and dw against those of the reference. */
static void chunks(ctx *x) {
    enum { N = 1030, C = 6, V = 301 };
    const float *w = normal_f32(x, V * C, 1.0);
    const oc_matrix_desc d = {.w = w, .w_type = OC_F32, .t = x->t, .rows = V, .cols = C};
    oc_matrix *m = x->c->ops.matrix_create(x->c, &d), *ref = x->ref->ops.matrix_create(x->ref, &d);
    const void *in = normal(x, N * C, 1.0);
    int32_t target[N];
    for (int i = 0; i < N; i++) target[i] = (int32_t)oc_rng_below(&x->rng, V);
    float *loss = take(N * 4), *loss_ref = take(N * 4), *dw = take(V * C * 4), *dw_ref = take(V * C * 4);
    void *dx = take(N * C * 4), *dx_ref = take(N * C * 4);
    uint8_t correct[N], correct_ref[N];
    x->c->ops.linear_xent(x->c, loss, correct, dx, dw, in, target, NULL, m, N, 0.5f);
    x->ref->ops.linear_xent(x->ref, loss_ref, correct_ref, dx_ref, dw_ref, in, target, NULL, ref, N, 0.5f);
    snprintf(x->shape, sizeof x->shape, "%d rows", N);
    same_flat(x, "loss", loss, loss_ref, N, OC_F32, TOL_F32, 1.0);
    same_flat(x, "dx", dx, dx_ref, N * C, x->t, tolerance(x->t), 0.1);
    same_flat(x, "dw", dw, dw_ref, V * C, OC_F32, tolerance(x->t), 0.1);
    assert_memory_equal(correct, correct_ref, N);
    x->c->ops.matrix_free(x->c, m);
    x->ref->ops.matrix_free(x->ref, ref);
}

static void test_chunks_of_the_loss(void **state) {
    OC_UNUSED(state);
    each_backend(1, chunks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_weight_gradient),
        cmocka_unit_test(test_many_tokens),
        cmocka_unit_test(test_sink),
        cmocka_unit_test(test_threads_do_not_change_results),
        cmocka_unit_test(test_cache_is_bounded),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_chunks_of_the_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
