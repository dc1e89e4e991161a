/* Attention of every backend against the reference: masks of every kind, head sizes, groups of heads,
 * strides. */
#include "compute/common.h"

typedef enum {
    CAUSAL, /* [0, i+1) */
    FULL,   /* [0, N) */
    BLOCKS, /* block-diagonal, causal inside some blocks: packed sequences and images */
    PREFIX, /* causal, but images see from the start to their own end */
    RANDOM, /* anything, in no order */
    SPARSE, /* as RANDOM, and most rows see nothing */
    SINGLE, /* one key a row */
    KINDS
} kind;

static const char *kind_name[KINDS] = {"causal", "full", "blocks", "prefix", "random", "sparse", "single"};

static void intervals(ctx *x, int32_t *lo, int32_t *hi, int N, kind k) {
    for (int i = 0; i < N; i++) lo[i] = 0, hi[i] = k == FULL ? N : i + 1;
    for (int i = 0; i < N && (k == RANDOM || k == SPARSE || k == SINGLE); i++) {
        int a = oc_rng_range(&x->rng, 0, N - 1), b = oc_rng_range(&x->rng, 0, N);
        lo[i] = k == SINGLE ? a : OC_MIN(a, b);
        hi[i] = k == SINGLE ? a + 1 : OC_MAX(a, b);
        if (k == SPARSE && i % 5) hi[i] = lo[i];
    }
    for (int begin = 0, block = 0; (k == BLOCKS || k == PREFIX) && begin < N; block++) {
        int length = oc_rng_range(&x->rng, 1, 40), end = OC_MIN(N, begin + length);
        for (int i = begin; i < end; i++) {
            if (k == BLOCKS) lo[i] = begin;
            if (block % 2 == 0) hi[i] = end;
        }
        begin = end;
    }
}

typedef struct spec {
    int N, NKV, group, HS, pad;
    kind kind;
    double size; /* deviation of q and k: 1 gives soft weights, 4 sharp ones */
} spec;

/* q, k and v lie side by side in one buffer, as the fused projection writes them. */
typedef struct fused {
    size_t nq, no;
    char *qkv, *o, *dO;
} fused;

static oc_attention setup(ctx *x, const spec *s, fused *f) {
    int NH = s->NKV * s->group, width = (NH + 2 * s->NKV) * s->HS;
    snprintf(x->shape, sizeof x->shape, "%s, N %d, heads %d/%d of %d, strides +%d, size %g",
             kind_name[s->kind], s->N, NH, s->NKV, s->HS, s->pad, s->size);
    int32_t *lo = take((size_t)s->N * 4), *hi = take((size_t)s->N * 4);
    intervals(x, lo, hi, s->N, s->kind);
    oc_attention a = {.N = s->N,
                      .NH = NH,
                      .NKV = s->NKV,
                      .HS = s->HS,
                      .lo = lo,
                      .hi = hi,
                      .t = x->t,
                      .scale = 1.0f / sqrtf((float)s->HS)};
    a.ldq = a.ldkv = width + s->pad;
    a.ldo = NH * s->HS + s->pad;
    f->nq = span(s->N, width, a.ldq);
    f->no = span(s->N, NH * s->HS, a.ldo);
    f->qkv = normal(x, f->nq, s->size);
    for (int n = 0; n < s->N; n++) /* v of size 1 always */
        for (int k = 0; k < s->NKV * s->HS; k++)
            put(f->qkv, (size_t)n * (size_t)a.ldq + (size_t)((NH + s->NKV) * s->HS + k), x->t,
                oc_rng_normal(&x->rng));
    f->o = normal(x, f->no, 1.0);
    f->dO = normal(x, f->no, 1.0);
    return a;
}

/* Byte offsets of k and v in a row. */
static size_t k_at(const ctx *x, const spec *s) {
    return (size_t)(s->NKV * s->group * s->HS) * oc_dtype_size(x->t);
}
static size_t v_at(const ctx *x, const spec *s) {
    return (size_t)(s->NKV * (s->group + 1) * s->HS) * oc_dtype_size(x->t);
}

/* Columns [first, first + width) of rows at stride ld, as a tensor of their own. */
static void *columns(const ctx *x, const void *p, int rows, int ld, int first, int width) {
    size_t element = oc_dtype_size(x->t), line = (size_t)width * element;
    char *q = take((size_t)rows * line);
    for (size_t n = 0; n < (size_t)rows; n++)
        memcpy(q + n * line, (const char *)p + (n * (size_t)ld + (size_t)first) * element, line);
    return q;
}

static void same_columns(const ctx *x, const char *what, const void *got, const void *want,
                         const oc_attention *a, int first, int heads, double tol, double size) {
    int width = heads * a->HS;
    same(x, what, columns(x, got, a->N, a->ldq, first, width), columns(x, want, a->N, a->ldq, first, width),
         a->N, width, width, x->t, tol, size);
}

/* lse of rows that see something; what the others hold is the backend's affair. */
static void same_lse(const ctx *x, float *lse, float *want, const oc_attention *a) {
    for (int i = 0; i < a->N; i++)
        for (int h = 0; h < a->NH; h++)
            if (a->lo[i] == a->hi[i]) lse[i * a->NH + h] = want[i * a->NH + h] = 0;
    same(x, "attention_fwd lse", lse, want, a->N, a->NH, a->NH, OC_F32, TOL_F32, 1.0);
}

static void check(ctx *x, const spec *s) {
    fused f;
    const oc_attention a = setup(x, s, &f);
    const char *k = f.qkv + k_at(x, s), *v = f.qkv + v_at(x, s);
    size_t nl = (size_t)a.N * (size_t)a.NH;
    float *lse = take(nl * 4), *lse_ref = take(nl * 4);
    void *o = f.o, *o_ref = copy_of(o, f.no, x->t), *o_inference = copy_of(o, f.no, x->t);
    x->ref->ops.attention_fwd(x->ref, o_ref, lse_ref, f.qkv, k, v, &a);
    x->c->ops.attention_fwd(x->c, o, lse, f.qkv, k, v, &a);
    x->c->ops.attention_fwd(x->c, o_inference, NULL, f.qkv, k, v, &a);
    same(x, "attention_fwd o", o, o_ref, a.N, a.NH * a.HS, a.ldo, x->t, tolerance(x->t), 0.1);
    same(x, "attention_fwd o without lse", o_inference, o_ref, a.N, a.NH * a.HS, a.ldo, x->t, tolerance(x->t),
         0.1);

    /* Both are given the reference's o and lse, but for rows that see nothing lse is the backend's own. */
    float *lse_given = copy_of(lse_ref, nl, OC_F32);
    for (size_t i = 0; i < nl; i++)
        if (a.lo[i / (size_t)a.NH] == a.hi[i / (size_t)a.NH]) lse_given[i] = lse[i];
    char *d = normal(x, f.nq, 1.0), *d_ref = copy_of(d, f.nq, x->t);
    x->ref->ops.attention_bwd(x->ref, d_ref, d_ref + k_at(x, s), d_ref + v_at(x, s), f.dO, o_ref, lse_ref,
                              f.qkv, k, v, &a);
    x->c->ops.attention_bwd(x->c, d, d + k_at(x, s), d + v_at(x, s), f.dO, o_ref, lse_given, f.qkv, k, v, &a);
    /* ds = p (dp - D) is a difference of terms of size sqrt(HS), which times HS^-0.5 and q or k leaves terms
     * of size `size` however small they come out. In bf16 D is made from a rounded o, and p and ds may be
     * rounded as well. */
    double tol = x->t == OC_F32 ? TOL_F32 : 2 * TOL_BF16;
    same_columns(x, "attention_bwd dq", d, d_ref, &a, 0, a.NH, tol, 0.1 * s->size);
    same_columns(x, "attention_bwd dk", d, d_ref, &a, a.NH * a.HS, a.NKV, tol, 0.1 * s->size);
    same_columns(x, "attention_bwd dv", d, d_ref, &a, (a.NH + a.NKV) * a.HS, a.NKV, tol, 0.1);
    same(x, "attention_bwd between the rows", d, d_ref, a.N, (a.NH + 2 * a.NKV) * a.HS, a.ldq, x->t, 1.0,
         1.0);
    same_lse(x, lse, lse_ref, &a);
    release_all();
}

static void head_sizes(ctx *x) {
    static const int N[] = {65, 7, 33, 1}, group[] = {1, 2, 7};
    for (int HS = 8, i = 0; HS <= 128; HS += HEAD_STEP, i++)
        for (int k = 0; k < 2; k++) {
            const spec s = {.N = N[(i + k) % 4],
                            .NKV = 1 + i % 2,
                            .group = group[i % 3],
                            .HS = HS,
                            .pad = i % 4 * 3,
                            .kind = (kind)((i + 3 * k) % KINDS),
                            .size = 1.0};
            check(x, &s);
        }
}

static void test_every_head_size(void **state) {
    OC_UNUSED(state);
    each_backend(1, head_sizes);
}

static void masks(ctx *x) {
    static const int N[] = {1, 2, 7, 16, 63, 64, 65, 129, 200}, HS[] = {12, 64, 72};
    for (int k = 0; k < KINDS; k++)
        for (size_t n = 0; n < OC_COUNT(N) && N[n] <= MOST_ROWS; n++) {
            const spec s = {.N = N[n],
                            .NKV = 1,
                            .group = 1 + (int)n % 2,
                            .HS = HS[(n + (size_t)k) % 3],
                            .pad = n % 2 ? 5 : 0,
                            .kind = (kind)k,
                            .size = 1.0};
            check(x, &s);
        }
}

static void test_every_mask(void **state) {
    OC_UNUSED(state);
    each_backend(1, masks);
}

/* Scores of up to a hundred: the softmax must be formed about its maximum. */
static void sharp(ctx *x) {
    for (int k = 0; k < KINDS; k++) {
        const spec s = {.N = 50, .NKV = 2, .group = 2, .HS = 32, .pad = 0, .kind = (kind)k, .size = 4.0};
        check(x, &s);
    }
}

static void test_large_scores(void **state) {
    OC_UNUSED(state);
    each_backend(1, sharp);
}

/* Shapes and intervals drawn at random: neighbours of every kind that a plan of tiles may meet. */
static void drawn(ctx *x) {
    for (int i = 0; i < CASES(80); i++) {
        const spec s = {.N = oc_rng_range(&x->rng, 1, OC_MIN(150, MOST_ROWS)),
                        .NKV = oc_rng_range(&x->rng, 1, 3),
                        .group = oc_rng_range(&x->rng, 1, 10),
                        .HS = 4 * oc_rng_range(&x->rng, 2, 5),
                        .pad = oc_rng_range(&x->rng, 0, 3),
                        .kind = (kind)oc_rng_below(&x->rng, KINDS),
                        .size = 1.0};
        check(x, &s);
    }
}

static void test_random_shapes(void **state) {
    OC_UNUSED(state);
    each_backend(1, drawn);
}

/* ---- Decoding ------------------------------------------------------------------------------------------ */

static void check_decode(ctx *x, int NKV, int group, int HS, int pad) {
    static const int32_t len[] = {1, 0, 5, 64, 129, 300};
    enum { B = OC_COUNT(len) };
    int NH = NKV * group, width = NH * HS, ld = width + pad;
    snprintf(x->shape, sizeof x->shape, "heads %d/%d of %d, strides +%d", NH, NKV, HS, pad);
    int32_t first[B], rows = 3; /* sequences do not begin at row 0, and lie in reverse order with room between them */
    for (int b = B - 1; b >= 0; b--) {
        first[b] = rows;
        rows += len[b] + b;
    }
    const void *keys = normal(x, (size_t)rows * (size_t)(NKV * HS), 1.5);
    const void *values = normal(x, (size_t)rows * (size_t)(NKV * HS), 1.0);
    const oc_attention a = {
        .NH = NH, .NKV = NKV, .HS = HS, .ldq = ld, .ldo = ld, .t = x->t, .scale = 1.0f / sqrtf((float)HS)};
    const void *q = normal(x, span(B, width, ld), 1.0);
    void *o = normal(x, span(B, width, ld), 1.0), *o_ref = copy_of(o, span(B, width, ld), x->t);
    for (int count = 1; count <= B; count += B - 1) {
        x->ref->ops.attention_decode(x->ref, o_ref, q, keys, values, first, len, count, &a);
        x->c->ops.attention_decode(x->c, o, q, keys, values, first, len, count, &a);
        same(x, "attention_decode", o, o_ref, count, width, ld, x->t, tolerance(x->t), 0.1);
    }
    release_all();
}

static void decode(ctx *x) {
    static const int group[] = {1, 2, 7};
    for (int HS = 8, i = 0; HS <= 128; HS += HEAD_STEP, i++) check_decode(x, 1 + i % 2, group[i % 3], HS, i % 2 * 3);
}

static void test_decode(void **state) {
    OC_UNUSED(state);
    each_backend(1, decode);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_head_size),
        cmocka_unit_test(test_every_mask),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
