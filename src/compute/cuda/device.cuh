// What the kernels share: elements of either type, sums over a block, launching. Includable in the emulation too, which
// brings its own cuda_runtime.h (tests/cuda).
#ifndef OC_COMPUTE_CUDA_DEVICE_CUH
#define OC_COMPUTE_CUDA_DEVICE_CUH

#include <cuda_runtime.h>
#include <math.h>

#include "compute/cuda/kernels.h"

#ifndef OC_LAUNCH
#define OC_LAUNCH(kernel, grid, block, stream, ...) kernel<<<(grid), (block), 0, (stream)>>>(__VA_ARGS__)
#endif

enum { WARP = 32, THREADS = 256 };

typedef uint16_t bf16; // its bits: what the other backends keep

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __uint_as_float((uint32_t)x << 16); }

// Rounded to nearest, ties to even; NaN stays NaN.
__device__ inline void put(float *p, float x) { *p = x; }
__device__ inline void put(bf16 *p, float x) {
    const uint32_t u = __float_as_uint(x);
    *p = (u & 0x7fffffffu) > 0x7f800000u ? (bf16)(u >> 16 | 0x40u) : (bf16)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

// x as the type would keep it.
template <typename T> __device__ inline float rounded(float x) {
    T t;
    put(&t, x);
    return to_float(t);
}

// The sum over the block, in every thread, in an order that depends on nothing but the sizes. Ends with all threads together.
template <typename S> __device__ inline S block_sum(S x) {
    __shared__ S part[THREADS / WARP];
    for (int d = WARP / 2; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    S sum = 0;
    for (int i = 0; i < (int)blockDim.x / WARP; i++) sum += part[i];
    __syncthreads();
    return sum;
}

__device__ inline float block_max(float x) {
    __shared__ float part[THREADS / WARP];
    for (int d = WARP / 2; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    float most = part[0];
    for (int i = 1; i < (int)blockDim.x / WARP; i++) most = fmaxf(most, part[i]);
    __syncthreads();
    return most;
}

// Blocks for n elements, each thread taking every so manieth (OC_EACH).
static inline unsigned blocks_for(size_t n) {
    const size_t wanted = (n + THREADS - 1) / THREADS, most = 132 * 16;
    return (unsigned)(wanted < 1 ? 1 : wanted > most ? most : wanted);
}
#define OC_EACH(i, n)                                                                                                  \
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (size_t)gridDim.x * blockDim.x)

// Does `code` with T as the type of t.
#define OC_BY_TYPE(t, code)                                                                                            \
    do {                                                                                                               \
        if ((t) == OC_CUDA_F32) {                                                                                      \
            typedef float T;                                                                                           \
            code;                                                                                                      \
        } else {                                                                                                       \
            typedef bf16 T;                                                                                            \
            code;                                                                                                      \
        }                                                                                                              \
    } while (0)

#endif
