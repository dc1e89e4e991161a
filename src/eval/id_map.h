/* Ids of pictures and questions to numbers. */
#ifndef OC_EVAL_ID_MAP_H
#define OC_EVAL_ID_MAP_H

#include "base/base.h"

/* Ids to numbers 0, 1, 2, ... in the order in which they came. */
typedef struct oc_id_map {
    oc_strbuf text;
    size_t *offset; /* [n]: where id i begins in text.data; NUL-terminated */
    uint32_t *slot; /* number + 1; 0 is free */
    size_t n, cap, n_slots;
} oc_id_map;

/* Zero-initialise. *index = the number of id; a new one is added. */
oc_status oc_id_map_add(oc_id_map *m, const char *id, size_t *index, oc_error *err);
bool oc_id_map_find(const oc_id_map *m, const char *id, size_t *index);
const char *oc_id_map_name(const oc_id_map *m, size_t index); /* valid until the next add */
void oc_id_map_free(oc_id_map *m);

#endif
