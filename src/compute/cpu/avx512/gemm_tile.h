/* The register tile of the blocked product, for f32 (avx512/gemm.c) and bf16 (avx512bf16/gemm.c), which
 * differ only in what one 4-byte unit of k holds - a float, or two neighbouring bf16 - and in the instruction
 * that multiplies: the including file defines
 *     static inline __m512 multiply_add(__m512 sum, __m512i a, __m512i b);
 *
 *   C[6,64] (+)= A[6,units] B[units,64]       24 accumulators, 4 registers of B, 1 broadcast unit of A
 *
 * B is a panel [units][64], 64-byte aligned. A is read in place, or from a panel of the same form (see
 * blocked.c), so its two strides are arguments. Per unit there are 10 loads for 24 multiply-adds: a core that
 * starts one of the latter per cycle is never waiting for the former, and 24 independent sums hide a latency
 * of up to 24 cycles. Measured on operands in the second-level cache: 97% of the register peak. */
#ifndef OC_COMPUTE_CPU_AVX512_GEMM_TILE_H
#define OC_COMPUTE_CPU_AVX512_GEMM_TILE_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "compute/cpu/avx512/gemm_pack.h"
#include "compute/cpu/gemm/gemm.h"

static inline __m512 multiply_add(__m512 sum, __m512i a, __m512i b);

OC_INLINE void tile_of(const int rows, const int vectors, int units, const char *a, size_t a_row,
                       size_t a_unit, const char *b, float *c, size_t ldc, __mmask16 last, bool add) {
    __m512 sum[6][4];
    UNROLL
    for (int i = 0; i < rows; i++)
        UNROLL
        for (int j = 0; j < vectors; j++)
            sum[i][j] = !add ? _mm512_setzero_ps()
                             : _mm512_maskz_loadu_ps(j == vectors - 1 ? last : (__mmask16)0xffff,
                                                     c + (size_t)i * ldc + 16 * (size_t)j);
    for (int u = 0; u < units; u++, a += a_unit, b += OC_GEMM_PANEL * 4) {
        __m512i bv[4];
        UNROLL
        for (int j = 0; j < vectors; j++) bv[j] = _mm512_load_si512(b + 64 * j);
        UNROLL
        for (int i = 0; i < rows; i++) {
            int32_t unit;
            memcpy(&unit, a + (size_t)i * a_row, 4);
            __m512i av = _mm512_set1_epi32(unit);
            UNROLL
            for (int j = 0; j < vectors; j++) sum[i][j] = multiply_add(sum[i][j], av, bv[j]);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++)
        UNROLL
        for (int j = 0; j < vectors; j++)
            _mm512_mask_storeu_ps(c + (size_t)i * ldc + 16 * (size_t)j,
                                  j == vectors - 1 ? last : (__mmask16)0xffff, sum[i][j]);
}

/* One function per number of rows and of vectors of columns. */
#define TILE(rows, vectors)                                                                             \
    static void tile_##rows##_##vectors(int units, const char *a, size_t a_row, size_t a_unit,          \
                                        const char *b, float *c, size_t ldc, __mmask16 last, bool add) { \
        tile_of(rows, vectors, units, a, a_row, a_unit, b, c, ldc, last, add);                          \
    }
#define TILES(rows) TILE(rows, 1) TILE(rows, 2) TILE(rows, 3) TILE(rows, 4)
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6)
#undef TILES
#undef TILE

static void tile(int rows, int cols, int units, const char *a, size_t a_row, size_t a_unit, const char *b,
                 float *c, size_t ldc, bool add) {
    typedef void (*fn)(int, const char *, size_t, size_t, const char *, float *, size_t, __mmask16, bool);
#define TILES(rows) {tile_##rows##_1, tile_##rows##_2, tile_##rows##_3, tile_##rows##_4}
    static const fn by_size[6][4] = {TILES(1), TILES(2), TILES(3), TILES(4), TILES(5), TILES(6)};
#undef TILES
    __mmask16 last = (__mmask16)(0xffffu >> ((16 - cols % 16) % 16));
    by_size[rows - 1][(cols - 1) / 16](units, a, a_row, a_unit, b, c, ldc, last, add);
}

#endif
