/* A report: one HTML file that needs nothing else (no scripts, no network), follows the reader's light or dark scheme
 * and reads well on a phone. Parts appear in the order of the calls:
 *
 *     oc_report *r;
 *     OC_TRY(oc_report_open(&r, "demo/report.html", "Ocellus demo", "Trained in 20 minutes on 2 cores.", err));
 *     oc_report_heading(r, "Training");
 *     oc_report_charts(r, charts, 3);
 *     oc_report_gallery(r, pictures, 24);
 *     OC_TRY(oc_report_close(r, err));   // writes the file
 *
 * The calls between copy what they need. They do not fail one by one: the first problem is kept and oc_report_close
 * returns it. All text is escaped. Strings may be NULL where a part is optional. */
#ifndef OC_EVAL_REPORT_H
#define OC_EVAL_REPORT_H

#include "eval/svg.h"

typedef struct oc_report oc_report;

oc_status oc_report_open(oc_report **out, const char *path, const char *title, const char *summary, oc_error *err);

/* Writes the file atomically and frees r, also on failure. */
oc_status oc_report_close(oc_report *r, oc_error *err);

/* Frees r and writes nothing. NULL allowed. */
void oc_report_discard(oc_report *r);

void oc_report_heading(oc_report *r, const char *text); /* also an entry of the contents list */
void oc_report_paragraph(oc_report *r, const char *text);

/* Big figures in a row: the few numbers that matter. */
typedef struct oc_report_figure {
    const char *value, *label, *note; /* "1.31", "CIDEr", "majority answer: 0.4" */
} oc_report_figure;
void oc_report_figures(oc_report *r, const oc_report_figure *f, int n);

typedef struct oc_report_table {
    const char *caption;
    const char *const *column; /* [n_columns] */
    const char *const *cell;   /* [n_rows * n_columns], row by row; the first column names the row */
    int n_columns, n_rows;
    int strong_row; /* counted from 1: printed bold; 0: none */
    bool text_last; /* the last column holds text, not numbers */
} oc_report_table;
void oc_report_add_table(oc_report *r, const oc_report_table *t);

/* Side by side where the page is wide enough. */
void oc_report_charts(oc_report *r, const oc_chart *chart, int n);

/* A picture in memory: rgb [height, width, 3]. Large ones are reduced to 512 pixels. */
typedef struct oc_report_image {
    const uint8_t *rgb;
    int width, height;
} oc_report_image;

typedef enum { OC_VERDICT_NONE, OC_VERDICT_RIGHT, OC_VERDICT_WRONG } oc_verdict;

typedef struct oc_report_answer {
    const char *question, *truth, *answer;
    oc_verdict verdict; /* shown by sign, word and colour */
} oc_report_answer;

typedef struct oc_report_picture {
    oc_report_image image;
    const char *name;      /* alternative text; NULL: "picture" */
    const char *truth;     /* a reference caption */
    const char *generated; /* the model's */
    const char *note;      /* small print: scores, seeds */
    oc_verdict verdict;    /* of the caption */
    const oc_report_answer *answer;
    int n_answers;
} oc_report_picture;
void oc_report_gallery(oc_report *r, const oc_report_picture *p, int n);

/* Where the model looked: for each label (a generated word, a question) a map over the picture. */
typedef struct oc_report_map {
    const char *label;
    const float *grid; /* [rows, columns], any scale: drawn from its least to its greatest value; NaN counts as least */
    int rows, columns;
} oc_report_map;

typedef struct oc_report_attention {
    oc_report_image image;
    const char *name, *caption;
    const oc_report_map *map;
    int n_maps;
} oc_report_attention;
void oc_report_add_attention(oc_report *r, const oc_report_attention *a, int n);

/* rgb [height, width, 3] = image with the map laid over it: dark and gray where it is low, glowing where it is high. */
void oc_report_overlay(uint8_t *rgb, int width, int height, const oc_report_image *image, const oc_report_map *map);

#endif
