/* ocellus tokenizer train: a new vocabulary from captions and other texts. */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/signals.h"
#include "cli/cli.h"
#include "data/bpe_train.h"
#include "data/chat.h"

static struct { int vocab_size, min_count; const char *out; bool lowercase, json; } opt = {.min_count = 2};

static const oc_option options[] = {
    {"--vocab-size", OPT_INT | OPT_REQUIRED, &opt.vocab_size, "260..16777216",
     "ids in all: 256 bytes, merges, 4 special tokens"},
    {"--out", OPT_STRING | OPT_REQUIRED, &opt.out, "DIR", "folder for tokenizer.json and tokenizer_config.json"},
    {"--min-count", OPT_INT, &opt.min_count, "1..", "a pair of tokens must occur that often to be joined"},
    {"--lowercase", OPT_FLAG, &opt.lowercase, NULL,
     "count the texts in lower case (then train models on lower-cased texts too)"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print the result as JSON"},
    {0}};

/* The texts of all files, one after the other. Of a JSON file one element at a time is in memory. */
typedef struct source {
    char **files;
    int n_files, next_file;
    oc_map map;
    bool open, is_json;
    size_t at; /* in a text file */
    oc_json_reader reader;
    json_t *element;    /* of a JSON file */
    const char **texts; /* strings in element */
    size_t n_texts, next_text, capacity;
    const char *rest; /* of a text that holds <image> */
    size_t count, bytes, roles;
} source;

static bool has_extension(const char *path, const char *extension) {
    size_t n = strlen(path), k = strlen(extension);
    return n > k && !strcmp(path + n - k, extension);
}

static oc_status open_next_file(source *s, oc_error *err) {
    const char *path = s->files[s->next_file++];
    s->is_json = has_extension(path, ".json") || has_extension(path, ".jsonl");
    if (!s->is_json && !has_extension(path, ".txt"))
        return oc_fail(err, OC_ERR_ARG,
                       "%s: .txt (one text a line), .json and .jsonl files are read; rename the file by what it is",
                       path);
    OC_TRY(oc_map_open(&s->map, path, err));
    s->open = true;
    s->at = 0;
    oc_json_reader_init(&s->reader, (const char *)s->map.data, s->map.size, path);
    oc_log(OC_LOG_INFO, "reading %s", path);
    return OC_OK;
}

static void close_file(source *s) {
    oc_map_close(&s->map);
    json_decref(s->element);
    s->element = NULL;
    s->n_texts = s->next_text = 0;
    s->open = false;
}

/* Where captions and turns stand in COCO, Karpathy, LLaVA, VQA and plain caption files. */
static bool is_text_key(const char *key) {
    static const char *const keys[] = {"caption", "captions", "value",  "content", "text",
                                       "raw",     "question", "answer", "answers"};
    for (size_t i = 0; i < OC_COUNT(keys); i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}

static bool collect(source *s, const json_t *v, bool wanted) {
    if (json_is_string(v) && wanted) {
        if (s->n_texts == s->capacity) {
            size_t capacity = s->capacity ? 2 * s->capacity : 64;
            const char **p = oc_realloc(s->texts, s->n_texts * sizeof *p, capacity * sizeof *p);
            if (!p) return false;
            s->texts = p;
            s->capacity = capacity;
        }
        s->texts[s->n_texts++] = json_string_value(v);
    }
    const char *key;
    json_t *child;
    size_t i;
    json_array_foreach(v, i, child) if (!collect(s, child, wanted)) return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, child) if (!collect(s, child, is_text_key(key))) return false;
    return true;
}

/* *text = NULL at the file's end. */
static oc_status next_json_text(source *s, const char **text, size_t *len, oc_error *err) {
    while (s->next_text == s->n_texts) {
        json_decref(s->element);
        s->n_texts = s->next_text = 0;
        OC_TRY(oc_json_reader_next(&s->reader, &s->element, err));
        if (!s->element) return OC_OK;
        if (!collect(s, s->element, json_is_string(s->element)))
            return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", s->reader.name);
    }
    *text = s->texts[s->next_text++];
    *len = strlen(*text);
    return OC_OK;
}

static void next_line(source *s, const char **text, size_t *len) {
    if (s->at >= s->map.size) return;
    const char *line = (const char *)s->map.data + s->at, *end = memchr(line, '\n', s->map.size - s->at);
    *text = line;
    *len = end ? (size_t)(end - line) : s->map.size - s->at;
    s->at += *len + 1;
    if (*len > 0 && line[*len - 1] == '\r') --*len;
}

/* A <image> in a text is a token of its own and never reaches the merges: what stands before and after it are two
 * texts. After each text comes the name of a role, which the chat template will write before it: in a small vocabulary it
 * would else be spelled out in every sample. */
static oc_status next_text(void *user, const char **text, size_t *len, oc_error *err) {
    source *s = user;
    if (oc_interrupted()) return oc_fail(err, OC_ERR_INTERRUPTED, "interrupted; nothing was written");
    *text = NULL;
    if (!s->rest && s->roles < s->count) {
        *text = s->roles++ % 2 ? "assistant" : "user";
        *len = strlen(*text);
        return OC_OK;
    }
    if (s->rest) {
        *text = s->rest;
        *len = strlen(s->rest);
    }
    while (!*text && (s->open || s->next_file < s->n_files)) {
        if (!s->open) OC_TRY(open_next_file(s, err));
        if (s->is_json) OC_TRY(next_json_text(s, text, len, err));
        else next_line(s, text, len);
        if (!*text) close_file(s);
        else s->count++;
    }
    s->rest = NULL;
    if (!*text) return OC_OK;
    const char *image = s->is_json ? strstr(*text, OC_IMAGE_PLACEHOLDER) : NULL;
    if (image) {
        *len = (size_t)(image - *text);
        s->rest = image + strlen(OC_IMAGE_PLACEHOLDER);
    }
    s->bytes += *len;
    return OC_OK;
}

static int run(int n_args, char **args, oc_error *err) {
    source s = {.files = args, .n_files = n_args};
    oc_tokenizer *t = NULL;
    const double start = oc_now();
    oc_bpe_train_options train = {
        .vocab_size = opt.vocab_size, .min_count = opt.min_count, .lowercase = opt.lowercase};
    oc_status st = oc_bpe_train(&t, &train, next_text, &s, err);
    close_file(&s);
    oc_free(s.texts);
    if (st == OC_OK && s.count == 0)
        st = oc_fail(
            err, OC_ERR_FORMAT,
            "no texts in the %d file%s; captions are looked for under "
            "\"caption\", \"captions\", \"value\", \"content\", \"text\", \"raw\", \"question\", \"answer\"",
            n_args, n_args == 1 ? "" : "s");
    if (st == OC_OK) st = oc_make_dirs(opt.out, err);
    if (st == OC_OK) st = oc_tokenizer_save(t, opt.out, err);
    if (st == OC_OK) {
        int size = oc_tokenizer_vocab_size(t);
        const double seconds = oc_now() - start;
        if (size < opt.vocab_size)
            oc_log(OC_LOG_WARN,
                   "the texts yield %d tokens, not %d: no further pair occurs %d times; more texts or a lower "
                   "--min-count give more",
                   size, opt.vocab_size, opt.min_count);
        if (opt.json)
            printf("{\"vocab_size\": %d, \"texts\": %zu, \"bytes\": %zu, \"seconds\": %.3f}\n", size, s.count,
                   s.bytes, seconds);
        else
            printf("%s: %d tokens, from %zu texts (%.1f MB) in %.1f s\n", opt.out, size, s.count,
                   (double)s.bytes / 1e6, seconds);
    }
    oc_tokenizer_close(t);
    return (int)st;
}

const oc_command oc_command_tokenizer_train = {
    .name = "tokenizer train",
    .summary = "Learn a vocabulary from texts",
    .positional = "FILE...",
    .min_args = 1,
    .max_args = -1,
    .details = "Writes a byte-level BPE tokenizer with Qwen2's pipeline and chat template, which transformers "
               "loads too. FILE is .txt\n"
               "(one text a line), .json or .jsonl (COCO, Karpathy, LLaVA, VQA: every string under \"caption\", "
               "\"value\", \"text\"\n"
               "and the like). The names of the chat template's roles count as often as the texts.\n\n"
               "  ocellus tokenizer train --vocab-size 4096 --out tok/ captions.json",
    .options = options,
    .run = run,
};
