/* Attention, forward, backward and decoding, at the shapes that training and inference meet: time, and
 * GFLOP/s counted over visible pairs of query and key only (4 HS a pair forward, 10 HS backward), so that
 * work spent on masked pairs counts as loss. Beside it the share of the register peak, where the environment
 * gives the peak of one core: OC_PEAK_F32, OC_PEAK_BF16 (GFLOP/s).
 *
 *     bench_attention [backend [threads]]         default: the best backend, all cores */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "compute/compute.h"

typedef struct shape {
    const char *name;
    int N, NH, NKV, HS;
    int block;  /* rows of a sequence, 0: one of N */
    int images; /* of its rows, the first so many see each other; the rest is causal */
} shape;

static const shape shapes[] = {
    {"small decoder: 32 x (64 visual + 48 text)", 3584, 4, 2, 64, 112, 64},
    {"small ViT: 32 x 64 patches", 2048, 4, 4, 64, 64, 64},
    {"full ViT: 729 patches", 729, 16, 16, 72, 0, 729},
    {"full decoder: 729 visual + 128 text", 857, 14, 2, 64, 0, 729},
    {"causal text", 1024, 14, 2, 64, 0, 0},
};

static void *random_tensor(oc_rng *r, size_t n, oc_dtype t) {
    void *p = oc_alloc(n * oc_dtype_size(t));
    if (!p) exit(1);
    for (size_t i = 0; i < n; i++) {
        float x = (float)oc_rng_normal(r);
        if (t == OC_F32)
            ((float *)p)[i] = x;
        else
            ((uint16_t *)p)[i] = oc_f32_to_bf16(x);
    }
    return p;
}

static double intervals(int32_t *lo, int32_t *hi, const shape *s) {
    int block = s->block ? s->block : s->N;
    double pairs = 0;
    for (int i = 0; i < s->N; i++) {
        int begin = i / block * block;
        lo[i] = begin;
        hi[i] = i - begin < s->images ? begin + s->images : i + 1;
        pairs += hi[i] - lo[i];
    }
    return pairs;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One thread is measured by the processor time that it got, which leaves out other programs on the same core. */
static double seconds_of(const oc_compute *c) {
    struct timespec now;
    if (c->threads > 1) return oc_now();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Median and fastest of about 0.4 seconds of calls on c. */
#define TIME(median, best, call)                                                                             \
    do {                                                                                                     \
        double seconds[200], begin = oc_now();                                                               \
        int count = 0;                                                                                       \
        call;                                                                                                \
        while (count < 200 && (count < 5 || oc_now() - begin < 0.4)) {                                       \
            double start = seconds_of(c);                                                                    \
            call;                                                                                            \
            seconds[count++] = seconds_of(c) - start;                                                        \
        }                                                                                                    \
        qsort(seconds, (size_t)count, sizeof *seconds, ascending);                                           \
        median = seconds[count / 2], best = seconds[0];                                                      \
    } while (0)

static void report(const char *what, double median, double best, double gflop, double peak) {
    printf("    %-9s median %8.3f ms, best %8.3f ms", what, median * 1e3, best * 1e3);
    printf(", %6.1f GFLOP/s at best", gflop / best);
    if (peak > 0) printf(" (%.0f%% of %.0f)", 100 * gflop / best / peak, peak);
    printf("\n");
}

static void run(oc_compute *c, const shape *s, oc_dtype t, double peak) {
    oc_rng r = oc_rng_seed(1);
    size_t N = (size_t)s->N, ld = (size_t)(s->NH + 2 * s->NKV) * (size_t)s->HS,
           no = N * (size_t)s->NH * (size_t)s->HS;
    int32_t *lo = oc_alloc(N * 4), *hi = oc_alloc(N * 4);
    float *lse = oc_alloc(N * (size_t)s->NH * 4);
    double pairs = intervals(lo, hi, s) * s->NH * s->HS * 1e-9, median, best;
    char *qkv = random_tensor(&r, N * ld, t), *d = random_tensor(&r, N * ld, t);
    void *o = random_tensor(&r, no, t), *dO = random_tensor(&r, no, t);
    oc_attention a = {
        s->N, s->NH, s->NKV, s->HS, (int)ld, (int)ld, s->NH * s->HS, lo, hi, 1.0f / sqrtf((float)s->HS), t};
    size_t k = (size_t)(s->NH * s->HS) * oc_dtype_size(t),
           v = k + (size_t)(s->NKV * s->HS) * oc_dtype_size(t);
    printf("  %s, %s: N %d, heads %d/%d of %d\n", s->name, oc_dtype_name(t), s->N, s->NH, s->NKV, s->HS);
    TIME(median, best, c->ops.attention_fwd(c, o, lse, qkv, qkv + k, qkv + v, &a));
    report("forward", median, best, 4 * pairs, peak);
    TIME(median, best, c->ops.attention_bwd(c, d, d + k, d + v, dO, o, lse, qkv, qkv + k, qkv + v, &a));
    report("backward", median, best, 10 * pairs, peak);
    oc_free(lo), oc_free(hi), oc_free(lse), oc_free(qkv), oc_free(d), oc_free(o), oc_free(dO);
}

/* B sequences of 857 keys, 14/2 heads of 64; caches of several layers in turn, so that they come from memory.
 */
static void run_decode(oc_compute *c, oc_dtype t, int B) {
    enum { NH = 14, NKV = 2, HS = 64, LEN = 857, LAYERS = 24 };
    oc_rng r = oc_rng_seed(1);
    size_t row = (size_t)NKV * HS * oc_dtype_size(t), layer = (size_t)B * LEN * row;
    char *cache = random_tensor(&r, (size_t)LAYERS * 2 * (size_t)B * LEN * NKV * HS, t);
    void *q = random_tensor(&r, (size_t)B * NH * HS, t), *o = random_tensor(&r, (size_t)B * NH * HS, t);
    int32_t first[16], len[16];
    for (int b = 0; b < B; b++) first[b] = b * LEN, len[b] = LEN;
    oc_attention a = {
        .NH = NH, .NKV = NKV, .HS = HS, .ldq = NH * HS, .ldo = NH * HS, .scale = 0.125f, .t = t};
    double median, best;
    TIME(
        median, best, for (int l = 0; l < LAYERS; l++) {
            const char *k = cache + (size_t)(2 * l) * layer;
            c->ops.attention_decode(c, o, q, k, k + layer, first, len, B, &a);
        });
    printf("  decode, %s, %d x 857 keys, 24 layers: median %.3f ms, best %.3f ms, %.1f GB/s\n",
           oc_dtype_name(t), B, median * 1e3, best * 1e3, 2e-9 * LAYERS * (double)layer / best);
    oc_free(cache), oc_free(q), oc_free(o);
}

int main(int argc, char **argv) {
    oc_compute *c;
    oc_error err;
    oc_compute_options opt = {.backend = argc > 1 ? argv[1] : NULL, .threads = argc > 2 ? atoi(argv[2]) : 0};
    if (oc_compute_open(&c, &opt, &err) != OC_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    const char *peak32 = getenv("OC_PEAK_F32"), *peak16 = getenv("OC_PEAK_BF16");
    double peak[2] = {peak32 ? atof(peak32) : 0, peak16 ? atof(peak16) : 0};
    printf("%s\n", oc_compute_describe(c));
    for (oc_dtype t = OC_F32; t <= OC_BF16; t++) {
        for (size_t i = 0; i < OC_COUNT(shapes); i++) run(c, &shapes[i], t, peak[t] * c->threads);
        run_decode(c, t, 1);
        run_decode(c, t, 8);
    }
    oc_compute_close(c);
    return 0;
}
