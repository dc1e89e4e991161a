#include "train/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "model/transfer.h"

static const char BUFFERS[] = "training.safetensors", POSITION[] = "training.json";

/* path + suffix as a new string. */
static oc_status suffixed(char **out, const char *path, const char *suffix, oc_error *err) {
    oc_strbuf b = {0};
    oc_strbuf_printf(&b, "%s%s", path, suffix);
    *out = b.data;
    if (!b.failed) return OC_OK;
    oc_strbuf_free(&b);
    *out = NULL;
    return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
}

static oc_status joined(char **out, const char *dir, const char *name, oc_error *err) {
    *out = oc_path_join(dir, name);
    return *out ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
}

static oc_status save_position(const char *dir, const oc_position *p, oc_error *err) {
    char *path;
    OC_TRY(joined(&path, dir, POSITION, err));
    json_t *o =
        json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I}", "version", 1, "stage", p->stage,
                  "step", (json_int_t)p->step, "updates", (json_int_t)p->updates, "skipped", (json_int_t)p->skipped,
                  "samples", (json_int_t)p->samples, "tokens", (json_int_t)p->tokens, "labels", (json_int_t)p->labels,
                  "epoch", (json_int_t)p->data.epoch, "cursor", (json_int_t)p->data.cursor, "seconds", p->seconds,
                  "total_seconds", p->total_seconds, "seed", (json_int_t)p->seed);
    oc_status st = o ? oc_json_save(o, path, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    json_decref(o);
    oc_free(path);
    return st;
}

static oc_status save_buffers(const char *dir, const oc_state_buffer *buffers, int n, oc_error *err) {
    char *path;
    OC_TRY(joined(&path, dir, BUFFERS, err));
    oc_tensor_info *info = oc_calloc((size_t)n, sizeof *info);
    oc_readable *read = oc_calloc((size_t)n, sizeof *read);
    oc_status st = info && read ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    for (int i = 0; st == OC_OK && i < n; i++) {
        const size_t bytes = buffers[i].n * oc_dtype_size(buffers[i].t);
        st = oc_read_back(&read[i], buffers[i].device, buffers[i].data, bytes, err);
        info[i] = (oc_tensor_info){.name = buffers[i].name,
                                   .dtype = buffers[i].t,
                                   .n_dims = 1,
                                   .shape = {(int64_t)buffers[i].n},
                                   .data = read[i].p,
                                   .bytes = bytes};
    }
    if (st == OC_OK) st = oc_safetensors_save(path, info, (size_t)n, NULL, 0, err);
    for (int i = 0; read && i < n; i++) oc_readable_free(&read[i]);
    oc_free(read);
    oc_free(info);
    oc_free(path);
    return st;
}

/* Puts the finished folder `fresh` in the place of dir; what was there waits as `old` until the new one stands, on disk. */
static oc_status swap_in(const char *fresh, const char *dir, const char *old, oc_error *err) {
    OC_TRY(oc_fsync_dir(fresh, err));
    if (oc_dir_exists(dir)) {
        OC_TRY(oc_remove_tree(old, err));
        if (rename(dir, old) < 0) return oc_fail(err, OC_ERR_IO, "%s: cannot move it aside: %s", dir, strerror(errno));
    }
    if (rename(fresh, dir) < 0)
        return oc_fail(err, OC_ERR_IO, "%s: cannot rename to %s: %s", fresh, dir, strerror(errno));
    char *parent = oc_path_dir(dir);
    oc_status st = parent ? oc_fsync_dir(parent, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    oc_free(parent);
    return st == OC_OK ? oc_remove_tree(old, err) : st;
}

static oc_status save_folder(const char *dir, const oc_vlm *model, const oc_tokenizer *tokenizer, const char *stage,
                             const oc_position *pos, const oc_state_buffer *buffers, int n, oc_error *err) {
    char *fresh = NULL, *old = NULL;
    oc_status st;
    OC_GO(suffixed(&fresh, dir, ".new", err));
    OC_GO(suffixed(&old, dir, ".old", err));
    OC_GO(oc_remove_tree(fresh, err));
    OC_GO(oc_make_dirs(fresh, err));
    if (model) OC_GO(oc_weights_save(model, fresh, &(oc_save_options){.dtype = OC_F32, .stage = stage}, err));
    if (tokenizer) OC_GO(oc_tokenizer_save(tokenizer, fresh, err));
    if (n > 0) OC_GO(save_buffers(fresh, buffers, n, err));
    if (pos) OC_GO(save_position(fresh, pos, err)); /* last: its presence says that the rest is whole */
    OC_GO(swap_in(fresh, dir, old, err));
done:
    oc_free(fresh);
    oc_free(old);
    return st;
}

oc_status oc_checkpoint_save(const char *dir, const oc_vlm *model, const oc_tokenizer *tokenizer, const char *stage,
                             const oc_position *pos, const oc_state_buffer *buffers, int n, oc_error *err) {
    return save_folder(dir, model, tokenizer, stage, pos, buffers, n, err);
}

oc_status oc_model_save_atomic(const char *dir, const oc_vlm *model, const oc_tokenizer *tokenizer, const char *stage,
                               oc_error *err) {
    return save_folder(dir, model, tokenizer, stage, NULL, NULL, 0, err);
}

oc_status oc_checkpoint_find(const char *dir, char **found, oc_error *err) {
    static const char *const suffix[] = {"", ".old"};
    *found = NULL;
    for (size_t i = 0; i < OC_COUNT(suffix) && !*found; i++) {
        char *candidate, *file;
        OC_TRY(suffixed(&candidate, dir, suffix[i], err));
        oc_status st = joined(&file, candidate, POSITION, err);
        if (st == OC_OK && oc_file_exists(file))
            *found = candidate;
        else
            oc_free(candidate);
        oc_free(file);
        OC_TRY(st);
    }
    return OC_OK;
}

/* A count that must be there. */
static oc_status read_count(const json_t *o, const char *key, int64_t max, int64_t *out, const char *where,
                            oc_error *err) {
    const json_t *v = json_object_get(o, key);
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    if (n < 0 || n > max)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: \"%s\" is missing or not a count from 0 to %lld; is this a training state of this program?",
                       where, key, (long long)max);
    *out = n;
    return OC_OK;
}

static oc_status read_position(oc_position *p, const json_t *o, const char *where, oc_error *err) {
    int64_t version, stage, seed;
    struct {
        const char *key;
        int64_t *out, max;
    } counts[] = {
        {"version", &version, 1},
        {"stage", &stage, 1 << 20},
        {"step", &p->step, INT32_MAX},
        {"updates", &p->updates, INT32_MAX},
        {"skipped", &p->skipped, INT32_MAX},
        {"samples", &p->samples, INT64_MAX},
        {"tokens", &p->tokens, INT64_MAX},
        {"labels", &p->labels, INT64_MAX},
        {"epoch", &p->data.epoch, INT32_MAX},
        {"cursor", &p->data.cursor, INT64_MAX},
        {"seed", &seed, INT64_MAX},
    };
    for (size_t i = 0; i < OC_COUNT(counts); i++)
        OC_TRY(read_count(o, counts[i].key, counts[i].max, counts[i].out, where, err));
    if (version != 1) return oc_fail(err, OC_ERR_FORMAT, "%s: version %lld; 1 was expected", where, (long long)version);
    p->stage = (int)stage;
    p->seed = (uint64_t)seed;
    OC_TRY(oc_json_get_double(o, "seconds", 0, 1e12, &p->seconds, where, err));
    return oc_json_get_double(o, "total_seconds", 0, 1e12, &p->total_seconds, where, err);
}

oc_status oc_checkpoint_load_position(const char *found, oc_position *p, oc_error *err) {
    char *path;
    json_t *o = NULL;
    memset(p, 0, sizeof *p);
    OC_TRY(joined(&path, found, POSITION, err));
    oc_status st = oc_json_load(&o, path, 1 << 20, err);
    if (st == OC_OK) st = read_position(p, o, path, err);
    json_decref(o);
    oc_free(path);
    return st;
}

oc_status oc_checkpoint_load_buffers(const char *found, const oc_state_buffer *buffers, int n, oc_error *err) {
    char *path;
    oc_safetensors *file = NULL;
    OC_TRY(joined(&path, found, BUFFERS, err));
    oc_status st = oc_safetensors_open(&file, path, err);
    for (int i = 0; st == OC_OK && i < n; i++) {
        const oc_tensor_info *t = oc_safetensors_find(file, buffers[i].name);
        if (!t)
            st = oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is missing; was the recipe changed since this checkpoint?",
                         path, buffers[i].name);
        else if (oc_tensor_elements(t) != buffers[i].n)
            st = oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" has %zu values, %zu were expected; was the recipe changed?",
                         path, buffers[i].name, oc_tensor_elements(t), buffers[i].n);
        else if (t->dtype != buffers[i].t)
            st = oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is %s, %s was expected; was the recipe's `moments` changed?",
                         path, buffers[i].name, oc_dtype_name(t->dtype), oc_dtype_name(buffers[i].t));
        else if (buffers[i].device)
            buffers[i].device->ops.upload(buffers[i].device, buffers[i].data, t->data, t->bytes);
        else
            memcpy(buffers[i].data, t->data, t->bytes);
    }
    oc_safetensors_close(file);
    oc_free(path);
    return st;
}
