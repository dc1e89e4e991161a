/* ocellus forward: the logits of one prompt, for comparison with other programs. */
#include <string.h>

#include "cli/session.h"
#include "data/safetensors.h"
#include "model/spans.h"

static struct {
    const char *prompt, *out;
    oc_string_list image;
    int mask;
    bool raw;
    oc_model_settings model;
    oc_prompt_settings prompting;
} opt;

static const oc_option options[] = {
    {"--prompt", OPT_STRING | OPT_REQUIRED, &opt.prompt, "TEXT",
     "\"<image>\" marks where the pictures go, in order; without it they come first"},
    {"--raw", OPT_FLAG, &opt.raw, NULL, "TEXT as it is, special tokens recognised, instead of a user's turn"},
    {"--image", OPT_LIST, &opt.image, "FILE", "a picture; may be given several times"},
    {"--mask", OPT_ENUM, &opt.mask, "model|causal|prefix|isolated",
     "which keys a visual token sees; model: as it was trained"},
    {"--out", OPT_STRING | OPT_REQUIRED, &opt.out, "FILE", "safetensors file to write"},
    OC_PROMPT_OPTIONS(opt.prompting),
    OC_MODEL_OPTIONS(opt.model),
    {0}};

/* TEXT as it is, pictures expanded. */
static oc_status raw_tokens(const oc_session *s, oc_chat_tokens *out, oc_error *err) {
    oc_text_options to = oc_prompt_text_options(&s->model.cfg, s->tokenizer);
    oc_chat_tokens t = {0};
    oc_strbuf text = {0};
    oc_status st;
    bool places = strstr(opt.prompt, OC_IMAGE_PLACEHOLDER);
    for (int i = 0; !places && i < opt.image.n; i++) oc_strbuf_puts(&text, OC_IMAGE_PLACEHOLDER "\n");
    oc_strbuf_puts(&text, opt.prompt);
    st = text.failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory for the prompt") : OC_OK;
    OC_GO(st);
    OC_GO(oc_chat_render_raw(s->tokenizer, text.data, opt.image.n > 0 || places, true, &t, err));
    if (t.n_images != opt.image.n)
        st = oc_fail(err, OC_ERR_ARG, "%d pictures are given, but the prompt has places for %d", opt.image.n,
                     t.n_images);
    OC_GO(st);
    OC_GO(oc_expand_images(&t, &to, opt.image.n, out, err));
done:
    oc_strbuf_free(&text);
    oc_chat_tokens_free(&t);
    return st;
}

static oc_status tokens(const oc_session *s, oc_chat_tokens *out, oc_error *err) {
    return opt.raw ? raw_tokens(s, out, err)
                   : oc_prompt_question(&s->model.cfg, s->tokenizer, s->system, opt.prompt, opt.image.n, out, err);
}

static oc_status pack(const oc_session *s, oc_batch *b, oc_error *err) {
    oc_chat_tokens t = {0};
    int32_t *image = oc_calloc((size_t)opt.image.n, sizeof *image);
    oc_status st = image ? tokens(s, &t, err) : oc_fail(err, OC_ERR_NOMEM, "out of memory for the prompt");
    for (int i = 0; image && i < opt.image.n; i++) image[i] = i;
    if (st == OC_OK) st = oc_prompt_pack(b, &s->model.cfg, &t, 1, image, opt.image.n, err);
    for (int i = 0; st == OC_OK && i < opt.image.n; i++)
        st = oc_prompt_picture(b, &s->model.cfg, i, opt.image.item[i], err);
    oc_chat_tokens_free(&t);
    oc_free(image);
    return st;
}

/* ids I64 [T] and logits F32 [T, V] are the caller's memory. */
static oc_status compute(oc_session *s, const oc_batch *b, int64_t *ids, float *logits, int32_t *row, oc_error *err) {
    const int64_t T = b->N, V = s->model.cfg.text.vocab;
    OC_TRY(oc_vlm_reserve(&s->model, b->N, b->n_images, b->n_blocks, b->N, false, err));
    void *x = oc_vlm_forward(&s->model, b, NULL, NULL);
    for (int i = 0; i < b->N; i++) {
        row[i] = i;
        ids[i] = b->token[i];
    }
    oc_vlm_logits(&s->model, logits, x, row, b->N);
    const oc_tensor_info tensor[] = {
        {.name = "input_ids", .dtype = OC_I64, .n_dims = 1, .shape = {T}, .data = ids},
        {.name = "logits", .dtype = OC_F32, .n_dims = 2, .shape = {T, V}, .data = logits},
    };
    OC_TRY(oc_safetensors_save(opt.out, tensor, OC_COUNT(tensor), NULL, 0, err));
    printf("%s: %d tokens, %d pictures, logits [%d, %d]\n", opt.out, b->N, b->n_images, (int)T, (int)V);
    return OC_OK;
}

static oc_status forward(oc_session *s, oc_error *err) {
    oc_batch b = {0};
    int64_t *ids = NULL;
    int32_t *row = NULL;
    float *logits = NULL;
    oc_status st;
    OC_GO(pack(s, &b, err));
    size_t T = (size_t)b.N, V = (size_t)s->model.cfg.text.vocab;
    if (b.N > s->model.decoder.max_rope)
        st = oc_fail(err, OC_ERR_ARG, "a prompt of %d tokens exceeds the model's %d positions", b.N,
                     s->model.decoder.max_rope);
    OC_GO(st);
    OC_GO(oc_alloc_for(&ids, T * sizeof *ids, "token ids", err));
    OC_GO(oc_alloc_for(&row, T * sizeof *row, "rows", err));
    OC_GO(oc_alloc_for(&logits, T * V * sizeof *logits, "logits", err));
    OC_GO(compute(s, &b, ids, logits, row, err));
done:
    oc_batch_close(&b);
    oc_free(ids);
    oc_free(row);
    oc_free(logits);
    return st;
}

static int run(int n_args, char **args, oc_error *err) {
    static const oc_mask mask[] = {0, OC_MASK_CAUSAL, OC_MASK_PREFIX, OC_MASK_ISOLATED};
    OC_UNUSED(n_args);
    oc_session s;
    oc_status st = oc_session_open(&s, args[0], &opt.model, true, err);
    if (st != OC_OK) return (int)st;
    if (opt.image.n > 0) OC_GO(oc_session_needs_vlm(&s, args[0], err));
    if (!s.model.cfg.has_text) st = oc_fail(err, OC_ERR_ARG, "%s: a lone vision encoder has no logits", args[0]);
    OC_GO(st);
    if (!opt.raw) OC_GO(oc_session_set_prompt(&s, args[0], &opt.prompting, err));
    if (opt.mask) s.model.cfg.mask = mask[opt.mask];
    st = forward(&s, err);
done:
    oc_session_close(&s);
    return (int)st;
}

const oc_command oc_command_forward = {
    .name = "forward",
    .summary = "Write the logits of a prompt",
    .positional = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .details =
        "Writes input_ids I64 [T], each picture expanded to its placeholders, and logits F32 [T, V].\n\n"
        "  ocellus forward model --prompt \"What is this?\" --image cat.jpg --mask prefix --dtype f32 --out cat.safetensors\n"
        "  ocellus forward model --raw --prompt \"<image>A cat\" --image cat.jpg --out cat.safetensors",
    .options = options,
    .run = run,
};
