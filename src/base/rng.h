/* Random numbers that a checkpoint can hold: xoshiro256** (Blackman and Vigna), seeded by splitmix64.
 * oc_rng_at gives an independent stream for (seed, a, b), so that work split over threads or resumed in the middle
 * draws the same numbers: seed by what is being made (epoch, sample index), never by who makes it. */
#ifndef OC_BASE_RNG_H
#define OC_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct oc_rng {
    uint64_t s[4];
} oc_rng;

oc_rng oc_rng_seed(uint64_t seed);
oc_rng oc_rng_at(uint64_t seed, uint64_t a, uint64_t b);
uint64_t oc_rng_u64(oc_rng *r);
uint32_t oc_rng_below(oc_rng *r, uint32_t n);  /* uniform in [0, n), n > 0, unbiased */
int oc_rng_range(oc_rng *r, int lo, int hi);   /* uniform in [lo, hi], both ends included */
double oc_rng_uniform(oc_rng *r);              /* [0, 1) */
double oc_rng_normal(oc_rng *r);               /* mean 0, deviation 1 */
void oc_rng_shuffle_u32(oc_rng *r, uint32_t *a, size_t n);

#endif
