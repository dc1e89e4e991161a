/* Forward results and gradients of every backend against an independent computation in double (f64.h): the
 * gradients by central differences, so that a backward kernel is right only if it is the derivative of what
 * the equations say.
 *
 * Tolerance, relative in the L2 norm. f32: 2e-5, some tens of times what f32 sums of these sizes lose, and a
 * hundred times less than the smallest wrong term would cost. bf16: twice TOL_BF16, an intermediate and a
 * result rounded; inputs are bf16 numbers in both computations, so this bounds the error of bf16 arithmetic
 * against exact arithmetic. */
#include "compute/common.h"
#include "compute/f64.h"

static double gradient_tolerance(const ctx *x) { return x->t == OC_F32 ? 2 * TOL_F32 : 2 * TOL_BF16; }

/* ---- One problem, in both number formats --------------------------------------------------------------- */

/* A random tensor for the kernel, of type t, with its double copy as the problem's next input. */
static void *input(ctx *x, problem *p, int which, size_t n, oc_dtype t, double scale) {
    void *v = normal_n(x, n, t, scale, 0.0);
    p->in[which] = take(n * sizeof(double));
    p->n[which] = n;
    for (size_t i = 0; i < n; i++) p->in[which][i] = (double)get(v, i, t);
    return v;
}

static void same_as_f64(const ctx *x, const char *what, const void *got, const double *want, size_t n,
                        oc_dtype t) {
    float *a = take(n * 4), *b = take(n * 4);
    for (size_t i = 0; i < n; i++) a[i] = get(got, i, t), b[i] = (float)want[i];
    same_flat(x, what, a, b, n, OC_F32, gradient_tolerance(x), 0.05);
}

static void check_forward(const ctx *x, const char *what, const problem *p, const void *y, oc_dtype t) {
    double *want = take(p->ny * sizeof *want);
    p->forward(want, p);
    same_as_f64(x, what, y, want, p->ny, t);
}

/* The kernel's gradient of input `which` for the output gradient dy; `before` is what dx held (NULL:
 * overwritten). */
static void check_gradient(const ctx *x, const char *what, const problem *p, int which, const void *dy,
                           oc_dtype dy_t, const void *dx, oc_dtype t, const void *before) {
    size_t n = p->n[which];
    double *want = take(n * sizeof *want), *y = take(p->ny * sizeof *y), *dy64 = take(p->ny * sizeof *dy64);
    for (size_t i = 0; i < p->ny; i++) dy64[i] = (double)get(dy, i, dy_t);
    f64_gradient(want, p, which, y, dy64);
    for (size_t i = 0; i < n && before; i++) want[i] += (double)get(before, i, t);
    same_as_f64(x, what, dx, want, n, t);
}

/* ---- Linear and loss ----------------------------------------------------------------------------------- */

static void linear(ctx *x) {
    enum { N = 5, C = 12, ROWS = 9 };
    for (oc_act act = OC_ACT_NONE; act <= OC_ACT_GELU_ERF; act++) {
        snprintf(x->shape, sizeof x->shape, "activation %d", (int)act);
        problem p = {.forward = f64_linear, .N = N, .C = C, .rows = ROWS, .act = act, .ny = N * ROWS};
        void *in = input(x, &p, 0, N * C, x->t, 1.0), *w = input(x, &p, 1, ROWS * C, x->t, 0.3);
        float *b = input(x, &p, 2, ROWS, OC_F32, 1.0);
        void *residual = input(x, &p, 3, N * ROWS, x->t, 1.0);
        void *y = normal(x, p.ny, 1.0), *pre = normal(x, p.ny, 1.0), *dy = normal(x, p.ny, 1.0),
             *dpre = normal(x, p.ny, 1.0);
        const oc_matrix_desc d = {.w = w, .w_type = x->t, .t = x->t, .rows = ROWS, .cols = C};
        oc_matrix *m = x->c->ops.matrix_create(x->c, &d);
        const oc_epilogue e = {.bias = b, .act = act, .pre_act = pre, .residual = residual};
        x->c->ops.linear_fwd(x->c, y, ROWS, in, C, m, N, &e);
        check_forward(x, "linear_fwd", &p, y, x->t);

        x->c->ops.act_bwd(x->c, dpre, dy, pre, p.ny, act, x->t);
        void *dx = normal(x, N * C, 1.0), *before = copy_of(dx, N * C, x->t), *dx_new = normal(x, N * C, 1.0);
        float *dw = normal_f32(x, ROWS * C, 1.0), *dw_before = copy_of(dw, ROWS * C, OC_F32);
        float *db = normal_f32(x, ROWS, 1.0), *db_before = copy_of(db, ROWS, OC_F32);
        x->c->ops.linear_bwd_x(x->c, dx, C, dpre, ROWS, m, N, true);
        x->c->ops.linear_bwd_x(x->c, dx_new, C, dpre, ROWS, m, N, false);
        x->c->ops.linear_bwd_w(x->c, dw, db, dpre, ROWS, in, C, x->t, N, ROWS, C);
        check_gradient(x, "linear_bwd_x, accumulating", &p, 0, dy, x->t, dx, x->t, before);
        check_gradient(x, "linear_bwd_x", &p, 0, dy, x->t, dx_new, x->t, NULL);
        check_gradient(x, "linear_bwd_w dw", &p, 1, dy, x->t, dw, OC_F32, dw_before);
        check_gradient(x, "linear_bwd_w db", &p, 2, dy, x->t, db, OC_F32, db_before);
        x->c->ops.matrix_free(x->c, m);
        release_all();
    }
}

static void test_linear(void **state) {
    OC_UNUSED(state);
    each_backend(0, linear);
}

static void xent(ctx *x) {
    enum { N = 6, C = 12, V = 19 };
    int32_t target[N] = {0, V - 1, 7, 7, 3, 11};
    problem p = {.forward = f64_xent, .N = N, .C = C, .rows = V, .index = target, .ny = N};
    void *in = input(x, &p, 0, N * C, x->t, 1.0), *w = input(x, &p, 1, V * C, x->t, 0.5);
    const oc_matrix_desc d = {.w = w, .w_type = x->t, .t = x->t, .rows = V, .cols = C};
    oc_matrix *m = x->c->ops.matrix_create(x->c, &d);
    float loss[N], scale = 1.75f, *dy = take(N * 4); /* the objective is scale * the sum of the losses */
    static const float weight[N] = {1, 0.5f, 0, 2, 0.25f, 1};
    for (int weighted = 0; weighted < 2; weighted++) {
        for (int i = 0; i < N; i++) dy[i] = weighted ? scale * weight[i] : scale;
        void *dx = normal(x, N * C, 1.0);
        float *dw = normal_f32(x, V * C, 0.1), *before = copy_of(dw, V * C, OC_F32);
        x->c->ops.linear_xent(x->c, loss, NULL, dx, dw, in, target, weighted ? weight : NULL, m, N, scale);
        check_forward(x, "linear_xent loss", &p, loss, OC_F32);
        check_gradient(x, "linear_xent dx", &p, 0, dy, OC_F32, dx, x->t, NULL);
        check_gradient(x, "linear_xent dw", &p, 1, dy, OC_F32, dw, OC_F32, before);
    }
    x->c->ops.matrix_free(x->c, m);
}

static void test_xent(void **state) {
    OC_UNUSED(state);
    each_backend(0, xent);
}

/* ---- Attention ----------------------------------------------------------------------------------------- */

static void attention(ctx *x) {
    enum { N = 11, NKV = 2 };
    /* A prefix of two images and text, then a second sequence; one row sees nothing, one only itself. */
    static const int32_t lo[N] = {0, 0, 0, 0, 0, 5, 5, 9, 7, 7, 2},
                         hi[N] = {3, 3, 3, 4, 5, 8, 8, 9, 9, 11, 9};
    static const struct { int group, HS; } shape[] = {{1, 8}, {2, 12}, {3, 20}};
    for (size_t i = 0; i < OC_COUNT(shape); i++) {
        int NH = NKV * shape[i].group, HS = shape[i].HS;
        snprintf(x->shape, sizeof x->shape, "heads %d/%d of %d", NH, NKV, HS);
        const oc_attention a = {.N = N,
                                .NH = NH,
                                .NKV = NKV,
                                .HS = HS,
                                .ldq = NH * HS,
                                .ldkv = NKV * HS,
                                .ldo = NH * HS,
                                .lo = lo,
                                .hi = hi,
                                .scale = 1.0f / sqrtf((float)HS),
                                .t = x->t};
        size_t nq = (size_t)(N * NH * HS), nk = (size_t)(N * NKV * HS);
        problem p = {.forward = f64_attention, .a = &a, .ny = nq};
        void *q = input(x, &p, 0, nq, x->t, 1.0), *k = input(x, &p, 1, nk, x->t, 1.0),
             *v = input(x, &p, 2, nk, x->t, 1.0);
        void *o = normal(x, nq, 1.0), *dO = normal(x, nq, 1.0);
        void *dq = normal(x, nq, 1.0), *dk = normal(x, nk, 1.0), *dv = normal(x, nk, 1.0);
        float *lse = take((size_t)(N * NH) * 4);
        x->c->ops.attention_fwd(x->c, o, lse, q, k, v, &a);
        check_forward(x, "attention_fwd", &p, o, x->t);
        x->c->ops.attention_bwd(x->c, dq, dk, dv, dO, o, lse, q, k, v, &a);
        check_gradient(x, "attention_bwd dq", &p, 0, dO, x->t, dq, x->t, NULL);
        check_gradient(x, "attention_bwd dk", &p, 1, dO, x->t, dk, x->t, NULL);
        check_gradient(x, "attention_bwd dv", &p, 2, dO, x->t, dv, x->t, NULL);
        release_all();
    }
}

static void test_attention(void **state) {
    OC_UNUSED(state);
    each_backend(0, attention);
}

/* ---- Norms --------------------------------------------------------------------------------------------- */

/* x + add is what the norm and its gradient see: with x = 0 the twin's input is add. */
static void layernorm(ctx *x) {
    enum { N = 4, C = 21 };
    problem p = {.forward = f64_layernorm, .N = N, .C = C, .eps = (double)0.25f, .ny = N * C};
    const void *add = input(x, &p, 0, N * C, x->t, 1.0);
    const float *w = input(x, &p, 1, C, OC_F32, 1.0), *b = input(x, &p, 2, C, OC_F32, 1.0);
    void *in = take(N * C * 4), *y = normal(x, N * C, 1.0), *dy = normal(x, N * C, 1.0);
    float mean[N], rstd[N], *dw = normal_f32(x, C, 1.0), *db = normal_f32(x, C, 1.0);
    void *dx = normal(x, N * C, 1.0), *before = copy_of(dx, N * C, x->t);
    float *dw_before = copy_of(dw, C, OC_F32), *db_before = copy_of(db, C, OC_F32);
    x->c->ops.layernorm_fwd(x->c, y, mean, rstd, in, add, w, b, N, C, 0.25f, x->t);
    check_forward(x, "layernorm_fwd", &p, y, x->t);
    x->c->ops.layernorm_bwd(x->c, dx, dw, db, dy, in, mean, rstd, w, N, C, x->t);
    check_gradient(x, "layernorm_bwd dx", &p, 0, dy, x->t, dx, x->t, before);
    check_gradient(x, "layernorm_bwd dw", &p, 1, dy, x->t, dw, OC_F32, dw_before);
    check_gradient(x, "layernorm_bwd db", &p, 2, dy, x->t, db, OC_F32, db_before);
}

static void rmsnorm(ctx *x) {
    enum { N = 4, C = 21 };
    problem p = {.forward = f64_rmsnorm, .N = N, .C = C, .eps = (double)0.25f, .ny = N * C};
    const void *add = input(x, &p, 0, N * C, x->t, 1.0);
    const float *w = input(x, &p, 1, C, OC_F32, 1.0);
    void *in = take(N * C * 4), *y = normal(x, N * C, 1.0), *dy = normal(x, N * C, 1.0);
    float rstd[N], *dw = normal_f32(x, C, 1.0), *dw_before = copy_of(dw, C, OC_F32);
    void *dx = normal(x, N * C, 1.0), *before = copy_of(dx, N * C, x->t);
    x->c->ops.rmsnorm_fwd(x->c, y, rstd, in, add, w, N, C, 0.25f, x->t);
    check_forward(x, "rmsnorm_fwd", &p, y, x->t);
    x->c->ops.rmsnorm_bwd(x->c, dx, dw, dy, in, rstd, w, N, C, x->t);
    check_gradient(x, "rmsnorm_bwd dx", &p, 0, dy, x->t, dx, x->t, before);
    check_gradient(x, "rmsnorm_bwd dw", &p, 1, dy, x->t, dw, OC_F32, dw_before);
}

static void test_norms(void **state) {
    OC_UNUSED(state);
    each_backend(0, layernorm);
    each_backend(0, rmsnorm);
}

/* ---- Rotary positions and pointwise -------------------------------------------------------------------- */

static void rope(ctx *x) {
    enum { N = 4, HEADS = 3, HS = 12, P = 40 };
    static const int32_t position[N] = {0, 1, 17, 39};
    float table[P * HS];
    oc_rope_table(table, P, HS, 10000.0f);
    problem p = {
        .forward = f64_rope, .N = N, .C = HS, .rows = HEADS, .index = position, .ny = N * HEADS * HS};
    void *a = input(x, &p, 0, p.ny, x->t, 1.0), *dy = normal(x, p.ny, 1.0), *dx = copy_of(dy, p.ny, x->t);
    x->c->ops.rope(x->c, a, HEADS * HS, position, table, N, HEADS, HS, 1, x->t);
    check_forward(x, "rope", &p, a, x->t);
    x->c->ops.rope(x->c, dx, HEADS * HS, position, table, N, HEADS, HS, -1, x->t);
    check_gradient(x, "rope, inverse", &p, 0, dy, x->t, dx, x->t, NULL);
}

static void act(ctx *x) {
    enum { C = 301 };
    for (oc_act kind = OC_ACT_NONE; kind <= OC_ACT_GELU_ERF; kind++) {
        snprintf(x->shape, sizeof x->shape, "activation %d", (int)kind);
        problem p = {.forward = f64_pointwise, .C = C, .act = kind, .ny = C};
        void *in = input(x, &p, 0, C, x->t, 2.0), *y = normal(x, C, 1.0), *dy = normal(x, C, 1.0),
             *dx = normal(x, C, 1.0);
        x->c->ops.act_fwd(x->c, y, in, C, kind, x->t);
        check_forward(x, "act_fwd", &p, y, x->t);
        x->c->ops.act_bwd(x->c, dx, dy, in, C, kind, x->t);
        check_gradient(x, "act_bwd", &p, 0, dy, x->t, dx, x->t, NULL);
    }
}

static void swiglu(ctx *x) {
    enum { N = 5, F = 37 };
    problem p = {.forward = f64_swiglu, .N = N, .C = F, .ny = N * F};
    void *gu = input(x, &p, 0, 2 * N * F, x->t, 1.5), *y = normal(x, N * F, 1.0), *dy = normal(x, N * F, 1.0);
    void *dgu = normal(x, 2 * N * F, 1.0);
    x->c->ops.swiglu_fwd(x->c, y, gu, N, F, x->t);
    check_forward(x, "swiglu_fwd", &p, y, x->t);
    x->c->ops.swiglu_bwd(x->c, dgu, dy, gu, N, F, x->t);
    check_gradient(x, "swiglu_bwd", &p, 0, dy, x->t, dgu, x->t, NULL);
}

static void test_pointwise(void **state) {
    OC_UNUSED(state);
    each_backend(0, rope);
    each_backend(0, act);
    each_backend(0, swiglu);
}

/* ---- Rows and images ----------------------------------------------------------------------------------- */

static void embedding(ctx *x) {
    enum { N = 7, C = 18, V = 5 };
    static const int32_t id[N] = {4, 0, 2, 2, 4, 2, 1};
    problem p = {.forward = f64_rows, .N = N, .C = C, .rows = V, .index = id, .ny = N * C};
    const void *table = input(x, &p, 0, V * C, x->t, 1.0);
    void *y = normal(x, N * C, 1.0), *dy = normal(x, N * C, 1.0);
    float *d = normal_f32(x, V * C, 1.0), *before = copy_of(d, V * C, OC_F32);
    x->c->ops.embedding_fwd(x->c, y, id, table, x->t, N, C, x->t);
    check_forward(x, "embedding_fwd", &p, y, x->t);
    x->c->ops.embedding_bwd(x->c, d, id, dy, N, C, V, x->t);
    check_gradient(x, "embedding_bwd", &p, 0, dy, x->t, d, OC_F32, before);
}

/* The gradient of gathering is scattering with accumulation. */
static void gather(ctx *x) {
    enum { N = 7, C = 18, ROWS = 6 };
    static const int32_t row[N] = {5, -1, 0, 3, 3, -1, 3};
    problem p = {.forward = f64_rows, .N = N, .C = C, .rows = ROWS, .index = row, .ny = N * C};
    const void *in = input(x, &p, 0, ROWS * C, x->t, 1.0);
    void *y = normal(x, N * C, 1.0), *dy = normal(x, N * C, 1.0);
    void *dx = normal(x, ROWS * C, 1.0), *before = copy_of(dx, ROWS * C, x->t);
    x->c->ops.gather_rows(x->c, y, in, row, N, C, x->t);
    check_forward(x, "gather_rows", &p, y, x->t);
    x->c->ops.scatter_rows(x->c, dx, dy, C, row, N, C, true, x->t);
    check_gradient(x, "scatter_rows", &p, 0, dy, x->t, dx, x->t, before);
}

static void position_add(ctx *x) {
    enum { IMAGES = 3, P = 4, N = IMAGES * P, C = 18 };
    problem p = {.forward = f64_position_add, .N = N, .C = C, .rows = P, .ny = N * C};
    void *a = input(x, &p, 0, N * C, x->t, 1.0), *dy = normal(x, N * C, 1.0);
    const float *pos = input(x, &p, 1, P * C, OC_F32, 1.0);
    float *d = normal_f32(x, P * C, 1.0), *before = copy_of(d, P * C, OC_F32);
    x->c->ops.position_add_fwd(x->c, a, pos, N, P, C, x->t);
    check_forward(x, "position_add_fwd", &p, a, x->t);
    x->c->ops.position_add_bwd(x->c, d, dy, N, P, C, x->t);
    check_gradient(x, "position_add_bwd", &p, 1, dy, x->t, d, OC_F32, before);
}

static void merge(ctx *x) {
    enum { IMAGES = 2, G = 5, S = 2, M = G / S, C = 6 };
    problem p = {
        .forward = f64_merge, .N = IMAGES, .C = C, .grid = G, .block = S, .ny = IMAGES * M * M * S * S * C};
    const void *in = input(x, &p, 0, IMAGES * G * G * C, x->t, 1.0);
    void *y = normal(x, p.ny, 1.0), *dy = normal(x, p.ny, 1.0), *dx = normal(x, p.n[0], 1.0);
    x->c->ops.merge_fwd(x->c, y, in, IMAGES, G, S, C, x->t);
    check_forward(x, "merge_fwd", &p, y, x->t);
    x->c->ops.merge_bwd(x->c, dx, dy, IMAGES, G, S, C, x->t);
    check_gradient(x, "merge_bwd", &p, 0, dy, x->t, dx, x->t, NULL);
}

/* patchify has no gradient; its order is that of a convolution kernel [C, 3, P, P]. */
static void patchify(ctx *x) {
    enum { IMAGES = 2, S = 7, P = 3, G = S / P, K = 3 * P * P };
    const float *pixels = normal_n(x, IMAGES * 3 * S * S, OC_F32, 1.0, 0.0);
    void *y = normal(x, IMAGES * G * G * K, 1.0);
    x->c->ops.patchify(x->c, y, pixels, IMAGES, S, P, x->t);
    for (int i = 0; i < IMAGES; i++)
        for (int ch = 0; ch < 3; ch++)
            for (int r = 0; r < G * P; r++)
                for (int c = 0; c < G * P; c++) {
                    int patch = (i * G + r / P) * G + c / P, inside = (ch * P + r % P) * P + c % P;
                    float want = pixels[((i * 3 + ch) * S + r) * S + c];
                    if (x->t == OC_BF16) want = oc_bf16_to_f32(oc_f32_to_bf16(want));
                    assert_true(get(y, (size_t)(patch * K + inside), x->t) == want);
                }
}

static void test_rows_and_images(void **state) {
    OC_UNUSED(state);
    each_backend(0, embedding);
    each_backend(0, gather);
    each_backend(0, position_add);
    each_backend(0, merge);
    each_backend(0, patchify);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),    cmocka_unit_test(test_xent),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_norms),
        cmocka_unit_test(test_pointwise), cmocka_unit_test(test_rows_and_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
