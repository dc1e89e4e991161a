#include "eval/cider.h"

#include <math.h>
#include <string.h>

enum { FEW = 64 };

/* CIDEr-D's factor for a candidate that is d words longer or shorter. */
static double penalty(double d) {
    const double sigma = 6;
    return pow(M_E, -(d * d) / (2 * sigma * sigma));
}

oc_status oc_cider_open(oc_cider *c, const oc_sentence *refs, const size_t *n_refs, size_t n, size_t n_ids,
                        oc_error *err) {
    size_t *last = oc_calloc(n_ids + 1, sizeof *last); /* per id: the last image that had it, from 1 */
    *c = (oc_cider){.idf = oc_calloc(n_ids + 1, sizeof *c->idf), .n_ids = n_ids};
    if (!last || !c->idf) {
        oc_free(last);
        oc_cider_close(c);
        return oc_fail(err, OC_ERR_NOMEM, "out of memory for the document frequencies of CIDEr");
    }
    for (size_t image = 0; image < n; image++) {
        for (size_t r = 0; r < n_refs[image]; r++, refs++)
            for (int k = 0; k < OC_NGRAM_MAX; k++)
                for (size_t i = 0; i + (size_t)k < refs->n; i++) {
                    uint32_t id = refs->gram[k][i];
                    if (last[id] != image + 1) c->idf[id]++, last[id] = image + 1;
                }
    }
    /* Most n-grams are in a few images: their logarithms are taken once. */
    double of_few[FEW], log_n = log((double)n);
    for (size_t i = 0; i < FEW; i++) of_few[i] = log(OC_MAX(1.0, (double)i));
    for (size_t i = 0; i < n_ids; i++)
        c->idf[i] = log_n - (c->idf[i] < FEW ? of_few[(size_t)c->idf[i]] : log(c->idf[i]));
    for (size_t i = 0; i < OC_CIDER_LENGTHS; i++) c->penalty[i] = penalty((double)i);
    oc_free(last);
    return OC_OK;
}

void oc_cider_close(oc_cider *c) {
    oc_free(c->idf);
    *c = (oc_cider){0};
}

/* sqrt(sum of (count * idf)^2), summed in the order in which the n-grams occur, as the official code does. */
static double norm(const oc_cider *c, const oc_gram_counter *count) {
    double sum = 0;
    for (size_t i = 0; i < count->n; i++) {
        double w = (double)count->count_of[count->id[i]] * c->idf[count->id[i]];
        sum += w * w;
    }
    return sqrt(sum);
}

/* Products of the weights, clipped for CIDEr-D. */
static void dot(const oc_cider *c, const oc_gram_counter *cand, const oc_gram_counter *ref, double *clipped,
                double *plain) {
    *clipped = *plain = 0;
    for (size_t i = 0; i < cand->n; i++) {
        uint32_t id = cand->id[i];
        double w = (double)cand->count_of[id] * c->idf[id], v = (double)ref->count_of[id] * c->idf[id];
        *clipped += OC_MIN(w, v) * v;
        *plain += w * v;
    }
}

static double bigrams(const oc_sentence *s) { return s->n > 1 ? (double)(s->n - 1) : 0; }

void oc_cider_item(const oc_cider *c, double *cider_d, double *cider, const oc_sentence *cand, const oc_sentence *refs,
                   size_t n_refs, oc_gram_counter *cand_count, oc_gram_counter *ref_count) {
    double sum_d = 0, sum = 0;
    for (int k = 0; k < OC_NGRAM_MAX; k++) {
        oc_gram_counter_add(cand_count, cand, k);
        double cand_norm = norm(c, cand_count), of_order_d = 0, of_order = 0;
        for (size_t r = 0; r < n_refs; r++) {
            oc_gram_counter_add(ref_count, &refs[r], k);
            double ref_norm = norm(c, ref_count), clipped, plain;
            dot(c, cand_count, ref_count, &clipped, &plain);
            if (cand_norm != 0 && ref_norm != 0) {
                clipped /= cand_norm * ref_norm;
                plain /= cand_norm * ref_norm;
            }
            double delta = fabs(bigrams(cand) - bigrams(&refs[r]));
            of_order_d += clipped * (delta < OC_CIDER_LENGTHS ? c->penalty[(size_t)delta] : penalty(delta));
            of_order += plain;
            oc_gram_counter_clear(ref_count);
        }
        oc_gram_counter_clear(cand_count);
        sum_d += of_order_d;
        sum += of_order;
    }
    *cider_d = sum_d / OC_NGRAM_MAX / (double)n_refs * 10;
    *cider = sum / OC_NGRAM_MAX / (double)n_refs * 10;
}
