/* An evaluation as JSON and as files. */
#include <string.h>

#include "base/file.h"
#include "eval/evaluate.h"

json_t *oc_caption_scores_json(const oc_caption_scores *s) {
    json_t *o = json_object();
    for (int i = 0; i < OC_SCORE_COUNT; i++) json_object_set_new(o, oc_score_name((oc_score)i), json_real(s->v[i]));
    return o;
}

json_t *oc_vqa_scores_json(const oc_vqa_scores *s) {
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "questions", (json_int_t)s->n, "accuracy", s->accuracy, "exact",
                     s->exact, "exact_pathvqa", s->exact_pathvqa, "f1", s->f1, "Bleu_1", s->bleu_1);
}

static json_t *vqa_json(const oc_vqa_report *r) {
    json_t *types = json_object();
    for (size_t i = 0; i < r->n_types; i++)
        json_object_set_new(types, r->type[i].type, oc_vqa_scores_json(&r->type[i]));
    return json_pack("{s:o, s:o, s:o, s:o}", "overall", oc_vqa_scores_json(&r->overall), "yesno",
                     oc_vqa_scores_json(&r->yesno), "open", oc_vqa_scores_json(&r->open), "types", types);
}

static bool captions(const oc_evaluation *e) { return e->task == OC_EVAL_CAPTION; }

json_t *oc_evaluation_scores_json(const oc_evaluation *e) {
    return captions(e) ? oc_caption_scores_json(&e->caption) : vqa_json(&e->vqa);
}

json_t *oc_evaluation_json(const oc_evaluation *e) {
    json_int_t finished = 0;
    for (size_t k = 0; k < e->n; k++) finished += e->item[k].finished;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:f, s:f, s:f}", "task",
                     captions(e) ? "caption" : "vqa", "items", (json_int_t)e->n, "images", (json_int_t)e->n_groups,
                     "references", (json_int_t)e->n_references, "images_encoded", (json_int_t)e->n_images, "scores",
                     oc_evaluation_scores_json(e), "finished", finished, "prompt_tokens", (json_int_t)e->prompt_tokens,
                     "new_tokens", (json_int_t)e->new_tokens, "picture_s", e->picture_s, "generate_s", e->generate_s,
                     "score_s", e->score_s);
}

static void describe_group(const char *name, const oc_vqa_scores *s, oc_strbuf *out) {
    oc_strbuf_printf(out, "%-20s %9zu %9.2f %9.2f %9.2f %9.2f\n", name, s->n, 100 * s->accuracy, 100 * s->exact,
                     100 * s->exact_pathvqa, 100 * s->f1);
}

void oc_evaluation_describe(const oc_evaluation *e, oc_strbuf *out) {
    if (captions(e)) {
        for (int i = 0; i < OC_SCORE_COUNT; i++)
            oc_strbuf_printf(out, "%-15s %6.2f\n", oc_score_name((oc_score)i), 100 * e->caption.v[i]);
        oc_strbuf_printf(out, "%zu pictures, %zu references\n", e->n, e->n_references);
        return;
    }
    oc_strbuf_printf(out, "%-20s %9s %9s %9s %9s %9s\n", "", "questions", "accuracy", "exact", "PathVQA", "F1");
    describe_group("all", &e->vqa.overall, out);
    describe_group("yes/no", &e->vqa.yesno, out);
    describe_group("open", &e->vqa.open, out);
    for (size_t i = 0; i < e->vqa.n_types; i++) describe_group(e->vqa.type[i].type, &e->vqa.type[i], out);
}

/* Ids that are numbers were numbers in the annotation file. */
static json_t *id_json(const char *id) {
    size_t n = strlen(id);
    if (n == 0 || n > 18 || strspn(id, "0123456789") != n || (id[0] == '0' && n > 1)) return json_string(id);
    json_int_t v = 0;
    for (; *id; id++) v = v * 10 + (*id - '0');
    return json_integer(v);
}

static json_t *results_json(const oc_evaluation *e) {
    json_t *list = json_array();
    for (size_t k = 0; k < e->n; k++)
        json_array_append_new(list,
                              json_pack("{s:o, s:s}", captions(e) ? "image_id" : "question_id", id_json(e->item[k].id),
                                        captions(e) ? "caption" : "answer", e->item[k].answer));
    return list;
}

static json_t *item_json(const oc_evaluation *e, const oc_evaluated *it) {
    json_t *refs = json_array();
    for (size_t i = 0; i < it->n_references; i++) json_array_append_new(refs, json_string(it->reference[i]));
    return json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s, s:o, s:i, s:b, s:f, s:o}", "id", it->id, "image", it->image,
                     "shown", it->shown, "prompt", it->prompt, "type", it->type, "answer", it->answer, "references",
                     refs, "tokens", it->n_tokens, "finished", (int)it->finished, "logprob", it->logprob, "scores",
                     captions(e) ? oc_caption_scores_json(&it->caption) : oc_vqa_scores_json(&it->vqa));
}

static oc_status no_memory(const char *path, oc_error *err) {
    return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", path);
}

static oc_status save_json(json_t *o, const char *path, oc_error *err) {
    oc_status st = o ? oc_json_save(o, path, err) : no_memory(path, err);
    json_decref(o);
    return st;
}

static oc_status save_items(const oc_evaluation *e, const char *path, oc_error *err) {
    oc_strbuf text = {0};
    for (size_t k = 0; k < e->n && !text.failed; k++) {
        json_t *o = item_json(e, &e->item[k]);
        char *line = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
        if (line)
            oc_strbuf_printf(&text, "%s\n", line);
        else
            text.failed = true;
        free(line);
        json_decref(o);
    }
    oc_status st =
        text.failed ? no_memory(path, err) : oc_file_write_atomic(path, text.data ? text.data : "", text.len, err);
    oc_strbuf_free(&text);
    return st;
}

oc_status oc_evaluation_save(const oc_evaluation *e, const char *dir, const json_t *scores_json, oc_error *err) {
    OC_TRY(oc_make_dirs(dir, err));
    char *results = oc_path_join(dir, "results.json"), *items = oc_path_join(dir, "items.jsonl"),
         *scores = oc_path_join(dir, "scores.json");
    oc_status st = results && items && scores ? OC_OK : no_memory(dir, err);
    OC_GO(st);
    OC_GO(save_json(results_json(e), results, err));
    OC_GO(save_items(e, items, err));
    OC_GO(save_json(scores_json ? json_incref((json_t *)(uintptr_t)scores_json) : oc_evaluation_json(e), scores, err));
done:
    oc_free(results);
    oc_free(items);
    oc_free(scores);
    return st;
}
