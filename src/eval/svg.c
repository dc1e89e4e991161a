#include "eval/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

/* The drawing is in these units; the page scales it to its column. */
enum {
    WIDTH = 480,
    HEIGHT = 270,
    LEFT = 50,
    RIGHT = 12,
    TOP = 14,
    BOTTOM = 40,
    COLORS = 6,
    COLUMNS = 400,
    MAX_TICKS = 16,
    FEW = 12
};

/* --- Text ---------------------------------------------------------------------------------------------------------- */

void oc_svg_text(oc_strbuf *out, const char *text) {
    if (!text) return;
    utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(text), used;
    for (const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text; left > 0; p += used, left -= used) {
        utf8proc_int32_t c;
        used = utf8proc_iterate(p, left, &c);
        if (used <= 0) {
            used = 1;
            oc_strbuf_puts(out, "\xEF\xBF\xBD");
        } else if (c == '<') {
            oc_strbuf_puts(out, "&lt;");
        } else if (c == '>') {
            oc_strbuf_puts(out, "&gt;");
        } else if (c == '&') {
            oc_strbuf_puts(out, "&amp;");
        } else if (c == '"') {
            oc_strbuf_puts(out, "&quot;");
        } else if (c == '\'') {
            oc_strbuf_puts(out, "&#39;");
        } else if ((c < 32 && c != '\t' && c != '\n') || (c >= 127 && c < 160) || c == 0xFFFE || c == 0xFFFF) {
            oc_strbuf_putc(out, ' ');
        } else {
            oc_strbuf_add(out, p, (size_t)used);
        }
    }
}

/* --- Ticks --------------------------------------------------------------------------------------------------------- */

int oc_svg_ticks(double lo, double hi, int max, double tick[16]) {
    OC_ASSERT(max >= 2 && max <= MAX_TICKS);
    if (!(hi > lo) || !isfinite(hi - lo)) return 0;
    double power = pow(10.0, floor(log10((hi - lo) / max)));
    for (; power < INFINITY; power *= 10.0) {
        static const double factor[3] = {1.0, 2.0, 5.0};
        for (int k = 0; k < 3; k++) {
            const double step = factor[k] * power, first = ceil(lo / step - 1e-9);
            const double count = floor(hi / step + 1e-9) - first + 1.0;
            if (!(count <= max)) continue;
            int n = 0;
            for (; n < (int)count; n++) tick[n] = (first + n) * step;
            return n;
        }
    }
    return 0;
}

/* Ticks of a logarithmic axis whose ends are log10 values: 1, 2, 5 in every decade, or whole decades where those are
 * too many. */
static int log_ticks(double lo, double hi, double tick[16]) {
    if (hi - lo > 5.0) return oc_svg_ticks(lo, hi, 6, tick);
    int n = 0;
    for (int decade = (int)floor(lo); decade <= (int)ceil(hi); decade++) {
        static const double factor[3] = {0.0, 0.30102999566, 0.69897000434};
        for (int k = 0; k < 3 && n < MAX_TICKS; k++) {
            const double at = decade + factor[k];
            if ((k == 0 || hi - lo < 2.5) && at >= lo - 1e-9 && at <= hi + 1e-9) tick[n++] = at;
        }
    }
    return n >= 2 ? n : oc_svg_ticks(lo, hi, 6, tick);
}

static void put_number(oc_strbuf *out, double v) {
    static const struct {
        double unit;
        const char *suffix;
    } scale[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
    if (fabs(v) < 1e-12) v = 0.0;
    for (size_t i = 0; i < OC_COUNT(scale) && fabs(v) < 1e15; i++) {
        if (fabs(v) < scale[i].unit) continue;
        oc_strbuf_printf(out, "%.4g%s", v / scale[i].unit, scale[i].suffix);
        return;
    }
    oc_strbuf_printf(out, "%.4g", v);
}

/* --- Scales -------------------------------------------------------------------------------------------------------- */

typedef struct axes {
    double x0, x1, y0, y1; /* what the plot area spans; y as log10 on a logarithmic axis */
    bool log_y;
} axes;

/* y as it is drawn: NaN where there is nothing to draw. */
static double scaled(const axes *a, double y) {
    return !a->log_y ? (isfinite(y) ? y : NAN) : y > 0.0 && isfinite(y) ? log10(y) : NAN;
}

static double px(const axes *a, double x) { return LEFT + (x - a->x0) / (a->x1 - a->x0) * (WIDTH - LEFT - RIGHT); }
static double py(const axes *a, double y) {
    return HEIGHT - BOTTOM - (y - a->y0) / (a->y1 - a->y0) * (HEIGHT - TOP - BOTTOM);
}

/* Widens an empty range, so that a constant line lies in the middle. */
static void widen(double *lo, double *hi, double margin) {
    double by = (*hi - *lo) * margin;
    if (!(*hi - *lo > 1e-12 * fmax(fabs(*lo), fabs(*hi)))) by = fmax(fabs(*hi) * 0.1, 0.5);
    *lo -= by;
    *hi += by;
}

/* False if no line has a point that can be drawn. */
static bool find_axes(axes *a, const oc_chart *c) {
    *a = (axes){.x0 = INFINITY, .x1 = -INFINITY, .y0 = INFINITY, .y1 = -INFINITY, .log_y = c->log_y};
    for (int k = 0; k < c->n_lines; k++) {
        for (size_t i = 0; i < c->line[k].n; i++) {
            const double x = c->line[k].x[i], y = scaled(a, c->line[k].y[i]);
            if (!isfinite(x) || isnan(y)) continue;
            a->x0 = fmin(a->x0, x);
            a->x1 = fmax(a->x1, x);
            a->y0 = fmin(a->y0, y);
            a->y1 = fmax(a->y1, y);
        }
    }
    if (!(a->x0 <= a->x1) || !isfinite(a->x1 - a->x0) || !isfinite(a->y1 - a->y0)) return false;
    widen(&a->x0, &a->x1, 0.0);
    const bool touches_zero = !a->log_y && a->y0 >= 0.0;
    widen(&a->y0, &a->y1, 0.04);
    if (touches_zero && a->y0 < 0.0) a->y0 = 0.0; /* losses and scores do not go below */
    return true;
}

/* --- Drawing ------------------------------------------------------------------------------------------------------- */

static void put_axes(oc_strbuf *out, const axes *a, const oc_chart *c) {
    double tick[MAX_TICKS];
    int n = oc_svg_ticks(a->x0, a->x1, 6, tick);
    for (int i = 0; i < n; i++) {
        oc_strbuf_printf(out,
                         "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">",
                         px(a, tick[i]), TOP, HEIGHT - BOTTOM, px(a, tick[i]), HEIGHT - BOTTOM + 15);
        put_number(out, tick[i]);
        oc_strbuf_puts(out, "</text>\n");
    }
    n = a->log_y ? log_ticks(a->y0, a->y1, tick) : oc_svg_ticks(a->y0, a->y1, 6, tick);
    for (int i = 0; i < n; i++) {
        oc_strbuf_printf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
                         LEFT, py(a, tick[i]), WIDTH - RIGHT, LEFT - 5, py(a, tick[i]) + 4.0);
        put_number(out, a->log_y ? pow(10.0, tick[i]) : tick[i]);
        oc_strbuf_puts(out, "</text>\n");
    }
    oc_strbuf_printf(out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT);
    if (c->x_label) {
        oc_strbuf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + WIDTH - RIGHT) / 2,
                         HEIGHT - 6);
        oc_svg_text(out, c->x_label);
        oc_strbuf_puts(out, "</text>\n");
    }
    if (c->y_label) {
        oc_strbuf_printf(out, "<text transform=\"translate(12 %d) rotate(-90)\" text-anchor=\"middle\">",
                         (TOP + HEIGHT - BOTTOM) / 2);
        oc_svg_text(out, c->y_label);
        oc_strbuf_puts(out, "</text>\n");
    }
}

static void put_marks(oc_strbuf *out, const axes *a, const oc_chart *c) {
    for (int i = 0; i < c->n_marks; i++) {
        const double x = c->mark[i].x;
        if (!(x >= a->x0 && x <= a->x1)) continue;
        const bool right = px(a, x) > WIDTH - 90; /* no room to its right */
        oc_strbuf_printf(out, "<path class=\"mark\" d=\"M%.1f %dV%d\"/><text class=\"mark\" x=\"%.1f\" y=\"%d\"%s>",
                         px(a, x), TOP, HEIGHT - BOTTOM, px(a, x) + (right ? -3.0 : 3.0), TOP + 10,
                         right ? " text-anchor=\"end\"" : "");
        oc_svg_text(out, c->mark[i].label);
        oc_strbuf_puts(out, "</text>\n");
    }
}

/* A path under construction, reduced while it grows: of the points that fall into one column of the plot, the lowest
 * and the highest, in their order. */
typedef struct pen {
    oc_strbuf *out;
    const axes *a;
    bool down;
    int column;
    double x_lo, y_lo, x_hi, y_hi;
    bool lo_first;
} pen;

static void draw_to(pen *p, double x, double y) {
    oc_strbuf_printf(p->out, "%c%.1f %.1f", p->down ? 'L' : 'M', px(p->a, x), py(p->a, y));
    p->down = true;
}

static void flush_column(pen *p) {
    if (p->column < 0) return;
    const bool one = p->x_lo == p->x_hi && p->y_lo == p->y_hi;
    draw_to(p, p->lo_first ? p->x_lo : p->x_hi, p->lo_first ? p->y_lo : p->y_hi);
    if (!one) draw_to(p, p->lo_first ? p->x_hi : p->x_lo, p->lo_first ? p->y_hi : p->y_lo);
    p->column = -1;
}

static void add_point(pen *p, double x, double y) {
    if (!isfinite(x) || isnan(y)) {
        flush_column(p);
        p->down = false;
        return;
    }
    const int column = (int)((x - p->a->x0) / (p->a->x1 - p->a->x0) * COLUMNS);
    if (column != p->column) {
        flush_column(p);
        p->column = column;
        p->x_lo = p->x_hi = x;
        p->y_lo = p->y_hi = y;
        p->lo_first = true;
    } else if (y < p->y_lo) {
        p->x_lo = x;
        p->y_lo = y;
        p->lo_first = false;
    } else if (y > p->y_hi) {
        p->x_hi = x;
        p->y_hi = y;
        p->lo_first = true;
    }
}

/* Exponential moving average, corrected for its start; weight 0 gives the values themselves. */
typedef struct average {
    double smooth, sum, weight;
} average;

static double average_with(average *m, double y) {
    m->sum = m->smooth * m->sum + (1.0 - m->smooth) * y;
    m->weight = m->smooth * m->weight + (1.0 - m->smooth);
    return m->sum / m->weight;
}

static void put_line(oc_strbuf *out, const axes *a, const oc_chart_line *line, int color, double smooth, bool faint) {
    pen p = {.out = out, .a = a, .column = -1};
    average m = {.smooth = smooth};
    oc_strbuf_printf(out, "<path class=\"line s%d%s\" d=\"", color % COLORS, faint ? " raw" : "");
    for (size_t i = 0; i < line->n; i++) {
        const double y = scaled(a, line->y[i]);
        add_point(&p, line->x[i], isnan(y) ? y : average_with(&m, y));
    }
    flush_column(&p);
    oc_strbuf_puts(out, "\"/>\n");
}

/* Few values get a dot each: a single one would otherwise be invisible. */
static void put_dots(oc_strbuf *out, const axes *a, const oc_chart_line *line, int color) {
    for (size_t i = 0; i < line->n && line->n <= FEW; i++) {
        const double y = scaled(a, line->y[i]);
        if (isfinite(line->x[i]) && !isnan(y))
            oc_strbuf_printf(out, "<circle class=\"dot s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", color % COLORS,
                             px(a, line->x[i]), py(a, y));
    }
}

/* Each line's sign, name and last value (smoothed if the line is). */
static void put_legend(oc_strbuf *out, const axes *a, const oc_chart *c, double smooth) {
    oc_strbuf_puts(out, "<div class=\"legend\">");
    for (int k = 0; k < c->n_lines; k++) {
        oc_strbuf_printf(
            out,
            "<span><svg width=\"28\" height=\"10\" aria-hidden=\"true\"><path class=\"line s%d\" d=\"M1 5H27\"/></svg> ",
            k % COLORS);
        oc_svg_text(out, c->line[k].name);
        average m = {.smooth = smooth};
        double last = NAN;
        for (size_t i = 0; i < c->line[k].n; i++) {
            const double y = scaled(a, c->line[k].y[i]);
            if (!isnan(y)) last = average_with(&m, y);
        }
        if (!isnan(last)) {
            oc_strbuf_puts(out, " <b>");
            put_number(out, a->log_y ? pow(10.0, last) : last);
            oc_strbuf_puts(out, "</b>");
        }
        oc_strbuf_puts(out, "</span> ");
    }
    oc_strbuf_puts(out, "</div>\n");
}

void oc_svg_chart(oc_strbuf *out, const oc_chart *c) {
    axes a;
    const bool any = find_axes(&a, c);
    const double smooth = c->smooth > 0.0 && c->smooth < 1.0 ? c->smooth : 0.0;
    oc_strbuf_puts(out, "<figure class=\"chart\"><figcaption>");
    oc_svg_text(out, c->title);
    oc_strbuf_puts(out, "</figcaption>\n");
    put_legend(out, &a, c, smooth);
    oc_strbuf_printf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    oc_svg_text(out, c->title ? c->title : "chart");
    oc_strbuf_puts(out, "\">\n");
    if (any) {
        put_axes(out, &a, c);
        put_marks(out, &a, c);
        for (int k = 0; k < c->n_lines && smooth > 0.0; k++) put_line(out, &a, &c->line[k], k, 0.0, true);
        for (int k = 0; k < c->n_lines; k++) put_line(out, &a, &c->line[k], k, smooth, false);
        for (int k = 0; k < c->n_lines && smooth == 0.0; k++) put_dots(out, &a, &c->line[k], k);
    } else {
        oc_strbuf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">no data</text>\n", WIDTH / 2, HEIGHT / 2);
    }
    oc_strbuf_puts(out, "</svg></figure>\n");
}

/* --- Style --------------------------------------------------------------------------------------------------------- */

static const char *const color_of[2][COLORS] = {{"#0b62c4", "#c2410c", "#15803d", "#8b2fc9", "#8a6100", "#be185d"},
                                                {"#6aa8ff", "#ff9a62", "#5fd28a", "#c79bff", "#f0c04e", "#ff7fb2"}};

void oc_svg_style(oc_strbuf *out, bool dark) {
    static const char *const dash[COLORS] = {"none", "7 3", "2 3", "9 3 2 3", "12 4", "4 2"};
    for (int k = 0; k < COLORS; k++)
        oc_strbuf_printf(out, ".line.s%d{stroke:%s} .dot.s%d{fill:%s}\n", k, color_of[dark][k], k, color_of[dark][k]);
    if (dark) return;
    for (int k = 0; k < COLORS; k++) oc_strbuf_printf(out, ".line.s%d{stroke-dasharray:%s}\n", k, dash[k]);
    oc_strbuf_puts(
        out,
        ".line{fill:none;stroke-width:1.8;stroke-linejoin:round} .line.raw{stroke-width:1;stroke-opacity:.28;stroke-dasharray:none}\n"
        ".chart svg text{font-size:12px;fill:var(--soft)} .chart svg text.mark{font-size:11px}\n"
        ".chart .grid{stroke:var(--rule);stroke-width:.7} .chart .axis{fill:none;stroke:var(--soft)}\n"
        ".chart path.mark{stroke:var(--soft);stroke-dasharray:2 3}\n"
        ".chart>svg{width:100%;height:auto;display:block} .legend{font-size:.85rem} .legend span{margin-right:1rem;white-space:nowrap}\n");
}

/* --- Files of their own -------------------------------------------------------------------------------------------- */

enum { FILE_TITLE = 24, FILE_ROW = 18, FILE_LETTER = 7 }; /* heights; the width of a letter, roughly */

/* Bands and bars in the colours of lines. */
static void file_colors(oc_strbuf *out, bool dark) {
    for (int k = 0; k < COLORS; k++)
        oc_strbuf_printf(out, ".band.s%d{fill:%s} .bar.s%d{stroke:%s}\n", k, color_of[dark][k], k, color_of[dark][k]);
}

/* Pixels, so that a long title fits: a bold letter is about 0.6 of its size wide. */
static double title_size(const char *title) {
    const double usual = 14, least = 8, width = WIDTH - LEFT, letters = (double)strlen(title ? title : "");
    return fmax(least, fmin(usual, width / (0.6 * fmax(letters, 1))));
}

/* Opens the document and its chart area, moved down below the title. */
static void open_file(oc_strbuf *out, const char *title, int below) {
    const int height = FILE_TITLE + HEIGHT + below;
    oc_strbuf_printf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
        "role=\"img\" aria-label=\"",
        WIDTH, height, WIDTH, height);
    oc_svg_text(out, title ? title : "chart");
    oc_strbuf_puts(
        out,
        "\">\n<style>\n.chart{--soft:#4a4f57;--ink:#16181c;--rule:#d5d8de}\n"
        "text{font:12px system-ui,sans-serif;fill:var(--soft)} text.title{font-size:14px;font-weight:600;fill:var(--ink)}\n"
        ".band{stroke:none;fill-opacity:.16} .bar{fill:none;stroke-width:2} .dot.one{fill-opacity:.45}\n");
    oc_svg_style(out, false);
    file_colors(out, false);
    oc_strbuf_puts(out, "@media (prefers-color-scheme:dark){\n.chart{--soft:#b4bac4;--ink:#eceff4;--rule:#3a3f47}\n");
    oc_svg_style(out, true);
    file_colors(out, true);
    oc_strbuf_printf(out, "}\n</style>\n<text class=\"title\" x=\"%d\" y=\"17\" style=\"font-size:%.4gpx\">", LEFT,
                     title_size(title));
    oc_svg_text(out, title);
    oc_strbuf_printf(out, "</text>\n<g transform=\"translate(0 %d)\">\n", FILE_TITLE);
}

static void close_file(oc_strbuf *out) { oc_strbuf_puts(out, "</g>\n</svg>\n"); }

static void put_nothing(oc_strbuf *out) {
    oc_strbuf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">no data</text>\n", WIDTH / 2, HEIGHT / 2);
}

/* Names with their signs in rows below the picture. Returns the rows' height; out NULL: only that. */
static int put_names(oc_strbuf *out, const char *const *name, int n, bool lines) {
    int x = LEFT, y = HEIGHT + 10, rows = n > 0;
    for (int k = 0; k < n; k++) {
        const int width = 36 + FILE_LETTER * (int)strlen(name[k]);
        if (x > LEFT && x + width > WIDTH) {
            x = LEFT;
            y += FILE_ROW;
            rows++;
        }
        if (out && lines)
            oc_strbuf_printf(out, "<path class=\"line s%d\" d=\"M%d %dh22\"/>", k % COLORS, x, y - 4);
        else if (out)
            oc_strbuf_printf(out, "<circle class=\"dot s%d\" cx=\"%d\" cy=\"%d\" r=\"4\"/>", k % COLORS, x + 11, y - 4);
        if (out) {
            oc_strbuf_printf(out, "<text x=\"%d\" y=\"%d\">", x + 27, y);
            oc_svg_text(out, name[k]);
            oc_strbuf_puts(out, "</text>\n");
        }
        x += width;
    }
    return rows * FILE_ROW;
}

/* The area between low and high where both are there: forth along the one, back along the other. */
static void put_band(oc_strbuf *out, const axes *a, const oc_chart_band *b, int color) {
    for (size_t first = 0; first < b->n;) {
        size_t end = first;
        while (end < b->n && isfinite(b->x[end]) && !isnan(scaled(a, b->low[end])) && !isnan(scaled(a, b->high[end])))
            end++;
        if (end > first + 1) {
            oc_strbuf_printf(out, "<path class=\"band s%d\" d=\"", color % COLORS);
            for (size_t i = first; i < end; i++)
                oc_strbuf_printf(out, "%c%.1f %.1f", i == first ? 'M' : 'L', px(a, b->x[i]),
                                 py(a, scaled(a, b->high[i])));
            for (size_t i = end; i-- > first;)
                oc_strbuf_printf(out, "L%.1f %.1f", px(a, b->x[i]), py(a, scaled(a, b->low[i])));
            oc_strbuf_puts(out, "Z\"/>\n");
        }
        first = end + 1;
    }
}

void oc_svg_file_lines(oc_strbuf *out, const oc_chart *c, const oc_chart_band *band) {
    axes a;
    const char **name = oc_calloc((size_t)c->n_lines, sizeof *name); /* without memory there is no legend */
    const int n = name ? c->n_lines : 0;
    for (int k = 0; k < n; k++) name[k] = c->line[k].name;
    open_file(out, c->title, put_names(NULL, name, n, true));
    if (find_axes(&a, c)) {
        put_axes(out, &a, c);
        put_marks(out, &a, c);
        for (int k = 0; k < c->n_lines && band; k++) put_band(out, &a, &band[k], k);
        for (int k = 0; k < c->n_lines; k++) put_line(out, &a, &c->line[k], k, 0.0, false);
    } else
        put_nothing(out);
    put_names(out, name, n, true);
    close_file(out);
    oc_free(name);
}

/* Mean and deviation (n - 1) of the values that are numbers; both NaN where there are too few. */
static void mean_and_deviation(const oc_chart_group *g, double *mean, double *deviation) {
    double sum = 0.0, squares = 0.0;
    int n = 0;
    for (int i = 0; i < g->n; i++)
        if (isfinite(g->value[i])) sum += g->value[i], n++;
    *mean = n ? sum / n : NAN;
    for (int i = 0; i < g->n; i++)
        if (isfinite(g->value[i])) squares += (g->value[i] - *mean) * (g->value[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (n - 1)) : NAN;
}

/* The vertical span of all that will be drawn; false if there is nothing. */
static bool find_span(axes *a, const oc_chart_points *c) {
    *a = (axes){.x0 = 0.0, .x1 = c->n_groups, .y0 = INFINITY, .y1 = -INFINITY};
    for (int k = 0; k < c->n_groups; k++) {
        double mean, sd;
        mean_and_deviation(&c->group[k], &mean, &sd);
        if (isnan(mean)) continue;
        a->y0 = fmin(a->y0, mean - (isnan(sd) ? 0.0 : sd));
        a->y1 = fmax(a->y1, mean + (isnan(sd) ? 0.0 : sd));
        for (int i = 0; i < c->group[k].n; i++) {
            if (!isfinite(c->group[k].value[i])) continue;
            a->y0 = fmin(a->y0, c->group[k].value[i]);
            a->y1 = fmax(a->y1, c->group[k].value[i]);
        }
    }
    if (!(a->y0 <= a->y1)) return false;
    if (isfinite(c->baseline)) a->y0 = fmin(a->y0, c->baseline), a->y1 = fmax(a->y1, c->baseline);
    widen(&a->y0, &a->y1, 0.06);
    return isfinite(a->y1 - a->y0);
}

/* A name in up to three rows, broken at blanks where a row would be wider than its group. */
static void put_group_name(oc_strbuf *out, const char *name, double x, double width) {
    const size_t letters = (size_t)OC_MAX(4.0, width / FILE_LETTER);
    for (int row = 0; row < 3 && *name; row++) {
        size_t n = strlen(name);
        if (n > letters && row < 2) {
            size_t at = letters;
            while (at > 0 && name[at] != ' ') at--;
            if (at == 0) at = strcspn(name, " ");
            n = at;
        }
        char part[96];
        snprintf(part, sizeof part, "%.*s", (int)n, name);
        oc_strbuf_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", x, HEIGHT - BOTTOM + 15 + 13 * row);
        oc_svg_text(out, part);
        oc_strbuf_puts(out, "</text>\n");
        name += n;
        while (*name == ' ') name++;
    }
}

static void put_group(oc_strbuf *out, const axes *a, const oc_chart_group *g, int k) {
    double mean, sd;
    const double x = px(a, k + 0.5), width = px(a, 1.0) - px(a, 0.0);
    mean_and_deviation(g, &mean, &sd);
    for (int i = 0; i < g->n; i++)
        if (isfinite(g->value[i]))
            oc_strbuf_printf(out, "<circle class=\"dot one s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>\n", k % COLORS,
                             x + OC_MIN(12.0, width / 4) * (g->n > 1 ? 2.0 * i / (g->n - 1) - 1.0 : 0.0),
                             py(a, g->value[i]));
    if (!isnan(mean))
        oc_strbuf_printf(out, "<path class=\"bar s%d\" d=\"M%.1f %.1fh%.1f\"/>\n", k % COLORS,
                         x - OC_MIN(18.0, width / 3), py(a, mean), 2 * OC_MIN(18.0, width / 3));
    if (!isnan(sd))
        oc_strbuf_printf(out, "<path class=\"bar s%d\" d=\"M%.1f %.1fV%.1f\"/>\n", k % COLORS, x, py(a, mean - sd),
                         py(a, mean + sd));
    put_group_name(out, g->name, x, width);
}

static void put_means(oc_strbuf *out, const axes *a, const oc_chart_points *c) {
    bool down = false;
    oc_strbuf_puts(out, "<path class=\"line s0\" d=\"");
    for (int k = 0; k < c->n_groups; k++) {
        double mean, sd;
        mean_and_deviation(&c->group[k], &mean, &sd);
        if (!isnan(mean)) oc_strbuf_printf(out, "%c%.1f %.1f", down ? 'L' : 'M', px(a, k + 0.5), py(a, mean));
        down = !isnan(mean);
    }
    oc_strbuf_puts(out, "\"/>\n");
}

/* Axes without ticks below. */
static void put_upright_axis(oc_strbuf *out, const axes *a, const char *y_label) {
    const axes only_y = {.x0 = 0.0, .x1 = 0.0, .y0 = a->y0, .y1 = a->y1};
    put_axes(out, &only_y, &(oc_chart){.y_label = y_label});
}

void oc_svg_file_points(oc_strbuf *out, const oc_chart_points *c) {
    axes a;
    open_file(out, c->title, 14);
    if (find_span(&a, c)) {
        put_upright_axis(out, &a, c->y_label);
        if (isfinite(c->baseline)) {
            oc_strbuf_printf(
                out,
                "<path class=\"mark\" d=\"M%d %.1fH%d\"/><text class=\"mark\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
                LEFT, py(&a, c->baseline), WIDTH - RIGHT, WIDTH - RIGHT - 2, py(&a, c->baseline) - 4.0);
            oc_svg_text(out, c->baseline_label);
            oc_strbuf_puts(out, "</text>\n");
        }
        if (c->connect) put_means(out, &a, c);
        for (int k = 0; k < c->n_groups; k++) put_group(out, &a, &c->group[k], k);
    } else
        put_nothing(out);
    close_file(out);
}

/* A cross of the deviations around (x, y). */
static void put_pair(oc_strbuf *out, const axes *a, const oc_chart_pair *p, int k) {
    if (p->x_sd > 0.0)
        oc_strbuf_printf(out, "<path class=\"bar s%d\" d=\"M%.1f %.1fH%.1f\"/>\n", k % COLORS, px(a, p->x - p->x_sd),
                         py(a, p->y), px(a, p->x + p->x_sd));
    if (p->y_sd > 0.0)
        oc_strbuf_printf(out, "<path class=\"bar s%d\" d=\"M%.1f %.1fV%.1f\"/>\n", k % COLORS, px(a, p->x),
                         py(a, p->y - p->y_sd), py(a, p->y + p->y_sd));
    oc_strbuf_printf(out, "<circle class=\"dot s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>\n", k % COLORS, px(a, p->x),
                     py(a, p->y));
}

void oc_svg_file_pairs(oc_strbuf *out, const char *title, const char *x_label, const char *y_label,
                       const oc_chart_pair *pair, int n) {
    axes a = {.x0 = INFINITY, .x1 = -INFINITY, .y0 = INFINITY, .y1 = -INFINITY};
    const char **name = oc_calloc((size_t)n, sizeof *name);
    for (int k = 0; k < n; k++) {
        const oc_chart_pair *p = &pair[k];
        if (name) name[k] = p->name;
        if (!isfinite(p->x) || !isfinite(p->y)) continue;
        const double dx = p->x_sd > 0.0 ? p->x_sd : 0.0, dy = p->y_sd > 0.0 ? p->y_sd : 0.0;
        a.x0 = fmin(a.x0, p->x - dx), a.x1 = fmax(a.x1, p->x + dx);
        a.y0 = fmin(a.y0, p->y - dy), a.y1 = fmax(a.y1, p->y + dy);
    }
    open_file(out, title, put_names(NULL, name, name ? n : 0, false));
    if (a.x0 <= a.x1 && isfinite(a.x1 - a.x0) && isfinite(a.y1 - a.y0)) {
        widen(&a.x0, &a.x1, 0.08);
        widen(&a.y0, &a.y1, 0.08);
        put_axes(out, &a, &(oc_chart){.x_label = x_label, .y_label = y_label});
        for (int k = 0; k < n; k++)
            if (isfinite(pair[k].x) && isfinite(pair[k].y)) put_pair(out, &a, &pair[k], k);
    } else
        put_nothing(out);
    put_names(out, name, name ? n : 0, false);
    close_file(out);
    oc_free(name);
}
