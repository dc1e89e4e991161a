/* Flat records, read in place. */
#include <string.h>

#include "base/json.h"

enum { MAX_DIGITS = 18 };

static bool take(oc_json_reader *r, char wanted) {
    if (oc_json_reader_peek(r) != wanted) return false;
    r->pos++;
    return true;
}

/* Neither a control character nor a part of a longer one. */
static bool is_ascii(char c) { return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80; }

/* A string of ASCII without escapes. */
static bool plain_string(oc_json_reader *r, const char **text, size_t *len) {
    if (!take(r, '"')) return false;
    const char *p = r->text + r->pos, *end = r->text + r->len;
    *text = p;
    while (p < end && is_ascii(*p) && *p != '"' && *p != '\\') p++;
    if (p == end || *p != '"') return false;
    *len = (size_t)(p - *text);
    r->pos += *len + 1;
    return true;
}

/* A number of digits only, as JSON allows them. */
static bool plain_integer(oc_json_reader *r, const char **text, size_t *len) {
    const char *p = r->text + r->pos, *end = r->text + r->len;
    *text = p;
    while (p < end && *p >= '0' && *p <= '9') p++;
    *len = (size_t)(p - *text);
    r->pos += *len;
    if (*len == 0 || *len > MAX_DIGITS || (**text == '0' && *len > 1)) return false;
    const int after = oc_json_reader_peek(r);
    return after == ',' || after == '}';
}

static bool has_key(const oc_json_record *rec, const char *key, size_t len, size_t *i) {
    for (*i = 0; *i < rec->n; ++*i)
        if (rec->field[*i].key_len == len && !memcmp(rec->field[*i].key, key, len)) return true;
    return false;
}

/* The object at r; false where it is not flat, not valid, or not small, with r somewhere within it. */
static bool plain_record(oc_json_reader *r, oc_json_record *rec) {
    if (!take(r, '{')) return false;
    do {
        if (rec->n == OC_JSON_FIELDS) return false;
        oc_json_field *f = &rec->field[rec->n];
        size_t i;
        if (!plain_string(r, &f->key, &f->key_len) || !take(r, ':') || has_key(rec, f->key, f->key_len, &i))
            return false;
        f->is_string = oc_json_reader_peek(r) == '"';
        if (!(f->is_string ? plain_string : plain_integer)(r, &f->text, &f->len)) return false;
        rec->n++;
    } while (take(r, ','));
    return take(r, '}');
}

oc_status oc_json_reader_record(oc_json_reader *r, oc_json_record *rec, bool *found, oc_error *err) {
    rec->value = NULL;
    rec->n = 0;
    OC_TRY(oc_json_reader_more(r, found, err));
    if (!*found) return OC_OK;
    oc_json_reader at = *r;
    at.len = OC_MIN(r->len, r->pos + OC_JSON_ELEMENT);
    if (plain_record(&at, rec)) {
        r->pos = at.pos;
        r->line = at.line;
        r->index++;
        r->at_element = false;
        return OC_OK;
    }
    rec->n = 0;
    return oc_json_reader_object(r, &rec->value, err);
}

void oc_json_record_close(oc_json_record *rec) {
    json_decref(rec->value);
    rec->value = NULL;
    rec->n = 0;
}

const char *oc_json_record_string(const oc_json_record *rec, const char *key, size_t *len) {
    size_t i;
    if (rec->value) {
        const json_t *v = json_object_get(rec->value, key);
        if (!json_is_string(v)) return NULL;
        *len = json_string_length(v);
        return json_string_value(v);
    }
    if (!has_key(rec, key, strlen(key), &i) || !rec->field[i].is_string) return NULL;
    *len = rec->field[i].len;
    return rec->field[i].text;
}

bool oc_json_record_id(const oc_json_record *rec, const char *key, char id[OC_JSON_ID]) {
    if (rec->value) return oc_json_id(json_object_get(rec->value, key), id);
    size_t i;
    if (!has_key(rec, key, strlen(key), &i)) return false;
    const oc_json_field *f = &rec->field[i];
    if (f->len == 0 || f->len >= OC_JSON_ID) return false;
    memcpy(id, f->text, f->len);
    id[f->len] = 0;
    return true;
}
