/* Two evaluations of the same items side by side, and whether their difference is more than chance. */
#ifndef OC_EVAL_COMPARE_H
#define OC_EVAL_COMPARE_H

#include "eval/bootstrap.h"

typedef struct oc_comparison {
    oc_evaluation a, b; /* the items that both have, in the order of a, scored as that set */
    size_t only_a, only_b;
    oc_samples samples;        /* of a: names the scores */
    oc_difference *difference; /* [samples.n_scores] */
    int resamples;
    uint64_t seed;
    size_t *order; /* [a.n] items: those of which b's score is most above a's first, then down to the opposite */
} oc_comparison;

/* Loads the folders that oc_evaluation_save wrote. OC_ERR_FORMAT if they are of different tasks, share no items, or have
 * different references for an item. */
oc_status oc_compare_open(oc_comparison *c, const char *dir_a, const char *dir_b, int resamples, uint64_t seed,
                          oc_error *err);
void oc_compare_close(oc_comparison *c);

/* What items are ordered by: CIDEr of a caption; accuracy, then F1, of an answer. */
double oc_compare_item_score(const oc_evaluation *e, size_t k);

#endif
