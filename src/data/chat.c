#include "data/chat.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"

const char oc_chatml_template[] =
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n" OC_DEFAULT_SYSTEM "<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '" OC_IMAGE_PLACEHOLDER "\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/* --- The output
 * --------------------------------------------------------------------------------------------------- */

void oc_chat_tokens_clear(oc_chat_tokens *c) {
    c->ids.len = 0;
    c->n_images = 0;
}

void oc_chat_tokens_free(oc_chat_tokens *c) {
    oc_ids_free(&c->ids);
    oc_free(c->is_answer);
    *c = (oc_chat_tokens){0};
}

typedef struct builder {
    const oc_tokenizer *t;
    const oc_chat_options *opt;
    oc_chat_tokens *out;
    int32_t im_start, im_end, newline, image;
    oc_error *err;
} builder;

/* Gives the ids from `from` on their mark. */
static oc_status mark(builder *b, size_t from, bool answer) {
    oc_chat_tokens *out = b->out;
    if (out->ids.len > out->answer_capacity) {
        size_t capacity = 2 * out->ids.len + 64;
        uint8_t *p = oc_realloc(out->is_answer, from, capacity);
        if (!p) return oc_fail(b->err, OC_ERR_NOMEM, "out of memory while rendering a conversation");
        out->is_answer = p;
        out->answer_capacity = capacity;
    }
    for (size_t i = from; i < out->ids.len; i++) out->is_answer[i] = answer;
    return OC_OK;
}

static oc_status add_id(builder *b, int32_t id, bool answer) {
    if (!oc_ids_add(&b->out->ids, id))
        return oc_fail(b->err, OC_ERR_NOMEM, "out of memory while rendering a conversation");
    return mark(b, b->out->ids.len - 1, answer);
}

static oc_status add_text(builder *b, const char *text, size_t len, bool answer) {
    size_t from = b->out->ids.len;
    oc_encode_options eo = {.no_special = !b->opt->special_in_content};
    OC_TRY(oc_tokenizer_encode(b->t, text, len, &eo, &b->out->ids, b->err));
    for (size_t i = from; b->opt->special_in_content && i < b->out->ids.len; i++)
        b->out->n_images += b->out->ids.data[i] == b->image;
    return mark(b, from, answer);
}

/* A text with its "<image>"s, if images are wanted. */
static oc_status add_content(builder *b, const char *text, size_t len) {
    while (b->opt->images) {
        const char *image = strstr(text, OC_IMAGE_PLACEHOLDER);
        if (!image) break;
        size_t before = (size_t)(image - text);
        OC_TRY(add_text(b, text, before, false));
        OC_TRY(add_id(b, b->image, false));
        b->out->n_images++;
        text += before + strlen(OC_IMAGE_PLACEHOLDER);
        len -= before + strlen(OC_IMAGE_PLACEHOLDER);
    }
    return add_text(b, text, len, false);
}

/* --- ChatML
 * ------------------------------------------------------------------------------------------------------- */

static oc_status find_token(const builder *b, const char *text, int32_t *id) {
    *id = oc_tokenizer_token_id(b->t, text);
    if (*id >= 0) return OC_OK;
    return oc_fail(b->err, OC_ERR_UNSUPPORTED, "the tokenizer has no token %s, which the chat template needs",
                   text);
}

static oc_status open_builder(builder *b, const oc_tokenizer *t, const oc_chat_options *opt, bool chatml,
                              oc_chat_tokens *out, oc_error *err) {
    *b = (builder){.t = t, .opt = opt, .out = out, .err = err};
    b->image = oc_tokenizer_token_id(t, OC_IMAGE_PLACEHOLDER);
    if (opt->images) OC_TRY(find_token(b, OC_IMAGE_PLACEHOLDER, &b->image));
    if (!chatml) return OC_OK;
    OC_TRY(find_token(b, "<|im_start|>", &b->im_start));
    OC_TRY(find_token(b, "<|im_end|>", &b->im_end));
    return find_token(b, "\n", &b->newline);
}

/* LLaVA-NeXT also predicts these wherever they stand. */
static bool llava_unmasked(const builder *b, int32_t id) {
    return id == b->im_start || id == b->im_end || id == b->newline;
}

/* The header is one text with the content, because a newline at the content's beginning joins the header's. A token
 * that begins in the header is no answer: the prompt ends there. */
static oc_status add_turn(builder *b, const char *role, const char *content) {
    oc_chat_tokens *out = b->out;
    bool user = !strcmp(role, "user"), assistant = !strcmp(role, "assistant"), llava = b->opt->llava_labels;
    oc_strbuf text = {0};
    oc_strbuf_printf(&text, "%s\n", role);
    size_t header = text.len, first = out->ids.len;
    oc_strbuf_puts(&text, content);
    oc_status st =
        text.failed ? oc_fail(b->err, OC_ERR_NOMEM, "out of memory while rendering a conversation") : OC_OK;
    if (st == OC_OK) st = add_id(b, b->im_start, false);
    if (st == OC_OK) st = user ? add_content(b, text.data, text.len) : add_text(b, text.data, text.len, assistant);
    oc_strbuf_free(&text);
    OC_TRY(st);
    size_t at = 0, len;
    for (size_t i = first + 1; i < out->ids.len && at < header; i++, at += len) {
        out->is_answer[i] = 0;
        oc_tokenizer_token(b->t, out->ids.data[i], &len);
    }
    OC_TRY(add_id(b, b->im_end, assistant));
    OC_TRY(add_id(b, b->newline, false));
    for (size_t i = first; llava && i < out->ids.len; i++)
        out->is_answer[i] = (assistant && out->ids.data[i] != b->image) || llava_unmasked(b, out->ids.data[i]);
    return OC_OK;
}

static oc_status check_role(const char *role, size_t index, oc_error *err) {
    static const char *const roles[] = {"system", "user", "assistant"};
    for (size_t i = 0; i < OC_COUNT(roles); i++)
        if (!strcmp(role, roles[i])) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "message %zu has the role \"%.40s\"; system, user and assistant are known",
                   index, role);
}

static oc_status render(builder *b, const oc_message *messages, size_t n) {
    const oc_chat_options *opt = b->opt;
    if (!opt->no_system && (n == 0 || strcmp(messages[0].role, "system"))) {
        OC_TRY(add_turn(b, "system", opt->default_system ? opt->default_system : OC_DEFAULT_SYSTEM));
    }
    for (size_t i = 0; i < n; i++) {
        OC_TRY(check_role(messages[i].role, i, b->err));
        OC_TRY(add_turn(b, messages[i].role, messages[i].content));
    }
    if (!opt->add_generation_prompt) return OC_OK;
    OC_TRY(add_id(b, b->im_start, opt->llava_labels));
    return add_text(b, "assistant\n", strlen("assistant\n"), false);
}

/* Takes back what a failed call appended. */
static oc_status keep_or_undo(oc_status st, oc_chat_tokens *out, size_t len, int n_images) {
    if (st == OC_OK) return OC_OK;
    out->ids.len = len;
    out->n_images = n_images;
    return st;
}

oc_status oc_chat_render(const oc_tokenizer *t, const oc_message *messages, size_t n, const oc_chat_options *opt,
                         oc_chat_tokens *out, oc_error *err) {
    builder b;
    size_t len = out->ids.len;
    int n_images = out->n_images;
    OC_TRY(open_builder(&b, t, opt ? opt : &(oc_chat_options){0}, true, out, err));
    return keep_or_undo(render(&b, messages, n), out, len, n_images);
}

/* --- Without turns
 * ------------------------------------------------------------------------------------------------ */

static oc_status render_plain(builder *b, int n_images, const char *answer, int32_t end_token) {
    for (int i = 0; i < n_images; i++) OC_TRY(add_id(b, b->image, false));
    b->out->n_images += n_images;
    oc_strbuf text = {0};
    oc_strbuf_puts(&text, answer);
    if (end_token < 0) oc_strbuf_putc(&text, '\n'); /* one text with the answer: ".\n" may be one token */
    oc_status st = text.failed ? oc_fail(b->err, OC_ERR_NOMEM, "out of memory while rendering a caption") : OC_OK;
    if (st == OC_OK) st = add_text(b, text.data ? text.data : "", text.len, true);
    oc_strbuf_free(&text);
    if (st == OC_OK && end_token >= 0) st = add_id(b, end_token, true);
    return st;
}

oc_status oc_chat_render_plain(const oc_tokenizer *t, int n_images, const char *answer, int32_t end_token,
                               oc_chat_tokens *out, oc_error *err) {
    builder b;
    size_t len = out->ids.len;
    int before = out->n_images;
    oc_chat_options opt = {.images = n_images > 0};
    OC_TRY(open_builder(&b, t, &opt, false, out, err));
    b.opt = &(oc_chat_options){0}; /* "<image>" in a caption is text */
    return keep_or_undo(render_plain(&b, n_images, answer, end_token), out, len, before);
}

oc_status oc_chat_render_raw(const oc_tokenizer *t, const char *text, bool images, bool special_in_content,
                             oc_chat_tokens *out, oc_error *err) {
    builder b;
    size_t len = out->ids.len;
    int before = out->n_images;
    oc_chat_options opt = {.images = images, .special_in_content = special_in_content};
    OC_TRY(open_builder(&b, t, &opt, false, out, err));
    return keep_or_undo(add_content(&b, text, strlen(text)), out, len, before);
}

/* --- Recognising a template
 * --------------------------------------------------------------------------------------- */

/* Spaces and quotes of a template vary, and "\n" is written as a character or as an escape. Leaves no spaces,
 * single quotes, and characters. */
static char *squeeze(const char *s) {
    char *out = oc_alloc(strlen(s) + 1), *p = out;
    if (!out) return NULL;
    for (; *s; s++) {
        if (*s == ' ' || *s == '\t') continue;
        if (s[0] == '\\' && s[1] == 'n') *p++ = '\n', s++;
        else *p++ = *s == '"' ? '\'' : *s;
    }
    *p = 0;
    return out;
}

static bool contains_any(const char *s, const char *const *marks, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strstr(s, marks[i])) return true;
    return false;
}

static bool is_chatml(const char *squeezed) {
    static const char *const turns[] = {"role']+'\n", ".role+'\n", "<|im_start|>user\n"};
    static const char *const others[] = {"[INST]",   "<start_of_turn>",  "<|start_header_id|>",
                                         "<|user|>", "<|vision_start|>", "<think>"};
    return strstr(squeezed, "<|im_start|>") && strstr(squeezed, "<|im_end|>") &&
           contains_any(squeezed, turns, OC_COUNT(turns)) && !contains_any(squeezed, others, OC_COUNT(others));
}

/* The literal that follows `before` up to `end`, if no quote interrupts it. */
static bool literal_after(const char *s, const char *before, const char *end, oc_strbuf *out) {
    for (const char *p = s; (p = strstr(p, before)); ) {
        p += strlen(before);
        const char *stop = strstr(p, end), *quote = strpbrk(p, "'\"");
        if (!stop || (quote && quote < stop)) continue;
        for (; p < stop; p++) {
            if (p[0] == '\\' && p[1] == 'n') oc_strbuf_putc(out, '\n'), p++;
            else oc_strbuf_putc(out, *p);
        }
        oc_strbuf_puts(out, "");
        return true;
    }
    return false;
}

static oc_status system_text(const char *template, char **out, oc_error *err) {
    oc_strbuf b = {0};
    bool found = literal_after(template, "<|im_start|>system\n", "<|im_end|>", &b) ||
                 literal_after(template, "<|im_start|>system\\n", "<|im_end|>", &b) ||
                 literal_after(template, "set system_message = '", "'", &b) ||
                 literal_after(template, "set system_message = \"", "\"", &b);
    *out = b.data;
    return found && b.failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory for the chat template") : OC_OK;
}

static oc_status check_template(const char *template, const char *where, char **default_system, oc_error *err) {
    char *squeezed = squeeze(template);
    if (!squeezed) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for the chat template", where);
    bool ok = is_chatml(squeezed);
    oc_free(squeezed);
    if (ok) return system_text(template, default_system, err);
    return oc_fail(err, OC_ERR_UNSUPPORTED,
                   "%s: the chat template is not Qwen2's ChatML (<|im_start|>role, newline, text, <|im_end|>), the "
                   "only one this program "
                   "renders; it begins with \"%.80s\"",
                   where, template);
}

/* The template in a parsed file: the key's string, or the entry "default" of a list of named templates. */
static const char *template_in(const json_t *root) {
    const json_t *v = json_object_get(root, "chat_template"), *entry;
    if (json_is_string(v)) return json_string_value(v);
    size_t i;
    json_array_foreach(v, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && !strcmp(name, "default")) return json_string_value(json_object_get(entry, "template"));
    }
    return NULL;
}

/* *found becomes true when the file is there and has a template. */
static oc_status check_file(const char *dir, const char *name, bool json, bool *found, char **default_system,
                            oc_error *err) {
    enum { MAX_FILE = 16 << 20 };
    char *path = oc_path_join(dir, name), *text = NULL;
    json_t *root = NULL;
    size_t size;
    oc_status st = OC_OK;
    const char *template = NULL;
    if (!path) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
    if (!oc_file_exists(path)) goto done;
    if (json) OC_GO(oc_json_load(&root, path, MAX_FILE, err));
    else OC_GO(oc_file_read(&text, &size, path, MAX_FILE, err));
    template = json ? template_in(root) : text;
    *found = template != NULL;
    if (template) st = check_template(template, path, default_system, err);
done:
    oc_free(path);
    oc_free(text);
    json_decref(root);
    return st;
}

oc_status oc_chat_template_check(const char *dir, char **default_system, oc_error *err) {
    static const struct {
        const char *name;
        bool json;
    } files[] = {{"chat_template.jinja", false}, {"chat_template.json", true}, {"tokenizer_config.json", true}};
    *default_system = NULL;
    bool found = false;
    for (size_t i = 0; i < OC_COUNT(files) && !found; i++)
        OC_TRY(check_file(dir, files[i].name, files[i].json, &found, default_system, err));
    if (found) return OC_OK;
    *default_system = oc_strdup(OC_DEFAULT_SYSTEM);
    return *default_system ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", dir);
}
