/* The memory of a training step, by what it is for, before anything of it is taken; and how many layers must be computed
 * twice so that a step fits.
 *
 * Parameters, moments, averages, packed copies and activations follow from the model. What kernels take to work in does
 * not follow from anything that this layer knows: it is measured, by one step of the same batch on a model of the same
 * widths with one layer in each tower, which goes through the same kernels with the same shapes. */
#ifndef OC_TRAIN_MEMORY_H
#define OC_TRAIN_MEMORY_H

#include "model/vlm.h"

/* What memory is taken for. */
typedef enum {
    OC_ROLE_WEIGHTS,
    OC_ROLE_GRADIENTS,
    OC_ROLE_MOMENTS,     /* two of AdamW */
    OC_ROLE_AVERAGES,    /* with ema */
    OC_ROLE_PACKED,      /* copies of matrices for the products */
    OC_ROLE_ACTIVATIONS, /* of a batch */
    OC_ROLE_SCRATCH,     /* what kernels work in */
    OC_ROLE_BATCHES,     /* of the loader, and its picture cache */
    OC_ROLE_PROGRAM,     /* code, libraries, tokenizer, data sets */
    OC_ROLE_COUNT
} oc_role;
extern const char *const oc_role_names[OC_ROLE_COUNT];

typedef struct oc_memory {
    size_t bytes[OC_ROLE_COUNT];
} oc_memory;

size_t oc_memory_total(const oc_memory *m);

/* Sizes of a batch. */
typedef struct oc_batch_shape {
    int tokens, seqs, images, blocks, labels;
} oc_batch_shape;

oc_batch_shape oc_batch_shape_of(const oc_batch *b);

/* Weights, gradients, moments, averages and packed copies of a model in which the parts `train` are trained. */
oc_status oc_memory_parameters(oc_memory *out, const oc_vlm *m, const bool train[OC_PART_COUNT], bool averages,
                               oc_error *err);

/* Raises out's scratch to what a step of such a batch takes, and adds to out's program what the kernels' libraries then
 * keep (generated code, threads). Takes, for the moment of the measurement, about four times the embedding table. */
oc_status oc_memory_measure_kernels(oc_memory *out, const oc_vlm *m, const bool train[OC_PART_COUNT],
                                    const oc_batch_shape *shape, oc_error *err);

/* Sets m->recomputed to as few layers as leave the activations of such a batch, plus `others` bytes, within the limit; to
 * all of them when that is not enough. The tower whose layers give back more memory for their work comes first. */
void oc_memory_choose_recomputed(oc_vlm *m, const oc_batch_shape *shape, size_t others, size_t limit);
/* All layers, or none. */
void oc_memory_recompute_all(oc_vlm *m, bool all);

#endif
