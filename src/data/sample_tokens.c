/* A conversation, or its prompt, as token ids with its pictures in place. */
#include <stdio.h>
#include <string.h>

#include "data/loader.h"

enum { MAX_MESSAGES = 4100 };

/* Everything, or with `prompt` what stands before the last answer and opens it. */
static oc_status render(const oc_sample *s, const oc_text_options *opt, bool prompt, oc_chat_tokens *out,
                        oc_error *err) {
    if (opt->template == OC_TEMPLATE_PLAIN && prompt) {
        OC_TRY(oc_chat_render_plain(opt->tokenizer, s->n_images, "", -1, out, err));
        out->ids.len = (size_t)s->n_images; /* without the line end */
        return OC_OK;
    }
    if (opt->template == OC_TEMPLATE_PLAIN)
        return oc_chat_render_plain(opt->tokenizer, s->n_images, s->turn[s->n_turns - 1].text, opt->eos_token, out,
                                    err);
    oc_message message[MAX_MESSAGES];
    size_t n = 0;
    if (s->system) message[n++] = (oc_message){"system", s->system};
    int turns = prompt ? s->n_turns - 1 : s->n_turns;
    for (int i = 0; i < turns && n < MAX_MESSAGES; i++)
        message[n++] = (oc_message){s->turn[i].assistant ? "assistant" : "user", s->turn[i].text};
    oc_chat_options chat = {.add_generation_prompt = prompt,
                            .no_system = opt->no_system,
                            .images = s->n_images > 0,
                            .llava_labels = opt->llava_labels};
    return oc_chat_render(opt->tokenizer, message, n, &chat, out, err);
}

static bool add(oc_chat_tokens *out, int32_t id, uint8_t answer) {
    if (!oc_ids_add(&out->ids, id)) return false;
    if (out->ids.len > out->answer_capacity) {
        size_t capacity = out->ids.capacity;
        uint8_t *p = oc_realloc(out->is_answer, out->answer_capacity, capacity);
        if (!p) return false;
        out->is_answer = p;
        out->answer_capacity = capacity;
    }
    out->is_answer[out->ids.len - 1] = answer;
    return true;
}

oc_status oc_expand_images(const oc_chat_tokens *t, const oc_text_options *opt, int n_images,
                           oc_chat_tokens *out, oc_error *err) {
    oc_chat_tokens_clear(out);
    bool ok = true;
    int placed = 0;
    for (size_t i = 0; ok && i < t->ids.len; i++) {
        bool image = n_images > 0 && t->ids.data[i] == opt->image_token;
        placed += image;
        for (int k = 0; ok && k < (image ? opt->tokens_per_image : 1); k++)
            ok = add(out, t->ids.data[i], t->is_answer[i]);
    }
    if (!ok) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the tokens of a sample");
    if (placed != n_images)
        return oc_fail(err, OC_ERR_FORMAT, "%d pictures but %d places for them", n_images, placed);
    out->n_images = placed;
    return OC_OK;
}

oc_status oc_sample_prompt(const oc_sample *s, const oc_text_options *opt, oc_chat_tokens *out, oc_error *err) {
    oc_chat_tokens t = {0};
    oc_status st = render(s, opt, true, &t, err);
    if (st == OC_OK) st = oc_expand_images(&t, opt, s->n_images, out, err);
    oc_chat_tokens_free(&t);
    return st;
}

/* Cuts the end off. The pictures and the beginning of an answer must remain. */
static oc_status shorten(const oc_sample *s, const oc_text_options *opt, oc_chat_tokens *out, oc_error *err) {
    size_t max = (size_t)opt->max_length;
    for (size_t i = max; i < out->ids.len; i++)
        if (s->n_images > 0 && out->ids.data[i] == opt->image_token)
            return oc_fail(err, OC_ERR_FORMAT, "its pictures do not fit into max_length %d", opt->max_length);
    out->ids.len = max;
    if (memchr(out->is_answer, 1, max)) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "nothing of an answer fits into max_length %d", opt->max_length);
}

oc_status oc_sample_tokens(const oc_sample *s, const oc_text_options *opt, oc_chat_tokens *out, bool *cut,
                           oc_error *err) {
    oc_chat_tokens t = {0};
    oc_status st = render(s, opt, false, &t, err);
    if (st == OC_OK) st = oc_expand_images(&t, opt, s->n_images, out, err);
    bool too_long = st == OC_OK && opt->max_length > 0 && out->ids.len > (size_t)opt->max_length;
    if (too_long) st = shorten(s, opt, out, err);
    if (cut) *cut = too_long;
    oc_chat_tokens_free(&t);
    return st;
}
