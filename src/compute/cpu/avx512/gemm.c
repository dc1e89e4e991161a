/* The f32 kernel of the blocked product (gemm/blocked.c): a unit of k is one float. It also multiplies bf16
 * operands, widened while they are packed, on processors that have no bf16 instruction. */
#include "compute/cpu/avx512/gemm_pack.h"
#include "compute/cpu/avx512/gemm_tile.h"
#include "compute/cpu/gemm/finish.h"

static inline __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
}

/* 16 values; those of an f32 matrix that counts as bf16 are rounded. */
static inline __m512 read16(const oc_gemm_operand *from, oc_dtype t, size_t at, __mmask16 m) {
    __m512 v = load16(from->p, at, from->type, m);
    return t != from->type && from->type == OC_F32 ? v_from_bf16(v_to_bf16(v)) : v;
}

/* Rows of the source are columns of the panel: 16 x 16 pieces are transposed. */
static void pack_transposed(char *out, const oc_gemm_operand *from, oc_dtype t, int k0, int units, int j0,
                            int cols) {
    for (int j = 0; j < cols; j += 16)
        for (int u = 0; u < units; u += 16) {
            __m512 r[16];
            __mmask16 m = lanes(units - u);
            for (int i = 0; i < 16; i++)
                r[i] = j + i >= cols ? _mm512_setzero_ps()
                                     : read16(from, t, (size_t)(j0 + j + i) * from->ld + (size_t)(k0 + u), m);
            v_transpose(r);
            for (int i = 0; i < OC_MIN(16, units - u); i++)
                _mm512_store_ps(out + ((size_t)(u + i) * OC_GEMM_PANEL + (size_t)j) * 4, r[i]);
        }
}

static void pack_rows(char *out, const oc_gemm_operand *from, oc_dtype t, int k0, int units, int j0,
                      int cols) {
    for (int u = 0; u < units; u++)
        for (int j = 0; j < cols; j += 16)
            _mm512_store_ps(out + ((size_t)u * OC_GEMM_PANEL + (size_t)j) * 4,
                            read16(from, t, (size_t)(k0 + u) * from->ld + (size_t)(j0 + j), lanes(cols - j)));
}

static void pack(char *out, const oc_gemm_operand *from, oc_dtype t, int k0, int k, int j0, int cols) {
    if (from->trans)
        pack_transposed(out, from, t, k0, k, j0, cols);
    else
        pack_rows(out, from, t, k0, k, j0, cols);
}

/* ---- A few rows (gemm_dots.h) ---------------------------------------------------------------------- */

enum { STEP = 16 };

OC_INLINE __m512i read_a(const void *p, size_t at, int n) {
    return _mm512_castps_si512(load16(p, at, OC_F32, lanes(n)));
}

OC_INLINE __m512i read_w(const void *p, size_t at, int n, oc_dtype type, oc_dtype t) {
    __m512 v = load16(p, at, type, lanes(n));
    return _mm512_castps_si512(t != type && type == OC_F32 ? v_from_bf16(v_to_bf16(v)) : v);
}

#include "compute/cpu/avx512/gemm_dots.h"

static void dots(int rows, const void *a, size_t lda, const void *w, size_t ldw, oc_dtype type, oc_dtype t,
                 int k, float *sums, size_t ld) {
    if (type == OC_BF16)
        dots_by_rows(rows, OC_BF16, OC_F32, a, lda, w, ldw, k, sums, ld);
    else if (t == OC_BF16)
        dots_by_rows(rows, OC_F32, OC_BF16, a, lda, w, ldw, k, sums, ld);
    else
        dots_by_rows(rows, OC_F32, OC_F32, a, lda, w, ldw, k, sums, ld);
}

const oc_gemm_kernel oc_avx512_gemm = {
    .name = "avx512",
    .type = OC_F32,
    .unit = 1,
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
