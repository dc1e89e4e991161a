/* Checkpoints: everything from which a run goes on bit for bit.
 *
 *   DIR/                    model folder as oc_weights_save writes it (float32), with the tokenizer
 *   DIR/training.safetensors   named buffers, float32 or bf16: moments, averages, heads that the model folder does not hold
 *   DIR/training.json          where the run stands
 *
 * A checkpoint is written beside its place (DIR.new) and renamed; the one before is kept as DIR.old until then. So at
 * every moment one of DIR and DIR.old is whole, and oc_checkpoint_find gives it. */
#ifndef OC_TRAIN_CHECKPOINT_H
#define OC_TRAIN_CHECKPOINT_H

#include "data/loader.h"
#include "model/weights.h"

/* Where a run stands: the next step of the stage to be done, and what it has seen so far. */
typedef struct oc_position {
    int stage;       /* index in the recipe */
    int64_t step;    /* optimizer steps of this stage done, skipped ones included */
    int64_t updates; /* without the skipped ones: AdamW's step count */
    int64_t skipped;
    int64_t samples, tokens, labels; /* of this stage */
    oc_loader_position data;
    double seconds;       /* spent in this stage */
    double total_seconds; /* and in the stages before */
    uint64_t seed;
} oc_position;

typedef struct oc_state_buffer {
    char name[64];
    void *data; /* [n] of type t */
    size_t n;
    oc_dtype t;         /* OC_F32 (0) or OC_BF16 */
    oc_compute *device; /* whose memory data lies in; NULL: ordinary memory */
} oc_state_buffer;

/* model may be NULL (state buffers only). tokenizer_dir: a folder whose tokenizer files are copied, or NULL. */
oc_status oc_checkpoint_save(const char *dir, const oc_vlm *model, const oc_tokenizer *tokenizer, const char *stage,
                             const oc_position *pos, const oc_state_buffer *buffers, int n, oc_error *err);
/* *found: a whole checkpoint at dir or dir.old, as a new string, or NULL if there is none. */
oc_status oc_checkpoint_find(const char *dir, char **found, oc_error *err);
oc_status oc_checkpoint_load_position(const char *found, oc_position *pos, oc_error *err);
/* Every buffer must be there with its size. */
oc_status oc_checkpoint_load_buffers(const char *found, const oc_state_buffer *buffers, int n, oc_error *err);

/* A finished model, written beside DIR and renamed over it. */
oc_status oc_model_save_atomic(const char *dir, const oc_vlm *model, const oc_tokenizer *tokenizer, const char *stage,
                               oc_error *err);

#endif
