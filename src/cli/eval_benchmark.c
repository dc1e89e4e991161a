/* 1. identity of a run  2. the folder  3. answers and scores */
#include "cli/eval_benchmark.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "eval/benchmark_scores.h"
#include "eval/journal.h"

typedef struct run {
    const oc_benchmark_settings *s;
    oc_evaluate_options *eo;
    oc_session session;
    oc_dataset *data;
    oc_benchmark_files files;
    oc_evaluation e;
    json_t *setup;
    char *out;
} run;

static const char *split_of(const run *r) { return r->s->data.split ? r->s->data.split : r->s->benchmark->split; }

/* ---- 1. Identity of a run: all that its answers depend on ------------------------------------------------------------ */

static json_t *decoding_json(const oc_generate_options *g) {
    return json_pack("{s:i, s:i, s:f, s:f, s:f, s:i, s:I}", "max_new_tokens", g->max_new_tokens, "beams", g->beams,
                     "length_penalty", g->length_penalty, "temperature", g->temperature, "top_p", g->top_p, "top_k",
                     g->top_k, "seed", (json_int_t)g->seed);
}

/* Where files lie may change between two starts; their content may not. */
static oc_status data_json(json_t **out, const run *r, oc_error *err) {
    char hash[17];
    OC_TRY(oc_hash_file(hash, r->files.annotations, err));
    *out = json_pack("{s:s, s:s, s:I}", "file", oc_path_base(r->files.annotations), "hash", hash, "items",
                     (json_int_t)r->e.n);
    if (!r->files.answers) return OC_OK;
    OC_TRY(oc_hash_file(hash, r->files.answers, err));
    json_object_set_new(*out, "answers", json_string(hash));
    return OC_OK;
}

static const char *caption_prompt(const run *r) {
    return r->s->data.prompt ? r->s->data.prompt : r->s->benchmark->prompt;
}

static oc_status make_setup(run *r, oc_error *err) {
    char model[17];
    json_t *data = NULL;
    const oc_benchmark *b = r->s->benchmark;
    const oc_config *c = &r->session.model.cfg;
    const char *suffix = r->s->data.suffix ? r->s->data.suffix : b->suffix;
    OC_TRY(oc_hash_model(model, r->s->model, err));
    OC_TRY(data_json(&data, r, err));
    r->setup = json_pack("{s:s, s:s, s:s, s:o, s:s?, s:s?, s:s, s:s?, s:b, s:o, s:s, s:I, s:i, s:b}", "benchmark",
                         b->name, "split", split_of(r), "model", model, "data", data, "prompt", caption_prompt(r),
                         "suffix", suffix, "template", c->template == OC_TEMPLATE_PLAIN ? "plain" : "chat", "system",
                         r->session.system, "no_system", (int)c->no_system, "decoding", decoding_json(&r->eo->generate),
                         "arithmetic", r->session.model.t == OC_BF16 ? "bf16" : "f32", "batch",
                         (json_int_t)oc_evaluation_batch(&r->session.model, r->session.tokenizer, r->eo), "limit",
                         r->eo->limit, "shuffled_images", (int)r->eo->shuffle_images);
    return r->setup ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the description of the run");
}

/* ---- 2. The folder: beside the model, unless --out says otherwise ---------------------------------------------------- */

static oc_status choose_out(run *r, oc_error *err) {
    if (r->s->out) {
        r->out = oc_strdup(r->s->out);
        return r->out ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory");
    }
    char *model = realpath(r->s->model, NULL);
    if (!model) return oc_fail(err, OC_ERR_IO, "%s: no such folder", r->s->model);
    oc_strbuf b = {.max = 1 << 16};
    oc_strbuf_printf(&b, "%s-eval/%s", model, r->s->benchmark->name);
    if (strcmp(split_of(r), r->s->benchmark->split)) oc_strbuf_printf(&b, "-%s", split_of(r));
    if (r->eo->shuffle_images) oc_strbuf_puts(&b, "-shuffled");
    free(model);
    r->out = b.data;
    return b.failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory") : OC_OK;
}

/* ---- 3. Answers and scores ------------------------------------------------------------------------------------------- */

static oc_status answer(run *r, oc_error *err) {
    oc_journal *j;
    const size_t batch = oc_evaluation_batch(&r->session.model, r->session.tokenizer, r->eo);
    OC_TRY(oc_journal_open(&j, r->out, r->setup, &r->e, r->data, batch, r->s->restart, &r->eo->done, err));
    r->eo->keep = oc_journal_keep;
    r->eo->ctx = j;
    oc_status st = OC_OK;
    if (r->eo->done < r->e.n)
        st = oc_evaluation_generate(&r->e, &r->session.model, r->session.tokenizer, r->data, r->eo, err);
    oc_journal_close(j);
    if (st == OC_ERR_INTERRUPTED)
        oc_fail(err, OC_ERR_INTERRUPTED, "interrupted; the same command goes on from what %s/journal.jsonl has",
                r->out);
    return st;
}

static oc_status write_all(const run *r, const oc_benchmark_result *result, oc_error *err) {
    oc_published *rows = NULL;
    size_t n = 0;
    json_t *table = NULL, *scores = oc_benchmark_json(result, r->setup);
    char *page = oc_path_join(r->out, "report.html");
    oc_strbuf text = {0};
    oc_status st = scores && page ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->out);
    OC_GO(st);
    OC_GO(oc_evaluation_save(&r->e, r->out, scores, err));
    if (r->s->published) OC_GO(oc_published_load(&rows, &n, &table, r->s->published, err));
    OC_GO(oc_benchmark_report(result, r->data, r->setup, rows, n, page, err));
    if (r->s->json) {
        st = oc_print_json(json_incref(scores), err);
        goto done;
    }
    oc_benchmark_describe(result, &text);
    if (text.failed) OC_GO(oc_fail(err, OC_ERR_NOMEM, "out of memory for the result"));
    fputs(text.data, stdout);
    printf("%s\n", page);
done:
    oc_strbuf_free(&text);
    oc_free(page);
    oc_free(rows);
    json_decref(table);
    json_decref(scores);
    return st;
}

static oc_status score(run *r, oc_error *err) {
    oc_benchmark_result result;
    OC_TRY(oc_evaluation_score(&r->e, err));
    OC_TRY(oc_benchmark_result_open(&result, r->s->benchmark, &r->e, r->s->resamples, (uint64_t)r->s->seed, err));
    result.split = split_of(r);
    result.model = r->s->model;
    result.whole_set = r->files.whole_set;
    oc_status st = write_all(r, &result, err);
    oc_benchmark_result_close(&result);
    return st;
}

/* What is asked is the benchmark's, so that scores can be compared; a model that learned another question may not know it. */
static void warn_of_prompt(const run *r) {
    const oc_config *c = &r->session.model.cfg;
    if (r->eo->task != OC_EVAL_CAPTION || c->template == OC_TEMPLATE_PLAIN || !c->caption_prompt[0]) return;
    if (strcmp(caption_prompt(r), c->caption_prompt))
        oc_log(OC_LOG_WARN, "%s learned to caption when asked \"%s\", and is asked \"%s\" (--prompt asks otherwise)",
               r->s->model, c->caption_prompt, caption_prompt(r));
}

oc_status oc_eval_benchmark(const oc_benchmark_settings *s, oc_evaluate_options *eo, oc_error *err) {
    run r = {.s = s, .eo = eo};
    oc_status st;
    eo->task = s->benchmark->task;
    OC_GO(oc_benchmark_open(&r.data, &r.files, s->benchmark, &s->data, err));
    if (r.files.whole_set)
        oc_log(
            OC_LOG_WARN,
            "%s: no dataset_coco.json with Karpathy's split: all pictures of %s are captioned, and scores are not comparable "
            "with published ones",
            s->data.dir, r.files.annotations);
    OC_GO(oc_evaluation_open(&r.e, r.data, eo, err));
    OC_GO(oc_benchmark_check_images(&r.e, r.data, r.files.images, err));
    OC_GO(oc_session_open(&r.session, s->model, &s->arithmetic, true, err));
    OC_GO(oc_session_needs_vlm(&r.session, s->model, err));
    OC_GO(oc_session_set_prompt(&r.session, s->model, &s->prompting, err));
    warn_of_prompt(&r);
    eo->system = r.session.system;
    OC_GO(make_setup(&r, err));
    OC_GO(choose_out(&r, err));
    OC_GO(answer(&r, err));
    OC_GO(score(&r, err));
done:
    json_decref(r.setup);
    oc_free(r.out);
    oc_evaluation_free(&r.e);
    oc_benchmark_files_free(&r.files);
    oc_dataset_close(r.data);
    oc_session_close(&r.session);
    return st;
}
