/* Answers of a model, batch after batch. 1. pictures  2. one batch  3. all batches */
#include "eval/evaluate.h"

#include <string.h>
#include <xxhash.h>

#include "base/progress.h"
#include "base/signals.h"

enum { DEFAULT_BATCH = 32, DEFAULT_TOKENS = 16384, TEXT_TOKENS = 64 };

typedef struct run {
    oc_evaluation *e;
    oc_vlm *m;
    const oc_dataset *d;
    const oc_evaluate_options *opt;
    oc_generate_options generate;
    oc_text_options text;
    oc_image_options image;
} run;

/* One batch: the prompts of items [first, first + n). */
typedef struct prompts {
    size_t first;
    int n, n_blocks, n_names;
    oc_chat_tokens *tokens; /* [n] */
    const char **name;      /* [n_names] distinct pictures */
    uint64_t *hash;         /* [n_names] of their files */
    int32_t *block_image;   /* [n_blocks] indices into name */
    oc_batch batch;
    oc_generation *answer; /* [n] */
} prompts;

/* ---- 1. Pictures --------------------------------------------------------------------------------------------------- */

static oc_status load_picture(const run *r, const char *name, float *pixels, uint64_t *hash, oc_error *err) {
    const uint8_t *bytes;
    size_t size;
    void *owned;
    OC_TRY(oc_dataset_image_bytes(r->d, name, &bytes, &size, &owned, err));
    *hash = XXH3_64bits(bytes, size);
    oc_status st = oc_image_pixels(pixels, bytes, size, name, &r->image, NULL, err);
    oc_free(owned);
    return st;
}

/* On all cores: decoding large pictures takes longer than encoding them with a small model. */
static oc_status load_pictures(const run *r, const prompts *p, oc_error *err) {
    const size_t plane = 3 * (size_t)r->image.size * (size_t)r->image.size;
    oc_status st = OC_OK;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < p->n_names; i++) {
        oc_error e;
        oc_status one = load_picture(r, p->name[i], p->batch.pixels + (size_t)i * plane, &p->hash[i], &e);
        if (one == OC_OK) continue;
#pragma omp critical(oc_evaluate_error)
        if (st == OC_OK) {
            st = one;
            if (err) *err = e;
        }
    }
    return st;
}

static int32_t picture_index(prompts *p, const char *name) {
    for (int i = 0; i < p->n_names; i++)
        if (!strcmp(p->name[i], name)) return i;
    p->name[p->n_names] = name;
    return p->n_names++;
}

/* ---- 2. One batch -------------------------------------------------------------------------------------------------- */

static void close_prompts(prompts *p) {
    for (int i = 0; i < p->n; i++) {
        if (p->tokens) oc_chat_tokens_free(&p->tokens[i]);
        if (p->answer) oc_generation_free(&p->answer[i]);
    }
    oc_free(p->tokens);
    oc_free(p->answer);
    oc_free(p->name);
    oc_free(p->hash);
    oc_free(p->block_image);
    oc_batch_close(&p->batch);
}

static oc_status open_prompts(const run *r, prompts *p, size_t first, int n, oc_error *err) {
    size_t blocks = 0;
    *p = (prompts){.first = first, .n = n};
    for (int i = 0; i < n; i++) {
        oc_sample s;
        oc_dataset_sample(r->d, r->e->item[first + (size_t)i].sample, &s);
        blocks += (size_t)s.n_images;
    }
    p->tokens = oc_calloc((size_t)n, sizeof *p->tokens);
    p->answer = oc_calloc((size_t)n, sizeof *p->answer);
    p->name = oc_calloc(blocks, sizeof *p->name);
    p->hash = oc_calloc(blocks, sizeof *p->hash);
    p->block_image = oc_calloc(blocks, sizeof *p->block_image);
    bool ok = p->tokens && p->answer && p->name && p->hash && p->block_image;
    return ok ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for a batch of prompts");
}

/* Renders the prompts, and names their pictures. */
static oc_status render_prompts(const run *r, prompts *p, oc_error *err) {
    for (int i = 0; i < p->n; i++) {
        const oc_evaluated *item = &r->e->item[p->first + (size_t)i];
        oc_sample s;
        oc_dataset_sample(r->d, item->sample, &s);
        if (!s.system) s.system = r->opt->system;
        oc_error why;
        oc_status st = oc_sample_prompt(&s, &r->text, &p->tokens[i], &why);
        if (st != OC_OK) return oc_fail(err, st, "sample %s: %s", s.id, why.msg);
        for (int j = 0; j < s.n_images; j++)
            p->block_image[p->n_blocks++] = picture_index(p, r->opt->shuffle_images ? item->shown : s.image[j]);
    }
    return OC_OK;
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
        for (int j = 0; j < p->n_names; j++)
            if (!strcmp(p->name[j], item->shown)) item->picture_hash = p->hash[j];
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
    OC_GO(oc_prompt_pack(&p.batch, &r->m->cfg, p.tokens, p.n, p.block_image, p.n_names, err));
    OC_GO(load_pictures(r, &p, err));
    r->e->picture_s += oc_now() - start;
    start = oc_now();
    OC_GO(oc_generate(r->m, &p.batch, &r->generate, 1, p.answer, err));
    r->e->generate_s += oc_now() - start;
    OC_GO(keep_answers(r, &p, err));
    if (r->opt->keep) st = r->opt->keep(r->opt->ctx, r->e, first, (size_t)n, err);
done:
    close_prompts(&p);
    return st;
}

/* ---- 3. All batches ------------------------------------------------------------------------------------------------ */

size_t oc_evaluation_batch(const oc_vlm *m, const oc_tokenizer *t, const oc_evaluate_options *opt) {
    const int per_image = oc_prompt_text_options(&m->cfg, t).tokens_per_image;
    if (opt->batch > 0) return (size_t)opt->batch;
    return (size_t)OC_MAX(1, OC_MIN(DEFAULT_BATCH, DEFAULT_TOKENS / (per_image + TEXT_TOKENS)));
}

static oc_status run_batches(run *r, oc_error *err) {
    const size_t B = oc_evaluation_batch(r->m, r->text.tokenizer, r->opt), done = r->opt->done;
    oc_progress bar;
    oc_status st = OC_OK;
    OC_ASSERT(done == r->e->n || done % B == 0);
    if (!r->opt->quiet) oc_progress_open(&bar, "evaluate", (double)r->e->n, false);
    for (size_t k = done; k < r->e->n && st == OC_OK; k += B) {
        st = oc_interrupted() ? oc_fail(err, OC_ERR_INTERRUPTED, "interrupted after %zu of %zu items", k, r->e->n)
                              : run_batch(r, k, (int)OC_MIN(B, r->e->n - k), err);
        if (st != OC_OK) break;
        if (r->opt->quiet) continue;
        double s = r->e->picture_s + r->e->generate_s;
        oc_progress_update(&bar, (double)OC_MIN(k + B, r->e->n), (double)r->e->n, "%.1f a second, %.0f tokens/s",
                           (double)(OC_MIN(k + B, r->e->n) - done) / s, (double)r->e->new_tokens / s);
    }
    if (!r->opt->quiet) oc_progress_close(&bar);
    return st;
}

oc_status oc_evaluation_generate(oc_evaluation *e, oc_vlm *m, const oc_tokenizer *t, const oc_dataset *d,
                                 const oc_evaluate_options *opt, oc_error *err) {
    if (!m->cfg.has_vision || !m->cfg.has_text)
        return oc_fail(err, OC_ERR_ARG,
                       "a lone tower cannot answer; the model must have a vision encoder and a decoder");
    run r = {.e = e,
             .m = m,
             .d = d,
             .opt = opt,
             .generate = opt->generate,
             .text = oc_prompt_text_options(&m->cfg, t),
             .image = oc_prompt_image_options(&m->cfg)};
    r.generate.want_attention = false;
    oc_prompt_set_eos(&r.generate, &m->cfg, t);
    return run_batches(&r, err);
}

oc_status oc_evaluate(oc_evaluation *out, oc_vlm *m, const oc_tokenizer *t, const oc_dataset *d,
                      const oc_evaluate_options *opt, oc_error *err) {
    OC_TRY(oc_evaluation_open(out, d, opt, err));
    oc_status st;
    OC_GO(oc_evaluation_generate(out, m, t, d, opt, err));
    OC_GO(oc_evaluation_score(out, err));
done:
    if (st != OC_OK) oc_evaluation_free(out);
    return st;
}
