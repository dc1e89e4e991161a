/* cpu/avx512bf16: the shared vector kernels (simd/) compiled for AVX-512 with BF16 (rounding to bf16 is one instruction). */
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/simd/vec_avx512.h"

#include "compute/cpu/simd/norm.h"
#include "compute/cpu/simd/optimizer.h"
#include "compute/cpu/simd/pointwise.h"
#include "compute/cpu/simd/rows.h"

void oc_cpu_avx512bf16_fill(oc_ops *ops) {
    fill_pointwise(ops);
    fill_norm(ops);
    fill_rows(ops);
    fill_optimizer(ops);
}
