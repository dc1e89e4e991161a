/* The report page: well formed, self-contained, nothing from the data becomes markup, pictures survive the embedding,
 * charts show what they were given. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "data/image.h"
#include "eval/report.h"

static const char hostile[] = "<script>alert(1)</script> & \"quoted\" 'single' ]]> <!-- \x01\x1b[31m \xff\xfe \xc0\xaf \xed\xa0\x80 caf\xc3\xa9";

static char folder[64], page_path[96];

static int make_folder(void **state) {
    OC_UNUSED(state);
    snprintf(folder, sizeof folder, "/tmp/oc_report_XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(page_path, sizeof page_path, "%s/page.html", folder);
    return 0;
}

static int remove_folder(void **state) {
    OC_UNUSED(state);
    return oc_remove_tree(folder, NULL) != OC_OK;
}

static oc_report *open_page(const char *title) {
    oc_report *r;
    oc_error err = {0};
    if (oc_report_open(&r, page_path, title, title, &err) != OC_OK) fail_msg("%s", err.msg);
    return r;
}

/* Closes and reads back; the caller frees. */
static char *finish(oc_report *r) {
    oc_error err = {0};
    char *text;
    size_t size;
    if (oc_report_close(r, &err) != OC_OK) fail_msg("%s", err.msg);
    if (oc_file_read(&text, &size, page_path, 1 << 26, &err) != OC_OK) fail_msg("%s", err.msg);
    assert_int_equal(strlen(text), size);
    return text;
}

/* Tags are balanced and nested, attributes quoted, every & begins an entity. */
static void check_well_formed(const char *text) {
    enum { DEPTH = 64 };
    char open[DEPTH][16];
    int depth = 0;
    const char *style = strstr(text, "<style>"), *style_end = strstr(text, "</style>");
    for (const char *p = text; *p; p++) {
        if (style && p == style + 7) p = style_end;
        if (*p == '&' && strncmp(p, "&lt;", 4) && strncmp(p, "&gt;", 4) && strncmp(p, "&amp;", 5) && strncmp(p, "&quot;", 6) && strncmp(p, "&#39;", 5))
            fail_msg("bare &: %.40s", p);
        if (*p == '>') fail_msg("bare >: %.40s", p);
        if (*p != '<') continue;
        if (strncmp(p, "<!DOCTYPE html>", 15) == 0) {
            p += 14;
            continue;
        }
        char name[16];
        const bool closing = p[1] == '/';
        int n = 0;
        for (const char *q = p + 1 + closing; n < 15 && ((*q >= 'a' && *q <= 'z') || (*q >= '0' && *q <= '9')); q++) name[n++] = *q;
        name[n] = 0;
        assert_true(n > 0);
        bool quoted = false;
        const char *q = p + 1;
        for (; *q && (quoted || *q != '>'); q++) {
            if (*q == '"') quoted = !quoted;
            if (*q == '<') fail_msg("< inside a tag: %.60s", p);
            if (!quoted && *q == '=') assert_int_equal(q[1], '"');
        }
        assert_int_equal(*q, '>');
        if (closing) {
            assert_true(depth > 0);
            if (strcmp(open[--depth], name) != 0) fail_msg("</%s> closes <%s>: %.60s", name, open[depth], p);
        } else if (q[-1] != '/') {
            assert_true(depth < DEPTH);
            memcpy(open[depth++], name, sizeof name);
        }
        p = q;
    }
    assert_int_equal(depth, 0);
}

static int count_of(const char *text, const char *needle) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, needle)); p += strlen(needle)) n++;
    return n;
}

/* No script, and no address but fragments and data: URIs. */
static void check_self_contained(const char *text) {
    static const char *const forbidden[] = {"<script", "http://", "https://", "@import", "url(", "<link", "<iframe", "onload", "\x01", "\x1b", "\xff", "\xc0\xaf", "\xed\xa0\x80"};
    for (size_t i = 0; i < OC_COUNT(forbidden); i++)
        if (strstr(text, forbidden[i])) fail_msg("the page contains %s", forbidden[i]);
    for (const char *p = text; (p = strstr(p, "src=\"")); p++) assert_int_equal(strncmp(p + 5, "data:image/", 11), 0);
    for (const char *p = text; (p = strstr(p, "href=\"")); p++) assert_int_equal(p[6], '#');
}

/* One of everything, every string hostile. */
static void fill(oc_report *r) {
    static const double x[] = {0, 1, 2, 3, 4}, y[] = {3, NAN, 2, INFINITY, 1};
    static uint8_t rgb[20 * 30 * 3];
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * 7);
    static float grid[6] = {0.0f, 1.0f, NAN, 3.0f, 4.0f, 5.0f};
    const char *columns[] = {hostile, "b"}, *cells[] = {"x", hostile, NULL, "1.5"};
    const oc_chart_line line[2] = {{hostile, x, y, 5}, {"b", x, x, 5}};
    const oc_chart_mark mark = {2.0, hostile};
    const oc_chart chart = {.title = hostile, .x_label = hostile, .y_label = hostile, .line = line, .n_lines = 2, .mark = &mark, .n_marks = 1, .smooth = 0.5};
    const oc_report_answer answers[] = {{hostile, hostile, hostile, OC_VERDICT_RIGHT}, {"q", hostile, "a", OC_VERDICT_WRONG}, {"q", NULL, NULL, OC_VERDICT_NONE}};
    const oc_report_picture pictures[] = {
        {.image = {rgb, 20, 30}, .name = hostile, .truth = hostile, .generated = hostile, .note = hostile, .verdict = OC_VERDICT_WRONG, .answer = answers, .n_answers = 3},
        {.truth = "no pixels"}};
    const oc_report_map map[] = {{hostile, grid, 2, 3}, {"one cell", grid, 1, 1}};
    const oc_report_attention attention = {.image = {rgb, 20, 30}, .name = hostile, .caption = hostile, .map = map, .n_maps = 2};
    oc_report_figures(r, &(oc_report_figure){hostile, hostile, hostile}, 1);
    oc_report_heading(r, hostile);
    oc_report_paragraph(r, hostile);
    oc_report_heading(r, "two");
    oc_report_heading(r, "three");
    oc_report_add_table(r, &(oc_report_table){hostile, columns, cells, 2, 2, 2, false});
    oc_report_charts(r, &chart, 1);
    oc_report_gallery(r, pictures, 2);
    oc_report_add_attention(r, &attention, 1);
}

static void page_is_whole_and_safe(void **state) {
    OC_UNUSED(state);
    oc_report *r = open_page(hostile);
    fill(r);
    char *text = finish(r);
    check_well_formed(text);
    check_self_contained(text);
    assert_int_equal(strncmp(text, "<!DOCTYPE html>", 15), 0);
    assert_non_null(strstr(text, "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quoted&quot; &#39;single&#39; ]]&gt; &lt;!--"));
    assert_non_null(strstr(text, "caf\xc3\xa9"));
    assert_non_null(strstr(text, "width=device-width"));
    assert_non_null(strstr(text, "prefers-color-scheme:dark"));
    assert_int_equal(count_of(text, "<h2 id="), 3);
    assert_int_equal(count_of(text, "href=\"#part"), 3);
    assert_int_equal(count_of(text, "<td>"), 4);
    assert_int_equal(count_of(text, "<img "), 1 + 1 + 2);
    assert_int_equal(count_of(text, "\xE2\x9C\x93 right"), 1);
    assert_int_equal(count_of(text, "\xE2\x9C\x97 wrong"), 2);
    assert_int_equal(count_of(text, "class=\"strong\""), 1);
    oc_free(text);
}

static void text_is_escaped(void **state) {
    OC_UNUSED(state);
    static const struct { const char *in, *out; } cases[] = {
        {"a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;"}, {"", ""}, {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xf0\x9f\x98", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, {"a\xff" "b", "a\xEF\xBF\xBD" "b"}, {"a\x07\n\tb\x7f", "a \n\tb "}};
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_strbuf b = {0};
        oc_svg_text(&b, cases[i].in);
        assert_string_equal(b.data ? b.data : "", cases[i].out);
        oc_strbuf_free(&b);
    }
    oc_strbuf b = {0};
    oc_svg_text(&b, NULL);
    assert_int_equal(b.len, 0);
}

static int base64_value(char c) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digit, c);
    return at && c ? (int)(at - digit) : -1;
}

/* The first embedded picture, decoded. */
static void decode_embedded(const char *text, const char *type, oc_image *image) {
    char prefix[48];
    static uint8_t bytes[1 << 20];
    size_t n = 0;
    oc_error err = {0};
    snprintf(prefix, sizeof prefix, "src=\"data:image/%s;base64,", type);
    const char *p = strstr(text, prefix);
    assert_non_null(p);
    p += strlen(prefix);
    const size_t digits = strcspn(p, "\"");
    assert_int_equal(digits % 4, 0);
    assert_true(digits < sizeof bytes);
    for (size_t i = 0; i < digits; i += 4) {
        uint32_t v = 0;
        for (int k = 0; k < 4; k++) v = v << 6 | (p[i + k] == '=' ? 0u : (uint32_t)base64_value(p[i + k]));
        for (int k = 0; k < 3 - (p[i + 3] == '=') - (p[i + 2] == '='); k++) bytes[n++] = (uint8_t)(v >> (16 - 8 * k));
    }
    if (oc_image_decode(image, bytes, n, "embedded", NULL, &err) != OC_OK) fail_msg("%s", err.msg);
}

static void pictures_survive(void **state) {
    OC_UNUSED(state);
    uint8_t rgb[19 * 31 * 3];
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * i);
    oc_report *r = open_page("t");
    oc_report_gallery(r, &(oc_report_picture){.image = {rgb, 19, 31}}, 1);
    char *text = finish(r);
    oc_image image;
    decode_embedded(text, "png", &image);
    assert_int_equal(image.width, 19);
    assert_int_equal(image.height, 31);
    assert_memory_equal(image.rgb, rgb, sizeof rgb);
    oc_image_close(&image);
    oc_free(text);

    uint8_t *large = oc_calloc(1500 * 700, 3);
    r = open_page("t");
    oc_report_gallery(r, &(oc_report_picture){.image = {large, 1500, 700}}, 1);
    oc_free(large);
    text = finish(r);
    decode_embedded(text, "jpeg", &image);
    assert_int_equal(image.width, 512);
    assert_int_equal(image.height, 238);
    oc_image_close(&image);
    oc_free(text);
}

static int brightness(const uint8_t *rgb, int width, int x, int y) {
    const uint8_t *p = rgb + 3 * (y * width + x);
    return p[0] + p[1] + p[2];
}

static void overlay_glows_where_the_map_is_high(void **state) {
    OC_UNUSED(state);
    static uint8_t gray[64 * 64 * 3], out[128 * 128 * 3];
    memset(gray, 120, sizeof gray);
    float grid[16] = {0};
    grid[2 * 4 + 1] = 5.0f; /* row 2, column 1 */
    const oc_report_image image = {gray, 64, 64};
    oc_report_overlay(out, 128, 128, &image, &(oc_report_map){"m", grid, 4, 4});
    int best = 0, at = 0;
    for (int i = 0; i < 128 * 128; i++) {
        int b = brightness(out, 128, i % 128, i / 128);
        if (b > best) best = b, at = i;
    }
    assert_in_range(at % 128, 44, 52);
    assert_in_range(at / 128, 76, 84);
    assert_true(best > brightness(out, 128, 120, 10) + 100);
    /* Flat, infinite and NaN maps draw without harm. */
    float odd[4] = {NAN, INFINITY, -INFINITY, NAN}, flat[4] = {2.0f, 2.0f, 2.0f, 2.0f};
    oc_report_overlay(out, 128, 128, &image, &(oc_report_map){"m", odd, 2, 2});
    oc_report_overlay(out, 128, 128, &image, &(oc_report_map){"m", flat, 2, 2});
    assert_int_equal(brightness(out, 128, 3, 3), brightness(out, 128, 100, 100));
}

static void ticks_are_round(void **state) {
    OC_UNUSED(state);
    double tick[16];
    assert_int_equal(oc_svg_ticks(0.0, 10.0, 6, tick), 6);
    for (int i = 0; i < 6; i++) assert_true(fabs(tick[i] - 2.0 * i) < 1e-9);
    assert_int_equal(oc_svg_ticks(0.13, 0.98, 6, tick), 4); /* 0.2 0.4 0.6 0.8 */
    assert_true(fabs(tick[0] - 0.2) < 1e-9);
    assert_int_equal(oc_svg_ticks(5.0, 5.0, 6, tick), 0);
    assert_int_equal(oc_svg_ticks(0.0, INFINITY, 6, tick), 0);
    for (double scale = 1e-12; scale < 1e12; scale *= 3.7) {
        int n = oc_svg_ticks(-scale, 2.0 * scale, 6, tick);
        assert_in_range(n, 2, 6);
        assert_true(tick[0] >= -scale * 1.0001 && tick[n - 1] <= scale * 2.0001);
    }
}

static char *draw(const oc_chart *c) {
    static oc_strbuf b;
    oc_strbuf_clear(&b);
    oc_svg_chart(&b, c);
    assert_false(b.failed);
    check_well_formed(b.data);
    return b.data;
}

static void charts_draw_any_data(void **state) {
    OC_UNUSED(state);
    enum { N = 100000 };
    double *x = oc_alloc(N * sizeof *x), *y = oc_alloc(N * sizeof *y);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = 5.0 * exp(-i / 2e4) + (i == 77777 ? 40.0 : 0.01 * (i % 7));
    }
    oc_chart_line line = {"loss", x, y, N};
    oc_chart c = {.title = "t", .line = &line, .n_lines = 1};
    const char *svg = draw(&c);
    assert_true(strlen(svg) < 30000); /* reduced to the width */
    assert_non_null(strstr(svg, ">40<"));  /* but the outlier is still on the scale */
    assert_non_null(strstr(svg, ">20k<"));
    c.smooth = 0.9;
    assert_int_equal(count_of(draw(&c), "class=\"line s0"), 3); /* legend, raw, smooth */
    c.log_y = true;
    c.smooth = 0.0;
    assert_non_null(strstr(draw(&c), ">0.1<"));
    line.n = 1;
    assert_int_equal(count_of(draw(&c), "<circle"), 1);
    line.n = 0;
    assert_non_null(strstr(draw(&c), "no data"));
    for (int i = 0; i < 10; i++) y[i] = i % 2 ? NAN : -1.0;
    line.n = 10;
    assert_non_null(strstr(draw(&c), "no data")); /* nothing positive on a logarithmic axis */
    c.log_y = false;
    assert_null(strstr(draw(&c), "nan"));
    for (int i = 0; i < 10; i++) y[i] = i % 2 ? 1e308 : -1e308;
    draw(&c);
    for (int i = 0; i < 10; i++) y[i] = 3.0;
    assert_non_null(strstr(draw(&c), ">3<"));
    c.n_lines = 0;
    draw(&c);
    oc_free(x);
    oc_free(y);
}

static void failures_come_at_the_close(void **state) {
    OC_UNUSED(state);
    char path[128];
    oc_report *r;
    oc_error err = {0};
    snprintf(path, sizeof path, "%s/no/such/folder/page.html", folder);
    assert_int_equal(oc_report_open(&r, path, "t", NULL, &err), OC_OK);
    assert_int_equal(oc_report_close(r, &err), OC_ERR_IO);
    snprintf(path, sizeof path, "%s/bad.html", folder);
    uint8_t pixel[3] = {0};
    assert_int_equal(oc_report_open(&r, path, "t", NULL, &err), OC_OK);
    oc_report_gallery(r, &(oc_report_picture){.image = {pixel, 1, 0}}, 1);
    oc_report_paragraph(r, "after");
    assert_int_equal(oc_report_close(r, &err), OC_ERR_ARG);
    assert_non_null(strstr(err.msg, "bad.html"));
    assert_false(oc_file_exists(path));
    assert_int_equal(oc_report_open(&r, path, NULL, NULL, &err), OC_OK);
    oc_report_discard(r);
    oc_report_discard(NULL);
    assert_false(oc_file_exists(path));
}

static void memory_failures_are_reported(void **state) {
    OC_UNUSED(state);
    int failed = 0;
    for (long n = 0; n < 60; n++) {
        oc_report *r;
        oc_error err = {0};
        oc_alloc_fail_after(n);
        oc_status st = oc_report_open(&r, page_path, "t", "s", &err);
        if (st == OC_OK) {
            fill(r);
            st = oc_report_close(r, &err);
        }
        oc_alloc_fail_after(-1);
        assert_true(st == OC_OK || st == OC_ERR_NOMEM);
        failed += st != OC_OK;
    }
    assert_true(failed > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_whole_and_safe),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(pictures_survive),
        cmocka_unit_test(overlay_glows_where_the_map_is_high),
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(charts_draw_any_data),
        cmocka_unit_test(failures_come_at_the_close),
        cmocka_unit_test(memory_failures_are_reported),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
