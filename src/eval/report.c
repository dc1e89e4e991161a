#include "eval/report.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "data/image.h"
#include "data/resize.h"

struct oc_report {
    char *path;
    oc_strbuf head, contents, body; /* the page's three parts, joined by close */
    int headings;
    oc_error failure; /* the first one; code OC_OK while all is well */
};

enum { MAX_SIDE = 512, MAP_SIDE = 192, SMALL_SIDE = 128, JPEG_QUALITY = 88, PAGE_LIMIT = 256 << 20 };

/* --- Page ---------------------------------------------------------------------------------------------------------- */

static const char page_style[] =
    ":root{color-scheme:light dark;--page:#fdfdfc;--card:#f3f3f1;--ink:#1c1d1f;--soft:#595d63;--rule:#d6d7d5;--good:#14692f;--bad:#b3261e}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#15171a;--card:#1f2226;--ink:#e8e9ea;--soft:#a6abb2;--rule:#3a3e44;--good:#6fd38f;--bad:#ff8a80}}\n"
    "*{box-sizing:border-box} body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\n"
    "main{max-width:1080px;margin:0 auto;padding:1rem} h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0} h2{font-size:1.25rem;margin:2.2rem 0 .6rem}\n"
    "p{max-width:70ch;white-space:pre-line;overflow-wrap:anywhere} nav{font-size:.95rem;margin:1rem 0} nav a{margin-right:1rem;color:inherit} figure{margin:0}\n"
    "main>.card,main>.chart,.row{margin-bottom:1rem} .row{display:grid;gap:1rem;align-items:start;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr))}\n"
    ".row.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr))}\n"
    ".row.numbers{grid-template-columns:repeat(auto-fill,minmax(min(100%,150px),1fr))}\n"
    ".card{background:var(--card);border-radius:8px;padding:.8rem;overflow-wrap:anywhere;min-width:0} .card>*{margin:.3rem 0}\n"
    ".chart{background:var(--card);border-radius:8px;padding:.8rem;min-width:0} figcaption{font-weight:600}\n"
    ".numbers b{display:block;font-size:1.7rem;line-height:1.2} .note{color:var(--soft);font-size:.85rem}\n"
    ".scroll{overflow-x:auto} table{border-collapse:collapse;font-variant-numeric:tabular-nums} caption{text-align:left;color:var(--soft);padding-bottom:.3rem}\n"
    "th,td{padding:.3rem .7rem;border-bottom:1px solid var(--rule);text-align:right} th:first-child,td:first-child{text-align:left}\n"
    ".texts th:last-child,.texts td:last-child{text-align:left} tr.strong td{font-weight:700} img{display:block;max-width:100%;border-radius:4px} img.small{image-rendering:pixelated}\n"
    "img.whole{width:100%;max-width:288px;height:auto} .maps{display:flex;flex-wrap:wrap;gap:.6rem} .maps figure{width:132px} .maps img{width:132px;height:auto}\n"
    ".maps figcaption{font-weight:400;font-size:.85rem}\n"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .6rem;font-size:.95rem} dt{color:var(--soft)} dd{margin:0;min-width:0}\n"
    "ul{list-style:none;padding:0;font-size:.95rem} li{padding:.2rem 0 .2rem .6rem;border-left:3px solid var(--rule);margin:.25rem 0}\n"
    ".right{color:var(--good);font-weight:600} .wrong{color:var(--bad);font-weight:600} li.is-right{border-left-color:var(--good)}\n"
    "li.is-wrong{border-left:3px dashed var(--bad)}\n";

static void keep_failure(oc_report *r, const oc_error *err) {
    if (r->failure.code == OC_OK) r->failure = *err;
}

static void put(oc_report *r, const char *html) { oc_strbuf_puts(&r->body, html); }
static void put_text(oc_report *r, const char *text) { oc_svg_text(&r->body, text); }

/* before, text, after; nothing at all for NULL. */
static void put_part(oc_report *r, const char *before, const char *text, const char *after) {
    if (!text) return;
    put(r, before);
    put_text(r, text);
    put(r, after);
}

oc_status oc_report_open(oc_report **out, const char *path, const char *title, const char *summary, oc_error *err) {
    oc_report *r = oc_calloc(1, sizeof *r);
    *out = NULL;
    if (r) r->path = oc_strdup(path);
    if (!r || !r->path) {
        oc_free(r);
        return oc_fail(err, OC_ERR_NOMEM, "out of memory for the report %s", path);
    }
    r->head.max = r->contents.max = 1 << 20;
    r->body.max = PAGE_LIMIT;
    oc_strbuf_puts(
        &r->head,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"/>\n<title>");
    oc_svg_text(&r->head, title);
    oc_strbuf_puts(&r->head, "</title>\n<style>\n");
    oc_strbuf_puts(&r->head, page_style);
    oc_svg_style(&r->head, false);
    oc_strbuf_puts(&r->head, "@media(prefers-color-scheme:dark){\n");
    oc_svg_style(&r->head, true);
    oc_strbuf_puts(&r->head, "}\n</style>\n</head>\n<body>\n<main>\n<h1>");
    oc_svg_text(&r->head, title);
    oc_strbuf_puts(&r->head, "</h1>\n");
    if (summary) {
        oc_strbuf_puts(&r->head, "<p>");
        oc_svg_text(&r->head, summary);
        oc_strbuf_puts(&r->head, "</p>\n");
    }
    *out = r;
    return OC_OK;
}

void oc_report_discard(oc_report *r) {
    if (!r) return;
    oc_strbuf_free(&r->head);
    oc_strbuf_free(&r->contents);
    oc_strbuf_free(&r->body);
    oc_free(r->path);
    oc_free(r);
}

oc_status oc_report_close(oc_report *r, oc_error *err) {
    if (r->headings > 2) {
        oc_strbuf_puts(&r->head, "<nav>");
        if (r->contents.data) oc_strbuf_add(&r->head, r->contents.data, r->contents.len);
        oc_strbuf_puts(&r->head, "</nav>\n");
    }
    put(r, "</main>\n</body>\n</html>\n");
    r->head.max = PAGE_LIMIT + (4 << 20);
    if (r->body.data) oc_strbuf_add(&r->head, r->body.data, r->body.len);
    oc_status st;
    if (r->failure.code != OC_OK) {
        st = oc_fail(err, r->failure.code, "%s: %s", r->path, r->failure.msg);
    } else if (r->body.failed || r->head.failed || r->contents.failed) {
        st =
            oc_fail(err, OC_ERR_NOMEM, "%s: the report needs more than %d MiB or memory is out; give it fewer pictures",
                    r->path, PAGE_LIMIT >> 20);
    } else {
        st = oc_file_write_atomic(r->path, r->head.data, r->head.len, err);
    }
    oc_report_discard(r);
    return st;
}

void oc_report_heading(oc_report *r, const char *text) {
    r->headings++;
    oc_strbuf_printf(&r->contents, "<a href=\"#part%d\">", r->headings);
    oc_svg_text(&r->contents, text);
    oc_strbuf_puts(&r->contents, "</a> ");
    oc_strbuf_printf(&r->body, "<h2 id=\"part%d\">", r->headings);
    put_text(r, text);
    put(r, "</h2>\n");
}

void oc_report_paragraph(oc_report *r, const char *text) { put_part(r, "<p>", text, "</p>\n"); }

void oc_report_figures(oc_report *r, const oc_report_figure *f, int n) {
    put(r, "<div class=\"row numbers\">\n");
    for (int i = 0; i < n; i++) {
        put_part(r, "<div class=\"card\"><b>", f[i].value ? f[i].value : "", "</b>");
        put_text(r, f[i].label);
        put_part(r, "<div class=\"note\">", f[i].note, "</div>");
        put(r, "</div>\n");
    }
    put(r, "</div>\n");
}

void oc_report_add_table(oc_report *r, const oc_report_table *t) {
    put(r, t->text_last ? "<div class=\"scroll\"><table class=\"texts\">\n" : "<div class=\"scroll\"><table>\n");
    put_part(r, "<caption>", t->caption, "</caption>\n");
    put(r, "<thead><tr>");
    for (int c = 0; c < t->n_columns; c++) put_part(r, "<th scope=\"col\">", t->column[c] ? t->column[c] : "", "</th>");
    put(r, "</tr></thead>\n<tbody>\n");
    for (int i = 0; i < t->n_rows; i++) {
        put(r, i + 1 == t->strong_row ? "<tr class=\"strong\">" : "<tr>");
        for (int c = 0; c < t->n_columns; c++) {
            const char *cell = t->cell[(size_t)i * (size_t)t->n_columns + (size_t)c];
            put_part(r, "<td>", cell ? cell : "", "</td>");
        }
        put(r, "</tr>\n");
    }
    put(r, "</tbody></table></div>\n");
}

void oc_report_charts(oc_report *r, const oc_chart *chart, int n) {
    put(r, "<div class=\"row wide\">\n");
    for (int i = 0; i < n; i++) oc_svg_chart(&r->body, &chart[i]);
    put(r, "</div>\n");
}

/* --- Pictures ------------------------------------------------------------------------------------------------------ */

static void put_base64(oc_strbuf *out, const uint8_t *p, size_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        const uint32_t v =
            (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        char four[4] = {digit[v >> 18], digit[v >> 12 & 63], i + 1 < n ? digit[v >> 6 & 63] : '=',
                        i + 2 < n ? digit[v & 63] : '='};
        oc_strbuf_add(out, four, 4);
    }
}

/* <img> with the picture inside: PNG for small ones, JPEG for others. */
static oc_status put_encoded(oc_report *r, const oc_report_image *image, const char *class, const char *alt,
                             oc_error *err) {
    const bool small = image->width <= SMALL_SIDE && image->height <= SMALL_SIDE;
    oc_strbuf file = {0};
    oc_status st = small ? oc_image_encode_png(&file, image->rgb, image->width, image->height, err)
                         : oc_image_encode_jpeg(&file, image->rgb, image->width, image->height, JPEG_QUALITY, err);
    if (st == OC_OK) {
        oc_strbuf_printf(&r->body, "<img class=\"%s%s\" width=\"%d\" height=\"%d\" alt=\"", class,
                         small ? " small" : "", image->width, image->height);
        put_text(r, alt ? alt : "picture");
        oc_strbuf_printf(&r->body, "\" src=\"data:image/%s;base64,", small ? "png" : "jpeg");
        put_base64(&r->body, (const uint8_t *)file.data, file.len);
        put(r, "\"/>\n");
    }
    oc_strbuf_free(&file);
    return st;
}

/* The size to draw at: at most MAX_SIDE, aspect kept. */
static void fit(const oc_report_image *image, int *width, int *height) {
    const int longer = OC_MAX(image->width, image->height);
    *width = image->width;
    *height = image->height;
    if (longer <= MAX_SIDE) return;
    *width = OC_MAX(1, (int)((int64_t)image->width * MAX_SIDE / longer));
    *height = OC_MAX(1, (int)((int64_t)image->height * MAX_SIDE / longer));
}

static oc_status put_reduced(oc_report *r, const oc_report_image *image, const char *class, const char *alt,
                             oc_error *err) {
    int width, height;
    fit(image, &width, &height);
    if (width == image->width && height == image->height) return put_encoded(r, image, class, alt, err);
    uint8_t *rgb = NULL;
    OC_TRY(oc_alloc_for(&rgb, 3 * (size_t)width * (size_t)height, "a reduced picture", err));
    oc_status st = oc_resize_bicubic(rgb, width, height, image->rgb, image->width, image->height, NULL, err);
    if (st == OC_OK) st = put_encoded(r, &(oc_report_image){rgb, width, height}, class, alt, err);
    oc_free(rgb);
    return st;
}

static void put_image(oc_report *r, const oc_report_image *image, const char *class, const char *alt) {
    oc_error err = {0};
    if (!image->rgb) {
        put(r, "<p class=\"note\">no picture</p>\n");
    } else if (image->width < 1 || image->height < 1) {
        oc_fail(&err, OC_ERR_ARG, "a picture of %d x %d pixels", image->width, image->height);
        keep_failure(r, &err);
    } else if (put_reduced(r, image, class, alt, &err) != OC_OK) {
        keep_failure(r, &err);
    }
}

static void put_verdict(oc_report *r, oc_verdict v) {
    if (v == OC_VERDICT_RIGHT) put(r, " <span class=\"right\">\xE2\x9C\x93 right</span>");
    if (v == OC_VERDICT_WRONG) put(r, " <span class=\"wrong\">\xE2\x9C\x97 wrong</span>");
}

static void put_answer(oc_report *r, const oc_report_answer *a) {
    put(r, a->verdict == OC_VERDICT_RIGHT   ? "<li class=\"is-right\">"
           : a->verdict == OC_VERDICT_WRONG ? "<li class=\"is-wrong\">"
                                            : "<li>");
    put_text(r, a->question);
    put_part(r, "<br/><b>", a->answer, "</b>");
    put_verdict(r, a->verdict);
    if (a->verdict != OC_VERDICT_RIGHT) put_part(r, " <span class=\"note\">truth: ", a->truth, "</span>");
    put(r, "</li>\n");
}

static void put_picture(oc_report *r, const oc_report_picture *p) {
    put(r, "<div class=\"card\">\n");
    put_image(r, &p->image, "whole", p->name);
    if (p->truth || p->generated) {
        put(r, "<dl>");
        put_part(r, "<dt>truth</dt><dd>", p->truth, "</dd>");
        if (p->generated) {
            put_part(r, "<dt>model</dt><dd>", p->generated, "");
            put_verdict(r, p->verdict);
            put(r, "</dd>");
        }
        put(r, "</dl>\n");
    }
    if (p->n_answers > 0) {
        put(r, "<ul>\n");
        for (int i = 0; i < p->n_answers; i++) put_answer(r, &p->answer[i]);
        put(r, "</ul>\n");
    }
    put_part(r, "<div class=\"note\">", p->note, "</div>\n");
    put(r, "</div>\n");
}

void oc_report_gallery(oc_report *r, const oc_report_picture *p, int n) {
    put(r, "<div class=\"row\">\n");
    for (int i = 0; i < n; i++) put_picture(r, &p[i]);
    put(r, "</div>\n");
}

/* --- Attention ----------------------------------------------------------------------------------------------------- */

/* Black, purple, red, orange, pale yellow: rises evenly in lightness, so it reads without colour vision too. */
static void glow(float t, float rgb[3]) {
    static const float stop[5][3] = {{6, 4, 24}, {92, 22, 110}, {200, 50, 82}, {248, 142, 44}, {252, 250, 178}};
    const float at = t * 4.0f;
    const int k = OC_MIN((int)at, 3);
    for (int c = 0; c < 3; c++) rgb[c] = stop[k][c] + (stop[k + 1][c] - stop[k][c]) * (at - (float)k);
}

static void grid_range(const oc_report_map *m, float *lo, float *hi) {
    *lo = INFINITY;
    *hi = -INFINITY;
    for (size_t i = 0; i < (size_t)m->rows * (size_t)m->columns; i++) {
        if (!isfinite(m->grid[i])) continue;
        *lo = fminf(*lo, m->grid[i]);
        *hi = fmaxf(*hi, m->grid[i]);
    }
}

/* 0 .. 1 by the map's range; a flat map is 0 everywhere. */
static float grid_value(const oc_report_map *m, int row, int column, float lo, float hi) {
    const float v = m->grid[(size_t)row * (size_t)m->columns + (size_t)column];
    if (!(hi > lo) || isnan(v) || v <= lo) return 0.0f;
    return v >= hi ? 1.0f : v / (hi - lo) - lo / (hi - lo);
}

/* Bilinear between the centres of the grid's cells; at: position as a fraction of the side. */
static float grid_sample(const oc_report_map *m, float x, float y, float lo, float hi) {
    const float cx = fminf(fmaxf(x * (float)m->columns - 0.5f, 0.0f), (float)m->columns - 1.0f);
    const float cy = fminf(fmaxf(y * (float)m->rows - 0.5f, 0.0f), (float)m->rows - 1.0f);
    const int i = (int)cx, j = (int)cy, i1 = OC_MIN(i + 1, m->columns - 1), j1 = OC_MIN(j + 1, m->rows - 1);
    const float fx = cx - (float)i, fy = cy - (float)j;
    const float top = grid_value(m, j, i, lo, hi) * (1.0f - fx) + grid_value(m, j, i1, lo, hi) * fx;
    const float bottom = grid_value(m, j1, i, lo, hi) * (1.0f - fx) + grid_value(m, j1, i1, lo, hi) * fx;
    return top * (1.0f - fy) + bottom * fy;
}

void oc_report_overlay(uint8_t *rgb, int width, int height, const oc_report_image *image, const oc_report_map *map) {
    OC_ASSERT(width > 0 && height > 0 && image->width > 0 && image->height > 0 && map->rows > 0 && map->columns > 0);
    float lo, hi;
    grid_range(map, &lo, &hi);
    for (int j = 0; j < height; j++) {
        const size_t row = (size_t)((int64_t)j * image->height / height);
        for (int i = 0; i < width; i++, rgb += 3) {
            const size_t column = (size_t)((int64_t)i * image->width / width);
            const uint8_t *p = image->rgb + 3 * (row * (size_t)image->width + column);
            const float t =
                grid_sample(map, ((float)i + 0.5f) / (float)width, ((float)j + 0.5f) / (float)height, lo, hi);
            const float gray = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2], cover = 0.25f + 0.4f * t;
            float color[3];
            glow(t, color);
            for (int c = 0; c < 3; c++) {
                const float under =
                    gray + ((float)p[c] - gray) * (0.35f + 0.65f * t); /* colour fades where nobody looks */
                rgb[c] = (uint8_t)(under * (1.0f - cover) + color[c] * cover + 0.5f);
            }
        }
    }
}

/* Maps are drawn at MAP_SIDE or more, since a picture of few pixels would show the grid's steps. */
static void put_map(oc_report *r, const oc_report_image *image, const oc_report_map *map) {
    int width, height;
    uint8_t *rgb = NULL;
    oc_error err = {0};
    fit(image, &width, &height);
    const int shorter = OC_MIN(width, height), times = shorter < MAP_SIDE ? (MAP_SIDE + shorter - 1) / shorter : 1;
    if (OC_MAX(width, height) * times <= 4 * MAX_SIDE) width *= times, height *= times;
    if (oc_alloc_for(&rgb, 3 * (size_t)width * (size_t)height, "an attention map", &err) != OC_OK) {
        keep_failure(r, &err);
        return;
    }
    oc_report_overlay(rgb, width, height, image, map);
    put(r, "<figure>");
    put_image(r, &(oc_report_image){rgb, width, height}, "map", map->label);
    put_part(r, "<figcaption>", map->label, "</figcaption>");
    put(r, "</figure>\n");
    oc_free(rgb);
}

void oc_report_add_attention(oc_report *r, const oc_report_attention *a, int n) {
    for (int i = 0; i < n; i++) {
        const oc_report_image *image = &a[i].image;
        put(r, "<div class=\"card\">\n");
        put_part(r, "<div>", a[i].caption, "</div>\n");
        put(r, "<div class=\"maps\">\n<figure>");
        put_image(r, image, "map", a[i].name);
        put(r, "<figcaption>picture</figcaption></figure>\n");
        for (int k = 0; k < a[i].n_maps && image->rgb && image->width > 0 && image->height > 0; k++)
            if (a[i].map[k].grid && a[i].map[k].rows > 0 && a[i].map[k].columns > 0) put_map(r, image, &a[i].map[k]);
        put(r, "</div></div>\n");
    }
}
