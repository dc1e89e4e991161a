/* Caption and question files: COCO caption JSON, Karpathy's split files, VQA JSON lines. Each becomes conversations with
 * one human turn, "<image>\n" and the prompt or question, and one answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/dataset_internal.h"

enum { MAX_FILE = 1 << 30 };

/* One picture, one question, one answer. */
static oc_status add_pair(oc_dataset *d, const char *id, const char *image, const char *question, const char *answer,
                          const char *type, oc_error *err) {
    OC_TRY(oc_dataset_begin(d, id, NULL, type, err));
    if (strstr(question, OC_IMAGE_PLACEHOLDER))
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: sample %s: a prompt or question with \"<image>\" in it; it is put in front by itself",
                       d->opt.json, id);
    oc_strbuf b = {0};
    oc_strbuf_printf(&b, OC_IMAGE_PLACEHOLDER "\n%s%s", question, d->opt.prompt_suffix ? d->opt.prompt_suffix : "");
    oc_status st = b.failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory") : oc_dataset_add_image(d, image, err);
    if (st == OC_OK) st = oc_dataset_add_turn(d, false, b.data, b.len, err);
    if (st == OC_OK) st = oc_dataset_add_turn(d, true, answer, strlen(answer), err);
    oc_strbuf_free(&b);
    return st;
}

/* Text of an id that may be a number or a string. */
static bool id_text(char *out, size_t size, const json_t *id) {
    if (json_is_integer(id)) snprintf(out, size, "%lld", (long long)json_integer_value(id));
    else if (json_is_string(id) && json_string_length(id) < size) snprintf(out, size, "%s", json_string_value(id));
    else return false;
    return true;
}

static oc_status fail_item(oc_error *err, const char *file, const char *list, size_t i, const char *what) {
    return oc_fail(err, OC_ERR_FORMAT, "%s: %s[%zu]: %s", file, list, i, what);
}

/* ---- COCO ---------------------------------------------------------------------------------------------------------- */

typedef struct named_image {
    char id[40];
    const char *file; /* points into the JSON tree */
} named_image;

static int by_id(const void *a, const void *b) {
    return strcmp(((const named_image *)a)->id, ((const named_image *)b)->id);
}

static oc_status read_image_table(const json_t *images, named_image *table, const char *file, oc_error *err) {
    size_t i;
    const json_t *o;
    json_array_foreach((json_t *)(uintptr_t)images, i, o) {
        table[i].file = json_string_value(json_object_get(o, "file_name"));
        if (!id_text(table[i].id, sizeof table[i].id, json_object_get(o, "id")))
            return fail_item(err, file, "images", i, "no \"id\"");
        if (!table[i].file || !oc_path_is_contained(table[i].file))
            return fail_item(err, file, "images", i, "no \"file_name\" inside the picture folder");
    }
    qsort(table, json_array_size(images), sizeof *table, by_id);
    return OC_OK;
}

static oc_status read_annotations(oc_dataset *d, const json_t *list, const named_image *table, size_t n,
                                  oc_error *err) {
    size_t i;
    const json_t *o;
    json_array_foreach((json_t *)(uintptr_t)list, i, o) {
        named_image key;
        const char *caption = json_string_value(json_object_get(o, "caption"));
        if (!caption) return fail_item(err, d->opt.json, "annotations", i, "no \"caption\"");
        if (!id_text(key.id, sizeof key.id, json_object_get(o, "image_id")))
            return fail_item(err, d->opt.json, "annotations", i, "no \"image_id\"");
        const named_image *image = bsearch(&key, table, n, sizeof *table, by_id);
        if (!image) return fail_item(err, d->opt.json, "annotations", i, "\"image_id\" is not among the images");
        OC_TRY(add_pair(d, key.id, image->file, d->opt.prompt, caption, NULL, err));
    }
    return OC_OK;
}

oc_status oc_dataset_read_coco(oc_dataset *d, oc_error *err) {
    json_t *root;
    OC_TRY(oc_json_load(&root, d->opt.json, MAX_FILE, err));
    const json_t *images = json_object_get(root, "images"), *annotations = json_object_get(root, "annotations");
    oc_status st = OC_OK;
    named_image *table = NULL;
    if (!json_is_array(images) || !json_is_array(annotations))
        st = oc_fail(err, OC_ERR_FORMAT, "%s: a COCO caption file has the lists \"images\" and \"annotations\"",
                     d->opt.json);
    else {
        size_t n = json_array_size(images);
        st = oc_alloc_for(&table, n * sizeof *table, "the list of pictures", err);
        if (st == OC_OK) st = read_image_table(images, table, d->opt.json, err);
        if (st == OC_OK) st = read_annotations(d, annotations, table, n, err);
    }
    oc_free(table);
    json_decref(root);
    return st;
}

/* ---- Karpathy ------------------------------------------------------------------------------------------------------ */

static bool in_split(const char *split, const char *wanted) {
    if (!wanted || !strcmp(wanted, "all")) return true;
    if (!split) return false;
    return !strcmp(split, wanted) || (!strcmp(wanted, "train") && !strcmp(split, "restval"));
}

static oc_status read_karpathy_image(oc_dataset *d, size_t i, const json_t *o, oc_error *err) {
    char id[40], path[1024];
    const char *name = json_string_value(json_object_get(o, "filename")),
               *folder = json_string_value(json_object_get(o, "filepath"));
    if (!in_split(json_string_value(json_object_get(o, "split")), d->opt.split)) return OC_OK;
    if (!name) return fail_item(err, d->opt.json, "images", i, "no \"filename\"");
    int len = folder ? snprintf(path, sizeof path, "%s/%s", folder, name) : snprintf(path, sizeof path, "%s", name);
    if (len >= (int)sizeof path || !oc_path_is_contained(path))
        return fail_item(err, d->opt.json, "images", i, "the picture's name leaves the picture folder");
    const json_t *cocoid = json_object_get(o, "cocoid");
    if (!id_text(id, sizeof id, cocoid ? cocoid : json_object_get(o, "imgid")))
        return fail_item(err, d->opt.json, "images", i, "neither \"cocoid\" nor \"imgid\"");
    const json_t *sentences = json_object_get(o, "sentences"), *s;
    size_t k;
    if (!json_is_array(sentences)) return fail_item(err, d->opt.json, "images", i, "no list \"sentences\"");
    json_array_foreach((json_t *)(uintptr_t)sentences, k, s) {
        const char *raw = json_string_value(json_object_get(s, "raw"));
        if (!raw) return fail_item(err, d->opt.json, "images", i, "a sentence has no \"raw\" text");
        OC_TRY(add_pair(d, id, path, d->opt.prompt, raw, NULL, err));
    }
    return OC_OK;
}

oc_status oc_dataset_read_karpathy(oc_dataset *d, oc_error *err) {
    json_t *root, *o;
    size_t i;
    OC_TRY(oc_json_load(&root, d->opt.json, MAX_FILE, err));
    const json_t *images = json_object_get(root, "images");
    oc_status st = json_is_array(images)
                       ? OC_OK
                       : oc_fail(err, OC_ERR_FORMAT, "%s: a Karpathy split file has the list \"images\"", d->opt.json);
    if (st == OC_OK)
        json_array_foreach((json_t *)(uintptr_t)images, i, o) {
            st = read_karpathy_image(d, i, o, err);
            if (st != OC_OK) break;
        }
    json_decref(root);
    return st;
}

/* ---- VQA: {"image", "question", "answer" | "answers": [...], "type"?} ---------------------------------------------- */

/* An element of "answers": a text, or as the official files have it an object that holds one. */
static const char *answer_text(const json_t *a) {
    return json_string_value(json_is_object(a) ? json_object_get(a, "answer") : a);
}

/* What is trained on. */
static const char *first_answer(const json_t *o) {
    const json_t *a = json_object_get(o, "answer");
    return a ? json_string_value(a) : answer_text(json_array_get(json_object_get(o, "answers"), 0));
}

/* What an evaluation compares with. */
static oc_status add_answers(oc_dataset *d, const json_t *list, size_t index, int line, oc_error *err) {
    size_t i;
    const json_t *a;
    json_array_foreach((json_t *)(uintptr_t)list, i, a) {
        const char *text = answer_text(a);
        if (!text)
            return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: answers[%zu] is no text", d->opt.json, line, index,
                           i);
        OC_TRY(oc_dataset_add_answer(d, text, err));
    }
    return OC_OK;
}

static bool is_yes_no(const char *s) {
    static const char *const words[] = {"yes", "no", "Yes", "No", "YES", "NO"};
    for (size_t i = 0; i < OC_COUNT(words); i++)
        if (!strcmp(s, words[i])) return true;
    return false;
}

/* Is `type` one of the words of `list`, which commas separate? */
static bool is_listed(const char *list, const char *type) {
    const size_t n = strlen(type);
    for (const char *word = list;; word++) {
        const size_t length = strcspn(word, ",");
        if (length == n && !memcmp(word, type, n)) return true;
        word += length;
        if (!*word) return false;
    }
}

static oc_status read_vqa_record(oc_dataset *d, const json_t *o, size_t index, int line, oc_error *err) {
    char id[64];
    const char *image = json_string_value(json_object_get(o, "image")),
               *question = json_string_value(json_object_get(o, "question")), *answer = first_answer(o),
               *type = json_string_value(json_object_get(o, "type"));
    if (!image || !question || !answer)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s:%d: record %zu: \"image\", \"question\" and \"answer\" (or \"answers\") must be there",
                       d->opt.json, line, index);
    if (!oc_path_is_contained(image))
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: the picture's name leaves the picture folder",
                       d->opt.json, line, index);
    if (!id_text(id, sizeof id, json_object_get(o, "question_id"))) snprintf(id, sizeof id, "#%zu", index);
    if (!type) type = is_yes_no(answer) ? "yesno" : "open";
    if (d->opt.types && !is_listed(d->opt.types, type)) return OC_OK;
    OC_TRY(add_pair(d, id, image, question, answer, type, err));
    return add_answers(d, json_object_get(o, "answers"), index, line, err);
}

oc_status oc_dataset_read_vqa(oc_dataset *d, oc_error *err) {
    oc_map map;
    OC_TRY(oc_map_open(&map, d->opt.json, err));
    oc_json_reader r;
    oc_json_reader_init(&r, (const char *)map.data, map.size, d->opt.json);
    oc_status st;
    for (;;) {
        json_t *o;
        size_t index = r.index;
        int line = oc_dataset_record_line(&r);
        OC_GO(oc_json_reader_next(&r, &o, err));
        if (!o) break;
        st = read_vqa_record(d, o, index, line, err);
        json_decref(o);
        if (st != OC_OK) break;
    }
done:
    oc_map_close(&map);
    return st;
}
