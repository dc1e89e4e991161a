/* Intervals and paired tests: against exact values where a distribution is known, against scoring the resampled captions
 * again, and what must hold whatever the data. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "eval/bootstrap.h"
#include "eval/text_stats.h"

static oc_error err;
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if ((call) != OC_OK) fail_msg("%s", err.msg);                                                                  \
    } while (0)

enum { PICTURES = 60 };
static const char *const words[] = {"a", "red", "blue", "cat", "dog", "on", "mat", "sits"};

/* Captions of 3 to 8 words about PICTURES pictures, two references each; errors: how many words of 8 are exchanged. */
typedef struct set {
    oc_evaluation e;
    oc_evaluated item[PICTURES];
    char text[PICTURES][3][128];
    const char *refs[PICTURES][2];
} set;

static void make_set(set *s, uint64_t seed, uint32_t errors) {
    memset(s, 0, sizeof *s);
    s->e = (oc_evaluation){.task = OC_EVAL_CAPTION, .item = s->item, .n = PICTURES, .n_groups = PICTURES};
    for (size_t k = 0; k < PICTURES; k++) {
        oc_rng content = oc_rng_at(1, k, 0), noise = oc_rng_at(seed, k, 1);
        const uint32_t n = 3 + oc_rng_below(&content, 6);
        for (uint32_t i = 0; i < n; i++) {
            const char *w = words[oc_rng_below(&content, 8)];
            for (int r = 0; r < 3; r++) {
                const bool wrong = oc_rng_below(&noise, 8) < (r == 2 ? errors : 1);
                const char *v = wrong ? words[oc_rng_below(&noise, 8)] : w;
                if (i) strcat(s->text[k][r], " ");
                strcat(s->text[k][r], v);
            }
        }
        s->refs[k][0] = s->text[k][0];
        s->refs[k][1] = s->text[k][1];
        s->item[k] = (oc_evaluated){
            .id = "x", .image = "x", .group = k, .answer = s->text[k][2], .reference = s->refs[k], .n_references = 2};
    }
    OK(oc_evaluation_score(&s->e, &err));
}

static void whole_set_is_the_corpus_score(void **state) {
    OC_UNUSED(state);
    set *s = test_malloc(sizeof *s);
    oc_samples m;
    make_set(s, 7, 3);
    OK(oc_samples_open(&m, &s->e, &err));
    assert_int_equal(m.n, PICTURES);
    assert_int_equal(m.n_scores, OC_SCORE_COUNT);
    for (int k = 0; k < OC_SCORE_COUNT; k++) {
        assert_string_equal(m.score[k].name, oc_score_name((oc_score)k));
        const double got = oc_samples_score(&m, k), want = s->e.caption.v[k];
        if (fabs(got - want) > 1e-12 * want) fail_msg("%s: %.15g instead of %.15g", m.score[k].name, got, want);
    }
    oc_samples_close(&m);
    test_free(s);
}

/* BLEU of a resample from sums = BLEU of the resampled captions, scored as a set. */
static void resampled_bleu_is_the_bleu_of_the_resample(void **state) {
    OC_UNUSED(state);
    set *s = test_malloc(sizeof *s);
    oc_samples m;
    make_set(s, 7, 3);
    OK(oc_samples_open(&m, &s->e, &err));
    oc_interval one[OC_SCORE_COUNT];
    OK(oc_bootstrap(one, &m, 1, 42, &err)); /* a single resample: all percentiles are its value */
    oc_rng rng = oc_rng_at(42, 0x626f6f74, 0);
    oc_caption_item drawn[PICTURES];
    for (size_t i = 0; i < PICTURES; i++) {
        const oc_evaluated *it = &s->item[oc_rng_below(&rng, PICTURES)];
        drawn[i] = (oc_caption_item){"x", it->answer, it->reference, it->n_references};
    }
    oc_caption_scores want;
    OK(oc_caption_scores_compute(&want, NULL, drawn, PICTURES, NULL, &err));
    for (int k = OC_SCORE_BLEU_1; k <= OC_SCORE_ROUGE_L; k++)
        if (fabs(one[k].low - want.v[k]) > 1e-12 || one[k].low != one[k].high)
            fail_msg("%s: %.15g instead of %.15g", m.score[k].name, one[k].low, want.v[k]);
    oc_samples_close(&m);
    test_free(s);
}

/* Shares of 0 and 1: the resampled mean is binomial, its deviation sqrt(p (1 - p) / n). */
static void error_of_a_share(void **state) {
    OC_UNUSED(state);
    enum { N = 400, YES = 100 };
    oc_samples m = {.n = N, .columns = 2, .n_scores = 1};
    double sum[N][2];
    oc_sampled_score score = {.name = "share", .column = 1, .count = 0};
    for (size_t i = 0; i < N; i++) sum[i][0] = 1, sum[i][1] = i < YES;
    m.sum = &sum[0][0];
    m.score = &score;
    oc_interval got;
    OK(oc_bootstrap(&got, &m, 20000, 3, &err));
    const double p = (double)YES / N, sd = sqrt(p * (1 - p) / N);
    assert_true(got.value == p);
    assert_true(fabs(got.error - sd) < 0.02 * sd);
    assert_true(fabs(got.low - (p - 1.96 * sd)) < 0.003 && fabs(got.high - (p + 1.96 * sd)) < 0.003);
    oc_interval again;
    OK(oc_bootstrap(&again, &m, 20000, 3, &err));
    assert_memory_equal(&got, &again, sizeof got);
    OK(oc_bootstrap(&again, &m, 20000, 4, &err));
    assert_true(again.error != got.error);
}

/* Questions of one picture are drawn together: four equal answers a picture are worth one. */
static void questions_of_a_picture_stay_together(void **state) {
    OC_UNUSED(state);
    enum { G = 100, PER = 4 };
    oc_evaluated *item = test_calloc(G * PER, sizeof *item);
    static const char *const yes[] = {"yes"};
    for (size_t k = 0; k < G * PER; k++)
        item[k] = (oc_evaluated){.id = "q",
                                 .image = "i",
                                 .group = k % G,
                                 .reference = yes,
                                 .n_references = 1,
                                 .answer = (char *)(uintptr_t)(k % G < G / 2 ? "yes" : "no")};
    oc_evaluation e = {.task = OC_EVAL_VQA, .item = item, .n = G * PER, .n_groups = G};
    oc_samples m;
    OK(oc_evaluation_score(&e, &err));
    OK(oc_samples_open(&m, &e, &err));
    assert_int_equal(m.n, G);
    oc_interval *got = test_calloc((size_t)m.n_scores, sizeof *got);
    OK(oc_bootstrap(got, &m, 4000, 1, &err));
    int seen = 0;
    for (int k = 0; k < m.n_scores; k++) {
        if (!strcmp(m.score[k].name, "overall.accuracy")) {
            assert_true(fabs(got[k].value - 0.5) < 1e-12);
            assert_true(fabs(got[k].error - 0.05) < 0.004); /* sqrt(.25 / 100), not / 400 */
            seen++;
        }
        if (!strcmp(m.score[k].name, "open.accuracy"))
            seen += got[k].value == 0 && got[k].high == 0; /* no such question */
        if (!strcmp(m.score[k].name, "types.yesno.accuracy")) seen += fabs(got[k].value - 0.5) < 1e-12;
    }
    assert_int_equal(seen, 3);
    test_free(got);
    oc_samples_close(&m);
    oc_vqa_report_free(&e.vqa);
    test_free(item);
}

static void paired_test(void **state) {
    OC_UNUSED(state);
    set *good = test_malloc(sizeof *good), *bad = test_malloc(sizeof *bad), *other = test_malloc(sizeof *other);
    oc_samples a, b, c;
    oc_difference d[OC_SCORE_COUNT], back[OC_SCORE_COUNT];
    make_set(good, 7, 2);
    make_set(bad, 8, 6);
    make_set(other, 9, 2);
    OK(oc_samples_open(&a, &good->e, &err));
    OK(oc_samples_open(&b, &bad->e, &err));
    OK(oc_samples_open(&c, &other->e, &err));
    OK(oc_bootstrap_paired(d, &a, &b, 2000, 0, &err));
    OK(oc_bootstrap_paired(back, &b, &a, 2000, 0, &err));
    const int k = OC_SCORE_CIDER;
    assert_true(d[k].a == good->e.caption.v[k] || fabs(d[k].a - good->e.caption.v[k]) < 1e-12);
    assert_true(d[k].high < 0 && d[k].p <= 2.0 / 2001 + 1e-15); /* clearly worse: no resample says otherwise */
    assert_true(fabs(d[k].low + back[k].high) < 1e-12 && fabs(d[k].high + back[k].low) < 1e-12 && d[k].p == back[k].p);
    OK(oc_bootstrap_paired(d, &a, &c, 2000, 0, &err)); /* two systems of one quality */
    assert_true(d[k].low < 0 && d[k].high > 0 && d[k].p > 0.05);
    OK(oc_bootstrap_paired(d, &a, &a, 2000, 0, &err));
    for (int i = 0; i < OC_SCORE_COUNT; i++) assert_true(d[i].low == 0 && d[i].high == 0 && d[i].p == 1);
    oc_samples_close(&a);
    oc_samples_close(&b);
    oc_samples_close(&c);
    test_free(good);
    test_free(bad);
    test_free(other);
}

static void texts(void **state) {
    OC_UNUSED(state);
    static const char *const text[] = {
        "A cat. A cat.", "a cat a cat a cat",     "the the the dog",          "",
        "a cat, a cat.", "one two one two three", "red and red and red blue", "a b c d a b c d a b c d"};
    static const bool want[] = {false, true, true, false, false, false, false, true};
    bool repeated[8];
    oc_text_stats s;
    OK(oc_text_stats_compute(&s, repeated, text, 8, &err));
    for (int i = 0; i < 8; i++)
        if (repeated[i] != want[i]) fail_msg("\"%s\": %d", text[i], repeated[i]);
    assert_int_equal(s.texts, 8);
    assert_int_equal(s.length[0], 1);
    assert_int_equal(s.longest, 12);
    assert_int_equal(s.distinct, 7); /* the first and the fifth have the same words */
    assert_int_equal(s.n_frequent, 1);
    assert_int_equal(s.frequent[0].count, 2);
    assert_string_equal(s.frequent[0].text, text[0]);
    assert_int_equal(s.words, 4 + 6 + 4 + 0 + 4 + 5 + 6 + 12);
}

static void out_of_memory(void **state) {
    OC_UNUSED(state);
    set *s = test_malloc(sizeof *s);
    make_set(s, 7, 3);
    for (long n = 0;; n++) {
        oc_samples m;
        oc_interval got[OC_SCORE_COUNT];
        oc_alloc_fail_after(n);
        oc_status st = oc_samples_open(&m, &s->e, &err);
        if (st == OC_OK) {
            st = oc_bootstrap(got, &m, 10, 0, &err);
            oc_alloc_fail_after(-1);
            oc_samples_close(&m);
        }
        oc_alloc_fail_after(-1);
        if (st == OC_OK) {
            assert_true(n >= 3);
            break;
        }
        assert_int_equal(st, OC_ERR_NOMEM);
    }
    static const char *const text[] = {"a cat", "a dog"};
    for (long n = 0;; n = n < 4 ? n + 1 : 2 * n) { /* opening the tokenizer takes a while */
        oc_text_stats t;
        oc_alloc_fail_after(n);
        oc_status st = oc_text_stats_compute(&t, NULL, text, 2, &err);
        oc_alloc_fail_after(-1);
        if (st == OC_OK) break;
        assert_int_equal(st, OC_ERR_NOMEM);
    }
    test_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_set_is_the_corpus_score),
        cmocka_unit_test(resampled_bleu_is_the_bleu_of_the_resample),
        cmocka_unit_test(error_of_a_share),
        cmocka_unit_test(questions_of_a_picture_stay_together),
        cmocka_unit_test(paired_test),
        cmocka_unit_test(texts),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
