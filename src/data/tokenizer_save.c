/* Writes a tokenizer as Hugging Face reads it: tokenizer.json and tokenizer_config.json. */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/chat.h"
#include "data/tokenizer_internal.h"

/* jansson gives NULL when memory is out and accepts NULL as a value by failing; so one check at the end is enough,
 * on the flag that these helpers keep. */
typedef struct writer {
    const oc_tokenizer *t;
    bool failed;
} writer;

static void put(writer *w, json_t *object, const char *key, json_t *value) {
    if (json_object_set_new(object, key, value) != 0) w->failed = true;
}

static void push(writer *w, json_t *array, json_t *value) {
    if (json_array_append_new(array, value) != 0) w->failed = true;
}

static json_t *byte_level(void) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0,
                     "use_regex", 0);
}

/* A token's spelling, or an added token's text. */
static json_t *token_text(const writer *w, int32_t id, bool spelled) {
    size_t len;
    const char *bytes = oc_tokenizer_token(w->t, id, &len);
    if (!spelled || (w->t->bpe.token[id].flags & OC_TOKEN_FOREIGN)) return json_stringn(bytes, len);
    oc_strbuf b = {0};
    oc_bytes_spell(bytes, len, &b);
    json_t *s = b.failed ? NULL : json_stringn(b.data ? b.data : "", b.len);
    oc_strbuf_free(&b);
    return s;
}

static bool has_flag(const writer *w, int32_t id, uint32_t flag) { return (w->t->bpe.token[id].flags & flag) != 0; }

static json_t *added_entry(writer *w, int32_t id) {
    json_t *e = json_object();
    put(w, e, "content", token_text(w, id, false));
    put(w, e, "single_word", json_false());
    put(w, e, "lstrip", json_false());
    put(w, e, "rstrip", json_false());
    put(w, e, "normalized", json_boolean(has_flag(w, id, OC_TOKEN_NORMALIZED)));
    put(w, e, "special", json_boolean(has_flag(w, id, OC_TOKEN_SPECIAL)));
    return e;
}

static json_t *model(writer *w) {
    const oc_bpe *b = &w->t->bpe;
    json_t *m = json_object(), *vocab = json_object(), *merges = json_array();
    put(w, m, "type", json_string("BPE"));
    put(w, m, "dropout", json_null());
    put(w, m, "unk_token", json_null());
    put(w, m, "continuing_subword_prefix", json_string(""));
    put(w, m, "end_of_word_suffix", json_string(""));
    put(w, m, "fuse_unk", json_false());
    put(w, m, "byte_fallback", json_false());
    put(w, m, "ignore_merges", json_boolean(b->ignore_merges));
    for (int32_t id = 0; id < b->n_tokens; id++) {
        if (!has_flag(w, id, OC_TOKEN_MODEL)) continue;
        json_t *text = token_text(w, id, true);
        if (text) put(w, vocab, json_string_value(text), json_integer(id));
        else w->failed = true;
        json_decref(text);
    }
    for (int32_t r = 0; r < b->n_rules; r++) {
        json_t *pair = json_array();
        push(w, pair, token_text(w, b->rule[r].left, true));
        push(w, pair, token_text(w, b->rule[r].right, true));
        push(w, merges, pair);
    }
    put(w, m, "vocab", vocab);
    put(w, m, "merges", merges);
    return m;
}

static json_t *pre_tokenizer(writer *w) {
    json_t *list = json_array();
    if (w->t->pattern)
        push(w, list,
             json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", w->t->pattern, "behavior",
                       "Isolated", "invert", 0));
    push(w, list, byte_level());
    json_t *p = json_object();
    put(w, p, "type", json_string("Sequence"));
    put(w, p, "pretokenizers", list);
    return p;
}

static json_t *tokenizer_json(writer *w) {
    json_t *root = json_object(), *added = json_array();
    for (int32_t id = 0; id < w->t->bpe.n_tokens; id++) {
        if (!has_flag(w, id, OC_TOKEN_ADDED)) continue;
        json_t *e = json_object(), *rest = added_entry(w, id);
        put(w, e, "id", json_integer(id));
        if (json_object_update(e, rest) != 0) w->failed = true;
        json_decref(rest);
        push(w, added, e);
    }
    put(w, root, "version", json_string("1.0"));
    put(w, root, "truncation", json_null());
    put(w, root, "padding", json_null());
    put(w, root, "added_tokens", added);
    put(w, root, "normalizer", w->t->nfc ? json_pack("{s:s}", "type", "NFC") : json_null());
    put(w, root, "pre_tokenizer", pre_tokenizer(w));
    put(w, root, "post_processor", byte_level());
    put(w, root, "decoder", byte_level());
    put(w, root, "model", model(w));
    return root;
}

/* The name of a token if the tokenizer has it as special, else null. */
static json_t *special_or_null(const writer *w, const char *text) {
    return oc_tokenizer_is_special(w->t, oc_tokenizer_token_id(w->t, text)) ? json_string(text) : json_null();
}

static json_t *tokenizer_config(writer *w) {
    json_t *root = json_object(), *decoder = json_object(), *additional = json_array();
    for (int32_t id = 0; id < w->t->bpe.n_tokens; id++) {
        char key[16];
        if (!has_flag(w, id, OC_TOKEN_ADDED)) continue;
        snprintf(key, sizeof key, "%d", id);
        put(w, decoder, key, added_entry(w, id));
        json_t *text = token_text(w, id, false);
        if (has_flag(w, id, OC_TOKEN_SPECIAL) && text && strcmp(json_string_value(text), "<|endoftext|>"))
            push(w, additional, json_incref(text));
        json_decref(text);
    }
    put(w, root, "add_prefix_space", json_false());
    put(w, root, "added_tokens_decoder", decoder);
    put(w, root, "additional_special_tokens", additional);
    put(w, root, "bos_token", json_null());
    put(w, root, "chat_template", json_string(oc_chatml_template));
    put(w, root, "clean_up_tokenization_spaces", json_false());
    put(w, root, "eos_token", special_or_null(w, "<|im_end|>"));
    put(w, root, "errors", json_string("replace"));
    put(w, root, "pad_token", special_or_null(w, "<|endoftext|>"));
    put(w, root, "split_special_tokens", json_false());
    put(w, root, "tokenizer_class", json_string("Qwen2Tokenizer"));
    put(w, root, "unk_token", json_null());
    return root;
}

static oc_status save(writer *w, json_t *value, const char *dir, const char *name, oc_error *err) {
    char *path = oc_path_join(dir, name);
    oc_status st = path && value && !w->failed ? oc_json_save(value, path, err)
                                               : oc_fail(err, OC_ERR_NOMEM, "%s/%s: out of memory", dir, name);
    json_decref(value);
    oc_free(path);
    return st;
}

oc_status oc_tokenizer_save(const oc_tokenizer *t, const char *dir, oc_error *err) {
    writer w = {.t = t};
    json_t *main_file = tokenizer_json(&w);
    OC_TRY(save(&w, main_file, dir, "tokenizer.json", err));
    json_t *config = tokenizer_config(&w);
    return save(&w, config, dir, "tokenizer_config.json", err);
}
