/* Muon's update for matrices: momentum whose singular values are all made one (Jordan et al. 2024,
 * https://kellerjordan.github.io/posts/muon; scaled as by Liu et al., arXiv 2502.16982, so that AdamW's learning rates
 * and weight decay fit). Directions that the gradient hardly shows are learned as fast as the dominant ones. */
#ifndef OC_TRAIN_MUON_H
#define OC_TRAIN_MUON_H

#include "compute/compute.h"

/* Buffers for matrices of up to `values` numbers with a shorter side of up to `side`. One for all, reused. */
typedef struct oc_muon {
    size_t values;
    int side;
    float *x, *y, *square, *poly; /* f32 [values], [values], [side, side], [side, side] */
    /* Operands of products in T, [values], [values], [side, side], [side, side]; NULL where T is float32: the above serve. */
    void *xt, *yt, *square_t, *poly_t;
    oc_dtype t;
} oc_muon;

typedef struct oc_muon_step {
    float lr, momentum, decay, grad_scale;
} oc_muon_step;

/* Who updates matrices side by side: threads that each take whole matrices, since products of a few hundred rows do not fill
 * several threads. Members have a one-threaded compute each; where a matrix is large, or the compute is being
 * profiled, one matrix after the other uses all threads instead. */
typedef struct oc_muon_team {
    oc_compute *all;       /* the caller's */
    oc_compute **compute;  /* [n] */
    oc_muon *buffers;      /* [n], at least one */
    int n;                 /* members; 0: only one matrix after the other */
} oc_muon_team;

typedef struct oc_muon_matrix {
    float *w, *m;
    const float *g;
    int rows, cols;
    oc_muon_step step;
} oc_muon_matrix;

/* For these matrices (of which only the sizes matter here) and a type of products. OC_ERR_NOMEM leaves it closed; later
 * updates of such matrices need no more memory. */
oc_status oc_muon_team_open(oc_muon_team *t, oc_compute *c, const oc_muon_matrix *matrix, int n, oc_dtype type,
                            oc_error *err);
void oc_muon_team_close(oc_muon_team *t);
/* oc_muon_update of each. The result does not depend on the number of members. */
void oc_muon_team_update(oc_muon_team *t, const oc_muon_matrix *matrix, int n);

/* T is the type in which products are computed. OC_ERR_NOMEM leaves it closed. */
oc_status oc_muon_open(oc_muon *s, size_t values, int side, oc_dtype t, oc_error *err);
void oc_muon_close(oc_muon *s);

/* w [rows, cols] -= lr (0.2 sqrt(max(rows, cols)) O + decay w), where O is the orthogonal factor of Nesterov's momentum
 * of g * grad_scale. m [rows, cols]: the momentum, kept between steps. Same result for every number of threads where that
 * is so for the backend's products. */
void oc_muon_update(oc_muon *s, oc_compute *c, float *w, float *m, const float *g, int rows, int cols,
                    const oc_muon_step *o);

/* y [rows, cols] = U S' V^T for x = U S V^T, where S' lies in about [0.7, 1.2]: five steps of the quintic Newton-Schulz
 * iteration. A zero matrix stays zero. x and y may be the same. */
void oc_muon_orthogonalize(oc_muon *s, oc_compute *c, float *y, const float *x, int rows, int cols);

#endif
