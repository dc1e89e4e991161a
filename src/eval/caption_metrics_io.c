#include "eval/caption_metrics_io.h"

#include <string.h>

#include "base/file.h"
#include "eval/caption_metrics_input.h"

/* A caption while reading: where its text is, and the image it belongs to. */
typedef struct {
    size_t image, text;
} caption;

typedef struct {
    oc_id_map ids;
    oc_strbuf text; /* all captions, each with its NUL */
    caption *refs;
    size_t n_refs, cap_refs;
    size_t *result; /* per image: offset of the result in text + 1; 0: none */
    const char **ref_pointers;
    size_t ignored;
} storage;

static void storage_free(storage *s) {
    if (!s) return;
    oc_id_map_free(&s->ids);
    oc_strbuf_free(&s->text);
    oc_free(s->refs);
    oc_free(s->result);
    oc_free(s->ref_pointers);
    oc_free(s);
}

/* The id under `key`, as text. */
static oc_status get_id(const json_t *rec, const char *key, char id[256], const oc_json_reader *r,
                        oc_error *err) {
    if (oc_input_id(json_object_get(rec, key), id)) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT,
                   "%s:%d: element %zu: \"%s\" is missing or neither an integer nor a string", r->name,
                   r->line, r->index - 1, key);
}

/* "caption" of rec as an offset in s->text. */
static oc_status get_caption(storage *s, const json_t *rec, size_t *offset, const oc_json_reader *r,
                             oc_error *err) {
    const json_t *v = json_object_get(rec, "caption");
    if (!json_is_string(v))
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: \"caption\" is missing or not a string",
                       r->name, r->line, r->index - 1);
    *offset = s->text.len;
    oc_strbuf_add(&s->text, json_string_value(v), json_string_length(v) + 1);
    return s->text.failed ? oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for captions", r->name) : OC_OK;
}

static oc_status add_image(storage *s, const json_t *rec, const oc_json_reader *r, oc_error *err) {
    char id[256];
    size_t index;
    OC_TRY(get_id(rec, "id", id, r, err));
    return oc_id_map_add(&s->ids, id, &index, err);
}

static oc_status add_reference(storage *s, const json_t *rec, const oc_json_reader *r, oc_error *err) {
    char id[256];
    caption c;
    OC_TRY(get_id(rec, "image_id", id, r, err));
    OC_TRY(oc_id_map_add(&s->ids, id, &c.image, err));
    OC_TRY(get_caption(s, rec, &c.text, r, err));
    if (s->n_refs == s->cap_refs) {
        size_t cap = s->cap_refs ? s->cap_refs * 2 : 1024;
        caption *to = oc_realloc(s->refs, s->cap_refs * sizeof *to, cap * sizeof *to);
        if (!to) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for captions", r->name);
        s->refs = to;
        s->cap_refs = cap;
    }
    s->refs[s->n_refs++] = c;
    return OC_OK;
}

typedef oc_status (*record_fn)(storage *s, const json_t *rec, const oc_json_reader *r, oc_error *err);

static oc_status each_record(storage *s, oc_json_reader *r, record_fn fn, oc_error *err) {
    for (json_t *rec;;) {
        OC_TRY(oc_input_next(r, &rec, err));
        if (!rec) return OC_OK;
        oc_status st = fn(s, rec, r, err);
        json_decref(rec);
        OC_TRY(st);
    }
}

static oc_status read_references(storage *s, const char *text, size_t len, const char *name, oc_error *err) {
    oc_json_reader r;
    bool found;
    const char *start = text + (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0);
    start += strspn(start, " \t\r\n");
    bool is_object = *start == '{';
    if (is_object) {
        OC_TRY(oc_input_records(&r, &found, text, len, "images", name, err));
        if (found) OC_TRY(each_record(s, &r, add_image, err));
    }
    OC_TRY(oc_input_records(&r, &found, text, len, "annotations", name, err));
    if (!found || !is_object)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: no \"annotations\" array; COCO caption annotations were expected: "
                       "{\"images\": [{\"id\"}], \"annotations\": [{\"image_id\", \"caption\"}]}",
                       name);
    OC_TRY(each_record(s, &r, add_reference, err));
    return s->n_refs ? OC_OK : oc_fail(err, OC_ERR_FORMAT, "%s: \"annotations\" has no captions", name);
}

static oc_status read_result(storage *s, const json_t *rec, oc_match match, const oc_json_reader *r,
                             oc_error *err) {
    char id[256];
    size_t image, text;
    OC_TRY(get_id(rec, "image_id", id, r, err));
    bool known = oc_id_map_find(&s->ids, id, &image);
    if (known && !s->result[image]) {
        if (match == OC_MATCH_LENIENT && !json_is_string(json_object_get(rec, "caption")))
            return s->ignored++, OC_OK;
        OC_TRY(get_caption(s, rec, &text, r, err));
        s->result[image] = text + 1;
        return OC_OK;
    }
    s->ignored++;
    if (match == OC_MATCH_LENIENT) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT,
                   "%s:%d: element %zu: image_id %s %s; --lenient leaves such results out", r->name, r->line,
                   r->index - 1, id, known ? "has a result already" : "is not among the references");
}

static oc_status read_results(storage *s, const char *text, size_t len, const char *name, oc_match match,
                              oc_error *err) {
    oc_json_reader r;
    bool found;
    OC_TRY(oc_input_records(&r, &found, text, len, "annotations", name, err));
    if (!found)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: an object; a list of results was expected: [{\"image_id\", \"caption\"}]", name);
    for (json_t *rec;;) {
        OC_TRY(oc_input_next(&r, &rec, err));
        if (!rec) return OC_OK;
        oc_status st = read_result(s, rec, match, &r, err);
        json_decref(rec);
        OC_TRY(st);
    }
}

/* Items of the images that have a result, with pointers into s->text, which no longer grows. */
static oc_status make_items(oc_caption_set *set, storage *s, oc_match match, const char *results_name,
                            oc_error *err) {
    size_t n_images = s->ids.n;
    size_t *first = oc_calloc(n_images + 1, sizeof *first); /* per image: where its references begin */
    set->items = oc_calloc(n_images, sizeof *set->items);
    s->ref_pointers = oc_calloc(s->n_refs, sizeof *s->ref_pointers);
    oc_status st = OC_OK;
    if (!first || !set->items || !s->ref_pointers)
        OC_GO(oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu images", n_images));
    for (size_t i = 0; i < s->n_refs; i++) first[s->refs[i].image + 1]++;
    for (size_t i = 0; i < n_images; i++) first[i + 1] += first[i];
    for (size_t i = 0; i < s->n_refs; i++)
        s->ref_pointers[first[s->refs[i].image]++] = s->text.data + s->refs[i].text;

    /* Now first[i] is where the references of image i end. */
    for (size_t i = 0, from = 0; i < n_images; from = first[i++]) {
        oc_caption_item it = {.id = oc_id_map_name(&s->ids, i),
                              .references = s->ref_pointers + from,
                              .n_references = first[i] - from};
        if (!s->result[i]) {
            set->unanswered++;
            if (match == OC_MATCH_STRICT)
                OC_GO(oc_fail(
                    err, OC_ERR_FORMAT,
                    "%s: no result for image_id %s; without --strict the images that have one are scored",
                    results_name, it.id));
            continue;
        }
        if (it.n_references == 0 && match != OC_MATCH_LENIENT)
            OC_GO(oc_fail(err, OC_ERR_FORMAT,
                          "image_id %s has a result in %s but no reference caption; --lenient leaves it out",
                          it.id, results_name));
        if (it.n_references == 0) {
            set->ignored++;
            continue;
        }
        it.candidate = s->text.data + s->result[i] - 1;
        set->n_references += it.n_references;
        set->items[set->n++] = it;
    }
    if (set->n == 0)
        st = oc_fail(err, OC_ERR_FORMAT, "%s: no result belongs to an image of the references", results_name);
done:
    oc_free(first);
    return st;
}

oc_status oc_caption_set_parse(oc_caption_set *set, const char *references, size_t references_len,
                               const char *references_name, const char *results, size_t results_len,
                               const char *results_name, oc_match match, oc_error *err) {
    *set = (oc_caption_set){0};
    storage *s = set->owned = oc_calloc(1, sizeof *s);
    if (!s) return oc_fail(err, OC_ERR_NOMEM, "out of memory for captions");
    s->text.max = SIZE_MAX / 2;
    oc_status st = OC_OK;
    OC_GO(read_references(s, references, references_len, references_name, err));
    s->result = oc_calloc(s->ids.n, sizeof *s->result);
    if (!s->result) OC_GO(oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu images", s->ids.n));
    OC_GO(read_results(s, results, results_len, results_name, match, err));
    OC_GO(make_items(set, s, match, results_name, err));
    set->ignored += s->ignored;
done:
    if (st != OC_OK) oc_caption_set_free(set);
    return st;
}

oc_status oc_caption_set_load(oc_caption_set *set, const char *references_path, const char *results_path,
                              oc_match match, oc_error *err) {
    char *refs = NULL, *results = NULL;
    size_t refs_len, results_len;
    *set = (oc_caption_set){0};
    oc_status st = OC_OK;
    OC_GO(oc_file_read(&refs, &refs_len, references_path, OC_INPUT_MAX_BYTES, err));
    OC_GO(oc_file_read(&results, &results_len, results_path, OC_INPUT_MAX_BYTES, err));
    OC_GO(oc_caption_set_parse(set, refs, refs_len, references_path, results, results_len, results_path,
                               match, err));
done:
    oc_free(refs);
    oc_free(results);
    return st;
}

void oc_caption_set_free(oc_caption_set *set) {
    storage_free(set->owned);
    oc_free(set->items);
    *set = (oc_caption_set){0};
}
