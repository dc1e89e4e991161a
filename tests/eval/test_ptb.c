/* The caption tokenizer against tokens of the program it reproduces, and rule by rule. OC_SHARED names a
 * folder with the full sets (data/caption-metrics); without it those tests are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "eval/ptb.h"
#include "eval/ptb_rules.h"

static int open_ptb(void **state) {
    oc_error err;
    return oc_ptb_open((oc_ptb **)state, &err) == OC_OK ? 0 : -1;
}

static int close_ptb(void **state) {
    oc_ptb_close(*state);
    return 0;
}

/* text as a whole file. The caller frees out. */
static void tokenize(oc_ptb *p, const char *text, oc_strbuf *out) {
    oc_error err;
    oc_strbuf_clear(out);
    if (oc_ptb_tokenize(p, text, strlen(text), out, &err) != OC_OK) fail_msg("%s", err.msg);
    oc_strbuf_add(out, "", 0);
}

/* Each text and its tokens, when another line follows. */
static void check_table(oc_ptb *p, const char *const (*t)[2], size_t n) {
    oc_strbuf in = {0}, out = {0};
    for (size_t i = 0; i < n; i++) {
        oc_strbuf_clear(&in);
        oc_strbuf_printf(&in, "%s\nzzz", t[i][0]);
        tokenize(p, in.data, &out);
        char *end = strrchr(out.data, '\n');
        assert_non_null(end);
        *end = 0;
        if (strcmp(out.data, t[i][1]) != 0)
            fail_msg("\"%s\" gave\n  %s instead of\n  %s", t[i][0], out.data, t[i][1]);
    }
    oc_strbuf_free(&in);
    oc_strbuf_free(&out);
}
#define CHECK(state, ...)                                                                                    \
    do {                                                                                                     \
        static const char *const table[][2] = {__VA_ARGS__};                                                 \
        check_table(*(state), table, OC_COUNT(table));                                                       \
    } while (0)

static void test_contractions(void **state) {
    CHECK(state, {"Don't can't won't isn't", "do n't ca n't wo n't is n't"},
          {"I'm he's we'd they're you've she'll", "i 'm he 's we 'd they 're you 've she 'll"},
          {"the dog's toys, the dogs' toys", "the dog 's toys , the dogs ' toys"},
          {"isn\u2019t it\u2019s", "is n't it 's"},
          {"cannot gonna gotta lemme gimme wanna", "can not gon na got ta lem me gim me wan na"},
          {"'tis 'Twas", "'t is 't was"},
          {"o'clock O'Brien y'all ma'am rock'n'roll 'em 'til",
           "o'clock o'brien y' all ma'am rock 'n' roll 'em 'til"},
          {"couldn't've", "could n't 've"});
}

static void test_quotes(void **state) {
    CHECK(state, {"a \"stop\" sign", "a `` stop '' sign"}, {"a 'stop' sign", "a ` stop ' sign"},
          {"\u201cstop\u201d \u2018go\u2019 \u00abx\u00bb", "`` stop '' ` go ' `` x ''"},
          {"`toy` ``x''", "` toy ` `` x ''"}, {"6'2\" tall", "6 ' 2 '' tall"},
          {"&quot;x&quot; &apos;", "`` x '' '"});
}

static void test_punctuation(void **state) {
    CHECK(state, {"(a) [b] {c}", "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb-"},
          {"a... b.. c…", "a. . . b. . c ..."}, {"wait.... no ..... x", "wait ... no ... x"},
          {"a--b a---b \u2013 \u2014 -----", "a -- b a -- b -- -- -----"},
          {"what?! yes!! no;", "what ?! yes !! no ;"},
          {"x ** # ## @@ __ ~ ^ | \\ /", "x ** # ## @@ __ ~ ^ | \\ /"}, {"hall., etc.,", "hall. , etc. ,"},
          {"A & B AT&T R&amp;B a&b", "a & b at&t r&b a & b"}, {":) ;-) :D ^_^", ":-rrb- ;--rrb- :d ^_^"});
}

static void test_numbers(void **state) {
    CHECK(state, {"3:30 p.m. 1,000.50 50% 10th -5 +5", "3:30 p.m. 1,000.50 50 % 10th -5 +5"},
          {"$5 US$5 \u00a35 \u20ac5 5\u00a2", "$ 5 us$ 5 # 5 $ 5 5 cents"},
          {"1/2 3/4-inch \u00bd 1 1/2", "1/2 3/4-inch 1/2 1\u00a01/2"},
          {"12/25/2010 1-2-2010", "12/25/2010 1-2-2010"}, {"1990's '90s 1990s", "1990 's '90s 1990s"},
          {"5pm 7:30pm 2x4", "5pm 7:30 pm 2x4"},
          {"call (555) 555-1212 now", "call -lrb-555-rrb-\u00a0555-1212 now"},
          {"No. 5, no. five", "no. 5 , no . five"});
}

static void test_abbreviations(void **state) {
    CHECK(state, {"Mr. X met Dr. Y on St. Z Ave. today.", "mr. x met dr. y on st. z ave. today ."},
          {"bread, etc. The rest", "bread , etc. . the rest"}, {"bread etc. and", "bread etc. and"},
          {"the U.S. The U.S. army", "the u.s. . the u.s. army"}, {"vitamin C. The", "vitamin c . the"},
          {"vitamin C. Then", "vitamin c . then"}, {"vitamin C. Red", "vitamin c. red"},
          {"in Tex. or tex. x", "in tex. or tex . x"}, {"a Ph.D. from", "a ph.d. from"},
          {"6 ft. tall, 6ft. tall", "6 ft. tall , 6ft . tall"});
}

static void test_compounds(void **state) {
    CHECK(state, {"black-and-white t-shirt 12-year-old", "black-and-white t-shirt 12-year-old"},
          {"and/or a/b/c/d w/o w/", "and/or a/b/c / d w/o w /"},
          {"U.S.-led 1,000-foot", "u.s.-led 1,000-foot"},
          {"www.x.com http://a.b/c?d=e. x.org", "www.x.com http://a.b/c?d=e . x.org"},
          {"me@x.com @me #tag #1", "me@x.com @me #tag # 1"},
          {"1x.jpg IMG_1.jpg C++ C#", "1x.jpg img_1 . jpg c++ c#"},
          {"<b>x</b> <a href=\"y z\"> < b", "<b> x </b> <a\u00a0href=\"y\u00a0z\"> < b"});
}

static void test_scripts(void **state) {
    CHECK(state,
          {"un caf\u00e9 \u00e0 c\u00f4t\u00e9 d\u2019une", "un caf\u00e9 \u00e0 c\u00f4t\u00e9 d\u2019une"},
          {"Stra\u00dfe \u0421\u041e\u0411\u0410\u041a\u0410 \u4e00\u53ea\u72d7",
           "stra\u00dfe \u0441\u043e\u0431\u0430\u043a\u0430 \u4e00\u53ea\u72d7"},
          {"a \U0001f600 dog\U0001f600s \u200b", "a dog s"}, {"soft\u00adhyphen \u00ad", "softhyphen -"},
          {"\u039f\u0394\u039f\u03a3 \u03a3\u03a3 \u0130", "\u03bf\u03b4\u03bf\u03c2 \u03c3\u03c2 i\u0307"},
          {"\xff x \xc3", "x"});
}

static void check_lines(oc_ptb *p, const char *path, bool filtered) {
    char *text;
    size_t len, n = 0;
    oc_error err;
    oc_strbuf in = {0}, out = {0};
    if (oc_file_read(&text, &len, path, 1 << 24, &err) != OC_OK) fail_msg("%s", err.msg);
    oc_json_reader r;
    oc_json_reader_init(&r, text, len, path);
    for (json_t *rec;; n++) {
        if (oc_json_reader_next(&r, &rec, &err) != OC_OK) fail_msg("%s", err.msg);
        if (!rec) break;
        const char *raw = json_string_value(json_object_get(rec, "raw"));
        const char *want = json_string_value(json_object_get(rec, "ptb"));
        assert_true(raw && want);
        oc_strbuf_clear(&in);
        oc_strbuf_printf(&in, "%s\nzzz", raw);
        tokenize(p, in.data, &out);
        *strrchr(out.data, '\n') = 0;
        if (strcmp(out.data, want) != 0)
            fail_msg("%s, line %zu: \"%s\" gave\n  %s instead of\n  %s", path, n + 1, raw, out.data, want);
        if (filtered) {
            const char *two[] = {raw, "zzz"}, *wanted = json_string_value(json_object_get(rec, "filtered"));
            size_t end[2];
            oc_strbuf_clear(&out);
            assert_int_equal(oc_ptb_captions(p, two, 2, &out, end, &err), OC_OK);
            if (strlen(wanted) != end[0] || memcmp(out.data, wanted, end[0]) != 0)
                fail_msg("%s, line %zu: captions gave\n  %.*s instead of\n  %s", path, n + 1, (int)end[0],
                         out.data, wanted);
        }
        json_decref(rec);
    }
    print_message("%s: %zu lines equal\n", path, n);
    assert_true(n >= 300);
    oc_free(text);
    oc_strbuf_free(&in);
    oc_strbuf_free(&out);
}

static void test_real_lines(void **state) {
    check_lines(*state, OC_TEST_DATA "/metrics/ptb_lines.jsonl", true);
}
static void test_generated_lines(void **state) {
    check_lines(*state, OC_TEST_DATA "/metrics/ptb_generated.jsonl", false);
}

static void test_next_caption_shows_through(void **state) {
    const char *captions[] = {
        "the letter A.", "The end", "vitamin C.", "Red x", "", "  ", "etc.", "One\nline\r\xe2\x80\xa8here",
        "a b."};
    const char *want[] = {"the letter a", "the end",       "vitamin c.", "red x", "", "",
                          "etc.",         "one line here", "a b."};
    size_t end[OC_COUNT(captions)];
    oc_strbuf out = {0};
    oc_error err;
    oc_strbuf_puts(&out, "kept ");
    assert_int_equal(oc_ptb_captions(*state, captions, OC_COUNT(captions), &out, end, &err), OC_OK);
    for (size_t i = 0, from = 5; i < OC_COUNT(captions); from = end[i++]) {
        assert_int_equal(end[i] - from, strlen(want[i]));
        assert_memory_equal(out.data + from, want[i], strlen(want[i]));
    }
    assert_int_equal(oc_ptb_captions(*state, NULL, 0, &out, NULL, &err), OC_OK);
    oc_strbuf_free(&out);
}

/* Every token of `a,a,a,...` makes the scanner look for an address ahead. */
static void test_hostile_text_is_not_quadratic(void **state) {
    size_t n = 1 << 17;
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) text[i] = i % 2 ? '%' : 'a';
    text[n] = 0;
    oc_strbuf out = {0};
    double start = oc_now();
    tokenize(*state, text, &out);
    assert_true(oc_now() - start <
                60); /* a second or two; without the limit minutes */
    assert_int_equal(out.len, 2 * n - 1);
    oc_strbuf_free(&out);
    free(text);
}

static void test_out_of_memory(void **state) {
    OC_UNUSED(state);
    const char *captions[] = {"A dog's toy.", "Two (red) cats!"};
    bool done = false;
    for (long n = 0; !done; n++) {
        oc_ptb *p = NULL;
        oc_error err = {0};
        size_t end[2];
        oc_strbuf out = {0};
        oc_alloc_fail_after(n);
        oc_status st = oc_ptb_open(&p, &err);
        if (st == OC_OK) st = oc_ptb_captions(p, captions, 2, &out, end, &err);
        oc_alloc_fail_after(-1);
        assert_true(st == OC_OK || st == OC_ERR_NOMEM);
        done = st == OC_OK;
        oc_strbuf_free(&out);
        oc_ptb_close(p);
        if (n > 60) n += 97; /* the first ones are the interesting ones; all take too long */
    }
}

/* Set by set: raw strings and tokens of the captions, in file order. */
static void check_tokens_tsv(oc_ptb *p, const char *path) {
    char *text;
    size_t len, n = 0;
    oc_error err;
    if (oc_file_read(&text, &len, path, 1 << 26, &err) != OC_OK) fail_msg("%s", err.msg);
    size_t cap = len / 8;
    const char **raw = calloc(cap, sizeof *raw);
    json_t **keep = calloc(cap, sizeof *keep), **want = calloc(cap, sizeof *want);
    size_t *end = calloc(cap, sizeof *end);
    oc_strbuf out = {0};
    assert_true(raw && keep && want && end);
    for (int pass = 0; pass < 2; pass++) { /* candidates are one batch, references another */
        n = 0;
        char *copy = strdup(text), *save = NULL;
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            char *f[4] = {line};
            for (int k = 1; k < 4 && f[k - 1]; k++)
                if ((f[k] = strchr(f[k - 1], '\t'))) *f[k]++ = 0;
            if (!f[3] || strcmp(f[1], pass ? "ref" : "cand") != 0) continue;
            assert_int_equal(oc_json_parse(&keep[n], f[2], strlen(f[2]), path, &err), OC_OK);
            assert_int_equal(oc_json_parse(&want[n], f[3], strlen(f[3]), path, &err), OC_OK);
            raw[n] = json_string_value(keep[n]);
            n++;
        }
        oc_strbuf_clear(&out);
        assert_int_equal(oc_ptb_captions(p, raw, n, &out, end, &err), OC_OK);
        for (size_t i = 0, from = 0; i < n; from = end[i++]) {
            const char *w = json_string_value(want[i]);
            if (strlen(w) != end[i] - from || memcmp(w, out.data + from, end[i] - from) != 0)
                fail_msg("%s: \"%s\" gave\n  %.*s instead of\n  %s", path, raw[i], (int)(end[i] - from),
                         out.data + from, w);
        }
        print_message("%s: %zu %s equal\n", path, n, pass ? "references" : "candidates");
        for (size_t i = 0; i < n; i++) json_decref(keep[i]), json_decref(want[i]);
        free(copy);
    }
    oc_strbuf_free(&out);
    oc_free(text);
    free(raw), free(keep), free(want), free(end);
}

static void test_full_sets(void **state) {
    const char *shared = getenv("OC_SHARED");
    if (!shared) skip();
    const char *sets[] = {"coco_adversarial300", "coco_loo2000"};
    char path[4096];
    for (size_t i = 0; i < OC_COUNT(sets); i++) {
        snprintf(path, sizeof path, "%s/data/caption-metrics/%s/tokens.tsv", shared, sets[i]);
        check_tokens_tsv(*state, path);
    }
    /* One batch, as it was made. */
    snprintf(path, sizeof path, "%s/data/caption-metrics/ptb_lines.jsonl", shared);
    char *text;
    size_t len;
    oc_error err;
    if (oc_file_read(&text, &len, path, 1 << 24, &err) != OC_OK) fail_msg("%s", err.msg);
    oc_strbuf in = {0}, want = {0}, out = {0};
    oc_json_reader r;
    oc_json_reader_init(&r, text, len, path);
    for (json_t *rec;;) {
        assert_int_equal(oc_json_reader_next(&r, &rec, &err), OC_OK);
        if (!rec) break;
        size_t from = in.len;
        oc_strbuf_printf(&in, "%s", json_string_value(json_object_get(rec, "raw")));
        for (; from < in.len; from++)
            if (in.data[from] == '\n') in.data[from] = ' ';
        oc_strbuf_putc(&in, '\n');
        oc_strbuf_printf(&want, "%s\n", json_string_value(json_object_get(rec, "ptb")));
        json_decref(rec);
    }
    tokenize(*state, in.data, &out);
    assert_string_equal(out.data, want.data);
    oc_strbuf_free(&in);
    oc_strbuf_free(&want);
    oc_strbuf_free(&out);
    oc_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contractions),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_punctuation),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_abbreviations),
        cmocka_unit_test(test_compounds),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_real_lines),
        cmocka_unit_test(test_generated_lines),
        cmocka_unit_test(test_next_caption_shows_through),
        cmocka_unit_test(test_hostile_text_is_not_quadratic),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_full_sets),
    };
    return cmocka_run_group_tests(tests, open_ptb, close_ptb);
}
