/* BLEU-1 to BLEU-4 as the COCO caption evaluation computes them (Papineni et al., ACL 2002; bleu_scorer.py
 * with the "closest" reference length). */
#ifndef OC_EVAL_BLEU_H
#define OC_EVAL_BLEU_H

#include "eval/ngram.h"

/* Sums over the corpus; start from zero. */
typedef struct oc_bleu {
    double test_len, ref_len;
    double guess[OC_NGRAM_MAX], correct[OC_NGRAM_MAX]; /* n-grams of the candidates; those found in a reference */
} oc_bleu;

/* Adds a candidate with its references [n_refs], n_refs > 0. item[n-1] = BLEU-n of this candidate alone.
 * Two clear counters of all ids are borrowed. */
void oc_bleu_add(oc_bleu *sum, double item[OC_NGRAM_MAX], const oc_sentence *cand, const oc_sentence *refs,
                 size_t n_refs, oc_gram_counter *cand_count, oc_gram_counter *ref_count);

void oc_bleu_join(oc_bleu *sum, const oc_bleu *more);

/* The length of the reference that is closest to n words; the shorter of two equally close ones. n_refs > 0.
 */
size_t oc_bleu_closest_length(const oc_sentence *refs, size_t n_refs, size_t n);

/* BLEU of everything that was added. */
void oc_bleu_corpus(const oc_bleu *sum, double bleu[OC_NGRAM_MAX]);

#endif
