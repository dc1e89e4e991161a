/* The register tile of the blocked product (blocked.c). Text for one instruction set and kind of word at a time: the
 * including file includes simd/vec_<isa>.h, simd/words_<type>.h and then this. A unit of k is one 4-byte word - a float,
 * or two neighbouring bf16.
 *
 *   C[6,PANEL] (+)= A[6,units] B[units,PANEL]     AVX-512: 24 sums, 4 vectors of B, 1 word of A spread over a register
 *                                                 AVX2:    12 sums, 2 vectors of B, 1 word of A
 *
 * B is a panel [units][PANEL], 64-byte aligned. A is read in place, or from a panel of the same form (see blocked.c), so
 * its two strides are arguments. Per unit there are 10 loads for 24 multiply-adds, or 8 for 12 with AVX2: a core that
 * starts one (AVX-512) or two (AVX2) of the latter per cycle is never waiting for the former, and so many independent
 * sums hide a latency of 6 cycles and more. Measured on operands in the second-level cache: 97% of the register peak. */
#ifndef OC_COMPUTE_CPU_GEMM_TILE_H
#define OC_COMPUTE_CPU_GEMM_TILE_H

#include "compute/cpu/gemm/gemm.h"
#include "compute/cpu/simd/vec.h"

/* Loops over arrays of registers have to be unrolled entirely; each compiler has its own word for it. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { TILE_ROWS = 6, TILE_VECTORS = VL == 16 ? 4 : 2, PANEL = TILE_VECTORS * VL };

/* The first k columns of a vector. AVX-512 has masks that cost nothing. */
OC_INLINE vf load_columns(const float *p, size_t k) { return VL < 16 && k == VL ? v_load(p) : v_load_part(p, k); }
OC_INLINE void store_columns(float *p, vf x, size_t k) {
    if (VL < 16 && k == VL)
        v_store(p, x);
    else
        v_store_part(p, x, k);
}

/* last: columns of the last vector. */
OC_INLINE void tile_of(const int rows, const int vectors, int units, const char *a, size_t a_row, const size_t a_unit,
                       const char *b, float *c, size_t ldc, size_t last, bool add) {
    vf sum[TILE_ROWS][TILE_VECTORS];
    UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int j = 0; j < vectors; j++) {
        const float *from = c + (size_t)i * ldc + (size_t)j * VL;
        sum[i][j] = !add ? v_zero() : load_columns(from, j == vectors - 1 ? last : VL);
    }
#pragma GCC unroll 4
    for (int u = 0; u < units; u++, a += a_unit, b += PANEL * sizeof(word)) {
        vw bv[TILE_VECTORS];
        UNROLL
        for (int j = 0; j < vectors; j++) bv[j] = w_load((const word *)(const void *)b + j * VL);
        UNROLL
        for (int i = 0; i < rows; i++) {
            vw av = w_spread(a + (size_t)i * a_row);
            UNROLL
            for (int j = 0; j < vectors; j++) sum[i][j] = w_mac(sum[i][j], av, bv[j]);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int j = 0; j < vectors; j++)
        store_columns(c + (size_t)i * ldc + (size_t)j * VL, sum[i][j], j == vectors - 1 ? last : VL);
}

/* The number of vectors becomes a constant, and the distance of units: the loop is bound by the number of instructions
 * where another thread shares the core. */
OC_INLINE void tile_rows(const int rows, int vectors, int units, const char *a, size_t a_row, size_t a_unit,
                         const char *b, float *c, size_t ldc, size_t last, bool add) {
    enum { WORD = sizeof(word), SOME = OC_MIN(3, TILE_VECTORS) };
    if (vectors == TILE_VECTORS && a_unit == WORD)
        tile_of(rows, TILE_VECTORS, units, a, a_row, WORD, b, c, ldc, last, add);
    else if (vectors == TILE_VECTORS)
        tile_of(rows, TILE_VECTORS, units, a, a_row, PANEL * WORD, b, c, ldc, last, add);
    else if (vectors == 1)
        tile_of(rows, 1, units, a, a_row, a_unit, b, c, ldc, last, add);
    else if (vectors == 2)
        tile_of(rows, 2, units, a, a_row, a_unit, b, c, ldc, last, add);
    else
        tile_of(rows, SOME, units, a, a_row, a_unit, b, c, ldc, last, add);
}

/* One function per number of rows. */
#define TILE(rows)                                                                                                     \
    static void tile_##rows(int vectors, int units, const char *a, size_t a_row, size_t a_unit, const char *b,         \
                            float *c, size_t ldc, size_t last, bool add) {                                             \
        tile_rows(rows, vectors, units, a, a_row, a_unit, b, c, ldc, last, add);                                       \
    }
TILE(1)
TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#undef TILE

    static void tile(int rows, int cols, int units, const char *a, size_t a_row, size_t a_unit, const char *b, float *c,
                     size_t ldc, bool add) {
    static void (*const by_rows[TILE_ROWS])(int, int, const char *, size_t, size_t, const char *, float *, size_t,
                                            size_t, bool) = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};
    int vectors = (cols + VL - 1) / VL;
    by_rows[rows - 1](vectors, units, a, a_row, a_unit, b, c, ldc, (size_t)(cols - (vectors - 1) * VL), add);
}

#endif
