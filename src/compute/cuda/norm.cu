// LayerNorm and RMSNorm (formulas: cpu/ref/norm.c). A block is a row; sums over rows are made in two steps, so that they have
// one order.
#include "compute/cuda/device.cuh"

template <typename T>
__global__ void norm_fwd(bool layer, T *y, float *mean, float *rstd, T *x, const T *add, const float *w, const float *b,
                         size_t C, float eps) {
    const size_t row = (size_t)blockIdx.x * C;
    float sum = 0, square = 0;
    for (size_t k = threadIdx.x; k < C; k += blockDim.x) {
        if (add) put(&x[row + k], to_float(x[row + k]) + to_float(add[row + k]));
        sum += to_float(x[row + k]);
    }
    const float m = layer ? block_sum(sum) / (float)C : 0.0f;
    for (size_t k = threadIdx.x; k < C; k += blockDim.x) {
        const float d = to_float(x[row + k]) - m;
        square += d * d;
    }
    const float r = 1.0f / sqrtf(block_sum(square) / (float)C + eps);
    for (size_t k = threadIdx.x; k < C; k += blockDim.x)
        put(&y[row + k], (to_float(x[row + k]) - m) * r * w[k] + (b ? b[k] : 0.0f));
    if (threadIdx.x > 0) return;
    if (mean) mean[blockIdx.x] = m;
    if (rstd) rstd[blockIdx.x] = r;
}

template <typename T>
__global__ void norm_bwd(bool layer, T *dx, const T *dy, const T *x, const float *mean, const float *rstd,
                         const float *w, size_t C) {
    const size_t row = (size_t)blockIdx.x * C;
    const float m = layer ? mean[blockIdx.x] : 0.0f, r = rstd[blockIdx.x];
    float sum_g = 0, sum_gx = 0;
    for (size_t k = threadIdx.x; k < C; k += blockDim.x) {
        const float g = to_float(dy[row + k]) * w[k];
        sum_g += g;
        sum_gx += g * (to_float(x[row + k]) - m) * r;
    }
    const float mean_g = layer ? block_sum(sum_g) / (float)C : 0.0f, mean_gx = block_sum(sum_gx) / (float)C;
    for (size_t k = threadIdx.x; k < C; k += blockDim.x) {
        const float g = to_float(dy[row + k]) * w[k], xhat = (to_float(x[row + k]) - m) * r;
        put(&dx[row + k], to_float(dx[row + k]) + r * (g - mean_g - xhat * mean_gx));
    }
}

// Rows blockIdx.y, blockIdx.y + OC_CUDA_PARTS, ... of some columns.
template <typename T>
__global__ void norm_bwd_w_parts(bool layer, float *part, const T *dy, const T *x, const float *mean, const float *rstd,
                                 size_t N, size_t C) {
    const size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= C) return;
    float dw = 0, db = 0;
    for (size_t n = blockIdx.y; n < N; n += OC_CUDA_PARTS) {
        const float d = to_float(dy[n * C + k]);
        dw += d * (to_float(x[n * C + k]) - (layer ? mean[n] : 0.0f)) * rstd[n];
        db += d;
    }
    part[(size_t)blockIdx.y * 2 * C + k] = dw;
    part[(size_t)blockIdx.y * 2 * C + C + k] = db;
}

__global__ void norm_bwd_w_sum(float *dw, float *db, const float *part, size_t C) {
    OC_EACH(k, C) {
        float w = 0, b = 0;
        for (size_t p = 0; p < OC_CUDA_PARTS; p++) w += part[p * 2 * C + k], b += part[p * 2 * C + C + k];
        if (dw) dw[k] += w;
        if (db) db[k] += b;
    }
}

// ---- Launchers --------------------------------------------------------------------------------------------------------

void oc_cuda_norm_fwd(cudaStream_t s, bool layer, void *y, float *mean, float *rstd, void *x, const void *add,
                      const float *w, const float *b, int N, int C, float eps, oc_cuda_type t) {
    if (N == 0) return;
    OC_BY_TYPE(t, OC_LAUNCH(norm_fwd<T>, (unsigned)N, THREADS, s, layer, (T *)y, mean, rstd, (T *)x, (const T *)add, w,
                            b, (size_t)C, eps));
}

void oc_cuda_norm_bwd(cudaStream_t s, bool layer, void *dx, const void *dy, const void *x, const float *mean,
                      const float *rstd, const float *w, int N, int C, oc_cuda_type t) {
    if (N == 0) return;
    OC_BY_TYPE(t, OC_LAUNCH(norm_bwd<T>, (unsigned)N, THREADS, s, layer, (T *)dx, (const T *)dy, (const T *)x, mean,
                            rstd, w, (size_t)C));
}

void oc_cuda_norm_bwd_w(cudaStream_t s, bool layer, float *dw, float *db, const void *dy, const void *x,
                        const float *mean, const float *rstd, int N, int C, float *part, oc_cuda_type t) {
    const size_t n = (size_t)N, c = (size_t)C;
    const dim3 grid((unsigned)((C + THREADS - 1) / THREADS), OC_CUDA_PARTS);
    OC_BY_TYPE(t, OC_LAUNCH(norm_bwd_w_parts<T>, grid, THREADS, s, layer, part, (const T *)dy, (const T *)x, mean, rstd,
                            n, c));
    OC_LAUNCH(norm_bwd_w_sum, blocks_for(c), THREADS, s, dw, db, part, c);
}
