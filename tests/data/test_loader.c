/* The loader: tokens and labels of each template; what a batch holds; that order, content and resume depend on nothing but
 * seed and position; bad samples, limits, failing memory and early ends. */
#include "data/dataset_files.h"

#include <time.h>

#include "data/loader.h"

enum { S = 8, TPI = 3, PICTURES = 14, CAPTIONS = 3, TEXTS = 6, SAMPLES = PICTURES * CAPTIONS + TEXTS, ENDOFTEXT = 508, IMAGE = 511 };

static oc_tokenizer *tokenizer;
static oc_dataset *captions; /* picture i has captions 3i, 3i + 1, 3i + 2; then texts without pictures */

static const char *write_captions(const char *name, int broken) {
    oc_strbuf b = {0};
    for (int i = 0; i < SAMPLES; i++) {
        oc_strbuf_printf(&b, "{\"id\":%d", i);
        if (i < PICTURES * CAPTIONS) oc_strbuf_printf(&b, ",\"image\":\"%s%d.png\"", i / CAPTIONS < broken ? "broken" : "p", i / CAPTIONS);
        oc_strbuf_printf(&b, ",\"conversations\":[{\"from\":\"human\",\"value\":\"%sWhat is it?\"},{\"from\":\"gpt\",\"value\":\"Number %d", i < PICTURES * CAPTIONS ? "<image>\\n" : "", i);
        for (int k = 0; k < i % 7; k++) oc_strbuf_puts(&b, " and so on");
        oc_strbuf_puts(&b, ".\"}]}\n");
    }
    const char *path = write_text(name, b.data);
    oc_strbuf_free(&b);
    return path;
}

static oc_dataset *open_captions(const char *name, int broken) {
    oc_dataset *d;
    OK(oc_dataset_open(&d, &(oc_dataset_options){.json = write_captions(name, broken)}, &err));
    return d;
}

static int open_all(void **state) {
    if (make_folder(state)) return 1;
    for (int i = 0; i < PICTURES; i++) {
        char name[32];
        snprintf(name, sizeof name, "p%d.png", i);
        write_picture(name, i, 17, 12);
        snprintf(name, sizeof name, "broken%d.png", i);
        write_text(name, "not a picture");
    }
    captions = open_captions("captions.jsonl", 0);
    return oc_tokenizer_open(&tokenizer, OC_TEST_DATA "/tokenizer", &err) != OC_OK;
}

static int close_all(void **state) {
    oc_dataset_close(captions);
    oc_tokenizer_close(tokenizer);
    return remove_folder(state);
}

static oc_text_options text_options(void) {
    return (oc_text_options){.tokenizer = tokenizer, .image_token = IMAGE, .eos_token = ENDOFTEXT, .tokens_per_image = TPI, .max_length = 200};
}

static oc_loader_options options(const oc_source *source, int n_sources) {
    return (oc_loader_options){.source = source, .n_sources = n_sources, .seed = 5, .batch = 5, .threads = 2, .max_bad = 0, .text = text_options(),
                               .image = {.size = S, .mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f},
                                         .augment = {.crop_min = 0.5, .flip = 0.5, .jitter = 0.3}}};
}

/* ---- Tokens of a sample -------------------------------------------------------------------------------------------- */

/* Ids as text; with answers_only those that are to be predicted. */
static char *text_of(const oc_chat_tokens *c, bool answers_only) {
    oc_strbuf b = {0};
    oc_strbuf_puts(&b, "");
    for (size_t i = 0; i < c->ids.len; i++)
        if (!answers_only || c->is_answer[i]) oc_tokenizer_decode(tokenizer, &c->ids.data[i], 1, false, &b);
    return b.data;
}

static void assert_tokens(const oc_dataset *d, const oc_text_options *opt, const char *all, const char *answers) {
    oc_chat_tokens c = {0};
    oc_sample s;
    bool cut = true;
    oc_dataset_sample(d, 0, &s);
    OK(oc_sample_tokens(&s, opt, &c, &cut, &err));
    char *got = text_of(&c, false), *predicted = text_of(&c, true);
    assert_string_equal(got, all);
    assert_string_equal(predicted, answers);
    assert_false(cut);
    assert_int_equal(c.n_images, s.n_images);
    oc_free(got);
    oc_free(predicted);
    oc_chat_tokens_free(&c);
}

#define III "<image><image><image>" /* one picture of TPI tokens */

static void templates(void **state) {
    OC_UNUSED(state);
    oc_text_options opt = text_options();
    oc_dataset *d = open_llava("{\"image\":\"a\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nWho?\"},{\"from\":\"gpt\",\"value\":\"A <image> tag.\"},"
                               "{\"from\":\"human\",\"value\":\"Why <|im_end|>?\"},{\"from\":\"gpt\",\"value\":\"So.\"}]}");
    assert_tokens(d, &opt, "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n" III "\nWho?<|im_end|>\n<|im_start|>assistant\n"
                  "A <image> tag.<|im_end|>\n<|im_start|>user\nWhy <|im_end|>?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n",
                  "A <image> tag.<|im_end|>So.<|im_end|>");
    opt.no_system = true;
    opt.llava_labels = true;
    assert_tokens(d, &opt, "<|im_start|>user\n" III "\nWho?<|im_end|>\n<|im_start|>assistant\nA <image> tag.<|im_end|>\n"
                  "<|im_start|>user\nWhy <|im_end|>?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n",
                  "<|im_start|>\n\n<|im_end|>\n<|im_start|>assistant\nA <image> tag.<|im_end|>\n<|im_start|>\n<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n");
    opt.template = OC_TEMPLATE_PLAIN;
    assert_tokens(d, &opt, III "So.<|endoftext|>", "So.<|endoftext|>");
    oc_dataset_close(d);

    opt = text_options();
    d = open_llava("{\"image\":[\"a\",\"b\"],\"conversations\":[{\"from\":\"system\",\"value\":\"An <image>\"},{\"from\":\"human\",\"value\":\"<image> or<image>\"},{\"from\":\"gpt\",\"value\":\"B\"}]}");
    assert_tokens(d, &opt, "<|im_start|>system\nAn <image><|im_end|>\n<|im_start|>user\n" III " or" III "<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n", "B<|im_end|>");
    opt.template = OC_TEMPLATE_PLAIN;
    assert_tokens(d, &opt, III III "B<|endoftext|>", "B<|endoftext|>");
    oc_dataset_close(d);

    opt = text_options();
    opt.no_system = true; /* without pictures "<image>" is text everywhere */
    d = open_llava("{\"conversations\":[{\"from\":\"human\",\"value\":\"<image>?\"},{\"from\":\"gpt\",\"value\":\"<image>!\"}]}");
    assert_tokens(d, &opt, "<|im_start|>user\n<image>?<|im_end|>\n<|im_start|>assistant\n<image>!<|im_end|>\n", "<image>!<|im_end|>");
    oc_dataset_close(d);
}

static void long_samples_are_cut(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_llava("{\"id\":\"long\",\"image\":\"a\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nWho?\"},{\"from\":\"gpt\",\"value\":\"Nobody at all.\"}]}");
    oc_text_options opt = text_options();
    oc_chat_tokens whole = {0}, c = {0};
    oc_sample s;
    bool cut;
    oc_dataset_sample(d, 0, &s);
    OK(oc_sample_tokens(&s, &opt, &whole, &cut, &err));
    size_t first_answer = 0, last_image = 0;
    for (size_t i = 0; i < whole.ids.len; i++) {
        if (whole.is_answer[i] && !first_answer) first_answer = i;
        if (whole.ids.data[i] == IMAGE) last_image = i;
    }
    for (size_t max = 1; max <= whole.ids.len; max++) {
        opt.max_length = (int)max;
        oc_status st = oc_sample_tokens(&s, &opt, &c, &cut, &err);
        if (max <= last_image) {
            assert_int_equal(st, OC_ERR_FORMAT);
            assert_non_null(strstr(err.msg, "its pictures do not fit"));
        } else if (max <= first_answer) {
            assert_int_equal(st, OC_ERR_FORMAT);
            assert_non_null(strstr(err.msg, "nothing of an answer fits"));
        } else {
            assert_int_equal(st, OC_OK);
            assert_int_equal(c.ids.len, max);
            assert_int_equal(cut, max < whole.ids.len);
            assert_memory_equal(c.ids.data, whole.ids.data, max * sizeof *c.ids.data);
            assert_memory_equal(c.is_answer, whole.is_answer, max);
        }
    }
    opt = text_options();
    for (long n = 0;; n++) { /* no memory */
        oc_alloc_fail_after(n);
        oc_status st = oc_sample_tokens(&s, &opt, &c, &cut, &err);
        oc_alloc_fail_after(-1);
        if (st == OC_OK) break;
        assert_int_equal(st, OC_ERR_NOMEM);
    }
    oc_chat_tokens_free(&whole);
    oc_chat_tokens_free(&c);
    oc_dataset_close(d);
}

/* A prompt is the sequence up to its last answer. */
static void prompts(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_llava("{\"image\":\"a\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nWho?\"},{\"from\":\"gpt\",\"value\":\"A.\"},"
                               "{\"from\":\"human\",\"value\":\"Why?\"},{\"from\":\"gpt\",\"value\":\"So.\"}]}");
    oc_chat_tokens whole = {0}, prompt = {0};
    oc_sample s;
    oc_dataset_sample(d, 0, &s);
    for (int plain = 0; plain < 2; plain++) {
        oc_text_options opt = text_options();
        opt.template = plain ? OC_TEMPLATE_PLAIN : OC_TEMPLATE_CHAT;
        OK(oc_sample_tokens(&s, &opt, &whole, NULL, &err));
        opt.max_length = 1; /* does not apply */
        OK(oc_sample_prompt(&s, &opt, &prompt, &err));
        assert_true(prompt.ids.len < whole.ids.len);
        assert_memory_equal(prompt.ids.data, whole.ids.data, prompt.ids.len * sizeof *whole.ids.data);
        assert_false(whole.is_answer[prompt.ids.len - 1]);
        assert_true(whole.is_answer[prompt.ids.len]);
        char *text = text_of(&prompt, false);
        assert_string_equal(text + strlen(text) - (plain ? 7 : 11), plain ? "<image>" : ">assistant\n");
        if (!plain) assert_non_null(strstr(text, "A.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"));
        oc_free(text);
    }
    oc_chat_tokens_free(&whole);
    oc_chat_tokens_free(&prompt);
    oc_dataset_close(d);
}

/* ---- Batches ------------------------------------------------------------------------------------------------------- */

/* The sample's number, which its answer names. */
static int number_of(const oc_batch *b, int k) {
    oc_strbuf text = {0};
    oc_tokenizer_decode(tokenizer, b->token + b->seq_start[k], (size_t)(b->seq_start[k + 1] - b->seq_start[k]), false, &text);
    const char *at = strstr(text.data, "Number ");
    assert_non_null(at);
    int n = atoi(at + 7);
    oc_strbuf_free(&text);
    return n;
}

/* Everything that a batch holds, hashed (FNV-1a). */
static uint64_t hash(uint64_t h, const void *data, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_of(const oc_batch *b) {
    size_t n = (size_t)b->N * sizeof(int32_t), blocks = (size_t)b->n_blocks * sizeof(int32_t);
    uint64_t h = hash(0xcbf29ce484222325u, b->token, n);
    h = hash(h, b->label, n);
    h = hash(h, b->position, n);
    h = hash(h, b->seq_start, ((size_t)b->n_seq + 1) * sizeof(int32_t));
    h = hash(h, b->block_row, blocks);
    h = hash(h, b->block_image, blocks);
    return hash(h, b->pixels, (size_t)b->n_images * 3 * S * S * sizeof(float));
}

typedef struct stream {
    uint64_t hash[64];
    int n_seq[64];
    oc_loader_position after[64];
} stream;

/* The next n batches from a position on. */
static void read_stream(stream *out, const oc_loader_options *opt, oc_loader_position start, int n) {
    oc_loader *l;
    oc_batch *b;
    OK(oc_loader_open(&l, opt, start, &err));
    for (int i = 0; i < n; i++) {
        OK(oc_loader_next(l, &b, &out->after[i], &err));
        out->hash[i] = hash_of(b);
        out->n_seq[i] = b->n_seq;
        oc_loader_release(l, b);
    }
    oc_loader_close(l);
}

static void assert_same_stream(const stream *a, const stream *b, int from, int n) {
    for (int i = 0; i < n; i++)
        if (a->hash[from + i] != b->hash[i] || a->n_seq[from + i] != b->n_seq[i] || memcmp(&a->after[from + i], &b->after[i], sizeof a->after[0]))
            fail_msg("batch %d differs from the %d-th of the other", from + i, i);
}

static void what_a_batch_holds(void **state) {
    OC_UNUSED(state);
    oc_loader *l;
    oc_batch *b;
    oc_loader_options opt = options(&(oc_source){.dataset = captions}, 1);
    opt.image.augment = (oc_augment){0};
    opt.text.no_system = true;
    OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
    assert_int_equal(oc_loader_units_per_epoch(l), SAMPLES);
    int tokens, seqs, blocks, images;
    oc_loader_capacity(l, &tokens, &seqs, &blocks, &images);
    assert_int_equal(tokens, 5 * 200);
    assert_int_equal(seqs, 5);
    assert_int_equal(blocks, 5);
    assert_int_equal(images, 5);
    for (int i = 0; i < 10; i++) {
        OK(oc_loader_next(l, &b, NULL, &err));
        assert_int_equal(b->n_seq, i < 9 ? 5 : 3); /* 48 samples */
        int block = 0, labels = 0;
        for (int k = 0; k < b->n_seq; k++) {
            int number = number_of(b, k);
            for (int r = b->seq_start[k]; r < b->seq_start[k + 1]; r++) {
                assert_int_equal(b->position[r], r - b->seq_start[k]);
                labels += b->label[r] >= 0;
                if (b->label[r] >= 0) assert_int_equal(b->label[r], b->token[r + 1]);
            }
            assert_int_equal(b->label[b->seq_start[k + 1] - 1], -1);
            if (number >= PICTURES * CAPTIONS) continue;
            char name[32];
            float want[3 * S * S];
            const uint8_t *data;
            size_t size;
            void *owned;
            assert_true(b->block_row[block] >= b->seq_start[k] && b->block_row[block] < b->seq_start[k + 1]);
            for (int r = 0; r < TPI; r++) assert_int_equal(b->token[b->block_row[block] + r], IMAGE);
            assert_int_equal(b->block_image[block], block);
            snprintf(name, sizeof name, "p%d.png", number / CAPTIONS);
            OK(oc_dataset_image_bytes(captions, name, &data, &size, &owned, &err));
            OK(oc_image_pixels(want, data, size, name, &opt.image, NULL, &err));
            assert_memory_equal(b->pixels + (size_t)block++ * 3 * S * S, want, sizeof want);
            oc_free(owned);
        }
        assert_int_equal(b->n_blocks, block);
        assert_int_equal(b->n_images, block);
        assert_int_equal(b->n_labels, labels);
        oc_loader_release(l, b);
    }
    assert_int_equal(oc_loader_bad_count(l), 0);
    assert_int_equal(oc_loader_cut_count(l), 0);
    assert_true(oc_loader_wait_seconds(l) > 0);
    oc_loader_close(l);
}

/* Samples of one picture, and one sample in different epochs, get changes of their own. */
static void random_changes_are_per_sample(void **state) {
    OC_UNUSED(state);
    enum { N = 6, EPOCHS = 2, VALUES = 3 * S * S };
    static float pixels[N * EPOCHS][VALUES];
    oc_strbuf json = {0};
    for (int i = 0; i < N; i++)
        oc_strbuf_printf(&json, "{\"image\":\"p0.png\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\"},{\"from\":\"gpt\",\"value\":\"Number %d\"}]}\n", i);
    oc_dataset *d = open_llava(json.data);
    oc_source source = {.dataset = d};
    oc_loader_options opt = options(&source, 1);
    oc_loader *l;
    oc_batch *b;
    opt.batch = N;
    OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        OK(oc_loader_next(l, &b, NULL, &err));
        assert_int_equal(b->n_images, N);
        for (int k = 0; k < N; k++) memcpy(pixels[epoch * N + number_of(b, k)], b->pixels + k * VALUES, sizeof pixels[0]);
        oc_loader_release(l, b);
    }
    for (int i = 0; i < N * EPOCHS; i++)
        for (int k = 0; k < i; k++) assert_memory_not_equal(pixels[i], pixels[k], sizeof pixels[0]);
    oc_loader_close(l);
    oc_dataset_close(d);
    oc_strbuf_free(&json);
}

/* Hidden tokens change what is read, not what is to be predicted. */
static void dropped_tokens(void **state) {
    OC_UNUSED(state);
    oc_source source = {.dataset = captions};
    oc_loader_options opt = options(&source, 1);
    oc_loader *plain, *dropping;
    oc_batch *a, *b;
    int answers = 0, hidden = 0;
    opt.image.augment = (oc_augment){0};
    OK(oc_loader_open(&plain, &opt, (oc_loader_position){0}, &err));
    opt.text.token_drop = 0.25;
    opt.text.drop_token = ENDOFTEXT;
    OK(oc_loader_open(&dropping, &opt, (oc_loader_position){0}, &err));
    for (int i = 0; i < 20; i++) {
        OK(oc_loader_next(plain, &a, NULL, &err));
        OK(oc_loader_next(dropping, &b, NULL, &err));
        assert_int_equal(a->N, b->N);
        assert_int_equal(a->n_labels, b->n_labels);
        assert_memory_equal(a->label, b->label, (size_t)a->N * sizeof *a->label);
        for (int r = 1; r < a->N; r++) {
            bool answer = a->label[r - 1] >= 0;
            answers += answer;
            if (a->token[r] == b->token[r]) continue;
            assert_true(answer);
            assert_int_equal(b->token[r], ENDOFTEXT);
            hidden++;
        }
        oc_loader_release(plain, a);
        oc_loader_release(dropping, b);
    }
    assert_in_range(hidden, answers / 5, answers * 3 / 10);
    oc_loader_close(plain);
    oc_loader_close(dropping);
}

/* How often each sample occurs in one epoch. */
static void count_epoch(const oc_loader_options *opt, int64_t epoch, int *times, int n) {
    oc_loader *l;
    oc_batch *b;
    oc_loader_position at = {epoch, 0};
    memset(times, 0, (size_t)n * sizeof *times);
    OK(oc_loader_open(&l, opt, at, &err));
    while (at.epoch == epoch) {
        OK(oc_loader_next(l, &b, &at, &err));
        for (int k = 0; k < b->n_seq; k++) times[number_of(b, k)]++;
        oc_loader_release(l, b);
    }
    assert_int_equal(at.cursor, 0);
    oc_loader_close(l);
}

static void every_sample_once_an_epoch(void **state) {
    OC_UNUSED(state);
    int times[SAMPLES];
    oc_loader_options opt = options(&(oc_source){.dataset = captions}, 1);
    static const int batches[] = {1, 5, SAMPLES, SAMPLES + 1};
    for (size_t i = 0; i < OC_COUNT(batches); i++) {
        opt.batch = batches[i];
        count_epoch(&opt, (int64_t)i, times, SAMPLES);
        for (int k = 0; k < SAMPLES; k++) assert_int_equal(times[k], 1);
    }
}

static void mixing(void **state) {
    OC_UNUSED(state);
    oc_dataset *other = open_llava("{\"conversations\":[{\"from\":\"human\",\"value\":\"?\"},{\"from\":\"gpt\",\"value\":\"Number 48\"}]}\n"
                                   "{\"conversations\":[{\"from\":\"human\",\"value\":\"?\"},{\"from\":\"gpt\",\"value\":\"Number 49\"}]}\n");
    int times[SAMPLES + 2], before[SAMPLES + 2], changed = 0;
    oc_source source[] = {{.dataset = captions, .weight = 0.5}, {.dataset = other, .weight = 3}};
    oc_loader_options opt = options(source, 2);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        count_epoch(&opt, epoch, times, SAMPLES + 2);
        int sum = 0;
        for (int k = 0; k < SAMPLES; k++) {
            assert_in_range(times[k], 0, 1);
            sum += times[k];
            changed += epoch > 0 && times[k] != before[k];
        }
        assert_int_equal(sum, SAMPLES / 2);
        assert_int_equal(times[48], 3);
        assert_int_equal(times[49], 3);
        memcpy(before, times, sizeof before);
    }
    assert_true(changed > 10); /* each epoch another half */
    source[1].weight = 1.5;
    count_epoch(&opt, 0, times, SAMPLES + 2);
    assert_int_equal(times[48] + times[49], 3);
    oc_loader *l;
    static const double bad[] = {-1, 1001, 0.0 / 0.0, 1.0 / 0.0};
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        source[1].weight = bad[i];
        FAILS(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err), OC_ERR_ARG, "weight");
        assert_null(l);
    }
    source[0].weight = source[1].weight = 0.001;
    FAILS(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err), OC_ERR_ARG, "weights too small");
    oc_dataset_close(other);
}

/* Only the pictures of the source that says so lose their colours. */
static void gray_source(void **state) {
    OC_UNUSED(state);
    static stream plain, first, gray;
    oc_source source[] = {{.dataset = captions}, {.dataset = captions}};
    oc_loader_options opt = options(source, 2);
    opt.batch = 1;
    enum { N = 60 };
    int same = 0;
    read_stream(&plain, &opt, (oc_loader_position){0}, N);
    source[0].grayscale = 1;
    read_stream(&first, &opt, (oc_loader_position){0}, N);
    for (int i = 0; i < N; i++) same += first.hash[i] == plain.hash[i];
    assert_in_range(same, N / 4, N - 10); /* those of the other source, and samples without pictures */
    source[1].grayscale = 1;
    read_stream(&gray, &opt, (oc_loader_position){0}, N);
    same = 0;
    for (int i = 0; i < N; i++) same += gray.hash[i] == plain.hash[i];
    assert_true(same < N / 2);
    opt.image.augment.grayscale = 1; /* for all sources */
    source[0].grayscale = source[1].grayscale = 0;
    read_stream(&first, &opt, (oc_loader_position){0}, N);
    assert_same_stream(&first, &gray, 0, N);
}

/* ---- Determinism --------------------------------------------------------------------------------------------------- */

static oc_loader_options grouped(oc_loader_options opt) {
    opt.group_by_image = true;
    opt.captions_per_image = 2;
    opt.batch = 3;
    return opt;
}

static void threads_change_nothing(void **state) {
    OC_UNUSED(state);
    oc_source source = {.dataset = captions, .weight = 1.5};
    for (int form = 0; form < 3; form++) {
        static stream one, many;
        oc_loader_options opt = options(&source, 1);
        if (form == 1) opt = grouped(opt);
        if (form == 2) opt.max_tokens = 300, opt.text.token_drop = 0.2;
        opt.threads = 1;
        read_stream(&one, &opt, (oc_loader_position){0}, 40);
        for (int i = 1; i < 40; i++) assert_true(one.hash[i] != one.hash[i - 1]);
        assert_true(one.after[39].epoch >= 2);
        static const int threads[] = {1, 2, 5};
        for (size_t i = 0; i < OC_COUNT(threads); i++) {
            opt.threads = threads[i];
            opt.ahead = (int)i * 3;
            opt.cache_mb = i; /* a cache changes nothing either */
            read_stream(&many, &opt, (oc_loader_position){0}, 40);
            assert_same_stream(&one, &many, 0, 40);
        }
    }
}

static void seeds_and_epochs_differ(void **state) {
    OC_UNUSED(state);
    static stream a, b;
    oc_loader_options opt = options(&(oc_source){.dataset = captions}, 1);
    opt.batch = SAMPLES;
    read_stream(&a, &opt, (oc_loader_position){0}, 2);
    assert_true(a.hash[0] != a.hash[1]);
    opt.seed++;
    read_stream(&b, &opt, (oc_loader_position){0}, 1);
    assert_true(a.hash[0] != b.hash[0]);
}

static void resume_equals_unbroken(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_captions("some_broken.jsonl", 2);
    oc_source source = {.dataset = d};
    for (int form = 0; form < 3; form++) {
        static stream whole, rest;
        oc_loader_options opt = options(&source, 1);
        if (form == 1) opt = grouped(opt);
        if (form == 2) opt.max_tokens = 300;
        opt.max_bad = 100;
        read_stream(&whole, &opt, (oc_loader_position){0}, 30);
        for (int cut = 0; cut < 22; cut += 3) {
            opt.threads = 1 + cut % 4;
            read_stream(&rest, &opt, whole.after[cut], 7);
            assert_same_stream(&whole, &rest, cut + 1, 7);
        }
    }
    oc_dataset_close(d);
}

static void positions_out_of_the_data(void **state) {
    OC_UNUSED(state);
    oc_loader *l;
    oc_loader_options opt = options(&(oc_source){.dataset = captions}, 1);
    static const oc_loader_position bad[] = {{0, SAMPLES}, {0, -1}, {-1, 0}, {0, INT64_MAX}};
    for (size_t i = 0; i < OC_COUNT(bad); i++) FAILS(oc_loader_open(&l, &opt, bad[i], &err), OC_ERR_ARG, "was the data changed");
}

/* ---- Groups -------------------------------------------------------------------------------------------------------- */

static void groups_share_their_picture(void **state) {
    OC_UNUSED(state);
    oc_loader *l;
    oc_batch *b;
    oc_source source = {.dataset = captions};
    oc_loader_options opt = grouped(options(&source, 1));
    for (int k = 0; k < 3; k++) {
        int seen[PICTURES] = {0}, units = 0, per_image = k == 0 ? 2 : CAPTIONS;
        bool order_differs = false;
        opt.captions_per_image = k == 0 ? 2 : k == 1 ? 0 : 99; /* two, all, more than there are */
        OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
        assert_int_equal(oc_loader_units_per_epoch(l), PICTURES); /* the texts are left out */
        while (units < PICTURES) {
            OK(oc_loader_next(l, &b, NULL, &err));
            assert_int_equal(b->n_seq, b->n_images * per_image);
            assert_int_equal(b->n_blocks, b->n_seq);
            for (int i = 0; i < b->n_seq; i++) {
                int number = number_of(b, i);
                assert_int_equal(b->block_image[i], i / per_image);
                assert_int_equal(number / CAPTIONS, number_of(b, i / per_image * per_image) / CAPTIONS);
                if (i % per_image) assert_int_not_equal(number, number_of(b, i - 1));
                else seen[number / CAPTIONS]++;
                order_differs |= i % per_image == 0 && number % CAPTIONS != 0;
            }
            units += b->n_images;
            oc_loader_release(l, b);
        }
        for (int i = 0; i < PICTURES; i++) assert_int_equal(seen[i], 1);
        assert_true(order_differs); /* captions are drawn, not taken in file order */
        oc_loader_close(l);
    }
}

/* Samples of one group may show further pictures. */
static void groups_with_several_pictures(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_llava("{\"image\":\"p0.png\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\"},{\"from\":\"gpt\",\"value\":\"Number 1\"}]}\n"
                               "{\"image\":[\"p0.png\",\"p1.png\"],\"conversations\":[{\"from\":\"human\",\"value\":\"<image><image>\"},{\"from\":\"gpt\",\"value\":\"Number 2\"}]}\n"
                               "{\"image\":[\"p0.png\",\"p2.png\",\"p0.png\"],\"conversations\":[{\"from\":\"human\",\"value\":\"<image><image><image>\"},{\"from\":\"gpt\",\"value\":\"Number 3\"}]}");
    oc_loader *l;
    oc_batch *b;
    oc_source source = {.dataset = d};
    oc_loader_options opt = grouped(options(&source, 1));
    opt.captions_per_image = 0;
    OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
    for (int epoch = 0; epoch < 5; epoch++) {
        OK(oc_loader_next(l, &b, NULL, &err));
        assert_int_equal(b->n_images, 3);
        assert_int_equal(b->n_blocks, 6);
        int block = 0;
        for (int k = 0; k < 3; k++) {
            int number = number_of(b, k);
            for (int i = 0; i < number; i++, block++) {
                assert_true(b->block_row[block] >= b->seq_start[k] && b->block_row[block] + TPI <= b->seq_start[k + 1]);
                if (i % 2 == 0) assert_int_equal(b->block_image[block], 0);
                else assert_in_range(b->block_image[block], 1, 2);
            }
        }
        oc_loader_release(l, b);
    }
    oc_loader_close(l);
    oc_dataset_close(d);
}

/* ---- Batches closed early ------------------------------------------------------------------------------------------ */

static void batches_are_closed_before_they_overflow(void **state) {
    OC_UNUSED(state);
    oc_loader *l;
    oc_batch *b;
    oc_source source = {.dataset = captions};
    oc_loader_options opt = options(&source, 1);
    opt.batch = 20;
    opt.max_tokens = 333;
    int times[SAMPLES] = {0}, fullest = 0, n = 0;
    oc_loader_position at = {0};
    OK(oc_loader_open(&l, &opt, at, &err));
    for (; at.epoch == 0; n++) {
        OK(oc_loader_next(l, &b, &at, &err));
        assert_true(b->N <= 333);
        fullest = OC_MAX(fullest, b->N);
        for (int k = 0; k < b->n_seq; k++) times[number_of(b, k)]++;
        oc_loader_release(l, b);
    }
    for (int i = 0; i < SAMPLES; i++) assert_int_equal(times[i], 1);
    assert_true(fullest > 280 && n > 4);
    assert_int_equal(oc_loader_bad_count(l), 0);
    oc_loader_close(l);
    opt.max_tokens = 199;
    FAILS(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err), OC_ERR_ARG, "max_tokens 199 is less than max_length 200");
    opt.max_tokens = 0;
    opt.batch = 2000000000;
    FAILS(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err), OC_ERR_ARG, "too large");
}

static void cut_sequences_are_counted(void **state) {
    OC_UNUSED(state);
    oc_loader *l;
    oc_batch *b;
    oc_source source = {.dataset = captions};
    oc_loader_options opt = options(&source, 1);
    oc_chat_tokens c = {0};
    int longest = 0, shortest = 1000, cut = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < SAMPLES; i++) {
            oc_sample s;
            oc_dataset_sample(captions, i, &s);
            OK(oc_sample_tokens(&s, &opt.text, &c, NULL, &err));
            longest = OC_MAX(longest, (int)c.ids.len), shortest = OC_MIN(shortest, (int)c.ids.len);
            cut += pass && (int)c.ids.len > (longest + shortest) / 2;
        }
    assert_in_range(cut, 1, SAMPLES - 1);
    opt.text.max_length = (longest + shortest) / 2;
    opt.batch = SAMPLES;
    opt.threads = 1;
    opt.ahead = 1;
    OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
    OK(oc_loader_next(l, &b, NULL, &err));
    int64_t n = oc_loader_cut_count(l); /* the next batch may have been begun */
    assert_true(n >= cut && n <= 3 * cut);
    for (int k = 0; k < b->n_seq; k++) assert_true(b->seq_start[k + 1] - b->seq_start[k] <= opt.text.max_length);
    oc_loader_close(l);
    oc_chat_tokens_free(&c);
}

/* ---- Bad samples --------------------------------------------------------------------------------------------------- */

typedef struct bad_log {
    int n;
    char last[64], reason[256];
} bad_log;

static void note_bad(void *ctx, const char *sample, const char *reason) {
    bad_log *log = ctx;
    log->n++;
    snprintf(log->last, sizeof log->last, "%s", sample);
    snprintf(log->reason, sizeof log->reason, "%s", reason);
}

static void bad_samples_are_replaced(void **state) {
    OC_UNUSED(state);
    oc_loader *l;
    oc_batch *b;
    oc_dataset *d = open_captions("some_broken.jsonl", 2); /* pictures 0 and 1: samples 0 to 5 */
    oc_source source = {.dataset = d};
    oc_loader_options opt = options(&source, 1);
    bad_log log = {0};
    opt.on_bad = note_bad;
    opt.on_bad_ctx = &log;
    opt.max_bad = 6;
    OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
    int delivered = 0;
    oc_loader_position at = {0};
    while (at.epoch < 2) {
        OK(oc_loader_next(l, &b, &at, &err));
        for (int k = 0; k < b->n_seq; k++) assert_true(number_of(b, k) >= 6);
        delivered += b->n_seq;
        oc_loader_release(l, b);
    }
    assert_int_equal(delivered, 2 * SAMPLES);
    assert_int_equal(oc_loader_bad_count(l), 6); /* each once, however often it is met */
    oc_loader_close(l);
    assert_int_equal(log.n, 6);
    assert_true(atoi(log.last) < 6);
    assert_non_null(strstr(log.reason, "broken"));
    oc_dataset_close(d);
}

/* A unit that fails in its second picture leaves nothing behind. */
static void failed_units_leave_no_pictures(void **state) {
    OC_UNUSED(state);
    oc_strbuf json = {0};
    for (int i = 0; i < 10; i++)
        oc_strbuf_printf(&json, "{\"image\":[\"p%d.png\",\"%s%d.png\"],\"conversations\":[{\"from\":\"human\",\"value\":\"<image><image>\"},{\"from\":\"gpt\",\"value\":\"Number %d\"}]}\n",
                         i, i % 2 ? "broken" : "p", i + 1, i);
    oc_dataset *d = open_llava(json.data);
    oc_source source = {.dataset = d};
    oc_loader_options opt = options(&source, 1);
    oc_loader *l;
    oc_batch *b;
    opt.max_bad = 5;
    OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
    for (int i = 0; i < 4; i++) {
        OK(oc_loader_next(l, &b, NULL, &err));
        assert_int_equal(b->n_seq, 5);
        assert_int_equal(b->n_blocks, 10);
        assert_int_equal(b->n_images, 10);
        for (int k = 0; k < 10; k++) assert_int_equal(b->block_image[k], k);
        for (int k = 0; k < 5; k++) assert_int_equal(number_of(b, k) % 2, 0);
        oc_loader_release(l, b);
    }
    oc_loader_close(l);
    oc_dataset_close(d);
    oc_strbuf_free(&json);
}

static void too_many_bad_samples(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_captions("some_broken.jsonl", 2);
    oc_source source = {.dataset = d};
    oc_loader_options opt = options(&source, 1);
    for (int max_bad = -1; max_bad <= 5; max_bad += 3) {
        oc_loader *l;
        oc_batch *b;
        oc_status st = OC_OK;
        opt.max_bad = max_bad;
        OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
        for (int i = 0; i < 12 && st == OC_OK; i++) {
            st = oc_loader_next(l, &b, NULL, &err);
            if (st == OC_OK) oc_loader_release(l, b);
        }
        assert_int_equal(st, OC_ERR_FORMAT);
        assert_null(b);
        if (max_bad >= 0) assert_non_null(strstr(err.msg, "more than the allowed"));
        assert_non_null(strstr(err.msg, "broken"));
        assert_int_equal(oc_loader_next(l, &b, NULL, &err), OC_ERR_FORMAT); /* and so it stays */
        oc_loader_close(l);
    }
    oc_dataset_close(d);
}

static void nothing_good(void **state) {
    OC_UNUSED(state);
    oc_loader *l;
    oc_batch *b;
    oc_dataset *d = open_llava("{\"id\":\"x\",\"image\":\"absent.png\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\"},{\"from\":\"gpt\",\"value\":\"A\"}]}");
    oc_source source = {.dataset = d};
    oc_loader_options opt = options(&source, 1);
    opt.max_bad = 1000;
    OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
    FAILS(oc_loader_next(l, &b, NULL, &err), OC_ERR_FORMAT, "no usable sample: ");
    assert_non_null(strstr(err.msg, "absent.png"));
    oc_loader_close(l);
    oc_dataset_close(d);
}

/* ---- Ends ---------------------------------------------------------------------------------------------------------- */

/* Closing is possible at any time: before the first batch, with batches taken, with all slots full. */
static void closing_early(void **state) {
    OC_UNUSED(state);
    oc_source source = {.dataset = captions};
    oc_loader_options opt = options(&source, 1);
    for (int i = 0; i < 30; i++) {
        oc_loader *l;
        oc_batch *b;
        opt.threads = 1 + i % 5;
        opt.cache_mb = (size_t)(i % 2);
        OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
        for (int k = 0; k < i % 4; k++) OK(oc_loader_next(l, &b, NULL, &err));
        if (i % 3 == 0) nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
        oc_loader_close(l);
    }
    oc_loader_close(NULL);
}

/* Several batches may be held and given back in any order. */
static void batches_held_together(void **state) {
    OC_UNUSED(state);
    static stream one;
    oc_source source = {.dataset = captions};
    oc_loader_options opt = options(&source, 1);
    opt.ahead = 4;
    read_stream(&one, &opt, (oc_loader_position){0}, 12);
    oc_loader *l;
    OK(oc_loader_open(&l, &opt, (oc_loader_position){0}, &err));
    for (int i = 0; i < 12; i += 4) {
        oc_batch *held[4];
        for (int k = 0; k < 4; k++) OK(oc_loader_next(l, &held[k], NULL, &err));
        for (int k = 3; k >= 0; k--) assert_true(hash_of(held[k]) == one.hash[i + k]);
        for (int k = 3; k >= 0; k--) oc_loader_release(l, held[(k + i) % 4]);
    }
    oc_loader_close(l);
}

static void out_of_memory(void **state) {
    OC_UNUSED(state);
    oc_source source = {.dataset = captions};
    oc_loader_options opt = options(&source, 1);
    opt.threads = 1;
    opt.ahead = 1;
    opt.cache_mb = 1;
    opt.max_bad = 1000; /* lack of memory is no fault of a sample */
    int opened = 0;
    for (long n = 0; n < 400; n++) {
        oc_loader *l = NULL;
        oc_batch *b;
        oc_alloc_fail_after(n);
        oc_status st = oc_loader_open(&l, &opt, (oc_loader_position){0}, &err);
        opened += st == OC_OK;
        for (int i = 0; i < 3 && st == OC_OK; i++) {
            st = oc_loader_next(l, &b, NULL, &err);
            if (st == OC_OK) oc_loader_release(l, b);
        }
        if (st != OC_OK) assert_int_equal(st, OC_ERR_NOMEM);
        if (l) assert_int_equal(oc_loader_bad_count(l), 0);
        oc_loader_close(l);
        oc_alloc_fail_after(-1);
    }
    assert_in_range(opened, 300, 399);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates),
        cmocka_unit_test(long_samples_are_cut),
        cmocka_unit_test(prompts),
        cmocka_unit_test(what_a_batch_holds),
        cmocka_unit_test(random_changes_are_per_sample),
        cmocka_unit_test(dropped_tokens),
        cmocka_unit_test(every_sample_once_an_epoch),
        cmocka_unit_test(mixing),
        cmocka_unit_test(gray_source),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(seeds_and_epochs_differ),
        cmocka_unit_test(resume_equals_unbroken),
        cmocka_unit_test(positions_out_of_the_data),
        cmocka_unit_test(groups_share_their_picture),
        cmocka_unit_test(groups_with_several_pictures),
        cmocka_unit_test(batches_are_closed_before_they_overflow),
        cmocka_unit_test(cut_sequences_are_counted),
        cmocka_unit_test(bad_samples_are_replaced),
        cmocka_unit_test(failed_units_leave_no_pictures),
        cmocka_unit_test(too_many_bad_samples),
        cmocka_unit_test(nothing_good),
        cmocka_unit_test(closing_early),
        cmocka_unit_test(batches_held_together),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
