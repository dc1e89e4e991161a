#include "train/recipe.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "model/config.h"
#include "train/optimizer.h"
#include "train/settings_rows.h"

/* --- The tables: key, type, place, range or words, default, meaning -------------------------------------------------- */

/* The model. */
static const oc_setting new_vision_table[] = {
    NEED_INT(oc_recipe_new_vision, "hidden", hidden, "8..16384", "width"),
    NEED_INT(oc_recipe_new_vision, "layers", layers, "1..256", "encoder layers"),
    NEED_INT(oc_recipe_new_vision, "heads", heads, "1..256", "attention heads; they divide the width"),
    NEED_INT(oc_recipe_new_vision, "mlp", mlp, "8..65536", "inner width of the MLP"),
    NEED_INT(oc_recipe_new_vision, "image_size", image_size, "8..4096", "pixels on a side"),
    NEED_INT(oc_recipe_new_vision, "patch_size", patch_size, "2..256", "pixels on a side of a patch"),
    WORD(oc_recipe_new_vision, "patches", patches, "random|whiten", "random",
         "how the patch embedding begins; whiten: the principal components of the first stage's patches, which shows edges and shapes sooner"),
    {0}};

static const oc_setting new_text_table[] = {
    NEED_INT(oc_recipe_new_text, "hidden", hidden, "8..16384", "width"),
    NEED_INT(oc_recipe_new_text, "layers", layers, "1..256", "decoder layers"),
    NEED_INT(oc_recipe_new_text, "heads", heads, "1..256", "query heads; they divide the width into even parts"),
    INT(oc_recipe_new_text, "kv_heads", kv_heads, "0..256", "0",
        "key/value heads; they divide the query heads; 0: as many"),
    NEED_INT(oc_recipe_new_text, "mlp", mlp, "8..65536", "inner width of the MLP"),
    INT(oc_recipe_new_text, "max_positions", max_positions, "16..1048576", "4096", "longest sequence"),
    NUM(oc_recipe_new_text, "rope_theta", rope_theta, "1..1e9", "1e6", "base of the rotary positions"),
    BOOL(oc_recipe_new_text, "tie", tie, "true", "input and output embedding are one matrix"),
    {0}};

static const oc_setting towers_table[] = {
    PATH(oc_recipe_towers, "vision", vision, "SigLIP checkpoint folder"),
    PATH(oc_recipe_towers, "text", text, "Qwen2 checkpoint folder"),
    TEXT(oc_recipe_towers, "vision_source", vision_source, NULL, "where one gets it; said when it is missing"),
    TEXT(oc_recipe_towers, "text_source", text_source, NULL, "the same for the decoder"),
    {0}};

static const oc_setting new_table[] = {
    GROUP(oc_recipe_new, "vision", vision, new_vision_table, "sizes of a new vision tower"),
    GROUP(oc_recipe_new, "text", text, new_text_table, "sizes of a new decoder; the vocabulary is the tokenizer's"),
    {0}};

static const oc_setting projector_table[] = {
    INT(oc_recipe_projector, "hidden", hidden, "0..65536", "0", "inner width; 0: the decoder's width"),
    INT(oc_recipe_projector, "merge", merge, "1..16", "1", "s: s x s neighbouring patches become one visual token"),
    WORD(oc_recipe_projector, "act", act, "gelu_tanh|gelu", "gelu_tanh", "activation"),
    {0}};

static const oc_setting model_table[] = {
    PATH(oc_recipe_model, "init", init,
         "a checkpoint folder of the whole model to start from, instead of towers and new"),
    GROUP(oc_recipe_model, "towers", towers, towers_table, "folders that the towers are read from"),
    GROUP(oc_recipe_model, "new", fresh, new_table, "sizes of towers that begin with random weights"),
    GROUP(oc_recipe_model, "projector", projector, projector_table, "between the towers; not with init"),
    WORD(oc_recipe_model, "mask", mask, "causal|prefix|isolated|model", "model",
         "which keys visual tokens see; model: as init was trained, else prefix"),
    WORD(oc_recipe_model, "aspect", aspect, "stretch|pad", "stretch", "how images become square"),
    PATH(oc_recipe_model, "tokenizer", tokenizer,
         "tokenizer.json or a folder with one; default: that of the checkpoint"),
    {0}};

/* Data. */
static const oc_setting dataset_table[] = {
    WORD(oc_recipe_dataset, "kind", kind, "llava|coco|karpathy|vqa", "llava", "format of the json file"),
    {.key = "json",
     .kind = SET_PATH | SET_REQUIRED,
     .offset = offsetof(oc_recipe_dataset, json),
     .help = "the samples"},
    PATH(oc_recipe_dataset, "images", images, "folder, tar file or pattern of tar files; default: data.images"),
    TEXT(oc_recipe_dataset, "source", source, NULL, "where one gets it; said when it is missing"),
    TEXT(oc_recipe_dataset, "prompt", prompt, NULL, "question put before a caption (coco)"),
    TEXT(oc_recipe_dataset, "prompt_suffix", prompt_suffix, NULL, "added to every question"),
    TEXT(oc_recipe_dataset, "types", types, NULL,
         "vqa: only questions of these types, separated by commas (\"yesno,count\"); default: all"),
    TEXT(oc_recipe_dataset, "sampling", sampling_text, "all",
         "all, first:N, end:N or random:N; N may be a percentage (first:10%)"),
    NUM(oc_recipe_dataset, "weight", weight, "0.001..1000", "1", "how often an epoch goes through the samples"),
    NUM(oc_recipe_dataset, "grayscale", grayscale, "0..1", "0",
        "as data.augment.grayscale, for this set alone, where it is more: what is learned from it hangs little on colours"),
    TEXT(oc_recipe_dataset, "split", split, NULL, "karpathy: train (with restval), val or test; default: all"),
    BOOL(oc_recipe_dataset, "lowercase", lowercase, "false", "answers in lower case"),
    BOOL(oc_recipe_dataset, "fix_placeholders", fix_placeholders, "false",
         "a record with one picture and no \"<image>\" gets one in front instead of being bad"),
    {0}};

static const oc_setting augment_table[] = {
    NUM(oc_recipe_augment, "crop_min", crop_min, "0.05..1", "1", "smallest part of the area that a random crop keeps"),
    NUM(oc_recipe_augment, "flip", flip, "0..1", "0", "probability of mirroring; wrong for data with left and right"),
    NUM(oc_recipe_augment, "colour_jitter", colour_jitter, "0..1", "0",
        "strength of random brightness, contrast, saturation"),
    NUM(oc_recipe_augment, "grayscale", grayscale, "0..1", "0",
        "probability that a random part of the colour, often nearly all, gives way to gray"),
    {0}};

static const oc_setting data_table[] = {
    PATH(oc_recipe_data, "images", images, "image folder of datasets that name none"),
    INT(oc_recipe_data, "loader_threads", loader_threads, "1..256", "2", "threads that decode and tokenize"),
    INT(oc_recipe_data, "cache_mb", cache_mb, "0..16777216", "1024",
        "memory for decoded images, so that later epochs need not decode"),
    GROUP(oc_recipe_data, "augment", augment, augment_table, "random changes to training images"),
    {.key = "on_bad",
     .kind = SET_ENUM,
     .offset = offsetof(oc_recipe_data, on_bad),
     .spec = "fail|skip",
     .init = "fail",
     .help = "what an unreadable sample does"},
    INT(oc_recipe_data, "max_bad", max_bad, "0..1000000000", "100",
        "unreadable samples that are skipped before the run fails"),
    {0}};

/* Stages. */
static const oc_setting budget_table[] = {
    NUM(oc_recipe_budget, "epochs", epochs, "0..100000", NULL,
        "passes over the data (may be a fraction); 1 when nothing is given"),
    INT(oc_recipe_budget, "steps", steps, "0..1000000000", NULL, "optimizer steps, instead of epochs"),
    NUM(oc_recipe_budget, "minutes", minutes, "0..10000000", NULL,
        "time, instead of epochs; the schedule follows the clock"),
    {0}};

static const oc_setting schedule_table[] = {
    WORD(oc_recipe_schedule, "kind", curve.kind, "cosine|linear|constant", "cosine", "shape after the warm-up"),
    NUM(oc_recipe_schedule, "warmup", curve.warmup, "0..1", "0.03", "part of the stage in which the rate rises"),
    NUM(oc_recipe_schedule, "min_ratio", curve.min_ratio, "0..1", "0", "last rate over the highest"),
    {0}};

static const oc_setting optim_table[] = {
    GROUP(oc_recipe_optim, "schedule", schedule, schedule_table, "learning rate over the stage"),
    WORD(oc_recipe_optim, "optimizer", rule, "adamw|muon", "adamw",
         "muon: for matrices between hidden layers, with AdamW for the rest and AdamW's learning rates"),
    NUM(oc_recipe_optim, "momentum", momentum, "0..0.9999", "0.95", "of Muon"),
    NUM(oc_recipe_optim, "weight_decay", weight_decay, "0..1", "0", "decay, of matrices only"),
    NUM(oc_recipe_optim, "beta1", beta1, "0..0.9999", "0.9", "AdamW"),
    NUM(oc_recipe_optim, "beta2", beta2, "0..0.99999", "0.95", "AdamW"),
    NUM(oc_recipe_optim, "eps", eps, "1e-12..1e-2", "1e-8", "AdamW"),
    NUM(oc_recipe_optim, "clip", clip, "0..1000000", "1", "largest norm of the gradient; 0: no clipping"),
    {0}};

static const oc_setting rates_table[] = {
    NUM(oc_recipe_rates, "vision", vision, "0..10", "0", "learning rate of the vision tower; 0: frozen"),
    NUM(oc_recipe_rates, "projector", projector, "0..10", "0", "of the projector"),
    NUM(oc_recipe_rates, "lm", lm, "0..10", "0", "of the decoder"),
    {0}};

static const oc_setting eval_table[] = {
    WORD(oc_recipe_eval, "task", task, "caption|vqa", "caption", "what is measured"),
    WORD(oc_recipe_eval, "kind", kind, "llava|coco|karpathy|vqa", "coco", "format of the json file"),
    {.key = "json", .kind = SET_PATH | SET_REQUIRED, .offset = offsetof(oc_recipe_eval, json), .help = "the samples"},
    PATH(oc_recipe_eval, "images", images, "folder or tar files; default: data.images"),
    TEXT(oc_recipe_eval, "prompt", prompt, NULL, "question for captions"),
    INT(oc_recipe_eval, "limit", limit, "0..1000000000", "0", "samples used; 0: all"),
    INT(oc_recipe_eval, "max_new_tokens", max_new_tokens, "1..4096", "64", "longest answer"),
    {0}};

static const oc_setting stage_table[] = {
    {.key = "name",
     .kind = SET_STRING | SET_REQUIRED,
     .offset = offsetof(oc_recipe_stage, name),
     .help = "letters, digits, - and _; names the stage's checkpoint"},
    BOOL(oc_recipe_stage, "skip", skip, "false", "leave the stage out, as if it were not there"),
    INLINE(oc_recipe_stage, budget, budget_table),
    INT(oc_recipe_stage, "batch", batch, "1..1048576", "32", "samples of one optimizer step"),
    INT(oc_recipe_stage, "micro_batch", micro_batch, "0..65536", "0", "samples computed at a time; 0: up to 64"),
    INT(oc_recipe_stage, "max_tokens", max_tokens, "0..16777216", "0",
        "tokens computed at a time; 0: no limit of its own"),
    GROUP(oc_recipe_stage, "train", train, rates_table, "learning rates; what has none is frozen"),
    INLINE(oc_recipe_stage, optim, optim_table),
    WORD(oc_recipe_stage, "mask", mask, "causal|prefix|isolated|model", "model", "model: that of the model"),
    WORD(oc_recipe_stage, "template", chat_template, "plain|chat", "chat",
         "plain: image and answer only, chat: the chat template"),
    TEXT(oc_recipe_stage, "caption_prompt", caption_prompt, NULL,
         "what captions are asked for with afterwards, kept in the model's folder; without it the question that most samples "
         "of the first data set with captions share"),
    INT(oc_recipe_stage, "max_length", max_length, "8..1048576", "512",
        "tokens of a sample, visual ones included; longer answers are cut"),
    BOOL(oc_recipe_stage, "system_prompt", system_prompt, "true",
         "chat: put in the template's system turn where a sample has none"),
    BOOL(oc_recipe_stage, "group_by_image", group_by_image, "false",
         "an image's samples go into one batch together; the image is encoded once"),
    INT(oc_recipe_stage, "captions_per_image", captions_per_image, "0..1000", "0",
        "with group_by_image: samples drawn of each image; 0: all"),
    WORD(oc_recipe_stage, "loss", loss, "token|sample", "token",
         "what weighs alike in the loss; sample: a short answer as much as a long caption"),
    NUM(oc_recipe_stage, "token_drop", token_drop, "0..0.9", "0",
        "part of the answer's input tokens that is hidden, so that the picture counts more"),
    NUM(oc_recipe_stage, "ema", ema, "0..0.99999", "0", "decay of averaged weights, which are then saved; 0: off"),
    LIST(oc_recipe_stage, "datasets", datasets, dataset_table, oc_recipe_dataset, "what is learned from"),
    INT(oc_recipe_stage, "save_every", save_every, "0..1000000000", "0",
        "steps between checkpoints; 0: at the end only"),
    INT(oc_recipe_stage, "eval_every", eval_every, "0..1000000000", "0",
        "steps between evaluations; 0: at the end only"),
    GROUP(oc_recipe_stage, "eval", eval, eval_table, "measurement during the stage; none without it"),
    {0}};

/* Pretraining. */
static const oc_setting text_encoder_table[] = {
    INT(oc_recipe_text_encoder, "hidden", hidden, "0..16384", "0",
        "width; 0: as the vision tower, like the next three"),
    INT(oc_recipe_text_encoder, "layers", layers, "0..256", "0", "encoder layers"),
    INT(oc_recipe_text_encoder, "heads", heads, "0..256", "0", "attention heads"),
    INT(oc_recipe_text_encoder, "mlp", mlp, "0..65536", "0", "inner width of the MLP"),
    {0}};

static const oc_setting pretrain_vision_table[] = {
    INLINE(oc_recipe_pretrain_vision, budget, budget_table),
    INT(oc_recipe_pretrain_vision, "batch", batch, "2..1048576", "128", "image-text pairs that are told apart at once"),
    INT(oc_recipe_pretrain_vision, "max_text", max_text, "4..1024", "64", "tokens of a text; longer ones are cut"),
    NUM(oc_recipe_pretrain_vision, "lr", lr, "0..10", "1e-3", "learning rate"),
    INLINE(oc_recipe_pretrain_vision, optim, optim_table),
    GROUP(oc_recipe_pretrain_vision, "text", text, text_encoder_table, "the text encoder, thrown away afterwards"),
    LIST(oc_recipe_pretrain_vision, "datasets", datasets, dataset_table, oc_recipe_dataset, "images with texts"),
    INT(oc_recipe_pretrain_vision, "save_every", save_every, "0..1000000000", "0", "steps between checkpoints"),
    {0}};

static const oc_setting pretrain_text_table[] = {
    INLINE(oc_recipe_pretrain_text, budget, budget_table),
    INT(oc_recipe_pretrain_text, "batch", batch, "1..1048576", "32", "sequences of one optimizer step"),
    INT(oc_recipe_pretrain_text, "micro_batch", micro_batch, "0..65536", "0",
        "sequences computed at a time; 0: the whole batch"),
    INT(oc_recipe_pretrain_text, "length", length, "8..1048576", "256", "tokens of a sequence"),
    NUM(oc_recipe_pretrain_text, "lr", lr, "0..10", "1e-3", "learning rate"),
    INLINE(oc_recipe_pretrain_text, optim, optim_table),
    {.key = "files",
     .kind = SET_PATHS,
     .offset = offsetof(oc_recipe_pretrain_text, files),
     .help = "text files, or JSON lines with \"text\""},
    LIST(oc_recipe_pretrain_text, "datasets", datasets, dataset_table, oc_recipe_dataset, "used without their images"),
    INT(oc_recipe_pretrain_text, "save_every", save_every, "0..1000000000", "0", "steps between checkpoints"),
    {0}};

/* The whole. */
static const oc_setting log_table[] = {
    INT(oc_recipe_log, "every", every, "1..1000000", "10", "steps between lines"),
    BOOL(oc_recipe_log, "tensorboard", tensorboard, "true", "event files in the output folder"),
    {0}};

static const oc_setting recipe_table[] = {
    {.key = "vars", .kind = SET_VARS, .help = "values of `${name}`; `--set name=value` goes before them"},
    TEXT(oc_recipe, "out", out, NULL,
         "folder for checkpoints and logs, relative to the current folder; `--out` goes before it"),
    INT(oc_recipe, "seed", seed, "0..2147483647", "1", "of weights, order and augmentation"),
    INT(oc_recipe, "threads", threads, "0..1024", "0", "0: all cores"),
    WORD(oc_recipe, "dtype", dtype, "auto|f32|bf16", "auto",
         "arithmetic; auto: bf16 where the processor multiplies it"),
    {.key = "memory",
     .kind = SET_BYTES,
     .offset = offsetof(oc_recipe, memory_bytes),
     .help = "a stage that would need more is refused before it starts; default: no limit"},
    WORD(
        oc_recipe, "recompute", recompute, "auto|off|on", "auto",
        "activation checkpointing: layers keep their input alone and are computed again in the backward pass, which takes "
        "less memory and up to a third more time; auto: for as many layers as `memory` asks for"),
    WORD(oc_recipe, "weights", weights, "f32|bf16", "f32",
         "type of matrices and embeddings in `stages`; bf16, rounded at random after each step, saves two bytes a parameter (four where "
         "bf16 arithmetic keeps a copy). For AdamW without `ema`"),
    WORD(oc_recipe, "gradients", gradients, "f32|bf16", "f32",
         "type of the gradients of linear layers' matrices; bf16 saves two bytes a parameter. For AdamW"),
    WORD(oc_recipe, "moments", moments, "f32|bf16", "f32",
         "type of AdamW's two moments; bf16, rounded at random, saves four bytes a parameter"),
    INT(oc_recipe, "max_skipped", max_skipped, "1..1000000", "25",
        "steps with NaN or Inf in loss or gradient are skipped; after so many in a row a run stops, its last checkpoint intact"),
    GROUP(oc_recipe, "model", model, model_table, "where the weights come from"),
    GROUP(oc_recipe, "data", data, data_table, "what all datasets share"),
    LIST(oc_recipe, "stages", stages, stage_table, oc_recipe_stage, "run by `ocellus train`, in this order"),
    GROUP(oc_recipe, "log", log, log_table, "what is recorded"),
    GROUP(oc_recipe, "pretrain_vision", pretrain_vision, pretrain_vision_table, "run by `ocellus pretrain vision`"),
    GROUP(oc_recipe, "pretrain_text", pretrain_text, pretrain_text_table, "run by `ocellus pretrain text`"),
    {0}};

/* --- What must go together ------------------------------------------------------------------------------------------ */

static oc_status fail_rule(const oc_recipe *r, int line, const char *where, const char *rule, oc_error *err) {
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: %s: %s", r->path, line ? line : 1, where, rule);
}

static oc_status check_budget(const oc_recipe *r, oc_recipe_budget *b, int line, const char *where, oc_error *err) {
    int given = (b->epochs > 0) + (b->steps > 0) + (b->minutes > 0);
    if (given > 1) return fail_rule(r, line, where, "give one of epochs, steps and minutes", err);
    if (given == 0) b->epochs = 1;
    return OC_OK;
}

/* all | first:N | end:N | random:N, N a count or a percentage. */
static bool parse_sampling(oc_recipe_dataset *d) {
    const char *colon = strchr(d->sampling_text, ':');
    if (!colon) return d->sampling = OC_RECIPE_SAMPLE_ALL, !strcmp(d->sampling_text, "all");
    char kind[16] = "", number[32] = "";
    size_t n = (size_t)(colon - d->sampling_text), digits = strlen(colon + 1);
    if (n >= sizeof kind || digits == 0 || digits >= sizeof number) return false;
    memcpy(kind, d->sampling_text, n);
    memcpy(number, colon + 1, digits);
    int index = oc_word_index("all|first|end|random", kind), count;
    d->sampling = (oc_recipe_sampling)OC_MAX(index, 0);
    if (number[digits - 1] == '%') {
        number[digits - 1] = 0;
        d->sampling_is_part = oc_parse_double(number, "0..100", &d->sampling_n);
        d->sampling_n /= 100;
        return index > 0 && d->sampling_is_part && d->sampling_n > 0;
    }
    if (index <= 0 || !oc_parse_int(number, "1..", &count)) return false;
    d->sampling_n = count;
    return true;
}

static oc_status check_datasets(const oc_recipe *r, oc_list *datasets, const char *where, oc_error *err) {
    for (int i = 0; i < datasets->n; i++) {
        oc_recipe_dataset *d = (oc_recipe_dataset *)datasets->item + i;
        char path[128];
        snprintf(path, sizeof path, "%s.datasets[%d].sampling", where, i);
        if (!parse_sampling(d))
            return fail_rule(r, d->line, path,
                             "all, first:N, end:N or random:N was expected, N a count or a percentage", err);
        if (!d->images && r->data.images && !(d->images = oc_strdup(r->data.images)))
            return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->path);
    }
    return OC_OK;
}

static oc_status check_heads(const oc_recipe *r, int line, const char *where, int hidden, int heads, int multiple,
                             oc_error *err) {
    if (hidden % (heads * multiple) == 0) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: %s: hidden %d is not a multiple of %s%d heads", r->path, line, where,
                   hidden, multiple > 1 ? "twice " : "", heads);
}

static oc_status check_new(const oc_recipe *r, oc_error *err) {
    const oc_recipe_new_vision *v = &r->model.fresh.vision;
    const oc_recipe_new_text *t = &r->model.fresh.text;
    if (v->line) {
        OC_TRY(check_heads(r, v->line, "model.new.vision", v->hidden, v->heads, 1, err));
        if (v->patch_size > v->image_size)
            return fail_rule(r, v->line, "model.new.vision", "patch_size is larger than image_size", err);
    }
    if (!t->line) return OC_OK;
    if (t->kv_heads > 0 && t->heads % t->kv_heads)
        return fail_rule(r, t->line, "model.new.text", "heads is not a multiple of kv_heads", err);
    return check_heads(r, t->line, "model.new.text", t->hidden, t->heads, 2, err);
}

/* Each tower has a source, or init has all. With both, `new` gives the sizes of pretraining and `towers` what it wrote. */
static oc_status check_model(const oc_recipe *r, oc_error *err) {
    const oc_recipe_model *m = &r->model;
    bool new_vision = m->fresh.vision.line, new_text = m->fresh.text.line;
    if (m->init && (m->towers.line || m->fresh.line || m->projector.line))
        return fail_rule(r, m->line, "model", "init is a whole model: towers, new and projector don't go with it", err);
    OC_TRY(check_new(r, err));
    if (r->stages.n == 0 || m->init) return OC_OK;
    if (!m->towers.vision && !new_vision)
        return fail_rule(r, m->line, "model", "no vision tower: give init, towers.vision or new.vision", err);
    if (!m->towers.text && !new_text)
        return fail_rule(r, m->line, "model", "no decoder: give init, towers.text or new.text", err);
    return OC_OK;
}

static bool is_file_name(const char *s) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    return *s && s[strspn(s, allowed)] == 0 && strlen(s) <= 64;
}

static oc_status check_stage(const oc_recipe *r, int i, oc_error *err) {
    oc_recipe_stage *s = (oc_recipe_stage *)r->stages.item + i;
    char where[64];
    snprintf(where, sizeof where, "stages[%d]", i);
    if (!is_file_name(s->name))
        return fail_rule(r, s->line, where, "name: 1 to 64 letters, digits, - and _ were expected", err);
    for (int j = 0; j < i; j++)
        if (!strcmp(s->name, oc_recipe_stage_at(r, j)->name))
            return fail_rule(r, s->line, where, "the name of an earlier stage", err);
    if (s->train.vision <= 0 && s->train.projector <= 0 && s->train.lm <= 0)
        return fail_rule(r, s->line, where,
                         "nothing is trained: give train.vision, train.projector or train.lm a learning rate", err);
    if (s->datasets.n == 0) return fail_rule(r, s->line, where, "datasets: at least one was expected", err);
    if (s->caption_prompt && (!*s->caption_prompt || strlen(s->caption_prompt) >= OC_CAPTION_PROMPT_SIZE ||
                              strstr(s->caption_prompt, OC_IMAGE_PLACEHOLDER)))
        return fail_rule(r, s->line, where,
                         "caption_prompt: 1 to 511 bytes without " OC_IMAGE_PLACEHOLDER " were expected", err);
    if (s->micro_batch > s->batch) return fail_rule(r, s->line, where, "micro_batch is larger than batch", err);
    if (s->mask == OC_RECIPE_MASK_OF_MODEL) s->mask = r->model.mask;
    OC_TRY(check_budget(r, &s->budget, s->line, where, err));
    if (r->weights == OC_RECIPE_STATE_BF16 && s->ema > 0)
        return fail_rule(r, s->line, where, "ema averages float32 weights: leave it out, or weights: bf16", err);
    if (s->optim.rule == OC_RULE_MUON && (r->weights == OC_RECIPE_STATE_BF16 || r->gradients == OC_RECIPE_STATE_BF16 ||
                                          r->moments == OC_RECIPE_STATE_BF16))
        return fail_rule(r, s->line, where,
                         "optimizer: muon needs float32 state; leave out weights, gradients and moments: bf16", err);
    if (s->eval.line && !s->eval.images && r->data.images && !(s->eval.images = oc_strdup(r->data.images)))
        return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->path);
    return check_datasets(r, &s->datasets, where, err);
}

static oc_status check_pretrain(oc_recipe *r, oc_error *err) {
    oc_recipe_pretrain_vision *v = &r->pretrain_vision;
    oc_recipe_pretrain_text *t = &r->pretrain_text;
    if (v->line) {
        if (v->datasets.n == 0)
            return fail_rule(r, v->line, "pretrain_vision", "datasets: at least one was expected", err);
        OC_TRY(check_budget(r, &v->budget, v->line, "pretrain_vision", err));
        OC_TRY(check_datasets(r, &v->datasets, "pretrain_vision", err));
    }
    if (t->line) {
        if (t->datasets.n + t->files.n == 0)
            return fail_rule(r, t->line, "pretrain_text", "files or datasets were expected", err);
        OC_TRY(check_budget(r, &t->budget, t->line, "pretrain_text", err));
        OC_TRY(check_datasets(r, &t->datasets, "pretrain_text", err));
    }
    return OC_OK;
}

static void drop_skipped(oc_recipe *r) {
    oc_recipe_stage *s = r->stages.item;
    int kept = 0;
    for (int i = 0; i < r->stages.n; i++) {
        if (s[i].skip) oc_settings_free(stage_table, &s[i]);
        else s[kept++] = s[i];
    }
    r->stages.n = kept;
}

static oc_status check_recipe(oc_recipe *r, oc_error *err) {
    OC_TRY(check_model(r, err));
    if (!r->model.init && r->model.mask == OC_RECIPE_MASK_OF_MODEL) r->model.mask = OC_RECIPE_MASK_PREFIX;
    for (int i = 0; i < r->stages.n; i++) OC_TRY(check_stage(r, i, err));
    drop_skipped(r);
    OC_TRY(check_pretrain(r, err));
    if (r->stages.n == 0 && !r->pretrain_vision.line && !r->pretrain_text.line)
        return fail_rule(r, 1, "stages", "nothing to do: give stages, pretrain_vision or pretrain_text", err);
    return OC_OK;
}

/* --- Open and close ------------------------------------------------------------------------------------------------- */

oc_status oc_recipe_parse(oc_recipe *recipe, const char *text, size_t len, const char *path, const char *const *vars,
                          int n_vars, oc_error *err) {
    oc_status st = oc_settings_read(recipe_table, recipe, sizeof *recipe, text, len, path, vars, n_vars, err);
    if (st != OC_OK) return st;
    recipe->path = oc_strdup(path);
    st = recipe->path ? check_recipe(recipe, err) : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
    if (st != OC_OK) oc_recipe_close(recipe);
    return st;
}

oc_status oc_recipe_open(oc_recipe *recipe, const char *path, const char *const *vars, int n_vars, oc_error *err) {
    char *text;
    size_t len;
    memset(recipe, 0, sizeof *recipe);
    OC_TRY(oc_file_read(&text, &len, path, OC_SETTINGS_MAX_BYTES, err));
    oc_status st = oc_recipe_parse(recipe, text, len, path, vars, n_vars, err);
    oc_free(text);
    return st;
}

void oc_recipe_close(oc_recipe *recipe) {
    oc_settings_free(recipe_table, recipe);
    oc_free(recipe->path);
    memset(recipe, 0, sizeof *recipe);
}

void oc_recipe_describe(oc_strbuf *out) { oc_settings_describe(recipe_table, out); }
