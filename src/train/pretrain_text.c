/* A decoder from nothing: next-token prediction on texts. Each text is a sequence of its own, text + end token, packed
 * into rows without padding. Texts come from files (one a line, or JSON lines with "text") and from the answers of data
 * sets; all are tokenised once and held in memory. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "model/spans.h"
#include "train/setup.h"

typedef struct corpus {
    oc_ids ids;    /* all texts, one after the other */
    size_t *start; /* [n + 1] */
    size_t n, capacity;
} corpus;

typedef struct text_run {
    oc_run run;
    oc_vlm m;
    corpus c;
    uint32_t *order;
    int64_t order_epoch;
    const oc_recipe_pretrain_text *r;
    oc_position pos;
    oc_optimizer optimizer;
    oc_batch batch;
    int micro;
} text_run;

enum { MAX_TEXT_FILE = 1 << 30, SEED_TEXT = 0x74657874 };

static const bool ONLY_LM[OC_PART_COUNT] = {[OC_PART_LM] = true};

/* ---- Corpus -------------------------------------------------------------------------------------------------------- */

static oc_status add_text(text_run *t, const char *text, size_t len, oc_error *err) {
    corpus *c = &t->c;
    if (len == 0) return OC_OK;
    if (c->n + 2 > c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 1024;
        size_t *p = oc_realloc(c->start, c->capacity * sizeof *p, capacity * sizeof *p);
        if (!p) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the texts");
        c->start = p;
        c->capacity = capacity;
        c->start[0] = 0;
    }
    OC_TRY(oc_tokenizer_encode(t->run.tokenizer, text, len, &(oc_encode_options){.no_special = true}, &c->ids, err));
    size_t longest = c->start[c->n] + (size_t)t->r->length - 1;
    if (c->ids.len > longest) c->ids.len = longest;
    if (!oc_ids_add(&c->ids, t->m.cfg.eos_token)) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the texts");
    c->start[++c->n] = c->ids.len;
    return OC_OK;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static oc_status add_json_lines(text_run *t, const char *path, const oc_map *map, oc_error *err) {
    oc_json_reader r;
    oc_json_reader_init(&r, (const char *)map->data, map->size, path);
    for (;;) {
        json_t *o;
        OC_TRY(oc_json_reader_next(&r, &o, err));
        if (!o) return OC_OK;
        const json_t *text = json_object_get(o, "text");
        oc_status st = json_is_string(text)
                           ? add_text(t, json_string_value(text), json_string_length(text), err)
                           : oc_fail(err, OC_ERR_FORMAT, "%s:%d: no \"text\" in this record", path, r.line);
        json_decref(o);
        OC_TRY(st);
    }
}

static oc_status add_lines(text_run *t, const oc_map *map, oc_error *err) {
    const char *p = (const char *)map->data, *end = p + map->size;
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((line_end ? line_end : end) - p);
        OC_TRY(add_text(t, p, len && p[len - 1] == '\r' ? len - 1 : len, err));
        p += len + 1;
    }
    return OC_OK;
}

static oc_status add_file(text_run *t, const char *path, oc_error *err) {
    oc_map map;
    OC_TRY(oc_map_open(&map, path, err));
    oc_status st = ends_with(path, ".jsonl") ? add_json_lines(t, path, &map, err) : add_lines(t, &map, err);
    oc_map_close(&map);
    return st;
}

static oc_status add_answers(text_run *t, const oc_dataset *d, oc_error *err) {
    oc_sample s;
    for (size_t i = 0; i < oc_dataset_count(d); i++) {
        oc_dataset_sample(d, i, &s);
        for (int k = 0; k < s.n_turns; k++)
            if (s.turn[k].assistant) OC_TRY(add_text(t, s.turn[k].text, strlen(s.turn[k].text), err));
    }
    return OC_OK;
}

static oc_status open_corpus(text_run *t, oc_error *err) {
    for (int i = 0; i < t->r->files.n; i++) OC_TRY(add_file(t, ((const char *const *)t->r->files.item)[i], err));
    if (t->r->datasets.n) {
        oc_mixture mix;
        OC_TRY(oc_mixture_open(&mix, &t->r->datasets, (uint64_t)t->run.recipe->seed, err));
        oc_status st = OC_OK;
        for (int i = 0; i < mix.n && st == OC_OK; i++) st = add_answers(t, mix.dataset[i], err);
        oc_mixture_close(&mix);
        OC_TRY(st);
    }
    if (t->c.n == 0)
        return oc_fail(err, OC_ERR_ARG, "%s: pretrain_text has no texts; give files or datasets", t->run.recipe->path);
    t->order_epoch = -1;
    oc_log(OC_LOG_INFO, "%zu texts, %zu tokens", t->c.n, t->c.ids.len);
    return oc_alloc_for(&t->order, t->c.n * sizeof *t->order, "the order of texts", err);
}

/* ---- Steps --------------------------------------------------------------------------------------------------------- */

static size_t next_text(text_run *t) {
    oc_loader_position *p = &t->pos.data;
    if (t->order_epoch != p->epoch) {
        oc_rng rng = oc_rng_at((uint64_t)t->run.recipe->seed, SEED_TEXT, (uint64_t)p->epoch);
        for (size_t i = 0; i < t->c.n; i++) t->order[i] = (uint32_t)i;
        oc_rng_shuffle_u32(&rng, t->order, t->c.n);
        t->order_epoch = p->epoch;
    }
    size_t text = t->order[p->cursor++];
    if ((size_t)p->cursor == t->c.n) *p = (oc_loader_position){p->epoch + 1, 0};
    return text;
}

static int count_labels(const text_run *t, const size_t *text, int n) {
    int labels = 0;
    for (int i = 0; i < n; i++) labels += (int)(t->c.start[text[i] + 1] - t->c.start[text[i]]) - 1;
    return labels;
}

static void fill_batch(text_run *t, const size_t *text, int n) {
    static const uint8_t ones = 1;
    oc_batch_clear(&t->batch);
    uint8_t answer[4096];
    memset(answer, ones, sizeof answer);
    for (int i = 0; i < n; i++) {
        const int32_t *ids = t->c.ids.data + t->c.start[text[i]];
        int len = OC_MIN((int)(t->c.start[text[i] + 1] - t->c.start[text[i]]), (int)sizeof answer);
        OC_ASSERT(oc_batch_append(&t->batch, ids, answer, len, -1, NULL, 0));
    }
    oc_spans_fill(&t->batch, OC_MASK_CAUSAL);
}

static oc_status text_step(void *ctx, oc_step_result *r, oc_error *err) {
    text_run *t = ctx;
    size_t *text;
    OC_TRY(oc_alloc_for(&text, (size_t)t->r->batch * sizeof *text, "a batch", err));
    for (int i = 0; i < t->r->batch; i++) text[i] = next_text(t);
    int labels = count_labels(t, text, t->r->batch), correct = 0;
    double sum = 0;
    for (int i = 0; i < t->r->batch; i += t->micro) {
        fill_batch(t, text + i, OC_MIN(t->micro, t->r->batch - i));
        oc_loss l;
        oc_status st = oc_vlm_try_loss(&l, &t->m, &t->batch, labels ? 1.0f / (float)labels : 0, err);
        if (st != OC_OK) {
            oc_free(text);
            return st;
        }
        sum += l.sum;
        correct += l.correct;
        r->samples += t->batch.n_seq;
        r->tokens += t->batch.N;
    }
    r->labels = labels;
    r->loss = labels ? sum / labels : 0;
    r->accuracy = labels ? (double)correct / labels : 0;
    oc_free(text);
    return OC_OK;
}

static void weights_updated(void *ctx) { oc_vlm_weights_changed(&((text_run *)ctx)->m, ONLY_LM); }

static int buffers(const text_run *t, oc_state_buffer b[2]) {
    b[0] = (oc_state_buffer){"m.lm", t->m.params.m[OC_PART_LM], t->m.params.n[OC_PART_LM], OC_F32, t->m.compute};
    b[1] = (oc_state_buffer){"v.lm", t->m.params.v[OC_PART_LM], t->m.params.n[OC_PART_LM], OC_F32, t->m.compute};
    return 2;
}

static oc_status save_checkpoint(void *ctx, oc_error *err) {
    text_run *t = ctx;
    oc_state_buffer b[2];
    char *path;
    OC_TRY(oc_run_path(&t->run, "checkpoint", &path, err));
    oc_status st = oc_checkpoint_save(path, &t->m, t->run.tokenizer, "pretrain_text", &t->pos, b, buffers(t, b), err);
    oc_free(path);
    return st;
}

/* ---- Run ----------------------------------------------------------------------------------------------------------- */

static oc_status open_model(text_run *t, oc_error *err) {
    oc_config cfg;
    oc_config_defaults(&cfg);
    oc_config_new_text(&cfg, &t->run.recipe->model.fresh.text, t->run.tokenizer);
    oc_config_tokens(&cfg, t->run.tokenizer);
    if (cfg.eos_token < 0)
        return oc_fail(err, OC_ERR_ARG, "the tokenizer has no <|im_end|>, which ends texts and turns");
    OC_TRY(oc_vlm_create(&t->m, t->run.compute, &cfg, t->run.dtype, err));
    if (t->r->length > t->m.decoder.max_rope)
        return oc_fail(err, OC_ERR_ARG, "%s: pretrain_text.length is %d, but model.new.text.max_positions only %d",
                       t->run.recipe->path, t->r->length, t->m.decoder.max_rope);
    oc_params_init(&t->m.params, (uint64_t)t->run.recipe->seed, ONLY_LM);
    return oc_vlm_set_trainable(&t->m, ONLY_LM, err);
}

static oc_status resume(text_run *t, oc_error *err) {
    char *found;
    oc_state_buffer b[2];
    OC_TRY(oc_run_resume(&t->run, &t->pos, &found, err));
    if (!found) return OC_OK;
    oc_status st;
    OC_GO(oc_weights_load(&t->m, found, ONLY_LM, err));
    OC_GO(oc_checkpoint_load_buffers(found, b, buffers(t, b), err));
    if ((size_t)t->pos.data.cursor >= t->c.n)
        st = oc_fail(err, OC_ERR_ARG, "%s: the texts have changed since this checkpoint", found);
done:
    oc_free(found);
    return st;
}

static oc_status train_text(text_run *t, oc_error *err) {
    const oc_recipe_pretrain_text *r = t->r;
    const double lr[OC_PART_COUNT] = {[OC_PART_LM] = r->lr};
    t->micro = r->micro_batch > 0 ? OC_MIN(r->micro_batch, r->batch) : r->batch;
    OC_TRY(oc_batch_open(&t->batch, t->micro * r->length, t->micro, 0, 0, 1, 1, err));
    OC_TRY(oc_vlm_reserve(&t->m, t->micro * r->length, 0, 0, t->micro * r->length, true, err));
    t->optimizer = (oc_optimizer){.compute = t->run.compute, .opt = oc_optimizer_settings(&r->optim)};
    OC_TRY(oc_optimizer_add_model(&t->optimizer, &t->m, lr, NULL, false, err));
    /* Batches run on from one epoch into the next: all of them are one pass over so many texts. */
    const double epochs = r->budget.epochs > 0 ? r->budget.epochs : 1;
    const oc_recipe_budget once = {.epochs = 1, .minutes = r->budget.minutes, .steps = r->budget.steps};
    oc_loop loop = {.label = "pretrain text",
                    .name = "pretrain_text",
                    .optimizer = &t->optimizer,
                    .schedule = &r->optim.schedule.curve,
                    .total_steps = oc_budget_steps(&once, (int64_t)ceil((double)t->c.n * epochs), r->batch),
                    .total_seconds = r->budget.minutes * 60,
                    .pos = &t->pos,
                    .save_every = r->save_every,
                    .max_skipped = t->run.recipe->max_skipped,
                    .output = &t->run.output,
                    .ctx = t,
                    .step = text_step,
                    .updated = weights_updated,
                    .save = save_checkpoint};
    return oc_loop_run(&loop, err);
}

oc_status oc_pretrain_text(const oc_recipe *recipe, const oc_train_options *opt, oc_error *err) {
    text_run t = {.r = &recipe->pretrain_text, .pos.seed = (uint64_t)recipe->seed};
    char *path = NULL;
    if (recipe->pretrain_text.length > 4096)
        return oc_fail(err, OC_ERR_ARG, "%s: pretrain_text.length is %d; at most 4096", recipe->path,
                       recipe->pretrain_text.length);
    oc_status st = oc_run_open(&t.run, recipe, opt, recipe->model.tokenizer, err);
    if (st != OC_OK) return st;
    OC_GO(open_model(&t, err));
    OC_GO(open_corpus(&t, err));
    OC_GO(resume(&t, err));
    OC_GO(train_text(&t, err));
    OC_GO(oc_run_path(&t.run, "model", &path, err));
    OC_GO(oc_model_save_atomic(path, &t.m, t.run.tokenizer, NULL, err));
    oc_log(OC_LOG_INFO, "wrote %s", path);
done:
    oc_free(path);
    oc_batch_close(&t.batch);
    oc_optimizer_close(&t.optimizer);
    oc_ids_free(&t.c.ids);
    oc_free(t.c.start);
    oc_free(t.order);
    oc_vlm_close(&t.m);
    oc_run_close(&t.run);
    return st;
}
