/* LLaVA conversation JSON or JSON lines, also in the forms of LLaMA-Factory ("messages", "images", "role", "content").
 *
 *   {"id": ..., "image": "a.jpg" | ["a.jpg", ...], "conversations": [{"from": "human"|"gpt"|"system", "value": "..."}]}
 *
 * Rules: leading assistant turns are dropped; then human and assistant alternate and an assistant ends. The number of
 * "<image>" in human turns equals the number of pictures. A human turn with one "<image>" that is not at its start
 * becomes "<image>\n" and the rest, trimmed (LLaVA's rule); several stay where they are. Without pictures, and in the
 * other turns, "<image>" is plain text. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/dataset_internal.h"

enum { MAX_IMAGES = 256, MAX_TURNS = 4096 };

typedef struct record_context {
    oc_dataset *d;
    const char *file;
    size_t index;
    int line;
    oc_error *err;
} record_context;

static oc_status reject(const record_context *c, const char *what) {
    return oc_fail(c->err, OC_ERR_FORMAT, "%s:%d: record %zu: %s", c->file, c->line, c->index, what);
}

static const char NO_ANSWER[] = "no human turn with an answer";

static const json_t *either(const json_t *o, const char *a, const char *b) {
    const json_t *v = json_object_get(o, a);
    return v && !json_is_null(v) ? v : json_object_get(o, b);
}

/* ---- Pictures ------------------------------------------------------------------------------------------------------ */

static oc_status add_image(const record_context *c, const json_t *v) {
    if (!json_is_string(v)) return reject(c, "\"image\" must be a file name or a list of them");
    const char *name = json_string_value(v);
    if (strlen(name) != json_string_length(v) || !oc_path_is_contained(name))
        return reject(c, "the picture's name leaves the picture folder");
    return oc_dataset_add_image(c->d, name, c->err);
}

static oc_status read_images(const record_context *c, const json_t *o, int *count) {
    const json_t *v = either(o, "image", "images"), *item;
    size_t i;
    *count = 0;
    if (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v))) return OC_OK;
    if (!json_is_array(v)) {
        *count = 1;
        return add_image(c, v);
    }
    if (json_array_size(v) > MAX_IMAGES) return reject(c, "more than 256 pictures");
    json_array_foreach((json_t *)(uintptr_t)v, i, item) OC_TRY(add_image(c, item));
    *count = (int)json_array_size(v);
    return OC_OK;
}

/* ---- Turns --------------------------------------------------------------------------------------------------------- */

typedef enum { ROLE_HUMAN, ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_UNKNOWN } role;

static role role_of(const char *s) {
    static const struct {
        const char *name;
        role r;
    } roles[] = {{"human", ROLE_HUMAN},
                 {"user", ROLE_HUMAN},
                 {"gpt", ROLE_ASSISTANT},
                 {"assistant", ROLE_ASSISTANT},
                 {"system", ROLE_SYSTEM}};
    for (size_t i = 0; s && i < OC_COUNT(roles); i++)
        if (!strcmp(s, roles[i].name)) return roles[i].r;
    return ROLE_UNKNOWN;
}

static int count_placeholders(const char *s) {
    int n = 0;
    for (; (s = strstr(s, OC_IMAGE_PLACEHOLDER)); s += strlen(OC_IMAGE_PLACEHOLDER)) n++;
    return n;
}

static const char SPACE[] = " \t\r\n";

/* Adds a human turn by LLaVA's rule. */
static oc_status add_human(const record_context *c, const char *text, bool has_images, bool prepend) {
    oc_strbuf b = {0};
    int placeholders = has_images ? count_placeholders(text) : 0;
    if (prepend) oc_strbuf_puts(&b, OC_IMAGE_PLACEHOLDER "\n");
    if (placeholders == 1 && strncmp(text, OC_IMAGE_PLACEHOLDER, strlen(OC_IMAGE_PLACEHOLDER))) {
        const char *at = strstr(text, OC_IMAGE_PLACEHOLDER), *after = at + strlen(OC_IMAGE_PLACEHOLDER);
        oc_strbuf rest = {0};
        oc_strbuf_add(&rest, text, (size_t)(at - text));
        oc_strbuf_puts(&rest, after);
        if (rest.failed || strstr(rest.data, OC_IMAGE_PLACEHOLDER)) {
            oc_status st = rest.failed ? oc_fail(c->err, OC_ERR_NOMEM, "out of memory")
                                       : reject(c, "an \"<image>\" within an \"<image>\"");
            oc_strbuf_free(&rest);
            return st;
        }
        const char *begin = rest.data + strspn(rest.data, SPACE);
        size_t len = strlen(begin);
        while (len && strchr(SPACE, begin[len - 1])) len--;
        oc_strbuf_puts(&b, OC_IMAGE_PLACEHOLDER "\n");
        oc_strbuf_add(&b, begin, len);
        oc_strbuf_free(&rest);
    } else oc_strbuf_puts(&b, text);
    if (c->d->opt.prompt_suffix && (placeholders || prepend)) oc_strbuf_puts(&b, c->d->opt.prompt_suffix);
    oc_strbuf_puts(&b, "");
    oc_status st = b.failed ? oc_fail(c->err, OC_ERR_NOMEM, "out of memory")
                            : oc_dataset_add_turn(c->d, false, b.data, b.len, c->err);
    oc_strbuf_free(&b);
    return st;
}

static oc_status turn_parts(const record_context *c, const json_t *turn, role *r, const char **text) {
    if (!json_is_object(turn)) return reject(c, "a turn is not an object");
    *r = role_of(json_string_value(either(turn, "from", "role")));
    const json_t *value = either(turn, "value", "content");
    if (*r == ROLE_UNKNOWN) return reject(c, "a turn's \"from\" is none of human, gpt, system");
    if (!json_is_string(value)) return reject(c, "a turn has no text (\"value\" must be a string)");
    *text = json_string_value(value);
    if (strlen(*text) != json_string_length(value)) return reject(c, "a turn's text holds a NUL character");
    return OC_OK;
}

/* How many "<image>" the human turns hold. */
static oc_status count_all(const record_context *c, const json_t *turns, int *count) {
    size_t i;
    const json_t *turn;
    *count = 0;
    json_array_foreach((json_t *)(uintptr_t)turns, i, turn) {
        role r;
        const char *text;
        OC_TRY(turn_parts(c, turn, &r, &text));
        if (r == ROLE_HUMAN) *count += count_placeholders(text);
    }
    return OC_OK;
}

static oc_status read_turns(const record_context *c, const json_t *turns, int n_images, bool prepend) {
    size_t i;
    const json_t *turn;
    bool human_next = true;
    int pairs = 0;
    json_array_foreach((json_t *)(uintptr_t)turns, i, turn) {
        role r;
        const char *text;
        OC_TRY(turn_parts(c, turn, &r, &text));
        if (r == ROLE_SYSTEM) {
            if (i != 0) return reject(c, "a system turn that is not the first");
            dataset_record *rec = &c->d->record[c->d->n_records - 1];
            rec->system = oc_dataset_store(c->d, text, strlen(text));
            if (!rec->system) return oc_fail(c->err, OC_ERR_NOMEM, "out of memory");
            continue;
        }
        if (r == ROLE_ASSISTANT && human_next) {
            if (pairs == 0) continue; /* leading assistant turns are dropped */
            return reject(c, "two assistant turns in a row");
        }
        if (r == ROLE_HUMAN && !human_next) return reject(c, "two human turns in a row");
        if (r == ROLE_HUMAN) OC_TRY(add_human(c, text, n_images > 0, prepend && pairs == 0));
        else OC_TRY(oc_dataset_add_turn(c->d, true, text, strlen(text), c->err));
        pairs += r == ROLE_ASSISTANT;
        human_next = r == ROLE_ASSISTANT;
    }
    if (pairs == 0) return reject(c, NO_ANSWER);
    return human_next ? OC_OK : reject(c, "the last turn is not the assistant's");
}

/* ---- Records ------------------------------------------------------------------------------------------------------- */

static oc_status read_record(const record_context *c, const json_t *o) {
    char text[64];
    if (!json_is_object(o)) return reject(c, "not an object");
    const json_t *id = json_object_get(o, "id"), *turns = either(o, "conversations", "messages");
    if (json_is_integer(id)) snprintf(text, sizeof text, "%lld", (long long)json_integer_value(id));
    else snprintf(text, sizeof text, "#%zu", c->index);
    if (!json_is_array(turns)) return reject(c, "no list \"conversations\"");
    if (json_array_size(turns) == 0) return reject(c, NO_ANSWER);
    if (json_array_size(turns) > MAX_TURNS) return reject(c, "more than 4096 turns");
    OC_TRY(oc_dataset_begin(c->d, json_is_string(id) ? json_string_value(id) : text, NULL, NULL, c->err));
    int images, placeholders;
    OC_TRY(read_images(c, o, &images));
    OC_TRY(count_all(c, turns, &placeholders));
    bool prepend = images == 1 && placeholders == 0 && c->d->opt.fix_placeholders;
    if (images == 1 && placeholders == 0 && !prepend)
        return reject(c, "one picture but no \"<image>\" in a human turn; fix_placeholders puts it first");
    if (images > 0 && !prepend && images != placeholders) {
        snprintf(text, sizeof text, "%d picture(s) but %d \"<image>\"", images, placeholders);
        return reject(c, text);
    }
    return read_turns(c, turns, images, prepend);
}

oc_status oc_dataset_read_llava(oc_dataset *d, oc_error *err) {
    oc_map map;
    OC_TRY(oc_map_open(&map, d->opt.json, err));
    oc_json_reader r;
    oc_json_reader_init(&r, (const char *)map.data, map.size, d->opt.json);
    oc_status st;
    for (;;) {
        json_t *o;
        record_context c = {
            .d = d, .file = d->opt.json, .index = r.index, .line = oc_dataset_record_line(&r), .err = err};
        OC_GO(oc_json_reader_next(&r, &o, err));
        if (!o) break;
        st = read_record(&c, o);
        json_decref(o);
        if (st != OC_OK) break;
    }
done:
    oc_map_close(&map);
    return st;
}
