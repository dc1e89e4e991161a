/* Products of a few rows, as in decoding: the rows of the weights are read where they lie, once, and not packed.
 *
 *   sums[r, 0..3] = A[r] . W[0..3]     1 to 6 rows of A, 4 rows of W, both contiguous in k
 *
 * AVX-512: 4 x 6 sums, 4 registers of W and 1 of A per STEP elements of k; then each sum's lanes are added. AVX2 has half
 * of the registers and makes 2 rows of A at a time; after the first pass the 4 rows of W are in the cache. A few rows of A
 * are bound by memory (measured with AVX-512 on one thread: 1 row reads at 80 to 93% of it, 2 to 6 at 64 to 96, 7 and 8 at
 * 46 to 73), 16 to 128 run at 79 to 89% of the register peak. Text for one instruction set and kind of word: the including
 * file has included simd/words_<type>.h and defines
 *     enum { STEP = ... };   elements of k per vector register
 *     static inline vw read_w(const void *p, size_t at, int n, oc_dtype type, oc_dtype t)
 *     static inline vw read_a(const void *p, size_t at, int n)
 * for the first n <= STEP elements, the rest being 0. */
#ifndef OC_COMPUTE_CPU_GEMM_DOTS_H
#define OC_COMPUTE_CPU_GEMM_DOTS_H

#include "compute/cpu/gemm/tile.h"

enum {
    DOT_ROWS = VL == 16 ? 6 : 2,
    DOT_W = 4,
    AHEAD_ROWS = 16, /* of prefetches */
    AHEAD_BYTES = 4096,
};

OC_INLINE void dots_of(const int rows, const oc_dtype type, const oc_dtype t, const void *a, size_t lda, const void *w,
                       size_t ldw, int k, float *sums, size_t ld) {
    vf sum[DOT_ROWS][DOT_W];
    UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int j = 0; j < DOT_W; j++) sum[i][j] = v_zero();
    int q = 0;
    for (; q + STEP <= k; q += STEP) {
        vw wv[DOT_W];
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
            vw av = read_a(a, (size_t)i * lda + (size_t)q, STEP);
            UNROLL
            for (int j = 0; j < DOT_W; j++) sum[i][j] = w_mac(sum[i][j], av, wv[j]);
        }
    }
    if (q < k) UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int j = 0; j < DOT_W; j++)
        sum[i][j] = w_mac(sum[i][j], read_a(a, (size_t)i * lda + (size_t)q, k - q),
                          read_w(w, (size_t)j * ldw + (size_t)q, k - q, type, t));
    UNROLL
    for (int i = 0; i < rows; i++)
        _mm_storeu_ps(sums + (size_t)i * ld, v_sums(sum[i][0], sum[i][1], sum[i][2], sum[i][3]));
}

/* One row of A: W is read strictly in order, each sum in PARTS registers instead of 4 rows of W at a time, which the
 * processor's prefetchers follow at the full bandwidth of memory. */
OC_INLINE void dots_of_one(const oc_dtype type, const oc_dtype t, const void *a, const void *w, size_t ldw, int k,
                           float *sums) {
    enum { PARTS = 4 };
    vf sum[DOT_W];
    UNROLL
    for (int j = 0; j < DOT_W; j++) {
        vf part[PARTS];
        size_t row = (size_t)j * ldw;
        UNROLL
        for (int p = 0; p < PARTS; p++) part[p] = v_zero();
        int q = 0;
        for (; q + PARTS * STEP <= k; q += PARTS * STEP) UNROLL
        for (int p = 0; p < PARTS; p++) {
            size_t at = (size_t)q + (size_t)p * STEP;
            _mm_prefetch((const char *)w + (row + at) * oc_dtype_size(type) + AHEAD_BYTES, _MM_HINT_T1);
            part[p] = w_mac(part[p], read_a(a, at, STEP), read_w(w, row + at, STEP, type, t));
        }
        for (; q < k; q += STEP)
            part[0] = w_mac(part[0], read_a(a, (size_t)q, k - q), read_w(w, row + (size_t)q, k - q, type, t));
        sum[j] = (part[0] + part[1]) + (part[2] + part[3]);
    }
    _mm_storeu_ps(sums, v_sums(sum[0], sum[1], sum[2], sum[3]));
}

OC_INLINE void dots_by_rows(int rows, const oc_dtype type, const oc_dtype t, const void *a, size_t lda, const void *w,
                            size_t ldw, int k, float *sums, size_t ld) {
    if (rows == 1) {
        dots_of_one(type, t, a, w, ldw, k, sums);
        return;
    }
    for (; rows > DOT_ROWS; rows -= DOT_ROWS, sums += DOT_ROWS * ld) {
        dots_of(DOT_ROWS, type, t, a, lda, w, ldw, k, sums, ld);
        a = (const char *)a + DOT_ROWS * lda * (sizeof(word) / PAIR);
    }
    switch (OC_MIN(rows, DOT_ROWS)) {
    case 1:
        dots_of(1, type, t, a, lda, w, ldw, k, sums, ld);
        break;
    case 2:
        dots_of(2, type, t, a, lda, w, ldw, k, sums, ld);
        break;
    case 3:
        dots_of(OC_MIN(3, DOT_ROWS), type, t, a, lda, w, ldw, k, sums, ld);
        break;
    case 4:
        dots_of(OC_MIN(4, DOT_ROWS), type, t, a, lda, w, ldw, k, sums, ld);
        break;
    case 5:
        dots_of(OC_MIN(5, DOT_ROWS), type, t, a, lda, w, ldw, k, sums, ld);
        break;
    default:
        dots_of(DOT_ROWS, type, t, a, lda, w, ldw, k, sums, ld);
        break;
    }
}

#endif
