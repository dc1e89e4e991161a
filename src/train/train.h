/* train: recipes and the runs that they describe: stages, pretraining of towers, optimizer, schedule, checkpoints, logs.
 *
 * This header: `ocellus train` and `ocellus pretrain` as library calls. A run writes below its output folder:
 *
 *   OUT/checkpoint/         from where --resume continues (see checkpoint.h)
 *   OUT/stage-1-NAME/ ...   the model after each stage, a Hugging Face folder with its tokenizer
 *   OUT/model/              the model after the last stage
 *   OUT/log.jsonl           one line every log.every steps
 *   OUT/tensorboard/        event files */
#ifndef OC_TRAIN_TRAIN_H
#define OC_TRAIN_TRAIN_H

#include "model/vlm.h"
#include "train/loop.h"
#include "train/recipe.h"

typedef struct oc_train_options {
    const char *out;          /* instead of the recipe's; NULL: the recipe's */
    bool resume;              /* continue from OUT/checkpoint; without one, start */
    bool overwrite;           /* allowed to start where OUT holds an earlier run */
    bool quiet;               /* no progress bar */
    int only_stages;          /* run only the first so many stages; 0: all */
    const char *backend;      /* of compute; NULL: the best */
    bool dry_run;             /* of oc_train_plan: nothing is written */
    const char *dump_batches; /* folder that every batch of the stages is written to (batch_file.h); NULL: none */
    bool profile;             /* time every operation (compute/profile.h); `done` reads the times */
    /* Called after each stage, and every eval_every steps where the stage says so. May be NULL. The model's weights are
     * the ones to be judged (averaged ones with ema); its arena may be reserved anew. */
    oc_status (*evaluate)(void *ctx, oc_vlm *m, const oc_tokenizer *tokenizer, const oc_recipe *recipe,
                          const oc_position *pos, const oc_train_output *output, oc_error *err);
    /* See oc_train_output. */
    void (*done)(void *ctx, const char *name, const oc_position *pos, double loss, oc_compute *c);
    void *ctx; /* of both */
} oc_train_options;

oc_status oc_train_run(const oc_recipe *recipe, const oc_train_options *opt, oc_error *err);
/* SigLIP's sigmoid loss (Zhai et al., arXiv 2303.15343) on the recipe's pretrain_vision section -> OUT, a SigLIP folder. */
oc_status oc_pretrain_vision(const oc_recipe *recipe, const oc_train_options *opt, oc_error *err);
/* Next-token prediction on the recipe's pretrain_text section -> OUT, a Qwen2 folder with its tokenizer. */
oc_status oc_pretrain_text(const oc_recipe *recipe, const oc_train_options *opt, oc_error *err);

#endif
