/* Pillow's resampling (libImaging/Resample.c is the reference for every rounding) is separable: each output sample is a
 * weighted sum of neighbours along one axis, with weights in fixed point, 22 bits after the point, rounded to uint8
 * between the passes.
 *
 * One kernel serves both passes: out[i] = sum_t k[t] * in[t * stride + i] for many neighbouring i. The vertical pass has
 * this form as it is (i runs along a row). The horizontal pass takes BLOCK rows at a time and lays them out so that i
 * runs down a column. */
#include "data/resize.h"

#include <math.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { PRECISION = 22, BLOCK = 16 /* rows */, LANES = 3 * BLOCK };

/* ---- Weights ------------------------------------------------------------------------------------------------------ */

typedef struct taps {
    int first, n;     /* input samples [first, first + n) */
    const int32_t *k; /* [n] */
} taps;

typedef struct table {
    taps *out; /* [n_out] */
    int32_t *k;
    int first, last; /* input samples [first, last) are used at all */
} table;

/* Keys' cubic convolution kernel with a = -0.5. */
static double bicubic(double x) {
    x = fabs(x);
    if (x < 1) return ((-0.5 + 2) * x - (-0.5 + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
    return 0;
}

static void table_free(table *t) {
    oc_free(t->out);
    oc_free(t->k);
    *t = (table){0};
}

/* The weights with which n_in samples, of which [in0, in1) are wanted, become n_out. */
static oc_status table_make(table *t, int n_in, float in0, float in1, int n_out, oc_error *err) {
    *t = (table){.first = n_in};
    double scale = (double)(in1 - in0) / n_out, widen = fmax(scale, 1.0), support = 2.0 * widen;
    size_t row = (size_t)ceil(support) * 2 + 1, count;
    double *w = NULL;
    oc_status st = OC_OK;
    if (!oc_mul_size(row, (size_t)n_out, &count) || count > SIZE_MAX / sizeof *t->k)
        return oc_fail(err, OC_ERR_NOMEM, "resizing %d to %d samples needs too many weights", n_in, n_out);
    OC_GO(oc_alloc_for(&t->out, (size_t)n_out * sizeof *t->out, "resampling weights", err));
    OC_GO(oc_alloc_for(&t->k, count * sizeof *t->k, "resampling weights", err));
    OC_GO(oc_alloc_for(&w, row * sizeof *w, "resampling weights", err));
    for (int i = 0; i < n_out; i++) {
        double center = (double)in0 + (i + 0.5) * scale, sum = 0;
        int lo = OC_MAX((int)(center - support + 0.5), 0), hi = OC_MIN((int)(center + support + 0.5), n_in);
        int32_t *k = t->k + (size_t)i * row;
        for (int x = lo; x < hi; x++) sum += w[x - lo] = bicubic((x - center + 0.5) * (1.0 / widen));
        for (int x = 0; x < hi - lo; x++) {
            double v = (sum != 0 ? w[x] / sum : w[x]) * (1 << PRECISION);
            k[x] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
        }
        t->out[i] = (taps){.first = lo, .n = hi - lo, .k = k};
        t->first = OC_MIN(t->first, lo);
        t->last = OC_MAX(t->last, hi);
    }
done:
    oc_free(w);
    if (st != OC_OK) table_free(t);
    return st;
}

/* ---- The kernel --------------------------------------------------------------------------------------------------- */

/* out [n] at in's columns [0, n). */
typedef void (*weigh_fn)(uint8_t *out, const uint8_t *in, size_t stride, const taps *t, size_t n);

static void weigh_plain(uint8_t *out, const uint8_t *in, size_t stride, const taps *t, size_t n) {
    for (size_t i = 0; i < n; i += 32) {
        size_t m = OC_MIN(n - i, 32);
        int32_t acc[32];
        for (size_t j = 0; j < m; j++) acc[j] = 1 << (PRECISION - 1);
        for (int r = 0; r < t->n; r++)
            for (size_t j = 0; j < m; j++) acc[j] += in[(size_t)r * stride + i + j] * t->k[r];
        for (size_t j = 0; j < m; j++) {
            int32_t v = acc[j] >> PRECISION;
            out[i + j] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
}

#ifdef __x86_64__
#define AVX2 __attribute__((target("avx2")))

/* 8 * vectors outputs; `vectors` is a constant where this is inlined, so that acc stays in registers. */
AVX2 static inline __attribute__((always_inline)) void weigh_vectors(uint8_t *out, const uint8_t *in, size_t stride,
                                                                     const taps *t, const int vectors) {
    __m256i acc[6];
    for (int v = 0; v < vectors; v++) acc[v] = _mm256_set1_epi32(1 << (PRECISION - 1));
    for (int r = 0; r < t->n; r++, in += stride) {
        __m256i k = _mm256_set1_epi32(t->k[r]);
        for (int v = 0; v < vectors; v++) {
            __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(in + 8 * v)));
            acc[v] = _mm256_add_epi32(acc[v], _mm256_mullo_epi32(x, k));
        }
    }
    for (int v = 0; v < vectors; v++) { /* packing saturates, which is the clipping to 0..255 */
        __m256i x = _mm256_srai_epi32(acc[v], PRECISION);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
        _mm_storel_epi64((__m128i *)(void *)(out + 8 * v), _mm_packus_epi16(words, words));
    }
}

AVX2 static void weigh_avx2(uint8_t *out, const uint8_t *in, size_t stride, const taps *t, size_t n) {
    size_t i = 0;
    for (; i + 48 <= n; i += 48) weigh_vectors(out + i, in + i, stride, t, 6);
    for (; i + 8 <= n; i += 8) weigh_vectors(out + i, in + i, stride, t, 1);
    weigh_plain(out + i, in + i, stride, t, n - i);
}

static weigh_fn choose_weigh(void) { return __builtin_cpu_supports("avx2") ? weigh_avx2 : weigh_plain; }
#else
static weigh_fn choose_weigh(void) { return weigh_plain; }
#endif

/* ---- The two passes ----------------------------------------------------------------------------------------------- */

/* A picture of w x h samples, of which src [sh, sw, 3] is the part at (x, y); the rest is one colour. */
typedef struct canvas {
    const uint8_t *src;
    int sw, sh, x, y, w, h;
    const uint8_t *colour; /* NULL where src covers all that is read */
} canvas;

static void fill(uint8_t *rgb, size_t pixels, const uint8_t colour[3]) {
    for (size_t i = 0; i < pixels; i++) memcpy(rgb + 3 * i, colour, 3);
}

/* block [t->last - t->first][BLOCK][3] = columns of rows [y, y + n) of src; lanes past n repeat the last row. */
static void load_block(uint8_t *block, const canvas *c, const table *t, int y, int n) {
    int lo = OC_MAX(t->first, c->x), hi = OC_MIN(t->last, c->x + c->sw);
    if (c->colour) fill(block, (size_t)(t->last - t->first) * BLOCK, c->colour);
    const uint8_t *row[BLOCK];
    for (int r = 0; r < BLOCK; r++)
        row[r] = c->src + ((size_t)(y + OC_MIN(r, n - 1)) * (size_t)c->sw + (size_t)(lo - c->x)) * 3;
    uint8_t *to = block + (size_t)(lo - t->first) * LANES;
    for (int x = lo; x < hi; x++)
        for (int r = 0; r < BLOCK; r++, to += 3) {
            memcpy(to, row[r], 3);
            row[r] += 3;
        }
}

/* dst [last - first, dw, 3] = rows [first, last) of the canvas, resampled along x. */
static oc_status horizontal(uint8_t *dst, int dw, const canvas *c, const table *t, int first, int last, oc_error *err) {
    weigh_fn weigh = choose_weigh();
    uint8_t *block, lanes[LANES];
    OC_TRY(oc_alloc_for(&block, (size_t)(t->last - t->first) * LANES, "resampling", err));
    size_t stride = (size_t)dw * 3;
    int top = OC_MAX(first, c->y), bottom = OC_MIN(last, c->y + c->sh);
    if (top > first) fill(dst, (size_t)(top - first) * (size_t)dw, c->colour);
    if (last > bottom) fill(dst + (size_t)(bottom - first) * stride, (size_t)(last - bottom) * (size_t)dw, c->colour);
    for (int y = top; y < bottom; y += BLOCK) {
        int n = OC_MIN(BLOCK, bottom - y);
        load_block(block, c, t, y - c->y, n);
        uint8_t *rows = dst + (size_t)(y - first) * stride;
        for (int x = 0; x < dw; x++, rows += 3) {
            weigh(lanes, block + (size_t)(t->out[x].first - t->first) * LANES, LANES, &t->out[x], LANES);
            for (int r = 0; r < n; r++) memcpy(rows + (size_t)r * stride, lanes + 3 * r, 3);
        }
    }
    oc_free(block);
    return OC_OK;
}

/* dst [dh, n], src row `first` and those after it at `stride`, resampled along y. */
static void vertical(uint8_t *dst, int dh, const uint8_t *src, size_t stride, int first, const table *t, size_t n) {
    weigh_fn weigh = choose_weigh();
    for (int y = 0; y < dh; y++)
        weigh(dst + (size_t)y * n, src + (size_t)(t->out[y].first - first) * stride, stride, &t->out[y], n);
}

static oc_status horizontal_first(uint8_t *dst, int dw, int dh, const canvas *c, const table *tx, const table *ty,
                                  oc_error *err) {
    uint8_t *tmp;
    OC_TRY(oc_alloc_for(&tmp, (size_t)(ty->last - ty->first) * (size_t)dw * 3, "resampling", err));
    oc_status st = horizontal(tmp, dw, c, tx, ty->first, ty->last, err);
    if (st == OC_OK) vertical(dst, dh, tmp, (size_t)dw * 3, ty->first, ty, (size_t)dw * 3);
    oc_free(tmp);
    return st;
}

/* Only for a canvas without padding. */
static oc_status vertical_first(uint8_t *dst, int dw, int dh, const canvas *c, const table *tx, const table *ty,
                                oc_error *err) {
    int width = tx->last - tx->first; /* columns that the horizontal pass reads */
    uint8_t *tmp;
    OC_TRY(oc_alloc_for(&tmp, (size_t)dh * (size_t)width * 3, "resampling", err));
    vertical(tmp, dh, c->src + (size_t)tx->first * 3, (size_t)c->sw * 3, 0, ty, (size_t)width * 3);
    canvas part = {.src = tmp, .sw = width, .sh = dh, .x = tx->first, .w = c->w, .h = dh};
    oc_status st = horizontal(dst, dw, &part, tx, 0, dh, err);
    oc_free(tmp);
    return st;
}

static oc_status resample(uint8_t *dst, int dw, int dh, const canvas *c, const float box[4], bool vertical_goes_first,
                          oc_error *err) {
    table tx = {0}, ty = {0};
    oc_status st = OC_OK;
    OC_GO(table_make(&tx, c->w, box[0], box[2], dw, err));
    OC_GO(table_make(&ty, c->h, box[1], box[3], dh, err));
    OC_GO((vertical_goes_first ? vertical_first : horizontal_first)(dst, dw, dh, c, &tx, &ty, err));
done:
    table_free(&tx);
    table_free(&ty);
    return st;
}

/* ---- Public ------------------------------------------------------------------------------------------------------- */

static oc_status check_sizes(int dw, int dh, int sw, int sh, oc_error *err) {
    if (dw >= 1 && dh >= 1 && sw >= 1 && sh >= 1) return OC_OK;
    return oc_fail(err, OC_ERR_ARG, "cannot resize %d x %d to %d x %d pixels", sw, sh, dw, dh);
}

/* Pillow 13 runs the vertical pass first where the height shrinks by more than twice what the width does; earlier
 * versions never do. It looks at the whole source, whatever the box. */
static bool pillow_goes_vertical_first(int dw, int dh, int sw, int sh) {
    return sh > dh && (int64_t)sh - dh > 2 * ((int64_t)sw - dw);
}

oc_status oc_resize_bicubic(uint8_t *dst, int dw, int dh, const uint8_t *src, int sw, int sh, const float box[4],
                            oc_error *err) {
    OC_TRY(check_sizes(dw, dh, sw, sh, err));
    float all[4] = {0, 0, (float)sw, (float)sh};
    if (!box) box = all;
    if (!(box[0] >= 0 && box[1] >= 0 && box[2] <= all[2] && box[3] <= all[3] && box[0] < box[2] && box[1] < box[3]))
        return oc_fail(err, OC_ERR_ARG, "the box (%g, %g, %g, %g) is not inside an image of %d x %d pixels",
                       (double)box[0], (double)box[1], (double)box[2], (double)box[3], sw, sh);
    if (dw == sw && dh == sh && !memcmp(box, all, sizeof all)) {
        memcpy(dst, src, (size_t)dw * (size_t)dh * 3);
        return OC_OK;
    }
    canvas c = {.src = src, .sw = sw, .sh = sh, .w = sw, .h = sh};
    return resample(dst, dw, dh, &c, box, pillow_goes_vertical_first(dw, dh, sw, sh), err);
}

/* The square is not built: rows and columns of one colour are cheap to make up. */
static oc_status resize_padded(uint8_t *dst, int size, const uint8_t *src, int sw, int sh, const uint8_t *colour,
                               oc_error *err) {
    int side = OC_MAX(sw, sh);
    canvas c = {.src = src, .sw = sw, .sh = sh, .x = (side - sw) / 2, .y = (side - sh) / 2, .w = side, .h = side,
                .colour = colour};
    float all[4] = {0, 0, (float)side, (float)side};
    return resample(dst, size, size, &c, all, false, err);
}

/* Size and place as llama.cpp computes them, in float; its passes always go horizontal, vertical. */
static oc_status resize_then_pad(uint8_t *dst, int size, const uint8_t *src, int sw, int sh, const uint8_t *colour,
                                 oc_error *err) {
    float scale = fminf((float)size / (float)sw, (float)size / (float)sh);
    int w = OC_MIN((int)ceilf((float)sw * scale), size), h = OC_MIN((int)ceilf((float)sh * scale), size);
    canvas c = {.src = src, .sw = sw, .sh = sh, .w = sw, .h = sh};
    float all[4] = {0, 0, (float)sw, (float)sh};
    uint8_t *content;
    OC_TRY(oc_alloc_for(&content, (size_t)w * (size_t)h * 3, "resampling", err));
    oc_status st = resample(content, w, h, &c, all, false, err);
    if (st == OC_OK) {
        size_t x = (size_t)(size - w) / 2, y = (size_t)(size - h) / 2, stride = (size_t)w * 3;
        fill(dst, (size_t)size * (size_t)size, colour);
        for (size_t r = 0; r < (size_t)h; r++)
            memcpy(dst + ((y + r) * (size_t)size + x) * 3, content + r * stride, stride);
    }
    oc_free(content);
    return st;
}

oc_status oc_resize_square(uint8_t *dst, int size, const uint8_t *src, int sw, int sh, oc_aspect aspect,
                           const uint8_t colour[3], oc_error *err) {
    static const uint8_t pad_colour[3] = {127, 127, 127}, pad_after_colour[3] = {122, 116, 104};
    OC_TRY(check_sizes(size, size, sw, sh, err));
    switch (aspect) {
    case OC_ASPECT_PAD: return resize_padded(dst, size, src, sw, sh, colour ? colour : pad_colour, err);
    case OC_ASPECT_PAD_AFTER: return resize_then_pad(dst, size, src, sw, sh, colour ? colour : pad_after_colour, err);
    case OC_ASPECT_STRETCH: break;
    }
    return oc_resize_bicubic(dst, size, size, src, sw, sh, NULL, err);
}

void oc_image_to_pixels(float *out, const uint8_t *rgb, int S, const float mean[3], const float std[3], bool flip) {
    float value[3][256];
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) value[c][v] = ((float)(v * (1.0 / 255)) - mean[c]) / std[c];
    size_t plane = (size_t)S * (size_t)S;
    for (int y = 0; y < S; y++) {
        const uint8_t *row = rgb + (size_t)y * (size_t)S * 3;
        for (int x = 0; x < S; x++, out++) {
            const uint8_t *p = row + 3 * (flip ? S - 1 - x : x);
            out[0] = value[0][p[0]];
            out[plane] = value[1][p[1]];
            out[2 * plane] = value[2][p[2]];
        }
    }
}
