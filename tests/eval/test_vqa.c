/* Scores of answers: against vqaEval.py (normal forms and accuracies of tests/data/metrics), by hand, and the
 * files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "eval/score_io.h"

static void check_form(void (*form)(const char *, oc_strbuf *), const char *text, const char *want) {
    oc_strbuf b = {0};
    form(text, &b);
    const char *got = b.data ? b.data : "";
    if (strcmp(got, want) != 0) fail_msg("\"%s\" gave \"%s\" instead of \"%s\"", text, got, want);
    oc_strbuf_free(&b);
}

static void test_official_normal_forms(void **state) {
    OC_UNUSED(state);
    const char *path = OC_TEST_DATA "/metrics/vqa_normal_forms.jsonl";
    char *text;
    size_t len, n = 0;
    oc_error err;
    if (oc_file_read(&text, &len, path, 1 << 24, &err) != OC_OK) fail_msg("%s", err.msg);
    oc_json_reader r;
    oc_json_reader_init(&r, text, len, path);
    for (json_t *rec;; n++) {
        if (oc_json_reader_next(&r, &rec, &err) != OC_OK) fail_msg("%s", err.msg);
        if (!rec) break;
        check_form(oc_vqa_official, json_string_value(json_object_get(rec, "raw")),
                   json_string_value(json_object_get(rec, "official")));
        json_decref(rec);
    }
    assert_int_equal(n, 287);
    oc_free(text);
}

static void test_other_normal_forms(void **state) {
    OC_UNUSED(state);
    check_form(oc_vqa_normalize,
               " The  Red-ball, (a \xe2\x80\x9c"
               "big\xe2\x80\x9d one)! ",
               "redball big one");
    check_form(oc_vqa_normalize,
               "\xc3\x89"
               "clair",
               "\xc3\xa9"
               "clair");
    check_form(oc_vqa_normalize, "a the an", "");
    check_form(oc_vqa_pathvqa, "T-cell (CD4+), 2 of them", "tcell cd of them");
    check_form(oc_vqa_pathvqa, " 12 ", "");
    check_form(oc_vqa_trim, "\t a\tb\n c \n", "a b  c");
}

static void test_accuracy_equals_the_official(void **state) {
    OC_UNUSED(state);
    const char *refs = OC_TEST_DATA "/metrics/vqa_refs.json",
               *results = OC_TEST_DATA "/metrics/vqa_results.json";
    oc_error err;
    json_t *official;
    oc_vqa_set set;
    oc_vqa_report report;
    if (oc_json_load(&official, refs, 1 << 24, &err) != OC_OK) fail_msg("%s", err.msg);
    if (oc_vqa_set_load(&set, refs, results, OC_MATCH_STRICT, &err) != OC_OK) fail_msg("%s", err.msg);
    oc_vqa_scores *item = calloc(set.n, sizeof *item);
    assert_non_null(item);
    if (oc_vqa_compute(&report, item, set.items, set.n, &err) != OC_OK) fail_msg("%s", err.msg);
    const json_t *annotations = json_object_get(official, "annotations");
    assert_int_equal(json_array_size(annotations), set.n);
    for (size_t i = 0; i < set.n; i++) { /* the official code rounds to 12 digits here */
        double want = json_number_value(json_object_get(json_array_get(annotations, i), "accuracy"));
        if (fabs(item[i].accuracy - want) > 1e-11)
            fail_msg("question %s: %.12f instead of %.12f", set.items[i].id, item[i].accuracy, want);
    }
    assert_true(
        fabs(100 * report.overall.accuracy - json_number_value(json_object_get(official, "overall"))) < 1e-9);
    assert_int_equal(report.n_types, 3);
    for (size_t i = 0; i < report.n_types; i++) {
        double want = json_number_value(
            json_object_get(json_object_get(official, "perAnswerType"), report.type[i].type));
        if (fabs(100 * report.type[i].accuracy - want) > 1e-9)
            fail_msg("%s: %.12f instead of %.12f", report.type[i].type, 100 * report.type[i].accuracy, want);
    }
    free(item);
    oc_vqa_report_free(&report);
    oc_vqa_set_free(&set);
    json_decref(official);
}

#define CLOSE(a, b)                                                                                          \
    do {                                                                                                     \
        double a_ = (a), b_ = (b);                                                                           \
        if (fabs(a_ - b_) > 1e-8) fail_msg("line %d: %s is %.12f, not %.12f", __LINE__, #a, a_, b_);         \
    } while (0)

static void test_by_hand(void **state) {
    OC_UNUSED(state);
    const char *yes[] = {"Yes"}, *organ[] = {"the left lung"}, *two[] = {"red ball", "a ball"};
    oc_vqa_item items[] = {
        {.answers = yes, .n_answers = 1, .prediction = "yes."},
        {.answers = yes, .n_answers = 1, .prediction = "no"},
        {.answers = organ, .n_answers = 1, .prediction = "left lung lobe"},
        {.type = "colour", .answers = two, .n_answers = 2, .prediction = "The Ball!"},
    };
    oc_vqa_scores item[4];
    oc_vqa_report r;
    oc_error err;
    if (oc_vqa_compute(&r, item, items, 4, &err) != OC_OK) fail_msg("%s", err.msg);
    CLOSE(item[0].accuracy, 1);
    CLOSE(item[0].exact, 1);
    CLOSE(item[1].accuracy, 0);
    CLOSE(item[1].f1, 0);
    CLOSE(item[2].exact, 0);
    CLOSE(item[2].f1, 2 * 2.0 / (3 + 2)); /* left lung | left lung lobe */
    CLOSE(item[2].bleu_1, 2.0 / 3);
    CLOSE(item[3].accuracy, 1);
    CLOSE(item[3].exact, 1);
    CLOSE(item[3].exact_pathvqa, 0); /* "the ball" is neither "red ball" nor "a ball" */
    CLOSE(item[3].f1, 1);
    CLOSE(r.overall.exact, 0.5);
    CLOSE(r.overall.bleu_1, (1 + 0 + 2 + 1) / 6.0); /* words found of words said */
    CLOSE(r.yesno.exact, 0.5);
    assert_int_equal(r.yesno.n, 2);
    assert_int_equal(r.open.n, 2);
    assert_int_equal(r.n_types, 3);
    assert_string_equal(r.type[0].type, "yesno");
    assert_string_equal(r.type[1].type, "open");
    assert_string_equal(r.type[2].type, "colour");
    assert_int_equal(r.type[2].n, 1);
    oc_vqa_report_free(&r);

    /* Repeated words count as often as both have them; nothing to say and nothing said is right. */
    const char *rep[] = {"ball ball cat"}, *nothing[] = {"..."};
    oc_vqa_item more[] = {{.answers = rep, .n_answers = 1, .prediction = "ball ball ball"},
                          {.answers = nothing, .n_answers = 1, .prediction = ""}};
    if (oc_vqa_compute(&r, item, more, 2, &err) != OC_OK) fail_msg("%s", err.msg);
    CLOSE(item[0].f1, 2 * 2.0 / 6);
    CLOSE(item[1].exact, 1);
    CLOSE(item[1].f1, 1);
    oc_vqa_report_free(&r);

    assert_int_equal(oc_vqa_compute(&r, NULL, items, 0, &err), OC_ERR_ARG);
    more[1].n_answers = 0;
    more[1].id = "q7";
    assert_int_equal(oc_vqa_compute(&r, NULL, more, 2, &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "question q7"));
}

static oc_status parse(oc_vqa_set *set, const char *refs, const char *results, oc_match match,
                       oc_error *err) {
    return oc_vqa_set_parse(set, refs, strlen(refs), "refs.json", results, strlen(results), "results.json",
                            match, err);
}

static void test_file_forms(void **state) {
    OC_UNUSED(state);
    oc_vqa_set set;
    oc_error err;
    /* JSON lines with ids against an array, out of order; a number as an answer; a type. */
    if (parse(&set,
              "{\"question_id\": \"b\", \"answer\": 2, \"type\": \"count\"}\n{\"question_id\": 7, "
              "\"answers\": [\"x\", {\"answer\": \"y\"}]}",
              "[{\"question_id\": \"7\", \"text\": \"y\"}, {\"id\": \"b\", \"prediction\": \"2\"}]",
              OC_MATCH_STRICT, &err) != OC_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(set.n, 2);
    assert_string_equal(set.items[0].id, "b");
    assert_string_equal(set.items[0].answers[0], "2");
    assert_string_equal(set.items[0].type, "count");
    assert_string_equal(set.items[0].prediction, "2");
    assert_int_equal(set.items[1].n_answers, 2);
    assert_string_equal(set.items[1].answers[1], "y");
    assert_null(set.items[1].type);
    oc_vqa_set_free(&set);

    /* No ids: line by line. A single line is a single record, not an object without "annotations". */
    assert_int_equal(parse(&set, "{\"answer\": \"a\"}", "{\"answer\": \"b\"}\n", OC_MATCH_STRICT, &err),
                     OC_OK);
    assert_int_equal(set.n, 1);
    assert_string_equal(set.items[0].id, "0");
    oc_vqa_set_free(&set);

    const char *three = "{\"question_id\": 1, \"answer\": \"a\"}\n{\"question_id\": 2, \"answer\": "
                        "\"a\"}\n{\"question_id\": 3, \"answer\": \"a\"}";
    const char *odd = "[{\"question_id\": 1, \"answer\": \"a\"}, {\"question_id\": 1, \"answer\": \"b\"}, "
                      "{\"question_id\": 9, \"answer\": \"b\"},"
                      " {\"question_id\": 2}]";
    assert_int_equal(parse(&set, three, odd, OC_MATCH_LENIENT, &err), OC_OK);
    assert_int_equal(set.n, 1);
    assert_int_equal(set.unanswered, 2);
    assert_int_equal(set.ignored, 3);
    oc_vqa_set_free(&set);
}

static void test_errors(void **state) {
    OC_UNUSED(state);
    static const char one[] = "{\"question_id\": 1, \"answer\": \"a\"}";
    static const struct {
        const char *refs, *results, *message;
        oc_match match;
    } bad[] = {
        {one, "[{\"question_id\": 2, \"answer\": \"a\"}]", "question_id 2 is not among the references",
         OC_MATCH_OFFICIAL},
        {one, "[{\"question_id\": 1, \"answer\": \"a\"},\n {\"question_id\": 1, \"answer\": \"a\"}]",
         "results.json:2: element 1: question_id 1 has a result already", OC_MATCH_OFFICIAL},
        {one, "[{\"question_id\": 1}]", "\"answer\" is missing", OC_MATCH_OFFICIAL},
        {one, "[{\"question_id\": 1, \"answer\": []}]", "\"answer\" is missing or not a string",
         OC_MATCH_OFFICIAL},
        {one, "[]", "no result belongs to a question", OC_MATCH_OFFICIAL},
        {"[{\"question_id\": 1, \"answer\": \"a\"}, {\"question_id\": 2, \"answer\": \"a\"}]", one,
         "no result for question_id 2", OC_MATCH_STRICT},
        {"[{\"question_id\": 1, \"answer\": \"a\"}, {\"question_id\": 1, \"answer\": \"a\"}]", one,
         "question_id 1 occurs twice", OC_MATCH_OFFICIAL},
        {"[{\"question_id\": 1}]", one, "neither \"answer\" nor \"answers\"", OC_MATCH_OFFICIAL},
        {"[{\"question_id\": 1, \"answers\": []}]", one, "\"answers\" is empty", OC_MATCH_OFFICIAL},
        {"[{\"question_id\": 1, \"answers\": [{}]}]", one, "an answer is neither", OC_MATCH_OFFICIAL},
        {"[{\"question_id\": [], \"answer\": \"a\"}]", one, "\"question_id\" is neither", OC_MATCH_OFFICIAL},
        {"[{\"question_id\": 1, \"answer\": \"a\", \"type\": {}}]", one, "\"type\" is not a string",
         OC_MATCH_OFFICIAL},
        {"[]", one, "refs.json: no questions", OC_MATCH_OFFICIAL},
        {"[\"x\"]", one, "not an object", OC_MATCH_OFFICIAL},
        {"{\"annotations\": 3}", one, "\"annotations\" is not an array", OC_MATCH_OFFICIAL},
        {one, "[{\"question_id\": 1, \"answer\": \"\xc3\"}]", "not valid JSON", OC_MATCH_OFFICIAL},
    };
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        oc_vqa_set set;
        oc_error err = {0};
        oc_status st = parse(&set, bad[i].refs, bad[i].results, bad[i].match, &err);
        if (st != OC_ERR_FORMAT || !strstr(err.msg, bad[i].message))
            fail_msg("case %zu: \"%s\" instead of \"%s\"", i, st == OC_OK ? "no error" : err.msg,
                     bad[i].message);
        assert_null(set.owned);
    }
}

static void test_out_of_memory(void **state) {
    OC_UNUSED(state);
    const char *refs =
        "{\"question_id\": 1, \"answers\": [\"It's a red-ball\", \"a\", \"b\", \"c\"], \"type\": \"x\"}";
    const char *results = "[{\"question_id\": 1, \"answer\": \"Two red balls.\"}]";
    bool done = false;
    for (long n = 0; !done; n++) {
        oc_vqa_set set;
        oc_vqa_report r = {0};
        oc_error err = {0};
        oc_alloc_fail_after(n);
        oc_status st = parse(&set, refs, results, OC_MATCH_OFFICIAL, &err);
        if (st == OC_OK) st = oc_vqa_compute(&r, NULL, set.items, set.n, &err);
        oc_alloc_fail_after(-1);
        assert_true(st == OC_OK || st == OC_ERR_NOMEM);
        done = st == OC_OK;
        oc_vqa_report_free(&r);
        oc_vqa_set_free(&set);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_official_normal_forms),
        cmocka_unit_test(test_other_normal_forms),
        cmocka_unit_test(test_accuracy_equals_the_official),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_file_forms),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
