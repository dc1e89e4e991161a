/* include/ocellus.h in terms of the model layer. */
#include "ocellus.h"

#include <stdio.h>
#include <string.h>

#include "model/prompt.h"
#include "model/weights.h"

struct oc_model {
    oc_compute *compute;
    oc_vlm vlm;
    oc_tokenizer *tokenizer;
    char *system; /* NULL: as the configuration says */
};

const char *oc_version(void) { return OC_VERSION; }

/* ---- Models -------------------------------------------------------------------------------------------------------- */

static oc_status open_parts(oc_model *m, const char *dir, const oc_model_options *o, oc_error *err) {
    const oc_config *c = &m->vlm.cfg;
    if ((int)o->arithmetic < OC_ARITHMETIC_AUTO || (int)o->arithmetic > OC_ARITHMETIC_BF16)
        return oc_fail(err, OC_ERR_ARG, "arithmetic is %d; an oc_arithmetic was expected", (int)o->arithmetic);
    OC_TRY(oc_compute_open(&m->compute, &(oc_compute_options){.threads = o->threads, .backend = o->backend}, err));
    bool bf16 = o->arithmetic == OC_ARITHMETIC_AUTO ? oc_compute_has_native_bf16(m->compute)
                                                    : o->arithmetic == OC_ARITHMETIC_BF16;
    OC_TRY(oc_weights_open(&m->vlm, m->compute, dir, bf16 ? OC_BF16 : OC_F32, err));
    if (!c->has_vision || !c->has_text)
        return oc_fail(err, OC_ERR_ARG, "%s: a lone %s; a model needs both towers and a projector", dir,
                       c->has_text ? "decoder" : "vision encoder");
    OC_TRY(oc_tokenizer_open(&m->tokenizer, dir, err));
    OC_TRY(oc_prompt_check_tokenizer(c, m->tokenizer, dir, err));
    return oc_prompt_foreign_system(&m->vlm.cfg, dir, &m->system, err);
}

oc_status oc_model_open(oc_model **out, const char *dir, const oc_model_options *opt, oc_error *err) {
    *out = NULL;
    oc_model *m = oc_calloc(1, sizeof *m);
    if (!m) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    oc_status st = open_parts(m, dir, opt ? opt : &(oc_model_options){0}, err);
    if (st == OC_OK) *out = m;
    else oc_model_close(m);
    return st;
}

void oc_model_close(oc_model *m) {
    if (!m) return;
    oc_vlm_close(&m->vlm);
    oc_tokenizer_close(m->tokenizer);
    if (m->compute) oc_compute_close(m->compute);
    oc_free(m->system);
    oc_free(m);
}

void oc_model_describe(const oc_model *m, oc_model_info *info) {
    const oc_config *c = &m->vlm.cfg;
    *info = (oc_model_info){.tokens_per_picture = oc_config_tokens_per_image(c),
                            .max_tokens = m->vlm.decoder.max_rope,
                            .answers_questions = c->template == OC_TEMPLATE_CHAT,
                            .backend = oc_compute_describe(m->compute)};
    for (int i = 0; i < OC_PART_COUNT; i++) info->parameters += m->vlm.params.n_values[i];
}

/* ---- Questions ----------------------------------------------------------------------------------------------------- */

static oc_status generate_options(oc_generate_options *out, const oc_ask_options *o, oc_error *err) {
    if (o->max_new_tokens < 0 || o->beams < 0 || o->beams > 64 || o->top_k < 0 || !(o->temperature >= 0) ||
        !(o->top_p >= 0 && o->top_p <= 1))
        return oc_fail(err, OC_ERR_ARG,
                       "max_new_tokens, beams (up to 64), top_k, temperature and top_p (up to 1) must not be negative");
    if (o->beams > 1 && o->temperature > 0) return oc_fail(err, OC_ERR_ARG, "beams and temperature exclude each other");
    *out = (oc_generate_options){.max_new_tokens = o->max_new_tokens,
                                 .beams = o->beams,
                                 .length_penalty = o->length_penalty != 0 ? o->length_penalty : 1,
                                 .use_length_penalty = true,
                                 .temperature = o->temperature,
                                 .top_p = o->top_p,
                                 .top_k = o->top_k,
                                 .seed = o->seed};
    return OC_OK;
}

static oc_status read_pictures(oc_batch *b, const oc_config *c, const oc_picture *p, int n, oc_error *err) {
    const oc_image_options io = oc_prompt_image_options(c);
    const size_t plane = 3 * (size_t)io.size * (size_t)io.size;
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "picture %d", i);
        OC_TRY(oc_image_pixels(b->pixels + (size_t)i * plane, p[i].bytes, p[i].size, name, &io, NULL, err));
    }
    return OC_OK;
}

static oc_status pack_question(oc_batch *b, const oc_model *m, const char *question, const char *system,
                               const oc_picture *p, int n, oc_error *err) {
    const oc_config *c = &m->vlm.cfg;
    oc_chat_tokens tokens = {0};
    int32_t *order = oc_calloc((size_t)n, sizeof *order);
    oc_status st = order ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for %d pictures", n);
    for (int i = 0; order && i < n; i++) order[i] = i;
    OC_GO(st);
    OC_GO(oc_prompt_question(c, m->tokenizer, system ? system : m->system, question, n, &tokens, err));
    OC_GO(oc_prompt_pack(b, c, &tokens, 1, order, n, err));
    OC_GO(read_pictures(b, c, p, n, err));
done:
    oc_chat_tokens_free(&tokens);
    oc_free(order);
    return st;
}

static oc_status take_answer(oc_answer *out, const oc_generation *g, const oc_tokenizer *t, oc_error *err) {
    oc_strbuf text = {0};
    oc_prompt_answer_text(g, t, &text);
    char *copy = text.failed ? NULL : oc_strdup(text.data ? text.data : "");
    oc_strbuf_free(&text);
    if (!copy) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the answer");
    *out = (oc_answer){.text = copy, .n_tokens = g->n, .finished = g->finished, .logprob = g->score};
    return OC_OK;
}

oc_status oc_model_ask(oc_model *m, const char *question, const oc_picture *pictures, int n, const oc_ask_options *opt,
                       oc_answer *out, oc_error *err) {
    oc_generate_options go;
    oc_generation g = {0};
    oc_batch b = {0};
    memset(out, 0, sizeof *out);
    const oc_ask_options *o = opt ? opt : &(oc_ask_options){0};
    if (n < 0 || n > 4096) return oc_fail(err, OC_ERR_ARG, "%d pictures; 0 to 4096 are possible", n);
    OC_TRY(generate_options(&go, o, err));
    oc_prompt_set_eos(&go, &m->vlm.cfg, m->tokenizer);
    oc_status st;
    if (!question) question = oc_config_caption_prompt(&m->vlm.cfg);
    OC_GO(pack_question(&b, m, question, o->system, pictures, n, err));
    OC_GO(oc_generate(&m->vlm, &b, &go, 1, &g, err));
    OC_GO(take_answer(out, &g, m->tokenizer, err));
done:
    oc_generation_free(&g);
    oc_batch_close(&b);
    return st;
}

void oc_answer_free(oc_answer *a) {
    oc_free(a->text);
    memset(a, 0, sizeof *a);
}
