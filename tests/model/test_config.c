/* Configurations: what Hugging Face writes is read with its defaults, what is written is read back unchanged, and what is
 * wrong or not supported is refused with the file and the key. */
#include "small.h"

static oc_error err;

static oc_status parse(oc_config *c, oc_config_file file, const char *text) { return oc_config_parse(c, file, text, strlen(text), "DIR/config.json", &err); }

static oc_config parsed(const char *text) {
    oc_config c;
    small_ok(parse(&c, OC_CONFIG_MODEL, text), &err);
    small_ok(oc_config_check(&c, "DIR", &err), &err);
    return c;
}

/* The text must be refused, with all of the words in the message. */
static void refused(const char *text, const char *first, const char *second) {
    oc_config c;
    err.msg[0] = 0;
    oc_status st = parse(&c, OC_CONFIG_MODEL, text);
    if (st == OC_OK) st = oc_config_check(&c, "DIR/config.json", &err);
    if (st == OC_OK) fail_msg("accepted: %s", text);
    if (!strstr(err.msg, "DIR/config.json") || !strstr(err.msg, first) || (second && !strstr(err.msg, second))) fail_msg("%s\nsays: %s", text, err.msg);
}

#define VISION "\"vision_config\": {\"model_type\": \"siglip_vision_model\", \"hidden_size\": 48, \"num_hidden_layers\": 3, \"num_attention_heads\": 4, " \
               "\"intermediate_size\": 96, \"image_size\": 56, \"patch_size\": 14}"
#define TEXT_KEYS "\"hidden_size\": 64, \"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"intermediate_size\": 160, \"vocab_size\": 512"
#define TEXT "\"text_config\": {\"model_type\": \"qwen2\", " TEXT_KEYS "}"
#define FULL "\"vision_feature_layer\": -1, \"vision_feature_select_strategy\": \"full\", \"image_token_index\": 511"
#define LLAVA(more) "{\"model_type\": \"llava\", " VISION ", " TEXT ", " FULL more "}"
#define QWEN(more) "{\"model_type\": \"qwen2\", " TEXT_KEYS more "}"
#define SIGLIP(more) "{\"model_type\": \"siglip_vision_model\", \"hidden_size\": 48, \"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"intermediate_size\": 96, " \
                     "\"image_size\": 56, \"patch_size\": 14" more "}"

/* ---- Reading ------------------------------------------------------------------------------------------------------- */

static void a_llava_folder(void **state) {
    OC_UNUSED(state);
    oc_config c;
    small_ok(oc_config_load(&c, OC_TEST_DATA "/golden/tiny", &err), &err);
    assert_true(c.has_vision && c.has_text && c.text.tied);
    assert_int_equal(c.vision.hidden, 48);
    assert_int_equal(c.vision.layers, 3);
    assert_int_equal(c.vision.heads, 4);
    assert_int_equal(c.vision.mlp, 96);
    assert_int_equal(oc_vision_patches(&c.vision), 16);
    assert_int_equal(c.vision.act, OC_ACT_GELU_TANH);
    assert_int_equal(c.vision.feature_layer, -1);
    assert_int_equal(c.text.hidden, 64);
    assert_int_equal(c.text.kv_heads, 2);
    assert_int_equal(c.text.head_size, 16);
    assert_int_equal(c.text.mlp, 160);
    assert_int_equal(c.text.vocab, 512);
    assert_int_equal(c.text.max_positions, 512);
    assert_true(c.text.rope_theta == 1e6f && c.text.eps == 1e-6f && c.vision.eps == 1e-6f);
    assert_int_equal(c.projector.hidden, 64);
    assert_int_equal(c.projector.merge, 1);
    assert_int_equal(c.projector.act, OC_ACT_GELU_ERF);
    assert_int_equal(c.image_token, 511);
    assert_int_equal(c.mask, OC_MASK_PREFIX);
    assert_true(c.image_mean[2] == 0.5f && c.image_std[0] == 0.5f);
}

static void old_and_new_spellings_agree(void **state) {
    OC_UNUSED(state);
    oc_config a, b;
    small_ok(oc_config_load(&a, OC_TEST_DATA "/golden/tiny", &err), &err);
    small_ok(oc_config_load(&b, OC_TEST_DATA "/golden/tiny_legacy", &err), &err);
    b.eos_token = a.eos_token;
    b.pad_token = a.pad_token;
    assert_memory_equal(&a.vision, &b.vision, sizeof a.vision);
    assert_memory_equal(&a.projector, &b.projector, sizeof a.projector);
    assert_true(a.text.hidden == b.text.hidden && a.text.rope_theta == b.text.rope_theta && a.text.tied == b.text.tied && a.text.kv_heads == b.text.kv_heads);
    assert_int_equal(a.image_token, b.image_token);
}

/* What a file leaves out is what transformers takes. */
static void defaults(void **state) {
    OC_UNUSED(state);
    oc_config c = parsed("{\"model_type\": \"qwen2\", \"hidden_size\": 64, \"num_attention_heads\": 4, \"num_hidden_layers\": 1, \"intermediate_size\": 8}");
    assert_int_equal(c.text.kv_heads, 4);
    assert_int_equal(c.text.head_size, 16);
    assert_int_equal(c.text.vocab, 151936);
    assert_true(!c.text.tied && c.text.rope_theta == 1e4f && c.text.eps == 1e-6f);
    assert_true(c.has_text && !c.has_vision && c.eos_token == -1);
    c = parsed("{\"model_type\": \"siglip_vision_model\"}");
    assert_int_equal(c.vision.hidden, 768);
    assert_int_equal(c.vision.patch_size, 16);
    assert_int_equal(c.vision.image_size, 224);
    assert_int_equal(c.vision.act, OC_ACT_GELU_TANH);
    c = parsed("{\"model_type\": \"llava_onevision\", " VISION ", " TEXT ", \"image_token_id\": 9}");
    assert_int_equal(c.vision.feature_layer, -1);
    assert_int_equal(c.image_token, 9);
    c = parsed("{\"model_type\": \"llava\", " VISION ", " TEXT ", \"vision_feature_select_strategy\": \"full\", \"image_token_index\": 9}");
    assert_int_equal(c.vision.feature_layer, -2); /* LlavaConfig's */
    assert_int_equal(c.projector.act, OC_ACT_GELU_ERF);
    assert_int_equal(c.projector.hidden, 64);
}

static void variants(void **state) {
    OC_UNUSED(state);
    oc_config c = parsed(LLAVA(", \"projector_hidden_act\": \"gelu_pytorch_tanh\""));
    assert_int_equal(c.projector.act, OC_ACT_GELU_TANH);
    c = parsed("{\"model_type\": \"llava\", " VISION ", " TEXT ", \"image_token_index\": 511, \"vision_feature_layer\": 2, \"vision_feature_select_strategy\": \"full\"}");
    assert_int_equal(c.vision.feature_layer, -2); /* hidden_states[2] of 0 .. 3 */
    c = parsed(QWEN(", \"rope_parameters\": {\"rope_theta\": 500.0, \"rope_type\": \"default\"}"));
    assert_true(c.text.rope_theta == 500);
    c = parsed(QWEN(", \"rope_theta\": 1000000, \"rope_scaling\": null, \"tie_word_embeddings\": true, \"use_sliding_window\": false, \"sliding_window\": null"));
    assert_true(c.text.rope_theta == 1e6f && c.text.tied);
    c = parsed(QWEN(", \"head_dim\": 32"));
    assert_int_equal(c.text.head_size, 32);
    c = parsed("{\"model_type\": \"siglip\", \"text_config\": {\"hidden_size\": 1}, \"vision_config\": {\"hidden_size\": 32, \"num_attention_heads\": 2}}");
    assert_true(c.has_vision && !c.has_text && c.vision.hidden == 32);
    c = parsed(LLAVA(", \"ocellus\": {\"mask\": \"causal\", \"aspect\": \"pad\", \"merge\": 2, \"projector_hidden\": 100, \"template\": \"plain\", \"system_prompt\": false, "
                     "\"stage\": \"align\", \"caption_prompt\": \"What is this?\"}"));
    assert_true(c.mask == OC_MASK_CAUSAL && c.aspect == OC_ASPECT_PAD && c.projector.merge == 2 && c.projector.hidden == 100);
    assert_true(c.template == OC_TEMPLATE_PLAIN && c.no_system);
    assert_string_equal(oc_config_caption_prompt(&c), "What is this?");
    assert_int_equal(oc_config_tokens_per_image(&c), 4);
    c = parsed(LLAVA(""));
    assert_string_equal(oc_config_caption_prompt(&c), OC_CAPTION_PROMPT);
    c = parsed("{\"model_type\": \"llava\", " VISION ", \"text_config\": {" TEXT_KEYS ", \"tie_word_embeddings\": true}, " FULL "}");
    assert_true(c.text.tied);
}

static void the_other_files(void **state) {
    OC_UNUSED(state);
    oc_config c = parsed(LLAVA(""));
    small_ok(parse(&c, OC_CONFIG_PREPROCESSOR, "{\"image_mean\": [0.1, 0.2, 0.3], \"image_std\": [1, 2, 3]}"), &err);
    assert_true(c.image_mean[1] == 0.2f && c.image_std[2] == 3);
    small_ok(parse(&c, OC_CONFIG_PROCESSOR, "{\"image_processor\": {\"image_mean\": [0.4, 0.4, 0.4]}, \"image_token\": \"<image>\"}"), &err);
    assert_true(c.image_mean[0] == 0.4f);
    small_ok(parse(&c, OC_CONFIG_GENERATION, "{\"eos_token_id\": [7, 8], \"pad_token_id\": 3}"), &err);
    assert_true(c.eos_token == 7 && c.pad_token == 3);
    small_ok(parse(&c, OC_CONFIG_GENERATION, "{\"eos_token_id\": null, \"pad_token_id\": null}"), &err);
    assert_true(c.eos_token == 7 && c.pad_token == 3);
    static const struct { oc_config_file file; const char *text, *key; } bad[] = {
        {OC_CONFIG_PREPROCESSOR, "{\"image_mean\": [0.1, 0.2]}", "image_mean"},
        {OC_CONFIG_PREPROCESSOR, "{\"image_mean\": [0.1, 0.2, \"x\"]}", "image_mean"},
        {OC_CONFIG_PREPROCESSOR, "{\"image_mean\": [1e300, 0, 0]}", "image_mean"},
        {OC_CONFIG_PREPROCESSOR, "{\"image_std\": [1, 1, 0]}", "image_std"},
        {OC_CONFIG_PREPROCESSOR, "[]", "object"},
        {OC_CONFIG_GENERATION, "{\"eos_token_id\": -1}", "eos_token_id"},
        {OC_CONFIG_GENERATION, "{\"eos_token_id\": 1099511627776}", "eos_token_id"},
        {OC_CONFIG_GENERATION, "{\"eos_token_id\": \"</s>\"}", "eos_token_id"},
        {OC_CONFIG_GENERATION, "{\"pad_token_id\": 1.5}", "pad_token_id"},
    };
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        assert_int_not_equal(parse(&c, bad[i].file, bad[i].text), OC_OK);
        if (!strstr(err.msg, bad[i].key) || !strstr(err.msg, "DIR/config.json")) fail_msg("%s says: %s", bad[i].text, err.msg);
    }
}

/* ---- Refusals ------------------------------------------------------------------------------------------------------ */

static void what_is_wrong_is_named(void **state) {
    OC_UNUSED(state);
    refused("", "JSON", NULL);
    refused("{\"model_type\": \"qwen2\"", "JSON", NULL);
    refused("[1]", "object", NULL);
    refused("{\"hidden_size\": 64}", "model_type", NULL);
    refused("{\"model_type\": 3}", "model_type", NULL);
    refused("{\"model_type\": \"llama\"}", "llama", "qwen2");
    refused("{\"model_type\": \"llava\", " VISION "}", "text_config", NULL);
    refused("{\"model_type\": \"llava\", \"vision_config\": {\"model_type\": \"clip_vision_model\"}, " TEXT ", " FULL "}", "vision_config", "clip_vision_model");
    refused("{\"model_type\": \"llava\", " VISION ", \"text_config\": {\"model_type\": \"llama\"}, " FULL "}", "text_config", "llama");
    refused("{\"model_type\": \"llava\", " VISION ", \"text_config\": {\"hidden_size\": \"64\"}, " FULL "}", "text_config", "hidden_size");
    refused(LLAVA(", \"projector_hidden_act\": \"relu\""), "projector_hidden_act", "relu");
    refused(LLAVA(", \"multimodal_projector_bias\": false"), "projector", "bias");
    refused("{\"model_type\": \"llava\", " VISION ", " TEXT ", \"image_token_index\": 511}", "vision_feature_select_strategy", "full");
    refused("{\"model_type\": \"llava\", " VISION ", " TEXT ", \"vision_feature_select_strategy\": \"default\"}", "vision_feature_select_strategy", "first patch");
    refused("{\"model_type\": \"llava\", " VISION ", " TEXT ", \"vision_feature_layer\": [-1, -2], \"vision_feature_select_strategy\": \"full\"}", "vision_feature_layer", "integer");
    static const char *const layers[] = {"0", "-4", "4"}; /* of 3 */
    for (size_t i = 0; i < OC_COUNT(layers); i++) {
        char text[1024];
        snprintf(text, sizeof text, "{\"model_type\": \"llava\", " VISION ", " TEXT ", \"image_token_index\": 511, \"vision_feature_layer\": %s, \"vision_feature_select_strategy\": \"full\"}", layers[i]);
        refused(text, "vision_feature_layer", NULL);
    }
    refused("{\"model_type\": \"llava\", " VISION ", " TEXT ", \"image_token_index\": 512, \"vision_feature_layer\": -1, \"vision_feature_select_strategy\": \"full\"}", "image_token_index", "512");
    refused(LLAVA(", \"ocellus\": {\"mask\": \"all\"}"), "mask", "all");
    refused(LLAVA(", \"ocellus\": {\"merge\": 0}"), "merge", NULL);
    refused(LLAVA(", \"ocellus\": {\"merge\": 5}"), "merge", NULL); /* of a 4 x 4 grid */
    refused(LLAVA(", \"ocellus\": {\"template\": \"vicuna\"}"), "template", "vicuna");
    refused(LLAVA(", \"ocellus\": {\"caption_prompt\": 3}"), "caption_prompt", "a string was expected");
    char text[2048], filler[OC_CAPTION_PROMPT_SIZE + 1];
    memset(filler, 'a', sizeof filler - 1), filler[sizeof filler - 1] = 0;
    snprintf(text, sizeof text, LLAVA(", \"ocellus\": {\"caption_prompt\": \"%s\"}"), filler);
    refused(text, "caption_prompt", "512 bytes; 511 are possible");
    refused(SIGLIP(", \"num_channels\": 1"), "num_channels", NULL);
    refused(SIGLIP(", \"hidden_act\": \"quick_gelu\""), "hidden_act", "quick_gelu");
    refused(QWEN(", \"hidden_act\": \"gelu\""), "hidden_act", "gelu");
    refused(QWEN(", \"use_sliding_window\": true"), "use_sliding_window", NULL);
    refused(QWEN(", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0}"), "rope_scaling", "yarn");
    refused(QWEN(", \"rope_scaling\": {\"rope_type\": \"dynamic\"}"), "rope_scaling", "dynamic");
    refused(QWEN(", \"rope_parameters\": {\"rope_type\": \"linear\"}"), "rope_parameters", "linear");
    refused(QWEN(", \"rope_parameters\": 3"), "rope_parameters", NULL);
    refused(QWEN(", \"rms_norm_eps\": -1"), "rms_norm_eps", NULL);
    refused(QWEN(", \"rope_theta\": 0"), "rope_theta", NULL);
    refused(QWEN(", \"tie_word_embeddings\": 1"), "tie_word_embeddings", NULL);
}

/* Sizes that would overflow, or divide by zero, or ask for kernels that do not exist. */
static void limits(void **state) {
    OC_UNUSED(state);
    static const struct { const char *key, *value, *word; } text[] = {
        {"hidden_size", "0", "hidden_size"}, {"hidden_size", "2147483647", "hidden_size"}, {"num_hidden_layers", "0", "num_hidden_layers"},
        {"num_hidden_layers", "257", "num_hidden_layers"}, {"num_attention_heads", "0", "num_attention_heads"}, {"num_attention_heads", "5", "head"},
        {"num_key_value_heads", "3", "heads"}, {"num_key_value_heads", "5", "num_key_value_heads"}, {"vocab_size", "1048577", "vocab_size"},
        {"vocab_size", "-5", "vocab_size"}, {"intermediate_size", "0", "intermediate_size"}, {"head_dim", "130", "head size"}, {"head_dim", "6", "head size"},
        {"max_position_embeddings", "0", "max_position_embeddings"}, {"num_attention_heads", "1.5", "num_attention_heads"},
    };
    for (size_t i = 0; i < OC_COUNT(text); i++) {
        json_t *o = json_loads(QWEN(""), 0, NULL);
        json_object_set_new(o, text[i].key, json_loads(text[i].value, JSON_DECODE_ANY, NULL));
        char *s = json_dumps(o, 0);
        refused(s, text[i].word, NULL);
        free(s);
        json_decref(o);
    }
    static const struct { const char *key, *value, *word; } vision[] = {
        {"hidden_size", "50", "heads"}, {"patch_size", "57", "patch_size"}, {"patch_size", "0", "patch_size"}, {"image_size", "5000", "image_size"},
        {"num_attention_heads", "48", "head size"}, {"num_attention_heads", "0", "num_attention_heads"},
    };
    for (size_t i = 0; i < OC_COUNT(vision); i++) {
        json_t *o = json_loads(SIGLIP(""), 0, NULL);
        json_object_set_new(o, vision[i].key, json_loads(vision[i].value, JSON_DECODE_ANY, NULL));
        char *s = json_dumps(o, 0);
        refused(s, vision[i].word, NULL);
        free(s);
        json_decref(o);
    }
    refused("{\"model_type\": \"siglip_vision_model\", \"image_size\": 4096, \"patch_size\": 4}", "patches", NULL);
}

/* ---- Writing and reading back -------------------------------------------------------------------------------------- */

static void check_round_trip(const oc_config *c, const char *dir) {
    oc_config back;
    small_ok(oc_config_save(c, dir, OC_F32, "stage", &err), &err);
    small_ok(oc_config_load(&back, dir, &err), &err);
    assert_true(back.has_vision == c->has_vision && back.has_text == c->has_text);
    if (c->has_vision) assert_memory_equal(&back.vision, &c->vision, sizeof c->vision);
    if (c->has_vision) assert_true(!memcmp(back.image_mean, c->image_mean, sizeof c->image_mean) && !memcmp(back.image_std, c->image_std, sizeof c->image_std));
    if (c->has_text) {
        const oc_text_config *a = &back.text, *b = &c->text;
        assert_true(a->hidden == b->hidden && a->layers == b->layers && a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_size == b->head_size);
        assert_true(a->mlp == b->mlp && a->vocab == b->vocab && a->max_positions == b->max_positions && a->tied == b->tied);
        assert_true(a->eps == b->eps && a->rope_theta == b->rope_theta); /* to the bit: resuming depends on it */
        assert_true(back.eos_token == c->eos_token && back.pad_token == c->pad_token);
    }
    if (!c->has_vision || !c->has_text) return;
    assert_memory_equal(&back.projector, &c->projector, sizeof c->projector);
    assert_true(back.image_token == c->image_token && back.mask == c->mask && back.aspect == c->aspect);
    assert_true(back.template == c->template && back.no_system == c->no_system);
    assert_string_equal(back.caption_prompt, c->caption_prompt);
}

static void round_trips(void **state) {
    OC_UNUSED(state);
    char dir[64];
    for (int kind = 0; kind < 3; kind++) {
        oc_config c = small_config();
        small_folder(dir);
        c.has_vision = kind != 1;
        c.has_text = kind != 2;
        if (kind == 0) c.vision.feature_layer = -2;
        c.vision.act = OC_ACT_GELU_ERF;
        c.vision.eps = 1.7e-5f;
        c.text.eps = 3.3e-6f;
        c.text.rope_theta = 12345.678f;
        c.text.head_size = 12;
        c.text.tied = kind == 1;
        c.projector = (oc_projector_config){.hidden = 77, .merge = 2, .act = OC_ACT_GELU_ERF};
        c.mask = OC_MASK_ISOLATED;
        c.aspect = OC_ASPECT_PAD_AFTER;
        c.template = OC_TEMPLATE_PLAIN;
        c.no_system = true;
        strcpy(c.caption_prompt, "Was ist \"das\"? \xc3\xa4\n");
        c.eos_token = 3;
        c.pad_token = kind == 0 ? 0 : -1;
        c.image_mean[1] = 0.123f, c.image_std[2] = 0.7f;
        check_round_trip(&c, dir);
        small_ok(oc_remove_tree(dir, &err), &err);
    }
}

static void what_is_written(void **state) {
    OC_UNUSED(state);
    char dir[64];
    json_t *o;
    small_folder(dir);
    oc_config c = small_config();
    small_ok(oc_config_save(&c, dir, OC_BF16, "align", &err), &err);
    char *path = oc_path_join(dir, "config.json");
    small_ok(oc_json_load(&o, path, 1 << 20, &err), &err);
    assert_string_equal(json_string_value(json_object_get(o, "dtype")), "bfloat16");
    assert_string_equal(json_string_value(json_object_get(o, "model_type")), "llava");
    assert_string_equal(json_string_value(json_object_get(json_object_get(o, "ocellus"), "stage")), "align");
    assert_int_equal(json_integer_value(json_object_get(o, "image_seq_length")), 16);
    json_decref(o);
    oc_free(path);
    static const char *const files[] = {"preprocessor_config.json", "processor_config.json", "generation_config.json"};
    for (size_t i = 0; i < OC_COUNT(files); i++) {
        path = oc_path_join(dir, files[i]);
        assert_true(oc_file_exists(path));
        oc_free(path);
    }
    small_ok(oc_remove_tree(dir, &err), &err);
}

/* A folder without config.json, and one whose second file is broken: the message has the path. */
static void files_are_named(void **state) {
    OC_UNUSED(state);
    char dir[64], path[128];
    oc_config c;
    small_folder(dir);
    assert_int_equal(oc_config_load(&c, dir, &err), OC_ERR_IO);
    assert_non_null(strstr(err.msg, "config.json"));
    snprintf(path, sizeof path, "%s/config.json", dir);
    small_ok(oc_file_write_atomic(path, LLAVA(""), strlen(LLAVA("")), &err), &err);
    small_ok(oc_config_load(&c, dir, &err), &err);
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    small_ok(oc_file_write_atomic(path, "{", 1, &err), &err);
    assert_int_equal(oc_config_load(&c, dir, &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, path));
    small_ok(oc_remove_tree(dir, &err), &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_llava_folder), cmocka_unit_test(old_and_new_spellings_agree), cmocka_unit_test(defaults), cmocka_unit_test(variants),
        cmocka_unit_test(the_other_files), cmocka_unit_test(what_is_wrong_is_named), cmocka_unit_test(limits), cmocka_unit_test(round_trips),
        cmocka_unit_test(what_is_written), cmocka_unit_test(files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
