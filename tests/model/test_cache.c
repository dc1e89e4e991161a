/* The KV cache: one token at a time equals the whole sequence at once, for several sequences in slots of their own, for
 * every mask of the prompt; and copied slots continue independently. */
#include "small.h"

enum { PROMPTS = 3, NEW = 5, SLOTS = 5 };

static oc_error err;

typedef struct fixture {
    oc_compute *c;
    oc_vlm m;
    oc_batch whole, prompt; /* the same sequences, with and without their last NEW tokens */
    oc_kv_cache kv;
    float *logits, *want; /* [rows, V] */
} fixture;

static void open_fixture(fixture *f, oc_mask mask) {
    oc_config cfg = small_config();
    int32_t image[2];
    memset(f, 0, sizeof *f);
    small_compute(&f->c, "ref");
    small_model(&f->m, f->c, &cfg, OC_F32, 3);
    small_batch_open(&f->whole, &cfg, 256, PROMPTS, 4, 4);
    small_batch_open(&f->prompt, &cfg, 256, PROMPTS, 4, 4);
    image[0] = small_add_image(&f->whole, 1), image[1] = small_add_image(&f->whole, 2);
    small_add_sequence(&f->whole, &cfg, 11, 2, image, 1, 3 + NEW);
    small_add_sequence(&f->whole, &cfg, 12, 4, NULL, 0, 1 + NEW);
    small_add_sequence(&f->whole, &cfg, 13, 0, image, 2, NEW);
    memcpy(f->prompt.pixels, f->whole.pixels, 2 * small_plane(&f->whole) * sizeof(float));
    f->prompt.n_images = 2;
    static const int n_images[PROMPTS] = {1, 0, 2};
    uint8_t none[256] = {0};
    for (int k = 0; k < PROMPTS; k++) {
        int n = f->whole.seq_start[k + 1] - f->whole.seq_start[k] - NEW;
        assert_true(oc_batch_append(&f->prompt, f->whole.token + f->whole.seq_start[k], none, n, cfg.image_token, image, n_images[k]));
    }
    oc_spans_fill(&f->whole, mask);
    oc_spans_fill(&f->prompt, mask);
    size_t V = (size_t)cfg.text.vocab;
    f->logits = malloc((size_t)SLOTS * V * sizeof(float));
    f->want = malloc((size_t)f->whole.N * V * sizeof(float));
    int32_t row[256];
    for (int i = 0; i < f->whole.N; i++) row[i] = i;
    small_ok(oc_vlm_reserve(&f->m, f->whole.N, 2, 3, f->whole.N, false, &err), &err);
    oc_vlm_logits(&f->m, f->want, oc_vlm_forward(&f->m, &f->whole, NULL, NULL), row, f->whole.N);
    small_ok(oc_kv_cache_open(&f->kv, f->m.compute, &cfg.text, SLOTS, 64, OC_F32, &err), &err);
}

static void close_fixture(fixture *f) {
    oc_kv_cache_close(&f->kv);
    oc_batch_close(&f->whole);
    oc_batch_close(&f->prompt);
    free(f->logits);
    free(f->want);
    oc_vlm_close(&f->m);
    oc_compute_close(f->c);
}

static void prefill(fixture *f, const int32_t slot_of[PROMPTS]) {
    int32_t slot[256];
    for (int k = 0; k < PROMPTS; k++)
        for (int i = f->prompt.seq_start[k]; i < f->prompt.seq_start[k + 1]; i++) slot[i] = slot_of[k];
    oc_vlm_forward(&f->m, &f->prompt, &f->kv, slot);
}

/* Decodes token t of the answers of the given sequences, each in its slot, and compares the logits. */
static void step(fixture *f, int t, const int *sequence, const int32_t *slot, int n) {
    int32_t token[SLOTS], position[SLOTS];
    size_t V = (size_t)f->m.cfg.text.vocab;
    for (int i = 0; i < n; i++) {
        const oc_batch *b = &f->whole;
        position[i] = b->seq_start[sequence[i] + 1] - b->seq_start[sequence[i]] - NEW + t;
        token[i] = b->token[b->seq_start[sequence[i]] + position[i]];
    }
    oc_vlm_decode(&f->m, f->logits, token, position, slot, n, &f->kv);
    for (int i = 0; i < n; i++) {
        double e = small_rel(f->logits + (size_t)i * V, f->want + (size_t)(f->whole.seq_start[sequence[i]] + position[i]) * V, V);
        if (!(e < 1e-5)) fail_msg("token %d of sequence %d: logits differ by %g", t, sequence[i], e);
    }
}

static void token_by_token(void **state) {
    OC_UNUSED(state);
    for (int mask = 0; mask < OC_MASK_COUNT; mask++) {
        fixture f;
        open_fixture(&f, (oc_mask)mask);
        static const int32_t slots[PROMPTS] = {4, 0, 2};
        static const int all[PROMPTS] = {0, 1, 2};
        prefill(&f, slots);
        for (int t = 0; t < NEW; t++) step(&f, t, all, slots, PROMPTS);
        close_fixture(&f);
    }
}

/* Sequence 2 is copied behind its prompt and again behind its second token; both copies and the first go on alike. */
static void copied_slots(void **state) {
    OC_UNUSED(state);
    fixture f;
    open_fixture(&f, OC_MASK_PREFIX);
    static const int32_t slots[PROMPTS] = {0, 1, 2}, copies[] = {2, 3, 4};
    static const int alone[] = {2, 2, 2};
    prefill(&f, slots);
    int P = f.prompt.seq_start[3] - f.prompt.seq_start[2];
    oc_kv_copy(&f.kv, 3, 2, 0, P);
    oc_kv_copy(&f.kv, 4, 2, 0, P);
    for (int t = 0; t < 2; t++) step(&f, t, alone, slots + 2, 1);
    oc_kv_copy(&f.kv, 3, 2, P, P + 2);
    oc_kv_copy(&f.kv, 4, 3, P, P + 2);
    oc_kv_copy(&f.kv, 2, 2, 0, P); /* onto itself: nothing */
    for (int t = 2; t < NEW; t++) step(&f, t, alone, copies, 3);
    close_fixture(&f);
}

/* Rows are counted in 32 bits: a cache with more is refused before memory is taken. */
static void too_many_rows(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    oc_kv_cache kv;
    const oc_config cfg = small_config(); /* two layers */
    small_compute(&c, NULL);
    assert_int_equal(oc_kv_cache_open(&kv, c, &cfg.text, 1 << 20, 1 << 11, OC_BF16, &err), OC_ERR_ARG);
    assert_null(kv.k);
    oc_compute_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(token_by_token), cmocka_unit_test(copied_slots), cmocka_unit_test(too_many_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
