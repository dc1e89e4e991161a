/* Reads tokenizer.json, or vocab.json + merges.txt. The files come from elsewhere: everything that would make ids
 * differ from the `tokenizers` library's is refused by name rather than ignored. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer_internal.h"
#include "data/tokenizer_text.h"

enum {
    MAX_FILE = 256 << 20,
    ID_GAP = 65536,    /* ids may skip that many numbers in all */
    MAX_ADDED = 4096   /* bytes of an added token */
};

/* --- The pipeline
 * ------------------------------------------------------------------------------------------------- */

static const char *type_of(const json_t *step) {
    const char *type = json_string_value(json_object_get(step, "type"));
    return type ? type : "(no type)";
}

static bool is_absent(const json_t *v) { return !v || json_is_null(v); }

static oc_status refuse(const char *what, const char *part, const char *found, const char *wanted, oc_error *err) {
    return oc_fail(err, OC_ERR_UNSUPPORTED, "%s: the %s is \"%.60s\"; this program knows %s (the Qwen2 pipeline)",
                   what, part, found, wanted);
}

static oc_status read_normalizer(oc_tokenizer *t, const json_t *v, const char *what, oc_error *err) {
    if (is_absent(v)) return OC_OK;
    if (strcmp(type_of(v), "NFC")) return refuse(what, "normalizer", type_of(v), "NFC or none", err);
    t->nfc = true;
    return OC_OK;
}

/* Split by a regular expression that marks the words; nothing removed, nothing inverted. */
static oc_status read_split(oc_tokenizer *t, const json_t *v, const char *what, oc_error *err) {
    const char *pattern = json_string_value(json_object_get(json_object_get(v, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(v, "behavior"));
    if (!pattern) return refuse(what, "pre-tokenizer", "Split without a Regex pattern", "Split with one", err);
    if (!behavior || strcmp(behavior, "Isolated") || json_is_true(json_object_get(v, "invert")))
        return refuse(what, "pre-tokenizer", "Split with another behavior or inverted", "the behavior Isolated",
                      err);
    if (t->pattern) return refuse(what, "pre-tokenizer", "a chain of several Splits", "one Split", err);
    return oc_tokenizer_set_pattern(t, pattern, what, err);
}

static oc_status read_byte_level(oc_tokenizer *t, const json_t *v, const char *what, oc_error *err) {
    const json_t *use_regex = json_object_get(v, "use_regex"); /* absent means true */
    if (json_is_true(json_object_get(v, "add_prefix_space")))
        return refuse(what, "pre-tokenizer", "ByteLevel with add_prefix_space", "ByteLevel without it", err);
    if (json_is_false(use_regex)) return OC_OK;
    if (t->pattern)
        return refuse(what, "pre-tokenizer", "Split followed by ByteLevel with use_regex", "use_regex: false there",
                      err);
    return oc_tokenizer_set_pattern(t, OC_GPT2_PATTERN, what, err);
}

static oc_status read_pre_tokenizer(oc_tokenizer *t, const json_t *v, const char *what, oc_error *err) {
    const json_t *list = json_object_get(v, "pretokenizers");
    if (!strcmp(type_of(v), "ByteLevel")) return read_byte_level(t, v, what, err);
    if (strcmp(type_of(v), "Sequence") || !json_is_array(list))
        return refuse(what, "pre-tokenizer", type_of(v), "ByteLevel, or a Sequence of Split and ByteLevel", err);
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_t *step = json_array_get(list, i);
        bool last = i + 1 == n;
        if (!last && !strcmp(type_of(step), "Split")) OC_TRY(read_split(t, step, what, err));
        else if (last && !strcmp(type_of(step), "ByteLevel")) return read_byte_level(t, step, what, err);
        else return refuse(what, "pre-tokenizer step", type_of(step), "Split, then ByteLevel", err);
    }
    return refuse(what, "pre-tokenizer", "an empty Sequence", "Split, then ByteLevel", err);
}

static oc_status read_pipeline(oc_tokenizer *t, const json_t *root, const char *what, oc_error *err) {
    OC_TRY(read_normalizer(t, json_object_get(root, "normalizer"), what, err));
    OC_TRY(read_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), what, err));
    const json_t *post = json_object_get(root, "post_processor"), *decoder = json_object_get(root, "decoder");
    if (!is_absent(post) && strcmp(type_of(post), "ByteLevel"))
        return refuse(what, "post-processor", type_of(post), "ByteLevel or none, which add no tokens", err);
    if (strcmp(type_of(decoder), "ByteLevel")) return refuse(what, "decoder", type_of(decoder), "ByteLevel", err);
    return OC_OK;
}

static oc_status read_model_options(oc_tokenizer *t, const json_t *model, const char *what, oc_error *err) {
    const char *type = json_string_value(json_object_get(model, "type")); /* old files leave it out */
    if (!json_is_object(model)) return refuse(what, "model", "(missing)", "BPE", err);
    if (type && strcmp(type, "BPE")) return refuse(what, "model", type, "BPE", err);
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < OC_COUNT(affixes); i++) {
        const char *s = json_string_value(json_object_get(model, affixes[i]));
        if (s && *s) return refuse(what, affixes[i], s, "none", err);
    }
    if (json_number_value(json_object_get(model, "dropout")) != 0)
        return refuse(what, "model", "BPE with dropout", "BPE without", err);
    /* unk_token, fuse_unk and byte_fallback are for bytes without a token, of which there are none here. */
    return oc_json_get_bool(model, "ignore_merges", &t->bpe.ignore_merges, what, err);
}

/* --- Vocabulary, rules, added tokens
 * ------------------------------------------------------------------------------ */

typedef struct loader {
    oc_tokenizer *t;
    const char *what;
    int32_t id_end; /* ids must stay below */
    oc_strbuf bytes; /* scratch */
    oc_error *err;
} loader;

static oc_status check_id(loader *l, const json_t *v, const char *token, int32_t *id) {
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= l->id_end)
        return oc_fail(l->err, OC_ERR_FORMAT,
                       "%s: token \"%.60s\" has no usable id; ids are integers from 0 to %d here", l->what, token,
                       l->id_end - 1);
    *id = (int32_t)json_integer_value(v);
    return OC_OK;
}

static oc_status read_vocab(loader *l, const json_t *vocab) {
    const char *spelling;
    json_t *v;
    if (!json_is_object(vocab))
        return oc_fail(l->err, OC_ERR_FORMAT, "%s: no vocabulary, an object from token to id was expected",
                       l->what);
    json_object_foreach((json_t *)(uintptr_t)vocab, spelling, v) {
        int32_t id = 0;
        OC_TRY(check_id(l, v, spelling, &id));
        oc_strbuf_clear(&l->bytes);
        uint32_t flags = OC_TOKEN_MODEL;
        if (!oc_spelling_bytes(spelling, strlen(spelling), &l->bytes)) flags |= OC_TOKEN_FOREIGN;
        if (l->bytes.failed) return oc_fail(l->err, OC_ERR_NOMEM, "%s: out of memory", l->what);
        OC_TRY(oc_bpe_set_token(&l->t->bpe, id, l->bytes.len ? l->bytes.data : "", l->bytes.len, flags, l->what,
                                l->err));
    }
    return OC_OK;
}

/* rule[*n] = the rule that joins two spellings, and *n + 1; a rule of foreign tokens can never apply and is left
 * out. */
static oc_status add_rule(loader *l, oc_bpe_rule *rule, int32_t *n, size_t index, const char *left, size_t left_len,
                          const char *right, size_t right_len) {
    oc_strbuf_clear(&l->bytes);
    bool plain = oc_spelling_bytes(left, left_len, &l->bytes);
    size_t cut = l->bytes.len;
    plain &= oc_spelling_bytes(right, right_len, &l->bytes);
    if (l->bytes.failed) return oc_fail(l->err, OC_ERR_NOMEM, "%s: out of memory", l->what);
    if (!plain) return OC_OK;
    const oc_bpe *b = &l->t->bpe;
    if (cut > 0 && l->bytes.len > cut) {
        oc_bpe_rule r = {oc_bpe_find(b, l->bytes.data, cut),
                         oc_bpe_find(b, l->bytes.data + cut, l->bytes.len - cut),
                         oc_bpe_find(b, l->bytes.data, l->bytes.len)};
        if (r.left >= 0 && r.right >= 0 && r.merged >= 0) {
            rule[(*n)++] = r;
            return OC_OK;
        }
    }
    return oc_fail(l->err, OC_ERR_FORMAT,
                   "%s: merge %zu joins \"%.*s\" and \"%.*s\", but these or the result are not in the vocabulary",
                   l->what, index, (int)OC_MIN(left_len, 60), left, (int)OC_MIN(right_len, 60), right);
}

/* "a b" with exactly one space. */
static oc_status add_rule_line(loader *l, oc_bpe_rule *rule, int32_t *n, size_t index, const char *line,
                               size_t len) {
    const char *space = memchr(line, ' ', len);
    size_t left = space ? (size_t)(space - line) : 0;
    if (!space || memchr(space + 1, ' ', len - left - 1))
        return oc_fail(l->err, OC_ERR_FORMAT, "%s: merge %zu is \"%.*s\", two tokens and one space were expected",
                       l->what, index, (int)OC_MIN(len, 60), line);
    return add_rule(l, rule, n, index, line, left, space + 1, len - left - 1);
}

static oc_status read_merges(loader *l, const json_t *merges) {
    if (!json_is_array(merges))
        return oc_fail(l->err, OC_ERR_FORMAT, "%s: no merges, an array was expected", l->what);
    size_t count = json_array_size(merges);
    oc_bpe_rule *rule;
    int32_t n = 0;
    OC_TRY(oc_alloc_for(&rule, count * sizeof *rule, "the merge rules", l->err));
    oc_status st = OC_OK;
    for (size_t i = 0; i < count && st == OC_OK; i++) {
        const json_t *m = json_array_get(merges, i), *a = json_array_get(m, 0), *b = json_array_get(m, 1);
        if (json_is_string(m)) st = add_rule_line(l, rule, &n, i, json_string_value(m), json_string_length(m));
        else if (json_array_size(m) == 2 && json_is_string(a) && json_is_string(b))
            st = add_rule(l, rule, &n, i, json_string_value(a), json_string_length(a), json_string_value(b),
                          json_string_length(b));
        else
            st = oc_fail(l->err, OC_ERR_FORMAT, "%s: merge %zu is neither a string nor a pair of strings", l->what,
                         i);
    }
    if (st == OC_OK) return oc_bpe_seal(&l->t->bpe, rule, n, l->what, l->err);
    oc_free(rule);
    return st;
}

static oc_status read_added_token(loader *l, const json_t *entry, int32_t id) {
    const char *content = json_string_value(json_object_get(entry, "content"));
    size_t len = content ? strlen(content) : 0;
    if (len == 0 || len > MAX_ADDED)
        return oc_fail(l->err, OC_ERR_FORMAT, "%s: added token %d has no content, or more than %d bytes", l->what,
                       id, MAX_ADDED);
    static const char *const unknown[] = {"single_word", "lstrip", "rstrip"};
    for (size_t i = 0; i < OC_COUNT(unknown); i++)
        if (json_is_true(json_object_get(entry, unknown[i])))
            return oc_fail(l->err, OC_ERR_UNSUPPORTED,
                           "%s: added token \"%.60s\" has %s, which this program does not do", l->what, content,
                           unknown[i]);
    bool special = json_is_true(json_object_get(entry, "special"));
    uint32_t flags = OC_TOKEN_ADDED | (special ? OC_TOKEN_SPECIAL : 0u);
    if (json_is_true(json_object_get(entry, "normalized"))) flags |= OC_TOKEN_NORMALIZED;
    oc_bpe *b = &l->t->bpe;
    oc_token *present = id < b->n_tokens && b->token[id].flags ? &b->token[id] : NULL;
    if (present && (present->flags & OC_TOKEN_MODEL) && present->len == len &&
        !memcmp(b->bytes + present->offset, content, len)) {
        present->flags |= flags;
        return OC_OK;
    }
    return oc_bpe_set_token(b, id, content, len, flags, l->what, l->err);
}

static oc_status read_added(loader *l, const json_t *list) {
    if (is_absent(list)) return OC_OK;
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(list, i);
        int32_t id = 0;
        OC_TRY(check_id(l, json_object_get(entry, "id"), "(added token)", &id));
        OC_TRY(read_added_token(l, entry, id));
    }
    return OC_OK;
}

/* Two added tokens with the same text would make the id depend on their order. */
static oc_status check_added(loader *l) {
    OC_TRY(oc_tokenizer_index_added(l->t, l->what, l->err));
    for (int32_t id = 0; id < l->t->bpe.n_tokens; id++) {
        const oc_token *token = &l->t->bpe.token[id];
        if (!(token->flags & OC_TOKEN_ADDED)) continue;
        oc_strbuf_clear(&l->bytes);
        oc_strbuf_add(&l->bytes, l->t->bpe.bytes + token->offset, token->len);
        if (l->bytes.failed) return oc_fail(l->err, OC_ERR_NOMEM, "%s: out of memory", l->what);
        int32_t found = oc_tokenizer_token_id(l->t, l->bytes.data);
        if (found != id)
            return oc_fail(l->err, OC_ERR_FORMAT, "%s: ids %d and %d are both the added token \"%.60s\"", l->what,
                           found, id, l->bytes.data);
    }
    return OC_OK;
}

static oc_status read_tokenizer(loader *l, const json_t *root) {
    const json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab"),
                 *added = json_object_get(root, "added_tokens");
    size_t count = json_object_size(vocab) + json_array_size(added);
    if (!json_is_object(root) || count > INT32_MAX - ID_GAP)
        return oc_fail(l->err, OC_ERR_FORMAT, "%s: not a tokenizer.json, an object with \"model\" was expected",
                       l->what);
    l->id_end = (int32_t)count + ID_GAP;
    OC_TRY(read_model_options(l->t, model, l->what, l->err));
    OC_TRY(read_pipeline(l->t, root, l->what, l->err));
    OC_TRY(read_vocab(l, vocab));
    OC_TRY(read_merges(l, json_object_get(model, "merges")));
    OC_TRY(read_added(l, added));
    return check_added(l);
}

/* --- vocab.json + merges.txt
 * -------------------------------------------------------------------------------------- */

static oc_status read_merges_text(loader *l, const char *path) {
    char *text;
    size_t size, lines = 1, index = 0;
    OC_TRY(oc_file_read(&text, &size, path, MAX_FILE, l->err));
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    oc_bpe_rule *rule = NULL;
    int32_t n = 0;
    oc_status st = oc_alloc_for(&rule, lines * sizeof *rule, "the merge rules", l->err);
    l->what = path;
    for (size_t at = 0; st == OC_OK && at < size; index++) {
        const char *line = text + at, *end = memchr(line, '\n', size - at);
        size_t len = end ? (size_t)(end - line) : size - at;
        at += len + 1;
        if (len > 0 && line[len - 1] == '\r') len--;
        if (len == 0 || (index == 0 && len >= 8 && !memcmp(line, "#version", 8))) continue;
        st = add_rule_line(l, rule, &n, index, line, len);
    }
    oc_free(text);
    if (st == OC_OK) return oc_bpe_seal(&l->t->bpe, rule, n, path, l->err);
    oc_free(rule);
    return st;
}

/* tokenizer_config.json: {"added_tokens_decoder": {"151643": {"content": ...}}}. */
static oc_status read_added_config(loader *l, const json_t *config) {
    const char *key, *class = json_string_value(json_object_get(config, "tokenizer_class"));
    json_t *entry;
    if (class && strcmp(class, "Qwen2Tokenizer") && strcmp(class, "Qwen2TokenizerFast"))
        return refuse(l->what, "tokenizer_class of vocab.json and merges.txt", class, "Qwen2Tokenizer", l->err);
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, entry) {
        char *end;
        long id = strtol(key, &end, 10);
        if (*end || end == key || id < 0 || id >= l->id_end)
            return oc_fail(l->err, OC_ERR_FORMAT, "%s: \"%.60s\" in added_tokens_decoder is no usable id", l->what,
                           key);
        OC_TRY(read_added_token(l, entry, (int32_t)id));
    }
    return OC_OK;
}

/* added_tokens.json: {"<|im_end|>": 151645}. */
static oc_status read_added_map(loader *l, const json_t *map) {
    const char *content;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)map, content, v) {
        int32_t id = 0;
        OC_TRY(check_id(l, v, content, &id));
        json_t *entry = json_pack("{s:s, s:b}", "content", content, "special", 1);
        oc_status st =
            entry ? read_added_token(l, entry, id) : oc_fail(l->err, OC_ERR_NOMEM, "%s: out of memory", l->what);
        json_decref(entry);
        OC_TRY(st);
    }
    return OC_OK;
}

static oc_status with_json(loader *l, const char *dir, const char *name,
                           oc_status (*use)(loader *, const json_t *)) {
    json_t *root = NULL;
    char *path = oc_path_join(dir, name);
    oc_status st = path ? oc_json_load(&root, path, MAX_FILE, l->err)
                        : oc_fail(l->err, OC_ERR_NOMEM, "%s: out of memory", dir);
    l->what = path;
    if (st == OC_OK) st = use(l, root);
    json_decref(root);
    l->what = dir;
    oc_free(path);
    return st;
}

static oc_status read_vocab_file(loader *l, const json_t *vocab) {
    if (json_object_size(vocab) > INT32_MAX - ID_GAP)
        return oc_fail(l->err, OC_ERR_FORMAT, "%s: too many tokens", l->what);
    l->id_end = (int32_t)json_object_size(vocab) + ID_GAP;
    return read_vocab(l, vocab);
}

static bool has(const char *dir, const char *name) {
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof path && oc_file_exists(path);
}

static oc_status read_vocab_and_merges(loader *l, const char *dir) {
    OC_TRY(with_json(l, dir, "vocab.json", read_vocab_file));
    char *path = oc_path_join(dir, "merges.txt");
    oc_status st = path ? read_merges_text(l, path) : oc_fail(l->err, OC_ERR_NOMEM, "%s: out of memory", dir);
    l->what = dir;
    oc_free(path);
    OC_TRY(st);
    l->t->nfc = true;
    OC_TRY(oc_tokenizer_set_pattern(l->t, OC_QWEN2_PATTERN, dir, l->err));
    if (has(dir, "tokenizer_config.json")) OC_TRY(with_json(l, dir, "tokenizer_config.json", read_added_config));
    bool none = true;
    for (int32_t id = 0; id < l->t->bpe.n_tokens; id++) none &= !(l->t->bpe.token[id].flags & OC_TOKEN_ADDED);
    if (none && has(dir, "added_tokens.json")) OC_TRY(with_json(l, dir, "added_tokens.json", read_added_map));
    return check_added(l);
}

/* --- Opening
 * ------------------------------------------------------------------------------------------------------ */

static oc_status read_path(loader *l, const char *path) {
    if (!oc_dir_exists(path)) return with_json(l, "", path, read_tokenizer);
    if (has(path, "tokenizer.json")) return with_json(l, path, "tokenizer.json", read_tokenizer);
    if (has(path, "vocab.json") && has(path, "merges.txt")) return read_vocab_and_merges(l, path);
    return oc_fail(l->err, OC_ERR_IO, "%s: holds neither tokenizer.json nor vocab.json and merges.txt", path);
}

static oc_status finish(loader *l, oc_status st, oc_tokenizer **out) {
    oc_strbuf_free(&l->bytes);
    if (st == OC_OK) return OC_OK;
    oc_tokenizer_close(*out);
    *out = NULL;
    return st;
}

oc_status oc_tokenizer_open(oc_tokenizer **out, const char *path, oc_error *err) {
    OC_TRY(oc_tokenizer_new(out, err));
    loader l = {.t = *out, .what = path, .err = err};
    return finish(&l, read_path(&l, path), out);
}

oc_status oc_tokenizer_open_memory(oc_tokenizer **out, const char *text, size_t len, const char *name,
                                   oc_error *err) {
    json_t *root;
    *out = NULL;
    OC_TRY(oc_json_parse(&root, text, len, name, err));
    oc_status st = oc_tokenizer_new(out, err);
    if (st == OC_OK) {
        loader l = {.t = *out, .what = name, .err = err};
        st = finish(&l, read_tokenizer(&l, root), out);
    }
    json_decref(root);
    return st;
}
