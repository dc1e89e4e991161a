/* Linear layers, matrix handles and the fused vocabulary loss of every backend. Products are compared with
 * the reference; the loss, of the reference too, with logits that are written out in double. */
#include "compute/common.h"

typedef struct shape {
    int N, cols, rows, pad; /* pad: how much longer than their rows all strides are */
} shape;

static const shape shapes[] = {
    {1, 16, 8, 0},  {1, 100, 257, 0}, {7, 20, 33, 3},    {65, 72, 130, 0}, {64, 64, 64, 16}, {3, 1, 1, 0},
    {5, 100, 1, 2}, {2, 1, 40, 5},    {130, 588, 48, 0}, {33, 500, 96, 8}, {1, 896, 304, 0}, {257, 31, 17, 1},
};

/* One weight matrix, known to both tables. */
typedef struct pair {
    void *w;
    oc_matrix *m, *ref;
} pair;

static pair matrix(ctx *x, int rows, int cols, oc_dtype w_type) {
    pair p = {.w = normal_n(x, (size_t)rows * (size_t)cols, w_type, 1.0 / sqrt(cols), 0.0)};
    const oc_matrix_desc d = {.w = p.w, .w_type = w_type, .t = x->t, .rows = rows, .cols = cols};
    p.m = x->c->ops.matrix_create(x->c, &d);
    p.ref = x->ref->ops.matrix_create(x->ref, &d);
    assert_non_null(p.m);
    assert_non_null(p.ref);
    return p;
}

static void matrix_release(ctx *x, pair *p) {
    x->c->ops.matrix_free(x->c, p->m);
    x->ref->ops.matrix_free(x->ref, p->ref);
}

static void describe(ctx *x, const char *note, const shape *s) {
    snprintf(x->shape, sizeof x->shape, "%s N %d, cols %d, rows %d, strides +%d", note, s->N, s->cols,
             s->rows, s->pad);
}

/* ---- Forward ------------------------------------------------------------------------------------------- */

enum { BIAS = 1, PRE = 2, RESIDUAL = 4, IN_PLACE = 8 };

static void check_forward(ctx *x, const shape *s, oc_dtype w_type, int flags, oc_act act) {
    char note[64];
    snprintf(note, sizeof note, "weights %s, epilogue %d act %d:", oc_dtype_name(w_type), flags, (int)act);
    describe(x, note, s);
    int ldx = s->cols + s->pad, ldy = s->rows + s->pad;
    size_t ny = span(s->N, s->rows, ldy);
    pair p = matrix(x, s->rows, s->cols, w_type);
    const void *in = normal(x, span(s->N, s->cols, ldx), 1.0);
    void *y = normal(x, ny, 1.0), *y_ref = copy_of(y, ny, x->t);
    void *pre = normal(x, ny, 1.0), *pre_ref = copy_of(pre, ny, x->t);
    oc_epilogue e = {.act = act}, e_ref;
    if (flags & BIAS) e.bias = normal_f32(x, (size_t)s->rows, 1.0);
    e_ref = e;
    if (flags & PRE) e.pre_act = pre, e_ref.pre_act = pre_ref;
    if (flags & RESIDUAL) e.residual = e_ref.residual = normal(x, ny, 1.0);
    if (flags & IN_PLACE) e.residual = y, e_ref.residual = y_ref;
    x->c->ops.linear_fwd(x->c, y, ldy, in, ldx, p.m, s->N, &e);
    x->ref->ops.linear_fwd(x->ref, y_ref, ldy, in, ldx, p.ref, s->N, &e_ref);
    same(x, "linear_fwd", y, y_ref, s->N, s->rows, ldy, x->t, tolerance(x->t), 0.5);
    same(x, "linear_fwd pre_act", pre, pre_ref, s->N, s->rows, ldy, x->t, tolerance(x->t), 0.5);
    matrix_release(x, &p);
    release_all();
}

static void forward(ctx *x) {
    static const struct {
        int flags;
        oc_act act;
    } epilogue[] = {
        {0, OC_ACT_NONE},
        {BIAS, OC_ACT_NONE},
        {BIAS | PRE, OC_ACT_GELU_TANH},
        {BIAS, OC_ACT_GELU_ERF},
        {RESIDUAL, OC_ACT_NONE},
        {BIAS | IN_PLACE, OC_ACT_NONE},
        {BIAS | PRE | RESIDUAL, OC_ACT_GELU_ERF},
        {IN_PLACE, OC_ACT_GELU_TANH},
        {PRE, OC_ACT_NONE},
    };
    for (size_t i = 0; i < OC_COUNT(shapes); i++)
        for (size_t k = i % 3; k < OC_COUNT(epilogue); k += 3) /* every one meets every third shape */
            check_forward(x, &shapes[i], (i + k) % 2 ? OC_F32 : OC_BF16, epilogue[k].flags, epilogue[k].act);
}

static void test_forward(void **state) {
    OC_UNUSED(state);
    each_backend(1, forward);
}

/* ---- Backward ------------------------------------------------------------------------------------------ */

static void check_backward(ctx *x, const shape *s, oc_dtype w_type, bool accumulate) {
    describe(x, accumulate ? "accumulate" : "overwrite", s);
    int ldx = s->cols + s->pad, ldy = s->rows + s->pad;
    size_t nx = span(s->N, s->cols, ldx), nw = (size_t)s->rows * (size_t)s->cols;
    pair p = matrix(x, s->rows, s->cols, w_type);
    const void *dy = normal(x, span(s->N, s->rows, ldy), 1.0), *in = normal(x, nx, 1.0);
    void *dx = normal(x, nx, 1.0), *dx_ref = copy_of(dx, nx, x->t);
    x->c->ops.linear_bwd_x(x->c, dx, ldx, dy, ldy, p.m, s->N, accumulate);
    x->ref->ops.linear_bwd_x(x->ref, dx_ref, ldx, dy, ldy, p.ref, s->N, accumulate);
    same(x, "linear_bwd_x", dx, dx_ref, s->N, s->cols, ldx, x->t, tolerance(x->t), 0.5);

    float *dw = normal_f32(x, nw, 1.0), *dw_ref = copy_of(dw, nw, OC_F32);
    float *db = normal_f32(x, (size_t)s->rows, 1.0), *db_ref = copy_of(db, (size_t)s->rows, OC_F32);
    x->c->ops.linear_bwd_w(x->c, dw, accumulate ? db : NULL, dy, ldy, in, ldx, x->t, s->N, s->rows, s->cols);
    x->ref->ops.linear_bwd_w(x->ref, dw_ref, accumulate ? db_ref : NULL, dy, ldy, in, ldx, x->t, s->N,
                             s->rows, s->cols);
    /* The products of bf16 numbers are exact in f32 and so are the sums but for their order, whatever T
     * is. */
    same_flat(x, "linear_bwd_w dw", dw, dw_ref, nw, OC_F32, TOL_F32, 1.0);
    same_flat(x, "linear_bwd_w db", db, db_ref, (size_t)s->rows, OC_F32, TOL_F32, 1.0);
    matrix_release(x, &p);
    release_all();
}

static void backward(ctx *x) {
    for (size_t i = 0; i < OC_COUNT(shapes); i++)
        for (int k = 0; k < 4; k++) check_backward(x, &shapes[i], k & 1 ? OC_F32 : OC_BF16, k & 2);
}

static void test_backward(void **state) {
    OC_UNUSED(state);
    each_backend(1, backward);
}

/* ---- Changed weights ----------------------------------------------------------------------------------- */

/* Uses the matrix in all directions, so that every packed copy exists, changes the source, and uses it
 * again. */
static void changed(ctx *x) {
    enum { N = 9, COLS = 40, ROWS = 52 };
    for (int k = 0; k < 2; k++) {
        oc_dtype w_type = k ? OC_BF16 : OC_F32;
        pair p = matrix(x, ROWS, COLS, w_type);
        const void *in = normal(x, N * COLS, 1.0), *dy = normal(x, N * ROWS, 1.0);
        void *y = normal(x, N * ROWS, 1.0), *dx = normal(x, N * COLS, 1.0), *dx2 = take(N * COLS * 4);
        void *y_ref = take(N * ROWS * 4), *dx_ref = take(N * COLS * 4), *first = take(N * ROWS * 4);
        int32_t target[N];
        for (int i = 0; i < N; i++) target[i] = i;
        float loss[N], loss_ref[N];
        const oc_epilogue none = {0};
        for (int round = 0; round < 3; round++) {
            snprintf(x->shape, sizeof x->shape, "weights %s, changed %d times", oc_dtype_name(w_type), round);
            for (size_t i = 0; round > 0 && i < ROWS * COLS; i++)
                put(p.w, i, w_type, 0.2 * oc_rng_normal(&x->rng));
            if (round > 0) x->c->ops.matrix_changed(x->c, p.m);
            if (round > 0) x->ref->ops.matrix_changed(x->ref, p.ref);
            x->c->ops.linear_fwd(x->c, y, ROWS, in, COLS, p.m, N, &none);
            x->c->ops.linear_bwd_x(x->c, dx, COLS, dy, ROWS, p.m, N, false);
            x->c->ops.linear_xent(x->c, loss, NULL, dx2, NULL, in, target, NULL, p.m, N, 1.0f);
            x->ref->ops.linear_fwd(x->ref, y_ref, ROWS, in, COLS, p.ref, N, &none);
            x->ref->ops.linear_bwd_x(x->ref, dx_ref, COLS, dy, ROWS, p.ref, N, false);
            same(x, "linear_fwd", y, y_ref, N, ROWS, ROWS, x->t, tolerance(x->t), 0.5);
            same(x, "linear_bwd_x", dx, dx_ref, N, COLS, COLS, x->t, tolerance(x->t), 0.5);
            x->ref->ops.linear_xent(x->ref, loss_ref, NULL, dx_ref, NULL, in, target, NULL, p.ref, N, 1.0f);
            same_flat(x, "linear_xent loss", loss, loss_ref, N, OC_F32, TOL_F32, 1.0);
            same(x, "linear_xent dx", dx2, dx_ref, N, COLS, COLS, x->t, tolerance(x->t), 0.1);
            if (round == 0)
                memcpy(first, y, N * ROWS * oc_dtype_size(x->t));
            else
                assert_memory_not_equal(first, y, N * ROWS * oc_dtype_size(x->t));
        }
        matrix_release(x, &p);
        release_all();
    }
}

static void test_changed_weights_are_seen(void **state) {
    OC_UNUSED(state);
    each_backend(1, changed);
}

/* A handle that is never used must be freed as well, and sizes must not shrink with the backward pass. */
static void bytes(ctx *x) {
    pair p = matrix(x, 70, 50, OC_F32);
    assert_true(x->c->ops.matrix_bytes(p.m, true) >= x->c->ops.matrix_bytes(p.m, false));
    matrix_release(x, &p);
}

static void test_unused_handles(void **state) {
    OC_UNUSED(state);
    each_backend(0, bytes);
}

/* ---- Vocabulary projection and loss -------------------------------------------------------------------- */

typedef struct xent {
    int n, C, V;
    double logit_scale; /* deviation of the logits */
} xent;

static const xent xents[] = {
    {1, 16, 10, 1},    {1, 72, 1031, 1}, {7, 100, 37, 1},   {65, 20, 130, 1},
    {300, 16, 257, 1}, {129, 64, 64, 3}, {7, 48, 513, 100}, {3, 8, 33333, 2},
    {2, 896, 50, 1},   {600, 8, 3, 1},   {5, 24, 1, 1},     {33, 72, 2049, 30},
};

/* What the header promises, from logits in double. w as the product sees it: rounded to T. */
static void xent_by_definition(const ctx *x, const xent *s, double *loss, uint8_t *correct, double *dx,
                               double *dw, const void *in, const void *w, const int32_t *target,
                               double scale) {
    size_t C = (size_t)s->C, V = (size_t)s->V;
    double *z = take(V * sizeof *z), *wt = take(V * C * sizeof *wt);
    for (size_t k = 0; k < V * C; k++) {
        float f = get(w, k, OC_F32);
        wt[k] = (double)(x->t == OC_BF16 ? oc_bf16_to_f32(oc_f32_to_bf16(f)) : f);
    }
    for (size_t i = 0; i < (size_t)s->n; i++) {
        size_t best = 0;
        double total = 0;
        for (size_t v = 0; v < V; v++) {
            z[v] = 0;
            for (size_t k = 0; k < C; k++) z[v] += (double)get(in, i * C + k, x->t) * wt[v * C + k];
            if (z[v] > z[best]) best = v;
        }
        double largest = z[best];
        for (size_t v = 0; v < V; v++) total += exp(z[v] - largest);
        loss[i] = largest + log(total) - z[target[i]];
        correct[i] = best == (size_t)target[i];
        for (size_t v = 0; v < V; v++) {
            double d = (exp(z[v] - largest) / total - (v == (size_t)target[i])) * scale;
            for (size_t k = 0; k < C; k++) {
                dx[i * C + k] += d * wt[v * C + k];
                dw[v * C + k] += d * (double)get(in, i * C + k, x->t);
            }
        }
    }
}

static float *to_f32(const double *p, size_t n) {
    float *f = take(n * sizeof *f);
    for (size_t i = 0; i < n; i++) f[i] = (float)p[i];
    return f;
}

static void check_xent(ctx *x, const xent *s) {
    snprintf(x->shape, sizeof x->shape, "n %d, C %d, V %d, logits of size %g", s->n, s->C, s->V,
             s->logit_scale);
    size_t n = (size_t)s->n, nx = n * (size_t)s->C, nw = (size_t)s->V * (size_t)s->C;
    pair p = matrix(x, s->V, s->C, OC_F32);
    const void *in = normal(x, nx, s->logit_scale);
    int32_t *target = take(n * sizeof *target);
    for (size_t i = 0; i < n; i++) target[i] = (int32_t)oc_rng_below(&x->rng, (uint32_t)s->V);
    target[0] = s->V - 1;
    const float scale = 0.37f;
    double *loss = take(n * 8), *dx = take(nx * 8), *dw = take(nw * 8);
    uint8_t *correct = take(n), *correct_got = take(n);
    xent_by_definition(x, s, loss, correct, dx, dw, in, p.w, target, (double)scale);

    float *start = normal_f32(x, nw, 0.01), *loss_got = take(n * 4), *dw_got = copy_of(start, nw, OC_F32);
    for (size_t i = 0; i < nw; i++) dw[i] += (double)start[i];
    const float *loss_f = to_f32(loss, n), *dw_f = to_f32(dw, nw), *dx_f = to_f32(dx, nx);
    const void *dx_want = converted(dx_f, nx, OC_F32, x->t);
    /* The gradients' terms are softmax - onehot, of size scale per row however small their sum. */
    double size_dx = 0.1 * (double)scale / sqrt(s->C), size_dw = 0.1 * (double)scale * s->logit_scale / s->V;
    double tol = x->t == OC_F32 ? TOL_F32 * fmax(1.0, s->logit_scale / 10) : TOL_BF16;

    void *dx_got = normal(x, nx, 1.0);
    x->c->ops.linear_xent(x->c, loss_got, correct_got, dx_got, dw_got, in, target, NULL, p.m, s->n, scale);
    same_flat(x, "linear_xent loss", loss_got, loss_f, n, OC_F32, TOL_F32, 1.0);
    same_flat(x, "linear_xent dx", dx_got, dx_want, nx, x->t, tol, size_dx);
    same_flat(x, "linear_xent dw", dw_got, dw_f, nw, OC_F32, tol, size_dw);
    assert_memory_equal(correct_got, correct, n);

    void *dx_only = normal(x, nx, 1.0);
    memset(loss_got, 0, n * sizeof *loss_got);
    x->c->ops.linear_xent(x->c, loss_got, NULL, dx_only, NULL, in, target, NULL, p.m, s->n, scale);
    same_flat(x, "linear_xent without dw: loss", loss_got, loss_f, n, OC_F32, TOL_F32, 1.0);
    same_flat(x, "linear_xent without dw: dx", dx_only, dx_want, nx, x->t, tol, size_dx);

    memset(loss_got, 0, n * sizeof *loss_got);
    x->c->ops.linear_xent(x->c, loss_got, correct_got, NULL, NULL, in, target, NULL, p.m, s->n, scale);
    same_flat(x, "linear_xent loss only", loss_got, loss_f, n, OC_F32, TOL_F32, 1.0);
    assert_memory_equal(correct_got, correct, n);
    matrix_release(x, &p);
    release_all();
}

static void vocabulary(ctx *x) {
    for (size_t i = 0; i < OC_COUNT(xents); i++) check_xent(x, &xents[i]);
}

static void test_loss_is_that_of_the_logits(void **state) {
    OC_UNUSED(state);
    each_backend(0, vocabulary);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_changed_weights_are_seen),
        cmocka_unit_test(test_unused_handles),
        cmocka_unit_test(test_loss_is_that_of_the_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
