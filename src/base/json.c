#include "base/json.h"

#include <string.h>

#include "base/file.h"

enum { UNKNOWN, ARRAY, LINES, ENDED };

static oc_status fail_json(oc_error *err, const char *name, const json_error_t *e) {
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d:%d: not valid JSON: %s", name, e->line, e->column, e->text);
}

oc_status oc_json_parse(json_t **out, const char *text, size_t len, const char *name, oc_error *err) {
    json_error_t e;
    if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) text += 3, len -= 3; /* byte order mark */
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    return *out ? OC_OK : fail_json(err, name, &e);
}

oc_status oc_json_load(json_t **out, const char *path, size_t max, oc_error *err) {
    char *text;
    size_t len;
    *out = NULL;
    OC_TRY(oc_file_read(&text, &len, path, max, err));
    oc_status st = oc_json_parse(out, text, len, path, err);
    oc_free(text);
    return st;
}

oc_status oc_json_save(const json_t *value, const char *path, oc_error *err) {
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY);
    if (!text) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    oc_strbuf b = {0};
    oc_strbuf_puts(&b, text);
    oc_strbuf_putc(&b, '\n');
    free(text);
    oc_status st = b.failed ? oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path)
                            : oc_file_write_atomic(path, b.data, b.len, err);
    oc_strbuf_free(&b);
    return st;
}

void oc_json_reader_init(oc_json_reader *r, const char *text, size_t len, const char *name) {
    *r = (oc_json_reader){.text = text, .name = name, .len = len, .line = 1};
    if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) r->pos = 3;
}

int oc_json_reader_peek(oc_json_reader *r) {
    for (; r->pos < r->len; r->pos++) {
        const char c = r->text[r->pos];
        if (c == '\n')
            r->line++;
        else if (c != ' ' && c != '\t' && c != '\r')
            return (unsigned char)c;
    }
    return -1;
}

static oc_status fail_at(oc_json_reader *r, const char *what, oc_error *err) {
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: %s", r->name, r->line, r->index, what);
}

/* Consumes what stands between elements, once. Leaves mode == ENDED at the end. */
static oc_status next_element(oc_json_reader *r, oc_error *err) {
    const int c = oc_json_reader_peek(r);
    if (r->mode == UNKNOWN) {
        if (c == '[') {
            r->mode = ARRAY;
            r->pos++;
            if (oc_json_reader_peek(r) == ']') goto closed;
            return OC_OK;
        }
        if (c < 0) return oc_fail(err, OC_ERR_FORMAT, "%s: empty; a JSON array or JSON lines were expected", r->name);
        r->mode = LINES;
    }
    if (r->mode == LINES) {
        if (c < 0) r->mode = ENDED;
        return OC_OK;
    }
    if (r->index == 0) return OC_OK;
    if (c == ',') {
        r->pos++;
        if (oc_json_reader_peek(r) == ']') return fail_at(r, "a comma before the closing ']'", err);
        return OC_OK;
    }
    if (c != ']') return fail_at(r, c >= 0 ? "',' or ']' expected" : "the file ends inside the array", err);
closed:
    r->pos++;
    r->mode = ENDED;
    return oc_json_reader_peek(r) >= 0 && !r->inside ? fail_at(r, "text after the end of the array", err) : OC_OK;
}

oc_status oc_json_reader_more(oc_json_reader *r, bool *more, oc_error *err) {
    oc_status st = OC_OK;
    if (r->mode != ENDED && !r->at_element) st = next_element(r, err);
    r->at_element = st == OC_OK;
    *more = st == OC_OK && r->mode != ENDED;
    return st;
}

oc_status oc_json_reader_next(oc_json_reader *r, json_t **out, oc_error *err) {
    *out = NULL;
    bool more;
    OC_TRY(oc_json_reader_more(r, &more, err));
    if (!more) return OC_OK;
    json_error_t e;
    const size_t rest = r->len - r->pos, size = OC_MIN(rest, (size_t)OC_JSON_ELEMENT);
    json_t *v =
        json_loadb(r->text + r->pos, size, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!v) {
        r->mode = ENDED;
        if (size < rest && json_error_code(&e) == json_error_premature_end_of_input)
            return oc_fail(err, OC_ERR_FORMAT,
                           "%s:%d: element %zu is longer than %d MiB; it is no record of a data set", r->name, r->line,
                           r->index, OC_JSON_ELEMENT >> 20);
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: not valid JSON: %s", r->name, r->line + e.line - 1,
                       r->index, e.text);
    }
    for (size_t i = 0; i < (size_t)e.position; i++) r->line += r->text[r->pos + i] == '\n';
    r->pos += (size_t)e.position;
    r->index++;
    r->at_element = false;
    *out = v;
    return OC_OK;
}

static const char *type_name(const json_t *v) {
    static const char *names[] = {"an object", "an array", "a string", "an integer",
                                  "a number",  "true",     "false",    "null"};
    return names[json_typeof(v)];
}

static const json_t *member(const json_t *obj, const char *key) {
    const json_t *v = json_object_get(obj, key);
    return v && !json_is_null(v) ? v : NULL;
}

oc_status oc_json_get_int(const json_t *obj, const char *key, long lo, long hi, int *out, const char *where,
                          oc_error *err) {
    const json_t *v = member(obj, key);
    if (!v) return OC_OK;
    if (!json_is_integer(v))
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is %s, an integer was expected", where, key, type_name(v));
    json_int_t n = json_integer_value(v);
    if (n < lo || n > hi)
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is %lld, outside of %ld to %ld", where, key, (long long)n, lo,
                       hi);
    *out = (int)n;
    return OC_OK;
}

oc_status oc_json_get_double(const json_t *obj, const char *key, double lo, double hi, double *out, const char *where,
                             oc_error *err) {
    const json_t *v = member(obj, key);
    if (!v) return OC_OK;
    if (!json_is_number(v))
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is %s, a number was expected", where, key, type_name(v));
    double x = json_number_value(v);
    if (!(x >= lo && x <= hi))
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is %g, outside of %g to %g", where, key, x, lo, hi);
    *out = x;
    return OC_OK;
}

oc_status oc_json_get_bool(const json_t *obj, const char *key, bool *out, const char *where, oc_error *err) {
    const json_t *v = member(obj, key);
    if (!v) return OC_OK;
    if (!json_is_boolean(v))
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is %s, true or false was expected", where, key, type_name(v));
    *out = json_is_true(v);
    return OC_OK;
}

oc_status oc_json_get_string(const json_t *obj, const char *key, const char **out, const char *where, oc_error *err) {
    const json_t *v = member(obj, key);
    if (!v) return OC_OK;
    if (!json_is_string(v))
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is %s, a string was expected", where, key, type_name(v));
    *out = json_string_value(v);
    return OC_OK;
}
