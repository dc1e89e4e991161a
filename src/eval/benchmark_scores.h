/* What is known of a benchmark after its answers are scored: scores with intervals, texts, failures; as scores.json, as
 * lines for people, and as a page. */
#ifndef OC_EVAL_BENCHMARK_SCORES_H
#define OC_EVAL_BENCHMARK_SCORES_H

#include "eval/benchmark.h"
#include "eval/text_stats.h"

enum {
    OC_FAILED_EMPTY = 1,
    OC_FAILED_REPEATED = 2,
    OC_FAILED_TRUNCATED = 4
}; /* no words; words again and again; cut off */

typedef struct oc_benchmark_result {
    const oc_benchmark *benchmark;
    const oc_evaluation *e;
    const char *split, *model; /* model: its name on the page */
    bool whole_set;            /* as oc_benchmark_files */
    oc_samples samples;
    oc_interval *interval; /* [samples.n_scores]; NULL without resampling */
    int resamples;
    uint64_t seed;
    oc_text_stats answers, references;
    uint8_t *failed; /* [e->n] of OC_FAILED_* */
    size_t empty, repeated, truncated;
} oc_benchmark_result;

/* e is scored and outlives *r. resamples 0: no intervals. */
oc_status oc_benchmark_result_open(oc_benchmark_result *r, const oc_benchmark *b, const oc_evaluation *e, int resamples,
                                   uint64_t seed, oc_error *err);
void oc_benchmark_result_close(oc_benchmark_result *r);

/* Whether a score is shown: those by type are not where types only repeat the split into yes/no and open. */
bool oc_benchmark_shows(const oc_benchmark_result *r, int score);

/* A new object; setup (borrowed) says what was measured and how. The same answers give the same text. NULL: out of memory. */
json_t *oc_benchmark_json(const oc_benchmark_result *r, const json_t *setup);
void oc_benchmark_describe(const oc_benchmark_result *r, oc_strbuf *out);

/* ---- Published numbers ----------------------------------------------------------------------------------------------- */

/* One row of the table: what a named source says of a model. */
typedef struct oc_published {
    const char *benchmark, *model, *size; /* size: parameters, as the source has it; may be NULL */
    const char *score;                    /* as oc_sampled_score names them; NULL: the source's number was not read */
    double value;                         /* as papers print it: times 100 */
    const char *source;                   /* where exactly */
} oc_published;

/* What this program comes with. */
const oc_published *oc_published_builtin(size_t *n);

/* A page of everything: scores, published numbers, best and worst pictures, lengths, failures. more: rows of the user's file
 * (may be empty). Pictures come from d. */
oc_status oc_benchmark_report(const oc_benchmark_result *r, const oc_dataset *d, const json_t *setup,
                              const oc_published *more, size_t n_more, const char *path, oc_error *err);

/* The user's table: [{"benchmark", "model", "parameters"?, "scores": {"CIDEr": 145.0}, "source"}]. Strings belong to *root,
 * which the caller decrefs; *rows is the caller's (oc_free). */
oc_status oc_published_load(oc_published **rows, size_t *n, json_t **root, const char *path, oc_error *err);

#endif
