/* The launchers of the CUDA kernels: arguments as the operation of the same name has them (compute.h), queued on the stream.
 * C, so that cuda.c needs no C++. */
#ifndef OC_COMPUTE_CUDA_KERNELS_H
#define OC_COMPUTE_CUDA_KERNELS_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { OC_CUDA_F32, OC_CUDA_BF16 } oc_cuda_type; /* of activations */
typedef enum { OC_CUDA_LINEAR, OC_CUDA_GELU_TANH, OC_CUDA_GELU_ERF } oc_cuda_act;

/* element.cu */
void oc_cuda_act_fwd(cudaStream_t s, void *y, const void *x, size_t n, oc_cuda_act act, oc_cuda_type t);
void oc_cuda_act_bwd(cudaStream_t s, void *dx, const void *dy, const void *x, size_t n, oc_cuda_act act,
                     oc_cuda_type t);
void oc_cuda_swiglu_fwd(cudaStream_t s, void *y, const void *gu, int N, int F, oc_cuda_type t);
void oc_cuda_swiglu_bwd(cudaStream_t s, void *dgu, const void *dy, const void *gu, int N, int F, oc_cuda_type t);
void oc_cuda_add(cudaStream_t s, void *y, const void *a, const void *b, size_t n, oc_cuda_type t);
void oc_cuda_convert(cudaStream_t s, void *y, oc_cuda_type ty, const void *x, oc_cuda_type tx, size_t n);
void oc_cuda_rope(cudaStream_t s, void *x, int ldx, const int32_t *position, const float *table, int N, int heads,
                  int HS, int sign, oc_cuda_type t);
/* y = residual + act(x + bias), [N, rows], y, pre_act and residual at stride ld, x (float32) without gaps; pre_act receives
 * x + bias. NULL is left out; residual may be y. */
void oc_cuda_epilogue(cudaStream_t s, void *y, int ld, const float *x, const float *bias, oc_cuda_act act,
                      void *pre_act, const void *residual, int N, int rows, oc_cuda_type t);
void oc_cuda_adamw(cudaStream_t s, float *w, float *m, float *v, const float *g, size_t n, float lr, float beta1,
                   float beta2, float eps, float decay, float grad_scale, float unbias_m, float unbias_v);
void oc_cuda_average(cudaStream_t s, float *avg, const float *w, size_t n, float keep, float add);
void oc_cuda_swap(cudaStream_t s, float *x, float *y, size_t n);
void oc_cuda_add_narrow(cudaStream_t s, uint16_t *y, const float *x, size_t n);
void oc_cuda_round_random(cudaStream_t s, uint16_t *y, const float *x, size_t n, uint64_t key, size_t first);

/* rows.cu */
void oc_cuda_embedding_fwd(cudaStream_t s, void *y, const int32_t *id, const void *table, oc_cuda_type tt, int N, int C,
                           oc_cuda_type t);
/* y[row[n]] (float32 or bf16, C wide) += x[n] in ascending n; rows < 0 skipped. */
void oc_cuda_add_to_rows(cudaStream_t s, void *y, oc_cuda_type ty, const void *x, int ldx, const int32_t *row, int N,
                         int C, oc_cuda_type t);
void oc_cuda_gather_rows(cudaStream_t s, void *y, const void *x, const int32_t *row, int N, int C, oc_cuda_type t);
void oc_cuda_put_rows(cudaStream_t s, void *y, const void *x, int ldx, const int32_t *row, int N, int C,
                      oc_cuda_type t);
void oc_cuda_patchify(cudaStream_t s, void *y, const float *pixels, int I, int S, int P, oc_cuda_type t);
void oc_cuda_position_add_fwd(cudaStream_t s, void *x, const float *pos, int N, int P, int C, oc_cuda_type t);
void oc_cuda_position_add_bwd(cudaStream_t s, float *dpos, const void *dx, int N, int P, int C, oc_cuda_type t);
void oc_cuda_merge_fwd(cudaStream_t s, void *y, const void *x, int I, int G, int merge, int C, oc_cuda_type t);
void oc_cuda_merge_bwd(cudaStream_t s, void *dx, const void *dy, int I, int G, int merge, int C, oc_cuda_type t);

/* norm.cu. layer: LayerNorm, with mean and b; else RMSNorm, where they are NULL. */
void oc_cuda_norm_fwd(cudaStream_t s, bool layer, void *y, float *mean, float *rstd, void *x, const void *add,
                      const float *w, const float *b, int N, int C, float eps, oc_cuda_type t);
void oc_cuda_norm_bwd(cudaStream_t s, bool layer, void *dx, const void *dy, const void *x, const float *mean,
                      const float *rstd, const float *w, int N, int C, oc_cuda_type t);
/* dw[k] += sum_n dy xhat, db[k] += sum_n dy; NULL: not wanted. part: float32 [OC_CUDA_PARTS, 2, C] to work in. */
enum { OC_CUDA_PARTS = 64 };
void oc_cuda_norm_bwd_w(cudaStream_t s, bool layer, float *dw, float *db, const void *dy, const void *x,
                        const float *mean, const float *rstd, int N, int C, float *part, oc_cuda_type t);

/* reduce.cu */
/* db[k] += the sum of column k of dy [N, C] at stride ld. part: float32 [OC_CUDA_PARTS, C]. */
void oc_cuda_add_columns(cudaStream_t s, float *db, const void *dy, int ld, int N, int C, float *part, oc_cuda_type t);
/* part[OC_CUDA_SQUARES] = sums of squares of pieces of x, to be added in order. */
enum { OC_CUDA_SQUARES = 256 };
void oc_cuda_sum_squares(cudaStream_t s, double *part, const float *x, size_t n);

/* xent.cu: logits z float32 [n, V] -> loss, correct (may be NULL), and d T [n, V] = (softmax - onehot) * scale * weight (NULL:
 * not wanted; in float32 it may be z). */
void oc_cuda_xent(cudaStream_t s, float *loss, uint8_t *correct, void *d, const float *z, const int32_t *target,
                  const float *weight, int n, int V, float scale, oc_cuda_type t);

/* attention.cu */
typedef struct oc_cuda_attention {
    int N, NH, NKV, HS, ldq, ldkv, ldo;
    const int32_t *lo, *hi;
    float scale;
} oc_cuda_attention;
void oc_cuda_attention_fwd(cudaStream_t s, void *o, float *lse, const void *q, const void *k, const void *v,
                           const oc_cuda_attention *a, oc_cuda_type t);
/* delta: float32 [N, NH] to work in. */
void oc_cuda_attention_bwd(cudaStream_t s, void *dq, void *dk, void *dv, const void *dO, const void *o,
                           const float *lse, const void *q, const void *k, const void *v, float *delta,
                           const oc_cuda_attention *a, oc_cuda_type t);
void oc_cuda_attention_decode(cudaStream_t s, void *o, const void *q, const void *k, const void *v,
                              const int32_t *first, const int32_t *len, int B, const oc_cuda_attention *a,
                              oc_cuda_type t);

#ifdef __cplusplus
}
#endif

#endif
