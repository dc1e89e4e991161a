/* A recipe: everything about a training run, in one YAML file (docs/recipes.md is its reference). Reading checks keys,
 * types, ranges and what must go together; whether files exist is for those who open them.
 *
 * Every `line` is where that mapping begins in the file, 0 when the file has none (defaults then apply). Strings are
 * NULL when absent. Paths are resolved (see train/settings.h). */
#ifndef OC_TRAIN_RECIPE_H
#define OC_TRAIN_RECIPE_H

#include "train/schedule.h"
#include "train/settings.h"

typedef enum { OC_RECIPE_DTYPE_AUTO, OC_RECIPE_DTYPE_F32, OC_RECIPE_DTYPE_BF16 } oc_recipe_dtype;
typedef enum { OC_RECIPE_STATE_F32, OC_RECIPE_STATE_BF16 } oc_recipe_state;
typedef enum { OC_RECIPE_RECOMPUTE_AUTO, OC_RECIPE_RECOMPUTE_OFF, OC_RECIPE_RECOMPUTE_ON } oc_recipe_recompute;
typedef enum {
    OC_RECIPE_MASK_CAUSAL,
    OC_RECIPE_MASK_PREFIX,
    OC_RECIPE_MASK_ISOLATED,
    OC_RECIPE_MASK_OF_MODEL
} oc_recipe_mask;
typedef enum { OC_RECIPE_ASPECT_STRETCH, OC_RECIPE_ASPECT_PAD } oc_recipe_aspect;
typedef enum { OC_RECIPE_ACT_GELU_TANH, OC_RECIPE_ACT_GELU } oc_recipe_act;
typedef enum { OC_RECIPE_TEMPLATE_PLAIN, OC_RECIPE_TEMPLATE_CHAT } oc_recipe_template;
typedef enum {
    OC_RECIPE_DATA_LLAVA,
    OC_RECIPE_DATA_COCO,
    OC_RECIPE_DATA_KARPATHY,
    OC_RECIPE_DATA_VQA
} oc_recipe_data_kind;
typedef enum {
    OC_RECIPE_SAMPLE_ALL,
    OC_RECIPE_SAMPLE_FIRST,
    OC_RECIPE_SAMPLE_END,
    OC_RECIPE_SAMPLE_RANDOM
} oc_recipe_sampling;
typedef enum { OC_RECIPE_EVAL_CAPTION, OC_RECIPE_EVAL_VQA } oc_recipe_eval_task;

/* --- The model ------------------------------------------------------------------------------------------------------ */

typedef enum { OC_RECIPE_PATCHES_RANDOM, OC_RECIPE_PATCHES_WHITEN } oc_recipe_patches;

typedef struct oc_recipe_new_vision {
    int line, hidden, layers, heads, mlp, image_size, patch_size;
    oc_recipe_patches patches;
} oc_recipe_new_vision;

typedef struct oc_recipe_new_text {
    int line, hidden, layers, heads, kv_heads, mlp; /* kv_heads 0: as heads */
    int max_positions;
    double rope_theta;
    bool tie; /* output and input embedding are one matrix */
} oc_recipe_new_text;

typedef struct oc_recipe_towers {
    int line;
    const char *vision, *text;
    const char *vision_source, *text_source; /* where one gets them, for messages; may be NULL */
} oc_recipe_towers;

typedef struct oc_recipe_new {
    int line;
    oc_recipe_new_vision vision;
    oc_recipe_new_text text;
} oc_recipe_new;

typedef struct oc_recipe_projector {
    int line, hidden, merge; /* hidden 0: the text model's width */
    oc_recipe_act act;
} oc_recipe_projector;

/* Where the weights come from: `init` is a whole checkpoint; otherwise each tower is a folder or new. */
typedef struct oc_recipe_model {
    int line;
    const char *init;
    oc_recipe_towers towers;
    oc_recipe_new fresh; /* key "new" */
    oc_recipe_projector projector;
    oc_recipe_mask mask; /* OC_RECIPE_MASK_OF_MODEL only with init */
    oc_recipe_aspect aspect;
    const char *tokenizer;
} oc_recipe_model;

/* --- Data ----------------------------------------------------------------------------------------------------------- */

typedef struct oc_recipe_dataset {
    int line;
    oc_recipe_data_kind kind;
    const char *json, *images;
    const char *prompt, *prompt_suffix, *types;
    const char *source;        /* where one gets it, for messages; may be NULL */
    const char *sampling_text; /* key "sampling": all, first:N, end:N, random:N or with N% */
    double weight, grayscale;
    const char *split;
    bool lowercase, fix_placeholders;

    oc_recipe_sampling sampling; /* sampling_text, understood */
    double sampling_n;           /* samples, or a fraction of them when sampling_is_part */
    bool sampling_is_part;
} oc_recipe_dataset;

typedef struct oc_recipe_augment {
    int line;
    double crop_min, flip, colour_jitter, grayscale; /* 1, 0, 0, 0: off */
} oc_recipe_augment;

typedef struct oc_recipe_data {
    int line;
    const char *images; /* for datasets without their own */
    int loader_threads, cache_mb;
    oc_recipe_augment augment;
    enum { OC_RECIPE_BAD_FAIL, OC_RECIPE_BAD_SKIP } on_bad;
    int max_bad;
} oc_recipe_data;

/* --- Stages --------------------------------------------------------------------------------------------------------- */

/* How long: exactly one is above 0. By the clock, the schedule follows the part of the time that has passed. */
typedef struct oc_recipe_budget {
    double epochs, minutes;
    int steps;
} oc_recipe_budget;

typedef struct oc_recipe_schedule {
    int line;
    oc_schedule curve;
} oc_recipe_schedule;

typedef struct oc_recipe_optim {
    oc_recipe_schedule schedule;
    int rule; /* oc_update_rule */
    double weight_decay, beta1, beta2, eps, clip, momentum; /* clip 0: off */
} oc_recipe_optim;

typedef struct oc_recipe_eval {
    int line;
    oc_recipe_eval_task task;
    oc_recipe_data_kind kind;
    const char *json, *images, *prompt;
    int limit, max_new_tokens; /* limit 0: all samples */
} oc_recipe_eval;

typedef struct oc_recipe_rates {
    int line;
    double vision, projector, lm; /* learning rates; 0: frozen */
} oc_recipe_rates;

typedef struct oc_recipe_stage {
    int line;
    const char *name;
    const char *caption_prompt; /* NULL: found in the data, oc_mixture_caption_prompt */
    bool skip; /* never true in a recipe that was read: such stages are left out of its list */
    oc_recipe_budget budget;
    int batch, micro_batch, max_tokens; /* micro_batch 0: up to 64; max_tokens 0: no limit of its own */
    oc_recipe_rates train;
    oc_recipe_optim optim;
    oc_recipe_mask mask; /* that of recipe.model when the file gives none */
    oc_recipe_template chat_template;
    int max_length, captions_per_image; /* captions_per_image 0: all */
    bool system_prompt, group_by_image;
    double token_drop;
    enum { OC_RECIPE_LOSS_TOKEN, OC_RECIPE_LOSS_SAMPLE } loss; /* what weighs alike */
    double ema;                 /* decay of the averaged weights, 0: off */
    oc_list datasets;           /* of oc_recipe_dataset */
    int save_every, eval_every; /* steps; 0: at the end only */
    oc_recipe_eval eval;
} oc_recipe_stage;

/* --- Pretraining of the towers --------------------------------------------------------------------------------------- */

/* The text encoder that vision pretraining uses and throws away. */
typedef struct oc_recipe_text_encoder {
    int line, hidden, layers, heads, mlp; /* 0: as in the vision tower */
} oc_recipe_text_encoder;

typedef struct oc_recipe_pretrain_vision {
    int line;
    oc_recipe_budget budget;
    int batch, max_text; /* max_text: tokens of a caption */
    double lr;
    oc_recipe_optim optim;
    oc_recipe_text_encoder text;
    oc_list datasets;
    int save_every;
} oc_recipe_pretrain_vision;

typedef struct oc_recipe_pretrain_text {
    int line;
    oc_recipe_budget budget;
    int batch, micro_batch, length; /* sequences of that many tokens */
    double lr;
    oc_recipe_optim optim;
    oc_list files;    /* of const char *: text or JSON lines with "text" */
    oc_list datasets; /* their texts are used, without the images */
    int save_every;
} oc_recipe_pretrain_text;

/* --- The whole ------------------------------------------------------------------------------------------------------ */

typedef struct oc_recipe_log {
    int line, every; /* steps between lines */
    bool tensorboard;
} oc_recipe_log;

typedef struct oc_recipe {
    int line;
    const char *out;   /* relative to the current folder */
    int seed, threads; /* threads 0: all cores */
    oc_recipe_dtype dtype;
    oc_recipe_state weights, gradients, moments;
    size_t memory_bytes; /* 0: no limit */
    oc_recipe_recompute recompute;
    int max_skipped; /* steps with NaN or Inf in a row */
    oc_recipe_model model;
    oc_recipe_data data;
    oc_list stages; /* of oc_recipe_stage */
    oc_recipe_log log;
    oc_recipe_pretrain_vision pretrain_vision;
    oc_recipe_pretrain_text pretrain_text;
    char *path; /* the file */
} oc_recipe;

/* vars[n_vars] are "name=value" for ${name}. On failure *recipe is empty and err begins with file, line and column, or
 * file, line and the key path. oc_recipe_close frees (an empty one is allowed). */
oc_status oc_recipe_open(oc_recipe *recipe, const char *path, const char *const *vars, int n_vars, oc_error *err);
oc_status oc_recipe_parse(oc_recipe *recipe, const char *text, size_t len, const char *path, const char *const *vars,
                          int n_vars, oc_error *err);
void oc_recipe_close(oc_recipe *recipe);

/* Type in which the stages keep matrices. */
static inline oc_dtype oc_recipe_weights(const oc_recipe *r) {
    return r->weights == OC_RECIPE_STATE_BF16 ? OC_BF16 : OC_F32;
}

static inline const oc_recipe_stage *oc_recipe_stage_at(const oc_recipe *r, int i) {
    return (const oc_recipe_stage *)r->stages.item + i;
}
static inline const oc_recipe_dataset *oc_recipe_dataset_at(const oc_list *datasets, int i) {
    return (const oc_recipe_dataset *)datasets->item + i;
}

/* Adds the reference of all keys in Markdown (docs/recipes.md holds it). */
void oc_recipe_describe(oc_strbuf *out);

#endif
