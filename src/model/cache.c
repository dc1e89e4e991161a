#include "model/cache.h"

#include <string.h>

oc_status oc_kv_cache_open(oc_kv_cache *kv, oc_compute *c, const oc_text_config *cfg, int slots, int max_len,
                           oc_dtype t, oc_error *err) {
    *kv = (oc_kv_cache){.slots = slots,
                        .layers = cfg->layers,
                        .max_len = max_len,
                        .width = cfg->kv_heads * cfg->head_size,
                        .t = t,
                        .compute = c};
    const size_t bytes = oc_kv_offset(kv, slots, 0, 0);
    if (bytes > INT32_MAX * (size_t)kv->width * oc_dtype_size(t)) /* oc_kv_row */
        return oc_fail(err, OC_ERR_ARG, "%d sequences of %d tokens do not fit into one cache; ask for fewer at once",
                       slots, max_len);
    oc_status st = oc_compute_alloc_for(c, &kv->k, bytes, "the key cache", err);
    if (st == OC_OK) st = oc_compute_alloc_for(c, &kv->v, bytes, "the value cache", err);
    if (st != OC_OK) oc_kv_cache_close(kv);
    return st;
}

void oc_kv_cache_close(oc_kv_cache *kv) {
    if (kv->k) kv->compute->ops.device_free(kv->compute, kv->k);
    if (kv->v) kv->compute->ops.device_free(kv->compute, kv->v);
    memset(kv, 0, sizeof *kv);
}

void oc_kv_store(oc_kv_cache *kv, int layer, const void *k, const void *v, int ld, const int32_t *row, int N) {
    const oc_ops *ops = &kv->compute->ops;
    const size_t at = oc_kv_offset(kv, 0, layer, 0);
    ops->scatter_rows(kv->compute, kv->k + at, k, ld, row, N, kv->width, false, kv->t);
    ops->scatter_rows(kv->compute, kv->v + at, v, ld, row, N, kv->width, false, kv->t);
}

void oc_kv_copy(oc_kv_cache *kv, int to_slot, int from_slot, int from, int to) {
    const oc_ops *ops = &kv->compute->ops;
    if (to_slot == from_slot || to <= from) return;
    for (int l = 0; l < kv->layers; l++) {
        const size_t n = (size_t)(to - from) * (size_t)kv->width * oc_dtype_size(kv->t);
        const size_t there = oc_kv_offset(kv, to_slot, l, from), here = oc_kv_offset(kv, from_slot, l, from);
        ops->copy(kv->compute, kv->k + there, kv->k + here, n);
        ops->copy(kv->compute, kv->v + there, kv->v + here, n);
    }
}
