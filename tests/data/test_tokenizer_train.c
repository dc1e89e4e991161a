/* Training a vocabulary: against the `tokenizers` library's trainer (tests/data/tokenizer/tokenizer.json was
 * trained by it on corpus.txt, eight times over), against counting everything anew at each step, and through the
 * files it writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "data/bpe_train.h"
#include "data/chat.h"
#include "data/tokenizer_internal.h"

static oc_error err;

#define OK(call)                                                                                                   \
    do {                                                                                                           \
        oc_status ok_status_ = (call);                                                                             \
        if (ok_status_ != OC_OK) fail_msg("%s: %s", #call, err.msg);                                               \
    } while (0)

static oc_tokenizer *train(const oc_bpe_train_options *opt, const char *const *texts, size_t n) {
    oc_tokenizer *t;
    OK(oc_bpe_train_strings(&t, opt, texts, n, &err));
    return t;
}

static void same_tokenizer(const oc_tokenizer *a, const oc_tokenizer *b) {
    assert_int_equal(a->bpe.n_tokens, b->bpe.n_tokens);
    for (int32_t id = 0; id < a->bpe.n_tokens; id++) {
        size_t la, lb;
        const char *x = oc_tokenizer_token(a, id, &la), *y = oc_tokenizer_token(b, id, &lb);
        if (la != lb || memcmp(x, y, la)) fail_msg("token %d is \"%.*s\" and \"%.*s\"", id, (int)la, x, (int)lb, y);
        assert_int_equal(a->bpe.token[id].flags, b->bpe.token[id].flags);
    }
    assert_int_equal(a->bpe.n_rules, b->bpe.n_rules);
    assert_memory_equal(a->bpe.rule, b->bpe.rule, (size_t)a->bpe.n_rules * sizeof *a->bpe.rule);
    assert_string_equal(a->pattern, b->pattern);
    assert_int_equal(a->nfc, b->nfc);
}

static void as_the_reference(void **state) {
    OC_UNUSED(state);
    char *text;
    size_t size;
    oc_strbuf corpus = {0};
    oc_tokenizer *want;
    OK(oc_file_read(&text, &size, OC_TEST_DATA "/tokenizer/corpus.txt", 1 << 20, &err));
    for (int i = 0; i < 8; i++) oc_strbuf_puts(&corpus, text);
    OK(oc_tokenizer_open(&want, OC_TEST_DATA "/tokenizer", &err));
    const char *texts[] = {corpus.data};
    oc_tokenizer *got = train(&(oc_bpe_train_options){.vocab_size = 512, .min_count = 1}, texts, 1);
    same_tokenizer(got, want);
    oc_tokenizer_close(got);
    oc_tokenizer_close(want);
    oc_strbuf_free(&corpus);
    oc_free(text);
}

/* Random "words" over three letters, separated by spaces; ties are frequent. */
static char *random_text(uint64_t seed, size_t n) {
    oc_rng rng = oc_rng_seed(seed);
    char *s = oc_alloc(n + 1);
    for (size_t i = 0; i < n; i++) s[i] = "aaabbc a b"[oc_rng_below(&rng, 10)];
    s[n] = 0;
    return s;
}

typedef struct naive {
    int32_t ids[400][64];
    size_t len[400], n;
} naive;

static bool keep_word(void *user, const char *word, size_t len) {
    naive *v = user;
    assert_true(v->n < 400 && len < 64);
    for (size_t i = 0; i < len; i++) v->ids[v->n][i] = word[i] == ' ' ? 220 : word[i] - 'a' + 64;
    v->len[v->n++] = len;
    return true;
}

/* Count all pairs, take the best, replace it everywhere; over and over. */
static void by_counting_anew(void **state) {
    OC_UNUSED(state);
    static naive v;
    static int count[600][600];
    for (uint64_t seed = 1; seed <= 6; seed++) {
        char *text = random_text(seed, 900);
        oc_tokenizer *t =
            train(&(oc_bpe_train_options){.vocab_size = 330, .min_count = 2}, (const char *const[]){text}, 1);
        memset(&v, 0, sizeof v);
        OK(oc_tokenizer_split(t, text, strlen(text), keep_word, &v, &err));
        assert_true(t->bpe.n_rules > 20);
        for (int32_t r = 0; r < t->bpe.n_rules; r++) {
            int32_t left = 0, right = 0;
            int best = 0;
            memset(count, 0, sizeof count);
            for (size_t w = 0; w < v.n; w++)
                for (size_t i = 0; i + 1 < v.len[w]; i++) count[v.ids[w][i]][v.ids[w][i + 1]]++;
            for (int32_t a = 0; a < 600; a++)
                for (int32_t b = 0; b < 600; b++)
                    if (count[a][b] > best) best = count[a][b], left = a, right = b;
            const oc_bpe_rule *rule = &t->bpe.rule[r];
            if (rule->left != left || rule->right != right)
                fail_msg("seed %d, rule %d joins %d %d, counting anew joins %d %d (%d times)", (int)seed, r,
                         rule->left, rule->right, left, right, best);
            for (size_t w = 0; w < v.n; w++) {
                size_t out = 0;
                for (size_t i = 0; i < v.len[w]; i++) {
                    bool hit = i + 1 < v.len[w] && v.ids[w][i] == left && v.ids[w][i + 1] == right;
                    v.ids[w][out++] = hit ? rule->merged : v.ids[w][i];
                    i += hit;
                }
                v.len[w] = out;
            }
        }
        oc_tokenizer_close(t);
        oc_free(text);
    }
}

static void writes_what_it_reads(void **state) {
    OC_UNUSED(state);
    static const char *const texts[] = {"A man riding a wave.", "Two dogs play with a red ball.",
                                        "caf\xc3\xa9 cafe\xcc\x81 caf\xc3\xa9", "a man riding a red wave",
                                        "the the the dogs"};
    char folder[] = "/tmp/oc_train_XXXXXX";
    assert_non_null(mkdtemp(folder));
    oc_tokenizer *t = train(&(oc_bpe_train_options){.vocab_size = 280}, texts, OC_COUNT(texts)), *back;
    assert_int_equal(oc_tokenizer_vocab_size(t), 280);
    assert_int_equal(oc_tokenizer_token_id(t, "<|endoftext|>"), 276);
    assert_int_equal(oc_tokenizer_token_id(t, "<image>"), 279);
    OK(oc_tokenizer_save(t, folder, &err));
    OK(oc_tokenizer_open(&back, folder, &err));
    same_tokenizer(t, back);
    char *system;
    OK(oc_chat_template_check(folder, &system, &err)); /* what is written is what is recognised */
    assert_string_equal(system, OC_DEFAULT_SYSTEM);
    oc_free(system);
    assert_int_equal(oc_tokenizer_save(t, "/nonexistent/folder", &err), OC_ERR_IO);
    OK(oc_remove_tree(folder, &err));
    oc_tokenizer_close(t);
    oc_tokenizer_close(back);
}

static void options(void **state) {
    OC_UNUSED(state);
    static const char *const texts[] = {"ABAB ABAB \xc3\x84\xc3\x84", "abab \xc3\xa4\xc3\xa4"};
    oc_tokenizer *t;
    assert_int_equal(oc_bpe_train_strings(&t, &(oc_bpe_train_options){.vocab_size = 259}, texts, 2, &err),
                     OC_ERR_ARG);
    assert_null(t);
    assert_non_null(strstr(err.msg, "259"));

    t = train(&(oc_bpe_train_options){.vocab_size = 260}, NULL, 0); /* no texts: the bytes and the special tokens */
    assert_int_equal(oc_tokenizer_vocab_size(t), 260);
    oc_tokenizer_close(t);

    t = train(&(oc_bpe_train_options){.vocab_size = 10000}, texts,
              2); /* texts run out: fewer tokens, without a failure */
    assert_in_range(oc_tokenizer_vocab_size(t), 262, 280);
    assert_true(oc_tokenizer_token_id(t, "ABAB") >= 0);
    assert_int_equal(oc_tokenizer_token_id(t, "abab"), -1); /* occurs once */
    oc_tokenizer_close(t);

    t = train(&(oc_bpe_train_options){.vocab_size = 10000, .lowercase = true}, texts, 2);
    assert_int_equal(oc_tokenizer_token_id(t, "ABAB"), -1);
    assert_true(oc_tokenizer_token_id(t, "abab") >= 0);
    assert_true(oc_tokenizer_token_id(t, " \xc3\xa4\xc3\xa4") >= 0);
    oc_tokenizer_close(t);

    t = train(&(oc_bpe_train_options){.vocab_size = 10000, .min_count = 1000}, texts, 2);
    assert_int_equal(oc_tokenizer_vocab_size(t), 260);
    oc_tokenizer_close(t);
}

static oc_status failing_text(void *user, const char **text, size_t *len, oc_error *e) {
    if (++*(int *)user > 3) return oc_fail(e, OC_ERR_IO, "the source broke");
    *text = "abc \xff abc";
    *len = 9;
    return OC_OK;
}

static void source_fails(void **state) {
    OC_UNUSED(state);
    oc_tokenizer *t;
    int calls = 0;
    assert_int_equal(oc_bpe_train(&t, &(oc_bpe_train_options){.vocab_size = 300}, failing_text, &calls, &err),
                     OC_ERR_IO);
    assert_null(t);
    assert_string_equal(err.msg, "the source broke");
}

static void memory_runs_out(void **state) {
    OC_UNUSED(state);
    char *text = random_text(9, 300);
    long n = 0;
    for (;; n++) {
        oc_tokenizer *t;
        oc_alloc_fail_after(n);
        oc_status st = oc_bpe_train_strings(&t, &(oc_bpe_train_options){.vocab_size = 290, .lowercase = true},
                                            (const char *const[]){text}, 1, &err);
        oc_alloc_fail_after(-1);
        oc_tokenizer_close(t);
        if (st == OC_OK) break;
        assert_int_equal(st, OC_ERR_NOMEM);
        assert_null(t);
    }
    assert_in_range(n, 20, 5000);
    oc_free(text);
}

/* Half a million words must train in seconds. */
static void is_fast(void **state) {
    OC_UNUSED(state);
    char *text = random_text(3, 3000000);
    double start = oc_now();
    oc_tokenizer *t = train(&(oc_bpe_train_options){.vocab_size = 4096}, (const char *const[]){text}, 1);
    double took = oc_now() - start;
    assert_int_equal(oc_tokenizer_vocab_size(t), 4096);
    if (took > 60 * OC_TIME_FACTOR) fail_msg("training on 3 MB took %.1f s", took);
    oc_tokenizer_close(t);
    oc_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_reference),
        cmocka_unit_test(by_counting_anew),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(options),
        cmocka_unit_test(source_fails),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(is_fast),
    };
    return cmocka_run_group_tests_name("tokenizer_train", tests, NULL, NULL);
}
