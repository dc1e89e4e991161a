// Sums of columns and of squares, in two steps and one order.
#include "compute/cuda/device.cuh"

template <typename T> __global__ void column_parts(float *part, const T *dy, size_t ld, size_t N, size_t C) {
    const size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= C) return;
    float sum = 0;
    for (size_t n = blockIdx.y; n < N; n += OC_CUDA_PARTS) sum += to_float(dy[n * ld + k]);
    part[(size_t)blockIdx.y * C + k] = sum;
}

__global__ void column_sum(float *db, const float *part, size_t C) {
    OC_EACH(k, C) {
        float sum = 0;
        for (size_t p = 0; p < OC_CUDA_PARTS; p++) sum += part[p * C + k];
        db[k] += sum;
    }
}

// Block b has elements b * THREADS ... of every OC_CUDA_SQUARES * THREADS.
__global__ void squares(double *part, const float *x, size_t n) {
    double sum = 0;
    OC_EACH(i, n) sum += (double)x[i] * (double)x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

void oc_cuda_add_columns(cudaStream_t s, float *db, const void *dy, int ld, int N, int C, float *part, oc_cuda_type t) {
    const size_t n = (size_t)N, c = (size_t)C;
    const dim3 grid((unsigned)((C + THREADS - 1) / THREADS), OC_CUDA_PARTS);
    OC_BY_TYPE(t, OC_LAUNCH(column_parts<T>, grid, THREADS, s, part, (const T *)dy, (size_t)ld, n, c));
    OC_LAUNCH(column_sum, blocks_for(c), THREADS, s, db, part, c);
}

void oc_cuda_sum_squares(cudaStream_t s, double *part, const float *x, size_t n) {
    OC_LAUNCH(squares, OC_CUDA_SQUARES, THREADS, s, part, x, n);
}
