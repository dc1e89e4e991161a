// Blocks and threads of CUDA on the processor: every thread of a block is a fiber, one block runs after the other. Threads
// change over where CUDA makes them wait: at __syncthreads for the block, at shuffles for the warp. Says nothing of speed, of
// memory that is used too early on a real stream, or of races between barriers that the order of fibers hides.
#ifndef OC_TESTS_CUDA_RUNTIME_H
#define OC_TESTS_CUDA_RUNTIME_H

#include <functional>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cuda_runtime_api.h"

#define __global__ static
#define __device__
#define __shared__ static  // one block runs at a time

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

void oc_emulate(dim3 grid, dim3 block, const std::function<void()> &thread);
#define OC_LAUNCH(kernel, grid, block, stream, ...)                                                                    \
    do {                                                                                                               \
        (void)(stream);                                                                                                \
        oc_emulate(dim3(grid), dim3(block), [=] { kernel(__VA_ARGS__); });                                             \
    } while (0)

void __syncthreads();
// The 8 bytes that the lane `from` of the caller's warp has brought; every lane of the warp must come.
uint64_t oc_emulate_exchange(uint64_t mine, unsigned from);

template <typename T> static inline T __shfl_xor_sync(unsigned, T x, int lanes) {
    uint64_t bits = 0;
    memcpy(&bits, &x, sizeof x);
    bits = oc_emulate_exchange(bits, threadIdx.x % 32 ^ (unsigned)lanes);
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float __uint_as_float(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t __float_as_uint(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

#endif
