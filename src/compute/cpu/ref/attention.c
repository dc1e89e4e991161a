/* Attention over one interval of keys per row, from its definition. For query row i of head h, keys j in
 * [lo_i, hi_i):
 *
 *   s_j = scale q_i . k_j      lse_i = logsumexp(s)      p_j = exp(s_j - lse_i)      o_i = sum_j p_j v_j
 *
 * and backward, with D_i = dO_i . o_i (which is sum_j p_j dp_j, the term that the softmax's normalisation
 * adds):
 *
 *   dp_j = dO_i . v_j                ds_j = p_j (dp_j - D_i)
 *   dq_i = scale sum_j ds_j k_j      dk_j = scale sum_i ds_j q_i      dv_j = sum_i p_j dO_i
 *
 * dq is gathered per query and dk, dv per key, so that no two threads write the same element; the scores are
 * computed again for each. Sums are double. */
#include <math.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/ref/ref.h"

enum { MAX_HS = 128 };

static int team(const oc_compute *c, const oc_attention *a) {
    return oc_cpu_team(c, (size_t)a->N * (size_t)a->N * (size_t)(a->NH * a->HS));
}

static double dot(const void *a, size_t ia, const void *b, size_t ib, int n, oc_dtype t) {
    double sum = 0;
    if (t == OC_F32) {
        const float *x = (const float *)a + ia, *y = (const float *)b + ib;
#pragma omp simd reduction(+ : sum)
        for (int d = 0; d < n; d++) sum += (double)x[d] * (double)y[d];
    } else {
        const uint16_t *x = (const uint16_t *)a + ia, *y = (const uint16_t *)b + ib;
#pragma omp simd reduction(+ : sum)
        for (int d = 0; d < n; d++) sum += (double)oc_bf16_to_f32(x[d]) * (double)oc_bf16_to_f32(y[d]);
    }
    return sum;
}

/* sum += f * b */
static void axpy(double *sum, double f, const void *b, size_t ib, int n, oc_dtype t) {
    for (size_t d = 0; d < (size_t)n; d++) sum[d] += f * (double)oc_ref_get(b, ib + d, t);
}

static void store(void *y, size_t iy, const double *sum, double f, int n, oc_dtype t) {
    for (size_t d = 0; d < (size_t)n; d++) oc_ref_set(y, iy + d, t, (float)(sum[d] * f));
}

/* One query vector at q[iq] over `count` key rows starting at k[ik], v[ik], `stride` apart; o at io. Returns
 * lse. */
static double attend(void *o, size_t io, const void *q, size_t iq, const void *k, const void *v, size_t ik, int stride,
                     int count, const oc_attention *a) {
    double largest = -INFINITY, total = 0, sum[MAX_HS] = {0};
    for (size_t j = 0; j < (size_t)count; j++)
        largest = fmax(largest, (double)a->scale * dot(q, iq, k, ik + j * (size_t)stride, a->HS, a->t));
    for (size_t j = 0; j < (size_t)count; j++) {
        size_t at = ik + j * (size_t)stride;
        double p = exp((double)a->scale * dot(q, iq, k, at, a->HS, a->t) - largest);
        total += p;
        axpy(sum, p, v, at, a->HS, a->t);
    }
    store(o, io, sum, count > 0 ? 1.0 / total : 0.0, a->HS, a->t);
    return largest + log(total); /* -inf for an empty interval */
}

static void attention_fwd(oc_compute *c, void *o, float *lse, const void *q, const void *k, const void *v,
                          const oc_attention *a) {
#pragma omp parallel for num_threads(team(c, a)) schedule(dynamic, 4)
    for (int i = 0; i < a->N; i++)
        for (int h = 0; h < a->NH; h++) {
            size_t iq = (size_t)i * (size_t)a->ldq + (size_t)h * (size_t)a->HS;
            size_t io = (size_t)i * (size_t)a->ldo + (size_t)h * (size_t)a->HS;
            size_t ik = (size_t)a->lo[i] * (size_t)a->ldkv + (size_t)(h / (a->NH / a->NKV)) * (size_t)a->HS;
            double l = attend(o, io, q, iq, k, v, ik, a->ldkv, a->hi[i] - a->lo[i], a);
            if (lse) lse[(size_t)i * (size_t)a->NH + (size_t)h] = (float)l;
        }
}

/* ---- Backward ------------------------------------------------------------------------------------------ */

typedef struct inputs {
    const void *dO, *o, *q, *k, *v;
    const float *lse;
    double *D; /* [N, NH], from attention_bwd */
} inputs;

/* p_j and ds_j of query row i, head h, and key row j. */
static void pair_gradient(double *p, double *ds, const inputs *in, const oc_attention *a, int i, int h, int j) {
    size_t iq = (size_t)i * (size_t)a->ldq + (size_t)h * (size_t)a->HS;
    size_t io = (size_t)i * (size_t)a->ldo + (size_t)h * (size_t)a->HS;
    size_t ik = (size_t)j * (size_t)a->ldkv + (size_t)(h / (a->NH / a->NKV)) * (size_t)a->HS;
    double s = (double)a->scale * dot(in->q, iq, in->k, ik, a->HS, a->t);
    size_t row = (size_t)i * (size_t)a->NH + (size_t)h;
    *p = exp(s - (double)in->lse[row]);
    *ds = *p * (dot(in->dO, io, in->v, ik, a->HS, a->t) - in->D[row]);
}

static void grad_q(void *dq, const inputs *in, const oc_attention *a, int i, int h) {
    double sum[MAX_HS] = {0}, p, ds;
    for (int j = a->lo[i]; j < a->hi[i]; j++) {
        pair_gradient(&p, &ds, in, a, i, h, j);
        axpy(sum, ds, in->k, (size_t)j * (size_t)a->ldkv + (size_t)(h / (a->NH / a->NKV)) * (size_t)a->HS, a->HS, a->t);
    }
    store(dq, (size_t)i * (size_t)a->ldq + (size_t)h * (size_t)a->HS, sum, (double)a->scale, a->HS, a->t);
}

/* Key row j of key-value head g: every row whose interval holds j, every query head of the group. */
static void grad_kv(void *dk, void *dv, const inputs *in, const oc_attention *a, int j, int g) {
    double sum_k[MAX_HS] = {0}, sum_v[MAX_HS] = {0}, p, ds;
    int group = a->NH / a->NKV;
    for (int i = 0; i < a->N; i++) {
        if (j < a->lo[i] || j >= a->hi[i]) continue;
        for (int h = g * group; h < (g + 1) * group; h++) {
            pair_gradient(&p, &ds, in, a, i, h, j);
            axpy(sum_k, ds, in->q, (size_t)i * (size_t)a->ldq + (size_t)h * (size_t)a->HS, a->HS, a->t);
            axpy(sum_v, p, in->dO, (size_t)i * (size_t)a->ldo + (size_t)h * (size_t)a->HS, a->HS, a->t);
        }
    }
    size_t at = (size_t)j * (size_t)a->ldkv + (size_t)g * (size_t)a->HS;
    store(dk, at, sum_k, (double)a->scale, a->HS, a->t);
    store(dv, at, sum_v, 1.0, a->HS, a->t);
}

static void attention_bwd(oc_compute *c, void *dq, void *dk, void *dv, const void *dO, const void *o, const float *lse,
                          const void *q, const void *k, const void *v, const oc_attention *a) {
    inputs in = {.dO = dO, .o = o, .q = q, .k = k, .v = v, .lse = lse};
    in.D = oc_compute_scratch(c, -1, (size_t)a->N * (size_t)a->NH * sizeof *in.D);
    for (size_t i = 0; i < (size_t)a->N; i++)
        for (size_t h = 0; h < (size_t)a->NH; h++) {
            size_t at = i * (size_t)a->ldo + h * (size_t)a->HS;
            in.D[i * (size_t)a->NH + h] = dot(dO, at, o, at, a->HS, a->t);
        }
#pragma omp parallel for num_threads(team(c, a)) schedule(dynamic, 4)
    for (int i = 0; i < a->N; i++) {
        for (int h = 0; h < a->NH; h++) grad_q(dq, &in, a, i, h);
        for (int g = 0; g < a->NKV; g++) grad_kv(dk, dv, &in, a, i, g);
    }
}

static void attention_decode(oc_compute *c, void *o, const void *q, const void *kcache, const void *vcache,
                             const int32_t *first, const int32_t *len, int B, const oc_attention *a) {
#pragma omp parallel for num_threads(c->threads)
    for (int b = 0; b < B; b++)
        for (int h = 0; h < a->NH; h++) {
            size_t iq = (size_t)b * (size_t)a->ldq + (size_t)h * (size_t)a->HS;
            size_t io = (size_t)b * (size_t)a->ldo + (size_t)h * (size_t)a->HS;
            size_t ik = (size_t)first[b] * (size_t)(a->NKV * a->HS) + (size_t)(h / (a->NH / a->NKV)) * (size_t)a->HS;
            attend(o, io, q, iq, kcache, vcache, ik, a->NKV * a->HS, len[b], a);
        }
}

void oc_ref_fill_attention(oc_ops *ops) {
    ops->attention_fwd = attention_fwd;
    ops->attention_bwd = attention_bwd;
    ops->attention_decode = attention_decode;
}
