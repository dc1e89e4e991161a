/* 1. what pictures add to the sums  2. scores of sums  3. resampling */
#include "eval/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* ---- 1. What pictures add to the sums ------------------------------------------------------------------------------ */

/* Columns of the captions: the counts of BLEU, then the number of captions and the means' numerators. */
enum { BLEU_COLUMNS = 2 + 2 * OC_NGRAM_MAX, CAPTION_COUNT = BLEU_COLUMNS, CAPTION_COLUMNS = BLEU_COLUMNS + 1 + 3 };
/* Of a group of questions: their number, four means, and what BLEU-1 needs. */
enum { GROUP_MEANS = 4, GROUP_COLUMNS = 1 + GROUP_MEANS + BLEU_COLUMNS, MAX_TYPES = 16, GROUPS = 3 };

static oc_status no_memory(oc_error *err) { return oc_fail(err, OC_ERR_NOMEM, "out of memory for resampling"); }

static void add_bleu(double *to, const oc_bleu *b) {
    to[0] += b->test_len;
    to[1] += b->ref_len;
    for (int k = 0; k < OC_NGRAM_MAX; k++) to[2 + k] += b->guess[k], to[2 + OC_NGRAM_MAX + k] += b->correct[k];
}

static void add_caption(double *to, const oc_caption_scores *s) {
    add_bleu(to, &s->bleu);
    to[CAPTION_COUNT]++;
    for (int k = OC_SCORE_ROUGE_L; k < OC_SCORE_COUNT; k++) to[CAPTION_COUNT + 1 + k - OC_SCORE_ROUGE_L] += s->v[k];
}

static void add_answer(double *to, const oc_vqa_scores *s) {
    const double mean[GROUP_MEANS] = {s->accuracy, s->exact, s->exact_pathvqa, s->f1};
    to[0]++;
    for (int k = 0; k < GROUP_MEANS; k++) to[1 + k] += mean[k];
    add_bleu(to + 1 + GROUP_MEANS, &s->bleu);
}

static int type_index(const oc_evaluation *e, const char *type) {
    for (size_t i = 0; i < e->vqa.n_types && i < MAX_TYPES; i++)
        if (!strcmp(e->vqa.type[i].type, type)) return (int)i;
    return -1;
}

static void name_score(oc_sampled_score *s, const char *group, const char *name, int column, int count, int bleu) {
    snprintf(s->name, sizeof s->name, "%s%s%s", group ? group : "", group ? "." : "", name);
    s->column = column;
    s->count = count;
    s->bleu = bleu;
}

static void name_captions(oc_samples *s) {
    for (int k = 0; k < OC_SCORE_COUNT; k++) {
        const int bleu = k < OC_SCORE_ROUGE_L ? k + 1 : 0;
        name_score(&s->score[k], NULL, oc_score_name((oc_score)k), bleu ? 0 : CAPTION_COUNT + 1 + k - OC_SCORE_ROUGE_L,
                   CAPTION_COUNT, bleu);
    }
}

static void name_answers(oc_samples *s, const oc_evaluation *e) {
    static const char *const group[GROUPS] = {"overall", "yesno", "open"}, *const mean[GROUP_MEANS] = {
                                                                               "accuracy", "exact", "exact_pathvqa",
                                                                               "f1"};
    oc_sampled_score *to = s->score;
    for (int g = 0; g < s->columns / GROUP_COLUMNS; g++) {
        char type[80];
        const int first = g * GROUP_COLUMNS;
        snprintf(type, sizeof type, g < GROUPS ? "%s" : "types.%s",
                 g < GROUPS ? group[g] : e->vqa.type[g - GROUPS].type);
        for (int k = 0; k < GROUP_MEANS; k++) name_score(to++, type, mean[k], first + 1 + k, first, 0);
        name_score(to++, type, "Bleu_1", first + 1 + GROUP_MEANS, first, 1);
    }
}

/* unit[k]: the picture of item k, numbered in order of appearance. Items of one picture need not stand together. */
static oc_status number_pictures(size_t *unit, size_t *n, const oc_evaluation *e, oc_error *err) {
    size_t groups = 0;
    for (size_t k = 0; k < e->n; k++) groups = OC_MAX(groups, e->item[k].group + 1);
    size_t *number = oc_calloc(groups + 1, sizeof *number);
    if (!number) return no_memory(err);
    *n = 0;
    for (size_t k = 0; k < e->n; k++) {
        size_t *at = &number[e->item[k].group];
        if (!*at) *at = ++*n;
        unit[k] = *at - 1;
    }
    oc_free(number);
    return OC_OK;
}

oc_status oc_samples_open(oc_samples *s, const oc_evaluation *e, oc_error *err) {
    const bool captions = e->task == OC_EVAL_CAPTION;
    const int groups = GROUPS + (int)OC_MIN(e->vqa.n_types, (size_t)MAX_TYPES);
    *s = (oc_samples){.columns = captions ? CAPTION_COLUMNS : groups * GROUP_COLUMNS,
                      .n_scores = captions ? OC_SCORE_COUNT : groups * (GROUP_MEANS + 1)};
    size_t *unit = oc_calloc(e->n + 1, sizeof *unit);
    s->score = oc_calloc((size_t)s->n_scores, sizeof *s->score);
    oc_status st = unit && s->score ? number_pictures(unit, &s->n, e, err) : no_memory(err);
    if (st == OC_OK && !(s->sum = oc_calloc(s->n + 1, (size_t)s->columns * sizeof *s->sum))) st = no_memory(err);
    for (size_t k = 0; st == OC_OK && k < e->n; k++) {
        double *to = s->sum + unit[k] * (size_t)s->columns;
        const oc_vqa_scores *v = &e->item[k].vqa;
        if (captions) {
            add_caption(to, &e->item[k].caption);
            continue;
        }
        const int type = type_index(e, v->type);
        add_answer(to, v);
        add_answer(to + (v->yesno ? 1 : 2) * GROUP_COLUMNS, v);
        if (type >= 0) add_answer(to + (GROUPS + type) * GROUP_COLUMNS, v);
    }
    if (st == OC_OK && captions)
        name_captions(s);
    else if (st == OC_OK)
        name_answers(s, e);
    oc_free(unit);
    if (st != OC_OK) oc_samples_close(s);
    return st;
}

void oc_samples_close(oc_samples *s) {
    oc_free(s->sum);
    oc_free(s->score);
    *s = (oc_samples){0};
}

/* ---- 2. Scores of sums --------------------------------------------------------------------------------------------- */

static double score_of(const oc_sampled_score *s, const double *total) {
    if (total[s->count] == 0) return 0;
    if (!s->bleu) return total[s->column] / total[s->count];
    const double *t = total + s->column;
    double bleu[OC_NGRAM_MAX];
    oc_bleu b = {.test_len = t[0], .ref_len = t[1]};
    for (int k = 0; k < OC_NGRAM_MAX; k++) b.guess[k] = t[2 + k], b.correct[k] = t[2 + OC_NGRAM_MAX + k];
    oc_bleu_corpus(&b, bleu);
    return bleu[s->bleu - 1];
}

static void sum_all(double *total, const oc_samples *s) {
    memset(total, 0, (size_t)s->columns * sizeof *total);
    for (size_t i = 0; i < s->n; i++)
        for (int c = 0; c < s->columns; c++) total[c] += s->sum[i * (size_t)s->columns + (size_t)c];
}

double oc_samples_score(const oc_samples *s, int score) {
    double total[(GROUPS + MAX_TYPES) * GROUP_COLUMNS];
    sum_all(total, s);
    return score_of(&s->score[score], total);
}

/* ---- 3. Resampling ------------------------------------------------------------------------------------------------- */

/* total_a, total_b (NULL: not wanted) = sums over as many pictures as there are, drawn with replacement. */
static void draw(double *total_a, double *total_b, const oc_samples *a, const oc_samples *b, uint64_t seed,
                 int resample) {
    oc_rng rng = oc_rng_at(seed, 0x626f6f74, (uint64_t)resample);
    const size_t columns = (size_t)a->columns;
    memset(total_a, 0, columns * sizeof *total_a);
    if (total_b) memset(total_b, 0, columns * sizeof *total_b);
    for (size_t i = 0; i < a->n; i++) {
        const size_t at = oc_rng_below(&rng, (uint32_t)a->n) * columns;
        for (size_t c = 0; c < columns; c++) total_a[c] += a->sum[at + c];
        if (!total_b) continue;
        for (size_t c = 0; c < columns; c++) total_b[c] += b->sum[at + c];
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Of sorted values, with linear interpolation between them (NumPy's default). */
static double percentile(const double *sorted, int n, double share) {
    const double at = share * (n - 1);
    const int i = OC_MIN((int)at, n - 1), j = OC_MIN(i + 1, n - 1);
    return sorted[i] + (sorted[j] - sorted[i]) * (at - i);
}

/* value[n_scores, resamples]: each score of a (or b minus a) in each resample. */
static oc_status resample(double **value, const oc_samples *a, const oc_samples *b, int resamples, uint64_t seed,
                          oc_error *err) {
    OC_ASSERT(resamples > 0 && a->n > 0 && a->n <= UINT32_MAX);
    OC_TRY(oc_alloc_for(value, (size_t)a->n_scores * (size_t)resamples * sizeof **value, "resampled scores", err));
#pragma omp parallel for schedule(static)
    for (int r = 0; r < resamples; r++) {
        double total[2][(GROUPS + MAX_TYPES) * GROUP_COLUMNS];
        draw(total[0], b ? total[1] : NULL, a, b, seed, r);
        for (int k = 0; k < a->n_scores; k++) {
            double v = score_of(&a->score[k], total[0]);
            (*value)[(size_t)k * (size_t)resamples + (size_t)r] = b ? score_of(&b->score[k], total[1]) - v : v;
        }
    }
    return OC_OK;
}

static double deviation(const double *v, int n) {
    double mean = 0, sum = 0;
    for (int i = 0; i < n; i++) mean += v[i] / n;
    for (int i = 0; i < n; i++) sum += (v[i] - mean) * (v[i] - mean);
    return n > 1 ? sqrt(sum / (n - 1)) : 0;
}

oc_status oc_bootstrap(oc_interval *out, const oc_samples *s, int resamples, uint64_t seed, oc_error *err) {
    double *value;
    OC_TRY(resample(&value, s, NULL, resamples, seed, err));
    for (int k = 0; k < s->n_scores; k++) {
        double *v = value + (size_t)k * (size_t)resamples;
        qsort(v, (size_t)resamples, sizeof *v, ascending);
        out[k] = (oc_interval){.value = oc_samples_score(s, k),
                               .low = percentile(v, resamples, 0.025),
                               .high = percentile(v, resamples, 0.975),
                               .error = deviation(v, resamples)};
    }
    oc_free(value);
    return OC_OK;
}

oc_status oc_bootstrap_paired(oc_difference *out, const oc_samples *a, const oc_samples *b, int resamples,
                              uint64_t seed, oc_error *err) {
    double *value;
    OC_ASSERT(a->n == b->n && a->columns == b->columns && a->n_scores == b->n_scores);
    OC_TRY(resample(&value, a, b, resamples, seed, err));
    for (int k = 0; k < a->n_scores; k++) {
        double *v = value + (size_t)k * (size_t)resamples;
        int above = 0, below = 0;
        for (int r = 0; r < resamples; r++) above += v[r] >= 0, below += v[r] <= 0;
        qsort(v, (size_t)resamples, sizeof *v, ascending);
        out[k] = (oc_difference){.a = oc_samples_score(a, k),
                                 .b = oc_samples_score(b, k),
                                 .low = percentile(v, resamples, 0.025),
                                 .high = percentile(v, resamples, 0.975),
                                 .p = OC_MIN(1.0, 2 * (OC_MIN(above, below) + 1.0) / (resamples + 1.0))};
    }
    oc_free(value);
    return OC_OK;
}
