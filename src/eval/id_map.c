#include "eval/id_map.h"

#include <string.h>

static uint64_t hash_id(const char *s) { /* FNV-1a */
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h ^ h >> 32;
}

/* The slot of id, or the free one where it belongs. n_slots is a power of two and never full. */
static size_t slot_of(const oc_id_map *m, const char *id) {
    size_t h = hash_id(id) & (m->n_slots - 1);
    while (m->slot[h] && strcmp(oc_id_map_name(m, m->slot[h] - 1), id) != 0) h = (h + 1) & (m->n_slots - 1);
    return h;
}

static oc_status grow(oc_id_map *m, oc_error *err) {
    size_t n = m->n_slots ? m->n_slots * 2 : 256;
    uint32_t *slot = oc_calloc(n, sizeof *slot);
    size_t *offset = slot ? oc_realloc(m->offset, m->cap * sizeof *offset, n / 2 * sizeof *offset) : NULL;
    if (!offset) {
        oc_free(slot);
        return oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu ids", n / 2);
    }
    oc_free(m->slot);
    m->slot = slot;
    m->offset = offset;
    m->n_slots = n;
    m->cap = n / 2;
    for (size_t i = 0; i < m->n; i++) m->slot[slot_of(m, oc_id_map_name(m, i))] = (uint32_t)i + 1;
    return OC_OK;
}

oc_status oc_id_map_add(oc_id_map *m, const char *id, size_t *index, oc_error *err) {
    if (oc_id_map_find(m, id, index)) return OC_OK;
    if (m->n == m->cap) OC_TRY(grow(m, err));
    size_t at = m->text.len;
    oc_strbuf_add(&m->text, id, strlen(id) + 1);
    if (m->text.failed) return oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu ids", m->n);
    *index = m->n;
    m->slot[slot_of(m, id)] = (uint32_t)m->n + 1;
    m->offset[m->n++] = at;
    return OC_OK;
}

bool oc_id_map_find(const oc_id_map *m, const char *id, size_t *index) {
    if (m->n == 0) return false;
    size_t h = slot_of(m, id);
    if (!m->slot[h]) return false;
    *index = m->slot[h] - 1;
    return true;
}

const char *oc_id_map_name(const oc_id_map *m, size_t index) { return m->text.data + m->offset[index]; }

void oc_id_map_free(oc_id_map *m) {
    oc_strbuf_free(&m->text);
    oc_free(m->offset);
    oc_free(m->slot);
    *m = (oc_id_map){0};
}
