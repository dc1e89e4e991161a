#include "eval/caption_metrics_input.h"

#include <string.h>

/* 1. Records --------------------------------------------------------------------------------------------- */

/* A position in a JSON text. What is skipped is only looked at for strings and brackets; what is read is
 * parsed. */
typedef struct {
    const char *text, *name;
    size_t len, pos;
    int line;
} cursor;

static oc_status fail_at(const cursor *c, const char *wanted, oc_error *err) {
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: not valid JSON: %s was expected%s", c->name, c->line, wanted,
                   c->pos >= c->len ? ", but the file ends" : "");
}

static int peek(cursor *c) {
    for (; c->pos < c->len; c->pos++) {
        char b = c->text[c->pos];
        if (b == '\n')
            c->line++;
        else if (b != ' ' && b != '\t' && b != '\r')
            return (unsigned char)b;
    }
    return -1;
}

/* Over a string, from its opening quote on. */
static oc_status skip_string(cursor *c, oc_error *err) {
    if (peek(c) != '"') return fail_at(c, "a string", err);
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
        int b = peek(c);
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
    OC_TRY(peek(c) == '"' ? OC_OK : fail_at(c, "a key", err));
    size_t from = c->pos + 1;
    OC_TRY(skip_string(c, err));
    size_t n = c->pos - 1 - from;
    *is_key = n == strlen(key) && !memcmp(c->text + from, key, n);
    if (peek(c) != ':') return fail_at(c, "':'", err);
    c->pos++;
    return OC_OK;
}

/* The first value of a JSON-lines file is an object as well: that is told from an object with the member by
 * what follows its end. */
static bool is_json_lines(cursor c) {
    oc_error ignored;
    return skip_value(&c, &ignored) == OC_OK && peek(&c) == '{';
}

oc_status oc_input_records(oc_json_reader *r, bool *found, const char *text, size_t len, const char *key,
                           const char *name, oc_error *err) {
    oc_json_reader_init(r, text, len, name);
    cursor c = {text, name, len, r->pos, 1};
    *found = true;
    if (peek(&c) != '{' || is_json_lines(c)) return OC_OK;
    *found = false;
    c.pos++;
    if (peek(&c) == '}') return OC_OK;
    for (;;) {
        bool is_key;
        OC_TRY(skip_key(&c, key, &is_key, err));
        int b = peek(&c);
        size_t from = c.pos;
        int line = c.line;
        OC_TRY(skip_value(&c, err));
        if (is_key) {
            if (b != '[')
                return oc_fail(err, OC_ERR_FORMAT, "%s:%d: \"%s\" is not an array", name, line, key);
            oc_json_reader_init(r, text + from, c.pos - from, name);
            r->line = line;
            *found = true;
            return OC_OK;
        }
        b = peek(&c);
        if (b == '}') return OC_OK;
        if (b != ',') return fail_at(&c, "',' or '}'", err);
        c.pos++;
        peek(&c);
    }
}

oc_status oc_input_next(oc_json_reader *r, json_t **record, oc_error *err) {
    OC_TRY(oc_json_reader_next(r, record, err));
    if (!*record || json_is_object(*record)) return OC_OK;
    json_decref(*record);
    *record = NULL;
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu is not an object", r->name, r->line, r->index - 1);
}

bool oc_input_id(const json_t *value, char id[256]) {
    if (json_is_integer(value)) return snprintf(id, 256, "%lld", (long long)json_integer_value(value)) > 0;
    if (!json_is_string(value)) return false;
    size_t n = json_string_length(value);
    if (n == 0 || n > 255) return false;
    memcpy(id, json_string_value(value), n + 1);
    return true;
}

/* 2. Ids ------------------------------------------------------------------------------------------------- */

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
