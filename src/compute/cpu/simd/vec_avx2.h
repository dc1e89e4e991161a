/* simd/vec_avx2: the vector type of the shared kernels on AVX2 and FMA: 8 floats. See vec_avx512.h and vec.h.
 */
#ifndef OC_SIMD_VEC_AVX2_H
#define OC_SIMD_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m256 vf;
typedef __m256i vi;
typedef __m256d vd;
typedef __m256 vm; /* all bits of a lane set or none */
enum { VL = 8 };

#define OC_INLINE static inline __attribute__((always_inline))

OC_INLINE __m256i v_lanes(size_t k) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)k), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

OC_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
OC_INLINE vf v_set1(float x) { return _mm256_set1_ps(x); }
OC_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
OC_INLINE void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
OC_INLINE vf v_load_part(const float *p, size_t k) { return _mm256_maskload_ps(p, v_lanes(k)); }
OC_INLINE void v_store_part(float *p, vf x, size_t k) { _mm256_maskstore_ps(p, v_lanes(k), x); }

OC_INLINE vf v_from_bf16(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
OC_INLINE __m128i v_to_bf16(vf x) { /* to nearest even; NaN stays NaN */
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    r = _mm256_blendv_epi8(r, _mm256_or_si256(u, _mm256_set1_epi32(0x400000)), nan);
    r = _mm256_srli_epi32(r, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}

OC_INLINE vf v_load_bf16(const uint16_t *p) {
    return v_from_bf16(_mm_loadu_si128((const __m128i *)(const void *)p));
}
OC_INLINE void v_store_bf16(uint16_t *p, vf x) { _mm_storeu_si128((__m128i *)(void *)p, v_to_bf16(x)); }
OC_INLINE vf v_load_bf16_part(const uint16_t *p, size_t k) {
    uint16_t h[VL] = {0};
    for (size_t i = 0; i < k; i++) h[i] = p[i];
    return v_load_bf16(h);
}
OC_INLINE void v_store_bf16_part(uint16_t *p, vf x, size_t k) {
    uint16_t h[VL];
    v_store_bf16(h, x);
    for (size_t i = 0; i < k; i++) p[i] = h[i];
}

OC_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
OC_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
OC_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
OC_INLINE vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
OC_INLINE vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
OC_INLINE vf v_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* a > 0 as m * 2^e, m in [0.75, 1.5). */
OC_INLINE vf v_split(vf a, vf *e) {
    __m256i bits = _mm256_castps_si256(a),
            k = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f400000)), 23);
    *e = _mm256_cvtepi32_ps(k);
    return _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(k, 23)));
}
OC_INLINE vm v_less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
OC_INLINE vf v_select(vm m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, m); }
OC_INLINE vf v_first(vf a, size_t k) { return _mm256_and_ps(a, _mm256_castsi256_ps(v_lanes(k))); }

/* a * 2^n by the exponent field in two halves, so that n from -252 to 254 works; beyond, 0 and infinity. */
OC_INLINE vf v_scale2(vf a, vf n) {
    n = v_max(v_set1(-252.0f), v_min(v_set1(254.0f), n));
    __m256i e = _mm256_cvtps_epi32(n), e1 = _mm256_srai_epi32(e, 1), e2 = _mm256_sub_epi32(e, e1);
    __m256i bias = _mm256_set1_epi32(127);
    vf s1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e1, bias), 23));
    vf s2 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e2, bias), 23));
    return a * s1 * s2;
}
OC_INLINE float v_sum(vf a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
/* The same for n <= 0 in one step: 0 below the normal numbers. */
OC_INLINE vf v_scale2_down(vf a, vf n) {
    __m256i e = _mm256_cvtps_epi32(v_max(v_set1(-127.0f), n));
    return a * _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
}
/* The sums of four vectors: first a b a b in each half, then a b c d, then over the halves. */
OC_INLINE __m128 v_sums(vf a, vf b, vf c, vf d) {
    vf ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    vf cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    vf q = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_add_ps(_mm256_castps256_ps128(q), _mm256_extractf128_ps(q, 1));
}
OC_INLINE float v_highest(vf a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* x[i][j] <-> x[j][i] for VL vectors: pairs, fours, then the two 128-bit halves. */
OC_INLINE void v_transpose(vf x[VL]) {
    vf r[VL];
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(x[i], x[i + 1]));
        __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(x[i], x[i + 1]));
        __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(x[i + 2], x[i + 3]));
        __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(x[i + 2], x[i + 3]));
        r[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c)),
        r[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
        r[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d)),
              r[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        x[j] = _mm256_permute2f128_ps(r[j], r[4 + j], 0x20);
        x[4 + j] = _mm256_permute2f128_ps(r[j], r[4 + j], 0x31);
    }
}

OC_INLINE vi vi_set1(int32_t x) { return _mm256_set1_epi32(x); }
OC_INLINE vi vi_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
OC_INLINE vm vi_less(vi a, vi b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a)); }
OC_INLINE vm vm_and(vm a, vm b) { return _mm256_and_ps(a, b); }
OC_INLINE vm vm_not(vm a) { return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))); }

OC_INLINE vd vd_zero(void) { return _mm256_setzero_pd(); }
OC_INLINE vd vd_low(vf a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
OC_INLINE vd vd_high(vf a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
OC_INLINE vd vd_fma(vd a, vd b, vd c) { return _mm256_fmadd_pd(a, b, c); }
OC_INLINE double vd_sum(vd a) {
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

#endif
