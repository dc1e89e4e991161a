/* What a run will take, before it is started: parameters, memory by role, steps, arithmetic, time. Checked on the way: the
 * recipe, every record of the data sets, that their pictures are there (some batches of each stage are read), configurations and
 * tensor names of the weights. Nothing is written, and no weights are read; memory for one copy of them is needed. */
#ifndef OC_TRAIN_PLAN_H
#define OC_TRAIN_PLAN_H

#include "train/memory.h"
#include "train/train.h"

typedef struct oc_plan_stage {
    const char *name;       /* of the recipe */
    size_t trainable;       /* parameters */
    int batch, micro_batch; /* samples (pictures, when grouped) per step, and at once */
    int64_t units_per_epoch, steps;
    double tokens_per_step, images_per_step, labels_per_step; /* judged by one batch */
    double flops_per_step;                                    /* a multiply-add is two */
    double seconds_per_step;                                  /* estimated from the time of a forward pass */
    double seconds;                                           /* of the stage */
    oc_memory memory;   /* bytes, with batches as large as the largest of some that were looked at */
    size_t memory_most; /* with the largest that may come and a full cache; counts scratch with `memory` only */
    int recomputed[OC_PART_COUNT]; /* layers of the activation checkpointing (model/layers.h) */
} oc_plan_stage;

typedef struct oc_plan {
    size_t parameters[OC_PART_COUNT];
    oc_dtype dtype;
    double operations_per_second; /* of the last forward pass that was measured */
    oc_plan_stage *stage; /* [n] */
    int n;
} oc_plan;

/* opt->dry_run is taken as set. The recipe must outlive *out. */
oc_status oc_train_plan(oc_plan *out, const oc_recipe *recipe, const oc_train_options *opt, oc_error *err);
void oc_plan_free(oc_plan *p);

#endif
