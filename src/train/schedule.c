#include "train/schedule.h"

#include <math.h>

float oc_schedule_lr(const oc_schedule *s, double peak, double progress) {
    double p = fmin(1.0, fmax(0.0, progress));
    if (p < s->warmup) return (float)(peak * p / s->warmup);
    double q = s->warmup < 1.0 ? (p - s->warmup) / (1.0 - s->warmup) : 1.0, left = 1.0;
    if (s->kind == OC_SCHEDULE_COSINE) left = 0.5 * (1.0 + cos(3.14159265358979323846 * q));
    if (s->kind == OC_SCHEDULE_LINEAR) left = 1.0 - q;
    if (s->kind == OC_SCHEDULE_CONSTANT) return (float)peak;
    return (float)(peak * (s->min_ratio + (1.0 - s->min_ratio) * left));
}
