/* 1. result  2. scores.json  3. lines for people */
#include "eval/benchmark_scores.h"

#include <string.h>

/* ---- 1. Result ----------------------------------------------------------------------------------------------------- */

static oc_status describe_texts(oc_benchmark_result *r, oc_error *err) {
    const oc_evaluation *e = r->e;
    const char **answer = oc_calloc(e->n + 1, sizeof *answer);
    bool *repeated = oc_calloc(e->n + 1, sizeof *repeated);
    oc_status st = answer && repeated ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu answers", e->n);
    for (size_t k = 0; st == OC_OK && k < e->n; k++) answer[k] = e->item[k].answer;
    if (st == OC_OK) st = oc_text_stats_compute(&r->answers, repeated, answer, e->n, err);
    if (st == OC_OK) st = oc_text_stats_compute(&r->references, NULL, e->references, e->n_references, err);
    for (size_t k = 0; st == OC_OK && k < e->n; k++) {
        const bool empty = answer[k][strspn(answer[k], " \t\r\n.")] == 0;
        r->failed[k] = (uint8_t)((empty ? OC_FAILED_EMPTY : 0) | (repeated[k] ? OC_FAILED_REPEATED : 0) |
                                 (e->item[k].finished ? 0 : OC_FAILED_TRUNCATED));
        r->empty += empty;
        r->repeated += repeated[k];
        r->truncated += !e->item[k].finished;
    }
    oc_free(answer);
    oc_free(repeated);
    return st;
}

oc_status oc_benchmark_result_open(oc_benchmark_result *r, const oc_benchmark *b, const oc_evaluation *e, int resamples,
                                   uint64_t seed, oc_error *err) {
    *r = (oc_benchmark_result){.benchmark = b, .e = e, .resamples = resamples, .seed = seed};
    oc_status st;
    OC_GO(oc_alloc_for(&r->failed, e->n, "the list of failures", err));
    OC_GO(oc_samples_open(&r->samples, e, err));
    if (resamples > 0) {
        OC_GO(oc_alloc_for(&r->interval, (size_t)r->samples.n_scores * sizeof *r->interval, "the intervals", err));
        OC_GO(oc_bootstrap(r->interval, &r->samples, resamples, seed, err));
    }
    OC_GO(describe_texts(r, err));
done:
    if (st != OC_OK) oc_benchmark_result_close(r);
    return st;
}

void oc_benchmark_result_close(oc_benchmark_result *r) {
    oc_samples_close(&r->samples);
    oc_free(r->interval);
    oc_free(r->failed);
    *r = (oc_benchmark_result){0};
}

bool oc_benchmark_shows(const oc_benchmark_result *r, int score) {
    return r->benchmark->types || strncmp(r->samples.score[score].name, "types.", 6);
}

/* ---- 2. scores.json ------------------------------------------------------------------------------------------------ */

static json_t *text_json(const oc_text_stats *s) {
    return json_pack("{s:I, s:I, s:f, s:I, s:I, s:I}", "texts", (json_int_t)s->texts, "words", (json_int_t)s->words,
                     "mean_words", s->texts ? (double)s->words / (double)s->texts : 0.0, "longest",
                     (json_int_t)s->longest, "vocabulary", (json_int_t)s->vocabulary, "distinct",
                     (json_int_t)s->distinct);
}

static json_t *intervals_json(const oc_benchmark_result *r) {
    json_t *o = json_object();
    for (int k = 0; k < r->samples.n_scores; k++) {
        const oc_interval *i = &r->interval[k];
        if (!oc_benchmark_shows(r, k)) continue;
        json_object_set_new(o, r->samples.score[k].name,
                            json_pack("{s:f, s:f, s:f}", "low", i->low, "high", i->high, "error", i->error));
    }
    return o;
}

json_t *oc_benchmark_json(const oc_benchmark_result *r, const json_t *setup) {
    json_int_t finished = 0;
    for (size_t k = 0; k < r->e->n; k++) finished += r->e->item[k].finished;
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:o}", "task", r->e->task == OC_EVAL_CAPTION ? "caption" : "vqa",
                  "benchmark", r->benchmark->name, "split", r->split, "official_split", (int)!r->whole_set, "items",
                  (json_int_t)r->e->n, "images", (json_int_t)r->e->n_groups, "references",
                  (json_int_t)r->e->n_references, "scores", oc_evaluation_scores_json(r->e));
    if (r->interval) {
        json_object_set_new(o, "intervals", intervals_json(r));
        json_object_set_new(o, "bootstrap",
                            json_pack("{s:i, s:I, s:f, s:s}", "resamples", r->resamples, "seed", (json_int_t)r->seed,
                                      "confidence", 0.95, "unit", "picture"));
    }
    json_object_set_new(o, "finished", json_integer(finished));
    json_object_set_new(o, "failures",
                        json_pack("{s:I, s:I, s:I}", "empty", (json_int_t)r->empty, "repeated", (json_int_t)r->repeated,
                                  "truncated", (json_int_t)r->truncated));
    json_object_set_new(
        o, "text", json_pack("{s:o, s:o}", "answers", text_json(&r->answers), "references", text_json(&r->references)));
    json_object_set(o, "setup", (json_t *)(uintptr_t)setup);
    return o;
}

/* ---- 3. Lines for people ------------------------------------------------------------------------------------------- */

void oc_benchmark_describe(const oc_benchmark_result *r, oc_strbuf *out) {
    oc_strbuf_printf(out, "%s, %s: %zu pictures, %zu %s\n", r->benchmark->title,
                     r->whole_set ? "ALL of captions_val2014, which is not the split that papers report" : r->split,
                     r->e->n_groups, r->e->n, r->e->task == OC_EVAL_CAPTION ? "captions" : "questions");
    for (int k = 0; k < r->samples.n_scores; k++) {
        if (!oc_benchmark_shows(r, k)) continue;
        const double v = oc_samples_score(&r->samples, k);
        oc_strbuf_printf(out, "%-28s %7.2f", r->samples.score[k].name, 100 * v);
        if (r->interval)
            oc_strbuf_printf(out, "   95%%: %.2f to %.2f", 100 * r->interval[k].low, 100 * r->interval[k].high);
        oc_strbuf_putc(out, '\n');
    }
    oc_strbuf_printf(out, "failures: %zu empty, %zu repeated, %zu cut off\n", r->empty, r->repeated, r->truncated);
}
