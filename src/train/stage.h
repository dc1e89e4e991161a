/* One stage of a run while it is prepared and trained; shared by the run (train.c) and its plan (plan.c). */
#ifndef OC_TRAIN_STAGE_H
#define OC_TRAIN_STAGE_H

#include "train/assemble.h"
#include "train/setup.h"

enum { OC_STAGE_AHEAD = 3 }; /* batches that wait for the trainer, besides one in the hands of each loader thread */

typedef struct oc_stage_run {
    oc_run *run;
    oc_vlm *m;
    const oc_recipe_stage *stage;
    oc_position pos;
    oc_mask mask;
    oc_mixture mixture;
    oc_loader *loader;
    oc_optimizer optimizer;
    float *ema[OC_PART_COUNT];
    bool train[OC_PART_COUNT];
} oc_stage_run;

/* Sets what follows from stage and model: trainable parts, mask and template (kept in the model's
 * configuration, so that it remembers how it was trained last). */
void oc_stage_prepare(oc_stage_run *s);
int oc_stage_micro_batch(const oc_recipe_stage *s);
/* The mixture is open. */
oc_status oc_stage_open_loader(oc_stage_run *s, oc_error *err);
int64_t oc_stage_total_steps(const oc_stage_run *s); /* 0: by the clock */

/* Bytes by role, without packed copies of matrices (those depend on the processor and are made as they are used). The
 * model's `train` is set and the loader is open. */
void oc_stage_memory(size_t memory[OC_ROLE_COUNT], const oc_stage_run *s);

/* Where the tokenizer of a run is: named, else beside the weights. */
const char *oc_train_tokenizer(const oc_recipe_model *r);

#endif
