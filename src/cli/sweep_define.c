/* What defines a run: the recipe's text, its variables, the data. Equal definitions have equal names, so a run is found
 * again, and one that would differ is another. */
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/file.h"
#include "cli/sweep.h"
#include "train/recipe.h"

#define WHOLE_BYTES ((size_t)256 << 20)
#define END_BYTES   ((size_t)16 << 20)

json_t *oc_define_string(const char *text, const char *prepared) {
    const size_t n = strlen(prepared);
    oc_strbuf b = {0};
    oc_strbuf_puts(&b, "");
    while (*text) {
        if (n && !strncmp(text, prepared, n) && text[n] == '/') {
            oc_strbuf_puts(&b, "<prepared>");
            text += n;
        } else
            oc_strbuf_putc(&b, *text++);
    }
    json_t *s = b.failed ? NULL : json_string(b.data);
    oc_strbuf_free(&b);
    return s;
}

oc_status oc_define_hash(char hash[9], const json_t *definition, oc_error *err) {
    char *text = json_dumps(definition, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    if (!text) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a definition");
    snprintf(hash, 9, "%08x", (unsigned)(XXH3_64bits(text, strlen(text)) >> 32));
    free(text);
    return OC_OK;
}

/* --- Data --------------------------------------------------------------------------------------------------------- */

static oc_status hash_file(XXH3_state_t *h, const char *path, oc_error *err) {
    oc_map map;
    OC_TRY(oc_map_open(&map, path, err));
    const uint64_t size = map.size;
    XXH3_64bits_update(h, &size, sizeof size);
    if (map.size <= WHOLE_BYTES)
        XXH3_64bits_update(h, map.data ? (const void *)map.data : "", map.size);
    else {
        XXH3_64bits_update(h, map.data, END_BYTES);
        XXH3_64bits_update(h, map.data + map.size - END_BYTES, END_BYTES);
    }
    oc_map_close(&map);
    return OC_OK;
}

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static oc_status hash_folder(XXH3_state_t *h, const char *path, oc_error *err) {
    struct dirent **entry;
    const int n = scandir(path, &entry, NULL, alphasort);
    if (n < 0) return oc_fail(err, OC_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    oc_status st = OC_OK;
    for (int i = 0; i < n; i++) {
        char *file = oc_path_join(path, entry[i]->d_name);
        struct stat info;
        if (!file)
            st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
        else if (st == OC_OK && stat(file, &info) == 0 && S_ISREG(info.st_mode)) {
            const int64_t size = info.st_size;
            XXH3_64bits_update(h, entry[i]->d_name, strlen(entry[i]->d_name) + 1);
            XXH3_64bits_update(h, &size, sizeof size);
            if (ends_with(file, ".json") || ends_with(file, ".safetensors")) st = hash_file(h, file, err);
        }
        oc_free(file);
        free(entry[i]);
    }
    free(entry);
    return st;
}

/* Files that a pattern means, or the file or folder itself; "absent" where there is nothing, which the run will report. */
static oc_status hash_path(XXH3_state_t *h, const char *path, bool *found, oc_error *err) {
    glob_t g = {0};
    oc_status st = OC_OK;
    *found = false;
    if (oc_dir_exists(path)) return *found = true, hash_folder(h, path, err);
    if (oc_file_exists(path)) return *found = true, hash_file(h, path, err);
    char *pattern = oc_strdup(path); /* "{000..123}" of shards: any */
    if (!pattern) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    char *open = strchr(pattern, '{'), *close = open ? strchr(open, '}') : NULL;
    if (close) {
        *open = '*';
        memmove(open + 1, close + 1, strlen(close));
    }
    if (glob(pattern, 0, NULL, &g) == 0) {
        *found = true;
        for (size_t i = 0; i < g.gl_pathc && st == OC_OK; i++) {
            const char *name = oc_path_base(g.gl_pathv[i]);
            XXH3_64bits_update(h, name, strlen(name) + 1);
            if (oc_file_exists(g.gl_pathv[i])) st = hash_file(h, g.gl_pathv[i], err);
        }
    }
    globfree(&g);
    oc_free(pattern);
    return st;
}

oc_status oc_define_data(json_t *data, const char *path, const char *prepared, oc_error *err) {
    static json_t *seen; /* of this process: many runs read the same files */
    char text[20] = "prepared";
    const size_t n = strlen(prepared);
    if (!path) return OC_OK;
    if (!seen) seen = json_object();
    json_t *known = json_object_get(seen, path), *key = oc_define_string(path, prepared);
    if (!key) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    oc_status st = OC_OK;
    if (!known && (strncmp(path, prepared, n) != 0 || path[n] != '/')) {
        XXH3_state_t *h = XXH3_createState();
        bool found = false;
        if (!h)
            st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
        else {
            XXH3_64bits_reset(h);
            st = hash_path(h, path, &found, err);
            snprintf(text, sizeof text, "%016llx", (unsigned long long)XXH3_64bits_digest(h));
            if (!found) snprintf(text, sizeof text, "absent");
            XXH3_freeState(h);
        }
    }
    if (st == OC_OK && !known) json_object_set_new(seen, path, json_string(text));
    if (st == OC_OK && json_object_set(data, json_string_value(key), json_object_get(seen, path)) != 0)
        st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    json_decref(key);
    return st;
}

oc_status oc_define_recipe_data(json_t *data, const char *recipe, const char *const *vars, int n_vars,
                                const char *prepared, oc_error *err) {
    oc_recipe r;
    OC_TRY(oc_recipe_open(&r, recipe, vars, n_vars, err));
    oc_status st;
    OC_GO(oc_define_data(data, r.model.init, prepared, err));
    OC_GO(oc_define_data(data, r.model.towers.vision, prepared, err));
    OC_GO(oc_define_data(data, r.model.towers.text, prepared, err));
    OC_GO(oc_define_data(data, r.model.tokenizer, prepared, err));
    for (int i = 0; i < r.stages.n; i++) {
        const oc_recipe_stage *s = oc_recipe_stage_at(&r, i);
        for (int k = 0; k < s->datasets.n; k++) {
            OC_GO(oc_define_data(data, oc_recipe_dataset_at(&s->datasets, k)->json, prepared, err));
            OC_GO(oc_define_data(data, oc_recipe_dataset_at(&s->datasets, k)->images, prepared, err));
        }
    }
done:
    oc_recipe_close(&r);
    return st;
}

/* --- Differences -------------------------------------------------------------------------------------------------- */

static void list_difference(const json_t *a, const json_t *b, const char *prefix, oc_strbuf *out) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)a, key, v) {
        char path[160];
        const json_t *w = json_object_get(b, key);
        if (json_equal(v, (json_t *)(uintptr_t)w)) continue;
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key);
        if (json_is_object(v) && json_is_object(w))
            list_difference(v, w, path, out);
        else
            oc_strbuf_printf(out, "%s%s", out->len ? ", " : "", path);
    }
    json_object_foreach((json_t *)(uintptr_t)b, key, v) if (!json_object_get(a, key))
        oc_strbuf_printf(out, "%s%s%s%s", out->len ? ", " : "", prefix, *prefix ? "." : "", key);
}

void oc_define_difference(const json_t *a, const json_t *b, oc_strbuf *out) { list_difference(a, b, "", out); }
