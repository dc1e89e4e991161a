/* KV cache: keys (after rotation) and values of every layer for a number of independent sequences ("slots").
 * k, v: T [slots, layers, max_len, NKV*HS]. Row `position` of a slot belongs to the token at that position. */
#ifndef OC_MODEL_CACHE_H
#define OC_MODEL_CACHE_H

#include "model/config.h"

typedef struct oc_kv_cache {
    int slots, layers, max_len, width;
    oc_dtype t;
    char *k, *v;
} oc_kv_cache;

oc_status oc_kv_cache_open(oc_kv_cache *kv, const oc_text_config *cfg, int slots, int max_len, oc_dtype t,
                           oc_error *err);
void oc_kv_cache_close(oc_kv_cache *kv);

static inline size_t oc_kv_offset(const oc_kv_cache *kv, int slot, int layer, int position) {
    return (((size_t)slot * (size_t)kv->layers + (size_t)layer) * (size_t)kv->max_len + (size_t)position) *
           (size_t)kv->width * oc_dtype_size(kv->t);
}

/* Stores the keys and values of N rows (stride ld elements) of one layer: row n goes to (slot[n], position[n]). */
void oc_kv_store(oc_kv_cache *kv, int layer, const void *k, const void *v, int ld, const int32_t *slot,
                 const int32_t *position, int N);
/* Copies positions [from, to) of all layers from one slot to another. */
void oc_kv_copy(oc_kv_cache *kv, int to_slot, int from_slot, int from, int to);

#endif
