/* The attention mask as one interval per row (DESIGN 1): row i of a packed batch sees the keys [lo_i, hi_i).
 *
 *   token                                  prefix      causal      isolated
 *   text at i, sequence [s, e)             [s, i+1)    [s, i+1)    [s, i+1)
 *   visual token of the block [a, b)       [s, b)      [s, i+1)    [a, b)
 */
#ifndef OC_MODEL_SPANS_H
#define OC_MODEL_SPANS_H

#include "data/batch.h"
#include "model/config.h"

void oc_spans_fill(oc_batch *b, oc_mask mask);

#endif
