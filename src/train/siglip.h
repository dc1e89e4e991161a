/* The heads and the loss of SigLIP (Zhai et al., arXiv 2303.15343), in float32: small matrices, plain loops.
 *
 *   image i: z_i = normalise(W_i mean_p(features_i,p) + b_i)      text j: u_j = normalise(W_t h_j + b_t)
 *   l_ij = exp(s) z_i . u_j + b;  y_ij = 1 if i = j, else -1
 *   loss = -1/B sum_ij log sigmoid(y_ij l_ij),   s = log 10, b = -10 at the start */
#ifndef OC_TRAIN_SIGLIP_H
#define OC_TRAIN_SIGLIP_H

#include <stddef.h>

/* z [B, D] = x [B, C] W [D, C]^T + b, each row then divided by its norm; norm [B] is kept. */
void oc_embed_head_fwd(float *z, float *norm, const float *x, const float *w, const float *b, int B, int C, int D);
/* dx [B, C] overwritten, dw [D, C], db [D] added to. z: of the forward pass; dz [B, D]: its gradient, overwritten. */
void oc_embed_head_bwd(float *dx, float *dw, float *db, float *dz, const float *z, const float *norm, const float *x,
                       const float *w, int B, int C, int D);
/* Loss of B pairs and gradients of z, u (overwritten), scale and bias (added to). matches: rows whose best text is theirs. */
double oc_sigmoid_loss(float *dz, float *du, float *d_scale, float *d_bias, int *matches, const float *z,
                       const float *u, float scale, float bias, int B, int D);

#endif
