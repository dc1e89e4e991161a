/* The option table: values, ranges, both spellings, order, errors with suggestions, help text. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "cli/options.h"

static struct {
    int steps, mask;
    double lr;
    const char *out;
    bool json;
    oc_string_list image;
} opt;

static const oc_option table[] = {
    {"--steps", OPT_INT, &opt.steps, "1..1000", "optimizer steps"},
    {"--lr", OPT_DOUBLE, &opt.lr, "0..1", "learning rate"},
    {"--mask", OPT_ENUM, &opt.mask, "causal|prefix|isolated", "which keys a visual token sees"},
    {"--out", OPT_STRING, &opt.out, "DIR", "where the result goes"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print JSON"},
    {"--image", OPT_LIST, &opt.image, "FILE", "an image; may be given several times"},
    {0}};

static oc_error err;
static int n_args;
static bool help;

/* Parses a list of words that ends with NULL; the positional ones are left in args. */
static char *args[32];
static oc_status parse(const char *first, ...) {
    va_list ap;
    va_start(ap, first);
    int n = 0;
    for (const char *s = first; s; s = va_arg(ap, const char *)) args[n++] = (char *)(uintptr_t)s;
    va_end(ap);
    opt.steps = 7, opt.mask = 1, opt.lr = 0.5, opt.out = NULL, opt.json = false;
    return oc_options_parse(table, n, args, &n_args, &help, &err);
}

static void values_and_positionals(void **state) {
    OC_UNUSED(state);
    assert_int_equal(parse("a", "--steps", "12", "--mask=isolated", "-", "--lr=1e-3", "--out", "x=y", "--json", "b", NULL), OC_OK);
    assert_int_equal(n_args, 3);
    assert_string_equal(args[0], "a");
    assert_string_equal(args[1], "-");
    assert_string_equal(args[2], "b");
    assert_int_equal(opt.steps, 12);
    assert_int_equal(opt.mask, 2);
    assert_true(opt.lr == 1e-3);
    assert_string_equal(opt.out, "x=y");
    assert_true(opt.json);
}

static void lists_and_the_end_of_options(void **state) {
    OC_UNUSED(state);
    assert_int_equal(parse("--image", "a.png", "--image=--b.png", "--", "--steps", "x", NULL), OC_OK);
    assert_int_equal(opt.image.n, 2);
    assert_string_equal(opt.image.item[0], "a.png");
    assert_string_equal(opt.image.item[1], "--b.png");
    assert_int_equal(n_args, 2);
    assert_string_equal(args[0], "--steps");
    assert_int_equal(opt.steps, 7);
    oc_options_free(table);
    assert_int_equal(opt.image.n, 0);
}

static void ranges(void **state) {
    OC_UNUSED(state);
    static const char *bad_int[] = {"", "0", "1001", "5x", "1.5", "99999999999999999999", "-3", " "};
    for (size_t i = 0; i < OC_COUNT(bad_int); i++) {
        assert_int_equal(parse("--steps", bad_int[i], NULL), OC_ERR_ARG);
        assert_non_null(strstr(err.msg, "1..1000"));
    }
    static const char *bad_double[] = {"", "nan", "inf", "1.01", "-0.1", "0.5e", "x"};
    for (size_t i = 0; i < OC_COUNT(bad_double); i++) assert_int_equal(parse("--lr", bad_double[i], NULL), OC_ERR_ARG);
    static const char *bad_word[] = {"", "caus", "causal|prefix", "Causal"};
    for (size_t i = 0; i < OC_COUNT(bad_word); i++) {
        assert_int_equal(parse("--mask", bad_word[i], NULL), OC_ERR_ARG);
        assert_non_null(strstr(err.msg, "causal|prefix|isolated"));
    }
    assert_int_equal(parse("--steps", "1", "--lr", "1", NULL), OC_OK);
    assert_int_equal(parse("--steps", "1000", "--lr", "0", NULL), OC_OK);
}

static void wrong_usage(void **state) {
    OC_UNUSED(state);
    assert_int_equal(parse("--stesp", "3", NULL), OC_ERR_ARG);
    assert_non_null(strstr(err.msg, "did you mean --steps?"));
    assert_int_equal(parse("--colour", NULL), OC_ERR_ARG);
    assert_null(strstr(err.msg, "did you mean"));
    assert_int_equal(parse("-v", NULL), OC_ERR_ARG);
    assert_int_equal(parse("--steps", NULL), OC_ERR_ARG);
    assert_string_equal(err.msg, "--steps needs a value");
    assert_int_equal(parse("--out", "--json", NULL), OC_ERR_ARG);
    assert_string_equal(err.msg, "--out needs a value, but is followed by --json");
    assert_int_equal(parse("--json=1", NULL), OC_ERR_ARG);
    assert_int_equal(parse("--nothing", "--help", NULL), OC_OK);
    assert_true(help);
    assert_int_equal(parse("--", "--help", NULL), OC_OK);
    assert_false(help);
}

static void required(void **state) {
    OC_UNUSED(state);
    const char *out = NULL;
    const oc_option one[] = {{"--out", OPT_STRING | OPT_REQUIRED, &out, "DIR", "where"}, {0}};
    char *none[] = {(char *)(uintptr_t)"x"};
    assert_int_equal(oc_options_parse(one, 1, none, &n_args, &help, &err), OC_ERR_ARG);
    assert_string_equal(err.msg, "--out is missing");
}

static void help_text(void **state) {
    OC_UNUSED(state);
    parse(NULL, NULL);
    oc_strbuf b = {0};
    oc_options_describe(table, &b);
    assert_non_null(strstr(b.data, "  --steps N               optimizer steps [1..1000] (default 7)\n"));
    assert_non_null(strstr(b.data, "causal|prefix|isolated (default prefix)"));
    assert_non_null(strstr(b.data, "--out DIR"));
    oc_strbuf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_positionals), cmocka_unit_test(lists_and_the_end_of_options),
        cmocka_unit_test(ranges),   cmocka_unit_test(wrong_usage), cmocka_unit_test(required),
        cmocka_unit_test(help_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
