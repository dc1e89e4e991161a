/* The page of a benchmark. 1. scores  2. published numbers  3. pictures  4. texts  5. failures  6. the page */
#include <stdlib.h>
#include <string.h>

#include "data/image.h"
#include "eval/benchmark_scores.h"
#include "eval/report.h"

enum { SHOWN = 12, LISTED = 8, MAX_MODELS = 64, MAX_COLUMNS = 8, CELL = 96 };

static bool captions(const oc_benchmark_result *r) { return r->e->task == OC_EVAL_CAPTION; }

/* ---- 1. Scores ------------------------------------------------------------------------------------------------------- */

static int score_index(const oc_benchmark_result *r, const char *name) {
    for (int k = 0; k < r->samples.n_scores; k++)
        if (!strcmp(r->samples.score[k].name, name)) return k;
    return -1;
}

static void format_interval(char out[CELL], const oc_benchmark_result *r, int k) {
    if (r->interval)
        snprintf(out, CELL, "%.1f to %.1f", 100 * r->interval[k].low, 100 * r->interval[k].high);
    else
        snprintf(out, CELL, "–");
}

static void add_figures(oc_report *page, const oc_benchmark_result *r) {
    char value[4][CELL], note[4][CELL + 16];
    oc_report_figure f[4];
    int n = 0;
    for (; n < 4 && r->benchmark->main_scores[n]; n++) {
        const int k = score_index(r, r->benchmark->main_scores[n]);
        if (k < 0) break;
        char interval[CELL];
        format_interval(interval, r, k);
        snprintf(value[n], CELL, "%.1f", 100 * oc_samples_score(&r->samples, k));
        snprintf(note[n], sizeof note[n], "95%%: %s", interval);
        f[n] = (oc_report_figure){value[n], r->samples.score[k].name, r->interval ? note[n] : NULL};
    }
    oc_report_figures(page, f, n);
}

static oc_status add_score_table(oc_report *page, const oc_benchmark_result *r, oc_error *err) {
    static const char *const column[] = {"score", "times 100", "95% interval", "standard error"};
    const int n = r->samples.n_scores, columns = (int)OC_COUNT(column);
    char(*text)[CELL] = oc_calloc((size_t)(n * columns), sizeof *text);
    const char **cell = oc_calloc((size_t)(n * columns), sizeof *cell);
    oc_status st = text && cell ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the page");
    int rows = 0;
    for (int k = 0; st == OC_OK && k < n; k++) {
        if (!oc_benchmark_shows(r, k)) continue;
        char(*row)[CELL] = text + rows * columns;
        snprintf(row[0], CELL, "%s", r->samples.score[k].name);
        snprintf(row[1], CELL, "%.2f", 100 * oc_samples_score(&r->samples, k));
        format_interval(row[2], r, k);
        if (r->interval) snprintf(row[3], CELL, "%.2f", 100 * r->interval[k].error);
        for (int c = 0; c < columns; c++) cell[rows * columns + c] = row[c];
        rows++;
    }
    if (st == OC_OK) {
        char caption[200];
        snprintf(caption, sizeof caption, "Intervals: percentiles of %d resamples of the pictures, seed %llu",
                 r->resamples, (unsigned long long)r->seed);
        oc_report_add_table(page, &(oc_report_table){.caption = r->interval ? caption : NULL,
                                                     .column = column,
                                                     .cell = cell,
                                                     .n_columns = columns,
                                                     .n_rows = rows});
    }
    oc_free(text);
    oc_free(cell);
    return st;
}

/* ---- 2. Published numbers --------------------------------------------------------------------------------------------
 * One row a model and source, one column a score that any of them has or that is a main one. */

typedef struct table {
    const oc_published *row[MAX_MODELS]; /* the first of each model and source */
    const char *score[MAX_COLUMNS];
    int n_rows, n_scores;
    char text[MAX_MODELS + 1][MAX_COLUMNS][CELL];
    const char *cell[(MAX_MODELS + 1) * (MAX_COLUMNS + 3)];
} table;

static int column_of(table *t, const char *score) {
    for (int i = 0; i < t->n_scores; i++)
        if (!strcmp(t->score[i], score)) return i;
    if (t->n_scores == MAX_COLUMNS) return -1;
    t->score[t->n_scores] = score;
    return t->n_scores++;
}

static int row_of(table *t, const oc_published *p) {
    for (int i = 0; i < t->n_rows; i++)
        if (!strcmp(t->row[i]->model, p->model) && !strcmp(t->row[i]->source, p->source)) return i;
    if (t->n_rows == MAX_MODELS) return -1;
    t->row[t->n_rows] = p;
    return t->n_rows++;
}

static void take_rows(table *t, const oc_benchmark *b, const oc_published *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(p[i].benchmark, b->name)) continue;
        const int row = row_of(t, &p[i]), column = p[i].score ? column_of(t, p[i].score) : -1;
        if (row >= 0 && column >= 0) snprintf(t->text[row + 1][column], CELL, "%.1f", p[i].value);
    }
}

static oc_status add_published(oc_report *page, const oc_benchmark_result *r, const oc_published *more, size_t n_more,
                               oc_error *err) {
    const char *column[MAX_COLUMNS + 3] = {"model", "parameters"};
    size_t n;
    const oc_published *builtin = oc_published_builtin(&n);
    table *t = oc_calloc(1, sizeof *t);
    if (!t) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the page");
    for (int i = 0; i < 4 && r->benchmark->main_scores[i]; i++) column_of(t, r->benchmark->main_scores[i]);
    take_rows(t, r->benchmark, builtin, n);
    take_rows(t, r->benchmark, more, n_more);
    const int columns = t->n_scores + 3;
    for (int i = 0; i < t->n_scores; i++) {
        const int k = score_index(r, t->score[i]);
        column[2 + i] = t->score[i];
        if (k >= 0) {
            char interval[CELL / 2] = "";
            if (r->interval)
                snprintf(interval, sizeof interval, " (%.1f to %.1f)", 100 * r->interval[k].low,
                         100 * r->interval[k].high);
            snprintf(t->text[0][i], CELL, "%.1f%s", 100 * oc_samples_score(&r->samples, k), interval);
        }
    }
    column[columns - 1] = "source";
    for (int row = 0; row <= t->n_rows; row++) {
        const char **cell = t->cell + row * columns;
        const oc_published *p = row ? t->row[row - 1] : NULL;
        cell[0] = p ? p->model : r->model;
        cell[1] = p ? p->size : NULL;
        for (int i = 0; i < t->n_scores; i++) cell[2 + i] = t->text[row][i];
        cell[columns - 1] = p ? p->source : "this run";
    }
    oc_report_add_table(page,
                        &(oc_report_table){.caption = "An empty cell: no number was read in the source that is named. "
                                                      "--published FILE.json adds rows",
                                           .column = column,
                                           .cell = t->cell,
                                           .n_columns = columns,
                                           .n_rows = t->n_rows + 1,
                                           .strong_row = 1,
                                           .text_last = true});
    oc_free(t);
    return OC_OK;
}

/* ---- 3. Pictures ----------------------------------------------------------------------------------------------------- */

typedef struct ranked {
    double score, second;
    size_t item;
} ranked;

static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    if (x->second != y->second) return x->second < y->second ? 1 : -1;
    return x->item < y->item ? -1 : x->item > y->item;
}

static ranked rank(const oc_benchmark_result *r, size_t k) {
    const oc_evaluated *it = &r->e->item[k];
    if (captions(r)) return (ranked){it->caption.v[OC_SCORE_CIDER], it->caption.v[OC_SCORE_ROUGE_L], k};
    return (ranked){it->vqa.accuracy, it->vqa.f1, k};
}

static oc_status load_picture(const oc_dataset *d, const char *name, oc_image *img, oc_error *err) {
    const uint8_t *bytes;
    size_t size;
    void *owned;
    OC_TRY(oc_dataset_image_bytes(d, name, &bytes, &size, &owned, err));
    oc_status st = oc_image_decode(img, bytes, size, name, NULL, err);
    oc_free(owned);
    return st;
}

/* The question without the picture's placeholder. */
static const char *question_of(const oc_evaluated *it) {
    const char *s = it->prompt ? it->prompt : "";
    const size_t n = strlen(OC_IMAGE_PLACEHOLDER);
    return strncmp(s, OC_IMAGE_PLACEHOLDER, n) ? s : s + n + strspn(s + n, "\n ");
}

static void join_references(oc_strbuf *b, const oc_evaluated *it) {
    for (size_t i = 0; i < it->n_references; i++) {
        bool before = false;
        for (size_t j = 0; j < i && !before; j++) before = !strcmp(it->reference[j], it->reference[i]);
        if (!before) oc_strbuf_printf(b, "%s%s", b->len ? " · " : "", it->reference[i]);
    }
}

/* order[n]: the items of the gallery. */
static oc_status add_gallery(oc_report *page, const oc_benchmark_result *r, const oc_dataset *d, const ranked *order,
                             size_t n, oc_error *err) {
    oc_report_picture p[SHOWN] = {0};
    oc_report_answer answer[SHOWN];
    oc_image img[SHOWN] = {0};
    oc_strbuf truth[SHOWN] = {0};
    char note[SHOWN][200];
    oc_status st = OC_OK;
    for (size_t i = 0; i < n && st == OC_OK; i++) {
        const oc_evaluated *it = &r->e->item[order[i].item];
        st = load_picture(d, it->shown, &img[i], err);
        join_references(&truth[i], it);
        p[i] =
            (oc_report_picture){.image = {img[i].rgb, img[i].width, img[i].height}, .name = it->image, .note = note[i]};
        if (captions(r)) {
            p[i].truth = truth[i].data;
            p[i].generated = *it->answer ? it->answer : "(nothing)";
            snprintf(note[i], sizeof note[i], "%.80s: CIDEr %.1f, ROUGE-L %.1f", it->id,
                     100 * it->caption.v[OC_SCORE_CIDER], 100 * it->caption.v[OC_SCORE_ROUGE_L]);
            continue;
        }
        answer[i] = (oc_report_answer){question_of(it), truth[i].data, it->answer,
                                       it->vqa.accuracy >= 0.5 ? OC_VERDICT_RIGHT : OC_VERDICT_WRONG};
        p[i].answer = &answer[i];
        p[i].n_answers = 1;
        snprintf(note[i], sizeof note[i], "%.80s: accuracy %.0f, F1 %.0f", it->id, 100 * it->vqa.accuracy,
                 100 * it->vqa.f1);
    }
    if (st == OC_OK) oc_report_gallery(page, p, (int)n);
    for (size_t i = 0; i < n; i++) {
        oc_image_close(&img[i]);
        oc_strbuf_free(&truth[i]);
    }
    return st;
}

/* Captions: the highest and the lowest. Questions are mostly right or wrong: of those the ones shown are spread evenly. */
static oc_status add_pictures(oc_report *page, const oc_benchmark_result *r, const oc_dataset *d, oc_error *err) {
    const size_t n = r->e->n, shown = OC_MIN((size_t)SHOWN, (n + 1) / 2);
    ranked *all, *chosen, best[SHOWN], worst[SHOWN];
    OC_TRY(oc_alloc_for(&all, n * sizeof *all, "the best and worst pictures", err));
    for (size_t k = 0; k < n; k++) all[k] = rank(r, k);
    qsort(all, n, sizeof *all, by_score);
    size_t top = 0, bottom = 0;
    while (top < n && all[top].score == all[0].score) top++;
    while (bottom < n && all[n - 1 - bottom].score == all[n - 1].score) bottom++;
    for (size_t i = 0; i < shown; i++) {
        best[i] = all[captions(r) || top < shown ? i : i * top / shown];
        worst[i] = all[captions(r) || bottom < shown ? n - 1 - i : n - 1 - i * bottom / shown];
    }
    chosen = best;
    oc_report_heading(page, captions(r) ? "Best captions" : "Right answers");
    oc_status st = add_gallery(page, r, d, chosen, OC_MIN(shown, n), err);
    oc_report_heading(page, captions(r) ? "Worst captions" : "Wrong answers");
    if (st == OC_OK) st = add_gallery(page, r, d, worst, OC_MIN(shown, n / 2), err);
    oc_free(all);
    return st;
}

/* ---- 4. Texts -------------------------------------------------------------------------------------------------------- */

static int last_length(const oc_text_stats *s) {
    int last = 0;
    for (int i = 0; i < OC_TEXT_LENGTHS; i++)
        if (s->length[i]) last = i;
    return last;
}

static void add_lengths(oc_report *page, const oc_benchmark_result *r) {
    double x[OC_TEXT_LENGTHS], y[2][OC_TEXT_LENGTHS];
    const oc_text_stats *s[2] = {&r->answers, &r->references};
    const int n = OC_MAX(OC_MAX(last_length(s[0]), last_length(s[1])) + 1, 2);
    for (int i = 0; i < n; i++) {
        x[i] = i;
        for (int k = 0; k < 2; k++) y[k][i] = s[k]->texts ? 100 * (double)s[k]->length[i] / (double)s[k]->texts : 0;
    }
    const oc_chart_line line[] = {{"model", x, y[0], (size_t)n}, {"references", x, y[1], (size_t)n}};
    oc_report_charts(
        page, &(oc_chart){.title = "Lengths", .x_label = "words", .y_label = "% of texts", .line = line, .n_lines = 2},
        1);
}

static void add_text_table(oc_report *page, const oc_benchmark_result *r) {
    static const char *const column[] = {"", "model", "references"}, *const name[] = {"texts", "words a text",
                                                                                      "longest", "distinct words",
                                                                                      "distinct texts"};
    enum { ROWS = 5, COLUMNS = 3 };
    const oc_text_stats *s[2] = {&r->answers, &r->references};
    char text[ROWS][2][CELL];
    const char *cell[ROWS * COLUMNS];
    for (int k = 0; k < 2; k++) {
        const double texts = s[k]->texts ? (double)s[k]->texts : 1;
        snprintf(text[0][k], CELL, "%zu", s[k]->texts);
        snprintf(text[1][k], CELL, "%.2f", (double)s[k]->words / texts);
        snprintf(text[2][k], CELL, "%zu", s[k]->longest);
        snprintf(text[3][k], CELL, "%zu", s[k]->vocabulary);
        snprintf(text[4][k], CELL, "%zu (%.1f%%)", s[k]->distinct, 100 * (double)s[k]->distinct / texts);
    }
    for (int i = 0; i < ROWS; i++) {
        cell[i * COLUMNS] = name[i];
        for (int k = 0; k < 2; k++) cell[i * COLUMNS + 1 + k] = text[i][k];
    }
    oc_report_add_table(page, &(oc_report_table){.column = column, .cell = cell, .n_columns = COLUMNS, .n_rows = ROWS});
}

static void add_frequent(oc_report *page, const oc_benchmark_result *r) {
    static const char *const column[] = {"the model's most frequent texts", "times"};
    char count[OC_TEXT_FREQUENT][24];
    const char *cell[OC_TEXT_FREQUENT * 2];
    for (int i = 0; i < r->answers.n_frequent; i++) {
        snprintf(count[i], sizeof count[i], "%zu", r->answers.frequent[i].count);
        cell[2 * i] = *r->answers.frequent[i].text ? r->answers.frequent[i].text : "(nothing)";
        cell[2 * i + 1] = count[i];
    }
    if (r->answers.n_frequent)
        oc_report_add_table(
            page, &(oc_report_table){.column = column, .cell = cell, .n_columns = 2, .n_rows = r->answers.n_frequent});
}

/* ---- 5. Failures ----------------------------------------------------------------------------------------------------- */

static void add_failures(oc_report *page, const oc_benchmark_result *r) {
    static const struct {
        int bit;
        const char *what;
    } kind[] = {{OC_FAILED_EMPTY, "empty"}, {OC_FAILED_REPEATED, "repeats itself"}, {OC_FAILED_TRUNCATED, "cut off"}};
    static const char *const column[] = {"item", "failure", "text"};
    const char *cell[3 * 3 * LISTED];
    char text[200];
    int rows = 0;
    snprintf(text, sizeof text, "%zu empty, %zu that repeat themselves, %zu cut off at the limit of tokens; of %zu.",
             r->empty, r->repeated, r->truncated, r->e->n);
    oc_report_paragraph(page, text);
    for (size_t i = 0; i < OC_COUNT(kind); i++) {
        int listed = 0;
        for (size_t k = 0; k < r->e->n && listed < LISTED; k++) {
            if (!(r->failed[k] & kind[i].bit)) continue;
            const char **to = cell + 3 * rows++;
            to[0] = r->e->item[k].id;
            to[1] = kind[i].what;
            to[2] = r->e->item[k].answer;
            listed++;
        }
    }
    if (rows)
        oc_report_add_table(
            page,
            &(oc_report_table){.column = column, .cell = cell, .n_columns = 3, .n_rows = rows, .text_last = true});
}

/* ---- 6. The page ----------------------------------------------------------------------------------------------------- */

static void add_setup(oc_report *page, const json_t *setup) {
    char *text = json_dumps(setup, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    oc_report_heading(page, "Setup");
    oc_report_paragraph(page, text);
    free(text);
}

static oc_status fill(oc_report *page, const oc_benchmark_result *r, const oc_dataset *d, const json_t *setup,
                      const oc_published *more, size_t n_more, oc_error *err) {
    if (r->whole_set)
        oc_report_paragraph(page,
                            "Karpathy's split file was not there: these are scores over all of captions_val2014.json. "
                            "Published numbers are over another set of pictures.");
    add_figures(page, r);
    oc_report_heading(page, "Scores");
    OC_TRY(add_score_table(page, r, err));
    oc_report_heading(page, "Published numbers");
    OC_TRY(add_published(page, r, more, n_more, err));
    OC_TRY(add_pictures(page, r, d, err));
    oc_report_heading(page, "Lengths and vocabulary");
    add_lengths(page, r);
    add_text_table(page, r);
    add_frequent(page, r);
    oc_report_heading(page, "Failures");
    add_failures(page, r);
    add_setup(page, setup);
    return OC_OK;
}

oc_status oc_benchmark_report(const oc_benchmark_result *r, const oc_dataset *d, const json_t *setup,
                              const oc_published *more, size_t n_more, const char *path, oc_error *err) {
    char summary[600];
    oc_report *page;
    snprintf(summary, sizeof summary, "%.300s: %zu pictures, %zu %s of split %s.", r->model, r->e->n_groups, r->e->n,
             captions(r) ? "captions" : "questions", r->split);
    OC_TRY(oc_report_open(&page, path, r->benchmark->title, summary, err));
    oc_status st = fill(page, r, d, setup, more, n_more, err);
    if (st == OC_OK) return oc_report_close(page, err);
    oc_report_discard(page);
    return st;
}
