#include "base/rng.h"

#include <math.h>

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

oc_rng oc_rng_seed(uint64_t seed) {
    oc_rng r;
    for (int i = 0; i < 4; i++) r.s[i] = splitmix(&seed);
    return r;
}

oc_rng oc_rng_at(uint64_t seed, uint64_t a, uint64_t b) {
    uint64_t x = seed;
    x = splitmix(&x) ^ a;
    x = splitmix(&x) ^ b;
    return oc_rng_seed(splitmix(&x));
}

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

uint64_t oc_rng_u64(oc_rng *r) {
    uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint32_t oc_rng_below(oc_rng *r, uint32_t n) {
    uint32_t limit = (uint32_t)(-n) % n; /* 2^32 mod n: values below it would be too frequent */
    for (;;) {
        uint64_t m = (oc_rng_u64(r) >> 32) * n;
        if ((uint32_t)m >= limit) return (uint32_t)(m >> 32);
    }
}

int oc_rng_range(oc_rng *r, int lo, int hi) { return lo + (int)oc_rng_below(r, (uint32_t)(hi - lo) + 1); }
double oc_rng_uniform(oc_rng *r) { return (double)(oc_rng_u64(r) >> 11) * 0x1p-53; }

double oc_rng_normal(oc_rng *r) { /* Box-Muller, one value a call so that no half-used state is left over */
    double u = 1.0 - oc_rng_uniform(r), v = oc_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void oc_rng_shuffle_u32(oc_rng *r, uint32_t *a, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t j = oc_rng_below(r, (uint32_t)i);
        uint32_t t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
}
