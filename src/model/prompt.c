#include "model/prompt.h"

#include <string.h>

#include "base/file.h"
#include "model/spans.h"

oc_text_options oc_prompt_text_options(const oc_config *c, const oc_tokenizer *t) {
    return (oc_text_options){.tokenizer = t,
                             .template = c->template,
                             .image_token = c->image_token,
                             .eos_token = c->eos_token,
                             .tokens_per_image = c->has_vision ? oc_config_tokens_per_image(c) : 1,
                             .no_system = c->no_system};
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

oc_status oc_prompt_check_tokenizer(const oc_config *c, const oc_tokenizer *t, const char *dir, oc_error *err) {
    int ids = (int)oc_tokenizer_vocab_size(t);
    if (ids <= c->text.vocab) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT,
                   "%s: the tokenizer has %d ids, the decoder only %d rows; they do not belong together", dir, ids,
                   c->text.vocab);
}

oc_status oc_prompt_question(const oc_config *c, const oc_tokenizer *t, const char *system, const char *question,
                             int n_images, oc_chat_tokens *out, oc_error *err) {
    oc_strbuf text = {0};
    oc_text_options to = oc_prompt_text_options(c, t);
    bool placed = strstr(question, OC_IMAGE_PLACEHOLDER) != NULL;
    for (int i = 0; !placed && i < n_images; i++) oc_strbuf_puts(&text, OC_IMAGE_PLACEHOLDER "\n");
    oc_strbuf_puts(&text, question);
    oc_status st = text.failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory for the prompt") : OC_OK;
    if (st == OC_OK) {
        const oc_turn turn[] = {{false, text.data ? text.data : ""}, {true, ""}};
        const oc_sample sample = {.id = "prompt", .n_images = n_images, .n_turns = 2, .turn = turn, .system = system};
        st = oc_sample_prompt(&sample, &to, out, err);
    }
    oc_strbuf_free(&text);
    return st;
}

oc_status oc_prompt_foreign_system(oc_config *c, const char *dir, char **system, oc_error *err) {
    if (c->own || c->template != OC_TEMPLATE_CHAT) return OC_OK;
    OC_TRY(oc_chat_template_check(dir, system, err));
    c->no_system = *system == NULL;
    return OC_OK;
}

oc_status oc_prompt_pack(oc_batch *b, const oc_config *c, const oc_chat_tokens *t, int n, const int32_t *block_image,
                         int n_pictures, oc_error *err) {
    size_t tokens = 0;
    int blocks = 0;
    memset(b, 0, sizeof *b);
    for (int i = 0; i < n; i++) {
        tokens += t[i].ids.len;
        blocks += t[i].n_images;
        if (t[i].ids.len == 0) return oc_fail(err, OC_ERR_ARG, "an empty prompt; at least one token is needed");
        for (size_t k = 0; k < t[i].ids.len; k++)
            if (t[i].ids.data[k] < 0 || t[i].ids.data[k] >= c->text.vocab)
                return oc_fail(
                    err, OC_ERR_FORMAT,
                    "the prompt holds token %d, the decoder knows %d; tokenizer and model do not belong together",
                    (int)t[i].ids.data[k], c->text.vocab);
    }
    if (tokens > INT32_MAX / 2)
        return oc_fail(err, OC_ERR_ARG, "%d prompts of %zu tokens are too much for one batch", n, tokens);
    OC_TRY(oc_batch_open(b, (int)tokens, n, blocks, n_pictures, c->has_vision ? oc_config_tokens_per_image(c) : 1,
                         c->vision.image_size, err));
    for (int i = 0; i < n; i++) {
        bool fits = oc_batch_append(b, t[i].ids.data, t[i].is_answer, (int)t[i].ids.len, c->image_token, block_image,
                                    t[i].n_images);
        OC_ASSERT(fits);
        block_image += t[i].n_images;
    }
    b->n_images = n_pictures;
    oc_spans_fill(b, c->mask);
    return OC_OK;
}

oc_status oc_prompt_picture(oc_batch *b, const oc_config *c, int index, const char *path, oc_error *err) {
    oc_map map;
    oc_image_options o = oc_prompt_image_options(c);
    size_t plane = 3 * (size_t)o.size * (size_t)o.size;
    OC_TRY(oc_map_open(&map, path, err));
    oc_status st = oc_image_pixels(b->pixels + (size_t)index * plane, map.data, map.size, path, &o, NULL, err);
    oc_map_close(&map);
    return st;
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
