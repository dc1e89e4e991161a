/* A patch embedding that begins by whitening the patches of the data: its channels are their principal components, each
 * with the same deviation (Coates and Ng 2012, "Learning feature representations with k-means"; Jordan, arXiv
 * 2404.00498, for networks that train within minutes). In pictures nearly all variance is in colour and slow shading; with
 * random filters a new encoder sees little else and finds edges and shapes late. */
#ifndef OC_TRAIN_WHITEN_H
#define OC_TRAIN_WHITEN_H

#include "data/loader.h"
#include "model/vlm.h"

/* Mean and covariance of the patches seen so far, n = 3 P^2 numbers each. */
typedef struct oc_whitening {
    int n;
    double count, *sum, *cross; /* [n], [n, n] lower triangle */
    float *patch;               /* [n] */
} oc_whitening;

oc_status oc_whitening_open(oc_whitening *w, const oc_vision_config *v, oc_error *err);
void oc_whitening_close(oc_whitening *w);
/* All patches of the batch's images, whose size is that of v. */
void oc_whitening_add(oc_whitening *w, const oc_vision_config *v, const oc_batch *b);
/* Sets weight and bias of m's patch embedding, strongest component first; channels beyond the n components keep their
 * values. At least one patch must have been added, and nothing may be added afterwards. */
oc_status oc_whitening_apply(oc_whitening *w, oc_vlm *m, oc_error *err);

/* The whole: from a few hundred images of `loader`, beginning with its next. */
oc_status oc_whiten_patches(oc_vlm *m, oc_loader *loader, oc_error *err);

/* Eigenvectors and eigenvalues of the symmetric matrix a [n, n], which is overwritten: by Jacobi's rotations. Row k of
 * vector [n, n] belongs to value[k], in descending order. */
oc_status oc_eigen_symmetric(double *a, int n, double *vector, double *value, oc_error *err);

#endif
