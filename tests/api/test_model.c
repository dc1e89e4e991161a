/* The public interface on the golden model. Only ocellus.h is included: nothing else may be needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ocellus.h"

#define MODEL OC_TEST_DATA "/golden/tiny"

static void ok(oc_status st, const oc_error *err) {
    if (st != OC_OK) fail_msg("%s", err->msg);
}

static oc_picture read_file(const char *name) {
    char path[512];
    snprintf(path, sizeof path, OC_TEST_DATA "/image/%s", name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: cannot open", path);
    fseek(f, 0, SEEK_END);
    oc_picture p = {.size = (size_t)ftell(f)};
    void *bytes = malloc(p.size);
    rewind(f);
    assert_int_equal(fread(bytes, 1, p.size, f), p.size);
    fclose(f);
    p.bytes = bytes;
    return p;
}

static void free_file(oc_picture *p) { free((void *)(uintptr_t)p->bytes); }

static oc_model *open_model(void) {
    oc_model *m;
    oc_error err;
    ok(oc_model_open(&m, MODEL, &(oc_model_options){.arithmetic = OC_ARITHMETIC_F32, .threads = 1}, &err), &err);
    return m;
}

static void test_describe(void **state) {
    (void)state;
    oc_model *m = open_model();
    oc_model_info info;
    oc_model_describe(m, &info);
    assert_int_equal(info.parameters, 255936);
    assert_int_equal(info.tokens_per_picture, 16);
    assert_int_equal(info.max_tokens, 512);
    assert_true(info.answers_questions);
    assert_non_null(strstr(info.backend, "1 thread"));
    assert_true(oc_version()[0] >= '0' && oc_version()[0] <= '9');
    oc_model_close(m);
    oc_model_close(NULL);
}

/* What one gets for the pictures in the way that opt says; the caller frees. */
static oc_answer ask(oc_model *m, const char *question, const oc_picture *p, int n, const oc_ask_options *opt) {
    oc_answer a;
    oc_error err;
    ok(oc_model_ask(m, question, p, n, opt, &a, &err), &err);
    return a;
}

static void test_ask(void **state) {
    (void)state;
    oc_model *m = open_model();
    oc_picture p[2] = {read_file("rgb.png"), read_file("gray.jpg")};
    const oc_ask_options six = {.max_new_tokens = 6};
    oc_answer one = ask(m, "Who is there?", p, 1, &six), placed = ask(m, "<image>\nWho is there?", p, 1, &six);
    assert_int_equal(one.n_tokens, 6);
    assert_false(one.finished);
    assert_true(one.logprob < 0);
    assert_string_equal(one.text, placed.text);
    oc_answer other = ask(m, "Who is there?", p + 1, 1, &six), both = ask(m, "Who is there?", p, 2, &six);
    assert_true(one.logprob != other.logprob && one.logprob != both.logprob);
    oc_answer system = ask(m, "Who is there?", p, 1, &(oc_ask_options){.max_new_tokens = 6, .system = "Be brief."});
    assert_true(one.logprob != system.logprob);
    oc_answer blind = ask(m, "Who is there?", NULL, 0, &six), caption = ask(m, NULL, p, 1, NULL);
    assert_true(caption.n_tokens > 0 && caption.n_tokens <= 64);
    const oc_ask_options sampled = {.max_new_tokens = 6, .temperature = 2, .top_p = 0.9, .seed = 7};
    oc_answer first = ask(m, "Who is there?", p, 1, &sampled), second = ask(m, "Who is there?", p, 1, &sampled);
    assert_string_equal(first.text, second.text);
    oc_answer beams = ask(m, "Who is there?", p, 1, &(oc_ask_options){.max_new_tokens = 6, .beams = 3});
    assert_true(beams.logprob >= one.logprob / 6 - 1e-4); /* a mean over tokens; the best of three is no worse than greedy here */
    oc_answer *all[] = {&one, &placed, &other, &both, &system, &blind, &caption, &first, &second, &beams};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) oc_answer_free(all[i]);
    oc_answer_free(&one);
    free_file(&p[0]);
    free_file(&p[1]);
    oc_model_close(m);
}

static void refused(oc_status want, const char *needle, oc_status got, const oc_error *err) {
    assert_int_equal(got, want);
    if (!strstr(err->msg, needle)) fail_msg("\"%s\" is not in \"%s\"", needle, err->msg);
}

static void test_errors(void **state) {
    (void)state;
    oc_error err;
    oc_answer a;
    oc_model *m = (oc_model *)&err;
    refused(OC_ERR_IO, "/none", oc_model_open(&m, MODEL "/none", NULL, &err), &err);
    assert_null(m);
    assert_int_equal(oc_model_open(&m, MODEL "/none", NULL, NULL), OC_ERR_IO);
    refused(OC_ERR_UNSUPPORTED, "fpga", oc_model_open(&m, MODEL, &(oc_model_options){.backend = "fpga"}, &err), &err);
    m = open_model();
    oc_picture p = read_file("rgb.png"), cut = {p.bytes, p.size / 2}, none = {"", 0};
    refused(OC_ERR_FORMAT, "picture 0", oc_model_ask(m, "a", &cut, 1, NULL, &a, &err), &err);
    assert_null(a.text);
    refused(OC_ERR_FORMAT, "picture 0", oc_model_ask(m, "a", &none, 1, NULL, &a, &err), &err);
    refused(OC_ERR_FORMAT, "1 pictures but 2 places", oc_model_ask(m, "<image><image>", &p, 1, NULL, &a, &err), &err);
    refused(OC_ERR_ARG, "512 positions", oc_model_ask(m, "a", &p, 1, &(oc_ask_options){.max_new_tokens = 600}, &a, &err), &err);
    refused(OC_ERR_ARG, "exclude", oc_model_ask(m, "a", &p, 1, &(oc_ask_options){.beams = 2, .temperature = 1}, &a, &err), &err);
    refused(OC_ERR_ARG, "negative", oc_model_ask(m, "a", &p, 1, &(oc_ask_options){.top_p = -1}, &a, &err), &err);
    refused(OC_ERR_ARG, "-1 pictures", oc_model_ask(m, "a", &p, -1, NULL, &a, &err), &err);
    free_file(&p);
    oc_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_describe), cmocka_unit_test(test_ask), cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
