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

void oc_svg_style(oc_strbuf *out, bool dark) {
    static const char *const color[2][COLORS] = {{"#0b62c4", "#c2410c", "#15803d", "#8b2fc9", "#8a6100", "#be185d"},
                                                 {"#6aa8ff", "#ff9a62", "#5fd28a", "#c79bff", "#f0c04e", "#ff7fb2"}};
    static const char *const dash[COLORS] = {"none", "7 3", "2 3", "9 3 2 3", "12 4", "4 2"};
    for (int k = 0; k < COLORS; k++)
        oc_strbuf_printf(out, ".line.s%d{stroke:%s} .dot.s%d{fill:%s}\n", k, color[dark][k], k, color[dark][k]);
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
