/* ROUGE-L as the COCO caption evaluation computes it (Lin 2004; rouge.py). */
#ifndef OC_EVAL_ROUGE_H
#define OC_EVAL_ROUGE_H

#include "eval/ngram.h"

/* F score (beta 1.2) of the best precision and the best recall over the references, which may come from
 * different ones; both are of the longest common subsequence of pieces. row[cand->n_pieces + 1] is scratch.
 * n_refs > 0. */
double oc_rouge_l(const oc_sentence *cand, const oc_sentence *refs, size_t n_refs, uint32_t *row);

#endif
