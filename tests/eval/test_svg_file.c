/* Charts as files: they hold what they are given at the right places, nothing that is not a number, text escaped, both colour
 * schemes and no background; charts without data say so. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/svg.h"

static int count(const oc_strbuf *b, const char *what) {
    int n = 0;
    for (const char *p = b->data; (p = strstr(p, what)) != NULL; p += strlen(what)) n++;
    return n;
}

/* Every element is closed, nothing is drawn at a place that is not a number. */
static void check_document(const oc_strbuf *b) {
    int depth = 0;
    assert_false(b->failed);
    assert_true(strncmp(b->data, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39) == 0);
    for (const char *p = b->data; *p; p++) {
        if (*p != '<') continue;
        const char *end = strchr(p, '>');
        assert_non_null(end);
        depth += p[1] == '/' ? -1 : end[-1] == '/' ? 0 : 1;
        assert_true(depth >= 0);
        p = end;
    }
    assert_int_equal(depth, 0);
    assert_int_equal(count(b, "nan") + count(b, "inf"), 0);
    assert_int_equal(count(b, "@media (prefers-color-scheme:dark){"), 1);
    assert_int_equal(count(b, "background") + count(b, "<rect"), 0);
}

static double number_after(const char *text, const char *what) {
    const char *p = strstr(text, what);
    assert_non_null(p);
    return atof(p + strlen(what));
}

static void lines(void **state) {
    OC_UNUSED(state);
    const double x[] = {0, 10, 20}, y[] = {3, 2, 1}, low[] = {2.5, NAN, 0.5}, high[] = {3.5, 2.5, 1.5};
    const oc_chart_line line[] = {{"a < b", x, y, 3}, {"c", x, low, 3}};
    const oc_chart_band band[] = {{x, low, high, 3}, {x, high, high, 3}};
    oc_strbuf b = {0};
    oc_svg_file_lines(&b, &(oc_chart){.title = "T & U", .x_label = "steps", .line = line, .n_lines = 2}, band);
    check_document(&b);
    assert_int_equal(count(&b, "a &lt; b"), 1);
    assert_int_equal(count(&b, ">T &amp; U<"), 1);
    assert_int_equal(count(&b, "class=\"line s0\""), 2); /* and the legend's */
    assert_int_equal(count(&b, "class=\"band s0\""), 0); /* a gap leaves single points on both sides */
    assert_int_equal(count(&b, "class=\"band s1\""), 1);
    oc_strbuf_clear(&b);
    oc_svg_file_lines(&b, &(oc_chart){.title = NULL, .line = line, .n_lines = 0}, NULL);
    check_document(&b);
    assert_int_equal(count(&b, "no data"), 1);
    oc_strbuf_free(&b);
}

static void points(void **state) {
    OC_UNUSED(state);
    const double a[] = {1, 2, 3}, c[] = {NAN, 5}, none[] = {NAN};
    const oc_chart_group group[] = {{"first of them all", a, 3}, {"second", c, 2}, {"third", none, 1}};
    oc_strbuf b = {0};
    oc_svg_file_points(&b, &(oc_chart_points){.title = "p", .group = group, .n_groups = 3, .baseline = 4, .baseline_label = "base"});
    check_document(&b);
    assert_int_equal(count(&b, "<circle"), 4);
    assert_int_equal(count(&b, "class=\"bar s0\""), 2); /* mean and deviation */
    assert_int_equal(count(&b, "class=\"bar s1\""), 1); /* one value has no deviation */
    assert_int_equal(count(&b, "class=\"bar s2\""), 0);
    assert_int_equal(count(&b, "class=\"mark\""), 2);
    /* The bar of {1, 2, 3} spans 1 to 3, where its outer dots lie. */
    const double top = number_after(strstr(b.data, "class=\"bar s0\"") + 20, "V");
    const double three = number_after(strstr(strstr(strstr(b.data, "<circle") + 1, "<circle") + 1, "<circle"), "cy=\"");
    assert_true(fabs(top - three) < 0.2);
    assert_int_equal(count(&b, "class=\"line s0\""), 0);
    oc_strbuf_clear(&b);
    oc_svg_file_points(&b, &(oc_chart_points){.title = "p", .group = group, .n_groups = 3, .baseline = NAN, .connect = true});
    check_document(&b);
    assert_int_equal(count(&b, "class=\"line s0\""), 1);
    oc_strbuf_clear(&b);
    oc_svg_file_points(&b, &(oc_chart_points){.title = "p", .group = group + 2, .n_groups = 1, .baseline = 4});
    check_document(&b);
    assert_int_equal(count(&b, "no data"), 1);
    oc_strbuf_free(&b);
}

static void pairs(void **state) {
    OC_UNUSED(state);
    const oc_chart_pair pair[] = {{"a", 1, 2, 0.5, NAN}, {"b", 3, 4, 0, 1}, {"c", NAN, 4, 0, 1}};
    oc_strbuf b = {0};
    oc_svg_file_pairs(&b, "cost", "seconds", "right", pair, 3);
    check_document(&b);
    assert_int_equal(count(&b, "r=\"4.5\""), 2);
    assert_int_equal(count(&b, "class=\"bar s"), 2);
    oc_strbuf_clear(&b);
    oc_svg_file_pairs(&b, "cost", "seconds", "right", pair + 2, 1);
    check_document(&b);
    assert_int_equal(count(&b, "no data"), 1);
    oc_strbuf_clear(&b);
    oc_svg_file_pairs(&b, NULL, NULL, NULL, NULL, 0);
    check_document(&b);
    oc_strbuf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(points), cmocka_unit_test(pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
