/* simd/rows: operations that move rows of C channels (embedding, gather, scatter, patches, merging) or turn
 * them (rotary positions). Where rows repeat and are added, threads share the channels, so that each sum
 * keeps its order. */
#ifndef OC_SIMD_ROWS_H
#define OC_SIMD_ROWS_H

#include "compute/cpu/simd/pointwise.h"
#include "compute/cpu/simd/vec.h"

/* dst[0..n) += src[0..n), rounded to td. */
OC_INLINE void add_span(void *dst, oc_dtype td, const void *src, oc_dtype ts, size_t n) {
    V_EACH(i, k, 0, n, { v_put(dst, i, k, v_get(dst, i, k, td) + v_get(src, i, k, ts), td); });
}

/* ---- Rotary positions ------------------------------------------------------------------------- */

enum { ROPE_MAX_HALF = 128 }; /* head sizes to 256 */

typedef struct rope_args {
    void *x;
    size_t ldx;
    const int32_t *position;
    const float *table;
    size_t heads, half;
    float sign;
} rope_args;

/* (a, b) -> (a cos - b sin, b cos + a sin) for a = x[j], b = x[j + half]. The table row, stored in pairs, is
 * split once for all heads. */
OC_INLINE void rope_rows(const rope_args *p, oc_range r, oc_dtype t) {
    float cs[ROPE_MAX_HALF], sn[ROPE_MAX_HALF];
    size_t half = p->half;
    for (size_t n = r.begin; n < r.end; n++) {
        const float *pair = p->table + (size_t)p->position[n] * half * 2;
        for (size_t j = 0; j < half; j++) cs[j] = pair[2 * j], sn[j] = pair[2 * j + 1] * p->sign;
        for (size_t h = 0; h < p->heads; h++) {
            void *x = oc_at_mut(p->x, n * p->ldx + h * 2 * half, t), *x2 = oc_at_mut(x, half, t);
            V_EACH(i, k, 0, half, {
                vf a = v_get(x, i, k, t);
                vf b = v_get(x2, i, k, t);
                vf c = v_get(cs, i, k, OC_F32);
                vf s = v_get(sn, i, k, OC_F32);
                v_put(x, i, k, a * c - b * s, t);
                v_put(x2, i, k, b * c + a * s, t);
            });
        }
    }
}

static void rope(oc_compute *c, void *x, int ldx, const int32_t *position, const float *table, int N, int heads, int HS,
                 int sign, oc_dtype t) {
    OC_ASSERT(HS % 2 == 0 && HS / 2 <= ROPE_MAX_HALF);
    rope_args a = {x, (size_t)ldx, position, table, (size_t)heads, (size_t)HS / 2, (float)sign};
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * (size_t)heads * (size_t)HS, { OC_BY_TYPE(t, rope_rows, &a, r); });
}

/* ---- Embedding -------------------------------------------------------------------------------- */

static void embedding_fwd(oc_compute *c, void *y, const int32_t *id, const void *table, oc_dtype table_t, int N, int C,
                          oc_dtype t) {
    size_t w = (size_t)C;
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * w, {
        for (size_t n = r.begin; n < r.end; n++)
            convert_span(oc_at_mut(y, n * w, t), t, oc_at(table, (size_t)id[n] * w, table_t), table_t, w);
    });
}

/* y[row[n]][r) += x[n][r), ascending n, rows < 0 skipped; rows of y are C wide, those of x ldx apart. */
OC_INLINE void add_to_rows(void *y, oc_dtype ty, const int32_t *row, const void *x, size_t ldx, size_t N, size_t C,
                           oc_range r, oc_dtype t) {
    if (r.begin == r.end) return;
    for (size_t n = 0; n < N; n++)
        if (row[n] >= 0)
            add_span(oc_at_mut(y, (size_t)row[n] * C + r.begin, ty), ty, oc_at(x, n * ldx + r.begin, t), t,
                     r.end - r.begin);
}

static void embedding_bwd(oc_compute *c, float *dtable, const int32_t *id, const void *dy, int N, int C, int V,
                          oc_dtype t) {
    OC_UNUSED(V);
    OC_SPLIT(c, r, (size_t)C, 16, (size_t)N * (size_t)C,
             { OC_BY_TYPE(t, add_to_rows, dtable, OC_F32, id, dy, (size_t)C, (size_t)N, (size_t)C, r); });
}

/* ---- Gather and scatter ----------------------------------------------------------------------- */

static void gather_rows(oc_compute *c, void *y, const void *x, const int32_t *row, int N, int C, oc_dtype t) {
    size_t w = (size_t)C, bytes = w * oc_dtype_size(t);
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * w, {
        for (size_t n = r.begin; n < r.end; n++) {
            if (row[n] >= 0)
                memcpy((char *)y + n * bytes, (const char *)x + (size_t)row[n] * bytes, bytes);
            else
                memset((char *)y + n * bytes, 0, bytes);
        }
    });
}

static void scatter_rows(oc_compute *c, void *y, const void *x, int ldx, const int32_t *row, int N, int C,
                         bool accumulate, oc_dtype t) {
    size_t w = (size_t)C, bytes = w * oc_dtype_size(t), stride = (size_t)ldx * oc_dtype_size(t);
    if (accumulate) {
        OC_SPLIT(c, r, w, 16, (size_t)N * w, {
            if (t == OC_BF16)
                add_to_rows(y, OC_BF16, row, x, (size_t)ldx, (size_t)N, w, r, OC_BF16);
            else
                add_to_rows(y, OC_F32, row, x, (size_t)ldx, (size_t)N, w, r, OC_F32);
        });
        return;
    }
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * w, {
        for (size_t n = r.begin; n < r.end; n++)
            if (row[n] >= 0) memcpy((char *)y + (size_t)row[n] * bytes, (const char *)x + n * stride, bytes);
    });
}

/* ---- Images ----------------------------------------------------------------------------------- */

/* Patch n = (image, row, column of the grid) is 3 * P runs of P pixels. */
static void patchify(oc_compute *c, void *y, const float *pixels, int I, int S, int P, oc_dtype t) {
    size_t s = (size_t)S, p = (size_t)P, G = s / p, N = (size_t)I * G * G;
    OC_SPLIT(c, r, N, 1, N * 3 * p * p, {
        for (size_t n = r.begin; n < r.end; n++) {
            size_t image = n / (G * G);
            size_t top = n / G % G * p;
            size_t left = n % G * p;
            for (size_t line = 0; line < 3 * p; line++) {
                const float *from = pixels + ((image * 3 + line / p) * s + top + line % p) * s + left;
                convert_span(oc_at_mut(y, (n * 3 * p + line) * p, t), t, from, OC_F32, p);
            }
        }
    });
}

OC_INLINE void position_add_rows(void *x, const float *pos, size_t P, size_t C, oc_range r, oc_dtype t) {
    for (size_t n = r.begin; n < r.end; n++) add_span(oc_at_mut(x, n * C, t), t, pos + n % P * C, OC_F32, C);
}

static void position_add_fwd(oc_compute *c, void *x, const float *pos, int N, int P, int C, oc_dtype t) {
    OC_SPLIT(c, r, (size_t)N, 1, (size_t)N * (size_t)C,
             { OC_BY_TYPE(t, position_add_rows, x, pos, (size_t)P, (size_t)C, r); });
}

/* Each thread owns positions and adds their rows in ascending n. */
OC_INLINE void position_sum_rows(float *dpos, const void *dx, size_t N, size_t P, size_t C, oc_range r, oc_dtype t) {
    for (size_t p = r.begin; p < r.end; p++)
        for (size_t n = p; n < N; n += P) add_span(dpos + p * C, OC_F32, oc_at(dx, n * C, t), t, C);
}

static void position_add_bwd(oc_compute *c, float *dpos, const void *dx, int N, int P, int C, oc_dtype t) {
    OC_SPLIT(c, r, (size_t)P, 1, (size_t)N * (size_t)C,
             { OC_BY_TYPE(t, position_sum_rows, dpos, dx, (size_t)N, (size_t)P, (size_t)C, r); });
}

/* Merged row n = (image, row, column of the coarse grid); its part j = (row, column inside the s x s block).
 */
static void merge_fwd(oc_compute *c, void *y, const void *x, int I, int G, int s, int C, oc_dtype t) {
    size_t g = (size_t)G, q = (size_t)s, coarse = g / q, N = (size_t)I * coarse * coarse,
           bytes = (size_t)C * oc_dtype_size(t);
    OC_SPLIT(c, r, N, 1, N * q * q * (size_t)C, {
        for (size_t n = r.begin; n < r.end; n++) {
            size_t first = (n / (coarse * coarse) * g + n / coarse % coarse * q) * g + n % coarse * q;
            for (size_t line = 0; line < q; line++)
                memcpy((char *)y + (n * q + line) * q * bytes, (const char *)x + (first + line * g) * bytes, q * bytes);
        }
    });
}

/* Fine row n asks which merged row holds it; those outside of every block get zero. */
static void merge_bwd(oc_compute *c, void *dx, const void *dy, int I, int G, int s, int C, oc_dtype t) {
    size_t g = (size_t)G, q = (size_t)s, coarse = g / q, N = (size_t)I * g * g, bytes = (size_t)C * oc_dtype_size(t);
    OC_SPLIT(c, r, N, 1, N * (size_t)C, {
        for (size_t n = r.begin; n < r.end; n++) {
            size_t image = n / (g * g);
            size_t i = n / g % g;
            size_t j = n % g;
            char *to = (char *)dx + n * bytes;
            size_t block = (image * coarse + i / q) * coarse + j / q;
            if (i < coarse * q && j < coarse * q)
                memcpy(to, (const char *)dy + ((block * q + i % q) * q + j % q) * bytes, bytes);
            else
                memset(to, 0, bytes);
        }
    });
}

static void fill_rows(oc_ops *o) {
    o->rope = rope;
    o->embedding_fwd = embedding_fwd;
    o->embedding_bwd = embedding_bwd;
    o->gather_rows = gather_rows;
    o->scatter_rows = scatter_rows;
    o->patchify = patchify;
    o->position_add_fwd = position_add_fwd;
    o->position_add_bwd = position_add_bwd;
    o->merge_fwd = merge_fwd;
    o->merge_bwd = merge_bwd;
}

#endif
