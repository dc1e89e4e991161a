/* Attention over intervals equals attention under a dense mask, formed here in double from the definition,
 * for the masks that the model uses (prefix, causal, isolated, block-diagonal) and for random ones, at every
 * head size; lse; the same bits for any number of threads; and the plan that cuts it into work covers
 * everything once. */
#include "compute/common.h"
#include "compute/cpu/simd/attention_plan.h"

/* ---- Masks ------------------------------------------------------------------------------------ */

typedef enum { PREFIX, CAUSAL, ISOLATED, IMAGES, RANDOM, MASKS } mask;
static const char *mask_name[MASKS] = {"prefix", "causal", "isolated", "images", "random"};

/* Packed sequences: an image of some length, then text, then perhaps a second image and more text. */
static void lay_out(oc_rng *r, int32_t *lo, int32_t *hi, int N, mask m) {
    for (int begin = 0; begin < N && m != RANDOM;) {
        int length = oc_rng_range(r, 1, 90), end = OC_MIN(N, begin + length);
        int a = oc_rng_range(r, begin, end), b = oc_rng_range(r, a, end); /* image block [a, b) */
        if (m == IMAGES) a = begin, b = end;
        for (int i = begin; i < end; i++) {
            bool visual = i >= a && i < b && m != CAUSAL;
            lo[i] = visual && m == ISOLATED ? a : begin;
            hi[i] = visual ? b : i + 1;
        }
        begin = end;
    }
    for (int i = 0; i < N && m == RANDOM; i++) {
        int a = oc_rng_range(r, 0, N), b = oc_rng_range(r, 0, N);
        lo[i] = OC_MIN(a, b), hi[i] = OC_MAX(a, b);
    }
}

/* ---- Against a dense mask --------------------------------------------------------------------- */

typedef struct tensors {
    void *q, *k, *v, *o, *dO, *dq, *dk, *dv;
    float *lse;
} tensors;

static oc_attention make(ctx *x, tensors *f, int N, int NH, int NKV, int HS, mask m) {
    snprintf(x->shape, sizeof x->shape, "%s, N %d, heads %d/%d of %d", mask_name[m], N, NH, NKV, HS);
    int32_t *lo = take((size_t)N * 4), *hi = take((size_t)N * 4);
    lay_out(&x->rng, lo, hi, N, m);
    size_t nq = (size_t)(N * NH * HS), nk = (size_t)(N * NKV * HS);
    *f = (tensors){.q = normal(x, nq, 1.5),
                   .k = normal(x, nk, 1.0),
                   .v = normal(x, nk, 1.0),
                   .o = normal(x, nq, 1.0),
                   .dO = normal(x, nq, 1.0),
                   .dq = normal(x, nq, 1.0),
                   .dk = normal(x, nk, 1.0),
                   .dv = normal(x, nk, 1.0),
                   .lse = take((size_t)(N * NH) * 4)};
    return (oc_attention){N, NH, NKV, HS, NH * HS, NKV * HS, NH * HS, lo, hi, 1.0f / sqrtf((float)HS), x->t};
}

static void run(oc_compute *c, const tensors *f, const oc_attention *a) {
    c->ops.attention_fwd(c, f->o, f->lse, f->q, f->k, f->v, a);
    c->ops.attention_bwd(c, f->dq, f->dk, f->dv, f->dO, f->o, f->lse, f->q, f->k, f->v, a);
}

static double at(const void *p, int n, int head, int d, int heads, const oc_attention *a) {
    return (double)get(p, (size_t)((n * heads + head) * a->HS + d), a->t);
}

/* Row i of head h under a dense mask: p [N], and lse (of a row that sees nothing: 0). */
static double dense_row(double *p, const tensors *f, const oc_attention *a, int i, int h) {
    double top = -INFINITY, sum = 0;
    for (int j = 0; j < a->N; j++) {
        bool masked = j < a->lo[i] || j >= a->hi[i];
        p[j] = masked ? -INFINITY : 0;
        for (int d = 0; d < a->HS && !masked; d++)
            p[j] += (double)a->scale * at(f->q, i, h, d, a->NH, a) *
                    at(f->k, j, h * a->NKV / a->NH, d, a->NKV, a);
        top = fmax(top, p[j]);
    }
    if (top == -INFINITY) {
        memset(p, 0, (size_t)a->N * sizeof *p);
        return 0;
    }
    for (int j = 0; j < a->N; j++) sum += p[j] = exp(p[j] - top);
    for (int j = 0; j < a->N; j++) p[j] /= sum;
    return top + log(sum);
}

/* o, lse and all gradients, row by row: softmax of masked scores and its derivative. */
static void dense(double *o, double *lse, double *dq, double *dk, double *dv, const tensors *f,
                  const oc_attention *a) {
    double *p = take((size_t)a->N * 8);
    for (int i = 0; i < a->N; i++)
        for (int h = 0; h < a->NH; h++) {
            int g = h * a->NKV / a->NH;
            double *oi = o + (i * a->NH + h) * a->HS, *dqi = dq + (i * a->NH + h) * a->HS, D = 0;
            lse[i * a->NH + h] = dense_row(p, f, a, i, h);
            for (int j = 0; j < a->N; j++)
                for (int d = 0; d < a->HS && p[j] > 0; d++) oi[d] += p[j] * at(f->v, j, g, d, a->NKV, a);
            for (int d = 0; d < a->HS; d++) D += oi[d] * at(f->dO, i, h, d, a->NH, a);
            for (int j = 0; j < a->N; j++) {
                if (p[j] == 0) continue;
                double dp = 0, *dkj = dk + (j * a->NKV + g) * a->HS, *dvj = dv + (j * a->NKV + g) * a->HS;
                for (int d = 0; d < a->HS; d++)
                    dp += at(f->dO, i, h, d, a->NH, a) * at(f->v, j, g, d, a->NKV, a);
                double ds = p[j] * (dp - D) * (double)a->scale;
                for (int d = 0; d < a->HS; d++) {
                    dqi[d] += ds * at(f->k, j, g, d, a->NKV, a);
                    dkj[d] += ds * at(f->q, i, h, d, a->NH, a);
                    dvj[d] += p[j] * at(f->dO, i, h, d, a->NH, a);
                }
            }
        }
}

static void compare(const ctx *x, const char *what, const void *got, const double *want, size_t n, oc_dtype t,
                    double tol) {
    float *rounded = take(n * 4), *wide = take(n * 4);
    for (size_t i = 0; i < n; i++) rounded[i] = (float)want[i], wide[i] = get(got, i, t);
    same_flat(x, what, wide, rounded, n, OC_F32, tol, 0.1);
}

static void check(ctx *x, int N, int NH, int NKV, int HS, mask m) {
    tensors f;
    oc_attention a = make(x, &f, N, NH, NKV, HS, m);
    run(x->c, &f, &a);
    size_t nl = (size_t)(N * NH), nq = nl * (size_t)HS, nk = (size_t)(N * NKV * HS);
    double *o = take(nq * 8), *lse = take(nl * 8), *dq = take(nq * 8), *dk = take(nk * 8), *dv = take(nk * 8);
    dense(o, lse, dq, dk, dv, &f, &a);
    for (size_t i = 0; i < nl; i++) {
        int row = (int)i / NH;
        if (a.lo[row] < a.hi[row]) continue;
        assert_true(f.lse[i] == -INFINITY); /* a row that sees nothing */
        f.lse[i] = 0;
    }
    double tol = x->t == OC_F32 ? TOL_F32 : 2 * TOL_BF16;
    compare(x, "o", f.o, o, nq, x->t, tolerance(x->t));
    compare(x, "lse", f.lse, lse, nl, OC_F32, TOL_F32);
    compare(x, "dq", f.dq, dq, nq, x->t, tol);
    compare(x, "dk", f.dk, dk, nk, x->t, tol);
    compare(x, "dv", f.dv, dv, nk, x->t, tol);
    release_all();
}

static void head_sizes(ctx *x) {
    for (int HS = 8, i = 0; HS <= 128; HS += 4, i++) check(x, 40 + i, 2, 1 + i % 2, HS, (mask)(i % MASKS));
}
static void test_every_head_size(void **state) {
    OC_UNUSED(state);
    each_backend(1, head_sizes);
}

/* Long enough for several tiles of queries and blocks of keys; groups of heads that do and do not divide the
 * lanes. */
static void masks(ctx *x) {
    static const int heads[][2] = {{2, 2}, {4, 2}, {7, 1}, {11, 1}, {9, 1}};
    for (int m = 0; m < MASKS; m++)
        check(x, 150 + 31 * m, heads[m][0], heads[m][1], m % 2 ? 20 : 16, (mask)m);
}
static void test_every_mask(void **state) {
    OC_UNUSED(state);
    each_backend(1, masks);
}

/* ---- Threads ---------------------------------------------------------------------------------- */

static void test_threads_change_nothing(void **state) {
    OC_UNUSED(state);
    const char *name[16];
    int count = oc_compute_backends(name, 16);
    for (int i = 0; i < count; i++)
        for (oc_dtype t = OC_F32; t <= OC_BF16; t++)
            for (mask m = 0; m < MASKS; m++) {
                ctx x = {.c = open_backend(name[i], 1),
                         .ref = open_backend(name[i], 3),
                         .t = t,
                         .rng = oc_rng_seed(7)};
                tensors f;
                oc_attention a = make(&x, &f, 130, 4, 2, 24, m);
                size_t nl = (size_t)(a.N * a.NH), nq = nl * (size_t)a.HS, nk = (size_t)(a.N * a.NKV * a.HS);
                run(x.c, &f, &a);
                tensors g = f;
                g.o = take(nq * 4), g.dq = take(nq * 4), g.dk = take(nk * 4), g.dv = take(nk * 4),
                g.lse = take(nl * 4);
                run(x.ref, &g, &a);
                identical(&x, "o", g.o, f.o, nq, t);
                identical(&x, "lse", g.lse, f.lse, nl, OC_F32);
                identical(&x, "dq", g.dq, f.dq, nq, t);
                identical(&x, "dk", g.dk, f.dk, nk, t);
                identical(&x, "dv", g.dv, f.dv, nk, t);
                release_all();
                oc_compute_close(x.c), oc_compute_close(x.ref);
            }
}

/* ---- The plan --------------------------------------------------------------------------------- */

/* Tiles partition the rows and hold their intervals; components partition the tiles, their keys are disjoint
 * and the keys they own partition [0, N); parts partition a component's tiles. */
static void check_plan(const oc_attention *a, int rows, int heads) {
    oc_attention_plan p;
    oc_attention_plan_tiles(&p, take(oc_attention_plan_bytes(a->N)), a, rows);
    oc_attention_plan_parts(&p, a, heads);
    int row = 0, tile = 0, own = 0, part = 0;
    size_t offset = 0;
    for (int i = 0; i < p.tiles; i++) {
        const oc_attention_tile *t = &p.tile[i];
        assert_int_equal(t->row, row);
        assert_in_range(t->rows, 1, rows);
        for (; row < t->row + t->rows; row++) {
            assert_true(a->lo[row] >= a->hi[row] || (a->lo[row] >= t->key0 && a->hi[row] <= t->key1));
            assert_true(a->lo[row] <= t->all0 && a->hi[row] >= t->all1);
        }
    }
    for (int i = 0; i < p.components; i++) {
        const oc_attention_component *c = &p.component[i];
        assert_int_equal(c->tile0, tile);
        assert_int_equal(c->own0, own);
        assert_int_equal(c->part0, part);
        assert_true(c->key0 >= c->own0 || c->key0 == c->key1);
        assert_true(c->key1 <= c->own1 && c->tile1 > c->tile0 && c->part1 > c->part0);
        for (; part < c->part1; part++) {
            const oc_attention_part *q = &p.part[part];
            assert_int_equal(q->tile0, tile);
            assert_int_equal(q->offset, offset);
            for (; tile < q->tile1; tile++) {
                const oc_attention_tile *t = &p.tile[tile];
                assert_true(t->key0 == t->key1 || (t->key0 >= q->key0 && t->key1 <= q->key1));
                assert_true(t->key0 == t->key1 || (t->key0 >= c->key0 && t->key1 <= c->key1));
            }
            offset += (size_t)(q->key1 - q->key0);
            assert_true(q->key1 - q->key0 <= p.most_rows);
        }
        assert_int_equal(c->tile1, tile);
        own = c->own1;
    }
    assert_int_equal(row, a->N);
    assert_int_equal(tile, p.tiles);
    assert_int_equal(part, p.parts);
    assert_int_equal(own, a->N);
    assert_int_equal(offset, p.part_rows);
}

static void test_plan_covers_everything_once(void **state) {
    OC_UNUSED(state);
    oc_rng r = oc_rng_seed(3);
    for (int trial = 0; trial < 200; trial++) {
        int N = oc_rng_range(&r, 1, 400);
        int32_t *lo = take((size_t)N * 4), *hi = take((size_t)N * 4);
        lay_out(&r, lo, hi, N, (mask)(trial % MASKS));
        for (int i = 0; i < N && trial % 3 == 0; i++)
            if (oc_rng_below(&r, 3) == 0) lo[i] = hi[i];
        const oc_attention a = {.N = N, .lo = lo, .hi = hi};
        check_plan(&a, oc_rng_range(&r, 1, 64), oc_rng_range(&r, 1, 20));
        release_all();
    }
}

/* Sequences that share nothing are components of their own, and one long one is cut for many threads. */
static void test_plan_splits(void **state) {
    OC_UNUSED(state);
    enum { N = 640 };
    int32_t *lo = take(N * 4), *hi = take(N * 4);
    for (int i = 0; i < N; i++) lo[i] = i / 64 * 64, hi[i] = lo[i] + 64;
    const oc_attention a = {.N = N, .lo = lo, .hi = hi};
    oc_attention_plan p;
    void *memory = take(oc_attention_plan_bytes(N));
    oc_attention_plan_tiles(&p, memory, &a, 64);
    oc_attention_plan_parts(&p, &a, 4);
    assert_int_equal(p.tiles, 10);
    assert_int_equal(p.components, 10);
    assert_int_equal(p.parts, 10);
    for (int i = 0; i < N; i++) lo[i] = 0, hi[i] = i + 1;
    oc_attention_plan_tiles(&p, memory, &a, 16);
    oc_attention_plan_parts(&p, &a, 4);
    assert_int_equal(p.components, 1);
    assert_int_equal(p.parts, 4);
    release_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_head_size),
        cmocka_unit_test(test_every_mask),
        cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_plan_covers_everything_once),
        cmocka_unit_test(test_plan_splits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
