/* 1. what is asked  2. pictures  3. one batch  4. all batches  5. scores */
#include "eval/evaluate.h"

#include <string.h>

#include "base/progress.h"
#include "base/signals.h"
#include "model/spans.h"

enum { DEFAULT_BATCH = 32 };

typedef struct run {
    oc_evaluation *e;
    oc_vlm *m;
    const oc_dataset *d;
    const oc_evaluate_options *opt;
    oc_generate_options generate;
    oc_text_options text;
    oc_image_options image;
    size_t n_groups;
    size_t *sample, *group; /* [n]: of the k-th item */
    size_t n;
} run;

/* One batch: the prompts of items [first, first + n). */
typedef struct prompts {
    size_t first;
    int n, n_blocks, n_names;
    oc_chat_tokens *tokens; /* [n] */
    const char **name;      /* [n_names] distinct pictures */
    int32_t *block_image;   /* [n_blocks] indices into name */
    int *n_images;          /* [n] of each prompt */
    oc_batch batch;
    oc_generation *answer;  /* [n] */
} prompts;

/* ---- 1. What is asked ---------------------------------------------------------------------------------------------- */

static oc_status choose_items(run *r, oc_error *err) {
    size_t groups = oc_dataset_group_count(r->d), limit = r->opt->limit > 0 ? (size_t)r->opt->limit : groups;
    if (groups == 0) return oc_fail(err, OC_ERR_ARG, "the data set shows no pictures; there is nothing to evaluate");
    r->n_groups = r->n = OC_MIN(groups, limit);
    if (r->opt->shuffle_images && r->n_groups < 2) return oc_fail(err, OC_ERR_ARG, "to exchange pictures takes at least two of them");
    OC_TRY(oc_alloc_for(&r->sample, r->n * sizeof *r->sample, "the items", err));
    OC_TRY(oc_alloc_for(&r->group, r->n * sizeof *r->group, "the items", err));
    for (size_t g = 0; g < r->n; g++) {
        oc_image_group group;
        oc_dataset_group(r->d, g, &group);
        r->sample[g] = group.sample[0];
        r->group[g] = g;
    }
    return OC_OK;
}

static const char *group_image(const run *r, size_t g) {
    oc_image_group group;
    oc_dataset_group(r->d, g, &group);
    return group.image;
}

/* The picture that item k sees where its sample names `image`. Rotating by half of the list keeps the pictures' share and
 * gives nobody his own. */
static const char *shown_image(const run *r, size_t k, const char *image) {
    if (!r->opt->shuffle_images) return image;
    return group_image(r, (r->group[k] + r->n_groups / 2) % r->n_groups);
}

/* ---- 2. Pictures --------------------------------------------------------------------------------------------------- */

static oc_status load_picture(const run *r, const char *name, float *pixels, oc_error *err) {
    const uint8_t *bytes;
    size_t size;
    void *owned;
    OC_TRY(oc_dataset_image_bytes(r->d, name, &bytes, &size, &owned, err));
    oc_status st = oc_image_pixels(pixels, bytes, size, name, &r->image, NULL, err);
    oc_free(owned);
    return st;
}

/* On all cores: decoding large pictures takes longer than encoding them with a small model. */
static oc_status load_pictures(const run *r, prompts *p, oc_error *err) {
    const size_t plane = 3 * (size_t)r->image.size * (size_t)r->image.size;
    oc_status st = OC_OK;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < p->n_names; i++) {
        oc_error e;
        oc_status one = load_picture(r, p->name[i], p->batch.pixels + (size_t)i * plane, &e);
        if (one == OC_OK) continue;
#pragma omp critical(oc_evaluate_error)
        if (st == OC_OK) {
            st = one;
            if (err) *err = e;
        }
    }
    p->batch.n_images = p->n_names;
    return st;
}

static int32_t picture_index(prompts *p, const char *name) {
    for (int i = 0; i < p->n_names; i++)
        if (!strcmp(p->name[i], name)) return i;
    p->name[p->n_names] = name;
    return p->n_names++;
}

/* ---- 3. One batch -------------------------------------------------------------------------------------------------- */

static void close_prompts(prompts *p) {
    for (int i = 0; i < p->n; i++) {
        if (p->tokens) oc_chat_tokens_free(&p->tokens[i]);
        if (p->answer) oc_generation_free(&p->answer[i]);
    }
    oc_free(p->tokens);
    oc_free(p->answer);
    oc_free(p->name);
    oc_free(p->block_image);
    oc_free(p->n_images);
    oc_batch_close(&p->batch);
}

static oc_status open_prompts(const run *r, prompts *p, size_t first, int n, oc_error *err) {
    size_t blocks = 0;
    *p = (prompts){.first = first, .n = n};
    for (int i = 0; i < n; i++) {
        oc_sample s;
        oc_dataset_sample(r->d, r->sample[first + (size_t)i], &s);
        blocks += (size_t)s.n_images;
    }
    p->tokens = oc_calloc((size_t)n, sizeof *p->tokens);
    p->answer = oc_calloc((size_t)n, sizeof *p->answer);
    p->name = oc_calloc(blocks, sizeof *p->name);
    p->block_image = oc_calloc(blocks, sizeof *p->block_image);
    p->n_images = oc_calloc((size_t)n, sizeof *p->n_images);
    bool ok = p->tokens && p->answer && p->name && p->block_image && p->n_images;
    return ok ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a batch of prompts");
}

/* Renders the prompts, and names their pictures. */
static oc_status render_prompts(const run *r, prompts *p, oc_error *err) {
    for (int i = 0; i < p->n; i++) {
        size_t k = p->first + (size_t)i;
        oc_sample s;
        oc_dataset_sample(r->d, r->sample[k], &s);
        OC_TRY(oc_sample_prompt(&s, &r->text, &p->tokens[i], err));
        p->n_images[i] = s.n_images;
        for (int j = 0; j < s.n_images; j++) p->block_image[p->n_blocks++] = picture_index(p, shown_image(r, k, s.image[j]));
    }
    return OC_OK;
}

static oc_status pack(const run *r, prompts *p, oc_error *err) {
    size_t tokens = 0;
    for (int i = 0; i < p->n; i++) tokens += p->tokens[i].ids.len;
    if (tokens > INT32_MAX / 2) return oc_fail(err, OC_ERR_ARG, "a batch of %d prompts has %zu tokens; a smaller batch fits", p->n, tokens);
    OC_TRY(oc_batch_open(&p->batch, (int)tokens, p->n, p->n_blocks, p->n_names, r->text.tokens_per_image, r->image.size, err));
    for (int i = 0, block = 0; i < p->n; i++) {
        const oc_chat_tokens *t = &p->tokens[i];
        bool fits = oc_batch_append(&p->batch, t->ids.data, t->is_answer, (int)t->ids.len, r->text.image_token, p->block_image + block, p->n_images[i]);
        OC_ASSERT(fits);
        block += p->n_images[i];
    }
    oc_spans_fill(&p->batch, r->m->cfg.mask);
    return load_pictures(r, p, err);
}

static oc_status keep_answers(run *r, prompts *p, oc_error *err) {
    for (int i = 0; i < p->n; i++) {
        oc_evaluated *item = &r->e->item[p->first + (size_t)i];
        const oc_generation *g = &p->answer[i];
        oc_strbuf text = {0};
        oc_prompt_answer_text(g, r->text.tokenizer, &text);
        item->answer = text.failed ? NULL : oc_strdup(text.data ? text.data : "");
        oc_strbuf_free(&text);
        if (!item->answer) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the answers");
        item->n_tokens = g->n;
        item->logprob = g->score;
        item->finished = g->finished;
        r->e->new_tokens += g->n;
    }
    r->e->prompt_tokens += p->batch.N;
    r->e->n_images += (size_t)p->n_names;
    return OC_OK;
}

static oc_status run_batch(run *r, size_t first, int n, oc_error *err) {
    prompts p;
    double start = oc_now();
    oc_status st;
    OC_GO(open_prompts(r, &p, first, n, err));
    OC_GO(render_prompts(r, &p, err));
    OC_GO(pack(r, &p, err));
    r->e->picture_s += oc_now() - start;
    start = oc_now();
    OC_GO(oc_generate(r->m, &p.batch, &r->generate, 1, p.answer, err));
    r->e->generate_s += oc_now() - start;
    OC_GO(keep_answers(r, &p, err));
done:
    close_prompts(&p);
    return st;
}

/* ---- 4. All batches ------------------------------------------------------------------------------------------------ */

static oc_status run_batches(run *r, oc_error *err) {
    const size_t B = r->opt->batch > 0 ? (size_t)r->opt->batch : DEFAULT_BATCH;
    oc_progress bar;
    oc_status st = OC_OK;
    oc_progress_open(&bar, "evaluate", (double)r->n, r->opt->quiet);
    for (size_t k = 0; k < r->n && st == OC_OK; k += B) {
        st = oc_interrupted() ? oc_fail(err, OC_ERR_INTERRUPTED, "interrupted after %zu of %zu items", k, r->n)
                              : run_batch(r, k, (int)OC_MIN(B, r->n - k), err);
        if (st != OC_OK) break;
        double s = r->e->picture_s + r->e->generate_s;
        oc_progress_update(&bar, (double)OC_MIN(k + B, r->n), (double)r->n, "%.1f a second, %.0f tokens/s", (double)OC_MIN(k + B, r->n) / s,
                           (double)r->e->new_tokens / s);
    }
    oc_progress_close(&bar);
    return st;
}

/* Fills what is known before: names, prompts, references. */
static oc_status describe_items(run *r, oc_error *err) {
    oc_evaluation *e = r->e;
    e->item = oc_calloc(r->n, sizeof *e->item);
    if (!e->item) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the items");
    e->n = r->n;
    for (size_t k = 0; k < r->n; k++) {
        oc_image_group g;
        oc_dataset_group(r->d, r->group[k], &g);
        e->n_references += (size_t)g.n;
    }
    OC_TRY(oc_alloc_for(&e->references, e->n_references * sizeof *e->references, "the references", err));
    const char **ref = e->references;
    for (size_t k = 0; k < r->n; k++) {
        oc_image_group g;
        oc_sample s;
        oc_dataset_group(r->d, r->group[k], &g);
        oc_dataset_sample(r->d, r->sample[k], &s);
        e->item[k] = (oc_evaluated){.id = s.id, .image = g.image, .shown = shown_image(r, k, g.image), .reference = ref, .n_references = (size_t)g.n};
        if (s.n_turns > 1) e->item[k].prompt = s.turn[s.n_turns - 2].text;
        for (int i = 0; i < g.n; i++) {
            oc_dataset_sample(r->d, g.sample[i], &s);
            *ref++ = s.turn[s.n_turns - 1].text;
        }
    }
    return OC_OK;
}

/* ---- 5. Scores ----------------------------------------------------------------------------------------------------- */

static oc_status score_captions(oc_evaluation *e, oc_error *err) {
    double start = oc_now();
    oc_caption_item *item = oc_calloc(e->n, sizeof *item);
    oc_caption_scores *each = oc_calloc(e->n, sizeof *each);
    oc_status st = item && each ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the scores");
    for (size_t k = 0; k < e->n && st == OC_OK; k++)
        item[k] = (oc_caption_item){e->item[k].id, e->item[k].answer, e->item[k].reference, e->item[k].n_references};
    if (st == OC_OK) st = oc_caption_scores_compute(&e->caption, each, item, e->n, NULL, err);
    for (size_t k = 0; k < e->n && st == OC_OK; k++) e->item[k].caption = each[k];
    oc_free(item);
    oc_free(each);
    e->score_s = oc_now() - start;
    return st;
}

oc_status oc_evaluate(oc_evaluation *out, oc_vlm *m, const oc_tokenizer *t, const oc_dataset *d, const oc_evaluate_options *opt, oc_error *err) {
    memset(out, 0, sizeof *out);
    if (!m->cfg.has_vision || !m->cfg.has_text) return oc_fail(err, OC_ERR_ARG, "a lone tower cannot answer; the model must have a vision encoder and a decoder");
    run r = {.e = out, .m = m, .d = d, .opt = opt, .generate = opt->generate, .text = oc_prompt_text_options(&m->cfg, t), .image = oc_prompt_image_options(&m->cfg)};
    r.generate.want_attention = false;
    oc_prompt_set_eos(&r.generate, &m->cfg, t);
    oc_status st;
    OC_GO(choose_items(&r, err));
    OC_GO(describe_items(&r, err));
    OC_GO(run_batches(&r, err));
    OC_GO(score_captions(out, err));
done:
    oc_free(r.sample);
    oc_free(r.group);
    if (st != OC_OK) oc_evaluation_free(out);
    return st;
}

void oc_evaluation_free(oc_evaluation *e) {
    for (size_t k = 0; e->item && k < e->n; k++) oc_free(e->item[k].answer);
    oc_free(e->item);
    oc_free(e->references);
    memset(e, 0, sizeof *e);
}
