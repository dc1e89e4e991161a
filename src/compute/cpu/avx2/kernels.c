/* cpu/avx2: the shared vector kernels (simd/) compiled for AVX2, FMA and F16C. */
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/simd/vec_avx2.h"

#include "compute/cpu/simd/attention_plan.h"
#include "compute/cpu/simd/norm.h"
#include "compute/cpu/simd/optimizer.h"
#include "compute/cpu/simd/pointwise.h"
#include "compute/cpu/simd/rows.h"

void oc_cpu_avx2_fill(oc_ops *ops) {
    fill_pointwise(ops);
    fill_norm(ops);
    fill_rows(ops);
    fill_optimizer(ops);
    ops->attention_fwd = oc_avx2_attention_fwd;
    ops->attention_bwd = oc_avx2_attention_bwd;
    ops->attention_decode = oc_avx2_attention_decode;
}
