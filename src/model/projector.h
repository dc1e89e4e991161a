/* The projector: y = linear_2(gelu(linear_1(merge(x)))), from vision features to decoder embeddings (LLaVA-1.5's MLP,
 * Liu et al., arXiv 2310.03744). merge s puts s x s neighbouring patches side by side first. */
#ifndef OC_MODEL_PROJECTOR_H
#define OC_MODEL_PROJECTOR_H

#include "model/layers.h"

typedef struct oc_projector {
    const oc_config *cfg;
    oc_dtype t;
    oc_linear linear1, linear2;
    int images, rows; /* of the last layout; rows = images * tokens per image */
    oc_pass pass;
    void *merged, *h_pre, *h, *y; /* [rows, s*s*Cv] (NULL for s = 1), [rows, H] x2, [rows, C] */
    void *d_h, *d_merged, *d_x;
} oc_projector;

oc_status oc_projector_open(oc_projector *p, oc_compute *c, const oc_config *cfg, const oc_params *params, oc_dtype t,
                            oc_error *err);
void oc_projector_close(oc_projector *p, oc_compute *c);
void oc_projector_changed(oc_projector *p, oc_compute *c);
/* want_dx: the vision encoder below is trainable. */
void oc_projector_layout(oc_projector *p, oc_arena *a, int images, oc_pass pass, bool want_dx);
/* x T [images * patches, Cv] -> T [rows, C]. x must stay as it is until the backward pass. */
void *oc_projector_fwd(oc_projector *p, oc_compute *c, const void *x);
/* dy T [rows, C] -> gradient of x (T, like x), or NULL when it was not wanted. */
void *oc_projector_bwd(oc_projector *p, oc_compute *c, const void *dy, const void *x);

#endif
