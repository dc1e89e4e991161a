/* References and results, divided by a NUL byte, as captions and as answers: an error or scores that are
 * numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/score_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void score_captions(const oc_caption_set *set) {
    oc_caption_scores corpus;
    oc_error err;
    if (oc_caption_scores_compute(&corpus, NULL, set->items, set->n, &(oc_caption_options){.tokenized = true},
                                  &err) != OC_OK)
        abort();
    for (int k = 0; k < OC_SCORE_COUNT; k++)
        if (!(corpus.v[k] >= 0 && corpus.v[k] < 10.0001)) abort();
}

static void score_answers(const oc_vqa_set *set) {
    oc_vqa_report r;
    oc_error err;
    oc_status st = oc_vqa_compute(&r, NULL, set->items, set->n, &err);
    if (st != OC_OK && st != OC_ERR_FORMAT) abort();
    if (st == OC_OK &&
        !(r.overall.f1 >= 0 && r.overall.f1 <= 1 && r.overall.accuracy <= 1 && isfinite(r.overall.bleu_1)))
        abort();
    oc_vqa_report_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 1 << 16) return 0;
    const char *text = (const char *)data, *cut = size ? memchr(text, 0, size) : NULL;
    size_t n = cut ? (size_t)(cut - text) : size;
    /* Copies of their own, so that reading past either is seen. */
    char *refs = malloc(n + 1), *results = malloc(size - n + 1);
    if (!refs || !results) abort();
    size_t m = cut ? size - n - 1 : 0;
    memcpy(refs, text, n);
    if (m) memcpy(results, cut + 1, m);
    refs[n] = results[m] = 0;
    for (int match = OC_MATCH_OFFICIAL; match <= OC_MATCH_LENIENT; match++) {
        oc_error err = {0};
        oc_caption_set captions;
        oc_vqa_set answers;
        if (oc_caption_set_parse(&captions, refs, n, "refs", results, m, "results", (oc_match)match, &err) ==
            OC_OK)
            score_captions(&captions);
        else if (!err.msg[0])
            abort();
        oc_caption_set_free(&captions);
        if (oc_vqa_set_parse(&answers, refs, n, "refs", results, m, "results", (oc_match)match, &err) ==
            OC_OK)
            score_answers(&answers);
        else if (!err.msg[0])
            abort();
        oc_vqa_set_free(&answers);
    }
    free(refs);
    free(results);
    return 0;
}
