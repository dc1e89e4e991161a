/* Numbers, sizes, word lists, ranges, and the nearest word. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "base/base.h"
#include "base/text.h"

static void integers(void **state) {
    OC_UNUSED(state);
    int v = 7;
    assert_true(oc_parse_int("12", NULL, &v) && v == 12);
    assert_true(oc_parse_int("-2147483648", NULL, &v) && v == -2147483647 - 1);
    assert_true(oc_parse_int("3", "3..", &v) && oc_parse_int("3", "..3", &v) && oc_parse_int("3", "3..3", &v));
    static const char *bad[] = {"", " 1", "1 ", "0x10", "1.0", "2147483648", "99999999999999999999", "one", "-"};
    for (size_t i = 0; i < OC_COUNT(bad); i++) assert_false(oc_parse_int(bad[i], NULL, &v));
    assert_false(oc_parse_int("2", "3..", &v));
    assert_false(oc_parse_int("4", "..3", &v));
    assert_int_equal(v, 3);
}

static void numbers(void **state) {
    OC_UNUSED(state);
    double v = 7;
    assert_true(oc_parse_double("1e-3", "0..1", &v) && v == 1e-3);
    assert_true(oc_parse_double(".5", NULL, &v) && v == 0.5);
    static const char *bad[] = {"", "nan", "inf", "-inf", "1e999", "1,5", "1 ", " 1", "x", "--1"};
    for (size_t i = 0; i < OC_COUNT(bad); i++) assert_false(oc_parse_double(bad[i], NULL, &v));
    assert_false(oc_parse_double("1.0001", "0..1", &v));
    assert_true(v == 0.5);
}

static void bytes(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *text;
        size_t want;
    } good[] = {{"0", 0},       {"1500", 1500},   {"1k", 1024},         {"2 KiB", 2048},      {"1.5 MB", 3u << 19},
                {"8G", 8ull << 30}, {"3 GiB", 3ull << 30}, {"1T", 1ull << 40}, {"17B", 17}};
    size_t v;
    for (size_t i = 0; i < OC_COUNT(good); i++) {
        assert_true(oc_parse_bytes(good[i].text, &v));
        assert_int_equal(v, good[i].want);
    }
    static const char *bad[] = {"", "G", "-1", "1 X", "1GG", "1e300", "2000000T", "nan"};
    for (size_t i = 0; i < OC_COUNT(bad); i++) assert_false(oc_parse_bytes(bad[i], &v));
}

static void words(void **state) {
    OC_UNUSED(state);
    const char *list = "causal|prefix|isolated";
    assert_int_equal(oc_word_index(list, "causal"), 0);
    assert_int_equal(oc_word_index(list, "isolated"), 2);
    assert_int_equal(oc_word_index(list, "iso"), -1);
    assert_int_equal(oc_word_index(list, ""), -1);
    assert_int_equal(oc_word_index(list, "causal|prefix"), -1);
    int len;
    const char *w = oc_word_at(list, 1, &len);
    assert_int_equal(len, 6);
    assert_memory_equal(w, "prefix", 6);
}

static void nearest(void **state) {
    OC_UNUSED(state);
    static const char *const names[] = {"train", "tokenize", "pretrain vision", "eval"};
    assert_string_equal(oc_nearest("trian", names, 4), "train");
    assert_string_equal(oc_nearest("toknise", names, 4), "tokenize");
    assert_string_equal(oc_nearest("pretrain", names, 4), "pretrain vision");
    assert_string_equal(oc_nearest("evla", names, 4), "eval");
    assert_null(oc_nearest("xyz", names, 4));
    assert_null(oc_nearest("", names, 4));
    char longer[500];
    memset(longer, 'a', sizeof longer);
    longer[499] = 0;
    assert_null(oc_nearest(longer, names, 4));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(integers), cmocka_unit_test(numbers), cmocka_unit_test(bytes),
                                       cmocka_unit_test(words), cmocka_unit_test(nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
