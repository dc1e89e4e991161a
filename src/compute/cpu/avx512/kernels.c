/* cpu/avx512: the shared vector kernels (simd/) compiled for AVX-512 F, BW, DQ, VL. */
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/simd/vec_avx512.h"

#include "compute/cpu/simd/attention_plan.h"
#include "compute/cpu/simd/norm.h"
#include "compute/cpu/simd/optimizer.h"
#include "compute/cpu/simd/pointwise.h"
#include "compute/cpu/simd/rows.h"

void oc_cpu_avx512_fill(oc_ops *ops) {
    fill_pointwise(ops);
    fill_norm(ops);
    fill_rows(ops);
    fill_optimizer(ops);
    ops->attention_fwd = oc_avx512_attention_fwd;
    ops->attention_bwd = oc_avx512_attention_bwd;
    ops->attention_decode = oc_avx512_attention_decode;
}
