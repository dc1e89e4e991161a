#include "train/setup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "compute/profile.h"

/* ---- Run ----------------------------------------------------------------------------------------------------------- */

static oc_dtype choose_dtype(const oc_recipe *r, const oc_compute *c) {
    if (r->dtype == OC_RECIPE_DTYPE_BF16) return OC_BF16;
    if (r->dtype == OC_RECIPE_DTYPE_F32) return OC_F32;
    return oc_compute_has_native_bf16(c) ? OC_BF16 : OC_F32;
}

oc_status oc_run_path(const oc_run *run, const char *name, char **out, oc_error *err) {
    *out = oc_path_join(run->out, name);
    return *out ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", run->out);
}

/* A folder that holds a log belongs to an earlier run. */
static oc_status check_fresh(const oc_run *run, const char *log_path, oc_error *err) {
    if (run->opt->resume || !oc_file_exists(log_path)) return OC_OK;
    if (!run->opt->overwrite)
        return oc_fail(
            err, OC_ERR_ARG,
            "%s holds an earlier run; --resume continues it, --overwrite starts anew, --out DIR goes elsewhere",
            run->out);
    static const char *const parts[] = {"checkpoint", "checkpoint.old", "checkpoint.new", "tensorboard", "log.jsonl"};
    for (size_t i = 0; i < OC_COUNT(parts); i++) {
        char *path;
        OC_TRY(oc_run_path(run, parts[i], &path, err));
        oc_status st = oc_remove_tree(path, err);
        oc_free(path);
        OC_TRY(st);
    }
    return OC_OK;
}

oc_status oc_run_resume(const oc_run *run, oc_position *pos, char **found, oc_error *err) {
    char *path;
    *found = NULL;
    if (!run->opt->resume) return OC_OK;
    OC_TRY(oc_run_path(run, "checkpoint", &path, err));
    oc_status st = oc_checkpoint_find(path, found, err);
    oc_free(path);
    OC_TRY(st);
    if (!*found) {
        oc_log(OC_LOG_INFO, "%s: no checkpoint yet, starting from the beginning", run->out);
        return OC_OK;
    }
    st = oc_checkpoint_load_position(*found, pos, err);
    if (st == OC_OK && pos->seed != (uint64_t)run->recipe->seed)
        st = oc_fail(err, OC_ERR_ARG,
                     "%s: made with seed %llu, the recipe has %d; the order of the samples would be another one",
                     *found, (unsigned long long)pos->seed, run->recipe->seed);
    if (st == OC_OK) return OC_OK;
    oc_free(*found);
    *found = NULL;
    return st;
}

/* 72 bytes an event while it runs, about 200 in the file. */
enum { TRACE_EVENTS = 100000 };

static oc_status start_profile(oc_run *run, oc_error *err) {
    OC_TRY(oc_profile_start(run->compute, err));
    OC_TRY(oc_trace_open(&run->trace, TRACE_EVENTS, err));
    oc_trace_name_thread(run->trace, "training", 0);
    oc_profile_trace(run->compute, run->trace);
    return OC_OK;
}

oc_status oc_run_open(oc_run *run, const oc_recipe *recipe, const oc_train_options *opt, const char *tokenizer_dir,
                      oc_error *err) {
    memset(run, 0, sizeof *run);
    run->recipe = recipe;
    run->opt = opt;
    run->out = opt->out ? opt->out : recipe->out;
    if (!run->out && !opt->dry_run)
        return oc_fail(err, OC_ERR_ARG, "%s: no output folder; give --out DIR or the key \"out\"", recipe->path);
    if (!tokenizer_dir)
        return oc_fail(err, OC_ERR_ARG,
                       "%s: no tokenizer; model.tokenizer names a tokenizer.json (ocellus tokenizer train makes one)",
                       recipe->path);
    char *log = NULL, *tb = NULL;
    int32_t image;
    oc_status st;
    OC_GO(oc_compute_open(&run->compute, &(oc_compute_options){.threads = recipe->threads, .backend = opt->backend},
                          err));
    run->dtype = choose_dtype(recipe, run->compute);
    if (opt->profile) OC_GO(start_profile(run, err));
    st = oc_tokenizer_open(&run->tokenizer, tokenizer_dir, err);
    if (st == OC_ERR_IO && tokenizer_dir == recipe->model.towers.text)
        st = oc_add_source(err, recipe->model.towers.text_source);
    OC_GO(st);
    OC_GO(oc_tokenizer_add_special(run->tokenizer, OC_IMAGE_PLACEHOLDER, &image,
                                   err)); /* Qwen2's own tokenizer lacks it */
    run->resident = oc_rss_bytes();
    if (opt->dry_run) goto done;
    OC_GO(oc_make_dirs(run->out, err));
    OC_GO(oc_run_path(run, "log.jsonl", &log, err));
    OC_GO(check_fresh(run, log, err));
    OC_GO(oc_run_log_open(&run->log, log, err));
    OC_GO(oc_run_path(run, "tensorboard", &tb, err));
    if (recipe->log.tensorboard) OC_GO(oc_tensorboard_open(&run->tensorboard, tb, err));
    run->output = (oc_train_output){.log = run->log,
                                    .tensorboard = run->tensorboard,
                                    .every = recipe->log.every,
                                    .quiet = opt->quiet,
                                    .trace = run->trace,
                                    .trace_dir = run->out,
                                    .done = opt->done,
                                    .ctx = opt->ctx};
    oc_log(OC_LOG_INFO, "%s, %s", oc_compute_describe(run->compute), run->dtype == OC_BF16 ? "bf16" : "float32");
done:
    oc_free(log);
    oc_free(tb);
    if (st != OC_OK) oc_run_close(run);
    return st;
}

void oc_run_close(oc_run *run) {
    oc_tensorboard_close(run->tensorboard);
    oc_run_log_close(run->log);
    oc_tokenizer_close(run->tokenizer);
    if (run->compute) oc_compute_close(run->compute);
    oc_trace_close(run->trace);
    memset(run, 0, sizeof *run);
}

/* ---- Data ---------------------------------------------------------------------------------------------------------- */

oc_status oc_add_source(oc_error *err, const char *source) {
    return source ? oc_fail_suffix(err, "; get it from %s", source) : OC_ERR_IO;
}

static oc_status open_dataset(oc_dataset **out, const oc_recipe_dataset *d, uint64_t seed, oc_error *err) {
    static const oc_dataset_kind kind[] = {[OC_RECIPE_DATA_LLAVA] = OC_DATASET_LLAVA,
                                           [OC_RECIPE_DATA_COCO] = OC_DATASET_COCO,
                                           [OC_RECIPE_DATA_KARPATHY] = OC_DATASET_KARPATHY,
                                           [OC_RECIPE_DATA_VQA] = OC_DATASET_VQA};
    oc_dataset_options o = {.kind = kind[d->kind],
                            .json = d->json,
                            .images = d->images,
                            .split = d->split,
                            .types = d->types,
                            .prompt = d->prompt,
                            .prompt_suffix = d->prompt_suffix,
                            .sampling = d->sampling_text,
                            .seed = seed,
                            .lowercase = d->lowercase,
                            .fix_placeholders = d->fix_placeholders};
    oc_status st = oc_dataset_open(out, &o, err);
    return st == OC_ERR_IO ? oc_add_source(err, d->source) : st;
}

oc_status oc_mixture_open(oc_mixture *m, const oc_list *datasets, uint64_t seed, oc_error *err) {
    memset(m, 0, sizeof *m);
    if (datasets->n == 0) return oc_fail(err, OC_ERR_ARG, "no datasets are given for this stage");
    m->dataset = oc_calloc((size_t)datasets->n, sizeof *m->dataset);
    m->source = oc_calloc((size_t)datasets->n, sizeof *m->source);
    oc_status st = m->dataset && m->source ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the data sets");
    for (int i = 0; i < datasets->n && st == OC_OK; i++) {
        const oc_recipe_dataset *d = oc_recipe_dataset_at(datasets, i);
        st = open_dataset(&m->dataset[i], d, seed, err);
        m->source[i] = (oc_source){.dataset = m->dataset[i], .weight = d->weight, .grayscale = d->grayscale};
        m->n = i + 1;
    }
    if (st != OC_OK) oc_mixture_close(m);
    return st;
}

void oc_mixture_close(oc_mixture *m) {
    for (int i = 0; i < m->n; i++) oc_dataset_close(m->dataset[i]);
    oc_free(m->dataset);
    oc_free(m->source);
    memset(m, 0, sizeof *m);
}

/* The question of a sample that has one picture, which comes first, and one answer; NULL: it is none. */
static const char *caption_question(const oc_sample *s) {
    static const char place[] = OC_IMAGE_PLACEHOLDER;
    const char *text = s->turn[0].text;
    if (s->n_images != 1 || s->n_turns != 2 || strncmp(text, place, sizeof place - 1)) return NULL;
    text += sizeof place - 1;
    text += strspn(text, " \n");
    return *text ? text : NULL;
}

/* Sample k of the looks that are taken at a data set, spread over it. */
static const char *look(const oc_dataset *d, size_t k, size_t looks) {
    oc_sample s;
    oc_dataset_sample(d, k * oc_dataset_count(d) / looks, &s);
    return caption_question(&s);
}

/* The question of more than half of a data set's looks (Boyer and Moore's vote), NULL: there is none. */
static const char *common_question(const oc_dataset *d) {
    enum { LOOKS = 256 };
    const size_t looks = OC_MIN((size_t)LOOKS, oc_dataset_count(d));
    const char *leader = NULL, *text;
    size_t votes = 0, same = 0;
    for (size_t k = 0; k < looks; k++) {
        if (!(text = look(d, k, looks))) continue;
        if (votes == 0) leader = text;
        votes = strcmp(text, leader) ? votes - 1 : votes + 1;
    }
    for (size_t k = 0; leader && k < looks; k++) same += (text = look(d, k, looks)) && !strcmp(text, leader);
    return 2 * same > looks ? leader : NULL;
}

const char *oc_mixture_caption_prompt(const oc_mixture *m, const oc_list *datasets) {
    for (int i = 0; i < m->n; i++) {
        if (oc_recipe_dataset_at(datasets, i)->kind == OC_RECIPE_DATA_VQA) continue;
        const char *question = common_question(m->dataset[i]);
        if (question) return strlen(question) < OC_CAPTION_PROMPT_SIZE ? question : NULL;
    }
    return NULL;
}

typedef struct missing_picture {
    char sample[128], image[256];
} missing_picture;

static void note_missing(void *ctx, const char *sample, const char *image) {
    missing_picture *m = ctx;
    snprintf(m->sample, sizeof m->sample, "%s", sample);
    snprintf(m->image, sizeof m->image, "%s", image);
}

oc_status oc_mixture_check_pictures(const oc_mixture *m, const oc_list *datasets, const char *where, int64_t allowed,
                                    oc_error *err) {
    int64_t all = 0;
    for (int i = 0; i < m->n; i++) {
        const oc_recipe_dataset *d = oc_recipe_dataset_at(datasets, i);
        missing_picture first = {"", ""};
        const size_t n = oc_dataset_missing_images(m->dataset[i], note_missing, &first, 1);
        all += (int64_t)n;
        if (all <= allowed) continue;
        oc_fail(err, OC_ERR_IO, "%s: %zu samples of %s have no picture below %s; the first is %s, of sample %s", where, n,
                d->json, d->images ? d->images : "its folder", first.image, first.sample);
        return oc_add_source(err, d->source);
    }
    return OC_OK;
}

static void log_bad(void *ctx, const char *sample, const char *reason) {
    (void)ctx;
    oc_log(OC_LOG_WARN, "sample %s is left out: %s", sample, reason);
}

void oc_loader_defaults(oc_loader_options *lo, const oc_run *run, const oc_mixture *mix, const oc_config *cfg) {
    const oc_recipe_data *d = &run->recipe->data;
    memset(lo, 0, sizeof *lo);
    lo->source = mix->source;
    lo->n_sources = mix->n;
    lo->seed = (uint64_t)run->recipe->seed;
    lo->threads = d->loader_threads;
    lo->cache_mb = (size_t)d->cache_mb;
    lo->max_bad = d->on_bad == OC_RECIPE_BAD_SKIP ? d->max_bad : -1;
    lo->on_bad = log_bad;
    lo->trace = run->trace;
    lo->image.size = cfg->vision.image_size;
    lo->image.aspect = cfg->aspect;
    memcpy(lo->image.mean, cfg->image_mean, sizeof lo->image.mean);
    memcpy(lo->image.std, cfg->image_std, sizeof lo->image.std);
    lo->image.augment = (oc_augment){.crop_min = d->augment.crop_min,
                                     .flip = d->augment.flip,
                                     .jitter = d->augment.colour_jitter,
                                     .grayscale = d->augment.grayscale};
    lo->text.tokenizer = run->tokenizer;
    lo->text.image_token = cfg->image_token;
    lo->text.eos_token = cfg->eos_token;
    lo->text.tokens_per_image = cfg->has_vision && cfg->has_text ? oc_config_tokens_per_image(cfg) : 1;
}

int64_t oc_budget_steps(const oc_recipe_budget *b, int64_t units, int batch) {
    if (b->minutes > 0) return 0;
    if (b->steps > 0) return b->steps;
    int64_t per_epoch = (units + batch - 1) / batch;
    return (int64_t)ceil((double)per_epoch * (b->epochs > 0 ? b->epochs : 1) - 1e-6);
}

oc_optimizer_options oc_optimizer_settings(const oc_recipe_optim *o) {
    return (oc_optimizer_options){.rule = (oc_update_rule)o->rule,
                                  .momentum = o->momentum,
                                  .beta1 = o->beta1,
                                  .beta2 = o->beta2,
                                  .eps = o->eps,
                                  .weight_decay = o->weight_decay,
                                  .clip = o->clip};
}

/* ---- Configurations of fresh towers ---------------------------------------------------------------------------------- */

void oc_config_new_vision(oc_config *c, const oc_recipe_new_vision *v) {
    c->has_vision = true;
    c->vision = (oc_vision_config){.hidden = v->hidden,
                                   .layers = v->layers,
                                   .heads = v->heads,
                                   .mlp = v->mlp,
                                   .image_size = v->image_size,
                                   .patch_size = v->patch_size,
                                   .eps = 1e-6f,
                                   .act = OC_ACT_GELU_TANH,
                                   .feature_layer = -1};
}

void oc_config_new_text(oc_config *c, const oc_recipe_new_text *t, const oc_tokenizer *tokenizer) {
    int vocab = (int)oc_tokenizer_vocab_size(tokenizer);
    c->has_text = true;
    c->text = (oc_text_config){.hidden = t->hidden,
                               .layers = t->layers,
                               .heads = t->heads,
                               .kv_heads = t->kv_heads ? t->kv_heads : t->heads,
                               .head_size = t->heads > 0 ? t->hidden / t->heads : 0,
                               .mlp = t->mlp,
                               .vocab = (vocab + 63) / 64 * 64,
                               .max_positions = t->max_positions,
                               .eps = 1e-6f,
                               .rope_theta = (float)t->rope_theta,
                               .tied = t->tie};
}

void oc_config_tokens(oc_config *c, const oc_tokenizer *t) {
    c->eos_token = oc_tokenizer_token_id(t, "<|im_end|>");
    c->pad_token = oc_tokenizer_token_id(t, "<|endoftext|>");
    c->image_token = oc_tokenizer_token_id(t, OC_IMAGE_PLACEHOLDER);
}
