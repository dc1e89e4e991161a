/* cpu/ref: the operation table in plain C. It defines what every other table computes, and is what they are
 * tested against.
 *
 * Each file holds one group of operations, forward and backward side by side. Elements are read and written
 * through oc_ref_get and oc_ref_set, so that one loop serves f32 and bf16; sums run in double where they are
 * long. */
#ifndef OC_COMPUTE_CPU_REF_REF_H
#define OC_COMPUTE_CPU_REF_REF_H

#include "compute/compute.h"

static inline float oc_ref_get(const void *p, size_t i, oc_dtype t) {
    return t == OC_F32 ? ((const float *)p)[i] : oc_bf16_to_f32(((const uint16_t *)p)[i]);
}

static inline void oc_ref_set(void *p, size_t i, oc_dtype t, float v) {
    if (t == OC_F32)
        ((float *)p)[i] = v;
    else
        ((uint16_t *)p)[i] = oc_f32_to_bf16(v);
}

/* The activation and its derivative. */
float oc_ref_act(float x, oc_act act);
float oc_ref_act_grad(float x, oc_act act);

/* What a matrix handle is here: a view of the source; nothing is packed. */
static inline const oc_matrix_desc *oc_ref_matrix(const oc_matrix *w) { return (const oc_matrix_desc *)w; }
float oc_ref_weight(const oc_matrix_desc *w, size_t i); /* element i, as the product sees it */

/* Each puts its group into the table; oc_cpu_ref_fill (cpu.h) calls all. */
void oc_ref_fill_memory(oc_ops *ops);
void oc_ref_fill_linear(oc_ops *ops);
void oc_ref_fill_xent(oc_ops *ops);
void oc_ref_fill_attention(oc_ops *ops);
void oc_ref_fill_norm(oc_ops *ops);
void oc_ref_fill_rope(oc_ops *ops);
void oc_ref_fill_pointwise(oc_ops *ops);
void oc_ref_fill_rows(oc_ops *ops);
void oc_ref_fill_image(oc_ops *ops);
void oc_ref_fill_optimizer(oc_ops *ops);

#endif
