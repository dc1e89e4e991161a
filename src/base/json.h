/* JSON through jansson, with errors that name file, line and column. */
#ifndef OC_BASE_JSON_H
#define OC_BASE_JSON_H

#include <jansson.h>

#include "base/base.h"

/* Parses a whole text or file (max bytes; nesting is limited by jansson to 2048 levels). *out is owned by the caller
 * (json_decref). `name` stands in messages for the text. Duplicate keys are an error. */
oc_status oc_json_parse(json_t **out, const char *text, size_t len, const char *name, oc_error *err);
oc_status oc_json_load(json_t **out, const char *path, size_t max, oc_error *err);

/* Writes atomically, indented, keys in insertion order. */
oc_status oc_json_save(const json_t *value, const char *path, oc_error *err);

/* Reads the elements of a top-level array, or the values of a JSON-lines text, one after the other: memory holds one
 * element at a time, of at most 64 MiB. The text must stay valid. */
enum { OC_JSON_ELEMENT = 64 << 20 }; /* bytes: what one element may make jansson allocate is bounded by it */
typedef struct oc_json_reader {
    const char *text, *name;
    size_t len, pos;
    size_t index;    /* elements given so far */
    int line;        /* of pos, from 1 */
    int mode;        /* internal */
    bool inside;     /* internal: text may follow the array's end */
    bool at_element; /* internal: pos is at the next element, or at the end */
} oc_json_reader;

void oc_json_reader_init(oc_json_reader *r, const char *text, size_t len, const char *name);
/* *out = the next element (caller decrefs), or NULL at the end. An error names line and element index. */
oc_status oc_json_reader_next(oc_json_reader *r, json_t **out, oc_error *err);

/* An array inside of a large text: r reads the elements of the member `key` of the text's object. The other members are
 * skipped unread (only strings and brackets are looked at). Without that member *found = false. A text that is an array or
 * JSON lines itself: *found = true and r reads all of it. */
oc_status oc_json_reader_member(oc_json_reader *r, bool *found, const char *text, size_t len, const char *key,
                                const char *name, oc_error *err);
/* As oc_json_reader_next, but the element must be an object. */
oc_status oc_json_reader_object(oc_json_reader *r, json_t **out, oc_error *err);
/* Whether another element follows (valid or not), without reading it. */
oc_status oc_json_reader_more(oc_json_reader *r, bool *more, oc_error *err);
/* Goes over white space. The next byte, or -1 at the end. */
int oc_json_reader_peek(oc_json_reader *r);

/* An id that is an integer or a string of 1 to OC_JSON_ID - 1 bytes, as text: 17 and "17" are the same id. A number that
 * is written with a fraction of zero (17.0) is that integer. False for anything else. */
enum { OC_JSON_ID = 256 };
bool oc_json_id(const json_t *value, char id[OC_JSON_ID]);

/* One record of a data set. Most are flat: an object of a few strings and integers is read in place, without building a tree;
 * any other goes through jansson, with the same results and errors. */
enum { OC_JSON_FIELDS = 8 };
typedef struct oc_json_field {
    const char *key, *text; /* in the reader's text, not terminated; digits where it is no string */
    size_t key_len, len;
    bool is_string;
} oc_json_field;
typedef struct oc_json_record {
    json_t *value; /* the object, if it was not read in place */
    oc_json_field field[OC_JSON_FIELDS];
    size_t n;
} oc_json_record;

/* As oc_json_reader_object; *found = false at the end. Close the record (harmless when nothing was found). */
oc_status oc_json_reader_record(oc_json_reader *r, oc_json_record *rec, bool *found, oc_error *err);
void oc_json_record_close(oc_json_record *rec);
/* The bytes of a string member, UTF-8, not terminated, valid until the record is closed; NULL if there is no such member or
 * it is no string. */
const char *oc_json_record_string(const oc_json_record *rec, const char *key, size_t *len);
/* oc_json_id of a member. */
bool oc_json_record_id(const oc_json_record *rec, const char *key, char id[OC_JSON_ID]);

/* Member access for configuration objects. `where` names the file in messages. A key that is absent (or null) leaves
 * *out alone and succeeds; a wrong type or a value outside [lo, hi] fails. */
oc_status oc_json_get_int(const json_t *obj, const char *key, long lo, long hi, int *out, const char *where,
                          oc_error *err);
oc_status oc_json_get_double(const json_t *obj, const char *key, double lo, double hi, double *out, const char *where,
                             oc_error *err);
oc_status oc_json_get_bool(const json_t *obj, const char *key, bool *out, const char *where, oc_error *err);
/* *out points into obj. */
oc_status oc_json_get_string(const json_t *obj, const char *key, const char **out, const char *where, oc_error *err);

#endif
