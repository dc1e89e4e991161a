/* The bf16 kernel of the blocked product (gemm/blocked.c): a unit of k is two neighbouring bf16 values, which
 * VDPBF16PS multiplies and adds to an f32 sum. Its adder rounds to nearest even and flushes denormals. */
#include "compute/cpu/avx512/gemm_pack.h"
#include "compute/cpu/avx512/gemm_tile.h"
#include "compute/cpu/gemm/finish.h"

static inline __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

static inline __mmask32 lanes32(int n) { return n >= 32 ? 0xffffffffu : n <= 0 ? 0 : (1u << n) - 1u; }

/* 32 consecutive values as bf16; the first n of them exist. */
static inline __m512i read32(const oc_gemm_operand *from, size_t at, int n) {
    if (from->type == OC_BF16) return _mm512_maskz_loadu_epi16(lanes32(n), (const uint16_t *)from->p + at);
    const float *p = (const float *)from->p + at;
    __m512 low = _mm512_maskz_loadu_ps(lanes(n), p), high = _mm512_maskz_loadu_ps(lanes(n - 16), p + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* Rows of the source are columns of the panel, so a unit lies side by side already: 16 x 16 units are
 * transposed. */
static void pack_transposed(char *out, const oc_gemm_operand *from, int k0, int k, int j0, int cols) {
    for (int j = 0; j < cols; j += 16)
        for (int q = 0; q < k; q += 32) {
            __m512 r[16];
            for (int i = 0; i < 16; i++)
                r[i] = j + i >= cols ? _mm512_setzero_ps()
                                     : _mm512_castsi512_ps(read32(
                                           from, (size_t)(j0 + j + i) * from->ld + (size_t)(k0 + q), k - q));
            v_transpose(r);
            int units = OC_MIN(16, (k - q + 1) / 2);
            for (int i = 0; i < units; i++)
                _mm512_store_ps(out + ((size_t)(q / 2 + i) * OC_GEMM_PANEL + (size_t)j) * 4, r[i]);
        }
}

enum { AHEAD = 16 }; /* rows; a panel's part of a row is too short for the processor to see a stream in it */

/* Two rows of some bytes. The addresses may lie past the end of the matrix: a prefetch cannot fault. */
static inline void prefetch_rows(const char *p, size_t stride, size_t bytes) {
    for (size_t b = 0; b < bytes; b += 64) {
        _mm_prefetch(p + b, _MM_HINT_T0);
        _mm_prefetch(p + stride + b, _MM_HINT_T0);
    }
}

/* Two rows of the source make one row of units: their 32 + 32 values are interleaved. */
static void pack_rows(char *out, const oc_gemm_operand *from, int k0, int k, int j0, int cols) {
    static const uint16_t order[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                       8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i first = _mm512_loadu_si512(order);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    size_t size = oc_dtype_size(from->type);
    for (int q = 0; q < k; q += 2)
        for (int j = 0; j < cols; j += 32) {
            size_t at = (size_t)(k0 + q) * from->ld + (size_t)(j0 + j);
            prefetch_rows((const char *)from->p + (at + AHEAD * from->ld) * size, from->ld * size, 32 * size);
            __m512i even = read32(from, at, cols - j);
            __m512i odd = q + 1 < k ? read32(from, at + from->ld, cols - j) : _mm512_setzero_si512();
            char *to = out + ((size_t)(q / 2) * OC_GEMM_PANEL + (size_t)j) * 4;
            _mm512_store_si512(to, _mm512_permutex2var_epi16(even, first, odd));
            _mm512_store_si512(to + 64, _mm512_permutex2var_epi16(even, second, odd));
        }
}

static void pack(char *out, const oc_gemm_operand *from, oc_dtype t, int k0, int k, int j0, int cols) {
    OC_UNUSED(t);
    if (from->trans)
        pack_transposed(out, from, k0, k, j0, cols);
    else
        pack_rows(out, from, k0, k, j0, cols);
}

/* ---- A few rows (gemm_dots.h) ---------------------------------------------------------------------- */

enum { STEP = 32 };

OC_INLINE __m512i read_a(const void *p, size_t at, int n) {
    return _mm512_maskz_loadu_epi16(lanes32(n), (const uint16_t *)p + at);
}

OC_INLINE __m512i read_w(const void *p, size_t at, int n, oc_dtype type, oc_dtype t) {
    OC_UNUSED(t);
    return read32(&(oc_gemm_operand){.p = p, .type = type}, at, n);
}

#include "compute/cpu/avx512/gemm_dots.h"

static void dots(int rows, const void *a, size_t lda, const void *w, size_t ldw, oc_dtype type, oc_dtype t,
                 int k, float *sums, size_t ld) {
    if (type == OC_BF16)
        dots_by_rows(rows, OC_BF16, t, a, lda, w, ldw, k, sums, ld);
    else
        dots_by_rows(rows, OC_F32, t, a, lda, w, ldw, k, sums, ld);
}

const oc_gemm_kernel oc_avx512bf16_gemm = {
    .name = "avx512_bf16",
    .type = OC_BF16,
    .unit = 2,
    .panel = OC_GEMM_PANEL,
    .few = OC_GEMM_FEW,
    .in_place = {.rows = 288, .units = 576},
    .packed = {.rows = 256, .units = 256},
    .shared_bytes = 8 << 20,
    .tile = tile,
    .pack = pack,
    .finish = finish,
    .dots = dots,
    .softmax = {softmax_piece, softmax_scale},
};
