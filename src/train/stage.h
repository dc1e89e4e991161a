/* One stage of a run while it is prepared and trained; shared by the run (train.c) and its plan (plan.c). */
#ifndef OC_TRAIN_STAGE_H
#define OC_TRAIN_STAGE_H

#include "train/assemble.h"
#include "train/memory.h"
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
    size_t data_resident; /* bytes that the mixture's data sets take */
    size_t before_loader; /* bytes of the process when the loader's threads were started */
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

/* Opens mixture and loader. */
oc_status oc_stage_open_data(oc_stage_run *s, oc_error *err);

/* Sizes of the largest batch that may come; the loader is open. */
oc_batch_shape oc_stage_capacity(const oc_stage_run *s);
/* Bytes by role when the largest batch is b, without the picture cache and the scratch of kernels. */
oc_status oc_stage_memory(oc_memory *memory, const oc_stage_run *s, const oc_batch_shape *b, oc_error *err);
/* Sets the model's `train` and `recomputed` as the recipe wants them, or as its `memory` demands. *most: what the stage
 * may come to take (scratch only where there is a limit). OC_ERR_NOMEM when it does not fit. */
oc_status oc_stage_fit_memory(oc_stage_run *s, oc_memory *most, oc_error *err);

/* Where the tokenizer of a run is: named, else beside the weights. */
const char *oc_train_tokenizer(const oc_recipe_model *r);

#endif
