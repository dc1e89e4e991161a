#include "data/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

#define MAX_HEADER ((size_t)100 << 20) /* the limit of the reference implementation */

/* ---- Tensors ------------------------------------------------------------------------------------------------------ */

char *oc_tensor_describe(char *text, size_t size, const oc_tensor_info *t) {
    int n = snprintf(text, size, "%s [", oc_dtype_name(t->dtype));
    for (int i = 0; i < t->n_dims && n > 0 && (size_t)n < size; i++)
        n += snprintf(text + n, size - (size_t)n, "%s%" PRId64, i ? ", " : "", t->shape[i]);
    if (n > 0 && (size_t)n < size) snprintf(text + n, size - (size_t)n, "]");
    return text;
}

oc_status oc_tensor_to_f32(const oc_tensor_info *t, float *out, oc_error *err) {
    size_t n = oc_tensor_elements(t);
    const char *p = t->data; /* may be unaligned: elements are copied out */
    switch (t->dtype) {
    case OC_F32:
        if (n) memcpy(out, p, t->bytes);
        return OC_OK;
    case OC_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            out[i] = oc_bf16_to_f32(h);
        }
        return OC_OK;
    case OC_F16:
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            out[i] = oc_f16_to_f32(h);
        }
        return OC_OK;
    case OC_F64:
        for (size_t i = 0; i < n; i++) {
            double d;
            memcpy(&d, p + 8 * i, 8);
            out[i] = (float)d;
        }
        return OC_OK;
    default:
        return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: tensor '%s' is %s; F32, BF16, F16 or F64 was expected",
                       t->file ? t->file : "tensor", t->name, oc_dtype_name(t->dtype));
    }
}

/* t->bytes from dtype and shape; false when it does not fit into memory's range. */
static bool set_bytes(oc_tensor_info *t) {
    size_t bytes = oc_dtype_size(t->dtype);
    for (int i = 0; i < t->n_dims; i++)
        if (t->shape[i] < 0 || !oc_mul_size(bytes, (size_t)t->shape[i], &bytes) || bytes > INT64_MAX) return false;
    t->bytes = bytes;
    return true;
}

/* ---- Reading: one file -------------------------------------------------------------------------------------------- */

typedef struct shard {
    char *path;
    const char *file; /* its name as the index gives it, in path; path itself for a lone file */
    oc_map map;
    bool mapped; /* map is ours to unmap */
    char *names; /* all tensor names, NUL after each */
    json_t *metadata;
} shard;

struct oc_safetensors {
    shard *shards;
    size_t n_shards;
    oc_tensor_info *tensors; /* file order */
    size_t n;
    const oc_tensor_info **by_name; /* ascending */
};

/* A tensor while its header is checked. */
typedef struct entry {
    oc_tensor_info t;
    uint64_t begin, end; /* from the end of the header */
    size_t order;        /* in the header */
} entry;

static bool parse_dtype(oc_dtype *out, const char *name) {
    for (int i = 0; i < OC_DTYPE_COUNT; i++)
        if (!strcmp(name, oc_dtype_name((oc_dtype)i))) return *out = (oc_dtype)i, true;
    return false;
}

static oc_status parse_shape(oc_tensor_info *t, const json_t *shape, oc_error *err) {
    if (!json_is_array(shape))
        return oc_fail(err, OC_ERR_FORMAT, "%s: tensor '%s': \"shape\" is not an array", t->file, t->name);
    if (json_array_size(shape) > OC_TENSOR_MAX_DIMS)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: tensor '%s' has %zu dimensions, at most %d are supported", t->file,
                       t->name, json_array_size(shape), OC_TENSOR_MAX_DIMS);
    t->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < t->n_dims; i++) {
        const json_t *d = json_array_get(shape, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return oc_fail(err, OC_ERR_FORMAT, "%s: tensor '%s': shape[%d] is not a whole number >= 0", t->file,
                           t->name, i);
        t->shape[i] = json_integer_value(d);
    }
    return OC_OK;
}

/* Reads one header entry and checks what can be checked by itself. e->t.name and .file are set. */
static oc_status parse_entry(entry *e, const json_t *value, uint64_t data_size, oc_error *err) {
    oc_tensor_info *t = &e->t;
    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    if (!json_is_object(value) || !dtype)
        return oc_fail(err, OC_ERR_FORMAT, "%s: tensor '%s': no \"dtype\" in its header entry", t->file, t->name);
    if (!parse_dtype(&t->dtype, dtype))
        return oc_fail(
            err, OC_ERR_UNSUPPORTED,
            "%s: tensor '%s' has dtype \"%s\"; convert it to F32, BF16, F16, F64, I64, I32, I16, I8, U8 or BOOL",
            t->file, t->name, dtype);
    OC_TRY(parse_shape(t, json_object_get(value, "shape"), err));

    const json_t *offsets = json_object_get(value, "data_offsets");
    const json_t *b = json_array_get(offsets, 0), *z = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(z) || json_integer_value(b) < 0 ||
        json_integer_value(z) < json_integer_value(b))
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: tensor '%s': \"data_offsets\" is not [begin, end] with 0 <= begin <= end", t->file,
                       t->name);
    e->begin = (uint64_t)json_integer_value(b);
    e->end = (uint64_t)json_integer_value(z);
    if (e->end > data_size)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: tensor '%s': data_offsets [%" PRIu64 ", %" PRIu64 "] end after the %" PRIu64
                       " bytes of data that the file holds; the file is cut off or damaged, fetch it again",
                       t->file, t->name, e->begin, e->end, data_size);
    char text[256];
    if (!set_bytes(t))
        return oc_fail(err, OC_ERR_FORMAT, "%s: tensor '%s': %s is larger than any file", t->file, t->name,
                       oc_tensor_describe(text, sizeof text, t));
    if (t->bytes != e->end - e->begin)
        return oc_fail(
            err, OC_ERR_FORMAT,
            "%s: tensor '%s': data_offsets [%" PRIu64 ", %" PRIu64 "] hold %" PRIu64 " bytes, but %s needs %zu",
            t->file, t->name, e->begin, e->end, e->end - e->begin, oc_tensor_describe(text, sizeof text, t), t->bytes);
    return OC_OK;
}

static int compare_offsets(const void *pa, const void *pb) {
    const entry *a = pa, *b = pb;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

/* Ranges must follow each other without overlap or gap and fill the file: nothing can hide in it. */
static oc_status check_contiguous(entry *e, size_t n, uint64_t data_size, const char *path, oc_error *err) {
    if (n) qsort(e, n, sizeof *e, compare_offsets);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (e[i].begin != at)
            return oc_fail(
                err, OC_ERR_FORMAT,
                "%s: tensor '%s' begins at data offset %" PRIu64 ", which leaves %s: %" PRIu64 " was expected", path,
                e[i].t.name, e[i].begin, e[i].begin < at ? "an overlap with the tensor before it" : "a gap", at);
        at = e[i].end;
    }
    if (at != data_size)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: %" PRIu64 " bytes follow the last tensor (data offset %" PRIu64
                       "); the header does not belong to this data",
                       path, data_size - at, at);
    return OC_OK;
}

static oc_status check_metadata(const json_t *metadata, const char *path, oc_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) return oc_fail(err, OC_ERR_FORMAT, "%s: \"__metadata__\" is not an object", path);
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value) {
        if (!json_is_string(value))
            return oc_fail(err, OC_ERR_FORMAT, "%s: \"__metadata__\": the value of \"%s\" is not a string", path, key);
    }
    return OC_OK;
}

static size_t names_size(json_t *header) {
    size_t size = 1;
    const char *key;
    json_t *value;
    json_object_foreach(header, key, value) size += strlen(key) + 1;
    return size;
}

/* Checks the header's members and appends its tensors to st. data [data_size] follows the header in the file. */
static oc_status add_tensors(oc_safetensors *st, shard *s, json_t *header, const uint8_t *data, uint64_t data_size,
                             oc_error *err) {
    size_t n = 0, size = json_object_size(header);
    entry *e = NULL;
    oc_status status = OC_OK;
    const char *key;
    json_t *value;
    s->names = oc_alloc(names_size(header));
    e = oc_calloc(size + 1, sizeof *e);
    if (!s->names || !e) {
        status = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for a header of %zu tensors", s->path, size);
        goto done;
    }
    char *name = s->names;
    json_object_foreach(header, key, value) {
        if (!strcmp(key, "__metadata__")) {
            status = check_metadata(value, s->path, err);
            if (status != OC_OK) goto done;
            s->metadata = json_incref(value);
            continue;
        }
        size_t len = strlen(key) + 1;
        e[n].t.name = memcpy(name, key, len);
        name += len;
        e[n].t.file = s->path;
        e[n].order = n;
        status = parse_entry(&e[n], value, data_size, err);
        if (status != OC_OK) goto done;
        n++;
    }
    status = check_contiguous(e, n, data_size, s->path, err);
    if (status != OC_OK) goto done;

    oc_tensor_info *t = oc_realloc(st->tensors, st->n * sizeof *t, (st->n + n + 1) * sizeof *t);
    if (!t) {
        status = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for a header of %zu tensors", s->path, size);
        goto done;
    }
    st->tensors = t;
    for (size_t i = 0; i < n; i++) {
        e[i].t.data = data + e[i].begin;
        st->tensors[st->n++] = e[i].t;
    }
done:
    oc_free(e);
    return status;
}

/* What git leaves in the place of a large file that was not fetched: a few lines of text. */
static bool is_lfs_pointer(const oc_map *m) {
    static const char begin[] = "version https://git-lfs";
    return m->size >= sizeof begin - 1 && memcmp(m->data, begin, sizeof begin - 1) == 0;
}

static oc_status read_shard(oc_safetensors *st, shard *s, oc_error *err) {
    const uint8_t *p = s->map.data;
    if (is_lfs_pointer(&s->map))
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: a Git LFS pointer stands in the file's place; fetch it with git lfs pull", s->path);
    if (s->map.size < 8)
        return oc_fail(err, OC_ERR_FORMAT, "%s: %zu bytes is too short for a safetensors file; fetch it again", s->path,
                       s->map.size);
    uint64_t len = 0;
    for (int i = 7; i >= 0; i--) len = len << 8 | p[i];
    if (len > MAX_HEADER)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: header of %" PRIu64 " bytes (first 8 bytes of the file), at most %zu are "
                       "allowed; is it a safetensors file?",
                       s->path, len, MAX_HEADER);
    if (len > s->map.size - 8)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: the header takes %" PRIu64 " bytes, but the file has %zu; it is cut off, "
                       "fetch it again",
                       s->path, len, s->map.size);
    if (len == 0 || p[8] != '{')
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: the header (position 8) does not begin with '{'; is it a safetensors file?", s->path);
    json_t *header;
    OC_TRY(oc_json_parse(&header, (const char *)p + 8, (size_t)len, s->path, err));
    oc_status status = add_tensors(st, s, header, p + 8 + len, s->map.size - 8 - len, err);
    json_decref(header);
    return status;
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const oc_tensor_info *const *)a)->name, (*(const oc_tensor_info *const *)b)->name);
}

static oc_status index_names(oc_safetensors *st, oc_error *err) {
    size_t bytes = (st->n + 1) * sizeof *st->by_name;
    OC_TRY(oc_alloc_for(&st->by_name, bytes, "the index of tensor names", err));
    for (size_t i = 0; i < st->n; i++) st->by_name[i] = &st->tensors[i];
    if (st->n) qsort(st->by_name, st->n, sizeof *st->by_name, compare_names);
    for (size_t i = 1; i < st->n; i++)
        if (!strcmp(st->by_name[i - 1]->name, st->by_name[i]->name))
            return oc_fail(err, OC_ERR_FORMAT,
                           "tensor '%s' is in two files: %s and %s; remove the one that does not belong",
                           st->by_name[i]->name, st->by_name[i - 1]->file, st->by_name[i]->file);
    return OC_OK;
}

/* ---- Reading: files and folders ----------------------------------------------------------------------------------- */

static oc_status new_reader(oc_safetensors **out, size_t n_shards, oc_error *err) {
    *out = oc_calloc(1, sizeof **out);
    if (*out) (*out)->shards = oc_calloc(n_shards, sizeof *(*out)->shards);
    if (*out && (*out)->shards) return OC_OK;
    oc_safetensors_close(*out);
    *out = NULL;
    return oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu safetensors files", n_shards);
}

/* file: the end of path by which an index calls it. */
static oc_status add_file(oc_safetensors *st, const char *path, const char *file, oc_error *err) {
    shard *s = &st->shards[st->n_shards++];
    s->path = oc_strdup(path);
    if (!s->path) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    s->file = s->path + strlen(path) - strlen(file);
    OC_TRY(oc_map_open(&s->map, path, err));
    s->mapped = true;
    return read_shard(st, s, err);
}

static oc_status open_file(oc_safetensors **out, const char *path, oc_error *err) {
    OC_TRY(new_reader(out, 1, err));
    OC_TRY(add_file(*out, path, path, err));
    return index_names(*out, err);
}

oc_status oc_safetensors_open_memory(oc_safetensors **out, const void *data, size_t size, const char *name,
                                     oc_error *err) {
    oc_status st = new_reader(out, 1, err);
    if (st != OC_OK) return st;
    shard *s = &(*out)->shards[(*out)->n_shards++];
    s->map = (oc_map){.data = data, .size = size};
    s->path = oc_strdup(name);
    if (!s->path) st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", name);
    if (st == OC_OK) st = read_shard(*out, s, err);
    if (st == OC_OK) st = index_names(*out, err);
    if (st != OC_OK) {
        oc_safetensors_close(*out);
        *out = NULL;
    }
    return st;
}

static int compare_strings(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The distinct shard names of a weight_map, ascending: names [n], which point into map. */
static oc_status shard_names(const char **names, size_t *n, json_t *map, const char *index, oc_error *err) {
    const char *tensor;
    json_t *value;
    size_t count = 0;
    json_object_foreach(map, tensor, value) {
        const char *file = json_string_value(value);
        if (!file || !oc_path_is_contained(file))
            return oc_fail(err, OC_ERR_FORMAT,
                           "%s: \"weight_map\": tensor '%s' is said to be in '%s', which is not the name "
                           "of a file inside the folder",
                           index, tensor, file ? file : "(not a string)");
        names[count++] = file;
    }
    qsort(names, count, sizeof *names, compare_strings);
    *n = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[*n - 1])) names[(*n)++] = names[i];
    return OC_OK;
}

/* The file that holds a tensor, by the name that the index has for it. */
static const char *shard_file(const oc_safetensors *st, const oc_tensor_info *t) {
    for (size_t i = 0; i < st->n_shards; i++)
        if (st->shards[i].path == t->file) return st->shards[i].file;
    return "";
}

/* Index and shards say the same: each tensor of the index is in its file, and the files hold no others. */
static oc_status check_index(const oc_safetensors *st, json_t *map, const char *index, oc_error *err) {
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value) {
        const oc_tensor_info *t = oc_safetensors_find(st, tensor);
        const char *file = json_string_value(value);
        if (t && !strcmp(shard_file(st, t), file)) continue;
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: tensor '%s' is not in %s, where the index puts it%s%s; fetch index and shards again", index,
                       tensor, file, t ? ", but in " : "", t ? shard_file(st, t) : "");
    }
    for (size_t i = 0; i < st->n; i++)
        if (!json_object_get(map, st->tensors[i].name))
            return oc_fail(err, OC_ERR_FORMAT,
                           "%s: tensor '%s' of %s is not in the index; they do not belong together, fetch both again",
                           index, st->tensors[i].name, st->tensors[i].file);
    return OC_OK;
}

static oc_status open_index(oc_safetensors **out, const char *dir, const char *index, oc_error *err) {
    json_t *root;
    OC_TRY(oc_json_load(&root, index, MAX_HEADER, err));
    json_t *map = json_object_get(root, "weight_map");
    const char **names = NULL;
    size_t n = 0;
    oc_status st = OC_OK;
    if (!json_is_object(map) || json_object_size(map) == 0) {
        st = oc_fail(err, OC_ERR_FORMAT, "%s: no \"weight_map\" object of tensor and file names", index);
        goto done;
    }
    OC_GO(oc_alloc_for(&names, json_object_size(map) * sizeof *names, "the index of shards", err));
    OC_GO(shard_names(names, &n, map, index, err));
    OC_GO(new_reader(out, n, err));
    for (size_t i = 0; i < n; i++) {
        char *path = oc_path_join(dir, names[i]);
        st = path ? add_file(*out, path, names[i], err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", index);
        oc_free(path);
        if (st != OC_OK) goto done;
    }
    OC_GO(index_names(*out, err));
    OC_GO(check_index(*out, map, index, err));
done:
    oc_free(names);
    json_decref(root);
    return st;
}

static oc_status open_folder(oc_safetensors **out, const char *dir, oc_error *err) {
    char *single = oc_path_join(dir, "model.safetensors");
    char *index = oc_path_join(dir, "model.safetensors.index.json");
    oc_status st;
    if (!single || !index)
        st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    else if (oc_file_exists(single))
        st = open_file(out, single, err);
    else if (oc_file_exists(index))
        st = open_index(out, dir, index, err);
    else
        st = oc_fail(err, OC_ERR_IO,
                     "%s: holds neither model.safetensors nor model.safetensors.index.json; "
                     "convert other weight formats to safetensors first",
                     dir);
    oc_free(single);
    oc_free(index);
    return st;
}

oc_status oc_safetensors_open(oc_safetensors **out, const char *path, oc_error *err) {
    *out = NULL;
    oc_status st = oc_dir_exists(path) ? open_folder(out, path, err) : open_file(out, path, err);
    if (st != OC_OK) {
        oc_safetensors_close(*out);
        *out = NULL;
    }
    return st;
}

void oc_safetensors_close(oc_safetensors *st) {
    if (!st) return;
    for (size_t i = 0; i < st->n_shards; i++) {
        shard *s = &st->shards[i];
        if (s->mapped) oc_map_close(&s->map);
        json_decref(s->metadata);
        oc_free(s->names);
        oc_free(s->path);
    }
    oc_free(st->shards);
    oc_free(st->tensors);
    oc_free(st->by_name);
    oc_free(st);
}

void oc_safetensors_release(const oc_safetensors *st, const oc_tensor_info *t) {
    for (size_t i = 0; i < st->n_shards; i++)
        if (st->shards[i].path == t->file && st->shards[i].mapped)
            oc_map_release(&st->shards[i].map, t->data, t->bytes);
}

size_t oc_safetensors_count(const oc_safetensors *st) { return st->n; }

const oc_tensor_info *oc_safetensors_at(const oc_safetensors *st, size_t i) {
    OC_ASSERT(i < st->n);
    return &st->tensors[i];
}

const oc_tensor_info *oc_safetensors_find(const oc_safetensors *st, const char *name) {
    size_t lo = 0, hi = st->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, st->by_name[mid]->name);
        if (c == 0) return st->by_name[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const char *oc_safetensors_metadata(const oc_safetensors *st, const char *key) {
    for (size_t i = 0; i < st->n_shards; i++) {
        const char *value = json_string_value(json_object_get(st->shards[i].metadata, key));
        if (value) return value;
    }
    return NULL;
}

/* ---- Writing ------------------------------------------------------------------------------------------------------ */

struct oc_safetensors_writer {
    char *path, *tmp;
    FILE *f;
    uint64_t size, written; /* bytes of tensor data: declared, so far */
};

static oc_status fail_errno(oc_error *err, const char *verb, const char *path) {
    int e = errno;
    return oc_fail(err, OC_ERR_IO, "%s: cannot %s: %s", path, verb, strerror(e));
}

static json_t *metadata_object(const oc_metadata *meta, size_t n) {
    json_t *o = json_object();
    bool ok = o != NULL, has_format = false;
    for (size_t i = 0; i < n; i++) has_format |= !strcmp(meta[i].key, "format");
    if (ok && !has_format) ok = json_object_set_new(o, "format", json_string("pt")) == 0;
    for (size_t i = 0; i < n && ok; i++) ok = json_object_set_new(o, meta[i].key, json_string(meta[i].value)) == 0;
    if (ok) return o;
    json_decref(o);
    return NULL;
}

/* {"dtype", "shape", "data_offsets"} */
static json_t *tensor_object(const oc_tensor_info *t, uint64_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dims; i++)
        if (json_array_append_new(shape, json_integer(t->shape[i])) != 0) return json_decref(shape), NULL;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", oc_dtype_name(t->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + t->bytes));
}

/* The header's JSON, allocated by jansson (free), and the number of data bytes that it promises. */
static oc_status make_header(char **text, uint64_t *size, const char *path, const oc_tensor_info *tensors, size_t n,
                             const oc_metadata *meta, size_t n_meta, oc_error *err) {
    *text = NULL;
    *size = 0;
    json_t *root = json_object();
    oc_status st = OC_OK;
    if (!root || json_object_set_new(root, "__metadata__", metadata_object(meta, n_meta)) != 0) {
        st = oc_fail(err, OC_ERR_ARG, "%s: the metadata cannot be written; keys and values must be UTF-8", path);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        oc_tensor_info t = tensors[i];
        if (t.n_dims < 0 || t.n_dims > OC_TENSOR_MAX_DIMS || !set_bytes(&t) || t.bytes > INT64_MAX - *size) {
            st = oc_fail(err, OC_ERR_ARG, "%s: tensor '%s' has an impossible shape", path, t.name);
            goto done;
        }
        if (json_object_get(root, t.name)) {
            st = oc_fail(err, OC_ERR_ARG, "%s: two tensors have the name '%s'", path, t.name);
            goto done;
        }
        if (json_object_set_new(root, t.name, tensor_object(&t, *size)) != 0) {
            st = oc_fail(err, OC_ERR_ARG, "%s: tensor %zu, '%s': the name is not UTF-8, or memory is out", path, i,
                         t.name);
            goto done;
        }
        *size += t.bytes;
    }
    *text = json_dumps(root, JSON_COMPACT);
    if (!*text)
        st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for the header", path);
    else if (strlen(*text) > MAX_HEADER - 8)
        st = oc_fail(err, OC_ERR_ARG, "%s: the header would be larger than %zu bytes", path, MAX_HEADER);
done:
    json_decref(root);
    return st;
}

/* Length, JSON, and spaces up to a multiple of 8. */
static oc_status write_header(oc_safetensors_writer *w, const char *text, oc_error *err) {
    size_t len = strlen(text), padding = (8 - len % 8) % 8;
    uint8_t head[8];
    for (int i = 0; i < 8; i++) head[i] = (uint8_t)((uint64_t)(len + padding) >> (8 * i));
    if (fwrite(head, 1, 8, w->f) != 8 || fwrite(text, 1, len, w->f) != len ||
        fwrite("        ", 1, padding, w->f) != padding)
        return fail_errno(err, "write", w->tmp);
    return OC_OK;
}

oc_status oc_safetensors_writer_open(oc_safetensors_writer **out, const char *path, const oc_tensor_info *tensors,
                                     size_t n, const oc_metadata *meta, size_t n_meta, oc_error *err) {
    *out = NULL;
    char *text = NULL;
    oc_safetensors_writer *w = oc_calloc(1, sizeof *w);
    if (!w) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    oc_status st = OC_OK;
    OC_GO(make_header(&text, &w->size, path, tensors, n, meta, n_meta, err));
    oc_strbuf tmp = {0};
    oc_strbuf_printf(&tmp, "%s.tmp.%ld", path, (long)getpid());
    w->tmp = tmp.data;
    w->path = oc_strdup(path);
    if (tmp.failed || !w->path) {
        st = oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
        goto done;
    }
    w->f = fopen(w->tmp, "wbe");
    if (!w->f) {
        st = fail_errno(err, "create", w->tmp);
        goto done;
    }
    setvbuf(w->f, NULL, _IOFBF, 1 << 20);
    OC_GO(write_header(w, text, err));
done:
    free(text);
    if (st != OC_OK)
        oc_safetensors_writer_abort(w);
    else
        *out = w;
    return st;
}

oc_status oc_safetensors_write(oc_safetensors_writer *w, const void *data, size_t bytes, oc_error *err) {
    if (bytes > w->size - w->written)
        return oc_fail(err, OC_ERR_ARG, "%s: more tensor data than the %" PRIu64 " bytes that were declared", w->path,
                       w->size);
    if (bytes && fwrite(data, 1, bytes, w->f) != bytes) return fail_errno(err, "write", w->tmp);
    w->written += bytes;
    return OC_OK;
}

static oc_status commit(oc_safetensors_writer *w, oc_error *err) {
    if (w->written != w->size)
        return oc_fail(err, OC_ERR_ARG, "%s: %" PRIu64 " bytes of tensor data were declared, %" PRIu64 " were written",
                       w->path, w->size, w->written);
    if (fflush(w->f) != 0 || fsync(fileno(w->f)) < 0) return fail_errno(err, "flush", w->tmp);
    int closed = fclose(w->f);
    w->f = NULL;
    if (closed != 0) return fail_errno(err, "close", w->tmp);
    if (rename(w->tmp, w->path) < 0) return fail_errno(err, "rename to", w->path);
    char *dir = oc_path_dir(w->path);
    oc_status st = dir ? oc_fsync_dir(dir, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", w->path);
    oc_free(dir);
    return st;
}

oc_status oc_safetensors_writer_finish(oc_safetensors_writer *w, oc_error *err) {
    oc_status st = commit(w, err);
    oc_safetensors_writer_abort(w); /* after the rename there is nothing left to remove */
    return st;
}

void oc_safetensors_writer_abort(oc_safetensors_writer *w) {
    if (!w) return;
    if (w->f) fclose(w->f);
    if (w->tmp) unlink(w->tmp);
    oc_free(w->tmp);
    oc_free(w->path);
    oc_free(w);
}

oc_status oc_safetensors_save(const char *path, const oc_tensor_info *tensors, size_t n, const oc_metadata *meta,
                              size_t n_meta, oc_error *err) {
    oc_safetensors_writer *w;
    OC_TRY(oc_safetensors_writer_open(&w, path, tensors, n, meta, n_meta, err));
    for (size_t i = 0; i < n; i++) {
        oc_tensor_info t = tensors[i];
        OC_ASSERT(set_bytes(&t));
        oc_status st = oc_safetensors_write(w, t.data, t.bytes, err);
        if (st != OC_OK) {
            oc_safetensors_writer_abort(w);
            return st;
        }
    }
    return oc_safetensors_writer_finish(w, err);
}
