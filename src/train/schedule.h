/* Learning rate over a stage: a linear warm-up, then a cosine, a line or a constant.
 *
 *   lr(p) = peak * p / warmup                                    p < warmup
 *         = peak * (min + (1 - min) * (1 + cos(pi * q)) / 2)     cosine,  q = (p - warmup) / (1 - warmup)
 *         = peak * (min + (1 - min) * (1 - q))                   linear
 *         = peak                                                 constant
 *
 * p is the part of the stage that lies behind, by steps or by the clock; a schedule therefore holds no state. */
#ifndef OC_TRAIN_SCHEDULE_H
#define OC_TRAIN_SCHEDULE_H

#include <stdint.h>

typedef enum { OC_SCHEDULE_COSINE, OC_SCHEDULE_LINEAR, OC_SCHEDULE_CONSTANT } oc_schedule_kind;

typedef struct oc_schedule {
    oc_schedule_kind kind;
    double warmup;    /* part of the stage, 0..1 */
    double min_ratio; /* the last learning rate over the peak, 0..1 */
} oc_schedule;

float oc_schedule_lr(const oc_schedule *s, double peak, double progress);

/* The progress of step `step` of `total` (from 0): its middle, so that the first step of a warm-up isn't lost to lr 0. */
static inline double oc_schedule_progress(int64_t step, int64_t total) {
    return total > 0 ? ((double)step + 0.5) / (double)total : 0.5;
}

#endif
