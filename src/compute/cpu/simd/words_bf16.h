/* simd/words_bf16: the words that attention multiplies are pairs of bf16, two products and one f32 sum an
 * instruction (vdpbf16ps; see attention.h). Inputs are bf16. */
#ifndef OC_SIMD_WORDS_H
#define OC_SIMD_WORDS_H

#include <string.h>

#include "compute/cpu/simd/vec.h"

typedef uint32_t word;
typedef __m512i vw;
enum { PAIR = 2 };

OC_INLINE vw w_load(const word *p) { return _mm512_loadu_si512(p); }
OC_INLINE vw w_spread(const char *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}
OC_INLINE vf w_mac(vf sum, vw a, vw b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

OC_INLINE vf w_row(const void *row, size_t i, size_t k, oc_dtype t) {
    OC_UNUSED(t);
    return _mm512_maskz_loadu_ps(v_lanes(k), (const char *)row + 4 * i);
}
OC_INLINE void w_store_bits(word *p, vf x) { _mm512_storeu_ps(p, x); }

/* (x0, x1) of each lane side by side. */
OC_INLINE __m512i w_pairs(vf x0, vf x1) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(x1, x0));
}
OC_INLINE void w_store_keys(word *p, const vf x[PAIR]) { _mm512_storeu_si512(p, w_pairs(x[0], x[1])); }
OC_INLINE void w_store_lanes(word *row, size_t lane, vf x) {
    v_store_bf16((uint16_t *)(void *)row + lane, x);
}

OC_INLINE void w_join_rows(word *out, const void *const row[PAIR], size_t HS, size_t width, oc_dtype t) {
    OC_UNUSED(t);
    for (size_t i = 0; i < width; i += 16) {
        __mmask16 m = v_lanes(i >= HS ? 0 : OC_MIN(HS - i, 16));
        __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, (const uint16_t *)row[0] + i));
        __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, (const uint16_t *)row[1] + i));
        _mm512_storeu_si512(out + i, _mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
    }
}

OC_INLINE vf w_exp2(vf x) { return v_exp2_short(x); } /* what is multiplied is rounded to bf16 */

#endif
