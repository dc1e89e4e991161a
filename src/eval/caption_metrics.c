#include "eval/caption_metrics.h"

#include <string.h>

#include "eval/cider.h"
#include "eval/ptb.h"
#include "eval/rouge.h"

const char *oc_score_name(oc_score s) {
    static const char *const names[OC_SCORE_COUNT] = {"Bleu_1",  "Bleu_2", "Bleu_3",        "Bleu_4",
                                                      "ROUGE_L", "CIDEr",  "CIDEr_original"};
    return names[s];
}

/* 1. Strings to sentences -------------------------------------------------------------------------------- */

/* The sentences of a set: candidates [n], and the references of item 0, of item 1, ... one after the other.
 */
typedef struct {
    oc_sentence *cand, *ref;
    size_t *n_refs;
    size_t n, total_refs, longest; /* longest: words or pieces of any sentence */
    oc_ngrams *ngrams;
} sentences;

static void sentences_free(sentences *s) {
    oc_free(s->cand);
    oc_free(s->ref);
    oc_free(s->n_refs);
    oc_ngrams_close(s->ngrams);
}

/* to[n] = the sentences of text[n], tokenized first where ptb is given. */
static oc_status make_sentences(sentences *s, oc_sentence *to, const char *const *text, size_t n, oc_ptb *ptb,
                                oc_error *err) {
    oc_strbuf tokens = {.max = SIZE_MAX / 2};
    size_t *end = ptb ? oc_calloc(n + 1, sizeof *end) : NULL;
    oc_status st = OC_OK;
    if (ptb && !end) OC_GO(oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu captions", n));
    if (ptb) OC_GO(oc_ptb_captions(ptb, text, n, &tokens, end, err));
    for (size_t i = 0, from = 0; i < n; i++) {
        const char *t = text[i];
        size_t len = ptb ? end[i] - from : strlen(t);
        if (ptb) t = tokens.data ? tokens.data + from : "";
        OC_GO(oc_sentence_make(&to[i], s->ngrams, t, len, err));
        s->longest = OC_MAX(s->longest, OC_MAX(to[i].n, to[i].n_pieces));
        if (ptb) from = end[i];
    }
done:
    oc_strbuf_free(&tokens);
    oc_free(end);
    return st;
}

static oc_status read_items(sentences *s, const oc_caption_item *items, size_t n, bool tokenized, oc_error *err) {
    oc_ptb *ptb = NULL;
    oc_status st = OC_OK;
    *s = (sentences){.n = n};
    for (size_t i = 0; i < n; i++) s->total_refs += items[i].n_references;
    s->cand = oc_calloc(n, sizeof *s->cand);
    s->ref = oc_calloc(s->total_refs, sizeof *s->ref);
    s->n_refs = oc_calloc(n, sizeof *s->n_refs);
    const char **text = oc_calloc(OC_MAX(n, s->total_refs), sizeof *text);
    if (!s->cand || !s->ref || !s->n_refs || !text)
        OC_GO(oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu captions", n));
    enum { BYTES_PER_WORD = 5 };
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += strlen(items[i].candidate);
        for (size_t r = 0; r < items[i].n_references; r++) bytes += strlen(items[i].references[r]);
    }
    OC_GO(oc_ngrams_open(&s->ngrams, bytes / BYTES_PER_WORD, err));
    if (!tokenized) OC_GO(oc_ptb_open(&ptb, err));

    for (size_t i = 0, k = 0; i < n; i++) {
        s->n_refs[i] = items[i].n_references;
        for (size_t r = 0; r < items[i].n_references; r++) text[k++] = items[i].references[r];
    }
    OC_GO(make_sentences(s, s->ref, text, s->total_refs, ptb, err));
    for (size_t i = 0; i < n; i++) text[i] = items[i].candidate;
    OC_GO(make_sentences(s, s->cand, text, n, ptb, err));
done:
    oc_free(text);
    oc_ptb_close(ptb);
    return st;
}

/* 2. Sentences to scores --------------------------------------------------------------------------------- */

/* The sum of a[0], a[stride], ... in NumPy's pairwise order, so that means agree in every digit. */
static double pairwise_sum(const double *a, size_t n, size_t stride) {
    if (n < 8) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += a[i * stride];
        return sum;
    }
    if (n <= 128) {
        double r[8];
        size_t i = 0;
        for (; i < 8; i++) r[i] = a[i * stride];
        for (; i + 8 <= n; i += 8)
            for (size_t k = 0; k < 8; k++) r[k] += a[(i + k) * stride];
        double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
        for (; i < n; i++) sum += a[i * stride];
        return sum;
    }
    size_t half = n / 2;
    half -= half % 8;
    return pairwise_sum(a, half, stride) + pairwise_sum(a + half * stride, n - half, stride);
}

/* item[n] and *corpus from the sentences. */
static oc_status score(oc_caption_scores *corpus, oc_caption_scores *item, const sentences *s, oc_error *err) {
    oc_gram_counter cc = {0}, rc = {0};
    oc_cider cider = {0};
    oc_bleu sum = {0};
    oc_status st = OC_OK;
    size_t n_ids = oc_ngrams_count(s->ngrams);
    uint32_t *row = oc_alloc((s->longest + 1) * sizeof *row);
    if (!row) OC_GO(oc_fail(err, OC_ERR_NOMEM, "out of memory for scores of captions"));
    OC_GO(oc_gram_counter_open(&cc, n_ids, s->longest, err));
    OC_GO(oc_gram_counter_open(&rc, n_ids, s->longest, err));
    OC_GO(oc_cider_open(&cider, s->ref, s->n_refs, s->n, n_ids, err));

    const oc_sentence *refs = s->ref;
    for (size_t i = 0; i < s->n; refs += s->n_refs[i++]) {
        double *v = item[i].v;
        item[i].bleu = (oc_bleu){0};
        oc_bleu_add(&item[i].bleu, &v[OC_SCORE_BLEU_1], &s->cand[i], refs, s->n_refs[i], &cc, &rc);
        v[OC_SCORE_ROUGE_L] = oc_rouge_l(&s->cand[i], refs, s->n_refs[i], row);
        oc_cider_item(&cider, &v[OC_SCORE_CIDER], &v[OC_SCORE_CIDER_ORIGINAL], &s->cand[i], refs, s->n_refs[i], &cc,
                      &rc);
        oc_bleu_join(&sum, &item[i].bleu);
    }
    corpus->bleu = sum;
    oc_bleu_corpus(&sum, &corpus->v[OC_SCORE_BLEU_1]);
    for (int k = OC_SCORE_ROUGE_L; k < OC_SCORE_COUNT; k++)
        corpus->v[k] = pairwise_sum(&item[0].v[k], s->n, sizeof *item / sizeof(double)) / (double)s->n;
done:
    oc_cider_close(&cider);
    oc_gram_counter_close(&cc);
    oc_gram_counter_close(&rc);
    oc_free(row);
    return st;
}

oc_status oc_caption_scores_compute(oc_caption_scores *corpus, oc_caption_scores *per_item,
                                    const oc_caption_item *items, size_t n, const oc_caption_options *options,
                                    oc_error *err) {
    if (n == 0) return oc_fail(err, OC_ERR_ARG, "no captions to score");
    for (size_t i = 0; i < n; i++)
        if (items[i].n_references == 0)
            return oc_fail(err, OC_ERR_FORMAT, "image %s has no reference captions", items[i].id ? items[i].id : "");
    sentences s = {0};
    oc_caption_scores *own = NULL;
    oc_status st = OC_OK;
    if (!per_item && !(own = oc_calloc(n, sizeof *own)))
        return oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu scores", n);
    OC_GO(read_items(&s, items, n, options && options->tokenized, err));
    OC_GO(score(corpus, per_item ? per_item : own, &s, err));
done:
    sentences_free(&s);
    oc_free(own);
    return st;
}
