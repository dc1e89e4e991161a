#include "train/narrow.h"

/* Keys of moments are keys of steps and ranges; those of weights differ from them by this. */
static const uint64_t WEIGHTS = 0xa0761d6478bd642fu;

static float *widened(oc_optimizer *o, float *piece, const uint16_t *x, size_t n) {
    o->compute->ops.convert(o->compute, piece, OC_F32, x, OC_BF16, n);
    return piece;
}

double oc_narrow_sum_squares(oc_optimizer *o, const float *x, const uint16_t *x16, size_t n) {
    if (!x16) return o->compute->ops.sum_squares(o->compute, x, n);
    double sum = 0;
    for (size_t i = 0; i < n; i += OC_NARROW_PIECE) {
        size_t k = OC_MIN((size_t)OC_NARROW_PIECE, n - i);
        sum += o->compute->ops.sum_squares(o->compute, widened(o, o->piece, x16 + i, k), k);
    }
    return sum;
}

void oc_narrow_adamw(oc_optimizer *o, int range, const oc_adamw *a) {
    const oc_range *r = &o->range[range];
    oc_compute *c = o->compute;
    float *piece[OC_NARROW_PIECES];
    for (size_t k = 0; k < OC_COUNT(piece); k++) piece[k] = o->piece + k * OC_NARROW_PIECE;
    const uint64_t key = ((uint64_t)a->step << 32 | (uint64_t)range << 1) * 0xd6e8feb86659fd93u;
    for (size_t i = 0; i < r->n; i += OC_NARROW_PIECE) {
        const size_t n = OC_MIN((size_t)OC_NARROW_PIECE, r->n - i);
        const float *g = r->g16 ? widened(o, piece[0], r->g16 + i, n) : r->g + i;
        float *m = r->m16 ? widened(o, piece[1], r->m16 + i, n) : r->m + i;
        float *v = r->m16 ? widened(o, piece[2], r->v16 + i, n) : r->v + i;
        float *w = r->w16 ? widened(o, piece[3], r->w16 + i, n) : r->w + i;
        c->ops.adamw(c, w, m, v, g, n, a);
        if (r->m16) {
            c->ops.round_random(c, r->m16 + i, m, n, key, i);
            c->ops.round_random(c, r->v16 + i, v, n, ~key, i);
        }
        if (r->w16) c->ops.round_random(c, r->w16 + i, w, n, key ^ WEIGHTS, i);
    }
}
