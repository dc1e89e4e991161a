/* Every backend against the reference: norms, rotary positions, pointwise operations, rows, images,
 * optimizer. (Linear layers and the loss: test_parity_linear. Attention: test_parity_attention.) */
#include "compute/common.h"

static const int row_counts[] = {1, 7, 65};

/* ---- Norms --------------------------------------------------------------------------------------------- */

typedef struct norm_case {
    int N, C;
    bool add, frozen; /* add a residual first; no gradients of the parameters wanted */
    double mean;      /* of x; LayerNorm must not lose it to cancellation */
    double size;      /* of x about its mean; eps counts when it is small */
} norm_case;

static void check_norm(ctx *x, const norm_case *s, bool layer) {
    const char *name = layer ? "layernorm" : "rmsnorm";
    snprintf(x->shape, sizeof x->shape, "%s N %d, C %d%s%s, mean %g, size %g", name, s->N, s->C,
             s->add ? ", add" : "", s->frozen ? ", frozen" : "", s->mean, s->size);
    size_t n = (size_t)s->N * (size_t)s->C, C = (size_t)s->C, N = (size_t)s->N;
    void *in = normal_n(x, n, x->t, s->size, s->mean), *in_ref = copy_of(in, n, x->t),
         *add = s->add ? normal(x, n, s->size) : NULL;
    const float *w = normal_f32(x, C, 1.0), *b = normal_f32(x, C, 1.0);
    float *mean = take(N * 4), *rstd = take(N * 4), *mean_ref = take(N * 4), *rstd_ref = take(N * 4);
    void *y = normal(x, n, 1.0), *y_ref = normal(x, n, 1.0);
    const float eps = 1e-6f;
    if (layer) {
        x->c->ops.layernorm_fwd(x->c, y, mean, rstd, in, add, w, b, s->N, s->C, eps, x->t);
        x->ref->ops.layernorm_fwd(x->ref, y_ref, mean_ref, rstd_ref, in_ref, add, w, b, s->N, s->C, eps,
                                  x->t);
        same_flat(x, "mean", mean, mean_ref, N, OC_F32, TOL_F32, 1.0);
    } else {
        x->c->ops.rmsnorm_fwd(x->c, y, rstd, in, add, w, s->N, s->C, eps, x->t);
        x->ref->ops.rmsnorm_fwd(x->ref, y_ref, rstd_ref, in_ref, add, w, s->N, s->C, eps, x->t);
    }
    identical(x, "x + add", in, in_ref, n, x->t);
    /* A mean of m leaves f32 m * 2^-24 to hold the deviations in. */
    double tol = tolerance(x->t) * (x->t == OC_F32 && layer ? fmax(1.0, s->mean / 4) : 1.0);
    same_flat(x, "rstd", rstd, rstd_ref, N, OC_F32, TOL_F32 * fmax(1.0, s->mean / 4), 0.0);
    same_flat(x, "y", y, y_ref, n, x->t, tol, 0.1);

    const void *dy = normal(x, n, 1.0);
    void *dx = normal(x, n, 1.0), *dx_ref = copy_of(dx, n, x->t);
    float *dw = normal_f32(x, C, 1.0), *db = normal_f32(x, C, 1.0);
    float *dw_ref = copy_of(dw, C, OC_F32), *db_ref = copy_of(db, C, OC_F32);
    float *dw_arg = s->frozen ? NULL : dw, *db_arg = s->frozen ? NULL : db;
    if (layer) {
        x->c->ops.layernorm_bwd(x->c, dx, dw_arg, db_arg, dy, in_ref, mean_ref, rstd_ref, w, s->N, s->C,
                                x->t);
        x->ref->ops.layernorm_bwd(x->ref, dx_ref, s->frozen ? NULL : dw_ref, s->frozen ? NULL : db_ref, dy,
                                  in_ref, mean_ref, rstd_ref, w, s->N, s->C, x->t);
    } else {
        x->c->ops.rmsnorm_bwd(x->c, dx, dw_arg, dy, in_ref, rstd_ref, w, s->N, s->C, x->t);
        x->ref->ops.rmsnorm_bwd(x->ref, dx_ref, s->frozen ? NULL : dw_ref, dy, in_ref, rstd_ref, w, s->N,
                                s->C, x->t);
    }
    same_flat(x, "dx", dx, dx_ref, n, x->t, tol, 0.1);
    same_flat(x, "dw", dw, dw_ref, C, OC_F32, TOL_F32 * fmax(1.0, s->mean / 4), 1.0);
    same_flat(x, "db", db, db_ref, C, OC_F32, TOL_F32, 1.0);
    release_all();
}

static void norms(ctx *x) {
    static const int channels[] = {1, 8, 20, 72, 100, 896, 1152, 1027};
    for (size_t i = 0; i < OC_COUNT(row_counts); i++)
        for (size_t k = 0; k < OC_COUNT(channels); k++)
            for (int layer = 0; layer < 2; layer++) {
                const norm_case s = {.N = row_counts[i],
                                     .C = channels[k],
                                     .add = (i + k) % 2,
                                     .frozen = k % 3 == 0,
                                     .mean = k % 4 == 3 ? 40.0 : 0.0,
                                     .size = k % 4 == 2 ? 1e-3 : 1.0};
                /* LayerNorm of one channel is its bias, and rstd is eps^-1/2 whatever rounding leaves of the
                 * variance. */
                if (!(layer && s.C == 1)) check_norm(x, &s, layer);
            }
}

static void test_norms(void **state) {
    OC_UNUSED(state);
    each_backend(1, norms);
}

/* ---- Rotary positions ---------------------------------------------------------------------------------- */

static void check_rope(ctx *x, int N, int heads, int HS, int pad) {
    enum { P = 500 };
    snprintf(x->shape, sizeof x->shape, "N %d, %d heads of %d, strides +%d", N, heads, HS, pad);
    int width = heads * HS, ld = width + pad;
    size_t n = span(N, width, ld);
    float *table = take((size_t)P * (size_t)HS * 4);
    oc_rope_table(table, P, HS, 10000.0f);
    int32_t *position = take((size_t)N * 4);
    for (int i = 0; i < N; i++) position[i] = oc_rng_range(&x->rng, 0, P - 1);
    void *a = normal(x, n, 1.0), *a_ref = copy_of(a, n, x->t), *start = copy_of(a, n, x->t);
    x->c->ops.rope(x->c, a, ld, position, table, N, heads, HS, 1, x->t);
    x->ref->ops.rope(x->ref, a_ref, ld, position, table, N, heads, HS, 1, x->t);
    same(x, "rope", a, a_ref, N, width, ld, x->t, tolerance(x->t), 1.0);
    x->c->ops.rope(x->c, a, ld, position, table, N, heads, HS, -1, x->t);
    same(x, "rope and back", a, start, N, width, ld, x->t, tolerance(x->t), 1.0);
    release_all();
}

static void ropes(ctx *x) {
    for (int HS = 8, i = 0; HS <= 128; HS += 4, i++)
        check_rope(x, row_counts[i % 3], 1 + i % 4, HS, i % 3 * 2);
}

static void test_rope(void **state) {
    OC_UNUSED(state);
    each_backend(1, ropes);
}

/* ---- Pointwise ----------------------------------------------------------------------------------------- */

/* Normal numbers, with the ends of every function's range among them. */
static void *wide(ctx *x, size_t n) {
    static const double end[] = {0.0,  -0.0, 20.0,  -20.0, 100.0, -100.0, 6.0,
                                 -6.0, 1e-8, -1e-8, 1e4,   -1e4,  3.0,    -3.0};
    void *p = normal(x, n, 3.0);
    for (size_t i = 0; i < n; i++)
        if (oc_rng_below(&x->rng, 4) == 0) put(p, i, x->t, end[oc_rng_below(&x->rng, OC_COUNT(end))]);
    return p;
}

/* |a - b| <= tol * (|b| + size), or in bf16 one step, which is up to 2^-7 of the value: two results that differ by a hair may
 * round to neighbours. */
static bool is_close(oc_dtype t, double a, double b, double tol, double size) {
    return fabs(a - b) <= (t == OC_BF16 ? fmax(tol, 1.0 / 128) : tol) * fabs(b) + tol * size;
}

/* That for each element: one huge value must not hide the others. */
static void each_close(const ctx *x, const char *what, const void *got, const void *want, size_t n,
                       double tol, double size) {
    for (size_t i = 0; i < n; i++) {
        double a = (double)get(got, i, x->t), b = (double)get(want, i, x->t);
        if (!is_close(x->t, a, b, tol, size))
            fail_msg("%s %s, %s, %s: element %zu is %.9g, wanted %.9g", x->c->ops.name, oc_dtype_name(x->t),
                     what, x->shape, i, a, b);
    }
}

static const size_t counts[] = {1, 7, 15, 16, 65, 1000, 4099};

static void check_act(ctx *x, size_t n, oc_act act) {
    snprintf(x->shape, sizeof x->shape, "n %zu, activation %d", n, (int)act);
    const void *in = wide(x, n), *dy = normal(x, n, 1.0);
    void *y = normal(x, n, 1.0), *y_ref = take(n * 4), *dx = normal(x, n, 1.0), *dx_ref = take(n * 4);
    x->c->ops.act_fwd(x->c, y, in, n, act, x->t);
    x->ref->ops.act_fwd(x->ref, y_ref, in, n, act, x->t);
    each_close(x, "act_fwd", y, y_ref, n, tolerance(x->t), 0.1);
    x->c->ops.act_bwd(x->c, dx, dy, in, n, act, x->t);
    x->ref->ops.act_bwd(x->ref, dx_ref, dy, in, n, act, x->t);
    each_close(x, "act_bwd", dx, dx_ref, n, tolerance(x->t), 0.1);

    void *in_place = copy_of(in, n, x->t), *d_in_place = copy_of(dy, n, x->t);
    x->c->ops.act_fwd(x->c, in_place, in_place, n, act, x->t);
    identical(x, "act_fwd in place", in_place, y, n, x->t);
    x->c->ops.act_bwd(x->c, d_in_place, d_in_place, in, n, act, x->t);
    identical(x, "act_bwd in place", d_in_place, dx, n, x->t);
    release_all();
}

static void check_swiglu(ctx *x, int N, int F) {
    snprintf(x->shape, sizeof x->shape, "N %d, F %d", N, F);
    size_t n = (size_t)N * (size_t)F;
    const void *gu = wide(x, 2 * n), *dy = normal(x, n, 1.0);
    void *y = normal(x, n, 1.0), *y_ref = take(n * 4), *d = normal(x, 2 * n, 1.0), *d_ref = take(2 * n * 4);
    x->c->ops.swiglu_fwd(x->c, y, gu, N, F, x->t);
    x->ref->ops.swiglu_fwd(x->ref, y_ref, gu, N, F, x->t);
    each_close(x, "swiglu_fwd", y, y_ref, n, tolerance(x->t), 0.1);
    x->c->ops.swiglu_bwd(x->c, d, dy, gu, N, F, x->t);
    x->ref->ops.swiglu_bwd(x->ref, d_ref, dy, gu, N, F, x->t);
    /* silu' = s (1 + gate (1 - s)) passes through zero, so the gate's gradient is as exact as dy * up, not as
     * itself. */
    for (size_t i = 0; i < 2 * n; i++) {
        size_t row = i / (size_t)(2 * F), f = i % (size_t)(2 * F);
        double a = (double)get(d, i, x->t), b = (double)get(d_ref, i, x->t);
        double size = 1.0 + fabs((double)get(dy, row * (size_t)F + f % (size_t)F, x->t) *
                                 (double)get(gu, f < (size_t)F ? i + (size_t)F : i, x->t));
        if (!is_close(x->t, a, b, tolerance(x->t), f < (size_t)F ? size : 1.0))
            fail_msg("%s %s, swiglu_bwd, %s: element %zu is %.9g, wanted %.9g", x->c->ops.name,
                     oc_dtype_name(x->t), x->shape, i, a, b);
    }
    release_all();
}

static void pointwise(ctx *x) {
    for (size_t i = 0; i < OC_COUNT(counts); i++)
        for (oc_act act = OC_ACT_NONE; act <= OC_ACT_GELU_ERF; act++) check_act(x, counts[i], act);
    static const int F[] = {1, 20, 72, 333, 4864};
    for (size_t i = 0; i < OC_COUNT(row_counts); i++)
        for (size_t k = 0; k < OC_COUNT(F); k++) check_swiglu(x, row_counts[i], F[k]);
}

static void test_pointwise(void **state) {
    OC_UNUSED(state);
    each_backend(1, pointwise);
}

static void additions(ctx *x) {
    for (size_t i = 0; i < OC_COUNT(counts); i++) {
        size_t n = counts[i];
        snprintf(x->shape, sizeof x->shape, "n %zu", n);
        const void *a = normal(x, n, 1.0), *b = normal(x, n, 1.0);
        void *y = normal(x, n, 1.0), *y_ref = take(n * 4), *in_place = copy_of(a, n, x->t),
             *other = copy_of(b, n, x->t);
        x->c->ops.add(x->c, y, a, b, n, x->t);
        x->ref->ops.add(x->ref, y_ref, a, b, n, x->t);
        identical(x, "add", y, y_ref, n, x->t); /* one rounding of an exact sum: no tolerance */
        x->c->ops.add(x->c, in_place, in_place, b, n, x->t);
        identical(x, "add onto a", in_place, y_ref, n, x->t);
        x->c->ops.add(x->c, other, a, other, n, x->t);
        identical(x, "add onto b", other, y_ref, n, x->t);
        release_all();
    }
}

static void test_add(void **state) {
    OC_UNUSED(state);
    each_backend(1, additions);
}

/* All bf16 values to f32; f32 values around each of them, which round up, down and to even; infinities,
 * NaN. */
static void conversions(ctx *x) {
    enum { ALL = 1 << 16, N = 3 * ALL + 5 };
    uint16_t *h = take(ALL * 2), *back = take(N * 2);
    float *f = take(N * 4), *g = take(ALL * 4);
    for (unsigned i = 0; i < ALL; i++) h[i] = (uint16_t)i;
    x->c->ops.convert(x->c, g, OC_F32, h, OC_BF16, ALL);
    for (unsigned i = 0; i < ALL; i++) {
        float want = oc_bf16_to_f32(h[i]);
        if (isnan(want))
            assert_true(isnan(g[i]));
        else
            assert_memory_equal(&g[i], &want, 4);
    }
    for (uint32_t i = 0; i < N; i++) {
        uint32_t bits = (i % ALL) << 16 | (i / ALL == 0 ? 0x7fffu : i / ALL == 1 ? 0x8000u : 0x8001u);
        memcpy(&f[i], &bits, 4);
    }
    x->c->ops.convert(x->c, back, OC_BF16, f, OC_F32, N);
    for (uint32_t i = 0; i < N; i++) {
        uint16_t want = oc_f32_to_bf16(f[i]);
        if (isnan(f[i])) assert_true(isnan(oc_bf16_to_f32(back[i])));
        /* The hardware's conversion takes subnormal numbers for zero. */
        else if (fabsf(f[i]) < 0x1p-126f && (back[i] & 0x7fffu) == 0)
            continue;
        else if (back[i] != want)
            fail_msg("%s: %a became bf16 %04x, wanted %04x", x->c->ops.name, (double)f[i], back[i], want);
    }
    for (size_t i = 0; i < OC_COUNT(counts); i++) { /* nothing past the end */
        uint16_t *exact = take(counts[i] * 2);
        x->c->ops.convert(x->c, exact, OC_BF16, f + ALL / 4, OC_F32, counts[i]);
        assert_memory_equal(exact, back + ALL / 4, counts[i] * 2);
        float *copy = take(counts[i] * 4);
        x->c->ops.convert(x->c, copy, OC_F32, f, OC_F32, counts[i]);
        assert_memory_equal(copy, f, counts[i] * 4);
    }
}

static void test_convert(void **state) {
    OC_UNUSED(state);
    each_backend(0, conversions);
}

/* ---- Rows ---------------------------------------------------------------------------------------------- */

static void check_rows(ctx *x, int N, int C) {
    enum { V = 23 };
    snprintf(x->shape, sizeof x->shape, "N %d, C %d", N, C);
    size_t n = (size_t)N * (size_t)C, nv = V * (size_t)C;
    int32_t *id = take((size_t)N * 4), *maybe = take((size_t)N * 4);
    for (int i = 0; i < N; i++) {
        id[i] = oc_rng_range(&x->rng, 0, V - 1);
        maybe[i] = oc_rng_below(&x->rng, 4) ? id[i] : -1;
    }
    void *y = normal(x, n, 1.0), *y_ref = take(n * 4);
    for (oc_dtype table_t = OC_F32; table_t <= OC_BF16; table_t++) {
        const void *table = normal_n(x, nv, table_t, 1.0, 0.0);
        x->c->ops.embedding_fwd(x->c, y, id, table, table_t, N, C, x->t);
        x->ref->ops.embedding_fwd(x->ref, y_ref, id, table, table_t, N, C, x->t);
        identical(x, "embedding_fwd", y, y_ref, n, x->t);
    }
    float *d = normal_f32(x, nv, 1.0), *d_ref = copy_of(d, nv, OC_F32);
    x->c->ops.embedding_bwd(x->c, d, maybe, y, N, C, V, x->t);
    x->ref->ops.embedding_bwd(x->ref, d_ref, maybe, y, N, C, V, x->t);
    identical(x, "embedding_bwd", d, d_ref, nv, OC_F32);

    const void *from = normal(x, nv, 1.0);
    x->c->ops.gather_rows(x->c, y, from, maybe, N, C, x->t);
    x->ref->ops.gather_rows(x->ref, y_ref, from, maybe, N, C, x->t);
    identical(x, "gather_rows", y, y_ref, n, x->t);

    const int ld = C + 3; /* rows of x with a gap between them */
    const void *wide = normal(x, span(N, C, ld), 1.0);
    void *to = normal(x, nv, 1.0), *to_ref = copy_of(to, nv, x->t);
    x->c->ops.scatter_rows(x->c, to, wide, ld, maybe, N, C, true, x->t);
    x->ref->ops.scatter_rows(x->ref, to_ref, wide, ld, maybe, N, C, true, x->t);
    identical(x, "scatter_rows, accumulating", to, to_ref, nv, x->t);
    int count = OC_MIN(N, V);
    for (int i = 0; i < count; i++)
        maybe[i] = i % 3 == 1 ? -1 : (i * 5 + 2) % V; /* 5 and 23 are coprime: distinct */
    x->c->ops.scatter_rows(x->c, to, wide, ld, maybe, count, C, false, x->t);
    x->ref->ops.scatter_rows(x->ref, to_ref, wide, ld, maybe, count, C, false, x->t);
    identical(x, "scatter_rows", to, to_ref, nv, x->t);
    for (int i = 0; i < count; i++)
        if (maybe[i] >= 0)
            assert_memory_equal((char *)to + (size_t)maybe[i] * (size_t)C * oc_dtype_size(x->t),
                                (const char *)wide + (size_t)i * (size_t)ld * oc_dtype_size(x->t), (size_t)C * oc_dtype_size(x->t));
    release_all();
}

static void rows(ctx *x) {
    static const int channels[] = {1, 20, 72, 100, 896};
    for (size_t i = 0; i < OC_COUNT(row_counts); i++)
        for (size_t k = 0; k < OC_COUNT(channels); k++) check_rows(x, row_counts[i], channels[k]);
}

static void test_rows(void **state) {
    OC_UNUSED(state);
    each_backend(1, rows);
}

/* ---- Images -------------------------------------------------------------------------------------------- */

static void check_patchify(ctx *x, int I, int S, int P) {
    snprintf(x->shape, sizeof x->shape, "%d images of %d, patches of %d", I, S, P);
    int G = S / P;
    size_t n = (size_t)I * (size_t)(G * G) * 3 * (size_t)(P * P);
    const float *pixels = normal_f32(x, (size_t)I * 3 * (size_t)(S * S), 1.0);
    void *y = normal(x, n, 1.0), *y_ref = take(n * 4);
    x->c->ops.patchify(x->c, y, pixels, I, S, P, x->t);
    x->ref->ops.patchify(x->ref, y_ref, pixels, I, S, P, x->t);
    identical(x, "patchify", y, y_ref, n, x->t);
}

static void check_position_add(ctx *x, int I, int P, int C) {
    snprintf(x->shape, sizeof x->shape, "%d images of %d patches, C %d", I, P, C);
    size_t n = (size_t)I * (size_t)P * (size_t)C, np = (size_t)P * (size_t)C;
    const float *pos = normal_f32(x, np, 1.0);
    void *a = normal(x, n, 1.0), *a_ref = copy_of(a, n, x->t);
    x->c->ops.position_add_fwd(x->c, a, pos, I * P, P, C, x->t);
    x->ref->ops.position_add_fwd(x->ref, a_ref, pos, I * P, P, C, x->t);
    identical(x, "position_add_fwd", a, a_ref, n, x->t);
    float *d = normal_f32(x, np, 1.0), *d_ref = copy_of(d, np, OC_F32);
    x->c->ops.position_add_bwd(x->c, d, a, I * P, P, C, x->t);
    x->ref->ops.position_add_bwd(x->ref, d_ref, a, I * P, P, C, x->t);
    same_flat(x, "position_add_bwd", d, d_ref, np, OC_F32, TOL_F32, 1.0);
}

static void check_merge(ctx *x, int I, int G, int s, int C) {
    snprintf(x->shape, sizeof x->shape, "%d images of %d x %d patches, merged %d x %d, C %d", I, G, G, s, s,
             C);
    size_t n = (size_t)I * (size_t)(G * G) * (size_t)C,
           m = (size_t)I * (size_t)(G / s * s) * (size_t)(G / s * s) * (size_t)C;
    const void *in = normal(x, n, 1.0);
    void *y = normal(x, m, 1.0), *y_ref = take(m * 4), *d = normal(x, n, 1.0), *d_ref = normal(x, n, 1.0);
    x->c->ops.merge_fwd(x->c, y, in, I, G, s, C, x->t);
    x->ref->ops.merge_fwd(x->ref, y_ref, in, I, G, s, C, x->t);
    identical(x, "merge_fwd", y, y_ref, m, x->t);
    x->c->ops.merge_bwd(x->c, d, y, I, G, s, C, x->t);
    x->ref->ops.merge_bwd(x->ref, d_ref, y, I, G, s, C, x->t);
    identical(x, "merge_bwd", d, d_ref, n, x->t);
}

static void images(ctx *x) {
    static const struct {
        int I, S, P;
    } patches[] = {{1, 14, 14}, {1, 28, 14}, {3, 30, 14}, {2, 17, 4}, {1, 5, 1}};
    static const struct { int I, P, C; } positions[] = {{1, 1, 1}, {3, 9, 20}, {1, 65, 72}, {5, 4, 100}};
    static const struct {
        int I, G, s, C;
    } merges[] = {{1, 1, 1, 8}, {2, 6, 3, 20}, {3, 5, 2, 7}, {1, 27, 3, 72}, {2, 7, 4, 1}};
    for (size_t i = 0; i < OC_COUNT(patches); i++)
        check_patchify(x, patches[i].I, patches[i].S, patches[i].P);
    for (size_t i = 0; i < OC_COUNT(positions); i++)
        check_position_add(x, positions[i].I, positions[i].P, positions[i].C);
    for (size_t i = 0; i < OC_COUNT(merges); i++)
        check_merge(x, merges[i].I, merges[i].G, merges[i].s, merges[i].C);
}

static void test_images(void **state) {
    OC_UNUSED(state);
    each_backend(1, images);
}

/* ---- Optimizer ----------------------------------------------------------------------------------------- */

/* Several steps of AdamW in double, from the equations in compute.h. */
static void adamw_by_definition(double *w, double *m, double *v, const float *g, size_t n,
                                const oc_adamw *o) {
    double b1 = (double)o->beta1, b2 = (double)o->beta2;
    for (size_t i = 0; i < n; i++) {
        double grad = (double)g[i] * (double)o->grad_scale;
        m[i] = b1 * m[i] + (1 - b1) * grad;
        v[i] = b2 * v[i] + (1 - b2) * grad * grad;
        double step = m[i] / (1 - pow(b1, o->step)) / (sqrt(v[i] / (1 - pow(b2, o->step))) + (double)o->eps);
        w[i] -= (double)o->lr * (step + (double)o->decay * w[i]);
    }
}

static float *narrow(const double *p, size_t n) {
    float *f = take(n * sizeof *f);
    for (size_t i = 0; i < n; i++) f[i] = (float)p[i];
    return f;
}

static void check_adamw(ctx *x, size_t n) {
    enum { STEPS = 8 };
    float *w = normal_f32(x, n, 1.0), *m = take(n * 4), *v = take(n * 4);
    const float *start = copy_of(w, n, OC_F32);
    double *w64 = take(n * 8), *m64 = take(n * 8), *v64 = take(n * 8);
    for (size_t i = 0; i < n; i++) w64[i] = (double)w[i];
    for (int step = 1; step <= STEPS; step++) {
        snprintf(x->shape, sizeof x->shape, "n %zu, step %d", n, step);
        const oc_adamw o = {.lr = 1e-2f,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .eps = 1e-8f,
                            .decay = 0.1f,
                            .grad_scale = 0.25f,
                            .step = step};
        float *g = normal_f32(x, n, 0.1);
        g[0] = step == 3 ? 0.0f : g[0];
        x->c->ops.adamw(x->c, w, m, v, g, n, &o);
        adamw_by_definition(w64, m64, v64, g, n, &o);
        /* The floors are what the terms come to. */
        same_flat(x, "adamw m", m, narrow(m64, n), n, OC_F32, 1e-6, 0.01);
        same_flat(x, "adamw v", v, narrow(v64, n), n, OC_F32, 1e-6, 1e-5);
    }
    /* What eight steps moved, against what they should have: w itself would hide an error of the small
     * steps. */
    float *moved = take(n * 4);
    double *moved64 = take(n * 8);
    for (size_t i = 0; i < n; i++) moved[i] = w[i] - start[i], moved64[i] = w64[i] - (double)start[i];
    /* Rounding w (of size 1) at each step is 2^-25 rms against a movement of some 1e-2. */
    same_flat(x, "adamw, movement of w", moved, narrow(moved64, n), n, OC_F32, 1e-4, 0.0);
    release_all();
}

static void check_sum_squares(ctx *x, size_t n) {
    snprintf(x->shape, sizeof x->shape, "n %zu", n);
    const float *a = normal_f32(x, n, 3.0);
    double want = 0, got = x->c->ops.sum_squares(x->c, a, n);
    for (size_t i = 0; i < n; i++) want += (double)a[i] * (double)a[i];
    /* Squares of floats are exact in double; their sum loses n * 2^-53 at most. */
    if (!(fabs(got - want) <= 1e-12 * want))
        fail_msg("%s: sum_squares of %zu is %.17g, wanted %.17g", x->c->ops.name, n, got, want);
    release_all();
}

/* What the optimizer keeps beside the weights: averages, and numbers in bf16. */
static void check_kept(ctx *x, size_t n) {
    const oc_ops *ops = &x->c->ops;
    snprintf(x->shape, sizeof x->shape, "n %zu", n);
    float *w = normal_f32(x, n, 1.0), *avg = normal_f32(x, n, 1.0), *was = copy_of(avg, n, OC_F32);
    uint16_t *half = normal_n(x, n, OC_BF16, 1.0, 0.0), *half_was = copy_of(half, n, OC_BF16), *drawn = take(n * 2);
    ops->average(x->c, avg, w, n, 0.75f, 0.25f);
    for (size_t i = 0; i < n; i++) was[i] = 0.75f * was[i] + 0.25f * w[i];
    same_flat(x, "average", avg, was, n, OC_F32, TOL_F32, 1.0);

    float *a = copy_of(w, n, OC_F32), *b = copy_of(avg, n, OC_F32);
    ops->swap(x->c, a, b, n);
    identical(x, "swap, first", a, avg, n, OC_F32);
    identical(x, "swap, second", b, w, n, OC_F32);

    ops->add_narrow(x->c, half, w, n);
    for (size_t i = 0; i < n; i++) half_was[i] = oc_f32_to_bf16(oc_bf16_to_f32(half_was[i]) + w[i]);
    identical(x, "add_narrow", half, half_was, n, OC_BF16);

    /* Every backend draws the same numbers, each element by its place; and the result is a neighbour of x. */
    enum { KEY = 12345 };
    if (n > 2) w[0] = INFINITY, w[1] = NAN;
    ops->round_random(x->c, drawn, w, n, KEY, 7);
    x->ref->ops.round_random(x->ref, half, w, n / 2, KEY, 7);
    x->ref->ops.round_random(x->ref, half + n / 2, w + n / 2, n - n / 2, KEY, 7 + n / 2);
    identical(x, "round_random", drawn, half, n, OC_BF16);
    for (size_t i = n > 2 ? 2 : 0; i < n; i++)
        if (!(fabsf(oc_bf16_to_f32(drawn[i]) - w[i]) <= fabsf(w[i]) / 128))
            fail_msg("%s: round_random made %g of %g", ops->name, (double)oc_bf16_to_f32(drawn[i]), (double)w[i]);

    ops->zero(x->c, a, n * sizeof *a);
    for (size_t i = 0; i < n; i++) assert_true(a[i] == 0);
    ops->copy(x->c, a, w, n * sizeof *a);
    identical(x, "copy", a, w, n, OC_F32);
    release_all();
}

static void optimizer(ctx *x) {
    if (x->t != OC_F32) return;
    for (size_t i = 0; i < OC_COUNT(counts); i++) check_kept(x, counts[i]);
    for (size_t i = 0; i < OC_COUNT(counts); i++) check_adamw(x, counts[i]);
    for (size_t i = 0; i < OC_COUNT(counts); i++) check_sum_squares(x, counts[i]);
    check_sum_squares(x, 0);
    check_sum_squares(x, 100003);
}

static void test_optimizer_is_that_of_the_equations(void **state) {
    OC_UNUSED(state);
    each_backend(0, optimizer);
}

/* ---- Nothing to do ------------------------------------------------------------------------------------- */

/* A step without images, or without labels, calls with no rows: nothing may be written, read or divided by
 * zero. */
static void no_rows(ctx *x) {
    enum { C = 24, ROWS = 16, ALL = 2 * C * ROWS };
    const oc_ops *ops = &x->c->ops;
    void *a = normal(x, ALL, 1.0), *a_before = copy_of(a, ALL, x->t);
    float *f = normal_f32(x, ALL, 1.0), *f_before = copy_of(f, ALL, OC_F32);
    const float *w = normal_f32(x, ROWS * C, 1.0), *table = normal_f32(x, 8, 1.0);
    const void *in = normal(x, ALL, 1.0);
    const int32_t none[1] = {0};
    oc_matrix *m = ops->matrix_create(x->c, &(oc_matrix_desc){.w = w, .t = x->t, .rows = ROWS, .cols = C});
    ops->linear_fwd(x->c, a, ROWS, in, C, m, 0, &(oc_epilogue){.bias = w, .act = OC_ACT_GELU_TANH});
    ops->linear_bwd_x(x->c, a, C, in, ROWS, m, 0, true);
    ops->linear_bwd_w(x->c, f, f, in, ROWS, in, C, x->t, 0, ROWS, C);
    ops->linear_xent(x->c, f, NULL, a, f, in, none, NULL, m, 0, 1.0f);
    ops->matrix_free(x->c, m);
    const oc_attention at = {.NH = 2,
                             .NKV = 1,
                             .HS = 8,
                             .ldq = 32,
                             .ldkv = 32,
                             .ldo = 16,
                             .lo = none,
                             .hi = none,
                             .scale = 1.0f,
                             .t = x->t};
    ops->attention_fwd(x->c, a, f, in, in, in, &at);
    ops->attention_bwd(x->c, a, a, a, in, in, f, in, in, in, &at);
    ops->attention_decode(x->c, a, in, in, in, none, none, 0, &at);
    ops->layernorm_fwd(x->c, a, f, f, a, in, w, w, 0, C, 1e-6f, x->t);
    ops->layernorm_bwd(x->c, a, f, f, in, in, w, w, w, 0, C, x->t);
    ops->rmsnorm_fwd(x->c, a, f, a, in, w, 0, C, 1e-6f, x->t);
    ops->rmsnorm_bwd(x->c, a, f, in, in, w, w, 0, C, x->t);
    ops->rope(x->c, a, C, none, table, 0, 3, 8, 1, x->t);
    ops->act_fwd(x->c, a, in, 0, OC_ACT_GELU_ERF, x->t);
    ops->act_bwd(x->c, a, in, in, 0, OC_ACT_GELU_ERF, x->t);
    ops->swiglu_fwd(x->c, a, in, 0, C, x->t);
    ops->swiglu_bwd(x->c, a, in, in, 0, C, x->t);
    ops->add(x->c, a, in, in, 0, x->t);
    ops->convert(x->c, a, x->t, w, OC_F32, 0);
    ops->embedding_fwd(x->c, a, none, w, OC_F32, 0, C, x->t);
    ops->embedding_bwd(x->c, f, none, in, 0, C, 8, x->t);
    ops->gather_rows(x->c, a, in, none, 0, C, x->t);
    ops->scatter_rows(x->c, a, in, C, none, 0, C, true, x->t);
    ops->scatter_rows(x->c, a, in, C, none, 0, C, false, x->t);
    ops->patchify(x->c, a, w, 0, 28, 14, x->t);
    ops->position_add_fwd(x->c, a, w, 0, 4, C, x->t);
    ops->position_add_bwd(x->c, f, in, 0, 4, C, x->t);
    ops->merge_fwd(x->c, a, in, 0, 5, 2, C, x->t);
    ops->merge_bwd(x->c, a, in, 0, 5, 2, C, x->t);
    const oc_adamw o = {.lr = 1, .beta1 = 0.9f, .beta2 = 0.9f, .eps = 1e-8f, .grad_scale = 1, .step = 1};
    ops->adamw(x->c, f, f, f, w, 0, &o);
    identical(x, "no rows", a, a_before, ALL, x->t);
    identical(x, "no rows", f, f_before, ALL, OC_F32);
}

static void test_no_rows(void **state) {
    OC_UNUSED(state);
    each_backend(0, no_rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),     cmocka_unit_test(test_rope),
        cmocka_unit_test(test_pointwise), cmocka_unit_test(test_add),
        cmocka_unit_test(test_convert),   cmocka_unit_test(test_rows),
        cmocka_unit_test(test_images),    cmocka_unit_test(test_optimizer_is_that_of_the_equations),
        cmocka_unit_test(test_no_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
