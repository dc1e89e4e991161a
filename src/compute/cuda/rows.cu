// Rows of C channels: embedding, gather, scatter; images: patches, positions, merging.
#include "compute/cuda/device.cuh"

template <typename T, typename S>
__global__ void embedding_fwd(T *y, const int32_t *id, const S *table, size_t N, size_t C) {
    OC_EACH(i, N * C) put(&y[i], to_float(table[(size_t)id[i / C] * C + i % C]));
}

// A block is a row of x. The first of the rows that land on one row of y adds all of them, in ascending n: every sum has one
// writer and one order.
template <typename Y, typename T>
__global__ void add_to_rows(Y *y, const T *x, size_t ldx, const int32_t *row, size_t N, size_t C) {
    const size_t n = blockIdx.x;
    const int32_t to = row[n];
    if (to < 0) return;
    int earlier = 0;
    for (size_t m = threadIdx.x; m < n; m += blockDim.x) earlier |= row[m] == to;
    if (block_sum((float)earlier) > 0) return;
    for (size_t k = threadIdx.x; k < C; k += blockDim.x) {
        float sum = to_float(y[(size_t)to * C + k]);
        for (size_t m = n; m < N; m++)
            if (row[m] == to) sum = rounded<Y>(sum + to_float(x[m * ldx + k]));
        put(&y[(size_t)to * C + k], sum);
    }
}

template <typename T> __global__ void gather_rows(T *y, const T *x, const int32_t *row, size_t N, size_t C) {
    OC_EACH(i, N * C) {
        const int32_t from = row[i / C];
        y[i] = from < 0 ? (T)0 : x[(size_t)from * C + i % C];
    }
}

template <typename T> __global__ void put_rows(T *y, const T *x, size_t ldx, const int32_t *row, size_t N, size_t C) {
    OC_EACH(i, N * C) {
        const int32_t to = row[i / C];
        if (to >= 0) y[(size_t)to * C + i % C] = x[i / C * ldx + i % C];
    }
}

// ---- Images -----------------------------------------------------------------------------------------------------------

// Element i of [I*G*G, 3*P*P]: channel, row, column within the patch.
template <typename T> __global__ void patchify(T *y, const float *pixels, size_t I, size_t S, size_t P) {
    const size_t G = S / P, width = 3 * P * P;
    OC_EACH(i, I * G * G * width) {
        const size_t n = i / width, k = i % width, image = n / (G * G), gy = n / G % G, gx = n % G;
        const size_t channel = k / (P * P), py = k / P % P, px = k % P;
        put(&y[i], pixels[((image * 3 + channel) * S + gy * P + py) * S + gx * P + px]);
    }
}

template <typename T> __global__ void position_add_fwd(T *x, const float *pos, size_t N, size_t P, size_t C) {
    OC_EACH(i, N * C) put(&x[i], to_float(x[i]) + pos[i / C % P * C + i % C]);
}

// The images follow each other in order.
template <typename T> __global__ void position_add_bwd(float *dpos, const T *dx, size_t N, size_t P, size_t C) {
    OC_EACH(i, P * C) {
        float sum = dpos[i];
        for (size_t n = i / C; n < N; n += P) sum += to_float(dx[n * C + i % C]);
        dpos[i] = sum;
    }
}

// Where element i of the merged tensor [I, M*M, s*s*C] lies in [I, G*G, C].
__device__ static inline size_t merged_from(size_t i, size_t G, size_t s, size_t C) {
    const size_t M = G / s, width = s * s * C, n = i / width, k = i % width, image = n / (M * M), gy = n / M % M,
                 gx = n % M;
    return ((image * G + gy * s + k / (s * C)) * G + gx * s) * C + k % (s * C);
}

template <typename T> __global__ void merge_fwd(T *y, const T *x, size_t I, size_t G, size_t s, size_t C) {
    OC_EACH(i, I * (G / s) * (G / s) * s * s * C) y[i] = x[merged_from(i, G, s, C)];
}

template <typename T> __global__ void merge_bwd(T *dx, const T *dy, size_t I, size_t G, size_t s, size_t C) {
    OC_EACH(i, I * (G / s) * (G / s) * s * s * C) dx[merged_from(i, G, s, C)] = dy[i];
}

// ---- Launchers --------------------------------------------------------------------------------------------------------

void oc_cuda_embedding_fwd(cudaStream_t s, void *y, const int32_t *id, const void *table, oc_cuda_type tt, int N, int C,
                           oc_cuda_type t) {
    const size_t n = (size_t)N, c = (size_t)C;
    const unsigned grid = blocks_for(n * c);
    if (tt == OC_CUDA_F32) {
        OC_BY_TYPE(t, OC_LAUNCH((embedding_fwd<T, float>), grid, THREADS, s, (T *)y, id, (const float *)table, n, c));
    } else {
        OC_BY_TYPE(t, OC_LAUNCH((embedding_fwd<T, bf16>), grid, THREADS, s, (T *)y, id, (const bf16 *)table, n, c));
    }
}

void oc_cuda_add_to_rows(cudaStream_t s, void *y, oc_cuda_type ty, const void *x, int ldx, const int32_t *row, int N,
                         int C, oc_cuda_type t) {
    const size_t n = (size_t)N, c = (size_t)C, ld = (size_t)ldx;
    if (N == 0) return;
    if (ty == OC_CUDA_F32) {
        OC_BY_TYPE(
            t, OC_LAUNCH((add_to_rows<float, T>), (unsigned)N, THREADS, s, (float *)y, (const T *)x, ld, row, n, c));
    } else {
        OC_BY_TYPE(t,
                   OC_LAUNCH((add_to_rows<bf16, T>), (unsigned)N, THREADS, s, (bf16 *)y, (const T *)x, ld, row, n, c));
    }
}

void oc_cuda_gather_rows(cudaStream_t s, void *y, const void *x, const int32_t *row, int N, int C, oc_cuda_type t) {
    const size_t n = (size_t)N, c = (size_t)C;
    OC_BY_TYPE(t, OC_LAUNCH(gather_rows<T>, blocks_for(n * c), THREADS, s, (T *)y, (const T *)x, row, n, c));
}

void oc_cuda_put_rows(cudaStream_t s, void *y, const void *x, int ldx, const int32_t *row, int N, int C,
                      oc_cuda_type t) {
    const size_t n = (size_t)N, c = (size_t)C;
    OC_BY_TYPE(t, OC_LAUNCH(put_rows<T>, blocks_for(n * c), THREADS, s, (T *)y, (const T *)x, (size_t)ldx, row, n, c));
}

void oc_cuda_patchify(cudaStream_t s, void *y, const float *pixels, int I, int S, int P, oc_cuda_type t) {
    const size_t images = (size_t)I, size = (size_t)S, patch = (size_t)P;
    OC_BY_TYPE(t, OC_LAUNCH(patchify<T>, blocks_for(images * 3 * size * size), THREADS, s, (T *)y, pixels, images, size,
                            patch));
}

void oc_cuda_position_add_fwd(cudaStream_t s, void *x, const float *pos, int N, int P, int C, oc_cuda_type t) {
    const size_t n = (size_t)N, p = (size_t)P, c = (size_t)C;
    OC_BY_TYPE(t, OC_LAUNCH(position_add_fwd<T>, blocks_for(n * c), THREADS, s, (T *)x, pos, n, p, c));
}

void oc_cuda_position_add_bwd(cudaStream_t s, float *dpos, const void *dx, int N, int P, int C, oc_cuda_type t) {
    const size_t n = (size_t)N, p = (size_t)P, c = (size_t)C;
    OC_BY_TYPE(t, OC_LAUNCH(position_add_bwd<T>, blocks_for(p * c), THREADS, s, dpos, (const T *)dx, n, p, c));
}

void oc_cuda_merge_fwd(cudaStream_t s, void *y, const void *x, int I, int G, int merge, int C, oc_cuda_type t) {
    const size_t i = (size_t)I, g = (size_t)G, m = (size_t)merge, c = (size_t)C;
    OC_BY_TYPE(t, OC_LAUNCH(merge_fwd<T>, blocks_for(i * g * g * c), THREADS, s, (T *)y, (const T *)x, i, g, m, c));
}

void oc_cuda_merge_bwd(cudaStream_t s, void *dx, const void *dy, int I, int G, int merge, int C, oc_cuda_type t) {
    const size_t i = (size_t)I, g = (size_t)G, m = (size_t)merge, c = (size_t)C;
    OC_BY_TYPE(t, OC_LAUNCH(merge_bwd<T>, blocks_for(i * g * g * c), THREADS, s, (T *)dx, (const T *)dy, i, g, m, c));
}
