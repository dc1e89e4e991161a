/* simd/attention_plan: how the vector kernels cut attention into work. It depends on the intervals alone,
 * never on the number of threads, so neither do the results.
 *
 *   tile       consecutive query rows that fill the lanes, with the union of their key intervals. A tile ends
 * early where the next row's interval does not touch the union: packed sequences and images start tiles of
 * their own, and nothing between blocks of the mask is ever computed. component  consecutive tiles whose keys
 * no other component has: the gradient of those keys is summed in one place. part       the tiles of a
 * component that one task takes. Components are one part each when there are enough of them; otherwise each
 * is cut into several of about equal cost, whose sums are added in order afterwards. */
#ifndef OC_SIMD_ATTENTION_PLAN_H
#define OC_SIMD_ATTENTION_PLAN_H

#include "compute/compute.h"

typedef struct oc_attention_tile {
    int32_t row, rows;
    int32_t key0, key1; /* union of the rows' intervals; empty: key0 == key1 */
    int32_t all0, all1; /* keys that every row sees (may be empty: all0 >= all1) */
} oc_attention_tile;

typedef struct oc_attention_part {
    int32_t tile0, tile1;
    int32_t key0, key1; /* union of the tiles' keys */
    size_t offset;      /* rows of the parts before it: where its sums start */
} oc_attention_part;

typedef struct oc_attention_component {
    int32_t tile0, tile1;
    int32_t key0, key1;
    int32_t own0, own1; /* rows of dk and dv that it writes; together they cover [0, N) */
    int32_t part0, part1;
} oc_attention_component;

/* Counts, and arrays inside of a block of oc_attention_plan_bytes(N). */
typedef struct oc_attention_plan {
    int32_t tiles, components, parts;
    size_t part_rows;  /* of all parts */
    int32_t most_rows; /* of one part */
    oc_attention_tile *tile;
    oc_attention_component *component;
    oc_attention_part *part;
} oc_attention_plan;

size_t oc_attention_plan_bytes(int N);

/* Tiles of at most `rows` rows. */
void oc_attention_plan_tiles(oc_attention_plan *p, void *memory, const oc_attention *a, int rows);

/* After the tiles: components, and parts so that heads * parts is at least 16 where the tiles allow it. */
void oc_attention_plan_parts(oc_attention_plan *p, const oc_attention *a, int heads);

/* ---- The kernels for each instruction set ----------------------------------------------------- */

#define OC_ATTENTION_KERNELS(isa)                                                                                      \
    void oc_##isa##_attention_fwd(oc_compute *, void *o, float *lse, const void *q, const void *k, const void *v,      \
                                  const oc_attention *a);                                                              \
    void oc_##isa##_attention_bwd(oc_compute *, void *dq, void *dk, void *dv, const void *dO, const void *o,           \
                                  const float *lse, const void *q, const void *k, const void *v,                       \
                                  const oc_attention *a);                                                              \
    void oc_##isa##_attention_decode(oc_compute *, void *o, const void *q, const void *k, const void *v,               \
                                     const int32_t *first, const int32_t *len, int B, const oc_attention *a)

OC_ATTENTION_KERNELS(avx2);
OC_ATTENTION_KERNELS(avx512);
OC_ATTENTION_KERNELS(avx512bf16); /* bf16 only */

#endif
