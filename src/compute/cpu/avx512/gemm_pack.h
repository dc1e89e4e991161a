/* Loads behind the packing of the AVX-512 products. */
#ifndef OC_COMPUTE_CPU_AVX512_GEMM_PACK_H
#define OC_COMPUTE_CPU_AVX512_GEMM_PACK_H

#include "base/base.h"
#include "compute/cpu/simd/vec_avx512.h"

/* Loops over arrays of registers have to be unrolled entirely; each compiler has its own word for it. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { OC_GEMM_PANEL = 64 }; /* columns of a panel */

/* Lanes 0..n-1 of 16; n may be negative or larger than 16. */
static inline __mmask16 lanes(int n) {
    return (__mmask16)(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u);
}

/* 16 values at element `at`, as f32; lanes outside of the mask are 0 and their memory is not touched. */
static inline __m512 load16(const void *p, size_t at, oc_dtype t, __mmask16 m) {
    if (t == OC_F32) return _mm512_maskz_loadu_ps(m, (const float *)p + at);
    return v_from_bf16(_mm256_maskz_loadu_epi16(m, (const uint16_t *)p + at));
}

#endif
