#include "model/weights.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

/* ---- Names --------------------------------------------------------------------------------------------------------- */

typedef struct rename_rule {
    const char *from, *to;
} rename_rule;

/* Applied in order, each at most once, to the beginning of the name. */
static const rename_rule RULES[] = {
    {"model.", ""},
    {"language_model.model.", "language_model."},
    {"language_model.lm_head.", "lm_head."},
    {"layers.", "language_model.layers."},
    {"embed_tokens.", "language_model.embed_tokens."},
    {"norm.", "language_model.norm."},
    {"vision_tower.vision_tower.", "vision_tower."},
    {"vision_tower.vision_model.", "vision_tower."},
    {"vision_model.", "vision_tower."},
    {"mm_projector.0.", "multi_modal_projector.linear_1."},
    {"mm_projector.2.", "multi_modal_projector.linear_2."},
};

bool oc_weights_canonical(char *out, size_t size, const char *name) {
    if (strlen(name) >= size) return false;
    strcpy(out, name);
    for (size_t i = 0; i < OC_COUNT(RULES); i++) {
        size_t from = strlen(RULES[i].from), to = strlen(RULES[i].to), len = strlen(out);
        if (strncmp(out, RULES[i].from, from)) continue;
        if (len - from + to >= size) return false;
        memmove(out + to, out + from, len - from + 1);
        memcpy(out, RULES[i].to, to);
    }
    return true;
}

/* Tensors that checkpoints hold and this model knowingly does without; a final '.' stands for all that is below. */
static const char *const SKIPPED[] = {
    /* SigLIP's pooling head: LLaVA reads the patches */
    "vision_tower.head.probe", "vision_tower.head.attention.", "vision_tower.head.layernorm.", "vision_tower.head.mlp.",
    /* SigLIP's text tower */
    "text_model.embeddings.", "text_model.encoder.layers.", "text_model.final_layer_norm.", "text_model.head.",
    /* of SigLIP's loss */
    "logit_scale", "logit_bias",
    /* LLaVA-OneVision's row separator for image tiles */
    "image_newline",
    /* buffers that older files hold, computed here */
    "vision_tower.embeddings.position_ids", "language_model.rotary_emb.inv_freq"};

static bool is_skipped(const char *canonical, const oc_config *cfg) {
    for (size_t i = 0; i < OC_COUNT(SKIPPED); i++) {
        size_t n = strlen(SKIPPED[i]);
        if (SKIPPED[i][n - 1] == '.' ? !strncmp(canonical, SKIPPED[i], n) : !strcmp(canonical, SKIPPED[i])) return true;
    }
    int layer, end = 0; /* one buffer a layer in files before transformers 4.32 */
    if (sscanf(canonical, "language_model.layers.%d.self_attn.rotary_emb.inv_freq%n", &layer, &end) == 1 && end > 0 &&
        !canonical[end])
        return true;
    return cfg->text.tied && !strcmp(canonical, "lm_head.weight"); /* a copy of the embedding table: check_tied_head */
}

static const char *part_prefix(oc_part p) {
    static const char *const prefix[OC_PART_COUNT] = {"vision_tower.", "multi_modal_projector.", "language_model."};
    return prefix[p];
}

static bool in_unwanted_part(const char *canonical, const bool want[OC_PART_COUNT]) {
    for (int i = 0; i < OC_PART_COUNT; i++)
        if (!want[i] && !strncmp(canonical, part_prefix((oc_part)i), strlen(part_prefix((oc_part)i)))) return true;
    return !want[OC_PART_LM] && !strcmp(canonical, "lm_head.weight");
}

/* ---- Loading ------------------------------------------------------------------------------------------------------- */

static bool same_shape(const oc_param *r, const oc_tensor_info *t) {
    if (t->n_dims != r->n_dims) return false;
    for (int i = 0; i < r->n_dims; i++)
        if (t->shape[i] != r->shape[i]) return false;
    return true;
}

static void describe_shape(char *out, size_t size, const oc_param *r) {
    size_t n = 0;
    for (int i = 0; i < r->n_dims && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%d", i ? ", " : "[", r->shape[i]);
    if (n < size) snprintf(out + n, size - n, "]");
}

/* What the tensors of a file are measured against: the table of a model, and the parts that are wanted of it. */
typedef struct target {
    oc_params *params;
    const oc_config *cfg;
    const bool *want; /* [OC_PART_COUNT] */
    bool fill;        /* else only checked: params then has no memory yet */
} target;

enum { CHUNK = 4096 }; /* elements that are converted at a time */

static oc_status fill_row(const target *g, int row, const oc_tensor_info *t, oc_error *err) {
    float *w = oc_params_weight(g->params, row), piece[CHUNK];
    if (w && g->params->compute->ops.host_memory) return oc_tensor_to_f32(t, w, err);
    const size_t n = g->params->row[row].n, size = t->bytes / n;
    for (size_t i = 0; i < n; i += CHUNK) {
        oc_tensor_info part = *t;
        part.n_dims = 1;
        part.shape[0] = (int64_t)OC_MIN((size_t)CHUNK, n - i);
        part.data = (const char *)t->data + i * size;
        part.bytes = (size_t)part.shape[0] * size;
        OC_TRY(oc_tensor_to_f32(&part, piece, err));
        oc_params_write(g->params, row, i, piece, (size_t)part.shape[0]);
    }
    return OC_OK;
}

static oc_status load_tensor(const target *g, const oc_safetensors *st, const oc_tensor_info *t, uint8_t *seen,
                             oc_error *err) {
    char name[256], wanted[96], found[96];
    if (!oc_weights_canonical(name, sizeof name, t->name))
        return oc_fail(err, OC_ERR_FORMAT, "%s: the tensor name \"%.80s...\" is too long", t->file, t->name);
    if (in_unwanted_part(name, g->want) || is_skipped(name, g->cfg)) return OC_OK;
    int row = oc_params_find(g->params, name);
    if (row < 0)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: unknown tensor \"%s\"; this model has no such part (does config.json belong to it?)",
                       t->file, t->name);
    const oc_param *r = &g->params->row[row];
    if (!same_shape(r, t)) {
        describe_shape(wanted, sizeof wanted, r);
        return oc_fail(err, OC_ERR_FORMAT, "%s: tensor \"%s\" is %s, config.json asks for %s", t->file, t->name,
                       oc_tensor_describe(found, sizeof found, t), wanted);
    }
    if (seen[row]) return oc_fail(err, OC_ERR_FORMAT, "%s: two tensors mean \"%s\"", t->file, name);
    seen[row] = 1;
    if (t->dtype != OC_F32 && t->dtype != OC_BF16 && t->dtype != OC_F16 && t->dtype != OC_F64)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: tensor \"%s\" is %s; weights are F32, BF16, F16 or F64", t->file,
                       t->name, oc_tensor_describe(found, sizeof found, t));
    if (!g->fill) return OC_OK;
    OC_TRY(fill_row(g, row, t, err));
    oc_safetensors_release(st, t);
    return OC_OK;
}

static const oc_tensor_info *find_canonical(const oc_safetensors *st, const char *wanted) {
    char name[256];
    for (size_t i = 0; i < oc_safetensors_count(st); i++) {
        const oc_tensor_info *t = oc_safetensors_at(st, i);
        if (oc_weights_canonical(name, sizeof name, t->name) && !strcmp(name, wanted)) return t;
    }
    return NULL;
}

/* Where config.json ties the head to the embedding table, a head in the file must be a copy of it: skipping another one
 * would give a model that nobody trained. */
static oc_status check_tied_head(const target *g, const oc_safetensors *st, oc_error *err) {
    if (!g->cfg->text.tied || !g->want[OC_PART_LM]) return OC_OK;
    const oc_tensor_info *head = find_canonical(st, "lm_head.weight"),
                         *table = find_canonical(st, "language_model.embed_tokens.weight");
    if (!head || !table) return OC_OK;
    bool same =
        head->dtype == table->dtype && head->bytes == table->bytes && !memcmp(head->data, table->data, head->bytes);
    oc_safetensors_release(st, head);
    oc_safetensors_release(st, table);
    if (same) return OC_OK;
    return oc_fail(
        err, OC_ERR_FORMAT,
        "%s: tensor \"%s\" differs from the embedding table, to which config.json ties it; if it is meant to, "
        "write \"tie_word_embeddings\": false there",
        head->file, head->name);
}

/* Some files leave post_layernorm out, since nothing reads it. It is then what a fresh model has. */
static bool may_be_missing(const oc_param *r) { return !strncmp(r->name, "vision_tower.post_layernorm.", 28); }

static void fill_fresh(const target *g, int row) {
    const oc_param *r = &g->params->row[row];
    const float value = r->init_std < 0 ? 1.0f : 0.0f;
    for (size_t i = 0; i < r->n; i++) oc_params_write(g->params, row, i, &value, 1);
}

static oc_status check_missing(const target *g, const char *where, const uint8_t *seen, oc_error *err) {
    char list[384] = "";
    int missing = 0;
    for (int i = 0; i < g->params->count; i++) {
        const oc_param *r = &g->params->row[i];
        if (!g->want[r->part] || seen[i]) continue;
        if (may_be_missing(r)) {
            if (g->fill) fill_fresh(g, i);
            continue;
        }
        size_t n = strlen(list);
        if (missing++ < 3) snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", r->name);
    }
    if (!missing) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "%s: %d tensor%s missing: %s%s", where, missing, missing > 1 ? "s are" : " is",
                   list, missing > 3 ? ", ..." : "");
}

static oc_status load_tensors(const target *g, const oc_safetensors *st, const char *where, oc_error *err) {
    uint8_t *seen = oc_calloc((size_t)g->params->count, 1);
    if (!seen) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", where);
    oc_status status = OC_OK;
    for (size_t i = 0; status == OC_OK && i < oc_safetensors_count(st); i++)
        status = load_tensor(g, st, oc_safetensors_at(st, i), seen, err);
    if (status == OC_OK) status = check_missing(g, where, seen, err);
    if (status == OC_OK && g->fill) status = check_tied_head(g, st, err);
    oc_free(seen);
    return status;
}

oc_status oc_weights_load_from(oc_vlm *m, const oc_safetensors *st, const char *where, const bool want[OC_PART_COUNT],
                               oc_error *err) {
    const target g = {.params = &m->params, .cfg = &m->cfg, .want = want, .fill = true};
    OC_TRY(load_tensors(&g, st, where, err));
    oc_vlm_weights_changed(m, want);
    return OC_OK;
}

oc_status oc_weights_load(oc_vlm *m, const char *dir, const bool want[OC_PART_COUNT], oc_error *err) {
    oc_safetensors *file;
    OC_TRY(oc_safetensors_open(&file, dir, err));
    oc_status st = oc_weights_load_from(m, file, dir, want, err);
    oc_safetensors_close(file);
    return st;
}

/* The projector's width is a property of its weight, not of the configuration, in files from elsewhere. */
static void projector_width(oc_config *cfg, const oc_safetensors *file) {
    if (!cfg->has_vision || !cfg->has_text) return;
    const oc_tensor_info *t = find_canonical(file, "multi_modal_projector.linear_1.weight");
    if (t && t->n_dims == 2 && t->shape[0] > 0 && t->shape[0] <= 65536) cfg->projector.hidden = (int)t->shape[0];
}

/* Are all tensors there? Asked before memory is taken, so that a configuration cannot claim more than its files hold. */
static oc_status check_tensors(const oc_config *cfg, const oc_safetensors *file, const char *dir,
                               const bool want[OC_PART_COUNT], oc_error *err) {
    oc_params p;
    OC_TRY(oc_params_build(&p, cfg, err));
    const target g = {.params = &p, .cfg = cfg, .want = want};
    oc_status st = load_tensors(&g, file, dir, err);
    oc_params_close(&p);
    return st;
}

oc_status oc_weights_check(oc_config *cfg, const char *dir, const bool want[OC_PART_COUNT], oc_error *err) {
    oc_safetensors *file;
    OC_TRY(oc_safetensors_open(&file, dir, err));
    if (want[OC_PART_PROJECTOR]) projector_width(cfg, file);
    oc_status st = check_tensors(cfg, file, dir, want, err);
    oc_safetensors_close(file);
    return st;
}

oc_status oc_weights_open(oc_vlm *out, oc_compute *c, const char *dir, oc_dtype t, oc_error *err) {
    return oc_weights_open_typed(out, c, dir, t, OC_F32, err);
}

oc_status oc_weights_open_typed(oc_vlm *out, oc_compute *c, const char *dir, oc_dtype t, oc_dtype weights,
                                oc_error *err) {
    oc_config cfg;
    oc_safetensors *file = NULL;
    memset(out, 0, sizeof *out);
    OC_TRY(oc_config_load(&cfg, dir, err));
    OC_TRY(oc_safetensors_open(&file, dir, err));
    projector_width(&cfg, file);
    bool want[OC_PART_COUNT] = {cfg.has_vision, cfg.has_vision && cfg.has_text, cfg.has_text};
    oc_status st = check_tensors(&cfg, file, dir, want, err);
    if (st == OC_OK) st = oc_vlm_create_typed(out, c, &cfg, t, weights, err);
    if (st == OC_OK) st = oc_weights_load_from(out, file, dir, want, err);
    if (st != OC_OK) oc_vlm_close(out);
    oc_safetensors_close(file);
    return st;
}

/* ---- Saving -------------------------------------------------------------------------------------------------------- */

/* The name under which a parameter is written. */
static void file_name(char *out, size_t size, const oc_param *r, const oc_config *cfg) {
    bool vlm = cfg->has_vision && cfg->has_text;
    const char *rest = strchr(r->name, '.');
    if (r->part == OC_PART_VISION)
        snprintf(out, size, "%s%s", vlm ? "vision_tower.vision_model" : "vision_model", rest);
    else if (r->part == OC_PART_LM && !strncmp(r->name, "lm_head", 7))
        snprintf(out, size, "%s%s", vlm ? "language_model." : "", r->name);
    else if (r->part == OC_PART_LM)
        snprintf(out, size, "%s%s", vlm ? "language_model.model" : "model", rest);
    else
        snprintf(out, size, "%s", r->name);
}

static oc_status write_param(oc_safetensors_writer *w, const oc_vlm *m, int row, oc_dtype dtype, oc_error *err) {
    size_t n = m->params.row[row].n;
    float wide[CHUNK];
    uint16_t half[CHUNK];
    for (size_t i = 0; i < n; i += CHUNK) {
        size_t k = OC_MIN((size_t)CHUNK, n - i);
        oc_params_read(&m->params, row, i, wide, k);
        if (dtype == OC_F32) {
            OC_TRY(oc_safetensors_write(w, wide, k * sizeof *wide, err));
            continue;
        }
        for (size_t j = 0; j < k; j++) half[j] = oc_f32_to_bf16(wide[j]);
        OC_TRY(oc_safetensors_write(w, half, k * sizeof *half, err));
    }
    return OC_OK;
}

/* Rows [first, end) of the table into one file. */
static oc_status write_file(const oc_vlm *m, const char *path, const oc_tensor_info *info, int first, int end,
                            oc_dtype dtype, oc_error *err) {
    oc_safetensors_writer *w;
    OC_TRY(oc_safetensors_writer_open(&w, path, info + first, (size_t)(end - first), NULL, 0, err));
    oc_status st = OC_OK;
    for (int i = first; i < end && st == OC_OK; i++) st = write_param(w, m, i, dtype, err);
    if (st == OC_OK) return oc_safetensors_writer_finish(w, err);
    oc_safetensors_writer_abort(w);
    return st;
}

static int shard_end(const oc_params *p, int first, size_t limit, oc_dtype dtype) {
    size_t bytes = 0;
    int i = first;
    for (; i < p->count; i++) {
        bytes += p->row[i].n * oc_dtype_size(dtype);
        if (limit && bytes > limit && i > first) break;
    }
    return i;
}

static oc_status write_weights(const oc_vlm *m, const char *dir, const oc_tensor_info *info, const oc_save_options *opt,
                               oc_error *err) {
    int shards = 0, count = m->params.count;
    for (int i = 0; i < count; i = shard_end(&m->params, i, opt->shard_bytes, opt->dtype)) shards++;
    json_t *map = json_object();
    size_t total = 0;
    oc_status st = OC_OK;
    for (int first = 0, k = 1, end; st == OC_OK && first < count; first = end, k++) {
        end = shard_end(&m->params, first, opt->shard_bytes, opt->dtype);
        char name[64] = "model.safetensors";
        if (shards > 1) snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", k, shards);
        char *path = oc_path_join(dir, name);
        st = path ? write_file(m, path, info, first, end, opt->dtype, err)
                  : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
        oc_free(path);
        for (int i = first; i < end; i++) {
            json_object_set_new(map, info[i].name, json_string(name));
            total += m->params.row[i].n * oc_dtype_size(opt->dtype);
        }
    }
    char *stale =
        oc_path_join(dir, shards > 1 ? "model.safetensors" : "model.safetensors.index.json"); /* of an earlier save */
    if (st == OC_OK) st = stale ? oc_remove_tree(stale, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    oc_free(stale);
    if (st == OC_OK && shards > 1) {
        json_t *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
        char *path = oc_path_join(dir, "model.safetensors.index.json");
        st = index && path ? oc_json_save(index, path, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
        oc_free(path);
        json_decref(index);
    }
    json_decref(map);
    return st;
}

oc_status oc_weights_save(const oc_vlm *m, const char *dir, const oc_save_options *opt, oc_error *err) {
    enum { NAME = 160 };
    int count = m->params.count;
    OC_TRY(oc_make_dirs(dir, err));
    oc_tensor_info *info = oc_calloc((size_t)count, sizeof *info);
    char *names = oc_calloc((size_t)count, NAME);
    oc_status st = info && names ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    for (int i = 0; st == OC_OK && i < count; i++) {
        const oc_param *r = &m->params.row[i];
        char *name = names + (size_t)i * NAME;
        file_name(name, NAME, r, &m->cfg);
        info[i] = (oc_tensor_info){.name = name, .dtype = opt->dtype, .n_dims = r->n_dims};
        for (int d = 0; d < r->n_dims; d++) info[i].shape[d] = r->shape[d];
    }
    if (st == OC_OK) st = oc_config_save(&m->cfg, dir, opt->dtype, opt->stage, err);
    if (st == OC_OK) st = write_weights(m, dir, info, opt, err);
    oc_free(info);
    oc_free(names);
    return st;
}
