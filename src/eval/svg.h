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

/* ---- Charts as SVG files of their own: title, legend and colours inside, no background, light or dark as the reader's
 * system is (prefers-color-scheme). */

typedef struct oc_chart_band {
    const double *x, *low, *high; /* [n]; NaN leaves a gap */
    size_t n;
} oc_chart_band;

/* Appends a whole SVG document with the chart's lines; band[n_lines] (or NULL): what is shaded around each. */
void oc_svg_file_lines(oc_strbuf *out, const oc_chart *chart, const oc_chart_band *band);

typedef struct oc_chart_group {
    const char *name;
    const double *value; /* [n]; NaN: none */
    int n;
} oc_chart_group;

typedef struct oc_chart_points {
    const char *title, *y_label;
    const oc_chart_group *group; /* side by side */
    int n_groups;
    double baseline; /* a dashed line across; NaN: none */
    const char *baseline_label;
    bool connect; /* a line through the means */
} oc_chart_points;

/* Appends a whole SVG document: the values of each group as dots, their mean as a stroke, one standard deviation up and
 * down as a bar. */
void oc_svg_file_points(oc_strbuf *out, const oc_chart_points *chart);

typedef struct oc_chart_pair {
    const char *name;
    double x, y, x_sd, y_sd; /* deviations: NaN or 0 for none; x or y NaN: left out */
} oc_chart_pair;

/* Appends a whole SVG document: one dot a pair with a cross of its deviations. */
void oc_svg_file_pairs(oc_strbuf *out, const char *title, const char *x_label, const char *y_label,
                       const oc_chart_pair *pair, int n);

/* Appends text with <, >, &, " and ' escaped, invalid UTF-8 replaced by U+FFFD, and control characters (other than tab
 * and newline) by a space: safe as HTML content and inside quoted attributes. NULL adds nothing. */
void oc_svg_text(oc_strbuf *out, const char *text);

/* Round tick values covering [lo, hi]: 1, 2 or 5 times a power of ten apart, at most max (<= 16) of them. Returns how
 * many were put into tick. */
int oc_svg_ticks(double lo, double hi, int max, double tick[16]);

#endif
