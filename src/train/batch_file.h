/* The batches of a run as files, so that another program can train on the very same ones (tools/reference/learning_curves.py).
 *
 *   DIR/STAGE-000012-1.safetensors   the second micro-batch (from 0) of step 12 (from 0) of a stage
 *
 *   token, label, position  I32 [N]      as data/batch.h; label -1: none
 *   seq_start               I32 [n_seq + 1]
 *   block_row, block_image  I32 [n_blocks]
 *   pixels                  F32 [n_images, 3, S, S]
 *
 * Tensors without elements are left out. */
#ifndef OC_TRAIN_BATCH_FILE_H
#define OC_TRAIN_BATCH_FILE_H

#include "data/batch.h"

oc_status oc_batch_write(const char *dir, const char *stage, int64_t step, int micro, const oc_batch *b, oc_error *err);

#endif
