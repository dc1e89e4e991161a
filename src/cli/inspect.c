/* ocellus inspect: what a model folder or a safetensors file holds, without loading it. */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/session.h"
#include "data/safetensors.h"
#include "train/checkpoint.h"

static struct { bool json, tensors; } opt;

static const oc_option options[] = {
    {"--tensors", OPT_FLAG, &opt.tensors, NULL, "list every tensor"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print one JSON object"},
    {0}};

enum { PART_OTHER = OC_PART_COUNT, N_PARTS, MAX_CONFIG = 16 << 20 };

/* What is known of PATH. */
typedef struct facts {
    const char *path;
    oc_safetensors *file; /* NULL: a folder with a configuration alone */
    bool has_config, has_training;
    oc_config cfg;
    char stage[128];      /* of training, as config.json remembers it; "" if not */
    oc_position pos;
    struct { size_t tensors, values, bytes; } part[N_PARTS], dtype[OC_DTYPE_COUNT], all;
} facts;

/* ---- Reading ------------------------------------------------------------------------------------------------------- */

static int part_of(const char *name) {
    static const struct { const char *prefix; int part;
    } rule[] = {{"vision_tower.", OC_PART_VISION},
                {"multi_modal_projector.", OC_PART_PROJECTOR},
                {"language_model.", OC_PART_LM},
                {"lm_head.", OC_PART_LM}};
    char canonical[256];
    if (!oc_weights_canonical(canonical, sizeof canonical, name)) return PART_OTHER;
    for (size_t i = 0; i < OC_COUNT(rule); i++)
        if (!strncmp(canonical, rule[i].prefix, strlen(rule[i].prefix))) return rule[i].part;
    return PART_OTHER;
}

static void count_tensors(facts *f) {
    for (size_t i = 0; i < oc_safetensors_count(f->file); i++) {
        const oc_tensor_info *t = oc_safetensors_at(f->file, i);
        size_t n = oc_tensor_elements(t);
        int part = part_of(t->name);
        f->part[part].tensors++, f->part[part].values += n, f->part[part].bytes += t->bytes;
        f->dtype[t->dtype].tensors++, f->dtype[t->dtype].values += n, f->dtype[t->dtype].bytes += t->bytes;
        f->all.tensors++, f->all.values += n, f->all.bytes += t->bytes;
    }
}

/* config.json remembers the stage of training; it is no setting of the model. */
static oc_status read_stage(facts *f, const char *config, oc_error *err) {
    json_t *o;
    const char *stage = NULL;
    OC_TRY(oc_json_load(&o, config, MAX_CONFIG, err));
    const json_t *own = json_object_get(o, "ocellus");
    oc_status st = json_is_object(own) ? oc_json_get_string(own, "stage", &stage, config, err) : OC_OK;
    if (stage) snprintf(f->stage, sizeof f->stage, "%s", stage);
    json_decref(o);
    return st;
}

/* Which of the files of a model folder are there. */
static oc_status read_folder(facts *f, oc_error *err) {
    static const char *const names[] = {"config.json", "training.json", "model.safetensors",
                                        "model.safetensors.index.json"};
    char *path[OC_COUNT(names)];
    bool there[OC_COUNT(names)], memory = true;
    for (size_t i = 0; i < OC_COUNT(names); i++) {
        path[i] = oc_path_join(f->path, names[i]);
        memory &= path[i] != NULL;
        there[i] = path[i] && oc_file_exists(path[i]);
    }
    oc_status st = memory ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", f->path);
    OC_GO(st);
    f->has_config = there[0];
    f->has_training = there[1];
    bool weights = there[2] || there[3];
    if (!f->has_config && !weights)
        st = oc_fail(err, OC_ERR_ARG, "%s: neither config.json nor model.safetensors is in this folder; it is no model",
                     f->path);
    OC_GO(st);
    if (f->has_config) OC_GO(oc_config_load(&f->cfg, f->path, err));
    if (f->has_config) OC_GO(read_stage(f, path[0], err));
    if (f->has_training) OC_GO(oc_checkpoint_load_position(f->path, &f->pos, err));
    if (weights) st = oc_safetensors_open(&f->file, f->path, err);
done:
    for (size_t i = 0; i < OC_COUNT(names); i++) oc_free(path[i]);
    return st;
}

/* ---- As JSON ------------------------------------------------------------------------------------------------------- */

static json_t *vision_json(const oc_vision_config *v) {
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "hidden", v->hidden, "layers", v->layers, "heads", v->heads,
                     "mlp", v->mlp, "image_size", v->image_size, "patch_size", v->patch_size, "patches",
                     oc_vision_patches(v));
}

static json_t *text_json(const oc_text_config *t) {
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b}", "hidden", t->hidden, "layers", t->layers, "heads",
                     t->heads, "kv_heads", t->kv_heads, "head_size", t->head_size, "mlp", t->mlp, "vocab", t->vocab,
                     "max_positions", t->max_positions, "tied", (int)t->tied);
}

static void add_config_json(json_t *o, const facts *f) {
    const oc_config *c = &f->cfg;
    if (c->has_vision) json_object_set_new(o, "vision", vision_json(&c->vision));
    if (c->has_text) json_object_set_new(o, "text", text_json(&c->text));
    if (!c->has_vision || !c->has_text) return;
    json_object_set_new(o, "projector",
                        json_pack("{s:i, s:i, s:s, s:i}", "hidden", c->projector.hidden, "merge", c->projector.merge,
                                  "act", c->projector.act == OC_ACT_GELU_ERF ? "gelu" : "gelu_tanh", "tokens_per_image",
                                  oc_config_tokens_per_image(c)));
    json_object_set_new(o, "mask", json_string(oc_mask_names[c->mask]));
    json_object_set_new(o, "aspect", json_string(oc_aspect_names[c->aspect]));
    json_object_set_new(o, "template", json_string(oc_template_names[c->template]));
    json_object_set_new(o, "system_prompt", json_boolean(!c->no_system));
    if (f->stage[0]) json_object_set_new(o, "stage", json_string(f->stage));
    if (c->caption_prompt[0]) json_object_set_new(o, "caption_prompt", json_string(c->caption_prompt));
}

static json_t *tensors_json(const facts *f) {
    json_t *list = json_array();
    for (size_t i = 0; i < oc_safetensors_count(f->file); i++) {
        const oc_tensor_info *t = oc_safetensors_at(f->file, i);
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++) json_array_append_new(shape, json_integer(t->shape[d]));
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o}", "name", t->name, "dtype", oc_dtype_name(t->dtype), "shape", shape));
    }
    return list;
}

static const char *part_name(int part) { return part < OC_PART_COUNT ? oc_part_names[part] : "other"; }

static void add_file_json(json_t *o, const facts *f) {
    json_t *parts = json_object(), *types = json_object();
    for (int i = 0; i < N_PARTS; i++)
        if (f->part[i].tensors) json_object_set_new(parts, part_name(i), json_integer((json_int_t)f->part[i].values));
    json_object_set_new(parts, "total", json_integer((json_int_t)f->all.values));
    for (int i = 0; i < OC_DTYPE_COUNT; i++)
        if (f->dtype[i].tensors)
            json_object_set_new(types, oc_dtype_name((oc_dtype)i), json_integer((json_int_t)f->dtype[i].tensors));
    json_object_set_new(o, "parameters", parts);
    json_object_set_new(o, "tensors", json_integer((json_int_t)f->all.tensors));
    json_object_set_new(o, "bytes", json_integer((json_int_t)f->all.bytes));
    json_object_set_new(o, "dtypes", types);
    if (opt.tensors) json_object_set_new(o, "tensor", tensors_json(f));
}

static json_t *facts_json(const facts *f) {
    json_t *o = json_pack("{s:s}", "path", f->path);
    if (!o) return NULL;
    if (f->has_config) add_config_json(o, f);
    if (f->file) add_file_json(o, f);
    if (f->has_training)
        json_object_set_new(o, "training",
                            json_pack("{s:i, s:I, s:I, s:I, s:I, s:f}", "stage", f->pos.stage, "step",
                                      (json_int_t)f->pos.step, "samples", (json_int_t)f->pos.samples, "tokens",
                                      (json_int_t)f->pos.tokens, "skipped", (json_int_t)f->pos.skipped, "seconds",
                                      f->pos.total_seconds + f->pos.seconds));
    return o;
}

/* ---- For people ---------------------------------------------------------------------------------------------------- */

static void print_config(const facts *f) {
    const oc_config *c = &f->cfg;
    const oc_vision_config *v = &c->vision;
    const oc_text_config *t = &c->text;
    if (c->has_vision)
        printf("vision     %d layers of %d, %d heads, MLP %d; %d pixels, patches of %d: %d\n", v->layers, v->hidden,
               v->heads, v->mlp, v->image_size, v->patch_size, oc_vision_patches(v));
    if (c->has_vision && c->has_text)
        printf("projector  %d wide, %s GELU, merges %d x %d: %d tokens a picture\n", c->projector.hidden,
               c->projector.act == OC_ACT_GELU_ERF ? "erf" : "tanh", c->projector.merge, c->projector.merge,
               oc_config_tokens_per_image(c));
    if (c->has_text)
        printf("lm         %d layers of %d, %d heads, %d key/value heads, MLP %d; vocabulary %d%s, %d positions\n",
               t->layers, t->hidden, t->heads, t->kv_heads, t->mlp, t->vocab, t->tied ? ", tied" : "",
               t->max_positions);
    if (!c->has_vision || !c->has_text) return;
    printf("prompts    mask %s, aspect %s, template %s%s%s%s\n", oc_mask_names[c->mask], oc_aspect_names[c->aspect],
           oc_template_names[c->template],
           c->template == OC_TEMPLATE_CHAT && c->no_system ? " without system turn" : "",
           f->stage[0] ? ", trained by stage " : "", f->stage);
    if (c->caption_prompt[0]) printf("captions   asked for with \"%s\"\n", c->caption_prompt);
}

static void print_file(const facts *f) {
    printf("weights    %zu parameters in %zu tensors, %.1f MiB:", f->all.values, f->all.tensors,
           (double)f->all.bytes / (1 << 20));
    for (int i = 0; i < N_PARTS; i++)
        if (f->part[i].tensors) printf(" %s %zu", part_name(i), f->part[i].values);
    printf(";");
    for (int i = 0; i < OC_DTYPE_COUNT; i++)
        if (f->dtype[i].tensors) printf(" %s", oc_dtype_name((oc_dtype)i));
    puts("");
    char text[160];
    for (size_t i = 0; opt.tensors && i < oc_safetensors_count(f->file); i++) {
        const oc_tensor_info *t = oc_safetensors_at(f->file, i);
        printf("  %-24s %s\n", oc_tensor_describe(text, sizeof text, t), t->name);
    }
}

static void print_facts(const facts *f) {
    if (f->has_config) print_config(f);
    if (f->file) print_file(f);
    else puts("weights    none");
    if (f->has_training)
        printf("training   checkpoint in stage %d at step %lld: %lld samples, %.0f s so far\n", f->pos.stage + 1,
               (long long)f->pos.step, (long long)f->pos.samples, f->pos.total_seconds + f->pos.seconds);
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    facts f = {.path = args[0]};
    oc_status st = oc_dir_exists(f.path) ? read_folder(&f, err) : oc_safetensors_open(&f.file, f.path, err);
    if (st == OC_OK && f.file) count_tensors(&f);
    if (st == OC_OK && opt.json) st = oc_print_json(facts_json(&f), err);
    else if (st == OC_OK) print_facts(&f);
    oc_safetensors_close(f.file);
    return (int)st;
}

const oc_command oc_command_inspect = {
    .name = "inspect",
    .summary = "Show what a model folder or a safetensors file holds",
    .positional = "PATH",
    .min_args = 1,
    .max_args = 1,
    .details =
        "Sizes, parameters by part, types, how prompts are written, and where training stands. Nothing but headers is read.\n\n"
        "  ocellus inspect runs/flickr8k/model\n"
        "  ocellus inspect runs/flickr8k/checkpoint --json\n"
        "  ocellus inspect model.safetensors --tensors",
    .options = options,
    .run = run,
};
