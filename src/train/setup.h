/* What every kind of run needs first: arithmetic, tokenizer, data sets of a mixture, output folder. */
#ifndef OC_TRAIN_SETUP_H
#define OC_TRAIN_SETUP_H

#include "data/loader.h"
#include "train/train.h"

typedef struct oc_run {
    const oc_recipe *recipe;
    const oc_train_options *opt;
    const char *out;
    oc_compute *compute;
    oc_dtype dtype;
    oc_tokenizer *tokenizer;
    size_t resident; /* bytes of the process before it has a model */
    oc_run_log *log;
    oc_tensorboard *tensorboard;
    oc_trace *trace; /* with opt->profile */
    oc_train_output output;
} oc_run;

/* Opens compute, output folder and logs; the tokenizer from `tokenizer_dir`, with an id for "<image>". Without resume, a folder that already holds
 * a run is refused unless overwrite. */
oc_status oc_run_open(oc_run *run, const oc_recipe *recipe, const oc_train_options *opt, const char *tokenizer_dir,
                      oc_error *err);
void oc_run_close(oc_run *run);
/* OUT/name as a new string. */
oc_status oc_run_path(const oc_run *run, const char *name, char **out, oc_error *err);

/* Where to go on, if the run is to be resumed and has a checkpoint: *found is its folder (oc_free), else NULL. */
oc_status oc_run_resume(const oc_run *run, oc_position *pos, char **found, oc_error *err);

/* Something could not be read: adds to the message where one gets it (NULL: not known). Returns its code. */
oc_status oc_add_source(oc_error *err, const char *source);

/* The data sets of a list, opened. */
typedef struct oc_mixture {
    oc_dataset **dataset;
    oc_source *source;
    int n;
} oc_mixture;

oc_status oc_mixture_open(oc_mixture *m, const oc_list *datasets, uint64_t seed, oc_error *err);
void oc_mixture_close(oc_mixture *m);

/* What these data sets, the elements of `datasets`, ask for captions with: the question that more than half of the samples looked
 * at share (256 of a data set; of one picture, one question and one answer), in the first data set that has one; VQA files have
 * none. NULL: there is none, or it does not fit into a configuration. Lives as long as the mixture. */
const char *oc_mixture_caption_prompt(const oc_mixture *m, const oc_list *datasets);

/* Looks for every picture of an open mixture, the elements of `datasets`, without reading it. where: what the mixture belongs
 * to, for messages. Up to `allowed` may be missing. */
oc_status oc_mixture_check_pictures(const oc_mixture *m, const oc_list *datasets, const char *where, int64_t allowed,
                                    oc_error *err);

/* Loader options that follow from recipe and model; the caller adds batch sizes and template. */
void oc_loader_defaults(oc_loader_options *lo, const oc_run *run, const oc_mixture *mix, const oc_config *cfg);

/* Optimizer steps of a budget over `units` samples, 0: by the clock. The last step of an epoch takes what is left of it. */
int64_t oc_budget_steps(const oc_recipe_budget *b, int64_t units, int batch);
/* AdamW as the recipe wants it, without average. */
oc_optimizer_options oc_optimizer_settings(const oc_recipe_optim *o);

/* Fill one half of a configuration from the recipe's sizes. The vocabulary is the tokenizer's, padded to a multiple of 64. */
void oc_config_new_vision(oc_config *c, const oc_recipe_new_vision *v);
void oc_config_new_text(oc_config *c, const oc_recipe_new_text *t, const oc_tokenizer *tokenizer);
/* End, padding and image ids, which the tokenizer knows by name. */
void oc_config_tokens(oc_config *c, const oc_tokenizer *t);

#endif
