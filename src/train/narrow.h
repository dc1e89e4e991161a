/* Optimizer state in bf16: gradients that the model accumulated as bf16, and moments kept as bf16.
 *
 * A range is worked off in pieces: widened to float32, updated by the same AdamW, narrowed again. Moments are narrowed by
 * stochastic rounding (Gupta et al., arXiv 1502.02551): x becomes one of its two neighbours, each with the probability that
 * makes the expectation x. Rounding to nearest would not do: with beta2 = 0.999 a step changes v by a thousandth at most,
 * bf16 numbers are 1/128 to 1/256 apart, and v would stand still. Which neighbour it is follows from the step, the range and
 * the position alone, so runs repeat bit for bit. */
#ifndef OC_TRAIN_NARROW_H
#define OC_TRAIN_NARROW_H

#include "train/optimizer.h"

/* Elements of a piece; the optimizer's `piece` holds 3 of them in float32. */
enum { OC_NARROW_PIECE = 1 << 18 };

static inline bool oc_range_is_narrow(const oc_range *r) { return r->g16 || r->m16; }

double oc_narrow_sum_squares(oc_optimizer *o, const oc_range *r);
void oc_narrow_adamw(oc_optimizer *o, int range, const oc_adamw *a);

/* x rounded to bf16 by the uniform number `random` (16 bits count). NaN stays NaN, infinities stay. */
static inline uint16_t oc_round_stochastic(float x, uint32_t random) {
    union {
        float f;
        uint32_t u;
    } v = {x};
    if ((v.u & 0x7f800000u) == 0x7f800000u) return oc_f32_to_bf16(x);
    return (uint16_t)((v.u + (random & 0xffffu)) >> 16);
}

#endif
