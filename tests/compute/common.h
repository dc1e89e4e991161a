/* What the tests of the operation tables share: memory, random tensors, comparing, and a run over every
 * backend. */
#ifndef OC_TESTS_COMPUTE_COMMON_H
#define OC_TESTS_COMPUTE_COMMON_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compute/cpu/cpu.h"
#ifdef OC_TEST_CUDA
#include "compute/cuda/cuda.h"
#endif

/* One case: a backend under test, the reference, a dtype, and a text that says which shape is running. */
typedef struct ctx {
    oc_compute *c, *ref;
    oc_dtype t;
    oc_rng rng;
    char shape[160];
} ctx;

/* ---- Memory: exactly as long as asked, so that AddressSanitizer sees the first element past the end ---- */

static void *pool[1024];
static int pool_count;

static inline void *take(size_t bytes) {
    void *p = NULL;
    if (pool_count == (int)OC_COUNT(pool)) abort();
    if (posix_memalign(&p, 64, bytes ? bytes : 1) != 0) abort();
    memset(p, 0, bytes);
    return pool[pool_count++] = p;
}

static inline void release_all(void) {
    while (pool_count > 0) free(pool[--pool_count]);
}

/* Elements of `rows` rows of `width` at stride ld: nothing follows the last row. */
static inline size_t span(int rows, int width, int ld) {
    return rows > 0 ? (size_t)(rows - 1) * (size_t)ld + (size_t)width : 0;
}

/* ---- Elements ------------------------------------------------------------------------------------------ */

static inline float get(const void *p, size_t i, oc_dtype t) {
    return t == OC_F32 ? ((const float *)p)[i] : oc_bf16_to_f32(((const uint16_t *)p)[i]);
}

static inline void put(void *p, size_t i, oc_dtype t, double v) {
    if (t == OC_F32)
        ((float *)p)[i] = (float)v;
    else
        ((uint16_t *)p)[i] = oc_f32_to_bf16((float)v);
}

/* Normal numbers with deviation `scale`. */
static inline void *normal_n(ctx *x, size_t n, oc_dtype t, double scale, double mean) {
    void *p = take(n * oc_dtype_size(t));
    for (size_t i = 0; i < n; i++) put(p, i, t, mean + scale * oc_rng_normal(&x->rng));
    return p;
}
static inline void *normal(ctx *x, size_t n, double scale) { return normal_n(x, n, x->t, scale, 0.0); }
static inline float *normal_f32(ctx *x, size_t n, double scale) { return normal_n(x, n, OC_F32, scale, 0.0); }

static inline void *copy_of(const void *p, size_t n, oc_dtype t) {
    void *q = take(n * oc_dtype_size(t));
    memcpy(q, p, n * oc_dtype_size(t));
    return q;
}

static inline void *converted(const void *p, size_t n, oc_dtype from, oc_dtype to) {
    void *q = take(n * oc_dtype_size(to));
    for (size_t i = 0; i < n; i++) put(q, i, to, (double)get(p, i, from));
    return q;
}

/* ---- Comparing ----------------------------------------------------------------------------------------- */

/* Root mean square of the difference <= tol * max(rms of want, floor), and no single element further off than
 * 32 times that. `floor` is the size that the tensor's terms have (its own size may be nothing but what
 * cancellation left). Elements between the rows must be untouched, bit for bit: callers start both buffers
 * with the same contents. */
static inline void same(const ctx *x, const char *what, const void *got, const void *want, int rows,
                        int width, int ld, oc_dtype t, double tol, double floor_rms) {
    double error = 0, size = 0, worst = -1;
    size_t at = 0, count = (size_t)rows * (size_t)width, element = oc_dtype_size(t);
    bool finite = true;
    for (size_t n = 0; n < (size_t)rows; n++)
        for (size_t k = 0; k < (size_t)width; k++) {
            size_t i = n * (size_t)ld + k;
            double a = (double)get(got, i, t), b = (double)get(want, i, t), d = fabs(a - b);
            if (!isfinite(a)) finite = false;
            if (!(d <= worst)) worst = d, at = i;
            error += d * d, size += b * b;
        }
    for (size_t n = 0; n + 1 < (size_t)rows && ld > width; n++) {
        size_t i = n * (size_t)ld + (size_t)width;
        if (memcmp((const char *)got + i * element, (const char *)want + i * element,
                   (size_t)(ld - width) * element) != 0)
            fail_msg("%s %s, %s, %s: wrote between the rows after row %zu", x->c->ops.name,
                     oc_dtype_name(x->t), what, x->shape, n);
    }
    if (count == 0) return;
    double scale = fmax(sqrt(size / (double)count), floor_rms), rms = sqrt(error / (double)count);
    if (!finite || !(rms <= tol * scale) ||
        !(worst <= 32 * tol * fmax(scale, fabs((double)get(want, at, t)))))
        fail_msg("%s %s, %s, %s: relative error %.3g, allowed %.3g; worst at [%zu, %zu]: %.9g, wanted %.9g",
                 x->c->ops.name, oc_dtype_name(x->t), what, x->shape, rms / scale, tol, at / (size_t)ld,
                 at % (size_t)ld, (double)get(got, at, t), (double)get(want, at, t));
}

static inline void same_flat(const ctx *x, const char *what, const void *got, const void *want, size_t n,
                             oc_dtype t, double tol, double floor_rms) {
    same(x, what, got, want, 1, (int)n, (int)n, t, tol, floor_rms);
}

static inline void identical(const ctx *x, const char *what, const void *got, const void *want, size_t n,
                             oc_dtype t) {
    for (size_t i = 0; i < n; i++)
        if (memcmp((const char *)got + i * oc_dtype_size(t), (const char *)want + i * oc_dtype_size(t),
                   oc_dtype_size(t)))
            fail_msg("%s %s, %s, %s: element %zu is %.9g, wanted exactly %.9g", x->c->ops.name,
                     oc_dtype_name(x->t), what, x->shape, i, (double)get(got, i, t), (double)get(want, i, t));
}

/* Relative error that f32 arithmetic may leave: a few thousand terms, added in any order, are wrong by about
 * 1e-6 of their size, and vectorised exp and tanh by 1e-7; ten times that. A wrong mask, index or missing
 * term is at least 1e-3. */
#define TOL_F32 1e-5
/* A result rounded to bf16 once is off by at most 2^-9 of itself (1.1e-3 rms), so two that round to different
 * neighbours differ by 2^-8. An intermediate rounded to bf16 (probabilities, score gradients,
 * pre-activations) adds as much again. */
#define TOL_BF16 4e-3
static inline double tolerance(oc_dtype t) { return t == OC_F32 ? TOL_F32 : TOL_BF16; }

/* ---- Every backend ------------------------------------------------------------------------------------- */

static inline oc_compute *open_backend(const char *name, int threads) {
    oc_error err = {0};
    oc_compute *c = NULL;
#ifdef OC_TEST_CUDA /* compute/cuda, which oc_compute_open does not offer, in its emulation (tests/cuda) */
    if (!strcmp(name, "cuda")) {
        if (oc_cuda_open(&c, 0, &err) != OC_OK) fail_msg("%s", err.msg);
        return c;
    }
#endif
    if (oc_compute_open(&c, &(oc_compute_options){.threads = threads, .backend = name}, &err) != OC_OK)
        fail_msg("%s: %s", name, err.msg);
    return c;
}

/* Of n cases as many as there is time for. */
#ifdef OC_TEST_CUDA
#define CASES(n) (((n) + 31) / 32)
#define MOST_ROWS 65
#define HEAD_STEP 20 /* of head sizes from 8 to 128 */
#else
#define CASES(n) (n)
#define MOST_ROWS 200
#define HEAD_STEP 4
#endif

/* Runs fn for every backend of this processor in f32 and bf16; from first = 1 the reference itself is left
 * out. On one thread: that more give the same bits is test_threads' affair, and waiting threads take time from
 * whatever else runs on the machine. */
static inline void each_backend(int first, void (*fn)(ctx *)) {
    const char *name[16];
    int count = oc_compute_backends(name, 16);
#ifdef OC_TEST_CUDA
    name[first = 0] = "cuda", count = 1;
#endif
    for (int i = first; i < count; i++)
        for (oc_dtype t = OC_F32; t <= OC_BF16; t++) {
            oc_compute *c = open_backend(name[i], 1), *ref = open_backend("ref", 1);
            ctx x = {.c = c, .ref = ref, .t = t, .rng = oc_rng_seed(1)};
            fn(&x);
            release_all();
            oc_compute_close(c);
            oc_compute_close(ref);
        }
}

#endif
