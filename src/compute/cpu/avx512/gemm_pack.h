/* Loads and stores that convert between f32 and bf16, and the transposition behind packing, for the AVX-512 products.
 * With AVX512_BF16 the conversion to bf16 is one instruction, else integer arithmetic; both round to nearest even. */
#ifndef OC_COMPUTE_CPU_AVX512_GEMM_PACK_H
#define OC_COMPUTE_CPU_AVX512_GEMM_PACK_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

/* Loops over arrays of registers have to be unrolled entirely; each compiler has its own word for it. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Lanes 0..n-1 of 16; n may be negative or larger than 16. */
static inline __mmask16 lanes(int n) { return n >= 16 ? (__mmask16)0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1u); }

static inline __m512 widen(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }

static inline __m256i narrow(__m512 v) {
#ifdef __AVX512BF16__
    return (__m256i)_mm512_cvtneps_pbh(v);
#else
    __m512i u = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
    __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
    r = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), r, quiet);
    return _mm512_cvtepi32_epi16(r);
#endif
}

/* 16 values at element `at`, as f32; lanes outside of the mask are 0 and their memory is not touched. */
static inline __m512 load16(const void *p, size_t at, oc_dtype t, __mmask16 m) {
    if (t == OC_F32) return _mm512_maskz_loadu_ps(m, (const float *)p + at);
    return widen(_mm256_maskz_loadu_epi16(m, (const uint16_t *)p + at));
}

static inline void store16(void *p, size_t at, oc_dtype t, __m512 v, __mmask16 m) {
    if (t == OC_F32) _mm512_mask_storeu_ps((float *)p + at, m, v);
    else _mm256_mask_storeu_epi16((uint16_t *)p + at, m, narrow(v));
}

/* Transposes 16 x 16 units of 32 bits in place: pairs, quadruples, then 128-bit blocks twice. */
static inline __attribute__((always_inline)) void transpose16(__m512i r[16]) {
    __m512i s[16];
    UNROLL
    for (int i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        s[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        s[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        s[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        s[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    UNROLL
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(s[i], s[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(s[i], s[i + 8], 0xdd);
    }
}

#endif
