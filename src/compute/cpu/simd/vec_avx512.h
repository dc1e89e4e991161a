/* simd/vec_avx512: the vector type of the shared kernels on AVX-512 (F, BW, DQ, VL): 16 floats. simd/vec.h
 * names the contract; vec_avx2.h is the same for 8 floats. Arithmetic is written with the operators + - * /
 * of the compiler's vector types. */
#ifndef OC_SIMD_VEC_AVX512_H
#define OC_SIMD_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <stddef.h>

typedef __m512 vf;    /* VL floats */
typedef __m512i vi;   /* VL 32-bit integers */
typedef __m512d vd;   /* VL/2 doubles */
typedef __mmask16 vm; /* one bit per lane */
enum { VL = 16 };

#define OC_INLINE static inline __attribute__((always_inline))

OC_INLINE vm v_lanes(size_t k) { return (vm)((1u << k) - 1u); } /* the first k, k <= VL */

OC_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
OC_INLINE vf v_set1(float x) { return _mm512_set1_ps(x); }
OC_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
OC_INLINE void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
OC_INLINE vf v_load_part(const float *p, size_t k) { return _mm512_maskz_loadu_ps(v_lanes(k), p); }
OC_INLINE void v_store_part(float *p, vf x, size_t k) { _mm512_mask_storeu_ps(p, v_lanes(k), x); }

OC_INLINE vf v_from_bf16(__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Rounds to nearest even. With AVX512_BF16 one instruction (which takes subnormals for zero); else by
 * integers, NaN kept. */
#ifdef __AVX512BF16__
OC_INLINE __m256i v_to_bf16(vf x) { return (__m256i)_mm512_cvtneps_pbh(x); }
#else
OC_INLINE __m256i v_to_bf16(vf x) {
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), u, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
}
#endif

OC_INLINE vf v_load_bf16(const uint16_t *p) {
    return v_from_bf16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
OC_INLINE void v_store_bf16(uint16_t *p, vf x) { _mm256_storeu_si256((__m256i *)(void *)p, v_to_bf16(x)); }
OC_INLINE vf v_load_bf16_part(const uint16_t *p, size_t k) {
    return v_from_bf16(_mm256_maskz_loadu_epi16(v_lanes(k), p));
}
OC_INLINE void v_store_bf16_part(uint16_t *p, vf x, size_t k) {
    _mm256_mask_storeu_epi16(p, v_lanes(k), v_to_bf16(x));
}

OC_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
OC_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
OC_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
OC_INLINE vf v_abs(vf a) { return _mm512_abs_ps(a); }
OC_INLINE vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
OC_INLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
OC_INLINE vf v_scale2(vf a, vf n) {
    return _mm512_scalef_ps(a, n);
} /* a * 2^n, n integral, saturating both ways */
OC_INLINE vf v_scale2_down(vf a, vf n) { return v_scale2(a, n); }
/* a > 0 as m * 2^e, m in [0.75, 1.5). */
OC_INLINE vf v_split(vf a, vf *e) {
    vf m = _mm512_getmant_ps(a, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src), one = _mm512_set1_ps(1.0f);
    *e = _mm512_getexp_ps(a);
    *e = _mm512_mask_add_ps(*e, _mm512_cmp_ps_mask(m, one, _CMP_LT_OQ), *e, one);
    return m;
}
OC_INLINE vm v_less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
OC_INLINE vf v_select(vm m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }
OC_INLINE vf v_first(vf a, size_t k) { return _mm512_maskz_mov_ps(v_lanes(k), a); } /* zero from lane k on */
OC_INLINE float v_sum(vf a) { return _mm512_reduce_add_ps(a); }
OC_INLINE float v_highest(vf a) { return _mm512_reduce_max_ps(a); }

/* x[i][j] <-> x[j][i] for VL vectors: pairs, fours, then the four 128-bit quarters. */
OC_INLINE void v_transpose(vf x[VL]) {
    __m512d r[VL];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(x[i], x[i + 1]));
        __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(x[i], x[i + 1]));
        __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(x[i + 2], x[i + 3]));
        __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(x[i + 2], x[i + 3]));
        r[i] = _mm512_unpacklo_pd(a, c), r[i + 1] = _mm512_unpackhi_pd(a, c);
        r[i + 2] = _mm512_unpacklo_pd(b, d), r[i + 3] = _mm512_unpackhi_pd(b, d);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vf r0 = _mm512_castpd_ps(r[j]), r1 = _mm512_castpd_ps(r[4 + j]);
        vf r2 = _mm512_castpd_ps(r[8 + j]), r3 = _mm512_castpd_ps(r[12 + j]);
        vf a = _mm512_shuffle_f32x4(r0, r1, 0x88), b = _mm512_shuffle_f32x4(r2, r3, 0x88);
        vf c = _mm512_shuffle_f32x4(r0, r1, 0xdd), d = _mm512_shuffle_f32x4(r2, r3, 0xdd);
        x[j] = _mm512_shuffle_f32x4(a, b, 0x88), x[8 + j] = _mm512_shuffle_f32x4(a, b, 0xdd);
        x[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88), x[12 + j] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

OC_INLINE vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
OC_INLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
OC_INLINE vm vi_less(vi a, vi b) { return _mm512_cmplt_epi32_mask(a, b); }
OC_INLINE vm vm_and(vm a, vm b) { return (vm)(a & b); }
OC_INLINE vm vm_not(vm a) { return (vm)~a; }

OC_INLINE vd vd_zero(void) { return _mm512_setzero_pd(); }
OC_INLINE vd vd_low(vf a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
OC_INLINE vd vd_high(vf a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
OC_INLINE vd vd_fma(vd a, vd b, vd c) { return _mm512_fmadd_pd(a, b, c); }
OC_INLINE double vd_sum(vd a) { return _mm512_reduce_add_pd(a); }

#endif
