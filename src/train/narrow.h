/* Optimizer state in bf16: gradients that the model accumulated as bf16, moments and weights kept as bf16.
 *
 * A range is worked off in pieces: widened to float32, updated by the same AdamW, narrowed again. Moments and weights
 * are narrowed by stochastic rounding (Gupta et al., arXiv 1502.02551): x becomes one of its two neighbours, each with
 * the probability that makes the expectation x. Rounding to nearest would not do: with beta2 = 0.999 a step changes v by
 * a thousandth at most, bf16 numbers are 1/128 to 1/256 apart, and v would stand still; so would a weight that a step
 * changes by less than half of that (Zamirai et al., arXiv 2010.06192). Which neighbour it is follows from the step, the
 * range and the position alone, so runs repeat bit for bit. */
#ifndef OC_TRAIN_NARROW_H
#define OC_TRAIN_NARROW_H

#include "train/optimizer.h"

/* Elements of a piece; the optimizer's `piece` holds so many of them in float32. */
enum { OC_NARROW_PIECE = 1 << 18, OC_NARROW_PIECES = 4 };

static inline bool oc_range_is_narrow(const oc_range *r) { return r->w16 || r->g16 || r->m16; }

/* Of x [n], or of x16 [n] where that is not NULL. */
double oc_narrow_sum_squares(oc_optimizer *o, const float *x, const uint16_t *x16, size_t n);
void oc_narrow_adamw(oc_optimizer *o, int range, const oc_adamw *a);

#endif
