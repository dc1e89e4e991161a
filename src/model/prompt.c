#include "model/prompt.h"

#include <string.h>

oc_text_options oc_prompt_text_options(const oc_config *c, const oc_tokenizer *t) {
    return (oc_text_options){.tokenizer = t, .template = c->template, .image_token = c->image_token, .eos_token = c->eos_token,
                             .tokens_per_image = c->has_vision ? oc_config_tokens_per_image(c) : 1, .no_system = c->no_system};
}

oc_image_options oc_prompt_image_options(const oc_config *c) {
    oc_image_options o = {.size = c->vision.image_size, .aspect = c->aspect};
    memcpy(o.mean, c->image_mean, sizeof o.mean);
    memcpy(o.std, c->image_std, sizeof o.std);
    return o;
}

static void add_eos(oc_generate_options *opt, int32_t id) {
    for (int i = 0; i < opt->n_eos; i++)
        if (opt->eos[i] == id) return;
    if (id >= 0 && opt->n_eos < (int)OC_COUNT(opt->eos)) opt->eos[opt->n_eos++] = id;
}

void oc_prompt_set_eos(oc_generate_options *opt, const oc_config *c, const oc_tokenizer *t) {
    opt->n_eos = 0;
    add_eos(opt, c->eos_token);
    add_eos(opt, oc_tokenizer_token_id(t, "<|im_end|>"));
    add_eos(opt, oc_tokenizer_token_id(t, "<|endoftext|>"));
    if (c->template == OC_TEMPLATE_PLAIN && c->eos_token < 0) add_eos(opt, oc_tokenizer_token_id(t, "\n"));
}

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

void oc_prompt_answer_text(const oc_generation *g, const oc_tokenizer *t, oc_strbuf *out) {
    oc_strbuf text = {0};
    oc_tokenizer_decode(t, g->token, (size_t)(g->n - (g->finished && g->n > 0)), true, &text);
    size_t from = 0, to = text.len;
    while (to > from && is_blank(text.data[to - 1])) to--;
    while (from < to && is_blank(text.data[from])) from++;
    oc_strbuf_add(out, text.data ? text.data + from : "", to - from);
    out->failed |= text.failed;
    oc_strbuf_free(&text);
}
