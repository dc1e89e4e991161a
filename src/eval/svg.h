/* Line charts as SVG for an HTML page: axes, round ticks, legend, smoothing. Colours come from the page's style sheet
 * through the classes s0 .. s5 (oc_svg_style), so that charts follow light and dark; lines differ in dashes as well. */
#ifndef OC_EVAL_SVG_H
#define OC_EVAL_SVG_H

#include "base/base.h"

typedef struct oc_chart_line {
    const char *name;
    const double *x, *y; /* [n]; NaN or infinite values leave a gap */
    size_t n;
} oc_chart_line;

typedef struct oc_chart_mark {
    double x;
    const char *label; /* e.g. where a stage begins */
} oc_chart_mark;

typedef struct oc_chart {
    const char *title, *x_label, *y_label; /* labels may be NULL */
    const oc_chart_line *line;
    int n_lines;
    const oc_chart_mark *mark; /* vertical lines */
    int n_marks;
    double smooth; /* weight of the past in [0, 1), as in TensorBoard; above 0 the raw line shows faintly behind */
    bool log_y;    /* values that are not positive leave gaps */
} oc_chart;

/* Appends <figure class="chart">: caption, legend, picture. Long lines are reduced to what the width can show. */
void oc_svg_chart(oc_strbuf *out, const oc_chart *chart);

/* Appends the rules that charts need; `dark` for those inside a dark colour scheme. */
void oc_svg_style(oc_strbuf *out, bool dark);

/* Appends text with <, >, &, " and ' escaped, invalid UTF-8 replaced by U+FFFD, and control characters (other than tab
 * and newline) by a space: safe as HTML content and inside quoted attributes. NULL adds nothing. */
void oc_svg_text(oc_strbuf *out, const char *text);

/* Round tick values covering [lo, hi]: 1, 2 or 5 times a power of ten apart, at most max (<= 16) of them. Returns how
 * many were put into tick. */
int oc_svg_ticks(double lo, double hi, int max, double tick[16]);

#endif
