/* The tokenizer against vectors from the `tokenizers` library (tests/data/tokenizer), and its own laws. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "data/bpe.h"
#include "data/tokenizer.h"
#include "data/tokenizer_text.h"

static const char dir[] = OC_TEST_DATA "/tokenizer";
static oc_error err;

#define OK(call)                                                                                                   \
    do {                                                                                                           \
        oc_status ok_status_ = (call);                                                                             \
        if (ok_status_ != OC_OK) fail_msg("%s: %s", #call, err.msg);                                               \
    } while (0)

static int open_golden(void **state) {
    oc_tokenizer *t = NULL;
    if (oc_tokenizer_open(&t, dir, &err) != OC_OK) return fprintf(stderr, "%s\n", err.msg), -1;
    *state = t;
    return 0;
}

static int close_golden(void **state) {
    oc_tokenizer_close(*state);
    return 0;
}

static oc_ids encode(const oc_tokenizer *t, const char *text, size_t len, bool no_special) {
    oc_ids ids = {0};
    OK(oc_tokenizer_encode(t, text, len, &(oc_encode_options){.no_special = no_special}, &ids, &err));
    return ids;
}

/* Reads one JSON line, NUL characters in strings allowed. */
static json_t *parse_line(const char *line, size_t len) {
    json_error_t e;
    json_t *v = json_loadb(line, len, JSON_ALLOW_NUL, &e);
    if (!v) fail_msg("%s in %.*s", e.text, (int)len, line);
    return v;
}

static void check_ids(const json_t *want, const oc_ids *got, const char *line, size_t len) {
    bool same = json_array_size(want) == got->len;
    for (size_t i = 0; same && i < got->len; i++)
        same = json_integer_value(json_array_get(want, i)) == got->data[i];
    if (same) return;
    printf("got:");
    for (size_t i = 0; i < got->len; i++) printf(" %d", got->data[i]);
    fail_msg("\nids differ for %.*s", (int)len, line);
}

static void check_text(const json_t *want, const oc_strbuf *got, const char *what, const char *line, size_t len) {
    OC_ASSERT(!got->failed);
    if (json_string_length(want) != got->len || (got->len && memcmp(json_string_value(want), got->data, got->len)))
        fail_msg("%s is \"%.*s\" for %.*s", what, (int)got->len, got->data ? got->data : "", (int)len, line);
}

/* Both ways of decoding. */
static void check_decoded(const oc_tokenizer *t, const json_t *row, const oc_ids *ids, bool skip, const char *line,
                          size_t len) {
    const char *key = skip ? "decoded_skip" : "decoded";
    oc_strbuf whole = {0}, stream = {0};
    oc_decode_stream s = {0};
    oc_tokenizer_decode(t, ids->data, ids->len, skip, &whole);
    for (size_t i = 0; i < ids->len; i++) {
        size_t before = stream.len;
        oc_decode_stream_next(&s, t, ids->data[i], skip, &stream);
        if (stream.len > before) assert_true(oc_text_look(stream.data + before, stream.len - before).valid);
    }
    oc_decode_stream_finish(&s, &stream);
    check_text(json_object_get(row, key), &whole, key, line, len);
    check_text(json_object_get(row, key), &stream, "the streamed text", line, len);
    oc_strbuf_free(&whole);
    oc_strbuf_free(&stream);
}

static bool collect_word(void *user, const char *word, size_t len) {
    return json_array_append_new(user, json_stringn(word, len)) == 0;
}

static void check_row(const oc_tokenizer *t, const json_t *row, const char *line, size_t len) {
    const json_t *text = json_object_get(row, "text"), *want = json_object_get(row, "ids"),
                 *split = json_object_get(row, "split");
    oc_ids ids = {0};
    if (json_is_string(text)) ids = encode(t, json_string_value(text), json_string_length(text), false);
    else
        for (size_t i = 0; i < json_array_size(want); i++)
            oc_ids_add(&ids, (int32_t)json_integer_value(json_array_get(want, i)));
    check_ids(want, &ids, line, len);
    if (json_object_get(row, "decoded")) {
        check_decoded(t, row, &ids, false, line, len);
        check_decoded(t, row, &ids, true, line, len);
    }
    if (split) {
        json_t *got = json_array();
        OK(oc_tokenizer_split(t, json_string_value(text), json_string_length(text), collect_word, got, &err));
        if (!json_equal(got, split)) fail_msg("words are %s for %.*s", json_dumps(got, 0), (int)len, line);
        json_decref(got);
    }
    oc_ids_free(&ids);
}

static int check_vectors(const oc_tokenizer *t, const char *path) {
    char *text;
    size_t size;
    int rows = 0;
    OK(oc_file_read(&text, &size, path, 1 << 24, &err));
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, rows++) {
        json_t *row = parse_line(line, (size_t)(end - line));
        check_row(t, row, line, (size_t)(end - line));
        json_decref(row);
    }
    oc_free(text);
    return rows;
}

static void golden_vectors(void **state) {
    assert_int_equal(check_vectors(*state, OC_TEST_DATA "/tokenizer/vectors.jsonl"), 485);
}

/* --- Unicode
 * ------------------------------------------------------------------------------------------------------ */

static size_t put_char(char *out, int32_t cp) {
    if (cp < 0x80) return out[0] = (char)cp, 1;
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3f));
    out[0] = (char)(0xf00 >> n | cp);
    return n;
}

/* class[cp] = value for the ranges of one class. */
static void mark_ranges(const json_t *ranges, uint8_t *class, uint8_t value) {
    for (size_t i = 0; i < json_array_size(ranges); i++) {
        const json_t *r = json_array_get(ranges, i);
        for (json_int_t cp = json_integer_value(json_array_get(r, 0));
             cp <= json_integer_value(json_array_get(r, 1)); cp++)
            class[cp] = value;
    }
}

static bool count_words(void *user, const char *word, size_t len) {
    OC_UNUSED(word);
    OC_UNUSED(len);
    ++*(int *)user;
    return true;
}

/* Every code point's class, seen from how the Qwen2 pattern cuts. With c a letter: "ac" and ".c" and "cc" are one
 * word. A number: each digit is one word. A space: "c" goes with neither. Anything else: ".c" and "cc" are one
 * word, "ac" two. */
static void character_classes(void **state) {
    enum { OTHER, LETTER, NUMBER, SPACE, CLASSES };
    static const int words[CLASSES][3] = {
        [OTHER] = {2, 1, 1}, [LETTER] = {1, 1, 1}, [NUMBER] = {2, 2, 2}, [SPACE] = {2, 2, 1}};
    json_t *table;
    uint8_t *class = oc_calloc(0x110000, 1);
    OK(oc_json_load(&table, OC_TEST_DATA "/tokenizer/unicode_ranges.json", 1 << 20, &err));
    mark_ranges(json_object_get(table, "\\p{L}"), class, LETTER);
    mark_ranges(json_object_get(table, "\\p{N}"), class, NUMBER);
    mark_ranges(json_object_get(table, "\\s"), class, SPACE);
    json_decref(table);
    class['\n'] = class['\r'] = OTHER; /* these join ".", as the pattern says */
    int wrong = 0;
    for (int32_t cp = 1; cp < 0x110000; cp++) {
        char pair[3][8] = {"a", "."};
        if (cp >= 0xd800 && cp < 0xe000) continue;
        size_t n = put_char(pair[2], cp), len = n;
        const char *seen = pair[2];
        oc_strbuf buf = {0};
        assert_true(oc_text_nfc(&seen, &len, &buf));
        bool changes = seen != pair[2]; /* becomes another character, which has its own turn */
        oc_strbuf_free(&buf);
        if (changes) continue;
        put_char(pair[0] + 1, cp);
        put_char(pair[1] + 1, cp);
        put_char(pair[2] + n, cp);
        for (int i = 0; i < 3; i++) {
            int count = 0;
            OK(oc_tokenizer_split(*state, pair[i], i == 2 ? 2 * n : 1 + n, count_words, &count, &err));
            if (count != words[class[cp]][i] && wrong++ < 10)
                printf("U+%04X of class %d: pair %d makes %d words\n", cp, class[cp], i, count);
        }
    }
    oc_free(class);
    assert_int_equal(wrong, 0);
}

static void expect_nfc(const char *text, const char *want) {
    const char *got = text;
    size_t len = strlen(text);
    oc_strbuf buf = {0};
    assert_true(oc_text_nfc(&got, &len, &buf));
    assert_int_equal(len, strlen(want));
    assert_memory_equal(got, want, len);
    oc_strbuf_free(&buf);
}

static void nfc(void **state) {
    OC_UNUSED(state);
    expect_nfc("", "");
    expect_nfc("plain", "plain");
    expect_nfc("cafe\xcc\x81", "caf\xc3\xa9");
    expect_nfc("e\xcc\x81 e\xcc\x81", "\xc3\xa9 \xc3\xa9");
    expect_nfc("\xcc\x81", "\xcc\x81");
    expect_nfc("\xe2\x84\xab", "\xc3\x85");                                     /* angstrom sign */
    expect_nfc("q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87");                       /* order by class */
    expect_nfc("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81");         /* Hangul L V T */
    expect_nfc("\xea\xb0\x80\xe1\x86\xa8", "\xea\xb0\x81");                     /* LV + T */
    expect_nfc("\xea\xb0\x80\xe1\x86\xa7", "\xea\xb0\x80\xe1\x86\xa7");     /* U+11A7 is no T */
    expect_nfc("\xe3\x82\xab\xe3\x82\x99", "\xe3\x82\xac");
    expect_nfc("\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0", "\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0"); /* Unicode 13: left alone */
    expect_nfc("a\xe0\xa2\x98\xcc\xa3",
               "a\xe0\xa2\x98\xcc\xa3"); /* U+0898 (Unicode 14) is a starter to the reference */
}

/* Many marks of falling class on one letter: must not take quadratic time, and must come out sorted and stable. */
static void nfc_of_many_marks(void **state) {
    OC_UNUSED(state);
    enum { MARKS = 400000 };
    oc_strbuf text = {0}, buf = {0};
    oc_strbuf_puts(&text, "q");
    for (int i = 0; i < MARKS; i++) oc_strbuf_puts(&text, i % 2 ? "\xcc\xa3" : "\xcc\x87"); /* classes 220, 230 */
    const char *got = text.data;
    size_t len = text.len;
    double start = oc_now();
    assert_true(oc_text_nfc(&got, &len, &buf));
    assert_true(oc_now() - start < 10 * OC_TIME_FACTOR); /* by swaps: a minute */
    assert_int_equal(len, text.len);
    assert_memory_equal(got + 1, "\xcc\xa3", 2);
    assert_memory_equal(got + MARKS - 1, "\xcc\xa3\xcc\x87", 4);
    assert_memory_equal(got + len - 2, "\xcc\x87", 2);
    oc_strbuf_free(&text);
    oc_strbuf_free(&buf);
}

static void broken_utf8(void **state) {
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"a\xff" "b", "a\xef\xbf\xbd" "b"},
        {"\xe2\x82", "\xef\xbf\xbd"},                                       /* cut off: one replacement */
        {"\xe2\x82" "a", "\xef\xbf\xbd" "a"},
        {"\xf0\x9f\x98", "\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                           /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},           /* surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* above U+10FFFF */
        {"\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f<image>", "\xef\xbf\xbd<image>"},
        {"\xe2\xf0\x9f\x98\x80", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_ids got = encode(*state, cases[i].in, strlen(cases[i].in), false);
        oc_ids want = encode(*state, cases[i].out, strlen(cases[i].out), false);
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.data, want.data, want.len * sizeof *want.data);
        oc_strbuf text = {0};
        oc_tokenizer_decode(*state, got.data, got.len, false, &text);
        assert_string_equal(text.data, cases[i].out);
        oc_strbuf_free(&text);
        oc_ids_free(&got);
        oc_ids_free(&want);
    }
}

/* --- Special tokens
 * ----------------------------------------------------------------------------------------------- */

static void special_tokens(void **state) {
    const oc_tokenizer *t = *state;
    static const char text[] = "<|im_end|>a<image>";
    oc_ids on = encode(t, text, strlen(text), false), off = encode(t, text, strlen(text), true);
    assert_int_equal(on.len, 3);
    assert_int_equal(on.data[0], 510);
    assert_int_equal(on.data[2], 511);
    for (size_t i = 0; i < off.len; i++) assert_true(off.data[i] < 508);
    oc_strbuf back = {0};
    oc_tokenizer_decode(t, off.data, off.len, true, &back);
    assert_string_equal(back.data, text);
    oc_strbuf_free(&back);
    oc_ids_free(&on);
    oc_ids_free(&off);

    assert_int_equal(oc_tokenizer_token_id(t, "<|im_end|>"), 510);
    assert_int_equal(oc_tokenizer_token_id(t, "<|im_end"), -1);
    assert_int_equal(oc_tokenizer_token_id(t, ""), -1);
    assert_int_equal(oc_tokenizer_token_id(t, "\n"), 198);
    assert_int_equal(oc_tokenizer_token_id(t, " "), 220);
    assert_int_equal(oc_tokenizer_vocab_size(t), 512);
    assert_true(oc_tokenizer_is_special(t, 511));
    assert_false(oc_tokenizer_is_special(t, 507));
    assert_false(oc_tokenizer_is_special(t, 512));
    size_t len;
    assert_int_equal(oc_tokenizer_token(t, 198, &len)[0], '\n');
    assert_int_equal(len, 1);
    assert_null(oc_tokenizer_token(t, -1, &len));
    assert_null(oc_tokenizer_token(t, 512, &len));
}

static void adding_a_special(void **state) {
    OC_UNUSED(state);
    oc_tokenizer *t;
    int32_t id;
    OK(oc_tokenizer_open(&t, dir, &err));
    OK(oc_tokenizer_add_special(t, "<image>", &id, &err));
    assert_int_equal(id, 511); /* had one */
    OK(oc_tokenizer_add_special(t, "<box>", &id, &err));
    assert_int_equal(id, 512);
    assert_int_equal(oc_tokenizer_vocab_size(t), 513);
    oc_ids ids = encode(t, "<box><image>", 12, false);
    assert_int_equal(ids.len, 2);
    assert_int_equal(ids.data[0], 512);
    assert_int_equal(oc_tokenizer_add_special(t, "", &id, &err), OC_ERR_ARG);
    assert_int_equal(oc_tokenizer_add_special(t, "\xff", &id, &err), OC_ERR_ARG);
    oc_ids_free(&ids);
    oc_tokenizer_close(t);
}

/* --- The merge loop
 * ----------------------------------------------------------------------------------------------- */

/* The definition, in the plainest form: find the pair of lowest rank, leftmost, by going through all rules. */
static size_t merge_plainly(const oc_bpe *b, int32_t *id, size_t n) {
    for (;;) {
        int32_t best = b->n_rules;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (int32_t r = 0; r < best; r++)
                if (b->rule[r].left == id[i] && b->rule[r].right == id[i + 1]) best = r, at = i;
        if (best == b->n_rules) return n;
        id[at] = b->rule[best].merged;
        memmove(id + at + 1, id + at + 2, (n - at - 2) * sizeof *id);
        n--;
    }
}

/* Words of every length, so that both the short and the long way are taken, from the bytes of a few letters. */
static void merging_is_by_definition(void **state) {
    OC_UNUSED(state);
    oc_bpe b = {0};
    oc_rng rng = oc_rng_seed(5);
    int32_t n = 0;
    for (int c = 0; c < 256; c++) OK(oc_bpe_set_token(&b, n++, (char[]){(char)c}, 1, OC_TOKEN_MODEL, "test", &err));
    oc_bpe_rule *rule = oc_alloc(300 * sizeof *rule);
    int32_t n_rules = 0;
    for (int i = 0; i < 5000 && n_rules < 300; i++) { /* random rules over a, b, c and what they have made so far */
        int32_t pool = 3 + n_rules, x = oc_rng_range(&rng, 0, pool - 1), y = oc_rng_range(&rng, 0, pool - 1);
        int32_t left = x < 3 ? 'a' + x : 256 + x - 3, right = y < 3 ? 'a' + y : 256 + y - 3;
        char bytes[16];
        size_t l = b.token[left].len, r = b.token[right].len;
        if (l + r > sizeof bytes) continue;
        memcpy(bytes, b.bytes + b.token[left].offset, l);
        memcpy(bytes + l, b.bytes + b.token[right].offset, r);
        if (oc_bpe_find(&b, bytes, l + r) >= 0) continue;
        OK(oc_bpe_set_token(&b, n, bytes, l + r, OC_TOKEN_MODEL, "test", &err));
        rule[n_rules++] = (oc_bpe_rule){left, right, n++};
    }
    assert_true(n_rules > 100);
    OK(oc_bpe_seal(&b, rule, n_rules, "test", &err));
    oc_bpe_scratch scratch = {0};
    int others = 0; /* tokens whose own bytes are merged into something else */
    for (int32_t token = 256; token < n; token++) {
        const char *bytes = b.bytes + b.token[token].offset;
        size_t len = b.token[token].len;
        int32_t want[16];
        for (size_t i = 0; i < len; i++) want[i] = bytes[i];
        size_t want_n = merge_plainly(&b, want, len);
        others += want_n != 1;
        for (int round = 0; round < 2; round++) {
            oc_ids got = {0};
            assert_true(oc_bpe_encode(&b, &scratch, bytes, len, &got));
            assert_int_equal(got.len, want_n);
            assert_memory_equal(got.data, want, want_n * sizeof *want);
            oc_ids_free(&got);
        }
    }
    assert_true(others > 10);
    for (size_t len = 1; len < 200; len++) {
        for (int round = 0; round < 4; round++) {
            char word[200];
            int32_t want[200];
            for (size_t i = 0; i < len; i++) {
                word[i] = (char)('a' + oc_rng_below(&rng, 3));
                want[i] = word[i];
            }
            size_t want_n = merge_plainly(&b, want, len);
            oc_ids got = {0};
            assert_true(oc_bpe_encode(&b, &scratch, word, len, &got));
            assert_true(oc_bpe_encode(&b, &scratch, word, len, &got)); /* now from the memo, if it is a token */
            assert_int_equal(got.len, 2 * want_n);
            assert_memory_equal(got.data, want, want_n * sizeof *want);
            assert_memory_equal(got.data + want_n, want, want_n * sizeof *want);
            oc_ids_free(&got);
        }
    }
    oc_bpe_scratch_free(&scratch);
    oc_bpe_close(&b);
}

static void long_texts(void **state) {
    enum { MIB = 1 << 20 };
    char *text = oc_alloc(MIB);
    static const char *const units[] = {"ab", " ", "a", "\n", ".", "7", " x", "\xe4\xbd\xa0", " \n"};
    for (size_t u = 0; u < OC_COUNT(units); u++) {
        size_t k = strlen(units[u]), len = MIB / k * k;
        for (size_t i = 0; i < len; i++) text[i] = units[u][i % k];
        double start = oc_now();
        oc_ids ids = encode(*state, text, len, false);
        oc_strbuf back = {0};
        oc_tokenizer_decode(*state, ids.data, ids.len, false, &back);
        assert_int_equal(back.len, len);
        assert_memory_equal(back.data, text, len);
        double took = oc_now() - start;
        if (took > 30 * OC_TIME_FACTOR) fail_msg("1 MiB of \"%s\" took %.1f s", units[u], took);
        oc_strbuf_free(&back);
        oc_ids_free(&ids);
    }
    oc_free(text);
}

static void byte_alphabet(void **state) {
    OC_UNUSED(state);
    bool seen[0x150] = {false};
    for (int c = 0; c < 256; c++) {
        int32_t cp = oc_byte_to_char((uint8_t)c);
        assert_in_range(cp, 0x21, 0x143);
        assert_false(seen[cp]);
        seen[cp] = true;
        assert_int_equal(oc_char_to_byte(cp), c);
    }
    for (int32_t cp = 0; cp < 0x150; cp++) assert_int_equal(oc_char_to_byte(cp) >= 0, seen[cp]);
    assert_int_equal(oc_byte_to_char(' '), 0x120);
    assert_int_equal(oc_byte_to_char('\n'), 0x10a);
    assert_int_equal(oc_byte_to_char(0xad), 0x143);
}

/* --- Threads
 * ------------------------------------------------------------------------------------------------------ */

static void *encode_all(void *t) {
    return (void *)(intptr_t)check_vectors(t, OC_TEST_DATA "/tokenizer/vectors.jsonl");
}

static void shared_by_threads(void **state) {
    OC_UNUSED(state);
    oc_tokenizer *t; /* a fresh one, so that the memo is filled by all at once */
    pthread_t thread[4];
    OK(oc_tokenizer_open(&t, dir, &err));
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, encode_all, t), 0);
    for (int i = 0; i < 4; i++) {
        void *rows;
        pthread_join(thread[i], &rows);
        assert_int_equal((intptr_t)rows, 485);
    }
    oc_tokenizer_close(t);
}

/* --- Files
 * -------------------------------------------------------------------------------------------------------- */

/* Opens the golden tokenizer.json with one value replaced; path is "a.b.c", value JSON, NULL deletes. */
static oc_status open_changed(oc_tokenizer **t, const char *path, const char *value) {
    json_t *root, *at;
    OK(oc_json_load(&root, OC_TEST_DATA "/tokenizer/tokenizer.json", 1 << 20, &err));
    char key[200], *part, *next;
    snprintf(key, sizeof key, "%s", path);
    at = root;
    for (part = key; (next = strchr(part, '.')); part = next + 1) {
        *next = 0;
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(part)) : json_object_get(at, part);
        assert_non_null(at);
    }
    if (!value) json_object_del(at, part);
    else {
        json_t *v;
        OK(oc_json_parse(&v, value, strlen(value), "test", &err));
        if (json_is_array(at)) json_array_set_new(at, (size_t)atoi(part), v);
        else json_object_set_new(at, part, v);
    }
    char file[] = "/tmp/oc_tokenizer_XXXXXX";
    close(mkstemp(file));
    OK(oc_json_save(root, file, &err));
    json_decref(root);
    oc_status st = oc_tokenizer_open(t, file, &err);
    unlink(file);
    return st;
}

static void refusals(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *path, *value;
        oc_status code;
        const char *message; /* must occur in the error */
    } cases[] = {
        {"normalizer", "{\"type\": \"NFKC\"}", OC_ERR_UNSUPPORTED, "NFKC"},
        {"pre_tokenizer", "{\"type\": \"Metaspace\"}", OC_ERR_UNSUPPORTED, "Metaspace"},
        {"pre_tokenizer", "null", OC_ERR_UNSUPPORTED, "pre-tokenizer"},
        {"pre_tokenizer.pretokenizers", "[]", OC_ERR_UNSUPPORTED, "empty"},
        {"pre_tokenizer.pretokenizers.0", "{\"type\": \"Digits\"}", OC_ERR_UNSUPPORTED, "Digits"},
        {"pre_tokenizer.pretokenizers.0.behavior", "\"Removed\"", OC_ERR_UNSUPPORTED, "behavior"},
        {"pre_tokenizer.pretokenizers.0.invert", "true", OC_ERR_UNSUPPORTED, "inverted"},
        {"pre_tokenizer.pretokenizers.0.pattern", "{\"String\": \" \"}", OC_ERR_UNSUPPORTED, "Regex"},
        {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"(a\"", OC_ERR_FORMAT, "character 2"},
        {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"\\\\w+\"", OC_ERR_UNSUPPORTED, "escape"},
        {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"\\\\p{Han}+\"", OC_ERR_UNSUPPORTED, "escape"},
        {"pre_tokenizer.pretokenizers.1.use_regex", "true", OC_ERR_UNSUPPORTED, "use_regex"},
        {"pre_tokenizer.pretokenizers.1.add_prefix_space", "true", OC_ERR_UNSUPPORTED, "add_prefix_space"},
        {"post_processor", "{\"type\": \"TemplateProcessing\"}", OC_ERR_UNSUPPORTED, "TemplateProcessing"},
        {"decoder", "{\"type\": \"WordPiece\"}", OC_ERR_UNSUPPORTED, "WordPiece"},
        {"model.type", "\"Unigram\"", OC_ERR_UNSUPPORTED, "Unigram"},
        {"model.dropout", "0.1", OC_ERR_UNSUPPORTED, "dropout"},
        {"model.end_of_word_suffix", "\"</w>\"", OC_ERR_UNSUPPORTED, "end_of_word_suffix"},
        {"model.vocab", "[]", OC_ERR_FORMAT, "vocabulary"},
        {"model.vocab.A", "null", OC_ERR_FORMAT, "\"A\""},
        {"model.vocab.A", "1000000", OC_ERR_FORMAT, "\"A\""},
        {"model.vocab.A", "-1", OC_ERR_FORMAT, "\"A\""},
        {"model.vocab.A", "3", OC_ERR_FORMAT, "id 3"},
        {"model.vocab.\u0100", NULL, OC_ERR_UNSUPPORTED, "0x00"},
        {"model.merges", "{}", OC_ERR_FORMAT, "merges"},
        {"model.merges.0", "\"a\"", OC_ERR_FORMAT, "merge 0"},
        {"model.merges.0", "\"a b c\"", OC_ERR_FORMAT, "merge 0"},
        {"model.merges.0", "[\"a\"]", OC_ERR_FORMAT, "merge 0"},
        {"model.merges.0", "[\"\", \"a\"]", OC_ERR_FORMAT, "merge 0"},
        {"model.merges.0", "[\"q\", \"q\"]", OC_ERR_FORMAT, "not in the vocabulary"},
        {"added_tokens.0.id", "5", OC_ERR_FORMAT, "id 5"},
        {"added_tokens.0.id", "-5", OC_ERR_FORMAT, "id"},
        {"added_tokens.0.content", "\"<image>\"", OC_ERR_FORMAT, "<image>"},
        {"added_tokens.0.content", "\"\"", OC_ERR_FORMAT, "content"},
        {"added_tokens.0.lstrip", "true", OC_ERR_UNSUPPORTED, "lstrip"},
        {"added_tokens.0.single_word", "true", OC_ERR_UNSUPPORTED, "single_word"},
        {"model", NULL, OC_ERR_UNSUPPORTED, "model"},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_tokenizer *t;
        oc_status st = open_changed(&t, cases[i].path, cases[i].value);
        if (st != cases[i].code || !strstr(err.msg, cases[i].message) || t)
            fail_msg("%s = %s gave status %d: %s", cases[i].path, cases[i].value ? cases[i].value : "(deleted)", st,
                     err.msg);
    }
    oc_tokenizer *t;
    assert_int_equal(oc_tokenizer_open(&t, "/nonexistent/tokenizer.json", &err), OC_ERR_IO);
    assert_int_equal(oc_tokenizer_open(&t, "/tmp", &err), OC_ERR_IO);
    assert_null(t);
}

static void variations(void **state) {
    OC_UNUSED(state);
    oc_tokenizer *t;
    OK(open_changed(&t, "normalizer", "null")); /* no NFC: the accent stays apart */
    oc_ids apart = encode(t, "e\xcc\x81", 3, false), joined = encode(t, "\xc3\xa9", 2, false);
    assert_true(apart.len == 3 || apart.data[0] != joined.data[0]);
    oc_tokenizer_close(t);
    oc_ids_free(&apart);
    oc_ids_free(&joined);

    /* GPT-2's pattern keeps digits together and newlines apart from spaces before them. */
    OK(open_changed(&t, "pre_tokenizer", "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}"));
    int words = 0;
    OK(oc_tokenizer_split(t, "in 2024", 7, count_words, &words, &err));
    assert_int_equal(words, 2);
    oc_tokenizer_close(t);

    /* An added token that is looked for after NFC: here written decomposed in the text. */
    OK(open_changed(&t, "added_tokens.0",
                    "{\"id\": 508, \"content\": \"\xc3\xa9t\", \"normalized\": true, \"special\": false}"));
    oc_ids ids = encode(t, "xe\xcc\x81t.", 6, false);
    assert_int_equal(ids.len, 3);
    assert_int_equal(ids.data[1], 508);
    assert_false(oc_tokenizer_is_special(t, 508));
    assert_int_equal(oc_tokenizer_token_id(t, "\xc3\xa9t"), 508);
    oc_ids_free(&ids);
    oc_tokenizer_close(t);

    /* ignore_merges: "hee" has no merge that makes it. */
    for (int on = 0; on < 2; on++) {
        OK(open_changed(&t, "model.vocab.zqzqz", "600"));
        oc_tokenizer_close(t);
        json_t *root;
        OK(oc_json_load(&root, OC_TEST_DATA "/tokenizer/tokenizer.json", 1 << 20, &err));
        json_t *model = json_object_get(root, "model");
        json_object_set_new(json_object_get(model, "vocab"), "zqzqz", json_integer(600));
        json_object_set_new(model, "ignore_merges", json_boolean(on));
        char file[] = "/tmp/oc_tokenizer_XXXXXX";
        close(mkstemp(file));
        OK(oc_json_save(root, file, &err));
        json_decref(root);
        OK(oc_tokenizer_open(&t, file, &err));
        unlink(file);
        assert_int_equal(oc_tokenizer_vocab_size(t), 601);
        size_t len;
        assert_null(oc_tokenizer_token(t, 550, &len)); /* a gap */
        ids = encode(t, "zqzqz", 5, false);
        assert_int_equal(ids.len, on ? 1 : 5);
        oc_ids_free(&ids);
        oc_tokenizer_close(t);
    }
}

/* The same tokenizer as vocab.json + merges.txt + tokenizer_config.json must give the same ids. */
static void vocab_and_merges(void **state) {
    OC_UNUSED(state);
    char folder[] = "/tmp/oc_tokenizer_XXXXXX";
    assert_non_null(mkdtemp(folder));
    json_t *root, *config;
    OK(oc_json_load(&root, OC_TEST_DATA "/tokenizer/tokenizer.json", 1 << 20, &err));
    OK(oc_json_load(&config, OC_TEST_DATA "/tokenizer/tokenizer_config.json", 1 << 20, &err));
    char *vocab = oc_path_join(folder, "vocab.json"), *merges = oc_path_join(folder, "merges.txt"),
         *settings = oc_path_join(folder, "tokenizer_config.json");
    const json_t *model = json_object_get(root, "model"), *m;
    OK(oc_json_save(json_object_get(model, "vocab"), vocab, &err));
    oc_strbuf text = {0};
    size_t i;
    oc_strbuf_puts(&text, "#version: 0.2\n");
    json_array_foreach(json_object_get(model, "merges"), i, m) oc_strbuf_printf(
        &text, "%s %s\r\n", json_string_value(json_array_get(m, 0)), json_string_value(json_array_get(m, 1)));
    OK(oc_file_write_atomic(merges, text.data, text.len, &err));
    OK(oc_json_save(config, settings, &err));
    oc_tokenizer *t;
    OK(oc_tokenizer_open(&t, folder, &err));
    assert_int_equal(check_vectors(t, OC_TEST_DATA "/tokenizer/vectors.jsonl"), 485);
    oc_tokenizer_close(t);
    OK(oc_file_write_atomic(merges, "#version: 0.2\na b c\n", 20, &err));
    assert_int_equal(oc_tokenizer_open(&t, folder, &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "merge 1"));
    OK(oc_remove_tree(folder, &err));
    oc_strbuf_free(&text);
    oc_free(vocab);
    oc_free(merges);
    oc_free(settings);
    json_decref(root);
    json_decref(config);
}

/* Each allocation of opening and encoding fails once: an error comes back, nothing leaks (the sanitizers look). */
static void memory_runs_out(void **state) {
    OC_UNUSED(state);
    static const char text[] = "cafe\xcc\x81 <image> \xff \xf0\x96\xb5\x83 a long word: "
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    int failures = 0;
    for (long n = 0; n < 5000; n++) {
        oc_tokenizer *t;
        oc_ids ids = {0};
        oc_alloc_fail_after(n);
        oc_status st = oc_tokenizer_open(&t, dir, &err);
        if (st == OC_OK) st = oc_tokenizer_encode(t, text, strlen(text), NULL, &ids, &err);
        oc_alloc_fail_after(-1);
        oc_ids_free(&ids);
        oc_tokenizer_close(t);
        if (st == OC_OK) break;
        assert_int_equal(st, OC_ERR_NOMEM);
        failures++;
    }
    assert_in_range(failures, 10, 4000);
}

/* --- The published Qwen2 tokenizer, where it is at hand
 * ------------------------------------------------------------ */

static char *qwen2_path(const char *name) {
    const char *shared = getenv("OC_SHARED");
    if (!shared) skip();
    char *folder = oc_path_join(shared, "data/qwen2-tokenizer"), *path = oc_path_join(folder, name);
    oc_free(folder);
    return path;
}

/* llama.cpp's file: texts between marker lines, and a line of ids for each. */
static void check_ggml(const oc_tokenizer *t) {
    static const char marker[] = "\n__ggml_vocab_test__\n";
    char *in, *out, *in_path = qwen2_path("ggml-vocab-qwen2.gguf.inp"),
                    *out_path = qwen2_path("ggml-vocab-qwen2.gguf.out");
    size_t in_size, out_size;
    int n = 0;
    OK(oc_file_read(&in, &in_size, in_path, 1 << 20, &err));
    OK(oc_file_read(&out, &out_size, out_path, 1 << 20, &err));
    char *text = in, *want = out, *end;
    for (; (end = strstr(text, marker)); text = end + strlen(marker), n++) {
        char *stop = strchr(want, '\n');
        oc_ids ids = encode(t, text, (size_t)(end - text), false);
        for (size_t i = 0; i < ids.len; i++) assert_int_equal(strtol(want, &want, 10), ids.data[i]);
        while (*want == ' ') want++;
        assert_ptr_equal(want, stop);
        want = stop + 1;
        oc_ids_free(&ids);
    }
    assert_int_equal(n, 46);
    oc_free(in);
    oc_free(out);
    oc_free(in_path);
    oc_free(out_path);
}

static void qwen2(void **state) {
    OC_UNUSED(state);
    oc_tokenizer *t;
    char *path = qwen2_path("tokenizer.json"), *vectors = qwen2_path("vectors.jsonl");
    double start = oc_now();
    OK(oc_tokenizer_open(&t, path, &err));
    printf("opened in %.3f s\n", oc_now() - start);
    assert_int_equal(oc_tokenizer_vocab_size(t), 151646);
    assert_int_equal(oc_tokenizer_token_id(t, "<|im_end|>"), 151645);
    assert_int_equal(check_vectors(t, vectors), 1000);
    check_ggml(t);
    int32_t id;
    OK(oc_tokenizer_add_special(t, "<image>", &id, &err));
    assert_int_equal(id, 151646);
    oc_free(path);
    oc_free(vectors);
    oc_tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors),
        cmocka_unit_test(character_classes),
        cmocka_unit_test(nfc),
        cmocka_unit_test(nfc_of_many_marks),
        cmocka_unit_test(broken_utf8),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(adding_a_special),
        cmocka_unit_test(merging_is_by_definition),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(byte_alphabet),
        cmocka_unit_test(shared_by_threads),
        cmocka_unit_test(refusals),
        cmocka_unit_test(variations),
        cmocka_unit_test(vocab_and_merges),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(qwen2),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, open_golden, close_golden);
}
