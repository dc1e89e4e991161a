// Element by element: activations, SwiGLU, rotation, what follows a product, the optimizer. All bound by memory.
#include "compute/cuda/device.cuh"

__device__ static inline float gelu(float x, oc_cuda_act act) {
    if (act == OC_CUDA_LINEAR) return x;
    if (act == OC_CUDA_GELU_ERF) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}

__device__ static inline float gelu_slope(float x, oc_cuda_act act) {
    if (act == OC_CUDA_LINEAR) return 1.0f;
    if (act == OC_CUDA_GELU_ERF)
        return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * 0.39894228040143268f * expf(-0.5f * x * x);
    const float th = tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x));
    const float inner = 0.79788456080286536f * (1.0f + 3.0f * 0.044715f * x * x);
    return 0.5f * (1.0f + th) + 0.5f * x * (1.0f - th * th) * inner;
}

// ---- Activations ------------------------------------------------------------------------------------------------------

template <typename T> __global__ void act_fwd(T *y, const T *x, size_t n, oc_cuda_act act) {
    OC_EACH(i, n) put(&y[i], gelu(to_float(x[i]), act));
}

template <typename T> __global__ void act_bwd(T *dx, const T *dy, const T *x, size_t n, oc_cuda_act act) {
    OC_EACH(i, n) put(&dx[i], to_float(dy[i]) * gelu_slope(to_float(x[i]), act));
}

template <typename T> __global__ void swiglu_fwd(T *y, const T *gu, size_t N, size_t F) {
    OC_EACH(i, N * F) {
        const size_t at = i / F * 2 * F + i % F;
        const float gate = to_float(gu[at]), up = to_float(gu[at + F]);
        put(&y[i], gate / (1.0f + expf(-gate)) * up);
    }
}

template <typename T> __global__ void swiglu_bwd(T *dgu, const T *dy, const T *gu, size_t N, size_t F) {
    OC_EACH(i, N * F) {
        const size_t at = i / F * 2 * F + i % F;
        const float gate = to_float(gu[at]), up = to_float(gu[at + F]), d = to_float(dy[i]);
        const float s = 1.0f / (1.0f + expf(-gate));
        put(&dgu[at], d * up * s * (1.0f + gate * (1.0f - s)));
        put(&dgu[at + F], d * gate * s);
    }
}

template <typename T> __global__ void add(T *y, const T *a, const T *b, size_t n) {
    OC_EACH(i, n) put(&y[i], to_float(a[i]) + to_float(b[i]));
}

template <typename Y, typename X> __global__ void convert(Y *y, const X *x, size_t n) {
    OC_EACH(i, n) put(&y[i], to_float(x[i]));
}

// Pair j of each head of each row.
template <typename T>
__global__ void rope(T *x, size_t ldx, const int32_t *position, const float *table, size_t N, size_t heads, size_t half,
                     float sign) {
    OC_EACH(i, N * heads * half) {
        const size_t j = i % half, h = i / half % heads, n = i / half / heads, at = n * ldx + h * 2 * half + j;
        const float *turn = table + ((size_t)position[n] * half + j) * 2;
        const float c = turn[0], s = turn[1] * sign, a = to_float(x[at]), b = to_float(x[at + half]);
        put(&x[at], a * c - b * s);
        put(&x[at + half], b * c + a * s);
    }
}

template <typename T>
__global__ void epilogue(T *y, size_t ld, const float *product, const float *bias, oc_cuda_act act, T *pre_act,
                         const T *residual, size_t N, size_t rows) {
    OC_EACH(i, N * rows) {
        const size_t k = i % rows, at = i / rows * ld + k;
        float x = product[i] + (bias ? bias[k] : 0.0f);
        if (pre_act) put(&pre_act[at], x);
        x = gelu(x, act);
        if (residual) x += to_float(residual[at]);
        put(&y[at], x);
    }
}

// ---- Optimizer --------------------------------------------------------------------------------------------------------

__global__ void adamw(float *w, float *m, float *v, const float *g, size_t n, float lr, float beta1, float beta2,
                      float eps, float decay, float scale, float unbias_m, float unbias_v) {
    OC_EACH(i, n) {
        const float grad = g[i] * scale;
        m[i] = beta1 * m[i] + (1.0f - beta1) * grad;
        v[i] = beta2 * v[i] + (1.0f - beta2) * grad * grad;
        const float step = m[i] * unbias_m / (sqrtf(v[i] * unbias_v) + eps);
        w[i] -= lr * (step + decay * w[i]);
    }
}

__global__ void average(float *avg, const float *w, size_t n, float keep, float add) {
    OC_EACH(i, n) avg[i] = keep * avg[i] + add * w[i];
}

__global__ void exchange(float *x, float *y, size_t n) {
    OC_EACH(i, n) {
        const float t = x[i];
        x[i] = y[i];
        y[i] = t;
    }
}

__global__ void add_narrow(bf16 *y, const float *x, size_t n) { OC_EACH(i, n) put(&y[i], to_float(y[i]) + x[i]); }

// As cpu/ref/optimizer.c and oc_round_stochastic, bit for bit.
__global__ void round_random(bf16 *y, const float *x, size_t n, uint64_t key, size_t first) {
    OC_EACH(i, n) {
        uint64_t z = key ^ (uint64_t)(first + i) * 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 33) * 0xff51afd7ed558ccdu;
        z = (z ^ z >> 33) * 0xc4ceb9fe1a85ec53u;
        const uint32_t u = __float_as_uint(x[i]), random = (uint32_t)(z >> 32);
        if ((u & 0x7f800000u) == 0x7f800000u)
            put(&y[i], x[i]);
        else
            y[i] = (bf16)((u + (random & 0xffffu)) >> 16);
    }
}

// ---- Launchers --------------------------------------------------------------------------------------------------------

void oc_cuda_act_fwd(cudaStream_t s, void *y, const void *x, size_t n, oc_cuda_act act, oc_cuda_type t) {
    OC_BY_TYPE(t, OC_LAUNCH(act_fwd<T>, blocks_for(n), THREADS, s, (T *)y, (const T *)x, n, act));
}

void oc_cuda_act_bwd(cudaStream_t s, void *dx, const void *dy, const void *x, size_t n, oc_cuda_act act,
                     oc_cuda_type t) {
    OC_BY_TYPE(t, OC_LAUNCH(act_bwd<T>, blocks_for(n), THREADS, s, (T *)dx, (const T *)dy, (const T *)x, n, act));
}

void oc_cuda_swiglu_fwd(cudaStream_t s, void *y, const void *gu, int N, int F, oc_cuda_type t) {
    const size_t n = (size_t)N, f = (size_t)F;
    OC_BY_TYPE(t, OC_LAUNCH(swiglu_fwd<T>, blocks_for(n * f), THREADS, s, (T *)y, (const T *)gu, n, f));
}

void oc_cuda_swiglu_bwd(cudaStream_t s, void *dgu, const void *dy, const void *gu, int N, int F, oc_cuda_type t) {
    const size_t n = (size_t)N, f = (size_t)F;
    OC_BY_TYPE(t,
               OC_LAUNCH(swiglu_bwd<T>, blocks_for(n * f), THREADS, s, (T *)dgu, (const T *)dy, (const T *)gu, n, f));
}

void oc_cuda_add(cudaStream_t s, void *y, const void *a, const void *b, size_t n, oc_cuda_type t) {
    OC_BY_TYPE(t, OC_LAUNCH(add<T>, blocks_for(n), THREADS, s, (T *)y, (const T *)a, (const T *)b, n));
}

void oc_cuda_convert(cudaStream_t s, void *y, oc_cuda_type ty, const void *x, oc_cuda_type tx, size_t n) {
    const unsigned grid = blocks_for(n);
    if (ty == OC_CUDA_F32) {
        OC_BY_TYPE(tx, OC_LAUNCH((convert<float, T>), grid, THREADS, s, (float *)y, (const T *)x, n));
    } else {
        OC_BY_TYPE(tx, OC_LAUNCH((convert<bf16, T>), grid, THREADS, s, (bf16 *)y, (const T *)x, n));
    }
}

void oc_cuda_rope(cudaStream_t s, void *x, int ldx, const int32_t *position, const float *table, int N, int heads,
                  int HS, int sign, oc_cuda_type t) {
    const size_t n = (size_t)N, h = (size_t)heads, half = (size_t)HS / 2;
    OC_BY_TYPE(t, OC_LAUNCH(rope<T>, blocks_for(n * h * half), THREADS, s, (T *)x, (size_t)ldx, position, table, n, h,
                            half, (float)sign));
}

void oc_cuda_epilogue(cudaStream_t s, void *y, int ld, const float *x, const float *bias, oc_cuda_act act,
                      void *pre_act, const void *residual, int N, int rows, oc_cuda_type t) {
    const size_t n = (size_t)N, r = (size_t)rows;
    OC_BY_TYPE(t, OC_LAUNCH(epilogue<T>, blocks_for(n * r), THREADS, s, (T *)y, (size_t)ld, x, bias, act, (T *)pre_act,
                            (const T *)residual, n, r));
}

void oc_cuda_adamw(cudaStream_t s, float *w, float *m, float *v, const float *g, size_t n, float lr, float beta1,
                   float beta2, float eps, float decay, float grad_scale, float unbias_m, float unbias_v) {
    OC_LAUNCH(adamw, blocks_for(n), THREADS, s, w, m, v, g, n, lr, beta1, beta2, eps, decay, grad_scale, unbias_m,
              unbias_v);
}

void oc_cuda_average(cudaStream_t s, float *avg, const float *w, size_t n, float keep, float add) {
    OC_LAUNCH(average, blocks_for(n), THREADS, s, avg, w, n, keep, add);
}

void oc_cuda_swap(cudaStream_t s, float *x, float *y, size_t n) {
    OC_LAUNCH(exchange, blocks_for(n), THREADS, s, x, y, n);
}

void oc_cuda_add_narrow(cudaStream_t s, uint16_t *y, const float *x, size_t n) {
    OC_LAUNCH(add_narrow, blocks_for(n), THREADS, s, y, x, n);
}

void oc_cuda_round_random(cudaStream_t s, uint16_t *y, const float *x, size_t n, uint64_t key, size_t first) {
    OC_LAUNCH(round_random, blocks_for(n), THREADS, s, y, x, n, key, first);
}
