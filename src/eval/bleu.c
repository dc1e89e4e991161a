#include "eval/bleu.h"

#include <math.h>

/* The official constants: a numerator of 0 gives a tiny score instead of 0, a denominator of 0 no division by
 * 0. */
static const double tiny = 1e-15, small = 1e-9;

/* bleu[n-1] = (prod_{k<=n} correct_k / guess_k)^(1/n), times exp(1 - ref/test) when the text is too short. */
static void finish(const oc_bleu *s, double bleu[OC_NGRAM_MAX]) {
    double product = 1;
    for (int k = 0; k < OC_NGRAM_MAX; k++) {
        product *= (s->correct[k] + tiny) / (s->guess[k] + small);
        bleu[k] = pow(product, 1.0 / (k + 1));
    }
    double ratio = (s->test_len + tiny) / (s->ref_len + small);
    if (ratio < 1)
        for (int k = 0; k < OC_NGRAM_MAX; k++) bleu[k] *= exp(1 - 1 / ratio);
}

size_t oc_bleu_closest_length(const oc_sentence *refs, size_t n_refs, size_t n) {
    size_t best = refs[0].n, best_d = SIZE_MAX;
    for (size_t i = 0; i < n_refs; i++) {
        size_t d = refs[i].n > n ? refs[i].n - n : n - refs[i].n;
        if (d < best_d || (d == best_d && refs[i].n < best)) best = refs[i].n, best_d = d;
    }
    return best;
}

/* How many (k+1)-grams of the candidate occur in a reference, each at most as often as in the reference that
 * has it most often. */
static size_t count_correct(const oc_sentence *cand, const oc_sentence *refs, size_t n_refs, int k, oc_gram_counter *cc,
                            oc_gram_counter *rc) {
    oc_gram_counter_add(cc, cand, k);
    size_t correct = 0;
    for (size_t r = 0; r < n_refs; r++) {
        oc_gram_counter_add(rc, &refs[r], k);
        for (size_t i = 0; i < cc->n; i++) {
            uint32_t id = cc->id[i], have = rc->count_of[id], *best = &cc->best[i];
            *best = OC_MIN(OC_MAX(*best, have), cc->count_of[id]);
        }
        oc_gram_counter_clear(rc);
    }
    for (size_t i = 0; i < cc->n; i++) correct += cc->best[i], cc->best[i] = 0;
    oc_gram_counter_clear(cc);
    return correct;
}

void oc_bleu_add(oc_bleu *sum, double item[OC_NGRAM_MAX], const oc_sentence *cand, const oc_sentence *refs,
                 size_t n_refs, oc_gram_counter *cand_count, oc_gram_counter *ref_count) {
    oc_bleu one = {.test_len = (double)cand->n, .ref_len = (double)oc_bleu_closest_length(refs, n_refs, cand->n)};
    for (int k = 0; k < OC_NGRAM_MAX; k++) {
        one.guess[k] = cand->n > (size_t)k ? (double)(cand->n - (size_t)k) : 0;
        one.correct[k] = (double)count_correct(cand, refs, n_refs, k, cand_count, ref_count);
    }
    oc_bleu_join(sum, &one);
    finish(&one, item);
}

void oc_bleu_join(oc_bleu *sum, const oc_bleu *more) {
    sum->test_len += more->test_len;
    sum->ref_len += more->ref_len;
    for (int k = 0; k < OC_NGRAM_MAX; k++) sum->guess[k] += more->guess[k], sum->correct[k] += more->correct[k];
}

void oc_bleu_corpus(const oc_bleu *sum, double bleu[OC_NGRAM_MAX]) { finish(sum, bleu); }
