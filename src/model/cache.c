#include "model/cache.h"

#include <string.h>

oc_status oc_kv_cache_open(oc_kv_cache *kv, const oc_text_config *cfg, int slots, int max_len, oc_dtype t,
                           oc_error *err) {
    *kv = (oc_kv_cache){
        .slots = slots, .layers = cfg->layers, .max_len = max_len, .width = cfg->kv_heads * cfg->head_size, .t = t};
    size_t bytes = oc_kv_offset(kv, slots, 0, 0);
    oc_status st = oc_alloc_for(&kv->k, bytes, "the key cache", err);
    if (st == OC_OK) st = oc_alloc_for(&kv->v, bytes, "the value cache", err);
    if (st != OC_OK) oc_kv_cache_close(kv);
    return st;
}

void oc_kv_cache_close(oc_kv_cache *kv) {
    oc_free(kv->k);
    oc_free(kv->v);
    memset(kv, 0, sizeof *kv);
}

void oc_kv_store(oc_kv_cache *kv, int layer, const void *k, const void *v, int ld, const int32_t *slot,
                 const int32_t *position, int N) {
    size_t row = (size_t)kv->width * oc_dtype_size(kv->t), stride = (size_t)ld * oc_dtype_size(kv->t);
    for (int n = 0; n < N; n++) {
        OC_ASSERT(position[n] < kv->max_len);
        size_t at = oc_kv_offset(kv, slot[n], layer, position[n]);
        memcpy(kv->k + at, (const char *)k + (size_t)n * stride, row);
        memcpy(kv->v + at, (const char *)v + (size_t)n * stride, row);
    }
}

void oc_kv_copy(oc_kv_cache *kv, int to_slot, int from_slot, int from, int to) {
    if (to_slot == from_slot || to <= from) return;
    for (int l = 0; l < kv->layers; l++) {
        size_t n = (size_t)(to - from) * (size_t)kv->width * oc_dtype_size(kv->t);
        memcpy(kv->k + oc_kv_offset(kv, to_slot, l, from), kv->k + oc_kv_offset(kv, from_slot, l, from), n);
        memcpy(kv->v + oc_kv_offset(kv, to_slot, l, from), kv->v + oc_kv_offset(kv, from_slot, l, from), n);
    }
}
