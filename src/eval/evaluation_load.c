/* An evaluation from the files of a folder that oc_evaluation_save wrote. */
#include <string.h>

#include "base/file.h"
#include "eval/evaluate.h"
#include "eval/id_map.h"

/* Strings while reading: offsets + 1 in the text, 0 for none. */
typedef struct loaded {
    size_t id, image, shown, prompt, type, answer, first_reference, n_references;
    int n_tokens;
    bool finished;
    double logprob;
} loaded;

typedef struct loader {
    oc_strbuf *text;
    loaded *item;
    size_t *reference;
    size_t n, capacity, n_references, reference_capacity;
} loader;

static bool more(void **array, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return true;
    size_t wanted = *capacity ? *capacity * 2 : 256;
    void *p = oc_realloc(*array, n * size, wanted * size);
    if (!p) return false;
    *array = p;
    *capacity = wanted;
    return true;
}

static size_t keep(loader *l, const json_t *v) {
    if (!json_is_string(v)) return 0;
    const size_t at = l->text->len;
    oc_strbuf_add(l->text, json_string_value(v), json_string_length(v) + 1);
    return at + 1;
}

static oc_status load_item(loader *l, const json_t *o, const oc_json_reader *r, oc_error *err) {
    const json_t *references = json_object_get(o, "references"), *v;
    size_t i;
    if (!more((void **)&l->item, l->n, &l->capacity, sizeof *l->item))
        return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->name);
    loaded *it = &l->item[l->n];
    *it = (loaded){.id = keep(l, json_object_get(o, "id")),
                   .image = keep(l, json_object_get(o, "image")),
                   .shown = keep(l, json_object_get(o, "shown")),
                   .prompt = keep(l, json_object_get(o, "prompt")),
                   .type = keep(l, json_object_get(o, "type")),
                   .answer = keep(l, json_object_get(o, "answer")),
                   .first_reference = l->n_references,
                   .n_references = json_array_size(references),
                   .n_tokens = (int)json_integer_value(json_object_get(o, "tokens")),
                   .finished = json_is_true(json_object_get(o, "finished")),
                   .logprob = json_number_value(json_object_get(o, "logprob"))};
    if (!it->id || !it->image || !it->answer || it->n_references == 0)
        return oc_fail(
            err, OC_ERR_FORMAT,
            "%s:%d: element %zu: not an item of an evaluation: \"id\", \"image\", \"answer\" and \"references\" must be "
            "there",
            r->name, r->line, r->index - 1);
    json_array_foreach((json_t *)(uintptr_t)references, i, v) {
        if (!more((void **)&l->reference, l->n_references, &l->reference_capacity, sizeof *l->reference))
            return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->name);
        if (!json_is_string(v))
            return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: a reference is no text", r->name, r->line,
                           r->index - 1);
        l->reference[l->n_references++] = keep(l, v);
    }
    l->n++;
    return l->text->failed ? oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->name) : OC_OK;
}

static oc_status load_items(loader *l, const char *path, oc_error *err) {
    oc_map map;
    oc_json_reader r;
    OC_TRY(oc_map_open(&map, path, err));
    oc_json_reader_init(&r, map.data ? (const char *)map.data : "", map.size, path);
    oc_status st;
    for (json_t *o;;) {
        OC_GO(oc_json_reader_object(&r, &o, err));
        if (!o) break;
        st = load_item(l, o, &r, err);
        json_decref(o);
        if (st != OC_OK) break;
    }
done:
    oc_map_close(&map);
    return st;
}

static const char *string_at(const loader *l, size_t at) { return at ? l->text->data + at - 1 : NULL; }

/* The text no longer grows: pointers into it. Items are grouped by their picture. */
static oc_status fill(oc_evaluation *e, const loader *l, oc_error *err) {
    oc_id_map pictures = {0};
    oc_status st = OC_OK;
    e->n = l->n;
    e->n_references = l->n_references;
    e->item = oc_calloc(l->n + 1, sizeof *e->item);
    e->references = oc_calloc(l->n_references + 1, sizeof *e->references);
    if (!e->item || !e->references) return oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu items", l->n);
    for (size_t i = 0; i < l->n_references; i++) e->references[i] = string_at(l, l->reference[i]);
    for (size_t k = 0; k < l->n && st == OC_OK; k++) {
        const loaded *from = &l->item[k];
        oc_evaluated *to = &e->item[k];
        *to = (oc_evaluated){.sample = k,
                             .id = string_at(l, from->id),
                             .image = string_at(l, from->image),
                             .shown = string_at(l, from->shown ? from->shown : from->image),
                             .prompt = string_at(l, from->prompt),
                             .type = string_at(l, from->type),
                             .reference = e->references + from->first_reference,
                             .n_references = from->n_references,
                             .answer = oc_strdup(string_at(l, from->answer)),
                             .n_tokens = from->n_tokens,
                             .logprob = from->logprob,
                             .finished = from->finished};
        e->new_tokens += to->n_tokens;
        if (!to->answer) st = oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu items", l->n);
        if (st == OC_OK) st = oc_id_map_add(&pictures, to->image, &to->group, err);
    }
    e->n_groups = pictures.n;
    oc_id_map_free(&pictures);
    return st;
}

static oc_status load_task(oc_eval_task *task, const char *path, oc_error *err) {
    json_t *o;
    OC_TRY(oc_json_load(&o, path, 1 << 26, err));
    const char *name = json_string_value(json_object_get(o, "task"));
    const bool caption = name && !strcmp(name, "caption"), known = caption || (name && !strcmp(name, "vqa"));
    *task = caption ? OC_EVAL_CAPTION : OC_EVAL_VQA;
    json_decref(o);
    return known ? OC_OK : oc_fail(err, OC_ERR_FORMAT, "%s: \"task\" is neither \"caption\" nor \"vqa\"", path);
}

oc_status oc_evaluation_load(oc_evaluation *out, const char *dir, oc_error *err) {
    char *items = oc_path_join(dir, "items.jsonl"), *scores = oc_path_join(dir, "scores.json");
    loader l = {.text = oc_calloc(1, sizeof *l.text)};
    memset(out, 0, sizeof *out);
    out->owned = l.text;
    oc_status st = OC_OK;
    if (!items || !scores || !l.text) OC_GO(oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir));
    l.text->max = SIZE_MAX / 2;
    if (!oc_dir_exists(dir))
        OC_GO(oc_fail(err, OC_ERR_IO,
                      "%s: no such folder; ocellus eval --out writes one with items.jsonl and scores.json", dir));
    OC_GO(load_task(&out->task, scores, err));
    OC_GO(load_items(&l, items, err));
    if (l.n == 0) OC_GO(oc_fail(err, OC_ERR_FORMAT, "%s: no items", items));
    OC_GO(fill(out, &l, err));
    OC_GO(oc_evaluation_score(out, err));
done:
    oc_free(items);
    oc_free(scores);
    oc_free(l.item);
    oc_free(l.reference);
    if (st != OC_OK) oc_evaluation_free(out);
    return st;
}
