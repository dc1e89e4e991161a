/* Speed of the matrix products at the shapes of a small and of the full model, per engine, beside the
 * register peak of the same moment: bench_gemm [--threads N] [--only TEXT] [--seconds S] [--weights bf16] [--copies N]
 *
 * Each figure is the best and the median of repetitions of about 30 ms that alternate between the engines and the
 * loop that measures the peak, so that a neighbour on the same cores disturbs them alike. A line is one product: what it
 * is, N tokens x rows x cols, GFLOP/s, and the share of the peak: the median of the repetitions, each against the peak
 * beside it. With --copies the weights (or their gradient) are another copy each time, so that they come from memory as in
 * a step through many layers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/gemm/gemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- Register peak --------------------------------------------------------------------------------- */

enum { PEAK_LOOPS = 400000, PEAK_CHAINS = 12 };

#if defined(__x86_64__)
#define KEEP(s)                                                                                                        \
    __asm__ volatile(""                                                                                                \
                     : "+v"(s[0]), "+v"(s[1]), "+v"(s[2]), "+v"(s[3]), "+v"(s[4]), "+v"(s[5]), "+v"(s[6]), "+v"(s[7]), \
                       "+v"(s[8]), "+v"(s[9]), "+v"(s[10]), "+v"(s[11]))

__attribute__((target("avx512f"))) static void peak_f32(void) {
    __m512 s[PEAK_CHAINS], one = _mm512_set1_ps(1.0f);
    for (int i = 0; i < PEAK_CHAINS; i++) s[i] = _mm512_setzero_ps();
    for (int k = 0; k < PEAK_LOOPS; k++) {
        for (int i = 0; i < PEAK_CHAINS; i++) s[i] = _mm512_fmadd_ps(one, one, s[i]);
        KEEP(s);
    }
}

__attribute__((target("avx512f,avx512bf16"))) static void peak_bf16(void) {
    __m512 s[PEAK_CHAINS];
    __m512bh one = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    for (int i = 0; i < PEAK_CHAINS; i++) s[i] = _mm512_setzero_ps();
    for (int k = 0; k < PEAK_LOOPS; k++) {
        for (int i = 0; i < PEAK_CHAINS; i++) s[i] = _mm512_dpbf16_ps(s[i], one, one);
        KEEP(s);
    }
}

__attribute__((target("avx2,fma"))) static void peak_avx2(void) {
    __m256 s[PEAK_CHAINS], one = _mm256_set1_ps(1.0f);
    for (int i = 0; i < PEAK_CHAINS; i++) s[i] = _mm256_setzero_ps();
    for (int k = 0; k < PEAK_LOOPS; k++) {
        for (int i = 0; i < PEAK_CHAINS; i++) s[i] = _mm256_fmadd_ps(one, one, s[i]);
        KEEP(s);
    }
}
#endif

/* One thread is measured by the processor time that it got, which leaves out other programs on the same core.
 */
static double seconds_of(const oc_compute *c) {
    struct timespec now;
    if (c->threads > 1) return oc_now();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* GFLOP/s of multiply-adds on registers alone, all threads, the best of some times; 0 where this program has no loop for
 * the processor. */
static double peak(const oc_compute *c, oc_dtype t, int times) {
    double flops = 0, best = 1e30;
#if defined(__x86_64__)
    const oc_cpu_features *f = &oc_cpu_of(c)->features;
    void (*loop)(void) = NULL;
    if (t == OC_BF16 && f->avx512_bf16)
        loop = peak_bf16, flops = 64;
    else if (f->avx512)
        loop = peak_f32, flops = 32;
    else if (f->avx2)
        loop = peak_avx2, flops = 16;
    for (int r = 0; loop && r < times; r++) {
        double start = seconds_of(c);
#pragma omp parallel num_threads(c->threads)
        loop();
        best = fmin(best, seconds_of(c) - start);
    }
#else
    OC_UNUSED(t), OC_UNUSED(times);
#endif
    return flops * PEAK_CHAINS * PEAK_LOOPS * c->threads / best / 1e9;
}

/* ---- Products -------------------------------------------------------------------------------------- */

typedef enum { FWD, BWD_X, BWD_W, FWD_GELU } what;
static const char *const what_name[] = {"fwd", "bwd_x", "bwd_w", "fwd gelu"};

typedef struct shape {
    const char *name;
    int N, rows, cols;
} shape;

static const shape shapes[] = {
    {"small ViT qkv", 3136, 768, 256},
    {"small ViT up", 3136, 1024, 256},
    {"small ViT down", 3136, 256, 1024},
    {"small LM q", 3584, 256, 256},
    {"small LM kv", 3584, 128, 256},
    {"small LM gate+up", 3584, 2048, 384},
    {"small LM down", 3584, 384, 1024},
    {"tiny", 500, 128, 128},
    {"small head", 1500, 4096, 256},
    {"ViT q", 729, 1152, 1152},
    {"ViT up", 729, 4304, 1152},
    {"ViT down", 729, 1152, 4304},
    {"LM q", 1024, 896, 896},
    {"LM kv", 1024, 128, 896},
    {"LM gate+up", 1024, 9728, 896},
    {"LM down", 1024, 896, 4864},
    {"LM down, batch", 3600, 896, 4864},
    {"head", 128, 151936, 896},
    {"few rows", 1, 4864, 896},
    {"few rows", 4, 4864, 896},
    {"few rows", 8, 4864, 896},
    {"few rows", 16, 4864, 896},
    {"few rows", 24, 4864, 896},
    {"few rows", 32, 4864, 896},
    {"few rows", 48, 4864, 896},
    {"few rows", 96, 4864, 896},
    {"few rows", 128, 4864, 896},
    {"few rows, long", 128, 896, 4864},
    {"few rows, short", 128, 512, 128},
    {"few rows, long", 16, 896, 4864},
    {"few rows, long", 32, 896, 4864},
};

typedef struct run {
    oc_compute *c;
    oc_gemm g;
    oc_epilogue e;
    char *weights; /* copies, one after the other */
    size_t copy;   /* bytes of one */
    int copies, next;
    double best[OC_GEMM_ENGINES], median[OC_GEMM_ENGINES]; /* seconds */
    double share[OC_GEMM_ENGINES];                         /* of the register peak */
} run;

static void *random_matrix(size_t n, oc_dtype t) {
    void *p = oc_alloc(n * oc_dtype_size(t));
    if (!p) abort();
    uint32_t s = 12345;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        float v = (float)((int)(s >> 16) - 32768) / 65536.0f;
        if (t == OC_F32)
            ((float *)p)[i] = v;
        else
            ((uint16_t *)p)[i] = oc_f32_to_bf16(v);
    }
    return p;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double once(run *r, oc_gemm_engine engine, int times) {
    double start = seconds_of(r->c);
    for (int i = 0; i < times; i++) {
        char *at = r->weights + (size_t)r->next * r->copy;
        if (r->g.accumulate)
            r->g.c = at;
        else
            r->g.b.p = at;
        r->next = (r->next + 1) % r->copies;
        oc_gemm_run_on(r->c, &r->g, engine);
    }
    return (seconds_of(r->c) - start) / times;
}

static void measure(run *r, double gflop, double seconds) {
    enum { MAX = 64 };
    static double v[OC_GEMM_ENGINES][MAX], share[OC_GEMM_ENGINES][MAX];
    int times[OC_GEMM_ENGINES] = {0}, n = 0;
    double spent = oc_now();
    for (int e = 0; e < OC_GEMM_ENGINES; e++) {
        if (!oc_gemm_can(r->c, &r->g, (oc_gemm_engine)e)) continue;
        once(r, (oc_gemm_engine)e, 1);
        times[e] = OC_MAX(1, (int)(0.03 / once(r, (oc_gemm_engine)e, 1)));
    }
    do {
        for (int e = 0; e < OC_GEMM_ENGINES; e++) {
            double limit = peak(r->c, r->g.t, 4);
            v[e][n] = times[e] ? once(r, (oc_gemm_engine)e, times[e]) : INFINITY;
            share[e][n] = gflop / v[e][n] / limit;
        }
        n++;
    } while (n < MAX && (n < 3 || oc_now() - spent < seconds));
    for (int e = 0; e < OC_GEMM_ENGINES; e++) {
        qsort(v[e], (size_t)n, sizeof(double), by_value);
        qsort(share[e], (size_t)n, sizeof(double), by_value);
        r->share[e] = share[e][n / 2];
        r->best[e] = v[e][0];
        r->median[e] = v[e][n / 2];
    }
}

static void product(oc_compute *c, const shape *s, what w, oc_dtype t, oc_dtype w_type, int copies, double seconds) {
    size_t N = (size_t)s->N, rows = (size_t)s->rows, cols = (size_t)s->cols;
    void *x = random_matrix(N * cols, t), *y = random_matrix(N * rows, t),
         *master = random_matrix(rows * cols * (size_t)copies, w == BWD_W ? OC_F32 : w_type);
    float *bias = random_matrix(rows, OC_F32);
    const oc_matrix_desc d = {master, w_type, t, s->rows, s->cols};
    oc_matrix *m = c->ops.matrix_create(c, &d);
    run r = {.c = c,
             .weights = master,
             .copy = rows * cols * oc_dtype_size(w == BWD_W ? OC_F32 : w_type),
             .copies = copies,
             .e = {.bias = bias, .act = w == FWD_GELU ? OC_ACT_GELU_TANH : OC_ACT_NONE}};
    if (w == FWD || w == FWD_GELU)
        r.g = (oc_gemm){.m = s->N,
                        .n = s->rows,
                        .k = s->cols,
                        .a = {x, t, false, cols},
                        .b = {master, w_type, true, cols},
                        .c = y,
                        .c_type = t,
                        .ldc = rows,
                        .w = m,
                        .e = &r.e};
    else if (w == BWD_X)
        r.g = (oc_gemm){.m = s->N,
                        .n = s->cols,
                        .k = s->rows,
                        .a = {y, t, false, rows},
                        .b = {master, w_type, false, cols},
                        .c = x,
                        .c_type = t,
                        .ldc = cols,
                        .w = m};
    else
        r.g = (oc_gemm){.m = s->rows,
                        .n = s->cols,
                        .k = s->N,
                        .a = {y, t, true, rows},
                        .b = {x, t, false, cols},
                        .c = master,
                        .c_type = OC_F32,
                        .ldc = cols,
                        .accumulate = true};
    r.g.t = t;
    double gflop = 2e-9 * (double)N * (double)rows * (double)cols;
    measure(&r, gflop, seconds);
    printf("%-17s %-8s %-4s %5d x%7d x%5d ", s->name, what_name[w], oc_dtype_name(t), s->N, s->rows, s->cols);
    for (int e = 0; e < OC_GEMM_ENGINES; e++)
        if (isinf(r.best[e]))
            printf("  %19s", "");
        else
            printf("  %6.1f %6.1f %3.0f%%%c", gflop / r.median[e], gflop / r.best[e], 100 * r.share[e],
                   e == (int)oc_gemm_choose(c, &r.g) ? '*' : ' ');
    printf("\n");
    fflush(stdout);
    c->ops.matrix_free(c, m);
    oc_free(x), oc_free(y), oc_free(master), oc_free(bias);
}

/* Loss of the vocabulary with both gradients, by what the table does: 3 products. */
static void loss(oc_compute *c, int n, int V, int C, oc_dtype t, double limit) {
    size_t nx = (size_t)n * (size_t)C, nw = (size_t)V * (size_t)C;
    void *x = random_matrix(nx, t), *dx = random_matrix(nx, t);
    float *w = random_matrix(nw, OC_F32), *dw = random_matrix(nw, OC_F32), *out = random_matrix((size_t)n, OC_F32);
    int32_t *target = oc_calloc((size_t)n, sizeof *target);
    const oc_matrix_desc d = {w, OC_F32, t, V, C};
    oc_matrix *m = c->ops.matrix_create(c, &d);
    double best = INFINITY;
    for (int r = 0; r < 4; r++) {
        double start = seconds_of(c);
        c->ops.linear_xent(c, out, NULL, dx, dw, x, target, NULL, m, n, 1.0f);
        best = fmin(best, seconds_of(c) - start);
    }
    double gflops = 6e-9 * (double)n * (double)nw / best;
    printf("loss and gradients %-4s %5d x%7d x%5d  %8.2f ms  %6.1f GFLOP/s %3.0f%%\n", oc_dtype_name(t), n, V, C,
           best * 1e3, gflops, 100 * gflops / limit);
    c->ops.matrix_free(c, m);
    oc_free(x), oc_free(dx), oc_free(w), oc_free(dw), oc_free(out), oc_free(target);
}

/* Seconds that all threads need to read some memory and do nothing with it. */
static double read_seconds(const oc_compute *c, const void *p, size_t bytes) {
    const uint64_t *v = p;
    size_t n = bytes / sizeof *v;
    uint64_t sum = 0;
    double start = seconds_of(c);
#pragma omp parallel for num_threads(c->threads) reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += v[i];
    double s = seconds_of(c) - start;
    return sum == 1 ? s + 1e-9 : s; /* keeps the sum alive */
}

/* A token of each of some sequences through a matrix of bf16 weights, in GB/s of weights, beside reading the
 * same memory alone. */
static void decode(oc_compute *c, int tokens, int rows, int cols, oc_dtype t) {
    size_t n = (size_t)rows * (size_t)cols;
    void *w = random_matrix(n, OC_BF16), *x = random_matrix((size_t)tokens * (size_t)cols, t);
    void *y = random_matrix((size_t)tokens * (size_t)rows, t);
    const oc_matrix_desc d = {w, OC_BF16, t, rows, cols};
    oc_matrix *m = c->ops.matrix_create(c, &d);
    const oc_epilogue none = {0};
    double best = INFINITY, sum = 0, read = INFINITY;
    enum { TIMES = 12 };
    for (int i = 0; i < TIMES; i++) {
        double start = seconds_of(c);
        c->ops.linear_fwd(c, y, rows, x, cols, m, tokens, &none);
        double s = seconds_of(c) - start;
        best = fmin(best, s), sum += s;
        read = fmin(read, read_seconds(c, w, n * 2));
    }
    printf("decode %-4s %d x %7d x%5d  mean %6.2f best %6.2f ms  %5.1f GB/s, reading alone %5.1f\n", oc_dtype_name(t),
           tokens, rows, cols, sum / TIMES * 1e3, best * 1e3, 2e-9 * (double)n / best, 2e-9 * (double)n / read);
    c->ops.matrix_free(c, m);
    oc_free(w), oc_free(x), oc_free(y);
}

int main(int argc, char **argv) {
    oc_compute_options o = {0};
    const char *only = "";
    double seconds = 0.5;
    oc_dtype w_type = OC_F32;
    int copies = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) o.threads = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--backend") == 0) o.backend = argv[i + 1];
        if (strcmp(argv[i], "--only") == 0) only = argv[i + 1];
        if (strcmp(argv[i], "--weights") == 0 && strcmp(argv[i + 1], "bf16") == 0) w_type = OC_BF16;
        if (strcmp(argv[i], "--copies") == 0) copies = OC_MAX(1, atoi(argv[i + 1]));
        if (strcmp(argv[i], "--seconds") == 0) seconds = atof(argv[i + 1]);
    }
    oc_compute *c;
    oc_error err;
    if (oc_compute_open(&c, &o, &err) != OC_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    printf("%s\nGFLOP/s: median, best, share of the register peak, *: chosen\n", oc_compute_describe(c));
    for (int t = 0; t < 2; t++) {
        double limit = peak(c, t ? OC_BF16 : OC_F32, 8);
        printf("register peak %s %.1f GFLOP/s %30s blocked %15s dots %13s oneDNN\n", t ? "bf16" : "f32", limit, "", "",
               "");
        for (size_t i = 0; i < OC_COUNT(shapes); i++)
            for (int w = FWD; w <= FWD_GELU; w++) {
                char label[128];
                snprintf(label, sizeof label, "%s %s %s", shapes[i].name, what_name[w], t ? "BF16" : "F32");
                if (strstr(label, only)) product(c, &shapes[i], (what)w, t ? OC_BF16 : OC_F32, w_type, copies, seconds);
            }
        for (int tokens = 1; tokens <= 8 && strstr("decode", only); tokens++)
            decode(c, tokens, 151936, 896, t ? OC_BF16 : OC_F32);
        static const int head[][3] = {
            {1500, 512, 128}, {1500, 4096, 256}, {1000, 4096, 512}, {128, 151936, 896}, {512, 151936, 896}};
        for (size_t i = 0; i < OC_COUNT(head) && strstr("loss", only); i++)
            loss(c, head[i][0], head[i][1], head[i][2], t ? OC_BF16 : OC_F32, limit);
    }
    oc_compute_close(c);
    return 0;
}
