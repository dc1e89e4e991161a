/* Flat records, read in place. */
#include <string.h>

#include "base/json.h"

enum { MAX_DIGITS = 18, MAX_RECORD = 64 << 20 };

typedef struct {
    const char *at, *end;
    int lines; /* line ends passed */
} cursor;

/* The next byte that is no white space; 0 at the end. */
static char next(cursor *c) {
    for (; c->at < c->end; c->at++) {
        if (*c->at == '\n')
            c->lines++;
        else if (*c->at != ' ' && *c->at != '\t' && *c->at != '\r')
            return *c->at;
    }
    return 0;
}

static bool take(cursor *c, char wanted) {
    if (next(c) != wanted) return false;
    c->at++;
    return true;
}

/* A string of ASCII without escapes. */
static bool plain_string(cursor *c, const char **text, size_t *len) {
    if (!take(c, '"')) return false;
    const char *p = c->at;
    while (p < c->end && *p >= 0x20 && *p != '"' && *p != '\\') p++; /* signed: also ends at bytes over 0x7f */
    if (p >= c->end || *p != '"') return false;
    *text = c->at;
    *len = (size_t)(p - c->at);
    c->at = p + 1;
    return true;
}

/* A number of digits only, as JSON allows them. */
static bool plain_integer(cursor *c, const char **text, size_t *len) {
    const char *p = c->at;
    while (p < c->end && *p >= '0' && *p <= '9') p++;
    *text = c->at;
    *len = (size_t)(p - c->at);
    if (*len == 0 || *len > MAX_DIGITS || (**text == '0' && *len > 1) || p >= c->end) return false;
    c->at = p;
    const char after = next(c);
    return after == ',' || after == '}';
}

static bool has_key(const oc_json_record *rec, const char *key, size_t len, size_t *i) {
    for (*i = 0; *i < rec->n; ++*i)
        if (rec->field[*i].key_len == len && !memcmp(rec->field[*i].key, key, len)) return true;
    return false;
}

/* The object at c; false where it is not flat, not valid, or not small. */
static bool plain_record(cursor *c, oc_json_record *rec) {
    if (!take(c, '{')) return false;
    do {
        if (rec->n == OC_JSON_FIELDS) return false;
        oc_json_field *f = &rec->field[rec->n];
        size_t i;
        if (!plain_string(c, &f->key, &f->key_len) || !take(c, ':') || has_key(rec, f->key, f->key_len, &i))
            return false;
        f->is_string = next(c) == '"';
        if (!(f->is_string ? plain_string : plain_integer)(c, &f->text, &f->len)) return false;
        rec->n++;
    } while (take(c, ','));
    return take(c, '}');
}

oc_status oc_json_reader_record(oc_json_reader *r, oc_json_record *rec, bool *found, oc_error *err) {
    rec->value = NULL;
    rec->n = 0;
    OC_TRY(oc_json_reader_more(r, found, err));
    if (!*found) return OC_OK;
    cursor c = {r->text + r->pos, r->text + r->pos + OC_MIN(r->len - r->pos, (size_t)MAX_RECORD), 0};
    if (plain_record(&c, rec)) {
        r->pos = (size_t)(c.at - r->text);
        r->line += c.lines;
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
