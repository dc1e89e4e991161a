#include "eval/vqa.h"

#include <string.h>

/* 1. One question ------------------------------------------------------------------------------------- */

/* Normal forms of one question and what the scorers need. The word ids are shared by all questions. */
typedef struct {
    oc_strbuf want, got, other;
    oc_ngrams *ngrams;
    oc_sentence cand, *refs;
    size_t n_refs;
} work;

static bool same(const oc_strbuf *a, const oc_strbuf *b) {
    return a->len == b->len && (a->len == 0 || !memcmp(a->data, b->data, a->len));
}

typedef void (*normal_form)(const char *text, oc_strbuf *out);

/* How many answers have the normal form of the prediction. */
static size_t count_equal(work *w, const oc_vqa_item *it, normal_form form) {
    size_t equal = 0;
    oc_strbuf_clear(&w->got);
    form(it->prediction, &w->got);
    for (size_t i = 0; i < it->n_answers; i++) {
        oc_strbuf_clear(&w->want);
        form(it->answers[i], &w->want);
        equal += same(&w->got, &w->want);
    }
    return equal;
}

/* Whether all answers are the same text but for blanks around it. */
static bool people_agree(work *w, const oc_vqa_item *it) {
    oc_strbuf_clear(&w->got);
    oc_vqa_trim(it->answers[0], &w->got);
    for (size_t i = 1; i < it->n_answers; i++) {
        oc_strbuf_clear(&w->want);
        oc_vqa_trim(it->answers[i], &w->want);
        if (!same(&w->got, &w->want)) return false;
    }
    return true;
}

/* m of the n answers equal the prediction: leaving each out in turn, the m equal ones see m - 1 others, the
 * rest m. */
static double leave_one_out(size_t m, size_t n) {
    double equal = m > 0 ? OC_MIN(1.0, (double)(m - 1) / 3) : 0, others = OC_MIN(1.0, (double)m / 3);
    return ((double)m * equal + (double)(n - m) * others) / (double)n;
}

static double accuracy(work *w, const oc_vqa_item *it) {
    if (it->n_answers < 4) return count_equal(w, it, oc_vqa_official) > 0;
    normal_form form = people_agree(w, it) ? oc_vqa_trim : oc_vqa_official;
    return leave_one_out(count_equal(w, it, form), it->n_answers);
}

static size_t count_word(const uint32_t *word, size_t n, uint32_t of) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += word[i] == of;
    return count;
}

/* Words of a that are in one of b[n_b], each at most as often as in the one that has it most often. */
static size_t common_words(const oc_sentence *a, const oc_sentence *b, size_t n_b) {
    size_t common = 0;
    for (size_t i = 0; i < a->n; i++) {
        size_t before = count_word(a->word, i, a->word[i]), most = 0;
        for (size_t k = 0; k < n_b && most <= before; k++)
            most = OC_MAX(most, count_word(b[k].word, b[k].n, a->word[i]));
        common += before < most;
    }
    return common;
}

static double f1(const oc_sentence *a, const oc_sentence *b) {
    if (a->n == 0 || b->n == 0) return a->n == b->n;
    return 2 * (double)common_words(a, b, 1) / (double)(a->n + b->n);
}

/* The question's share of the corpus BLEU, as far as BLEU-1 needs it. */
static oc_bleu bleu_1(const oc_sentence *cand, const oc_sentence *refs, size_t n_refs) {
    return (oc_bleu){.test_len = (double)cand->n,
                     .ref_len = (double)oc_bleu_closest_length(refs, n_refs, cand->n),
                     .guess = {(double)cand->n},
                     .correct = {(double)common_words(cand, refs, n_refs)}};
}

static void free_sentences(work *w) {
    if (w->ngrams) oc_ngrams_forget_sentences(w->ngrams);
    oc_free(w->refs);
    w->refs = NULL;
    w->n_refs = 0;
}

/* w->cand and w->refs = the words of the question's normal forms. Answers of pathological length are cut off,
 * since F1 compares every word with every other. */
static oc_status make_sentences(work *w, const oc_vqa_item *it, oc_error *err) {
    enum { MAX_BYTES = 1 << 16 };
    free_sentences(w);
    w->refs = oc_calloc(it->n_answers, sizeof *w->refs);
    if (!w->refs) return oc_fail(err, OC_ERR_NOMEM, "out of memory for answers");
    oc_strbuf_clear(&w->other);
    oc_vqa_normalize(it->prediction, &w->other);
    OC_TRY(oc_sentence_make(&w->cand, w->ngrams, w->other.data ? w->other.data : "",
                            OC_MIN(w->other.len, (size_t)MAX_BYTES), err));
    for (; w->n_refs < it->n_answers; w->n_refs++) {
        oc_strbuf_clear(&w->other);
        oc_vqa_normalize(it->answers[w->n_refs], &w->other);
        OC_TRY(oc_sentence_make(&w->refs[w->n_refs], w->ngrams, w->other.data ? w->other.data : "",
                                OC_MIN(w->other.len, (size_t)MAX_BYTES), err));
    }
    return OC_OK;
}

static bool is_yes_or_no(work *w, const oc_vqa_item *it) {
    for (size_t i = 0; i < it->n_answers; i++) {
        oc_strbuf_clear(&w->want);
        oc_vqa_normalize(it->answers[i], &w->want);
        if (w->want.data && (!strcmp(w->want.data, "yes") || !strcmp(w->want.data, "no"))) return true;
    }
    return false;
}

/* All scores of one question. */
static oc_status score_item(work *w, oc_vqa_scores *s, const oc_vqa_item *it, oc_error *err) {
    double b[OC_NGRAM_MAX];
    const bool yesno = is_yes_or_no(w, it);
    *s = (oc_vqa_scores){.type = it->type ? it->type : yesno ? "yesno" : "open", .n = 1, .yesno = yesno};
    s->accuracy = accuracy(w, it);
    s->exact = count_equal(w, it, oc_vqa_normalize) > 0;
    s->exact_pathvqa = count_equal(w, it, oc_vqa_pathvqa) > 0;
    OC_TRY(make_sentences(w, it, err));
    for (size_t i = 0; i < w->n_refs; i++) s->f1 = OC_MAX(s->f1, f1(&w->cand, &w->refs[i]));
    s->bleu = bleu_1(&w->cand, w->refs, w->n_refs);
    oc_bleu_corpus(&s->bleu, b);
    s->bleu_1 = b[0];
    bool failed = w->want.failed || w->got.failed || w->other.failed;
    return failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory for answers") : OC_OK;
}

static void work_close(work *w) {
    free_sentences(w);
    oc_ngrams_close(w->ngrams);
    oc_strbuf_free(&w->want);
    oc_strbuf_free(&w->got);
    oc_strbuf_free(&w->other);
}

/* 2. Groups ------------------------------------------------------------------------------------------- */

static void add(oc_vqa_scores *sum, const oc_vqa_scores *s) {
    sum->n++;
    sum->accuracy += s->accuracy;
    sum->exact += s->exact;
    sum->exact_pathvqa += s->exact_pathvqa;
    sum->f1 += s->f1;
    oc_bleu_join(&sum->bleu, &s->bleu);
}

static oc_vqa_scores mean(const oc_vqa_scores *sum, const char *type) {
    oc_vqa_scores s = *sum;
    double n = s.n ? (double)s.n : 1, b[OC_NGRAM_MAX];
    oc_bleu_corpus(&s.bleu, b);
    s.type = type;
    s.accuracy /= n;
    s.exact /= n;
    s.exact_pathvqa /= n;
    s.f1 /= n;
    s.bleu_1 = s.n ? b[0] : 0;
    return s;
}

/* The group of a type; a new one is added. */
static oc_status group_of(oc_vqa_scores **types, size_t *n, const char *type, oc_vqa_scores **out, oc_error *err) {
    enum { MAX_TYPES = 4096 }; /* a type per question is a mistake, and the search is linear */
    for (size_t i = 0; i < *n; i++)
        if (!strcmp((*types)[i].type, type)) return *out = &(*types)[i], OC_OK;
    if (*n == MAX_TYPES)
        return oc_fail(err, OC_ERR_FORMAT, "more than %d question types; the type is a class of questions, not an id",
                       MAX_TYPES);
    oc_vqa_scores *to = oc_realloc(*types, *n * sizeof *to, (*n + 1) * sizeof *to);
    if (!to) return oc_fail(err, OC_ERR_NOMEM, "out of memory for question types");
    *types = to;
    to[*n] = (oc_vqa_scores){.type = type};
    *out = &to[(*n)++];
    return OC_OK;
}

oc_status oc_vqa_compute(oc_vqa_report *report, oc_vqa_scores *per_item, const oc_vqa_item *items, size_t n,
                         oc_error *err) {
    *report = (oc_vqa_report){0};
    if (n == 0) return oc_fail(err, OC_ERR_ARG, "no answers to score");
    work w = {0};
    oc_vqa_scores all = {0}, yesno = {0}, open = {0}, *types = NULL, *type = NULL;
    size_t n_types = 0;
    oc_status st = OC_OK;
    OC_GO(oc_ngrams_open(&w.ngrams, 0, err));
    for (size_t i = 0; i < n; i++) {
        oc_vqa_scores s;
        if (items[i].n_answers == 0)
            OC_GO(oc_fail(err, OC_ERR_FORMAT, "question %s has no answers to compare with",
                          items[i].id ? items[i].id : ""));
        OC_GO(score_item(&w, &s, &items[i], err));
        OC_GO(group_of(&types, &n_types, s.type, &type, err));
        add(&all, &s);
        add(s.yesno ? &yesno : &open, &s);
        add(type, &s);
        if (per_item) per_item[i] = s;
    }
    report->type = oc_calloc(n_types, sizeof *report->type);
    if (!report->type) OC_GO(oc_fail(err, OC_ERR_NOMEM, "out of memory for question types"));
    report->overall = mean(&all, "overall");
    report->yesno = mean(&yesno, "yesno");
    report->open = mean(&open, "open");
    for (size_t i = 0; i < n_types; i++) report->type[i] = mean(&types[i], types[i].type);
    report->n_types = n_types;
done:
    work_close(&w);
    oc_free(types);
    return st;
}

void oc_vqa_report_free(oc_vqa_report *report) {
    oc_free(report->type);
    *report = (oc_vqa_report){0};
}
