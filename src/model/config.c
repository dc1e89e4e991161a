#include "model/config.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

const char *const oc_mask_names[OC_MASK_COUNT] = {"prefix", "causal", "isolated"};
const char *const oc_aspect_names[OC_ASPECT_COUNT] = {"stretch", "pad", "pad_after"};
const char *const oc_template_names[OC_TEMPLATE_COUNT] = {"chat", "plain"};

enum { MAX_JSON = 16 << 20, MAX_PATCHES = 1 << 16, MAX_MERGE = 64, MAX_ID = 1 << 24 };

const char *oc_config_caption_prompt(const oc_config *c) {
    return c->caption_prompt[0] ? c->caption_prompt : OC_CAPTION_PROMPT;
}

int oc_config_tokens_per_image(const oc_config *c) {
    int g = oc_vision_grid(&c->vision) / c->projector.merge;
    return g * g;
}

void oc_config_defaults(oc_config *c) {
    memset(c, 0, sizeof *c);
    c->vision = (oc_vision_config){.hidden = 1152,
                                   .layers = 27,
                                   .heads = 16,
                                   .mlp = 4304,
                                   .image_size = 384,
                                   .patch_size = 14,
                                   .eps = 1e-6f,
                                   .act = OC_ACT_GELU_TANH,
                                   .feature_layer = -1};
    c->text = (oc_text_config){.hidden = 896, .layers = 24, .heads = 14, .kv_heads = 2, .head_size = 64, .mlp = 4864,
                               .vocab = 151936, .max_positions = 32768, .eps = 1e-6f, .rope_theta = 1e6f, .tied = true};
    c->projector = (oc_projector_config){.hidden = 9216, .merge = 1, .act = OC_ACT_GELU_TANH};
    c->image_token = 151646;
    c->eos_token = c->pad_token = -1;
    for (int i = 0; i < 3; i++) c->image_mean[i] = c->image_std[i] = 0.5f;
}

/* ---- Checks -------------------------------------------------------------------------------------------------------- */

static oc_status check_range(int v, int lo, int hi, const char *name, const char *where, oc_error *err) {
    if (v >= lo && v <= hi) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "%s: %s is %d, outside of %d to %d", where, name, v, lo, hi);
}

static oc_status check_head_size(int hs, const char *name, const char *where, oc_error *err) {
    if (hs >= 8 && hs <= 128 && hs % 4 == 0) return OC_OK;
    return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: %s has a head size of %d; 8 to 128 in steps of 4 are supported", where,
                   name, hs);
}

static oc_status check_vision(const oc_vision_config *v, const char *where, oc_error *err) {
    OC_TRY(check_range(v->hidden, 4, 16384, "vision hidden_size", where, err));
    OC_TRY(check_range(v->layers, 1, 256, "vision num_hidden_layers", where, err));
    OC_TRY(check_range(v->heads, 1, 256, "vision num_attention_heads", where, err));
    OC_TRY(check_range(v->mlp, 4, 65536, "vision intermediate_size", where, err));
    OC_TRY(check_range(v->image_size, 1, 4096, "vision image_size", where, err));
    OC_TRY(check_range(v->patch_size, 1, v->image_size, "vision patch_size", where, err));
    OC_TRY(check_range(oc_vision_patches(v), 1, MAX_PATCHES, "the number of patches of an image", where, err));
    OC_TRY(check_range(v->feature_layer, -v->layers, -1, "vision_feature_layer", where, err));
    if (v->hidden % v->heads)
        return oc_fail(err, OC_ERR_FORMAT, "%s: vision hidden_size %d is not a multiple of its %d heads", where,
                       v->hidden, v->heads);
    return check_head_size(v->hidden / v->heads, "the vision encoder", where, err);
}

static oc_status check_text(const oc_text_config *t, const char *where, oc_error *err) {
    OC_TRY(check_range(t->hidden, 4, 16384, "text hidden_size", where, err));
    OC_TRY(check_range(t->layers, 1, 256, "text num_hidden_layers", where, err));
    OC_TRY(check_range(t->heads, 1, 256, "text num_attention_heads", where, err));
    OC_TRY(check_range(t->kv_heads, 1, t->heads, "text num_key_value_heads", where, err));
    OC_TRY(check_range(t->mlp, 4, 65536, "text intermediate_size", where, err));
    OC_TRY(check_range(t->vocab, 4, 1 << 20, "text vocab_size", where, err));
    OC_TRY(check_range(t->max_positions, 1, 1 << 24, "text max_position_embeddings", where, err));
    if (t->heads % t->kv_heads)
        return oc_fail(err, OC_ERR_FORMAT, "%s: %d attention heads are not a multiple of %d key/value heads", where,
                       t->heads, t->kv_heads);
    return check_head_size(t->head_size, "the decoder", where, err);
}

oc_status oc_config_check(const oc_config *c, const char *where, oc_error *err) {
    if (!c->has_vision && !c->has_text)
        return oc_fail(err, OC_ERR_FORMAT, "%s: describes neither a vision encoder nor a decoder", where);
    if (c->has_vision) OC_TRY(check_vision(&c->vision, where, err));
    if (c->has_text) {
        OC_TRY(check_text(&c->text, where, err));
        OC_TRY(check_range(c->eos_token, -1, c->text.vocab - 1, "eos_token_id", where, err));
        OC_TRY(check_range(c->pad_token, -1, c->text.vocab - 1, "pad_token_id", where, err));
    }
    if (c->has_vision && c->has_text) {
        OC_TRY(check_range(c->projector.hidden, 1, 65536, "the projector's hidden width", where, err));
        OC_TRY(check_range(c->projector.merge, 1, OC_MIN(MAX_MERGE, oc_vision_grid(&c->vision)), "merge", where, err));
        OC_TRY(check_range(c->image_token, 0, c->text.vocab - 1, "image_token_index", where, err));
    }
    return OC_OK;
}

/* ---- Reading ------------------------------------------------------------------------------------------------------- */

static oc_status read_act(const json_t *obj, const char *key, oc_act *out, const char *where, oc_error *err) {
    const char *s = NULL;
    OC_TRY(oc_json_get_string(obj, key, &s, where, err));
    if (!s) return OC_OK;
    if (!strcmp(s, "gelu_pytorch_tanh") || !strcmp(s, "gelu_new")) *out = OC_ACT_GELU_TANH;
    else if (!strcmp(s, "gelu")) *out = OC_ACT_GELU_ERF;
    else
        return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: \"%s\" is \"%s\"; gelu and gelu_pytorch_tanh are supported", where,
                       key, s);
    return OC_OK;
}

static oc_status read_enum(const json_t *obj, const char *key, const char *const *names, int n, int *out,
                           const char *where, oc_error *err) {
    const char *s = NULL;
    OC_TRY(oc_json_get_string(obj, key, &s, where, err));
    for (int i = 0; s && i < n; i++)
        if (!strcmp(s, names[i])) return *out = i, OC_OK;
    return s ? oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" is \"%s\", which is not one of its values", where, key, s)
             : OC_OK;
}

static oc_status read_float(const json_t *obj, const char *key, double lo, double hi, float *out, const char *where,
                            oc_error *err) {
    double x = (double)*out;
    OC_TRY(oc_json_get_double(obj, key, lo, hi, &x, where, err));
    *out = (float)x;
    return OC_OK;
}

static oc_status read_ints(const json_t *obj, const char *const *keys, int *const *out, int n, const char *where,
                           oc_error *err) {
    for (int i = 0; i < n; i++) OC_TRY(oc_json_get_int(obj, keys[i], 0, 1 << 24, out[i], where, err));
    return OC_OK;
}

static oc_status read_vision(oc_vision_config *v, const json_t *o, const char *where, oc_error *err) {
    /* what SiglipVisionConfig leaves out of a file */
    *v = (oc_vision_config){.hidden = 768, .layers = 12, .heads = 12, .mlp = 3072, .image_size = 224, .patch_size = 16,
                            .eps = 1e-6f, .act = OC_ACT_GELU_TANH, .feature_layer = -1};
    const char *type = NULL;
    OC_TRY(oc_json_get_string(o, "model_type", &type, where, err));
    if (type && strcmp(type, "siglip_vision_model"))
        return oc_fail(err, OC_ERR_UNSUPPORTED,
                       "%s: the vision encoder is \"%s\"; only siglip_vision_model is supported", where, type);
    static const char *const keys[] = {"hidden_size",       "num_hidden_layers", "num_attention_heads",
                                       "intermediate_size", "image_size",        "patch_size"};
    int *const out[] = {&v->hidden, &v->layers, &v->heads, &v->mlp, &v->image_size, &v->patch_size};
    OC_TRY(read_ints(o, keys, out, OC_COUNT(keys), where, err));
    int channels = 3;
    OC_TRY(oc_json_get_int(o, "num_channels", 3, 3, &channels, where, err));
    OC_TRY(read_float(o, "layer_norm_eps", 0, 1, &v->eps, where, err));
    return read_act(o, "hidden_act", &v->act, where, err);
}

/* rope_parameters (transformers 5) or rope_scaling (before): only plain rotary positions are supported. */
static oc_status read_rope(oc_text_config *t, const json_t *o, const char *where, oc_error *err) {
    OC_TRY(read_float(o, "rope_theta", 1, 1e12, &t->rope_theta, where, err));
    static const char *const objects[] = {"rope_parameters", "rope_scaling"}, *const keys[] = {"rope_type", "type"};
    for (size_t i = 0; i < OC_COUNT(objects); i++) {
        const json_t *rope = json_object_get(o, objects[i]);
        if (!rope || json_is_null(rope)) continue;
        if (!json_is_object(rope))
            return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" must be an object", where, objects[i]);
        for (size_t k = 0; k < OC_COUNT(keys); k++) {
            const char *kind = NULL;
            OC_TRY(oc_json_get_string(rope, keys[k], &kind, where, err));
            if (kind && strcmp(kind, "default"))
                return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: %s has the %s \"%s\"; only \"default\" is supported",
                               where, objects[i], keys[k], kind);
        }
        OC_TRY(read_float(rope, "rope_theta", 1, 1e12, &t->rope_theta, where, err));
    }
    return OC_OK;
}

static oc_status read_text(oc_text_config *t, const json_t *o, const char *where, oc_error *err) {
    *t = (oc_text_config){.hidden = 4096, .layers = 32, .heads = 32, .kv_heads = 0, .mlp = 22016, .vocab = 151936,
                          .max_positions = 32768, .eps = 1e-6f, .rope_theta = 1e4f, .tied = false};
    const char *type = NULL, *act = NULL;
    OC_TRY(oc_json_get_string(o, "model_type", &type, where, err));
    if (type && strcmp(type, "qwen2"))
        return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: the decoder is \"%s\"; only qwen2 is supported", where, type);
    static const char *const keys[] = {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                                       "intermediate_size", "vocab_size", "max_position_embeddings", "head_dim"};
    int *const out[] = {&t->hidden, &t->layers, &t->heads,         &t->kv_heads,
                        &t->mlp,    &t->vocab,  &t->max_positions, &t->head_size};
    OC_TRY(read_ints(o, keys, out, OC_COUNT(keys), where, err));
    if (!t->kv_heads) t->kv_heads = t->heads;
    if (!t->head_size && t->heads > 0) t->head_size = t->hidden / t->heads;
    OC_TRY(read_float(o, "rms_norm_eps", 0, 1, &t->eps, where, err));
    OC_TRY(read_rope(t, o, where, err));
    OC_TRY(oc_json_get_string(o, "hidden_act", &act, where, err));
    if (act && strcmp(act, "silu"))
        return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: hidden_act \"%s\" in the decoder; silu is supported", where, act);
    bool sliding = false;
    OC_TRY(oc_json_get_bool(o, "use_sliding_window", &sliding, where, err));
    if (sliding) return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: use_sliding_window is true; it is not supported", where);
    return oc_json_get_bool(o, "tie_word_embeddings", &t->tied, where, err);
}

/* Which hidden state of the encoder is taken. What a file leaves out is as transformers has it: LlavaConfig's defaults are
 * the last layer but one, without the first patch; LlavaOnevisionConfig's are the last layer whole. */
static oc_status read_features(oc_config *c, const json_t *o, bool onevision, const char *where, oc_error *err) {
    const char *select = onevision ? "full" : "default";
    int layer = onevision ? -1 : -2;
    OC_TRY(oc_json_get_int(o, "vision_feature_layer", -256, 256, &layer, where, err));
    OC_TRY(oc_json_get_string(o, "vision_feature_select_strategy", &select, where, err));
    c->vision.feature_layer =
        layer > 0 ? layer - c->vision.layers - 1 : layer; /* from the start: hidden_states[k], k from 0 */
    if (!strcmp(select, "full")) return OC_OK;
    return oc_fail(
        err, OC_ERR_UNSUPPORTED,
        "%s: vision_feature_select_strategy is \"%s\"%s, which drops the first patch; SigLIP has no class token, so it must be \"full\"",
        where, select, json_object_get(o, "vision_feature_select_strategy") ? "" : " (not given)");
}

static oc_status read_caption_prompt(oc_config *c, const json_t *own, const char *where, oc_error *err) {
    const char *text = NULL;
    OC_TRY(oc_json_get_string(own, "caption_prompt", &text, where, err));
    if (!text) return OC_OK;
    if (strlen(text) >= sizeof c->caption_prompt)
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"caption_prompt\" has %zu bytes; %zu are possible", where, strlen(text),
                       sizeof c->caption_prompt - 1);
    strcpy(c->caption_prompt, text);
    return OC_OK;
}

static oc_status read_llava(oc_config *c, const json_t *o, bool onevision, const char *where, oc_error *err) {
    const json_t *v = json_object_get(o, "vision_config"), *t = json_object_get(o, "text_config");
    if (!json_is_object(v) || !json_is_object(t))
        return oc_fail(err, OC_ERR_FORMAT, "%s: a LLaVA configuration needs the objects vision_config and text_config",
                       where);
    c->has_vision = c->has_text = true;
    char place[1024];
    snprintf(place, sizeof place, "%s: vision_config", where);
    OC_TRY(read_vision(&c->vision, v, place, err));
    snprintf(place, sizeof place, "%s: text_config", where);
    OC_TRY(read_text(&c->text, t, place, err));
    /* llava-hf files say false here and true in text_config, whose word counts: it is the decoder's */
    const json_t *tie = json_object_get(t, "tie_word_embeddings");
    if (!tie || json_is_null(tie)) OC_TRY(oc_json_get_bool(o, "tie_word_embeddings", &c->text.tied, where, err));
    c->projector = (oc_projector_config){.hidden = c->text.hidden, .merge = 1, .act = OC_ACT_GELU_ERF};
    OC_TRY(read_act(o, "projector_hidden_act", &c->projector.act, where, err));
    OC_TRY(oc_json_get_int(o, "image_token_index", 0, MAX_ID, &c->image_token, where, err));
    OC_TRY(oc_json_get_int(o, "image_token_id", 0, MAX_ID, &c->image_token, where, err));
    OC_TRY(read_features(c, o, onevision, where, err));
    bool bias = true;
    OC_TRY(oc_json_get_bool(o, "multimodal_projector_bias", &bias, where, err));
    if (!bias) return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: a projector without biases is not supported", where);
    const json_t *own = json_object_get(o, "ocellus");
    if (!json_is_object(own)) return OC_OK;
    int mask = (int)c->mask, aspect = (int)c->aspect, template = (int)c->template;
    bool system_prompt = !c->no_system;
    OC_TRY(oc_json_get_int(own, "merge", 1, MAX_MERGE, &c->projector.merge, where, err));
    OC_TRY(oc_json_get_int(own, "projector_hidden", 1, 65536, &c->projector.hidden, where, err));
    OC_TRY(read_enum(own, "mask", oc_mask_names, OC_MASK_COUNT, &mask, where, err));
    OC_TRY(read_enum(own, "aspect", oc_aspect_names, OC_ASPECT_COUNT, &aspect, where, err));
    OC_TRY(read_enum(own, "template", oc_template_names, OC_TEMPLATE_COUNT, &template, where, err));
    OC_TRY(oc_json_get_bool(own, "system_prompt", &system_prompt, where, err));
    OC_TRY(read_caption_prompt(c, own, where, err));
    c->mask = (oc_mask)mask;
    c->template = (oc_template)template;
    c->no_system = !system_prompt;
    c->own = true;
    c->aspect = (oc_aspect)aspect;
    return OC_OK;
}

static oc_status read_model(oc_config *c, const json_t *o, const char *where, oc_error *err) {
    const char *type = NULL;
    OC_TRY(oc_json_get_string(o, "model_type", &type, where, err));
    if (!type)
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"model_type\" is missing; a Hugging Face config.json has it", where);
    bool onevision = !strcmp(type, "llava_onevision");
    if (onevision || !strcmp(type, "llava")) return read_llava(c, o, onevision, where, err);
    if (!strcmp(type, "qwen2")) {
        c->has_text = true;
        return read_text(&c->text, o, where, err);
    }
    if (!strcmp(type, "siglip") || !strcmp(type, "siglip_vision_model")) {
        const json_t *v = json_object_get(o, "vision_config");
        c->has_vision = true;
        return read_vision(&c->vision, json_is_object(v) ? v : o, where, err);
    }
    return oc_fail(err, OC_ERR_UNSUPPORTED,
                   "%s: model_type \"%s\"; llava, llava_onevision, siglip, siglip_vision_model and qwen2 are supported",
                   where, type);
}

static oc_status read_triple(const json_t *o, const char *key, float out[3], const char *where, oc_error *err) {
    const json_t *a = json_object_get(o, key);
    if (!a || json_is_null(a)) return OC_OK;
    if (!json_is_array(a) || json_array_size(a) != 3)
        return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" must be a list of three numbers", where, key);
    for (size_t i = 0; i < 3; i++) {
        const json_t *x = json_array_get(a, i);
        double value = json_number_value(x);
        if (!json_is_number(x) || !(value > -1e6 && value < 1e6))
            return oc_fail(err, OC_ERR_FORMAT, "%s: \"%s\" must be a list of three numbers below a million", where,
                           key);
        out[i] = (float)value;
    }
    return OC_OK;
}

static oc_status read_preprocessor(oc_config *c, const json_t *o, const char *where, oc_error *err) {
    if (json_is_object(json_object_get(o, "image_processor"))) o = json_object_get(o, "image_processor");
    OC_TRY(read_triple(o, "image_mean", c->image_mean, where, err));
    OC_TRY(read_triple(o, "image_std", c->image_std, where, err));
    for (int i = 0; i < 3; i++)
        if (!(c->image_std[i] > 1e-6f && c->image_std[i] < 1e6f))
            return oc_fail(err, OC_ERR_FORMAT, "%s: image_std must be positive", where);
    return OC_OK;
}

/* Of several ends only the first is kept: the tokenizer knows the others by name. */
static oc_status read_generation(oc_config *c, const json_t *o, const char *where, oc_error *err) {
    const json_t *eos = json_object_get(o, "eos_token_id");
    if (json_is_array(eos)) eos = json_array_get(eos, 0);
    if (eos && !json_is_null(eos)) {
        json_int_t id = json_is_integer(eos) ? json_integer_value(eos) : -1;
        if (id < 0 || id > MAX_ID)
            return oc_fail(err, OC_ERR_FORMAT, "%s: \"eos_token_id\" must be one id or a list of them", where);
        c->eos_token = (int)id;
    }
    return oc_json_get_int(o, "pad_token_id", 0, MAX_ID, &c->pad_token, where, err);
}

/* In the order in which they are read: what a later one says counts. */
static const struct config_file {
    const char *name;
    oc_status (*read)(oc_config *, const json_t *, const char *, oc_error *);
} FILES[OC_CONFIG_FILE_COUNT] = {
    [OC_CONFIG_MODEL] = {"config.json", read_model},
    [OC_CONFIG_PROCESSOR] = {"processor_config.json", read_preprocessor},
    [OC_CONFIG_PREPROCESSOR] = {"preprocessor_config.json", read_preprocessor},
    [OC_CONFIG_GENERATION] = {"generation_config.json", read_generation},
};

oc_status oc_config_parse(oc_config *c, oc_config_file file, const char *text, size_t len, const char *where,
                          oc_error *err) {
    json_t *o;
    if (file == OC_CONFIG_MODEL) oc_config_defaults(c);
    OC_TRY(oc_json_parse(&o, text, len, where, err));
    oc_status st = json_is_object(o) ? FILES[file].read(c, o, where, err)
                                     : oc_fail(err, OC_ERR_FORMAT, "%s: not a JSON object", where);
    json_decref(o);
    return st;
}

static oc_status read_file(oc_config *c, oc_config_file file, const char *path, oc_error *err) {
    char *text;
    size_t len;
    OC_TRY(oc_file_read(&text, &len, path, MAX_JSON, err));
    oc_status st = oc_config_parse(c, file, text, len, path, err);
    oc_free(text);
    return st;
}

oc_status oc_config_load(oc_config *c, const char *dir, oc_error *err) {
    for (int i = 0; i < OC_CONFIG_FILE_COUNT; i++) {
        char *path = oc_path_join(dir, FILES[i].name);
        if (!path) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
        oc_status st = OC_OK;
        if (i == OC_CONFIG_MODEL || oc_file_exists(path)) st = read_file(c, (oc_config_file)i, path, err);
        oc_free(path);
        OC_TRY(st);
    }
    return oc_config_check(c, dir, err);
}

/* ---- Writing ------------------------------------------------------------------------------------------------------- */

static const char *act_name(oc_act a) { return a == OC_ACT_GELU_ERF ? "gelu" : "gelu_pytorch_tanh"; }

static json_t *vision_json(const oc_vision_config *v) {
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:s, s:f, s:b}", "model_type",
                     "siglip_vision_model", "hidden_size", v->hidden, "num_hidden_layers", v->layers,
                     "num_attention_heads", v->heads, "intermediate_size", v->mlp, "image_size", v->image_size,
                     "patch_size", v->patch_size, "num_channels", 3, "layer_norm_eps", (double)v->eps, "hidden_act",
                     act_name(v->act), "attention_dropout", 0.0, "vision_use_head", 0);
}

static json_t *text_json(const oc_text_config *t) {
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:{s:f, s:s}, s:s, s:b, s:f, s:b, s:b}",
                     "model_type", "qwen2", "hidden_size", t->hidden, "num_hidden_layers", t->layers,
                     "num_attention_heads", t->heads, "num_key_value_heads", t->kv_heads, "head_dim", t->head_size,
                     "intermediate_size", t->mlp, "vocab_size", t->vocab, "max_position_embeddings", t->max_positions,
                     "rms_norm_eps", (double)t->eps, "rope_theta", (double)t->rope_theta, "rope_parameters",
                     "rope_theta", (double)t->rope_theta, "rope_type", "default", "hidden_act", "silu",
                     "tie_word_embeddings", (int)t->tied, "attention_dropout", 0.0, "use_sliding_window", 0,
                     "use_cache", 1);
}

static json_t *model_json(const oc_config *c, oc_dtype dtype, const char *stage) {
    json_t *o;
    if (c->has_vision && c->has_text) {
        o = json_pack("{s:[s], s:s, s:i, s:i, s:i, s:s, s:s, s:b, s:b, s:o, s:o, s:{s:s, s:s, s:i, s:i, s:s, s:b}}",
                      "architectures", "LlavaForConditionalGeneration", "model_type", "llava", "image_token_index",
                      c->image_token, "image_seq_length", oc_config_tokens_per_image(c), "vision_feature_layer",
                      c->vision.feature_layer, "vision_feature_select_strategy", "full", "projector_hidden_act",
                      act_name(c->projector.act), "multimodal_projector_bias", 1, "tie_word_embeddings",
                      (int)c->text.tied, "vision_config", vision_json(&c->vision), "text_config", text_json(&c->text),
                      "ocellus", "mask", oc_mask_names[c->mask], "aspect", oc_aspect_names[c->aspect], "merge",
                      c->projector.merge, "projector_hidden", c->projector.hidden, "template",
                      oc_template_names[c->template], "system_prompt", !c->no_system);
        json_t *own = json_object_get(o, "ocellus");
        if (own && stage) json_object_set_new(own, "stage", json_string(stage));
        if (own && c->caption_prompt[0]) json_object_set_new(own, "caption_prompt", json_string(c->caption_prompt));
    } else if (c->has_vision) {
        o = vision_json(&c->vision);
        if (o) json_object_set_new(o, "architectures", json_pack("[s]", "SiglipVisionModel"));
    } else {
        o = text_json(&c->text);
        if (o) json_object_set_new(o, "architectures", json_pack("[s]", "Qwen2ForCausalLM"));
    }
    if (o) {
        const char *name = dtype == OC_BF16 ? "bfloat16" : "float32";
        json_object_set_new(o, "dtype", json_string(name));
        json_object_set_new(o, "torch_dtype", json_string(name));
    }
    return o;
}

static json_t *processor_json(const oc_config *c) {
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:{s:i, s:i}, s:i, s:f, s:[f,f,f], s:[f,f,f]}", "image_processor_type",
                     "SiglipImageProcessor", "do_convert_rgb", 1, "do_resize", 1, "do_rescale", 1, "do_normalize", 1,
                     "size", "height", c->vision.image_size, "width", c->vision.image_size, "resample", 3,
                     "rescale_factor", 1.0 / 255.0, "image_mean", (double)c->image_mean[0], (double)c->image_mean[1],
                     (double)c->image_mean[2], "image_std", (double)c->image_std[0], (double)c->image_std[1],
                     (double)c->image_std[2]);
}

static oc_status save_json(json_t *o, const char *dir, const char *name, oc_error *err) {
    char *path = oc_path_join(dir, name);
    oc_status st =
        o && path ? oc_json_save(o, path, err) : oc_fail(err, OC_ERR_NOMEM, "%s/%s: out of memory", dir, name);
    json_decref(o);
    oc_free(path);
    return st;
}

oc_status oc_config_save(const oc_config *c, const char *dir, oc_dtype dtype, const char *stage, oc_error *err) {
    OC_TRY(save_json(model_json(c, dtype, stage), dir, "config.json", err));
    if (c->has_vision) OC_TRY(save_json(processor_json(c), dir, "preprocessor_config.json", err));
    if (c->has_vision && c->has_text)
        OC_TRY(save_json(json_pack("{s:s, s:s, s:i, s:s, s:i, s:o}", "processor_class", "LlavaProcessor", "image_token",
                                   "<image>", "patch_size", c->vision.patch_size, "vision_feature_select_strategy",
                                   "full", "num_additional_image_tokens", 0, "image_processor", processor_json(c)),
                         dir, "processor_config.json", err));
    if (!c->has_text) return OC_OK;
    json_t *g = json_pack("{s:b, s:b}", "_from_model_config", 1, "use_cache", 1);
    if (g && c->eos_token >= 0) json_object_set_new(g, "eos_token_id", json_integer(c->eos_token));
    if (g && c->pad_token >= 0) json_object_set_new(g, "pad_token_id", json_integer(c->pad_token));
    return save_json(g, dir, "generation_config.json", err);
}
