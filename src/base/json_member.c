/* Arrays inside of large JSON texts, and ids that are numbers or strings. */
#include <math.h>
#include <string.h>

#include "base/json.h"

/* A position in a JSON text: a reader of which only that is used. What is skipped is only looked at for strings and brackets;
 * what is read is parsed. */
typedef oc_json_reader cursor;

static oc_status fail_at(const cursor *c, const char *wanted, oc_error *err) {
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: not valid JSON: %s was expected%s", c->name, c->line, wanted,
                   c->pos >= c->len ? ", but the file ends" : "");
}

/* Over a string, from its opening quote on. */
static oc_status skip_string(cursor *c, oc_error *err) {
    if (oc_json_reader_peek(c) != '"') return fail_at(c, "a string", err);
    for (c->pos++; c->pos < c->len && c->text[c->pos] != '"'; c->pos++)
        if (c->text[c->pos] == '\\') c->pos++;
    if (c->pos >= c->len) return fail_at(c, "the end of a string", err);
    c->pos++;
    return OC_OK;
}

/* Over any value. */
static oc_status skip_value(cursor *c, oc_error *err) {
    size_t depth = 0, from;
    do {
        int b = oc_json_reader_peek(c);
        if (b < 0) return fail_at(c, "a value", err);
        if (b == '"')
            OC_TRY(skip_string(c, err));
        else if (b == '{' || b == '[')
            depth++, c->pos++;
        else if (b == '}' || b == ']') {
            if (depth == 0) return fail_at(c, "a value", err);
            depth--, c->pos++;
        } else if (depth > 0 && (b == ',' || b == ':'))
            c->pos++;
        else {
            for (from = c->pos; c->pos < c->len && !strchr(" \t\r\n,:[]{}\"", c->text[c->pos]);) c->pos++;
            if (c->pos == from) return fail_at(c, "a value", err);
        }
    } while (depth > 0);
    return OC_OK;
}

/* At a key: over it and the colon; *is_key tells whether it is the wanted one. */
static oc_status skip_key(cursor *c, const char *key, bool *is_key, oc_error *err) {
    OC_TRY(oc_json_reader_peek(c) == '"' ? OC_OK : fail_at(c, "a key", err));
    size_t from = c->pos + 1;
    OC_TRY(skip_string(c, err));
    size_t n = c->pos - 1 - from;
    *is_key = n == strlen(key) && !memcmp(c->text + from, key, n);
    if (oc_json_reader_peek(c) != ':') return fail_at(c, "':'", err);
    c->pos++;
    return OC_OK;
}

/* The end of the text's object, where the member was not found. The first value of a JSON-lines text is an object as well: that
 * is told by what follows. */
static void end_of_object(cursor *c, bool *found) {
    c->pos++;
    *found = oc_json_reader_peek(c) == '{';
}

oc_status oc_json_reader_member(oc_json_reader *r, bool *found, const char *text, size_t len, const char *key,
                                const char *name, oc_error *err) {
    oc_json_reader_init(r, text, len, name);
    cursor c = *r;
    *found = true;
    if (oc_json_reader_peek(&c) != '{') return OC_OK;
    *found = false;
    c.pos++;
    if (oc_json_reader_peek(&c) == '}') return end_of_object(&c, found), OC_OK;
    for (;;) {
        bool is_key;
        OC_TRY(skip_key(&c, key, &is_key, err));
        int b = oc_json_reader_peek(&c);
        size_t from = c.pos;
        int line = c.line;
        if (is_key && b == '[') { /* the reader finds the array's end itself */
            oc_json_reader_init(r, text + from, len - from, name);
            r->line = line;
            r->inside = true;
            *found = true;
            return OC_OK;
        }
        if (is_key) return oc_fail(err, OC_ERR_FORMAT, "%s:%d: \"%s\" is not an array", name, line, key);
        OC_TRY(skip_value(&c, err));
        b = oc_json_reader_peek(&c);
        if (b == '}') return end_of_object(&c, found), OC_OK;
        if (b != ',') return fail_at(&c, "',' or '}'", err);
        c.pos++;
        oc_json_reader_peek(&c);
    }
}

oc_status oc_json_reader_object(oc_json_reader *r, json_t **record, oc_error *err) {
    OC_TRY(oc_json_reader_next(r, record, err));
    if (!*record || json_is_object(*record)) return OC_OK;
    json_decref(*record);
    *record = NULL;
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu is not an object", r->name, r->line, r->index - 1);
}

bool oc_json_id(const json_t *value, char id[OC_JSON_ID]) {
    if (json_is_integer(value)) return snprintf(id, OC_JSON_ID, "%lld", (long long)json_integer_value(value)) > 0;
    if (json_is_real(value)) {
        double v = json_real_value(value);
        return v == floor(v) && fabs(v) <= 9007199254740992.0 && snprintf(id, OC_JSON_ID, "%.0f", v) > 0;
    }
    if (!json_is_string(value)) return false;
    size_t n = json_string_length(value);
    if (n == 0 || n >= OC_JSON_ID) return false;
    memcpy(id, json_string_value(value), n + 1);
    return true;
}
