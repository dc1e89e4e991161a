/* KV cache: keys (after rotation) and values of every layer for a number of independent sequences ("slots"), in memory of the
 * device. k, v: T [slots, layers, max_len, NKV*HS]. Row `position` of a slot belongs to the token at that position. */
#ifndef OC_MODEL_CACHE_H
#define OC_MODEL_CACHE_H

#include "compute/compute.h"
#include "model/config.h"

typedef struct oc_kv_cache {
    int slots, layers, max_len, width;
    oc_dtype t;
    char *k, *v;
    oc_compute *compute; /* not owned */
} oc_kv_cache;

oc_status oc_kv_cache_open(oc_kv_cache *kv, oc_compute *c, const oc_text_config *cfg, int slots, int max_len,
                           oc_dtype t, oc_error *err);
void oc_kv_cache_close(oc_kv_cache *kv);

static inline size_t oc_kv_offset(const oc_kv_cache *kv, int slot, int layer, int position) {
    return (((size_t)slot * (size_t)kv->layers + (size_t)layer) * (size_t)kv->max_len + (size_t)position) *
           (size_t)kv->width * oc_dtype_size(kv->t);
}

/* Where (slot, position) lies, in rows of k and v from those of layer 0 on; the same in every layer from oc_kv_offset(kv, 0,
 * layer, 0) bytes on. */
static inline int32_t oc_kv_row(const oc_kv_cache *kv, int slot, int position) {
    return (int32_t)(((size_t)slot * (size_t)kv->layers) * (size_t)kv->max_len) + position;
}
/* Stores the keys and values of N rows (stride ld elements) of one layer in the rows given (on the device). */
void oc_kv_store(oc_kv_cache *kv, int layer, const void *k, const void *v, int ld, const int32_t *row, int N);
/* Copies positions [from, to) of all layers from one slot to another. */
void oc_kv_copy(oc_kv_cache *kv, int to_slot, int from_slot, int from, int to);

#endif
