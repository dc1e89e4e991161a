#include "data/image_store.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/tar.h"

typedef struct shard {
    oc_tar *tar;
    oc_tar_index index;
} shard;

struct oc_image_store {
    char *folder; /* or NULL, and then shards */
    shard *shard;
    size_t n_shards;
    bool flat;
};

enum { MAX_IMAGE_BYTES = 256 << 20, MAX_SHARDS = 100000 };

static oc_status no_memory(oc_error *err) {
    return oc_fail(err, OC_ERR_NOMEM, "out of memory for the list of picture shards");
}

/* ---- Shard patterns ------------------------------------------------------------------------------------------------ */

typedef struct path_list {
    char **path;
    size_t n, capacity;
} path_list;

static oc_status add_path(path_list *l, char *path, oc_error *err) {
    if (!path) return no_memory(err);
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 16;
        char **p = oc_realloc(l->path, l->n * sizeof *p, capacity * sizeof *p);
        if (!p) {
            oc_free(path);
            return no_memory(err);
        }
        l->path = p;
        l->capacity = capacity;
    }
    l->path[l->n++] = path;
    return OC_OK;
}

static void free_paths(path_list *l) {
    for (size_t i = 0; i < l->n; i++) oc_free(l->path[i]);
    oc_free(l->path);
}

/* "name-{000000..000012}.tar" */
static oc_status expand_range(path_list *l, const char *where, const char *brace, oc_error *err) {
    char *end;
    long first = strtol(brace + 1, &end, 10);
    int width = (int)(end - brace - 1);
    if (brace[1] < '0' || brace[1] > '9' || width > 12 || strncmp(end, "..", 2)) goto bad;
    const char *second = end + 2;
    long last = strtol(second, &end, 10);
    if (*second < '0' || *second > '9' || *end != '}' || last < first || last - first >= MAX_SHARDS) goto bad;
    for (long i = first; i <= last; i++) {
        oc_strbuf b = {.max = 8192};
        oc_strbuf_printf(&b, "%.*s%0*ld%s", (int)(brace - where), where, width, i, end + 1);
        if (b.failed) {
            oc_strbuf_free(&b);
            return no_memory(err);
        }
        OC_TRY(add_path(l, b.data, err));
    }
    return OC_OK;
bad:
    return oc_fail(err, OC_ERR_ARG, "%s: not a range of shards; name-{000000..000012}.tar is one", where);
}

static oc_status expand_glob(path_list *l, const char *where, oc_error *err) {
    glob_t g;
    int rc = glob(where, 0, NULL, &g);
    if (rc != 0) return oc_fail(err, OC_ERR_IO, "%s: no folder, tar file or shards of that name", where);
    oc_status st = OC_OK;
    for (size_t i = 0; i < g.gl_pathc && st == OC_OK; i++) st = add_path(l, oc_strdup(g.gl_pathv[i]), err);
    globfree(&g);
    return st;
}

static oc_status open_shards(oc_image_store *s, const path_list *l, oc_error *err) {
    s->shard = oc_calloc(l->n, sizeof *s->shard);
    if (!s->shard) return no_memory(err);
    for (size_t i = 0; i < l->n; i++) {
        OC_TRY(oc_tar_open(&s->shard[i].tar, l->path[i], err));
        s->n_shards = i + 1;
        OC_TRY(oc_tar_index_open(&s->shard[i].index, s->shard[i].tar, err));
    }
    return OC_OK;
}

oc_status oc_image_store_open(oc_image_store **out, const char *where, oc_error *err) {
    oc_image_store *s = oc_calloc(1, sizeof *s);
    path_list l = {0};
    *out = NULL;
    if (!s) return no_memory(err);
    oc_status st = OC_OK;
    const char *brace = strchr(where, '{');
    if (oc_dir_exists(where)) {
        s->folder = oc_strdup(where);
        if (!s->folder) st = no_memory(err);
    } else {
        st = brace ? expand_range(&l, where, brace, err) : expand_glob(&l, where, err);
        if (st == OC_OK) st = open_shards(s, &l, err);
    }
    free_paths(&l);
    if (st == OC_OK)
        *out = s;
    else
        oc_image_store_close(s);
    return st;
}

void oc_image_store_close(oc_image_store *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_shards; i++) {
        oc_tar_index_close(&s->shard[i].index);
        oc_tar_close(s->shard[i].tar);
    }
    oc_free(s->shard);
    oc_free(s->folder);
    oc_free(s);
}

void oc_image_store_set_flat(oc_image_store *s, bool flat) { s->flat = flat; }

/* Archives made of a folder by "tar -C folder ." hold "./name". */
static const oc_tar_entry *find(const oc_image_store *s, const char *name) {
    char dotted[1024];
    int len = snprintf(dotted, sizeof dotted, "./%s", name);
    for (size_t i = 0; i < s->n_shards; i++) {
        const oc_tar_entry *e = oc_tar_find(&s->shard[i].index, name);
        if (!e && len < (int)sizeof dotted) e = oc_tar_find(&s->shard[i].index, dotted);
        if (e) return e;
    }
    return NULL;
}

oc_status oc_image_store_get(const oc_image_store *s, const char *name, const uint8_t **data, size_t *size,
                             void **owned, oc_error *err) {
    *data = NULL;
    *size = 0;
    *owned = NULL;
    if (s->flat) name = oc_path_base(name);
    if (!s->folder) {
        const oc_tar_entry *e = find(s, name);
        if (!e) return oc_fail(err, OC_ERR_IO, "%s: no such member in the %zu shards", name, s->n_shards);
        *data = e->data;
        *size = e->size;
        return OC_OK;
    }
    if (!oc_path_is_contained(name)) return oc_fail(err, OC_ERR_FORMAT, "%s: leaves the picture folder", name);
    char *path = oc_path_join(s->folder, name), *bytes = NULL;
    if (!path) return no_memory(err);
    oc_status st = oc_file_read(&bytes, size, path, MAX_IMAGE_BYTES, err);
    oc_free(path);
    *data = (const uint8_t *)bytes;
    *owned = bytes;
    return st;
}

bool oc_image_store_has(const oc_image_store *s, const char *name) {
    if (s->flat) name = oc_path_base(name);
    if (!s->folder) return find(s, name) != NULL;
    if (!oc_path_is_contained(name)) return false;
    char *path = oc_path_join(s->folder, name);
    bool has = path && oc_file_exists(path);
    oc_free(path);
    return has;
}
