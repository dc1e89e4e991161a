#include "cli/train_hooks.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "cli/bench.h"
#include "eval/evaluate.h"

/* ---- Evaluation ---------------------------------------------------------------------------------------------------- */

static oc_status open_data(oc_dataset **d, const oc_recipe_eval *e, const oc_config *model, oc_error *err) {
    static const oc_dataset_kind kind[] = {[OC_RECIPE_DATA_LLAVA] = OC_DATASET_LLAVA,
                                           [OC_RECIPE_DATA_COCO] = OC_DATASET_COCO,
                                           [OC_RECIPE_DATA_KARPATHY] = OC_DATASET_KARPATHY,
                                           [OC_RECIPE_DATA_VQA] = OC_DATASET_VQA};
    return oc_dataset_open(d,
                           &(oc_dataset_options){.kind = kind[e->kind],
                                                 .json = e->json,
                                                 .images = e->images,
                                                 .prompt = e->prompt ? e->prompt : oc_config_caption_prompt(model),
                                                 .split = e->kind == OC_RECIPE_DATA_KARPATHY ? "val" : NULL},
                           err);
}

/* The two figures that are looked at. */
static void headline(const oc_evaluation *e, const char *name[2], double value[2]) {
    bool captions = e->task == OC_EVAL_CAPTION;
    name[0] = captions ? "CIDEr" : "accuracy";
    name[1] = captions ? "Bleu_4" : "f1";
    value[0] = captions ? e->caption.v[OC_SCORE_CIDER] : e->vqa.overall.accuracy;
    value[1] = captions ? e->caption.v[OC_SCORE_BLEU_4] : e->vqa.overall.f1;
}

static oc_status record(const oc_evaluation *e, const char *stage, const oc_position *pos, const oc_train_output *out,
                        oc_error *err) {
    const char *name[2];
    double value[2];
    headline(e, name, value);
    oc_log(OC_LOG_INFO, "%s, step %lld: %s %.2f, %s %.2f on %zu %s", stage, (long long)pos->step, name[0],
           100 * value[0], name[1], 100 * value[1], e->n, e->task == OC_EVAL_CAPTION ? "pictures" : "questions");
    if (out->log) {
        json_t *o = json_pack("{s:s, s:i, s:I, s:f, s:o}", "stage", stage, "stage_index", pos->stage, "step",
                              (json_int_t)pos->step, "seconds", pos->total_seconds + pos->seconds, "evaluation",
                              oc_evaluation_json(e));
        OC_TRY(oc_run_log_write(out->log, o, err));
    }
    if (!out->tensorboard) return OC_OK;
    char tag_text[2][96];
    const char *tags[2] = {tag_text[0], tag_text[1]};
    for (int i = 0; i < 2; i++) snprintf(tag_text[i], sizeof tag_text[i], "%.64s/eval_%s", stage, name[i]);
    return oc_tensorboard_scalars(out->tensorboard, pos->step, tags, (float[]){(float)value[0], (float)value[1]}, 2,
                                  err);
}

/* The evaluation after a stage belongs to its line of the summary; those on the way are in the log alone. */
static void keep(oc_train_summary *s, const oc_evaluation *e, const oc_position *pos) {
    json_t *last = json_array_get(s->stages, json_array_size(s->stages) - 1);
    if (last && json_integer_value(json_object_get(last, "stage_index")) == pos->stage)
        json_object_set_new(last, "evaluation", oc_evaluation_json(e));
}

static oc_status evaluate(void *ctx, oc_vlm *m, const oc_tokenizer *tokenizer, const oc_recipe *recipe,
                          const oc_position *pos, const oc_train_output *out, oc_error *err) {
    const oc_recipe_stage *stage = oc_recipe_stage_at(recipe, pos->stage);
    const oc_recipe_eval *re = &stage->eval;
    if (!re->line) return OC_OK;
    const oc_evaluate_options eo = {.task = re->task == OC_RECIPE_EVAL_VQA ? OC_EVAL_VQA : OC_EVAL_CAPTION,
                                    .limit = re->limit,
                                    .quiet = true,
                                    .generate.max_new_tokens = re->max_new_tokens};
    oc_dataset *d;
    oc_evaluation e;
    OC_TRY(open_data(&d, re, &m->cfg, err));
    oc_status st = oc_evaluate(&e, m, tokenizer, d, &eo, err);
    if (st == OC_OK) {
        st = record(&e, stage->name, pos, out, err);
        keep(ctx, &e, pos);
        oc_evaluation_free(&e);
    }
    oc_dataset_close(d);
    return st == OC_ERR_INTERRUPTED ? OC_OK : st; /* training deals with the signal: it writes a checkpoint first */
}

/* ---- Summary ------------------------------------------------------------------------------------------------------- */

static void log_profile(oc_compute *c) {
    oc_profile_row row[OC_PROFILE_ROWS];
    int n = oc_profile_read(c, row);
    double sum = 0;
    for (int i = 0; i < n; i++) sum += row[i].seconds;
    for (int i = 0; i < n; i++)
        oc_log(OC_LOG_INFO, "  %-18s %8lld calls %9.2f s %5.1f%% %8.1f GFLOP/s", row[i].name, (long long)row[i].calls,
               row[i].seconds, 100 * row[i].seconds / sum, row[i].flops / row[i].seconds / 1e9);
}

static void done(void *ctx, const char *name, const oc_position *pos, double loss, oc_compute *c) {
    oc_train_summary *s = ctx;
    json_t *o =
        json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:f, s:o}", "name", name, "stage_index", pos->stage, "steps",
                  (json_int_t)pos->step, "samples", (json_int_t)pos->samples, "tokens", (json_int_t)pos->tokens,
                  "skipped", (json_int_t)pos->skipped, "seconds", pos->seconds, "loss", oc_run_log_number(loss));
    if (s->profile) {
        log_profile(c);
        if (o) json_object_set_new(o, "operations", oc_bench_operations(c, 1));
        oc_profile_start(c, NULL); /* counts from zero; without memory the next stage is not profiled */
    }
    json_array_append_new(s->stages, o);
}

void oc_train_summary_open(oc_train_summary *s, oc_train_options *opt) {
    s->stages = json_array();
    s->profile = opt->profile;
    opt->evaluate = evaluate;
    opt->done = done;
    opt->ctx = s;
}

void oc_train_summary_close(oc_train_summary *s) { json_decref(s->stages); }

json_t *oc_train_summary_json(const oc_train_summary *s, const oc_recipe *recipe, const oc_train_options *opt) {
    const char *out = opt->out ? opt->out : recipe->out;
    char model[4096];
    double seconds = 0;
    size_t i;
    json_t *stage;
    json_array_foreach(s->stages, i, stage) seconds += json_number_value(json_object_get(stage, "seconds"));
    snprintf(model, sizeof model, "%s/model", out);
    return json_pack("{s:s, s:s, s:O, s:f, s:f}", "recipe", recipe->path, "model", model, "stages", s->stages,
                     "seconds", seconds, "peak_rss_gib", (double)oc_peak_rss_bytes() / (1 << 30));
}
