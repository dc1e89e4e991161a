/* cpu/avx512bf16: attention (simd/attention.h) compiled for AVX-512-BF16: bf16 products, summed in f32. */
#include "compute/cpu/simd/vec_avx512.h"

#include "compute/cpu/simd/words_bf16.h"

#include "compute/cpu/simd/attention.h"

void oc_avx512bf16_attention_fwd(oc_compute *c, void *o, float *lse, const void *q, const void *k, const void *v,
                                 const oc_attention *a) {
    attention_fwd(c, o, lse, q, k, v, a);
}

void oc_avx512bf16_attention_bwd(oc_compute *c, void *dq, void *dk, void *dv, const void *dO, const void *o,
                                 const float *lse, const void *q, const void *k, const void *v, const oc_attention *a) {
    attention_bwd(c, dq, dk, dv, dO, o, lse, q, k, v, a);
}

void oc_avx512bf16_attention_decode(oc_compute *c, void *o, const void *q, const void *k, const void *v,
                                    const int32_t *first, const int32_t *len, int B, const oc_attention *a) {
    attention_decode(c, o, q, k, v, first, len, B, a);
}
