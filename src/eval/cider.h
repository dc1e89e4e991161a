/* CIDEr and CIDEr-D (Vedantam, Zitnick, Parikh, CVPR 2015, arXiv 1411.5726), n = 1 to 4, sigma 6.
 *
 * What pycocoevalcap and every paper since call "CIDEr" is CIDEr-D: the candidate's weights are clipped to
 * the reference's, and a Gaussian of the difference in length multiplies the similarity. The length is the
 * number of bigrams. Plain CIDEr, without either, is the paper's equation (2) to (4). */
#ifndef OC_EVAL_CIDER_H
#define OC_EVAL_CIDER_H

#include "eval/ngram.h"

enum { OC_CIDER_LENGTHS = 64 };

/* Inverse document frequencies from the references of the evaluated set. */
typedef struct oc_cider {
    double *idf; /* [ids]: log(images) - log(images whose references have the n-gram, at least 1) */
    size_t n_ids;
    double penalty[OC_CIDER_LENGTHS]; /* exp(-d^2 / (2 sigma^2)) of a difference of d words */
} oc_cider;

/* refs[sum of n_refs[]] are the references of images 0..n-1, one image after the other. n > 0. */
oc_status oc_cider_open(oc_cider *c, const oc_sentence *refs, const size_t *n_refs, size_t n, size_t n_ids,
                        oc_error *err);
void oc_cider_close(oc_cider *c);

/* Scores of one candidate. Two clear counters of all ids are borrowed. n_refs > 0. */
void oc_cider_item(const oc_cider *c, double *cider_d, double *cider, const oc_sentence *cand, const oc_sentence *refs,
                   size_t n_refs, oc_gram_counter *cand_count, oc_gram_counter *ref_count);

#endif
