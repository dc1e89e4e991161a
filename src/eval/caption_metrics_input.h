/* What the readers of result files share: arrays inside of large JSON files, and ids that are numbers or
 * strings. */
#ifndef OC_EVAL_CAPTION_METRICS_INPUT_H
#define OC_EVAL_CAPTION_METRICS_INPUT_H

#include "base/json.h"

enum { OC_INPUT_MAX_BYTES = 1 << 30 }; /* of a file to score */

/* A reader over the records of a text that is a JSON array, JSON lines, or an object with a member `key` that
 * is an array: only one record is in memory at a time, and an object's other members are skipped unread. An
 * object without the member: *found = false; a text that is no object: true, and the reader reads it all. */
oc_status oc_input_records(oc_json_reader *r, bool *found, const char *text, size_t len, const char *key,
                           const char *name, oc_error *err);

/* The next record, which must be an object; NULL at the end. The caller decrefs. */
oc_status oc_input_next(oc_json_reader *r, json_t **record, oc_error *err);

/* An id that is an integer or a non-empty string, as text: 17 and "17" are the same id. False for anything
 * else. */
bool oc_input_id(const json_t *value, char id[256]);

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
