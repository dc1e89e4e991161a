/* simd/words_f32: the words that attention multiplies are single floats (see attention.h). Inputs of either
 * storage type; bf16 is widened when it is packed. */
#ifndef OC_SIMD_WORDS_H
#define OC_SIMD_WORDS_H

#include <string.h>

#include "compute/cpu/simd/vec.h"

typedef float word;
typedef vf vw;
enum { PAIR = 1 }; /* elements in a word */

OC_INLINE vw w_load(const word *p) { return v_load(p); }
OC_INLINE vw w_spread(const char *p) { /* one word, at any address, to all lanes */
    float x;
    memcpy(&x, p, sizeof x);
    return v_set1(x);
}
OC_INLINE vf w_mac(vf sum, vw a, vw b) { return v_fma(a, b, sum); }

/* Words i .. i+k-1 of a row of elements, in vectors that hold bits only. */
OC_INLINE vf w_row(const void *row, size_t i, size_t k, oc_dtype t) { return v_get(row, i, k, t); }
OC_INLINE void w_store_bits(word *p, vf x) { v_store(p, x); }

/* Rows key, key+1, ... of PAIR vectors, as the words that a product over keys takes. */
OC_INLINE void w_store_keys(word *p, const vf x[PAIR]) { v_store(p, x[0]); }
/* One vector of a row of words that a product over lanes takes; lane: its first. */
OC_INLINE void w_store_lanes(word *row, size_t lane, vf x) { v_store(row + lane, x); }

/* PAIR rows as words: out[j] = (row[0][j], ...), zero from HS to width. */
OC_INLINE void w_join_rows(word *out, const void *const row[PAIR], size_t HS, size_t width, oc_dtype t) {
    V_EACH(i, k, 0, HS, { v_store(out + i, v_get(row[0], i, k, t)); });
    for (size_t i = (HS + VL - 1) / VL * VL; i < width; i += VL) v_store(out + i, v_zero());
}

/* 2^x for x <= 0, relative error 1e-7; may be 0 from 2^-126 on. */
OC_INLINE vf w_exp2(vf x) {
    vf n = v_round(x);
    return v_scale2_down(v_exp2_poly(x - n), n);
}

#endif
