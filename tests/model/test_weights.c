/* Weights in and out: every spelling of the names means the same tensor, what is written is read back bit for bit (one
 * file or many, float32 or bf16), towers join from folders of their own, and a folder that lacks a tensor, holds one too
 * many or lies about sizes is refused with the tensor's name, before memory is taken. */
#include "small.h"

static oc_error err;
static const bool ONLY_VISION[OC_PART_COUNT] = {[OC_PART_VISION] = true}, ONLY_LM[OC_PART_COUNT] = {[OC_PART_LM] = true};

static void write_text(const char *dir, const char *name, const char *text) {
    char *path = oc_path_join(dir, name);
    small_ok(oc_file_write_atomic(path, text, strlen(text), &err), &err);
    oc_free(path);
}

static void assert_same_weights(const oc_vlm *a, const oc_vlm *b, oc_part part) {
    for (int i = 0; i < a->params.count; i++) {
        const oc_param *r = &a->params.row[i];
        if (r->part != part) continue;
        int row = oc_params_find(&b->params, r->name);
        if (row < 0 || memcmp(oc_params_weight(&a->params, i), oc_params_weight(&b->params, row), r->n * sizeof(float))) fail_msg("%s is not the same", r->name);
    }
}

/* ---- Names --------------------------------------------------------------------------------------------------------- */

static void names(void **state) {
    OC_UNUSED(state);
    static const struct { const char *name, *want; } all[] = {
        {"vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", "vision_tower.encoder.layers.0.mlp.fc1.weight"},
        {"model.vision_tower.vision_tower.vision_model.post_layernorm.bias", "vision_tower.post_layernorm.bias"},
        {"model.vision_tower.encoder.layers.2.layer_norm1.weight", "vision_tower.encoder.layers.2.layer_norm1.weight"},
        {"vision_model.embeddings.patch_embedding.weight", "vision_tower.embeddings.patch_embedding.weight"},
        {"model.mm_projector.0.weight", "multi_modal_projector.linear_1.weight"},
        {"mm_projector.2.bias", "multi_modal_projector.linear_2.bias"},
        {"model.multi_modal_projector.linear_1.bias", "multi_modal_projector.linear_1.bias"},
        {"language_model.model.layers.0.self_attn.q_proj.weight", "language_model.layers.0.self_attn.q_proj.weight"},
        {"model.language_model.layers.0.self_attn.q_proj.weight", "language_model.layers.0.self_attn.q_proj.weight"},
        {"model.layers.11.mlp.up_proj.weight", "language_model.layers.11.mlp.up_proj.weight"},
        {"model.embed_tokens.weight", "language_model.embed_tokens.weight"},
        {"model.norm.weight", "language_model.norm.weight"},
        {"language_model.lm_head.weight", "lm_head.weight"},
        {"lm_head.weight", "lm_head.weight"},
        {"something.else", "something.else"},
    };
    char out[128];
    for (size_t i = 0; i < OC_COUNT(all); i++) {
        assert_true(oc_weights_canonical(out, sizeof out, all[i].name));
        assert_string_equal(out, all[i].want);
    }
    assert_false(oc_weights_canonical(out, 8, "12345678"));
    assert_true(oc_weights_canonical(out, 9, "12345678"));
    assert_false(oc_weights_canonical(out, 25, "layers.0.x")); /* fits before, not after */
}

/* tiny_legacy is tiny rounded to bf16, in two shards, under the old names, with the tied head written out. */
static void both_golden_spellings(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    oc_vlm a, b;
    small_compute(&c, "ref");
    small_ok(oc_weights_open(&a, c, OC_TEST_DATA "/golden/tiny", OC_F32, &err), &err);
    small_ok(oc_weights_open(&b, c, OC_TEST_DATA "/golden/tiny_legacy", OC_F32, &err), &err);
    assert_int_equal(a.params.count, b.params.count);
    double moved = 0;
    for (int i = 0; i < a.params.count; i++) {
        const oc_param *r = &a.params.row[i];
        assert_string_equal(r->name, b.params.row[i].name);
        const float *x = oc_params_weight(&a.params, i), *y = oc_params_weight(&b.params, i);
        for (size_t j = 0; j < r->n; j++) {
            if (y[j] != oc_bf16_to_f32(oc_f32_to_bf16(x[j]))) fail_msg("%s[%zu]: %.9g and %.9g", r->name, j, (double)x[j], (double)y[j]);
            moved += fabs((double)(x[j] - y[j]));
        }
    }
    assert_true(moved > 1);
    oc_vlm_close(&a);
    oc_vlm_close(&b);
    oc_compute_close(c);
}

/* ---- Out and in ---------------------------------------------------------------------------------------------------- */

static oc_config layout(int kind) {
    oc_config c = small_config();
    if (kind == 1) c.text.tied = false, c.projector.hidden = 40, c.projector.merge = 2, c.vision.feature_layer = -2;
    if (kind == 2) c.has_vision = false;
    if (kind == 3) c.has_text = false;
    return c;
}

static void save_and_open(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    small_compute(&c, "ref");
    for (int kind = 0; kind < 4; kind++)
        for (int how = 0; how < 3; how++) { /* one file, shards, bf16 */
            char dir[64];
            oc_vlm m, back;
            oc_config cfg = layout(kind);
            small_folder(dir);
            small_model(&m, c, &cfg, OC_F32, 4);
            if (how == 2)
                for (int p = 0; p < OC_PART_COUNT; p++)
                    for (size_t j = 0; j < m.params.n[p]; j++) m.params.w[p][j] = oc_bf16_to_f32(oc_f32_to_bf16(m.params.w[p][j]));
            small_ok(oc_weights_save(&m, dir, &(oc_save_options){.dtype = how == 2 ? OC_BF16 : OC_F32, .shard_bytes = how == 1 ? 20000 : 0}, &err), &err);
            small_ok(oc_weights_open(&back, c, dir, OC_F32, &err), &err);
            assert_int_equal(back.params.count, m.params.count);
            for (int p = 0; p < OC_PART_COUNT; p++) {
                assert_int_equal(back.params.n[p], m.params.n[p]);
                assert_same_weights(&m, &back, (oc_part)p);
            }
            oc_vlm_close(&m);
            oc_vlm_close(&back);
            small_ok(oc_remove_tree(dir, &err), &err);
        }
    oc_compute_close(c);
}

/* Every shard keeps to its limit as long as a tensor allows, and the index names each tensor once. */
static void shards(void **state) {
    OC_UNUSED(state);
    char dir[64], name[64];
    oc_compute *c;
    oc_vlm m;
    oc_config cfg = small_config();
    small_folder(dir);
    small_compute(&c, "ref");
    small_model(&m, c, &cfg, OC_F32, 4);
    small_ok(oc_weights_save(&m, dir, &(oc_save_options){.shard_bytes = 10000}, &err), &err);
    char *path = oc_path_join(dir, "model.safetensors.index.json");
    json_t *index;
    small_ok(oc_json_load(&index, path, 1 << 20, &err), &err);
    oc_free(path);
    json_t *map = json_object_get(index, "weight_map");
    assert_int_equal(json_object_size(map), m.params.count);
    size_t total = 0;
    int files = 0;
    for (;; files++) {
        oc_safetensors *st;
        int count = 0;
        for (count = files; count < 100; count++) { /* the name holds the number of shards: found by trying */
            snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", files + 1, count);
            path = oc_path_join(dir, name);
            bool there = oc_file_exists(path);
            if (there) break;
            oc_free(path);
        }
        if (count == 100) break;
        small_ok(oc_safetensors_open(&st, path, &err), &err);
        oc_free(path);
        size_t bytes = 0;
        for (size_t i = 0; i < oc_safetensors_count(st); i++) {
            bytes += oc_safetensors_at(st, i)->bytes;
            assert_string_equal(json_string_value(json_object_get(map, oc_safetensors_at(st, i)->name)), name);
        }
        assert_true(bytes <= 10000 || oc_safetensors_count(st) == 1);
        total += bytes;
        oc_safetensors_close(st);
    }
    assert_true(files > 5);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")), total);
    json_decref(index);
    oc_vlm_close(&m);
    oc_compute_close(c);
    small_ok(oc_remove_tree(dir, &err), &err);
}

/* A folder that is saved into again holds the new weights, also when the number of files changes. */
static void saved_over(void **state) {
    OC_UNUSED(state);
    char dir[64];
    oc_compute *c;
    oc_vlm m, back;
    oc_config cfg = small_config();
    small_folder(dir);
    small_compute(&c, "ref");
    for (uint64_t k = 0; k < 4; k++) {
        small_model(&m, c, &cfg, OC_F32, k);
        small_ok(oc_weights_save(&m, dir, &(oc_save_options){.shard_bytes = k & 1 ? 30000 : 0}, &err), &err);
        small_ok(oc_weights_open(&back, c, dir, OC_F32, &err), &err);
        for (int p = 0; p < OC_PART_COUNT; p++) assert_same_weights(&m, &back, (oc_part)p);
        oc_vlm_close(&m);
        oc_vlm_close(&back);
    }
    oc_compute_close(c);
    small_ok(oc_remove_tree(dir, &err), &err);
}

/* ---- Towers -------------------------------------------------------------------------------------------------------- */

static void towers_join(void **state) {
    OC_UNUSED(state);
    char vdir[64], tdir[64], whole[64];
    oc_compute *c;
    oc_vlm vision, text, m;
    oc_config cfg = small_config(), lone = cfg;
    small_folder(vdir);
    small_folder(tdir);
    small_folder(whole);
    small_compute(&c, "ref");
    lone.has_text = false;
    small_model(&vision, c, &lone, OC_F32, 5);
    small_ok(oc_weights_save(&vision, vdir, &(oc_save_options){0}, &err), &err);
    lone = cfg;
    lone.has_vision = false;
    small_model(&text, c, &lone, OC_F32, 6);
    small_ok(oc_weights_save(&text, tdir, &(oc_save_options){0}, &err), &err);
    small_model(&m, c, &cfg, OC_F32, 7);
    small_ok(oc_weights_load(&m, vdir, ONLY_VISION, &err), &err);
    small_ok(oc_weights_load(&m, tdir, ONLY_LM, &err), &err);
    assert_same_weights(&m, &vision, OC_PART_VISION);
    assert_same_weights(&m, &text, OC_PART_LM);
    small_ok(oc_weights_save(&m, whole, &(oc_save_options){0}, &err), &err);
    oc_vlm_close(&vision);
    small_model(&vision, c, &lone, OC_F32, 8); /* a lone decoder takes its part out of a whole model */
    small_ok(oc_weights_load(&vision, whole, ONLY_LM, &err), &err);
    assert_same_weights(&vision, &text, OC_PART_LM);
    oc_vlm_close(&vision);
    oc_vlm_close(&text);
    oc_vlm_close(&m);
    oc_compute_close(c);
    small_ok(oc_remove_tree(vdir, &err), &err);
    small_ok(oc_remove_tree(tdir, &err), &err);
    small_ok(oc_remove_tree(whole, &err), &err);
}

/* ---- Files with something wrong ------------------------------------------------------------------------------------ */

/* The tensors of a saved model, to be changed and written again. */
typedef struct edit {
    char dir[64];
    oc_compute *c;
    oc_config cfg;
    oc_safetensors *st;
    oc_tensor_info *t;
    size_t n;
    float *spare; /* zeros */
} edit;

static void begin_edit(edit *e, int kind) {
    oc_vlm m;
    small_folder(e->dir);
    small_compute(&e->c, "ref");
    e->cfg = layout(kind);
    small_model(&m, e->c, &e->cfg, OC_F32, 4);
    small_ok(oc_weights_save(&m, e->dir, &(oc_save_options){0}, &err), &err);
    oc_vlm_close(&m);
    char *path = oc_path_join(e->dir, "model.safetensors");
    small_ok(oc_safetensors_open(&e->st, path, &err), &err);
    oc_free(path);
    e->n = oc_safetensors_count(e->st);
    e->t = calloc(e->n + 8, sizeof *e->t);
    e->spare = calloc(1 << 16, sizeof *e->spare);
    for (size_t i = 0; i < e->n; i++) e->t[i] = *oc_safetensors_at(e->st, i);
}

static void end_edit(edit *e) {
    oc_safetensors_close(e->st);
    free(e->t);
    free(e->spare);
    oc_compute_close(e->c);
    small_ok(oc_remove_tree(e->dir, &err), &err);
}

static oc_tensor_info *tensor(edit *e, const char *end) {
    for (size_t i = 0; i < e->n; i++) {
        size_t n = strlen(e->t[i].name), k = strlen(end);
        if (n >= k && !strcmp(e->t[i].name + n - k, end)) return &e->t[i];
    }
    fail_msg("no tensor %s", end);
    return NULL;
}

static void drop(edit *e, const char *end) {
    oc_tensor_info *t = tensor(e, end);
    *t = e->t[--e->n];
}

static void add_tensor(edit *e, const char *name, int n_dims, int64_t rows, int64_t cols) {
    e->t[e->n++] = (oc_tensor_info){.name = name, .dtype = OC_F32, .n_dims = n_dims, .shape = {rows, cols}, .data = e->spare,
                                    .bytes = (size_t)(rows * cols) * sizeof(float)};
}

/* Opens the edited folder; what remains of the original is mapped, so the file is put in place whole. */
static oc_status open_edited(edit *e, oc_vlm *m) {
    char *path = oc_path_join(e->dir, "model.safetensors");
    oc_error write;
    small_ok(oc_safetensors_save(path, e->t, e->n, NULL, 0, &write), &write);
    oc_free(path);
    return oc_weights_open(m, e->c, e->dir, OC_F32, &err);
}

static void refused(edit *e, const char *first, const char *second) {
    oc_vlm m;
    if (open_edited(e, &m) == OC_OK) fail_msg("accepted; %s was expected", first);
    if (!strstr(err.msg, e->dir) || !strstr(err.msg, first) || (second && !strstr(err.msg, second))) fail_msg("says: %s", err.msg);
    end_edit(e);
}

static void wrong_tensors_are_named(void **state) {
    OC_UNUSED(state);
    edit e;
    begin_edit(&e, 0);
    drop(&e, "layers.1.mlp.up_proj.weight");
    refused(&e, "missing", "language_model.layers.1.mlp.up_proj.weight");
    begin_edit(&e, 1);
    drop(&e, "lm_head.weight");
    refused(&e, "missing", "lm_head.weight");
    begin_edit(&e, 1); /* a layer above the feature layer must be there as well: it will be written again */
    drop(&e, "encoder.layers.1.mlp.fc1.weight");
    refused(&e, "missing", "vision_tower.encoder.layers.1.mlp.fc1.weight");
    begin_edit(&e, 0);
    add_tensor(&e, "language_model.model.layers.7.mlp.up_proj.weight", 2, 48, 32);
    refused(&e, "unknown", "layers.7.mlp.up_proj.weight");
    begin_edit(&e, 0);
    add_tensor(&e, "model.norm.weight", 1, 32, 1); /* beside language_model.model.norm.weight */
    refused(&e, "two tensors", "language_model.norm.weight");
    begin_edit(&e, 0);
    tensor(&e, "embed_tokens.weight")->shape[0] = 32;
    tensor(&e, "embed_tokens.weight")->shape[1] = 67;
    refused(&e, "[32, 67]", "[67, 32]");
    begin_edit(&e, 0);
    tensor(&e, "norm.weight")->n_dims = 2;
    tensor(&e, "norm.weight")->shape[1] = 1;
    refused(&e, "norm.weight", "config.json asks for");
    begin_edit(&e, 0);
    tensor(&e, "linear_2.bias")->dtype = OC_I32;
    refused(&e, "linear_2.bias", "I32");
    static const char *const nearly[] = {/* known prefixes, unknown tensors */
                                         "vision_tower.vision_model.head.extra", "text_model.more.weight", "logit_scales",
                                         "image_newline.weight", "vision_tower.vision_model.head",
                                         "language_model.model.layers.0.self_attn.rotary_emb.inv_freq.more",
                                         "visual.position_ids"};
    for (size_t i = 0; i < OC_COUNT(nearly); i++) {
        begin_edit(&e, 0);
        add_tensor(&e, nearly[i], 1, 4, 1);
        refused(&e, "unknown", nearly[i]);
    }
    begin_edit(&e, 0); /* tied, but no copy */
    add_tensor(&e, "language_model.lm_head.weight", 2, 67, 32);
    refused(&e, "differs from the embedding table", "tie_word_embeddings");
}

/* Heads, buffers and other models' parts do not disturb; post_layernorm may be left out. */
static void known_extras(void **state) {
    OC_UNUSED(state);
    edit e;
    oc_vlm m;
    begin_edit(&e, 0);
    add_tensor(&e, "lm_head.weight", 2, 67, 32); /* tied: a copy */
    e.t[e.n - 1].data = tensor(&e, "embed_tokens.weight")->data;
    add_tensor(&e, "language_model.model.layers.0.self_attn.rotary_emb.inv_freq", 1, 4, 1);
    add_tensor(&e, "vision_tower.vision_model.head.probe", 2, 1, 24);
    add_tensor(&e, "vision_tower.vision_model.embeddings.position_ids", 2, 1, 16);
    add_tensor(&e, "image_newline", 1, 32, 1);
    small_ok(open_edited(&e, &m), &err);
    oc_vlm_close(&m);
    end_edit(&e);
    begin_edit(&e, 0);
    drop(&e, "post_layernorm.weight");
    drop(&e, "post_layernorm.bias");
    small_ok(open_edited(&e, &m), &err);
    int row = oc_params_find(&m.params, "vision_tower.post_layernorm.weight");
    assert_true(oc_params_weight(&m.params, row)[3] == 1 && oc_params_weight(&m.params, row + 1)[3] == 0);
    oc_vlm_close(&m);
    end_edit(&e);
    begin_edit(&e, 3); /* a SigLIP folder with its text tower */
    add_tensor(&e, "text_model.embeddings.token_embedding.weight", 2, 8, 8);
    add_tensor(&e, "logit_scale", 1, 1, 1);
    add_tensor(&e, "logit_bias", 1, 1, 1);
    small_ok(open_edited(&e, &m), &err);
    oc_vlm_close(&m);
    end_edit(&e);
}

/* The projector's width comes from its tensor where config.json does not say. */
static void foreign_projector(void **state) {
    OC_UNUSED(state);
    edit e;
    oc_vlm m;
    begin_edit(&e, 0);
    char *path = oc_path_join(e.dir, "config.json");
    json_t *o;
    small_ok(oc_json_load(&o, path, 1 << 20, &err), &err);
    json_object_del(o, "ocellus");
    small_ok(oc_json_save(o, path, &err), &err);
    json_decref(o);
    oc_free(path);
    oc_tensor_info *w1 = tensor(&e, "linear_1.weight"), *b1 = tensor(&e, "linear_1.bias"), *w2 = tensor(&e, "linear_2.weight");
    *w1 = (oc_tensor_info){.name = w1->name, .dtype = OC_F32, .n_dims = 2, .shape = {50, 24}, .data = e.spare, .bytes = 50 * 24 * 4};
    *b1 = (oc_tensor_info){.name = b1->name, .dtype = OC_F32, .n_dims = 1, .shape = {50}, .data = e.spare, .bytes = 50 * 4};
    *w2 = (oc_tensor_info){.name = w2->name, .dtype = OC_F32, .n_dims = 2, .shape = {32, 50}, .data = e.spare, .bytes = 32 * 50 * 4};
    small_ok(open_edited(&e, &m), &err);
    assert_int_equal(m.cfg.projector.hidden, 50);
    oc_vlm_close(&m);
    end_edit(&e);
}

/* A small file with a configuration of hundreds of GiB: refused for its tensors, not by running out of memory. */
static void lying_configuration(void **state) {
    OC_UNUSED(state);
    edit e;
    begin_edit(&e, 0);
    char *path = oc_path_join(e.dir, "config.json");
    json_t *o;
    small_ok(oc_json_load(&o, path, 1 << 20, &err), &err);
    json_t *v = json_object_get(o, "vision_config");
    json_object_set_new(v, "hidden_size", json_integer(16384));
    json_object_set_new(v, "num_attention_heads", json_integer(256));
    json_object_set_new(v, "intermediate_size", json_integer(65536));
    json_object_set_new(v, "num_hidden_layers", json_integer(256));
    json_object_set_new(o, "vision_feature_layer", json_integer(-256));
    small_ok(oc_json_save(o, path, &err), &err);
    json_decref(o);
    oc_free(path);
    size_t before = oc_peak_rss_bytes();
    oc_vlm m;
    assert_int_equal(open_edited(&e, &m), OC_ERR_FORMAT);
    assert_true(oc_peak_rss_bytes() - before < (size_t)64 << 20);
    end_edit(&e);
}

static void hostile_folders(void **state) {
    OC_UNUSED(state);
    edit e;
    oc_vlm m;
    static const char *const bytes[] = {"", "\1\0\0\0\0\0\0\0{", "no safetensors at all", "\377\377\377\377\377\377\377\177{}"};
    static const size_t len[] = {0, 9, 21, 10};
    for (size_t i = 0; i < OC_COUNT(bytes); i++) {
        begin_edit(&e, 2);
        char *path = oc_path_join(e.dir, "model.safetensors");
        small_ok(oc_file_write_atomic(path, bytes[i], len[i], &err), &err);
        assert_int_not_equal(oc_weights_open(&m, e.c, e.dir, OC_F32, &err), OC_OK);
        assert_non_null(strstr(err.msg, path));
        oc_free(path);
        end_edit(&e);
    }
    begin_edit(&e, 2); /* an index that leads out of the folder */
    char *path = oc_path_join(e.dir, "model.safetensors");
    remove(path);
    oc_free(path);
    write_text(e.dir, "model.safetensors.index.json", "{\"weight_map\": {\"model.norm.weight\": \"../../etc/passwd\"}}");
    assert_int_not_equal(oc_weights_open(&m, e.c, e.dir, OC_F32, &err), OC_OK);
    write_text(e.dir, "model.safetensors.index.json", "{\"weight_map\": {\"model.norm.weight\": \"absent.safetensors\"}}");
    assert_int_not_equal(oc_weights_open(&m, e.c, e.dir, OC_F32, &err), OC_OK);
    end_edit(&e);
}

/* ---- Memory -------------------------------------------------------------------------------------------------------- */

/* Each allocation of opening and saving fails once: an error comes back, nothing leaks (sanitizers look), nothing is half
 * open, and the next try works. */
static void every_allocation_fails_once(void **state) {
    OC_UNUSED(state);
    char dir[64];
    oc_compute *c;
    oc_vlm m, back;
    oc_config cfg = small_config();
    cfg.vision.layers = cfg.text.layers = 1;
    small_folder(dir);
    small_compute(&c, "ref");
    small_model(&m, c, &cfg, OC_F32, 4);
    oc_status st = OC_ERR_NOMEM;
    long n = 0;
    for (; st != OC_OK; n++) {
        oc_alloc_fail_after(n);
        st = oc_weights_save(&m, dir, &(oc_save_options){.shard_bytes = 30000}, &err);
        oc_alloc_fail_after(-1);
        assert_true(st == OC_OK || st == OC_ERR_NOMEM);
        assert_true(n < 10000);
    }
    assert_true(n > 10);
    st = OC_ERR_NOMEM;
    for (n = 0; st != OC_OK; n++) {
        oc_alloc_fail_after(n);
        st = oc_weights_open(&back, c, dir, OC_F32, &err);
        oc_alloc_fail_after(-1);
        if (st != OC_OK && st != OC_ERR_NOMEM) fail_msg("allocation %ld: %s", n, err.msg);
        if (st != OC_OK) assert_true(back.params.row == NULL && back.arena.base == NULL);
        assert_true(n < 10000);
    }
    assert_true(n > 30);
    for (int p = 0; p < OC_PART_COUNT; p++) assert_same_weights(&m, &back, (oc_part)p);
    oc_vlm_close(&back);
    oc_vlm_close(&m);
    oc_compute_close(c);
    small_ok(oc_remove_tree(dir, &err), &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names), cmocka_unit_test(both_golden_spellings), cmocka_unit_test(save_and_open), cmocka_unit_test(shards),
        cmocka_unit_test(saved_over), cmocka_unit_test(towers_join), cmocka_unit_test(wrong_tensors_are_named), cmocka_unit_test(known_extras),
        cmocka_unit_test(foreign_projector), cmocka_unit_test(lying_configuration), cmocka_unit_test(hostile_folders),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
