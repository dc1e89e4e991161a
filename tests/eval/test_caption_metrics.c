/* Caption scores: by hand, against the official ones, and the files they are read from. OC_SHARED names a
 * folder with the full sets (data/caption-metrics); without it that test is skipped. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "eval/score_io.h"

/* 1e-12 relative: the official values are float64 of the same operations in the same order; what differs is
 * the last digit of pow, exp and log between C libraries. The requirement is 1e-6. */
static void check_close(const char *what, const char *name, double got, double want) {
    if (!(fabs(got - want) <= 1e-12 * fabs(want)))
        fail_msg("%s %s: %.17g instead of %.17g", what, name, got, want);
}

static oc_caption_scores score_one(const char *cand, const char *const *refs, size_t n_refs) {
    oc_caption_item item = {.candidate = cand, .references = refs, .n_references = n_refs};
    oc_caption_scores s;
    oc_error err;
    if (oc_caption_scores_compute(&s, NULL, &item, 1, NULL, &err) != OC_OK) fail_msg("%s", err.msg);
    return s;
}
#define REFS(...) (const char *[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

static void test_bleu_by_hand(void **state) {
    OC_UNUSED(state);
    /* 7 x "the" against references with 2 and 1: clipped to 2 of 7 (Papineni et al., section 2.1). */
    oc_caption_scores s = score_one("the the the the the the the",
                                    REFS("The cat is on the mat.", "There is a cat on the mat."));
    check_close("clipping", "Bleu_1", s.v[OC_SCORE_BLEU_1],
                (2 + 1e-15) / (7 + 1e-9) * exp(1 - (7 + 1e-9) / (7 + 1e-15)));

    /* 3 words; references of 2 and 4 are equally close, the shorter one counts: no brevity penalty. */
    s = score_one("a b c", REFS("a x", "a y z w"));
    check_close("closest", "Bleu_1", s.v[OC_SCORE_BLEU_1], (1 + 1e-15) / (3 + 1e-9));

    /* 2 words against 4: exp(1 - 4/2) with the official small constants. */
    s = score_one("a b", REFS("a b c d"));
    double ratio = (2 + 1e-15) / (4 + 1e-9);
    check_close("short", "Bleu_1", s.v[OC_SCORE_BLEU_1], (2 + 1e-15) / (2 + 1e-9) * exp(1 - 1 / ratio));
    check_close("short", "Bleu_2", s.v[OC_SCORE_BLEU_2],
                sqrt((2 + 1e-15) / (2 + 1e-9) * (1 + 1e-15) / (1 + 1e-9)) * exp(1 - 1 / ratio));

    s = score_one("", REFS("a b"));
    assert_true(s.v[OC_SCORE_BLEU_1] >= 0 && s.v[OC_SCORE_BLEU_1] < 1e-6);
}

static void test_rouge_by_hand(void **state) {
    OC_UNUSED(state);
    /* LCS of "police kill the gunman" with "police killed the gunman": 3 of 4 on both sides, F = 3/4 for any
     * beta. */
    oc_caption_scores s = score_one("police kill the gunman", REFS("police killed the gunman"));
    check_close("lcs", "ROUGE_L", s.v[OC_SCORE_ROUGE_L], 0.75);
    /* Best precision (2/2) from the first reference, best recall (1/1) from the second: 1 though neither is
     * equal. */
    s = score_one("red dog", REFS("a red and white dog", "red"));
    check_close("best of each", "ROUGE_L", s.v[OC_SCORE_ROUGE_L], 1);
    s = score_one("cat", REFS("dog"));
    assert_true(s.v[OC_SCORE_ROUGE_L] == 0);
    /* Both empty: one empty word each, as "".split(" ") has it. */
    s = score_one(".", REFS("!"));
    assert_true(s.v[OC_SCORE_ROUGE_L] == 1);
}

static void test_cider_by_hand(void **state) {
    OC_UNUSED(state);
    /* Two images, one reference each; all words of a reference have document frequency 1, so idf = log 2 for
     * each. Candidate 0 equals its reference: cosine 1 for n = 1 to 4. Candidate 1 has one of two words and
     * no bigram. */
    const char *r0[] = {"a b c d"}, *r1[] = {"x y"};
    oc_caption_item items[] = {{.candidate = "a b c d", .references = r0, .n_references = 1},
                               {.candidate = "x", .references = r1, .n_references = 1}};
    oc_caption_scores corpus, item[2];
    oc_error err;
    assert_int_equal(oc_caption_scores_compute(&corpus, item, items, 2, NULL, &err), OC_OK);
    check_close("same", "CIDEr", item[0].v[OC_SCORE_CIDER], 10);
    check_close("same", "CIDEr_original", item[0].v[OC_SCORE_CIDER_ORIGINAL], 10);
    /* n = 1: 1 / (1 * sqrt 2), a quarter of the mean over n, and a Gaussian of 0 - 1 bigrams. */
    check_close("half", "CIDEr_original", item[1].v[OC_SCORE_CIDER_ORIGINAL], 10 / sqrt(2) / 4);
    check_close("half", "CIDEr", item[1].v[OC_SCORE_CIDER], 10 / sqrt(2) / 4 * exp(-1.0 / 72));
    check_close("mean", "CIDEr", corpus.v[OC_SCORE_CIDER],
                (item[0].v[OC_SCORE_CIDER] + item[1].v[OC_SCORE_CIDER]) / 2);

    /* Clipping: "x x" has weight 2 on x, which counts as 1 in CIDEr-D: (1*1) / (2 * sqrt 2) against 2 / (2 *
     * sqrt 2). */
    items[1].candidate = "x x";
    assert_int_equal(oc_caption_scores_compute(&corpus, item, items, 2, NULL, &err), OC_OK);
    check_close("clip", "CIDEr_original", item[1].v[OC_SCORE_CIDER_ORIGINAL], 10 / sqrt(2) / 4);
    check_close("clip", "CIDEr", item[1].v[OC_SCORE_CIDER], 10 / (2 * sqrt(2)) / 4);

    /* One image alone: every n-gram is in all images, idf 0. */
    oc_caption_scores s = score_one("a b c d", REFS("a b c d"));
    assert_true(s.v[OC_SCORE_CIDER] == 0);
}

static void test_tokens_taken_as_they_are(void **state) {
    OC_UNUSED(state);
    const char *refs[] = {"Don't ."};
    oc_caption_item item = {.id = "7", .candidate = "Don't .", .references = refs, .n_references = 1};
    oc_caption_scores s;
    oc_error err;
    assert_int_equal(
        oc_caption_scores_compute(&s, NULL, &item, 1, &(oc_caption_options){.tokenized = true}, &err), OC_OK);
    check_close("two words", "Bleu_2", s.v[OC_SCORE_BLEU_2],
                sqrt((2 + 1e-15) / (2 + 1e-9) * (1 + 1e-15) / (1 + 1e-9)) *
                    exp(1 - (2 + 1e-9) / (2 + 1e-15)));
    item.n_references = 0;
    assert_int_equal(oc_caption_scores_compute(&s, NULL, &item, 1, NULL, &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "image 7 has no reference"));
    assert_int_equal(oc_caption_scores_compute(&s, NULL, NULL, 0, NULL, &err), OC_ERR_ARG);
}

/* Scores of a set against its scores.json: corpus and every image. */
static void check_scores(const oc_caption_set *set, bool tokenized, const char *path) {
    oc_error err;
    json_t *official;
    if (oc_json_load(&official, path, 1 << 26, &err) != OC_OK) fail_msg("%s", err.msg);
    oc_caption_scores corpus, *item = calloc(set->n, sizeof *item);
    assert_non_null(item);
    double start = oc_now();
    if (oc_caption_scores_compute(&corpus, item, set->items, set->n, &(oc_caption_options){tokenized},
                                  &err) != OC_OK)
        fail_msg("%s", err.msg);
    double seconds = oc_now() - start;
    json_t *per_image = json_object_get(official, "per_image");
    assert_int_equal(json_array_size(per_image), set->n);
    for (int k = 0; k <= OC_SCORE_CIDER; k++) {
        const char *name = oc_score_name((oc_score)k);
        check_close(path, name, corpus.v[k],
                    json_number_value(json_object_get(json_object_get(official, "corpus"), name)));
        for (size_t i = 0; i < set->n; i++)
            check_close(set->items[i].id, name, item[i].v[k],
                        json_number_value(json_object_get(json_array_get(per_image, i), name)));
    }
    print_message("%s: %zu images equal, %.3f s\n", path, set->n, seconds);
    free(item);
    json_decref(official);
}

static void check_set(const char *dir, const char *prefix) {
    char refs[4096], cands[4096], scores[4096];
    snprintf(refs, sizeof refs, "%s/%srefs.json", dir, prefix);
    snprintf(cands, sizeof cands, "%s/%scands.json", dir, prefix);
    snprintf(scores, sizeof scores, "%s/%sscores.json", dir, prefix);
    oc_caption_set set;
    oc_error err;
    if (oc_caption_set_load(&set, refs, cands, OC_MATCH_STRICT, &err) != OC_OK) fail_msg("%s", err.msg);
    check_scores(&set, false, scores);
    oc_caption_set_free(&set);
}

static void test_adversarial_set(void **state) {
    OC_UNUSED(state);
    check_set(OC_TEST_DATA "/metrics", "adversarial_");
}

/* The official demo, whose references exist only as tokens: [{"image_id", "cand", "refs"}]. */
static void check_demo(const char *shared) {
    char path[4096];
    json_t *list;
    oc_error err;
    snprintf(path, sizeof path, "%s/data/caption-metrics/fakecap1000/tokenized.json", shared);
    if (oc_json_load(&list, path, 1 << 26, &err) != OC_OK) fail_msg("%s", err.msg);
    size_t n = json_array_size(list);
    oc_caption_set set = {.n = n, .items = calloc(n, sizeof *set.items)};
    const char *(*refs)[16] = calloc(n, sizeof *refs);
    char(*ids)[24] = calloc(n, sizeof *ids);
    assert_true(set.items && refs && ids);
    for (size_t i = 0; i < n; i++) {
        json_t *rec = json_array_get(list, i), *r = json_object_get(rec, "refs");
        snprintf(ids[i], sizeof ids[i], "%lld",
                 (long long)json_integer_value(json_object_get(rec, "image_id")));
        assert_in_range(json_array_size(r), 1, 16);
        for (size_t k = 0; k < json_array_size(r); k++) refs[i][k] = json_string_value(json_array_get(r, k));
        set.items[i] = (oc_caption_item){ids[i], json_string_value(json_object_get(rec, "cand")), refs[i],
                                         json_array_size(r)};
    }
    snprintf(path, sizeof path, "%s/data/caption-metrics/fakecap1000/scores.json", shared);
    check_scores(&set, true, path);
    free(set.items), free(refs), free(ids);
    json_decref(list);
}

static void test_full_sets(void **state) {
    OC_UNUSED(state);
    const char *shared = getenv("OC_SHARED");
    if (!shared) skip();
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/data/caption-metrics/coco_loo2000", shared);
    check_set(dir, "");
    snprintf(dir, sizeof dir, "%s/data/caption-metrics/coco_adversarial300", shared);
    check_set(dir, "");
    check_demo(shared);
}

/* --- Files
 * ----------------------------------------------------------------------------------------------------------
 */

static oc_status parse(oc_caption_set *set, const char *refs, const char *results, oc_match match,
                       oc_error *err) {
    return oc_caption_set_parse(set, refs, strlen(refs), "refs.json", results, strlen(results),
                                "results.json", match, err);
}

static const char good_refs[] =
    "{\"info\": {\"x\": [\"}\", \"\\\"]\"]}, \"annotations\": [{\"image_id\": 2, \"caption\": \"b\"},\n"
    " {\"image_id\": \"one\", \"caption\": \"a\"}, {\"image_id\": 2, \"caption\": \"bb\"}],\n"
    " \"images\": [{\"id\": \"one\"}, {\"id\": 2}, {\"id\": 3}]}";

static void test_order_and_ids(void **state) {
    OC_UNUSED(state);
    oc_caption_set set;
    oc_error err;
    /* Order of "images", though it stands behind; "2" is 2. */
    if (parse(&set, good_refs,
              "[{\"image_id\": \"2\", \"caption\": \"x\"}, {\"image_id\": \"one\", \"caption\": \"y\"}]",
              OC_MATCH_OFFICIAL, &err) != OC_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(set.n, 2);
    assert_int_equal(set.n_references, 3);
    assert_int_equal(set.unanswered, 1);
    assert_string_equal(set.items[0].id, "one");
    assert_string_equal(set.items[0].candidate, "y");
    assert_string_equal(set.items[1].id, "2");
    assert_int_equal(set.items[1].n_references, 2);
    assert_string_equal(set.items[1].references[0], "b");
    assert_string_equal(set.items[1].references[1], "bb");
    oc_caption_set_free(&set);

    /* JSON lines as results; without "images" the order is that of the annotations. */
    assert_int_equal(parse(&set,
                           "{\"annotations\": [{\"image_id\": 5, \"caption\": \"b\"}, {\"image_id\": 4, "
                           "\"caption\": \"c\"}]}",
                           "{\"image_id\": 4, \"caption\": \"x\"}\n{\"image_id\": 5, \"caption\": \"y\"}\n",
                           OC_MATCH_STRICT, &err),
                     OC_OK);
    assert_string_equal(set.items[0].id, "5");
    oc_caption_set_free(&set);
}

static void test_lenient(void **state) {
    OC_UNUSED(state);
    oc_caption_set set;
    oc_error err;
    const char *results =
        "[{\"image_id\": 2, \"caption\": \"x\"}, {\"image_id\": 2, \"caption\": \"z\"}, {\"image_id\": 9, "
        "\"caption\": \"y\"},"
        " {\"image_id\": 3, \"caption\": \"y\"}, {\"image_id\": \"one\", \"caption\": null}]";
    assert_int_equal(parse(&set, good_refs, results, OC_MATCH_LENIENT, &err), OC_OK);
    assert_int_equal(set.n, 1);
    assert_string_equal(set.items[0].candidate, "x");
    assert_int_equal(set.ignored, 4);
    oc_caption_set_free(&set);
}

static void test_errors_say_what_and_where(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *refs, *results, *message;
        oc_match match;
    } bad[] = {
        {good_refs, "[{\"image_id\": 9, \"caption\": \"x\"}]",
         "results.json:1: element 0: image_id 9 is not among the references", OC_MATCH_OFFICIAL},
        {good_refs, "[{\"image_id\": 2, \"caption\": \"x\"},\n{\"image_id\": 2, \"caption\": \"x\"}]",
         "results.json:2: element 1: image_id 2 has a result already", OC_MATCH_OFFICIAL},
        {good_refs, "[{\"image_id\": 3, \"caption\": \"x\"}]",
         "image_id 3 has a result in results.json but no reference", OC_MATCH_OFFICIAL},
        {good_refs, "[{\"image_id\": 2, \"caption\": \"x\"}]", "results.json: no result for image_id one",
         OC_MATCH_STRICT},
        {good_refs, "[{\"image_id\": 2}]", "\"caption\" is missing", OC_MATCH_OFFICIAL},
        {good_refs, "[{\"id\": 2, \"caption\": \"x\"}]", "\"image_id\" is missing", OC_MATCH_OFFICIAL},
        {good_refs, "[{\"image_id\": 2.5, \"caption\": \"x\"}]", "neither an integer nor a string",
         OC_MATCH_OFFICIAL},
        {good_refs, "[3]", "element 0 is not an object", OC_MATCH_OFFICIAL},
        {good_refs, "[]", "no result belongs to an image", OC_MATCH_OFFICIAL},
        {good_refs, "", "results.json: empty", OC_MATCH_OFFICIAL},
        {good_refs, "{\"x\": 1}", "a list of results was expected", OC_MATCH_OFFICIAL},
        {good_refs, "[{\"image_id\": 2, \"caption\": \"\xff\"}]", "not valid JSON", OC_MATCH_OFFICIAL},
        {good_refs, "[{\"image_id\": 2, \"caption\": \"x\"}", "the file ends inside the array",
         OC_MATCH_OFFICIAL},
        {"[]", "[]", "refs.json: no \"annotations\" array", OC_MATCH_OFFICIAL},
        {"{}", "[]", "refs.json: no \"annotations\" array", OC_MATCH_OFFICIAL},
        {"{\"annotations\": []}", "[]", "has no captions", OC_MATCH_OFFICIAL},
        {"{\"annotations\": {}}", "[]", "\"annotations\" is not an array", OC_MATCH_OFFICIAL},
        {"{\"images\": [1], \"annotations\": []}", "[]", "element 0 is not an object", OC_MATCH_OFFICIAL},
        {"{\"annotations\": [", "[]", "refs.json:1: not valid JSON", OC_MATCH_OFFICIAL},
        {"{\"annotations\" [", "[]", "':' was expected", OC_MATCH_OFFICIAL},
        {"{\"a\": \"", "[]", "the end of a string was expected", OC_MATCH_OFFICIAL},
        {"{\"a\": ]", "[]", "a value was expected", OC_MATCH_OFFICIAL},
    };
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        oc_caption_set set;
        oc_error err = {0};
        oc_status st = parse(&set, bad[i].refs, bad[i].results, bad[i].match, &err);
        if (st != OC_ERR_FORMAT || !strstr(err.msg, bad[i].message))
            fail_msg("case %zu: \"%s\" instead of \"%s\"", i, st == OC_OK ? "no error" : err.msg,
                     bad[i].message);
        assert_null(set.items);
        assert_null(set.owned);
    }
}

static void test_out_of_memory(void **state) {
    OC_UNUSED(state);
    const char *results = "[{\"image_id\": 2, \"caption\": \"x y z\"}]";
    bool done = false;
    for (long n = 0; !done; n++) {
        oc_caption_set set;
        oc_caption_scores s;
        oc_error err = {0};
        oc_alloc_fail_after(n);
        oc_status st = parse(&set, good_refs, results, OC_MATCH_OFFICIAL, &err);
        if (st == OC_OK)
            st = oc_caption_scores_compute(&s, NULL, set.items, set.n, &(oc_caption_options){true}, &err);
        oc_alloc_fail_after(-1);
        assert_true(st == OC_OK || st == OC_ERR_NOMEM);
        done = st == OC_OK;
        oc_caption_set_free(&set);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bleu_by_hand),
        cmocka_unit_test(test_rouge_by_hand),
        cmocka_unit_test(test_cider_by_hand),
        cmocka_unit_test(test_tokens_taken_as_they_are),
        cmocka_unit_test(test_adversarial_set),
        cmocka_unit_test(test_full_sets),
        cmocka_unit_test(test_order_and_ids),
        cmocka_unit_test(test_lenient),
        cmocka_unit_test(test_errors_say_what_and_where),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
