// Attention over one interval of keys per row, forward and backward, and decoding. A warp has one query (or one key) of one
// head and goes along its interval: the plain version, against which one for tensor cores is to be tested. Every sum has one
// writer and one order.
#include "compute/cuda/device.cuh"

enum { PER_LANE = 4 }; // head sizes up to 128

__device__ static inline float warp_sum(float x) {
    for (int d = WARP / 2; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}

// A row's head, lane by lane: element lane + 32 i.
template <typename T> __device__ static inline void load(float x[PER_LANE], const T *row, int HS) {
    for (int i = 0; i < PER_LANE; i++) {
        const int e = (int)(threadIdx.x % WARP) + WARP * i;
        x[i] = e < HS ? to_float(row[e]) : 0.0f;
    }
}

template <typename T> __device__ static inline void store(T *row, const float x[PER_LANE], int HS) {
    for (int i = 0; i < PER_LANE; i++) {
        const int e = (int)(threadIdx.x % WARP) + WARP * i;
        if (e < HS) put(&row[e], x[i]);
    }
}

__device__ static inline float dot(const float a[PER_LANE], const float b[PER_LANE]) {
    float sum = 0;
    for (int i = 0; i < PER_LANE; i++) sum += a[i] * b[i];
    return warp_sum(sum);
}

__device__ static inline void add_scaled(float y[PER_LANE], float f, const float x[PER_LANE]) {
    for (int i = 0; i < PER_LANE; i++) y[i] += f * x[i];
}

__device__ static inline size_t warp_task() { return (size_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; }
static inline unsigned blocks_of_warps(size_t tasks) {
    return (unsigned)((tasks + THREADS / WARP - 1) / (THREADS / WARP));
}

// One query against `len` keys: softmax as it goes (Milakov and Gimelshein, arXiv 1805.02867). Returns logsumexp.
template <typename T>
__device__ static inline float attend(T *o, const T *q, const T *k, const T *v, size_t ld, int len, int HS,
                                      float scale) {
    float x[PER_LANE], y[PER_LANE], sum[PER_LANE] = {0, 0, 0, 0}, most = -INFINITY, total = 0;
    load(x, q, HS);
    for (int j = 0; j < len; j++) {
        load(y, k + (size_t)j * ld, HS);
        const float score = dot(x, y) * scale, next = fmaxf(most, score), keep = expf(most - next),
                    p = expf(score - next);
        load(y, v + (size_t)j * ld, HS);
        for (int i = 0; i < PER_LANE; i++) sum[i] = sum[i] * keep + p * y[i];
        total = total * keep + p;
        most = next;
    }
    for (int i = 0; i < PER_LANE; i++) sum[i] = total > 0 ? sum[i] / total : 0.0f;
    store(o, sum, HS);
    return most + logf(total);
}

template <typename T>
__global__ void attention_fwd(T *o, float *lse, const T *q, const T *k, const T *v, oc_cuda_attention a) {
    const size_t task = warp_task(), NH = (size_t)a.NH, n = task / NH, h = task % NH;
    if (n >= (size_t)a.N) return;
    const size_t head = h * (size_t)a.HS, kv = h / (NH / (size_t)a.NKV) * (size_t)a.HS, ld = (size_t)a.ldkv;
    const size_t first = (size_t)a.lo[n] * ld + kv;
    const float l = attend(o + n * (size_t)a.ldo + head, q + n * (size_t)a.ldq + head, k + first, v + first, ld,
                           a.hi[n] - a.lo[n], a.HS, a.scale);
    if (lse && threadIdx.x % WARP == 0) lse[n * NH + h] = l;
}

template <typename T>
__global__ void attention_decode(T *o, const T *q, const T *k, const T *v, const int32_t *first, const int32_t *len,
                                 int B, oc_cuda_attention a) {
    const size_t task = warp_task(), NH = (size_t)a.NH, b = task / NH, h = task % NH;
    if (b >= (size_t)B) return;
    const size_t head = h * (size_t)a.HS, ld = (size_t)a.NKV * (size_t)a.HS;
    const size_t at = (size_t)first[b] * ld + h / (NH / (size_t)a.NKV) * (size_t)a.HS;
    attend(o + b * (size_t)a.ldo + head, q + b * (size_t)a.ldq + head, k + at, v + at, ld, len[b], a.HS, a.scale);
}

// ---- Backward (Dao, arXiv 2307.08691): p = exp(score - lse), ds = p (dO v - delta), delta = dO o ----------------------------

template <typename T> __global__ void attention_delta(float *delta, const T *dO, const T *o, oc_cuda_attention a) {
    const size_t task = warp_task(), NH = (size_t)a.NH, n = task / NH, h = task % NH;
    if (n >= (size_t)a.N) return;
    const size_t at = n * (size_t)a.ldo + h * (size_t)a.HS;
    float x[PER_LANE], y[PER_LANE];
    load(x, dO + at, a.HS);
    load(y, o + at, a.HS);
    const float d = dot(x, y);
    if (threadIdx.x % WARP == 0) delta[n * NH + h] = d;
}

template <typename T>
__global__ void attention_dq(T *dq, const T *dO, const float *lse, const float *delta, const T *q, const T *k,
                             const T *v, oc_cuda_attention a) {
    const size_t task = warp_task(), NH = (size_t)a.NH, n = task / NH, h = task % NH;
    if (n >= (size_t)a.N) return;
    const size_t head = h * (size_t)a.HS, kv = h / (NH / (size_t)a.NKV) * (size_t)a.HS;
    float x[PER_LANE], g[PER_LANE], y[PER_LANE], z[PER_LANE], sum[PER_LANE] = {0, 0, 0, 0};
    load(x, q + n * (size_t)a.ldq + head, a.HS);
    load(g, dO + n * (size_t)a.ldo + head, a.HS);
    for (int j = a.lo[n]; j < a.hi[n]; j++) {
        load(y, k + (size_t)j * (size_t)a.ldkv + kv, a.HS);
        load(z, v + (size_t)j * (size_t)a.ldkv + kv, a.HS);
        const float p = expf(dot(x, y) * a.scale - lse[n * NH + h]);
        add_scaled(sum, p * (dot(g, z) - delta[n * NH + h]) * a.scale, y);
    }
    store(dq + n * (size_t)a.ldq + head, sum, a.HS);
}

// One key and value of one of the NKV heads: all rows that see it, and all query heads that read it, in order.
template <typename T>
__global__ void attention_dkv(T *dk, T *dv, const T *dO, const float *lse, const float *delta, const T *q, const T *k,
                              const T *v, oc_cuda_attention a) {
    const size_t task = warp_task(), NH = (size_t)a.NH, NKV = (size_t)a.NKV, group = NH / NKV, j = task / NKV,
                 g = task % NKV;
    if (j >= (size_t)a.N) return;
    const size_t at = j * (size_t)a.ldkv + g * (size_t)a.HS;
    float y[PER_LANE], z[PER_LANE], x[PER_LANE], d[PER_LANE], sum_k[PER_LANE] = {0, 0, 0, 0},
                                                              sum_v[PER_LANE] = {0, 0, 0, 0};
    load(y, k + at, a.HS);
    load(z, v + at, a.HS);
    for (size_t n = 0; n < (size_t)a.N; n++) {
        if ((int)j < a.lo[n] || (int)j >= a.hi[n]) continue;
        for (size_t h = g * group; h < (g + 1) * group; h++) {
            load(x, q + n * (size_t)a.ldq + h * (size_t)a.HS, a.HS);
            load(d, dO + n * (size_t)a.ldo + h * (size_t)a.HS, a.HS);
            const float p = expf(dot(x, y) * a.scale - lse[n * NH + h]);
            add_scaled(sum_v, p, d);
            add_scaled(sum_k, p * (dot(d, z) - delta[n * NH + h]) * a.scale, x);
        }
    }
    store(dk + at, sum_k, a.HS);
    store(dv + at, sum_v, a.HS);
}

// ---- Launchers --------------------------------------------------------------------------------------------------------

void oc_cuda_attention_fwd(cudaStream_t s, void *o, float *lse, const void *q, const void *k, const void *v,
                           const oc_cuda_attention *a, oc_cuda_type t) {
    const unsigned grid = blocks_of_warps((size_t)a->N * (size_t)a->NH);
    if (a->N == 0) return;
    OC_BY_TYPE(
        t, OC_LAUNCH(attention_fwd<T>, grid, THREADS, s, (T *)o, lse, (const T *)q, (const T *)k, (const T *)v, *a));
}

void oc_cuda_attention_bwd(cudaStream_t s, void *dq, void *dk, void *dv, const void *dO, const void *o,
                           const float *lse, const void *q, const void *k, const void *v, float *delta,
                           const oc_cuda_attention *a, oc_cuda_type t) {
    const unsigned queries = blocks_of_warps((size_t)a->N * (size_t)a->NH),
                   keys = blocks_of_warps((size_t)a->N * (size_t)a->NKV);
    if (a->N == 0) return;
    OC_BY_TYPE(t, OC_LAUNCH(attention_delta<T>, queries, THREADS, s, delta, (const T *)dO, (const T *)o, *a));
    OC_BY_TYPE(t, OC_LAUNCH(attention_dq<T>, queries, THREADS, s, (T *)dq, (const T *)dO, lse, delta, (const T *)q,
                            (const T *)k, (const T *)v, *a));
    OC_BY_TYPE(t, OC_LAUNCH(attention_dkv<T>, keys, THREADS, s, (T *)dk, (T *)dv, (const T *)dO, lse, delta,
                            (const T *)q, (const T *)k, (const T *)v, *a));
}

void oc_cuda_attention_decode(cudaStream_t s, void *o, const void *q, const void *k, const void *v,
                              const int32_t *first, const int32_t *len, int B, const oc_cuda_attention *a,
                              oc_cuda_type t) {
    if (B == 0) return;
    OC_BY_TYPE(t, OC_LAUNCH(attention_decode<T>, blocks_of_warps((size_t)B * (size_t)a->NH), THREADS, s, (T *)o,
                            (const T *)q, (const T *)k, (const T *)v, first, len, B, *a));
}
