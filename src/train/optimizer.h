/* The optimizer: AdamW over ranges of float32 parameters, or Muon for matrices and AdamW for the rest, with global-norm
 * clipping, an exponential moving average of the weights, and a guard against NaN and Inf.
 *
 * A range is a run of neighbouring parameters that are treated alike; the optimizer knows nothing of models. */
#ifndef OC_TRAIN_OPTIMIZER_H
#define OC_TRAIN_OPTIMIZER_H

#include "compute/compute.h"
#include "model/vlm.h"
#include "train/muon.h"

typedef struct oc_range {
    float *w, *g, *m, *v, *ema; /* [n]; ema NULL: no average */
    uint16_t *w16, *g16, *m16, *v16; /* [n] bf16, in place of w, of g, of m and v; NULL: float32 (narrow.h) */
    size_t n;
    double lr; /* peak learning rate */
    bool decay;
    int rows, cols; /* of one matrix that Muon updates (it has no use for v); 0: AdamW */
} oc_range;

typedef enum { OC_RULE_ADAMW, OC_RULE_MUON } oc_update_rule;

typedef struct oc_optimizer_options {
    oc_update_rule rule;
    double momentum;                              /* Muon's */
    double beta1, beta2, eps, weight_decay, clip; /* clip 0: off */
    double ema; /* decay of the average: ema = d ema + (1 - d) w, with d = min(ema, (1+t)/(10+t)) at step t; 0: off */
} oc_optimizer_options;

typedef struct oc_optimizer {
    oc_compute *compute;
    oc_optimizer_options opt;
    oc_range *range;
    int n_ranges, capacity;
    int64_t step;    /* updates done */
    int64_t skipped; /* steps left out because of NaN or Inf */
    int skipped_in_a_row;
    double last_norm;
    float *piece; /* where narrow ranges are widened; NULL without any */
    oc_muon_team muon;
    oc_muon_matrix *matrix; /* [n_matrices] those that Muon updates */
    int n_matrices;
} oc_optimizer;

oc_status oc_optimizer_add(oc_optimizer *o, const oc_range *r, oc_error *err);
/* All trainable rows of a model, by part, with the learning rates of the parts; ema: per part buffers or NULL. Under
 * OC_RULE_MUON each matrix but embeddings, positions and the vocabulary projection becomes a range of its own, which must
 * have float32 weights, gradients and moments (else OC_ERR_ARG). */
oc_status oc_optimizer_add_model(oc_optimizer *o, const oc_vlm *m, const double lr[OC_PART_COUNT],
                                 float *const ema[OC_PART_COUNT], bool with_unused, oc_error *err);
void oc_optimizer_close(oc_optimizer *o);
/* Is there neither NaN nor Inf among the weights? */
bool oc_optimizer_weights_finite(oc_optimizer *o);

/* One update from the accumulated gradients times `scale` (1 / labels where they are a sum over labels); they are zero
 * afterwards. factor: the schedule's value in (0, 1], times each range's peak. False when the norm or the loss was not
 * finite: nothing was changed then but the gradients. */
bool oc_optimizer_step(oc_optimizer *o, double factor, double loss, double scale);

#endif
