/* ocellus forward: what a model computes for one prompt, for comparison with other programs: logits, the loss of an answer,
 * and the norm of the loss's gradient, tensor by tensor. */
#include <math.h>
#include <string.h>

#include "cli/session.h"
#include "data/safetensors.h"
#include "model/spans.h"

static struct {
    const char *prompt, *inputs, *answer, *out;
    oc_string_list image;
    int mask;
    bool raw, gradients, json;
    oc_model_settings model;
    oc_prompt_settings prompting;
} opt;

static const oc_option options[] = {
    {"--prompt", OPT_STRING, &opt.prompt, "TEXT",
     "\"<image>\" marks where the pictures go, in order; without it they come first"},
    {"--raw", OPT_FLAG, &opt.raw, NULL, "TEXT as it is, special tokens recognised, instead of a user's turn"},
    {"--image", OPT_LIST, &opt.image, "FILE", "a picture; may be given several times"},
    {"--inputs", OPT_STRING, &opt.inputs, "FILE",
     "instead of prompt, answer and pictures: a safetensors file with input_ids I64 [T] (each picture as its placeholders), "
     "pixel_values F32 [pictures, 3, S, S] and, for a loss, labels I64 [T] (-100: none); a first dimension of 1 may stand "
     "before T"},
    {"--mask", OPT_ENUM, &opt.mask, "model|causal|prefix|isolated",
     "which keys a visual token sees; model: as it was trained"},
    {"--out", OPT_STRING, &opt.out, "FILE", "safetensors file to write the logits to"},
    {"--answer", OPT_STRING, &opt.answer, "TEXT",
     "print the loss of this answer to the prompt: the mean of -log p over its tokens and its end"},
    {"--gradients", OPT_FLAG, &opt.gradients, NULL, "also print the norm of the loss's gradient for every tensor"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print loss and gradients as JSON"},
    OC_PROMPT_OPTIONS(opt.prompting),
    OC_MODEL_OPTIONS(opt.model),
    {0}};

/* ---- Tokens and pictures of a prompt -------------------------------------------------------------------------------- */

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

/* The answer behind what stands in out. In a chat its end is a token of its own; raw text just goes on. */
static oc_status add_answer(const oc_session *s, oc_chat_tokens *out, oc_error *err) {
    oc_chat_tokens t = {0};
    oc_text_options to = oc_prompt_text_options(&s->model.cfg, s->tokenizer);
    oc_status st = oc_chat_render_plain(s->tokenizer, 0, opt.answer, -1, &t, err); /* answer and "\n" */
    if (st == OC_OK && opt.raw)
        t.ids.len--;
    else if (st == OC_OK && to.template == OC_TEMPLATE_CHAT) {
        int32_t end = oc_tokenizer_token_id(s->tokenizer, "<|im_end|>");
        if (end >= 0) t.ids.data[t.ids.len - 1] = end;
    } else if (st == OC_OK && to.eos_token >= 0)
        t.ids.data[t.ids.len - 1] = to.eos_token;
    size_t n = out->ids.len;
    uint8_t *is_answer = st == OC_OK ? oc_alloc(n + t.ids.len) : NULL;
    bool room = is_answer != NULL;
    for (size_t i = 0; room && i < t.ids.len; i++) room = oc_ids_add(&out->ids, t.ids.data[i]);
    if (st == OC_OK && !room) st = oc_fail(err, OC_ERR_NOMEM, "out of memory for the answer");
    if (st == OC_OK) {
        memset(is_answer, 0, n);
        memset(is_answer + n, 1, t.ids.len);
        oc_free(out->is_answer);
        out->is_answer = is_answer;
        out->answer_capacity = n + t.ids.len;
    } else
        oc_free(is_answer);
    oc_chat_tokens_free(&t);
    return st;
}

static oc_status tokens(const oc_session *s, oc_chat_tokens *out, oc_error *err) {
    OC_TRY(opt.raw ? raw_tokens(s, out, err)
                   : oc_prompt_question(&s->model.cfg, s->tokenizer, s->system, opt.prompt, opt.image.n, out, err));
    return opt.answer ? add_answer(s, out, err) : OC_OK;
}

static oc_status pack_prompt(const oc_session *s, oc_batch *b, oc_error *err) {
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

/* ---- Tokens and pictures of a file ---------------------------------------------------------------------------------- */

/* I64 [T] or [1, T]; wanted 0: any length. */
static oc_status find_ids(const oc_tensor_info **out, const oc_safetensors *f, const char *name, int64_t wanted,
                          oc_error *err) {
    char text[96];
    const oc_tensor_info *t = oc_safetensors_find(f, name);
    *out = t;
    if (!t) return OC_OK;
    bool shape = t->n_dims == 1 || (t->n_dims == 2 && t->shape[0] == 1);
    int64_t n = shape ? t->shape[t->n_dims - 1] : 0;
    if (t->dtype == OC_I64 && n > 0 && n <= INT32_MAX / 4 && (!wanted || n == wanted)) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "%s: %s is %s; I64 [T] was expected%s", opt.inputs, name,
                   oc_tensor_describe(text, sizeof text, t), wanted ? ", with the T of input_ids" : "");
}

static int64_t id_at(const oc_tensor_info *t, size_t i) {
    int64_t x;
    memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
    return x;
}

/* Ids within the vocabulary, pictures in whole blocks of placeholders, labels that repeat their ids. */
static oc_status read_ids(oc_chat_tokens *out, const oc_config *c, const oc_tensor_info *ids,
                          const oc_tensor_info *labels, int n_pictures, oc_error *err) {
    const size_t T = oc_tensor_elements(ids);
    const int per_image = oc_config_tokens_per_image(c);
    size_t visual = 0;
    out->is_answer = oc_calloc(T, 1);
    out->answer_capacity = T;
    if (!out->is_answer) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", opt.inputs);
    for (size_t i = 0; i < T; i++) {
        int64_t id = id_at(ids, i), label = labels ? id_at(labels, i) : -100;
        if (id < 0 || id >= c->text.vocab)
            return oc_fail(err, OC_ERR_FORMAT, "%s: input_ids[%zu] is %lld, the decoder knows 0 to %d", opt.inputs, i,
                           (long long)id, c->text.vocab - 1);
        if (label != -100 && label != id)
            return oc_fail(err, OC_ERR_FORMAT, "%s: labels[%zu] is %lld; -100 or input_ids[%zu], %lld, was expected",
                           opt.inputs, i, (long long)label, i, (long long)id);
        bool picture = n_pictures > 0 && id == c->image_token;
        if (!picture && visual % (size_t)per_image)
            return oc_fail(err, OC_ERR_FORMAT, "%s: a picture ends before input_ids[%zu] after %zu of %d placeholders",
                           opt.inputs, i, visual % (size_t)per_image, per_image);
        visual += picture;
        out->is_answer[i] = label != -100;
        if (!oc_ids_add(&out->ids, (int32_t)id)) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", opt.inputs);
    }
    if (visual != (size_t)n_pictures * (size_t)per_image)
        return oc_fail(err, OC_ERR_FORMAT, "%s: %zu placeholders of pictures, but %d pictures of %d tokens each",
                       opt.inputs, visual, n_pictures, per_image);
    out->n_images = n_pictures;
    return OC_OK;
}

static oc_status check_pixels(const oc_config *c, const oc_tensor_info *t, oc_error *err) {
    char text[96];
    const int S = c->vision.image_size;
    if (!t) return OC_OK;
    if (!c->has_vision)
        return oc_fail(err, OC_ERR_ARG, "%s: pixel_values, but the model has no vision encoder", opt.inputs);
    if (t->dtype == OC_F32 && t->n_dims == 4 && t->shape[0] > 0 && t->shape[0] < 4096 && t->shape[1] == 3 &&
        t->shape[2] == S && t->shape[3] == S)
        return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "%s: pixel_values is %s; F32 [pictures, 3, %d, %d] was expected", opt.inputs,
                   oc_tensor_describe(text, sizeof text, t), S, S);
}

static oc_status pack_file(const oc_session *s, oc_batch *b, oc_error *err) {
    const oc_config *c = &s->model.cfg;
    const oc_tensor_info *ids, *labels, *pixels;
    oc_chat_tokens t = {0};
    int32_t *image = NULL;
    oc_safetensors *f;
    OC_TRY(oc_safetensors_open(&f, opt.inputs, err));
    oc_status st;
    OC_GO(find_ids(&ids, f, "input_ids", 0, err));
    if (!ids) st = oc_fail(err, OC_ERR_FORMAT, "%s: no tensor input_ids", opt.inputs);
    OC_GO(st);
    OC_GO(find_ids(&labels, f, "labels", (int64_t)oc_tensor_elements(ids), err));
    pixels = oc_safetensors_find(f, "pixel_values");
    OC_GO(check_pixels(c, pixels, err));
    const int n = pixels ? (int)pixels->shape[0] : 0;
    OC_GO(read_ids(&t, c, ids, labels, n, err));
    OC_GO(oc_alloc_for(&image, (size_t)n * sizeof *image, "the pictures", err));
    for (int i = 0; i < n; i++) image[i] = i;
    OC_GO(oc_prompt_pack(b, c, &t, 1, image, n, err));
    if (pixels) st = oc_tensor_to_f32(pixels, b->pixels, err);
done:
    oc_chat_tokens_free(&t);
    oc_free(image);
    oc_safetensors_close(f);
    return st;
}

/* ---- Logits --------------------------------------------------------------------------------------------------------- */

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
    if (!opt.json) printf("%s: %d tokens, %d pictures, logits [%d, %d]\n", opt.out, b->N, b->n_images, (int)T, (int)V);
    return OC_OK;
}

static oc_status write_logits(oc_session *s, const oc_batch *b, oc_error *err) {
    int64_t *ids = NULL;
    int32_t *row = NULL;
    float *logits = NULL;
    const size_t T = (size_t)b->N, V = (size_t)s->model.cfg.text.vocab;
    oc_status st;
    OC_GO(oc_alloc_for(&ids, T * sizeof *ids, "token ids", err));
    OC_GO(oc_alloc_for(&row, T * sizeof *row, "rows", err));
    OC_GO(oc_alloc_for(&logits, T * V * sizeof *logits, "logits", err));
    OC_GO(compute(s, b, ids, logits, row, err));
done:
    oc_free(ids);
    oc_free(row);
    oc_free(logits);
    return st;
}

/* ---- Loss and gradients --------------------------------------------------------------------------------------------- */

static double norm(oc_compute *c, const oc_params *p, int row) {
    return sqrt(c->ops.sum_squares(c, oc_params_grad(p, row), p->row[row].n));
}

static oc_status print_json(oc_compute *c, const oc_params *p, const oc_loss *loss, oc_error *err) {
    json_t *o = json_pack("{s:f, s:i, s:i}", "loss", loss->sum / loss->n, "labels", loss->n, "correct", loss->correct);
    if (o && opt.out) json_object_set_new(o, "out", json_string(opt.out));
    json_t *g = o && opt.gradients ? json_object() : NULL;
    double sum = 0;
    for (int i = 0; g && i < p->count; i++) {
        if (p->row[i].unused || !oc_params_grad(p, i)) continue;
        double x = norm(c, p, i);
        sum += x * x;
        json_object_set_new(g, p->row[i].name, json_real(x));
    }
    if (g) {
        json_object_set_new(o, "gradient_norm", json_real(sqrt(sum)));
        json_object_set_new(o, "gradients", g);
    }
    return oc_print_json(o, err);
}

static void print_text(oc_compute *c, const oc_params *p, const oc_loss *loss) {
    printf("loss %.7f over %d tokens, %d of them the most probable one\n", loss->sum / loss->n, loss->n, loss->correct);
    double sum = 0;
    for (int i = 0; opt.gradients && i < p->count; i++) {
        if (p->row[i].unused || !oc_params_grad(p, i)) continue;
        double x = norm(c, p, i);
        sum += x * x;
        printf("%-15.7g %s\n", x, p->row[i].name);
    }
    if (opt.gradients) printf("%-15.7g norm of all gradients\n", sqrt(sum));
}

static oc_status measure_loss(oc_session *s, const oc_batch *b, oc_error *err) {
    oc_vlm *m = &s->model;
    const oc_config *c = &m->cfg;
    const bool parts[OC_PART_COUNT] = {b->n_images > 0, b->n_images > 0, c->has_text};
    if (opt.gradients) OC_TRY(oc_vlm_set_gradients(m, parts, err));
    OC_TRY(oc_vlm_reserve(m, b->N, b->n_images, b->n_blocks, b->n_labels, opt.gradients, err));
    oc_loss loss = oc_vlm_loss(m, b, opt.gradients ? 1.0f / (float)b->n_labels : 0);
    if (opt.json) return print_json(m->compute, &m->params, &loss, err);
    print_text(m->compute, &m->params, &loss);
    return OC_OK;
}

/* ---- The command ---------------------------------------------------------------------------------------------------- */

static oc_status forward(oc_session *s, oc_error *err) {
    oc_batch b = {0};
    oc_status st;
    OC_GO(opt.inputs ? pack_file(s, &b, err) : pack_prompt(s, &b, err));
    if (b.N > s->model.decoder.max_rope)
        st = oc_fail(err, OC_ERR_ARG, "a prompt of %d tokens exceeds the model's %d positions", b.N,
                     s->model.decoder.max_rope);
    else if (opt.inputs && !b.n_labels && (opt.gradients || !opt.out))
        st = oc_fail(err, OC_ERR_ARG, "%s: without labels there is no loss; --out FILE writes logits", opt.inputs);
    OC_GO(st);
    if (opt.out) OC_GO(write_logits(s, &b, err));
    if (b.n_labels) st = measure_loss(s, &b, err);
done:
    oc_batch_close(&b);
    return st;
}

/* Which options go together. */
static oc_status check_usage(oc_error *err) {
    if (!opt.prompt && !opt.inputs) return oc_usage(err, "--prompt is missing (or --inputs)");
    if (opt.inputs && (opt.prompt || opt.answer || opt.raw || opt.image.n))
        return oc_usage(err, "--inputs takes the place of --prompt, --raw, --image and --answer");
    if (!opt.inputs && !opt.answer && !opt.out) return oc_usage(err, "--out is missing (or --answer, for a loss)");
    if (!opt.inputs && !opt.answer && opt.gradients)
        return oc_usage(err, "--gradients needs --answer, of whose loss they are");
    return OC_OK;
}

static int run(int n_args, char **args, oc_error *err) {
    static const oc_mask mask[] = {0, OC_MASK_CAUSAL, OC_MASK_PREFIX, OC_MASK_ISOLATED};
    OC_UNUSED(n_args);
    oc_session s;
    int usage = (int)check_usage(err);
    if (usage) return usage;
    oc_status st = oc_session_open(&s, args[0], &opt.model, !opt.inputs, err);
    if (st != OC_OK) return (int)st;
    if (opt.image.n > 0) OC_GO(oc_session_needs_vlm(&s, args[0], err));
    if (!s.model.cfg.has_text) st = oc_fail(err, OC_ERR_ARG, "%s: a lone vision encoder has no logits", args[0]);
    OC_GO(st);
    if (!opt.raw && !opt.inputs) OC_GO(oc_session_set_prompt(&s, args[0], &opt.prompting, err));
    if (opt.mask) s.model.cfg.mask = mask[opt.mask];
    st = forward(&s, err);
done:
    oc_session_close(&s);
    return (int)st;
}

const oc_command oc_command_forward = {
    .name = "forward",
    .summary = "Logits of a prompt, loss and gradients of an answer",
    .positional = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .details =
        "For comparison with other programs. --out writes input_ids I64 [T], each picture expanded to its placeholders, and\n"
        "logits F32 [T, V]. --answer prints a loss, --gradients how much each tensor of the model is pulled by it: the\n"
        "Euclidean norm of its gradient, under the names that ocellus inspect lists without their prefixes.\n\n"
        "  ocellus forward model --prompt \"What is this?\" --image cat.jpg --mask prefix --dtype f32 --out cat.safetensors\n"
        "  ocellus forward model --raw --prompt \"<image>A cat\" --image cat.jpg --out cat.safetensors\n"
        "  ocellus forward model --prompt \"What is this?\" --image cat.jpg --answer \"A cat.\" --gradients\n"
        "  ocellus forward model --inputs batch.safetensors --gradients --json",
    .options = options,
    .run = run,
};
