/* Caption files: COCO annotations, Karpathy's split files, and lists of pictures with their captions. Each becomes
 * conversations with one human turn, "<image>\n" and the prompt, and one answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/dataset_internal.h"

oc_status oc_dataset_add_pair(oc_dataset *d, const char *id, const char *image, const char *question,
                              const char *answer, const char *type, oc_error *err) {
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

oc_status oc_dataset_fail_item(oc_error *err, const char *file, const char *list, size_t i, const char *what) {
    return oc_fail(err, OC_ERR_FORMAT, "%s: %s[%zu]: %s", file, list, i, what);
}

oc_status oc_dataset_each(oc_dataset *d, const char *file, const char *key, bool *found, oc_dataset_element record,
                          void *ctx, oc_error *err) {
    oc_map map;
    oc_json_reader r;
    OC_TRY(oc_map_open(&map, file, err));
    const char *text = map.data ? (const char *)map.data : "";
    oc_status st;
    if (key)
        OC_GO(oc_json_reader_member(&r, found, text, map.size, key, file, err));
    else
        oc_json_reader_init(&r, text, map.size, file);
    while (!key || *found) {
        json_t *o;
        size_t index = r.index;
        int line = oc_dataset_record_line(&r);
        OC_GO(oc_json_reader_next(&r, &o, err));
        if (!o) break;
        st = record(d, index, line, o, ctx, err);
        json_decref(o);
        if (st != OC_OK) break;
    }
done:
    oc_map_close(&map);
    return st;
}

/* ---- COCO ---------------------------------------------------------------------------------------------------------- */

typedef struct named_image {
    char id[40];
    const char *file; /* stored in the data set */
} named_image;

typedef struct image_table {
    named_image *image;
    size_t n, capacity;
} image_table;

static int by_id(const void *a, const void *b) {
    return strcmp(((const named_image *)a)->id, ((const named_image *)b)->id);
}

/* Ids of pictures are short; a longer one is refused, not cut. */
static bool image_id(char out[40], const json_t *value) {
    char id[OC_JSON_ID];
    if (!oc_json_id(value, id) || strlen(id) > 39) return false;
    strcpy(out, id);
    return true;
}

static oc_status add_image(oc_dataset *d, size_t i, int line, const json_t *o, void *ctx, oc_error *err) {
    OC_UNUSED(line);
    image_table *t = ctx;
    named_image image;
    const char *file = json_string_value(json_object_get(o, "file_name"));
    if (!image_id(image.id, json_object_get(o, "id")))
        return oc_dataset_fail_item(err, d->opt.json, "images", i, "no \"id\"");
    if (!file || !oc_path_is_contained(file))
        return oc_dataset_fail_item(err, d->opt.json, "images", i, "no \"file_name\" inside the picture folder");
    if (t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 256;
        named_image *p = oc_realloc(t->image, t->n * sizeof *p, capacity * sizeof *p);
        if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the list of pictures");
        t->image = p;
        t->capacity = capacity;
    }
    image.file = oc_dataset_store(d, file, strlen(file));
    if (!image.file) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the list of pictures");
    t->image[t->n++] = image;
    return OC_OK;
}

static oc_status add_caption(oc_dataset *d, size_t i, int line, const json_t *o, void *ctx, oc_error *err) {
    OC_UNUSED(line);
    const image_table *t = ctx;
    named_image key;
    const char *caption = json_string_value(json_object_get(o, "caption"));
    if (!caption) return oc_dataset_fail_item(err, d->opt.json, "annotations", i, "no \"caption\"");
    if (!image_id(key.id, json_object_get(o, "image_id")))
        return oc_dataset_fail_item(err, d->opt.json, "annotations", i, "no \"image_id\"");
    const named_image *image = t->n ? bsearch(&key, t->image, t->n, sizeof key, by_id) : NULL;
    if (!image) return oc_dataset_fail_item(err, d->opt.json, "annotations", i, "\"image_id\" is not among the images");
    return oc_dataset_add_pair(d, key.id, image->file, d->opt.prompt, caption, NULL, err);
}

static oc_status fail_lists(const oc_dataset *d, oc_error *err) {
    return oc_fail(err, OC_ERR_FORMAT, "%s: a COCO caption file has the lists \"images\" and \"annotations\"",
                   d->opt.json);
}

/* A list alone has none of the members. */
static oc_status check_is_object(const oc_dataset *d, const char *wanted, oc_error *err) {
    oc_map map;
    OC_TRY(oc_map_open(&map, d->opt.json, err));
    size_t at = map.size >= 3 && !memcmp(map.data, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < map.size && strchr(" \t\r\n", map.data[at]) && map.data[at]) at++;
    bool object = at < map.size && map.data[at] == '{';
    oc_map_close(&map);
    return object ? OC_OK : oc_fail(err, OC_ERR_FORMAT, "%s: %s", d->opt.json, wanted);
}

oc_status oc_dataset_read_coco(oc_dataset *d, oc_error *err) {
    image_table t = {0};
    bool images, annotations = false;
    OC_TRY(check_is_object(d, "a COCO caption file has the lists \"images\" and \"annotations\"", err));
    oc_status st = oc_dataset_each(d, d->opt.json, "images", &images, add_image, &t, err);
    if (st == OC_OK && !images) st = fail_lists(d, err);
    if (st == OC_OK && t.n) qsort(t.image, t.n, sizeof *t.image, by_id);
    if (st == OC_OK) st = oc_dataset_each(d, d->opt.json, "annotations", &annotations, add_caption, &t, err);
    if (st == OC_OK && !annotations) st = fail_lists(d, err);
    oc_free(t.image);
    return st;
}

/* ---- Karpathy ------------------------------------------------------------------------------------------------------ */

static bool in_split(const char *split, const char *wanted) {
    if (!wanted || !strcmp(wanted, "all")) return true;
    if (!split) return false;
    return !strcmp(split, wanted) || (!strcmp(wanted, "train") && !strcmp(split, "restval"));
}

static oc_status read_karpathy_image(oc_dataset *d, size_t i, int line, const json_t *o, void *ctx, oc_error *err) {
    OC_UNUSED(line);
    OC_UNUSED(ctx);
    char id[40], path[1024];
    const char *name = json_string_value(json_object_get(o, "filename")),
               *folder = json_string_value(json_object_get(o, "filepath"));
    if (!in_split(json_string_value(json_object_get(o, "split")), d->opt.split)) return OC_OK;
    if (!name) return oc_dataset_fail_item(err, d->opt.json, "images", i, "no \"filename\"");
    int len = folder ? snprintf(path, sizeof path, "%s/%s", folder, name) : snprintf(path, sizeof path, "%s", name);
    if (len >= (int)sizeof path || !oc_path_is_contained(path))
        return oc_dataset_fail_item(err, d->opt.json, "images", i, "the picture's name leaves the picture folder");
    const json_t *cocoid = json_object_get(o, "cocoid");
    if (!image_id(id, cocoid ? cocoid : json_object_get(o, "imgid")))
        return oc_dataset_fail_item(err, d->opt.json, "images", i, "neither \"cocoid\" nor \"imgid\"");
    const json_t *sentences = json_object_get(o, "sentences"), *s;
    size_t k;
    if (!json_is_array(sentences)) return oc_dataset_fail_item(err, d->opt.json, "images", i, "no list \"sentences\"");
    json_array_foreach((json_t *)(uintptr_t)sentences, k, s) {
        const char *raw = json_string_value(json_object_get(s, "raw"));
        if (!raw) return oc_dataset_fail_item(err, d->opt.json, "images", i, "a sentence has no \"raw\" text");
        OC_TRY(oc_dataset_add_pair(d, id, path, d->opt.prompt, raw, NULL, err));
    }
    return OC_OK;
}

oc_status oc_dataset_read_karpathy(oc_dataset *d, oc_error *err) {
    bool found;
    OC_TRY(check_is_object(d, "a Karpathy split file has the list \"images\"", err));
    OC_TRY(oc_dataset_each(d, d->opt.json, "images", &found, read_karpathy_image, NULL, err));
    return found ? OC_OK
                 : oc_fail(err, OC_ERR_FORMAT, "%s: a Karpathy split file has the list \"images\"", d->opt.json);
}

/* ---- Lists of pictures with captions, as BLIP publishes the Karpathy splits: [{"image", "caption": text | [text]}] ---- */

/* The digits at the end of a name like COCO_val2014_000000391895.jpg are the COCO id; other names are ids themselves. */
static void id_of_name(char id[40], const char *name) {
    const char *base = oc_path_base(name), *dot = strrchr(base, '.');
    size_t n = dot ? (size_t)(dot - base) : strlen(base);
    if (!strncmp(base, "COCO_", 5)) {
        size_t from = n;
        while (from > 0 && base[from - 1] >= '0' && base[from - 1] <= '9') from--;
        while (from + 1 < n && base[from] == '0') from++;
        if (from < n) base += from, n -= from;
    }
    snprintf(id, 40, "%.*s", (int)OC_MIN(n, (size_t)39), base);
}

static oc_status read_listed(oc_dataset *d, size_t i, int line, const json_t *o, void *ctx, oc_error *err) {
    OC_UNUSED(ctx);
    char id[40];
    const char *image = json_string_value(json_object_get(o, "image"));
    const json_t *captions = json_object_get(o, "caption"), *c;
    size_t k;
    if (!image || !oc_path_is_contained(image))
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: no \"image\" inside the picture folder", d->opt.json,
                       line, i);
    const json_t *given = json_object_get(o, "image_id");
    if (!given || !image_id(id, given)) id_of_name(id, image);
    if (json_is_string(captions))
        return oc_dataset_add_pair(d, id, image, d->opt.prompt, json_string_value(captions), NULL, err);
    if (json_array_size(captions) == 0)
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: \"caption\" is neither a text nor a list of them",
                       d->opt.json, line, i);
    json_array_foreach((json_t *)(uintptr_t)captions, k, c) {
        if (!json_is_string(c))
            return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: caption[%zu] is no text", d->opt.json, line, i, k);
        OC_TRY(oc_dataset_add_pair(d, id, image, d->opt.prompt, json_string_value(c), NULL, err));
    }
    return OC_OK;
}

oc_status oc_dataset_read_caption_list(oc_dataset *d, oc_error *err) {
    return oc_dataset_each(d, d->opt.json, NULL, NULL, read_listed, NULL, err);
}
