#include "train/narrow.h"

/* A number for each element of each range of each step (the finalizer of MurmurHash3, Appleby 2011). */
static uint32_t random_at(uint64_t key, size_t i) {
    uint64_t z = key ^ (uint64_t)i * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 33) * 0xff51afd7ed558ccdu;
    z = (z ^ z >> 33) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(z >> 32);
}

/* y[i] = bf16(x[i]), i counted from `first` within the range. */
static void narrow(const oc_compute *c, uint16_t *y, const float *x, size_t n, uint64_t key, size_t first) {
#pragma omp parallel for num_threads(c->threads)
    for (size_t i = 0; i < n; i++) y[i] = oc_round_stochastic(x[i], random_at(key, first + i));
}

static const float *widened(oc_optimizer *o, float *piece, const uint16_t *x, size_t n) {
    o->compute->ops.convert(o->compute, piece, OC_F32, x, OC_BF16, n);
    return piece;
}

double oc_narrow_sum_squares(oc_optimizer *o, const oc_range *r) {
    if (!r->g16) return o->compute->ops.sum_squares(o->compute, r->g, r->n);
    double sum = 0;
    for (size_t i = 0; i < r->n; i += OC_NARROW_PIECE) {
        size_t n = OC_MIN((size_t)OC_NARROW_PIECE, r->n - i);
        sum += o->compute->ops.sum_squares(o->compute, widened(o, o->piece, r->g16 + i, n), n);
    }
    return sum;
}

void oc_narrow_adamw(oc_optimizer *o, int range, const oc_adamw *a) {
    const oc_range *r = &o->range[range];
    oc_compute *c = o->compute;
    float *piece[3] = {o->piece, o->piece + OC_NARROW_PIECE, o->piece + 2 * (size_t)OC_NARROW_PIECE};
    const uint64_t key = ((uint64_t)a->step << 32 | (uint64_t)range << 1) * 0xd6e8feb86659fd93u;
    for (size_t i = 0; i < r->n; i += OC_NARROW_PIECE) {
        size_t n = OC_MIN((size_t)OC_NARROW_PIECE, r->n - i);
        const float *g = r->g16 ? widened(o, piece[0], r->g16 + i, n) : r->g + i;
        if (!r->m16) {
            c->ops.adamw(c, r->w + i, r->m + i, r->v + i, g, n, a);
            continue;
        }
        widened(o, piece[1], r->m16 + i, n);
        widened(o, piece[2], r->v16 + i, n);
        c->ops.adamw(c, r->w + i, piece[1], piece[2], g, n, a);
        narrow(c, r->m16 + i, piece[1], n, key, i);
        narrow(c, r->v16 + i, piece[2], n, ~key, i);
    }
}
