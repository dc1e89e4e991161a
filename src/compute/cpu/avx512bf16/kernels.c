/* cpu/avx512bf16: the shared vector kernels (simd/) compiled for AVX-512 with BF16 (rounding to bf16 is one
 * instruction). */
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/simd/vec_avx512.h"

#include "compute/cpu/simd/attention_plan.h"
#include "compute/cpu/simd/norm.h"
#include "compute/cpu/simd/optimizer.h"
#include "compute/cpu/simd/pointwise.h"
#include "compute/cpu/simd/rows.h"

/* bf16 attention multiplies pairs; f32 attention is that of AVX-512. */
static void attention_fwd(oc_compute *c, void *o, float *lse, const void *q, const void *k, const void *v,
                          const oc_attention *a) {
    if (a->t == OC_BF16)
        oc_avx512bf16_attention_fwd(c, o, lse, q, k, v, a);
    else
        oc_avx512_attention_fwd(c, o, lse, q, k, v, a);
}

static void attention_bwd(oc_compute *c, void *dq, void *dk, void *dv, const void *dO, const void *o, const float *lse,
                          const void *q, const void *k, const void *v, const oc_attention *a) {
    if (a->t == OC_BF16)
        oc_avx512bf16_attention_bwd(c, dq, dk, dv, dO, o, lse, q, k, v, a);
    else
        oc_avx512_attention_bwd(c, dq, dk, dv, dO, o, lse, q, k, v, a);
}

static void attention_decode(oc_compute *c, void *o, const void *q, const void *k, const void *v, const int32_t *first,
                             const int32_t *len, int B, const oc_attention *a) {
    if (a->t == OC_BF16)
        oc_avx512bf16_attention_decode(c, o, q, k, v, first, len, B, a);
    else
        oc_avx512_attention_decode(c, o, q, k, v, first, len, B, a);
}

void oc_cpu_avx512bf16_fill(oc_ops *ops) {
    fill_pointwise(ops);
    fill_norm(ops);
    fill_rows(ops);
    fill_optimizer(ops);
    ops->attention_fwd = attention_fwd;
    ops->attention_bwd = attention_bwd;
    ops->attention_decode = attention_decode;
}
