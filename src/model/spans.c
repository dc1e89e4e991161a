#include "model/spans.h"

void oc_spans_fill(oc_batch *b, oc_mask mask) {
    for (int k = 0; k < b->n_seq; k++)
        for (int i = b->seq_start[k]; i < b->seq_start[k + 1]; i++) {
            b->lo[i] = b->seq_start[k];
            b->hi[i] = i + 1;
        }
    if (mask == OC_MASK_CAUSAL) return;
    for (int j = 0; j < b->n_blocks; j++) {
        int first = b->block_row[j], end = first + b->tokens_per_image;
        for (int i = first; i < end; i++) {
            b->hi[i] = end;
            if (mask == OC_MASK_ISOLATED) b->lo[i] = first;
        }
    }
}
