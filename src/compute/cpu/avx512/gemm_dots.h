/* Products of a few rows, as in decoding: the rows of the weights are read where they lie, once, and not
 * packed.
 *
 *   sums[r, 0..3] = A[r] . W[0..3]     1 to 6 rows of A, 4 rows of W, both contiguous in k
 *
 * 4 x 6 sums of 16 lanes, 4 registers of W and 1 of A per STEP elements of k; then each sum's lanes are
 * added. A few rows of A are bound by memory (measured on one thread: 1 row
 * reads at 80 to 93% of it, 2 to 6 at 64 to 96, 7 and 8 at 46 to 73), 16 to 128 run at 79 to 89% of the register peak. The including file defines
 *     enum { STEP = ... };   elements of k per vector register
 *     static inline __m512i read_w(const void *p, size_t at, int n, oc_dtype type, oc_dtype t)
 *     static inline __m512i read_a(const void *p, size_t at, int n)
 * for the first n <= STEP elements, the rest being 0, and multiply_add (gemm_tile.h). */
#ifndef OC_COMPUTE_CPU_AVX512_GEMM_DOTS_H
#define OC_COMPUTE_CPU_AVX512_GEMM_DOTS_H

#include "compute/cpu/avx512/gemm_tile.h"

enum { DOT_ROWS = 6, DOT_W = 4, AHEAD_ROWS = 16, AHEAD_BYTES = 4096 }; /* of prefetches */

/* The sums of the lanes of four vectors: first a b a b in each quarter, then a b c d, then over quarters. */
OC_INLINE __m128 lane_sums(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512 q = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(q), _mm512_extractf32x8_ps(q, 1));
    return _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}

OC_INLINE void dots_of(const int rows, const oc_dtype type, const oc_dtype t, const void *a, size_t lda,
                       const void *w, size_t ldw, int k, float *sums, size_t ld) {
    __m512 sum[DOT_ROWS][DOT_W];
    UNROLL
    for (int i = 0; i < rows; i++)
        UNROLL
        for (int j = 0; j < DOT_W; j++) sum[i][j] = _mm512_setzero_ps();
    int q = 0;
    for (; q + STEP <= k; q += STEP) {
        __m512i wv[DOT_W];
        UNROLL
        for (int j = 0; j < DOT_W; j++) {
            size_t at = (size_t)j * ldw + (size_t)q;
            wv[j] = read_w(w, at, STEP, type, t);
            const char *ahead = (const char *)w + (at + AHEAD_ROWS * ldw) * oc_dtype_size(type);
            _mm_prefetch(ahead, _MM_HINT_T1);
            if (STEP * oc_dtype_size(type) > 64) _mm_prefetch(ahead + 64, _MM_HINT_T1);
        }
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m512i av = read_a(a, (size_t)i * lda + (size_t)q, STEP);
            UNROLL
            for (int j = 0; j < DOT_W; j++) sum[i][j] = multiply_add(sum[i][j], av, wv[j]);
        }
    }
    if (q < k)
        UNROLL
        for (int i = 0; i < rows; i++)
            UNROLL
            for (int j = 0; j < DOT_W; j++)
                sum[i][j] = multiply_add(sum[i][j], read_a(a, (size_t)i * lda + (size_t)q, k - q),
                                         read_w(w, (size_t)j * ldw + (size_t)q, k - q, type, t));
    UNROLL
    for (int i = 0; i < rows; i++)
        _mm_storeu_ps(sums + (size_t)i * ld, lane_sums(sum[i][0], sum[i][1], sum[i][2], sum[i][3]));
}

/* One row of A: W is read strictly in order, each sum in PARTS registers instead of 4 rows of W at a time,
 * which the processor's prefetchers follow at the full bandwidth of memory. */
OC_INLINE void dots_of_one(const oc_dtype type, const oc_dtype t, const void *a, const void *w, size_t ldw,
                           int k, float *sums) {
    enum { PARTS = 4 };
    __m512 sum[DOT_W];
    UNROLL
    for (int j = 0; j < DOT_W; j++) {
        __m512 part[PARTS];
        size_t row = (size_t)j * ldw;
        UNROLL
        for (int p = 0; p < PARTS; p++) part[p] = _mm512_setzero_ps();
        int q = 0;
        for (; q + PARTS * STEP <= k; q += PARTS * STEP)
            UNROLL
            for (int p = 0; p < PARTS; p++) {
                size_t at = (size_t)q + (size_t)p * STEP;
                _mm_prefetch((const char *)w + (row + at) * oc_dtype_size(type) + AHEAD_BYTES, _MM_HINT_T1);
                part[p] = multiply_add(part[p], read_a(a, at, STEP), read_w(w, row + at, STEP, type, t));
            }
        for (; q < k; q += STEP)
            part[0] = multiply_add(part[0], read_a(a, (size_t)q, k - q),
                                   read_w(w, row + (size_t)q, k - q, type, t));
        sum[j] = _mm512_add_ps(_mm512_add_ps(part[0], part[1]), _mm512_add_ps(part[2], part[3]));
    }
    _mm_storeu_ps(sums, lane_sums(sum[0], sum[1], sum[2], sum[3]));
}

OC_INLINE void dots_by_rows(int rows, const oc_dtype type, const oc_dtype t, const void *a, size_t lda,
                            const void *w, size_t ldw, int k, float *sums, size_t ld) {
    switch (rows) {
    case 1: dots_of_one(type, t, a, w, ldw, k, sums); break;
    case 2: dots_of(2, type, t, a, lda, w, ldw, k, sums, ld); break;
    case 3: dots_of(3, type, t, a, lda, w, ldw, k, sums, ld); break;
    case 4: dots_of(4, type, t, a, lda, w, ldw, k, sums, ld); break;
    case 5: dots_of(5, type, t, a, lda, w, ldw, k, sums, ld); break;
    default: dots_of(6, type, t, a, lda, w, ldw, k, sums, ld); break;
    }
}

#endif
