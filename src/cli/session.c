#include "cli/session.h"

#include <string.h>

#include "base/log.h"

int oc_decoding_options(oc_generate_options *out, const oc_decoding_settings *s, oc_error *err) {
    bool sampling = s->temperature > 0;
    if (s->beams > 1 && sampling) return oc_usage(err, "--beams and --temperature exclude each other");
    if (!sampling && (s->top_k > 0 || (s->top_p > 0 && s->top_p < 1)))
        return oc_usage(err, "--top-k and --top-p need --temperature above 0");
    *out = (oc_generate_options){.max_new_tokens = s->max_new_tokens,
                                 .beams = s->beams,
                                 .length_penalty = s->length_penalty,
                                 .use_length_penalty = true,
                                 .temperature = s->temperature,
                                 .top_p = s->top_p,
                                 .top_k = s->top_k,
                                 .seed = (uint64_t)s->seed};
    return OC_OK;
}

static oc_dtype choose_dtype(const oc_model_settings *o, const oc_compute *c) {
    if (o->dtype) return o->dtype == 2 ? OC_BF16 : OC_F32;
    return oc_compute_has_native_bf16(c) ? OC_BF16 : OC_F32;
}

oc_status oc_session_open(oc_session *s, const char *dir, const oc_model_settings *o, bool with_tokenizer,
                          oc_error *err) {
    memset(s, 0, sizeof *s);
    oc_status st;
    double start = oc_now();
    OC_GO(oc_compute_open(&s->compute, &(oc_compute_options){.threads = o->threads, .backend = o->backend}, err));
    oc_dtype t = choose_dtype(o, s->compute);
    OC_GO(oc_weights_open(&s->model, s->compute, dir, t, err));
    if (with_tokenizer) {
        OC_GO(oc_tokenizer_open(&s->tokenizer, dir, err));
        if (s->model.cfg.has_text) OC_GO(oc_prompt_check_tokenizer(&s->model.cfg, s->tokenizer, dir, err));
    }
    oc_log(OC_LOG_DEBUG, "%s: opened in %.2f s; %s, %s", dir, oc_now() - start, oc_compute_describe(s->compute),
           t == OC_BF16 ? "bf16" : "float32");
done:
    if (st != OC_OK) oc_session_close(s);
    return st;
}

void oc_session_close(oc_session *s) {
    oc_vlm_close(&s->model);
    oc_tokenizer_close(s->tokenizer);
    oc_free(s->system);
    if (s->compute) oc_compute_close(s->compute);
    memset(s, 0, sizeof *s);
}

oc_status oc_session_needs_vlm(const oc_session *s, const char *dir, oc_error *err) {
    const oc_config *c = &s->model.cfg;
    if (c->has_vision && c->has_text) return OC_OK;
    return oc_fail(err, OC_ERR_ARG, "%s: a lone %s; ocellus init joins a vision encoder and a decoder", dir,
                   c->has_text ? "decoder" : "vision encoder");
}

oc_status oc_session_set_prompt(oc_session *s, const char *dir, const oc_prompt_settings *p, oc_error *err) {
    oc_config *c = &s->model.cfg;
    if (p->template) c->template = p->template == 1 ? OC_TEMPLATE_CHAT : OC_TEMPLATE_PLAIN;
    if (c->template == OC_TEMPLATE_PLAIN) return OC_OK;
    if (p->no_system) return c->no_system = true, OC_OK;
    if (!p->system) return oc_prompt_foreign_system(c, dir, &s->system, err);
    s->system = oc_strdup(p->system);
    return s->system ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the system turn");
}

static oc_status pack_prompts(const oc_session *s, oc_batch *b, const oc_chat_tokens *prompt, int n, bool images,
                              oc_error *err) {
    oc_chat_tokens *same = oc_calloc((size_t)n, sizeof *same);
    int32_t *image = oc_calloc((size_t)n, sizeof *image);
    oc_status st = same && image ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the prompts");
    for (int i = 0; st == OC_OK && i < n; i++) {
        same[i] = *prompt;
        image[i] = i;
    }
    if (st == OC_OK) st = oc_prompt_pack(b, &s->model.cfg, same, n, image, images ? n : 0, err);
    oc_free(same);
    oc_free(image);
    return st;
}

/* Picture i, or a blank one and in *unreadable (NULL: not wanted) why it could not be read. */
static oc_status read_picture(oc_batch *b, const oc_config *c, int i, const char *path, oc_error *unreadable,
                              oc_error *err) {
    const size_t plane = 3 * (size_t)b->image_size * (size_t)b->image_size;
    const oc_status st = oc_prompt_picture(b, c, i, path, err);
    if (!unreadable) return st;
    *unreadable = (oc_error){.code = OC_OK};
    if (st == OC_OK || st == OC_ERR_NOMEM) return st;
    *unreadable = *err;
    memset(b->pixels + (size_t)i * plane, 0, plane * sizeof *b->pixels);
    return OC_OK;
}

oc_status oc_session_ask(const oc_session *s, oc_batch *b, const char *question, char *const *image, int n,
                         oc_error *unreadable, oc_error *err) {
    const oc_config *c = &s->model.cfg;
    oc_chat_tokens prompt = {0};
    oc_status st;
    memset(b, 0, sizeof *b);
    OC_GO(oc_prompt_question(c, s->tokenizer, s->system, question, image != NULL, &prompt, err));
    OC_GO(pack_prompts(s, b, &prompt, n, image != NULL, err));
    for (int i = 0; image && i < n; i++)
        OC_GO(read_picture(b, c, i, image[i], unreadable ? &unreadable[i] : NULL, err));
done:
    oc_chat_tokens_free(&prompt);
    return st;
}

oc_status oc_print_json(json_t *o, oc_error *err) {
    char *text = o ? json_dumps(o, JSON_REAL_PRECISION(9)) : NULL;
    json_decref(o);
    if (!text) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the result");
    puts(text);
    free(text);
    return OC_OK;
}
