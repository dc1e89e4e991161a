/* The f32 kernel of the blocked product (gemm/blocked.c) on AVX2 and FMA. */
#include <string.h>

#include "compute/cpu/simd/vec_avx2.h"

#include "compute/cpu/gemm/f32.h"

const oc_gemm_kernel oc_avx2_gemm = {
    .name = "avx2",
    .type = OC_F32,
    .unit = 1,
    .panel = PANEL,
    .few = 16,
    .asks = true,
    .in_place = {.rows = 192, .units = 256},
    .packed = {.rows = 192, .units = 256},
    .shared_bytes = 1 << 20,
    .tile = tile,
    .pack = pack,
    .finish = finish,
    .dots = dots,
    .softmax = {softmax_piece, softmax_scale},
};
