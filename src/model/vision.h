/* SigLIP vision encoder (Zhai et al., arXiv 2303.15343; pre-norm ViT, Dosovitskiy et al., 2010.11929).
 *
 *   x = patches W^T + b + positions
 *   per layer:  x = x + out(attention(qkv(norm1(x))));  x = x + fc2(gelu(fc1(norm2(x))))
 *
 * Every patch sees the patches of its own image. The features are the residual stream after the last wanted layer,
 * without post_layernorm. Rows: M = images * patches. */
#ifndef OC_MODEL_VISION_H
#define OC_MODEL_VISION_H

#include "model/layers.h"

typedef struct oc_vision_layer oc_vision_layer;

typedef struct oc_vision {
    const oc_vision_config *cfg;
    const oc_params *params;
    oc_dtype t;
    int layers_used; /* layers up to the feature layer */
    oc_linear patch;
    int position, post_norm; /* parameter rows */
    oc_vision_layer *layer;
    const oc_tap *tap; /* may be NULL */
    /* activations of the last pass */
    int M, images;
    oc_pass pass;
    int recomputed; /* layers [0, recomputed) keep their input alone: layers.h */
    void *patches, *x_out;
    oc_input lo, hi; /* [M] */
    void *pixels;    /* room for them where the device has memory of its own */
    void *d_mlp, *d_qkv, *d_y;
} oc_vision;

oc_status oc_vision_open(oc_vision *v, oc_compute *c, const oc_config *cfg, const oc_params *p, oc_dtype t,
                         oc_error *err);
void oc_vision_close(oc_vision *v, oc_compute *c);
void oc_vision_changed(oc_vision *v, oc_compute *c);

/* Takes this pass's memory from the arenas, the device's and the host's (also when only planning). recomputed: layers whose activations are made again
 * in the backward pass (layers.h). */
void oc_vision_layout(oc_vision *v, const oc_compute *c, oc_arena *a, oc_arena *host, int images, oc_pass pass,
                      int recomputed);
/* pixels [images, 3, S, S] f32 in ordinary memory -> features T [M, hidden], valid until the arena is reset. After oc_vision_layout. */
void *oc_vision_fwd(oc_vision *v, oc_compute *c, const float *pixels);
/* dx T [M, hidden]: gradient of the features; overwritten. Adds the parameters' gradients. */
void oc_vision_bwd(oc_vision *v, oc_compute *c, void *dx);

#endif
