/* A batch: sequences laid end to end in one row of N tokens; padding does not exist (DESIGN 2).
 *
 *   sequence k      rows [seq_start[k], seq_start[k+1])
 *   visual block j  rows [block_row[j], block_row[j] + tokens_per_image), in ascending order; shows pixels[block_image[j]].
 *                   Several blocks may show the same image, which is then encoded once.
 *
 * token[n] is the image placeholder id on visual rows. label[n] is the token that row n must predict (the next token,
 * already shifted), or -1 for none. position[n] restarts at 0 in every sequence. The attention intervals lo, hi are
 * filled by the model layer (oc_spans_fill), since they depend on the mask. */
#ifndef OC_DATA_BATCH_H
#define OC_DATA_BATCH_H

#include "base/base.h"

typedef struct oc_batch {
    int N, n_seq, n_blocks, n_images;
    int tokens_per_image, image_size; /* S: pixels is [n_images, 3, S, S] */
    int n_labels;                     /* rows with label >= 0 */
    int32_t *token, *label, *position, *lo, *hi; /* [N] */
    int32_t *seq_start;                          /* [n_seq + 1] */
    int32_t *block_row, *block_image;            /* [n_blocks] */
    float *pixels;                               /* normalised, e.g. to [-1, 1] */
    int max_tokens, max_seq, max_blocks, max_images; /* capacities */
} oc_batch;

/* Memory for up to so many of each; contents undefined, counts 0. oc_batch_close frees (zeroed struct allowed). */
oc_status oc_batch_open(oc_batch *b, int max_tokens, int max_seq, int max_blocks, int max_images, int tokens_per_image,
                        int image_size, oc_error *err);
void oc_batch_close(oc_batch *b);

/* Empties the batch; then sequences are appended one at a time. */
void oc_batch_clear(oc_batch *b);

/* Appends one sequence of n tokens: token[i] (image_token marks a visual row; each run of images is given as
 * tokens_per_image such rows), is_answer[i] != 0 where token i is to be predicted (the label goes to row i - 1).
 * image[j] is the index into pixels of the j-th visual block. false when it does not fit; nothing is added then. */
bool oc_batch_append(oc_batch *b, const int32_t *token, const uint8_t *is_answer, int n, int32_t image_token,
                     const int32_t *image, int n_images);

#endif
