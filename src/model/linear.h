/* A linear layer, y = x W^T + b, the only caller of matrix products: freezing, adapters and quantised weights enter
 * here and nowhere else. It may span several neighbouring rows of the parameter table (q, k, v; gate, up). */
#ifndef OC_MODEL_LINEAR_H
#define OC_MODEL_LINEAR_H

#include "model/params.h"

typedef struct oc_linear {
    const oc_params *params;
    oc_matrix *matrix;
    int weight, bias; /* first rows of the parameter table; bias -1: none */
    int rows, cols;   /* [out, in] over all fused tensors */
} oc_linear;

/* weight_name and bias_name (NULL: none) are the first of n_fused neighbouring tensors. */
oc_status oc_linear_open(oc_linear *l, oc_compute *c, const oc_params *p, const char *weight_name,
                         const char *bias_name, int n_fused, oc_dtype t, oc_error *err);
void oc_linear_close(oc_linear *l, oc_compute *c);
void oc_linear_changed(oc_linear *l, oc_compute *c); /* the weights were updated */

/* y [N, rows] = residual + act(x [N, cols] W^T + b); pre (may be NULL) receives the value before act. All T, dense. */
void oc_linear_fwd(oc_compute *c, const oc_linear *l, void *y, const void *x, int N, oc_act act, void *pre,
                   const void *residual);
/* dx (NULL: not wanted) = dy W; weight and bias gradients are added where the part is trainable (x is then read). */
void oc_linear_bwd(oc_compute *c, const oc_linear *l, void *dx, const void *dy, const void *x, int N, oc_dtype t);

#endif
