/* ocellus tokenize: texts to ids and back, one JSON object a line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "data/tokenizer.h"

static struct { bool decode, no_special, skip_special; } opt;

static const oc_option options[] = {
    {"--decode", OPT_FLAG, &opt.decode, NULL, "ids to text"},
    {"--no-special", OPT_FLAG, &opt.no_special, NULL, "special tokens written in the text stay text"},
    {"--skip-special", OPT_FLAG, &opt.skip_special, NULL, "with --decode: leave special tokens out"},
    {0}};

/* {"text": "..."} -> {"ids": [...]} */
static oc_status encode_line(const oc_tokenizer *t, const json_t *in, oc_ids *ids, oc_strbuf *out, oc_error *err) {
    const json_t *text = json_object_get(in, "text");
    oc_encode_options eo = {.no_special = opt.no_special};
    if (!json_is_string(text)) return oc_fail(err, OC_ERR_FORMAT, "an object with a string \"text\" was expected");
    ids->len = 0;
    OC_TRY(oc_tokenizer_encode(t, json_string_value(text), json_string_length(text), &eo, ids, err));
    oc_strbuf_puts(out, "{\"ids\": [");
    for (size_t i = 0; i < ids->len; i++) oc_strbuf_printf(out, "%s%d", i ? ", " : "", ids->data[i]);
    oc_strbuf_puts(out, "]}");
    return OC_OK;
}

/* {"ids": [...]} -> {"text": "..."} */
static oc_status decode_line(const oc_tokenizer *t, const json_t *in, oc_ids *ids, oc_strbuf *out, oc_error *err) {
    const json_t *list = json_object_get(in, "ids"), *v;
    oc_strbuf text = {0};
    size_t i;
    if (!json_is_array(list)) return oc_fail(err, OC_ERR_FORMAT, "an object with an array \"ids\" was expected");
    ids->len = 0;
    json_array_foreach(list, i, v) {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= oc_tokenizer_vocab_size(t))
            return oc_fail(err, OC_ERR_FORMAT, "ids[%zu] is no id; ids are integers from 0 to %d", i,
                           oc_tokenizer_vocab_size(t) - 1);
        if (!oc_ids_add(ids, (int32_t)id)) return oc_fail(err, OC_ERR_NOMEM, "out of memory");
    }
    oc_tokenizer_decode(t, ids->data, ids->len, opt.skip_special, &text);
    json_t *s = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
    oc_strbuf_free(&text);
    char *quoted = s ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
    json_decref(s);
    if (!quoted) return oc_fail(err, OC_ERR_NOMEM, "out of memory");
    oc_strbuf_printf(out, "{\"text\": %s}", quoted);
    free(quoted);
    return OC_OK;
}

static oc_status do_line(const oc_tokenizer *t, const char *line, size_t len, oc_ids *ids, oc_error *err) {
    json_error_t e;
    json_t *in = json_loadb(line, len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);
    oc_strbuf out = {0};
    if (!in) return oc_fail(err, OC_ERR_FORMAT, "not valid JSON: %s", e.text);
    oc_status st = opt.decode ? decode_line(t, in, ids, &out, err) : encode_line(t, in, ids, &out, err);
    if (st == OC_OK && out.failed) st = oc_fail(err, OC_ERR_NOMEM, "out of memory");
    /* Flushed at once: a program at the other end of two pipes may wait for this line. */
    if (st == OC_OK && (puts(out.data) < 0 || fflush(stdout) != 0))
        st = oc_fail(err, OC_ERR_IO, "cannot write to standard output");
    oc_strbuf_free(&out);
    json_decref(in);
    return st;
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    oc_tokenizer *t;
    OC_TRY(oc_tokenizer_open(&t, args[0], err));
    char *line = NULL;
    size_t capacity = 0;
    oc_ids ids = {0};
    oc_status st = OC_OK;
    errno = 0;
    for (ssize_t len, number = 1; st == OC_OK && (len = getline(&line, &capacity, stdin)) >= 0; number++) {
        if (strspn(line, " \t\r\n") == (size_t)len) continue;
        st = do_line(t, line, (size_t)len, &ids, err);
        if (st != OC_OK) oc_fail_prefix(err, "standard input, line %zd", number);
    }
    if (st == OC_OK && !feof(stdin)) st = oc_fail(err, OC_ERR_IO, "standard input: %s", strerror(errno));
    free(line);
    oc_ids_free(&ids);
    oc_tokenizer_close(t);
    return (int)st;
}

const oc_command oc_command_tokenize = {
    .name = "tokenize",
    .summary = "Turn texts into token ids, or back",
    .positional = "TOKENIZER_OR_MODEL",
    .min_args = 1,
    .max_args = 1,
    .details =
        "Reads JSON lines from standard input: {\"text\": \"...\"}, or {\"ids\": [...]} with --decode. Writes one "
        "line for each:\n"
        "{\"ids\": [...]}, or {\"text\": \"...\"}. Special tokens in the text are recognised; none is added.\n\n"
        "  echo '{\"text\": \"A dog runs.\"}' | ocellus tokenize model/\n"
        "  echo '{\"ids\": [32, 5562]}' | ocellus tokenize model/tokenizer.json --decode",
    .options = options,
    .run = run,
};
