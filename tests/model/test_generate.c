/* Generation against transformers (golden/tiny/activations/generation.json): greedy and beam search, all masks, with and
 * without an eos; and properties that need no reference. */
#include "golden.h"

#include "model/generate.h"

static const char *const MODES[] = {"prefix", "causal", "full_visual"};

typedef struct fixture {
    oc_vlm m;
    oc_compute *c;
    oc_batch b;
    json_t *golden;
} fixture;

static void open_prompts(fixture *f, int copies) {
    oc_error err;
    golden_model(&f->m, &f->c, NULL, "tiny");
    f->golden = golden_json("generation");
    json_t *ids = json_object_get(f->golden, "prompt_ids");
    int n = (int)json_array_size(ids);
    ok(oc_batch_open(&f->b, copies * n, copies, copies, 1, G_PATCHES, G_SIZE, &err), &err);
    oc_safetensors *st = golden_open("batch");
    memcpy(f->b.pixels, golden_data(st, "pixel_values"), 3 * G_SIZE * G_SIZE * sizeof(float));
    f->b.n_images = 1;
    int32_t token[64], zero = 0;
    uint8_t answer[64] = {0};
    for (int i = 0; i < n; i++) token[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    for (int k = 0; k < copies; k++) assert_true(oc_batch_append(&f->b, token, answer, n, G_IMAGE_TOKEN, &zero, 1));
    oc_safetensors_close(st);
}

static void close_prompts(fixture *f) {
    json_decref(f->golden);
    oc_batch_close(&f->b);
    oc_vlm_close(&f->m);
    oc_compute_close(f->c);
}

static int mode_of(const json_t *c) {
    const char *name = json_string_value(json_object_get(c, "mode"));
    for (int i = 0; i < 3; i++)
        if (!strcmp(MODES[i], name)) return i;
    return -1;
}

static void check_tokens(const oc_generation *g, const json_t *tokens, const json_t *logprobs) {
    assert_int_equal(g->n, json_array_size(tokens));
    for (int i = 0; i < g->n; i++) {
        assert_int_equal(g->token[i], json_integer_value(json_array_get(tokens, (size_t)i)));
        assert_true(fabs((double)g->logprob[i] - json_number_value(json_array_get(logprobs, (size_t)i))) < 2e-4);
    }
}

/* Every golden case, with the prompt twice in the batch: both copies must give the reference. */
static void test_golden_cases(void **state) {
    (void)state;
    fixture f;
    open_prompts(&f, 2);
    json_t *cases = json_object_get(f.golden, "cases"), *c;
    size_t i;
    json_array_foreach(cases, i, c) {
        oc_error err;
        oc_generation out[8];
        int beams = (int)json_integer_value(json_object_get(c, "num_beams"));
        oc_generate_options o = {.max_new_tokens = 20, .beams = beams, .use_length_penalty = true,
                                 .length_penalty = json_number_value(json_object_get(c, "length_penalty"))};
        json_t *eos = json_object_get(c, "eos_token_id");
        o.n_eos = (int)json_array_size(eos);
        for (int k = 0; k < o.n_eos; k++) o.eos[k] = (int32_t)json_integer_value(json_array_get(eos, (size_t)k));
        oc_spans_fill(&f.b, (oc_mask)mode_of(c));
        int per = beams > 1 ? beams : 1;
        ok(oc_generate(&f.m, &f.b, &o, per, out, &err), &err);
        json_t *tokens = json_object_get(c, "tokens"), *lp = json_object_get(c, "token_logprobs"), *scores = json_object_get(c, "sequence_scores");
        assert_int_equal(json_array_size(tokens), per);
        for (int k = 0; k < 2 * per; k++) {
            check_tokens(&out[k], json_array_get(tokens, (size_t)(k % per)), json_array_get(lp, (size_t)(k % per)));
            if (beams > 1) assert_true(fabs(out[k].score - json_number_value(json_array_get(scores, (size_t)(k % per)))) < 5e-4);
            oc_generation_free(&out[k]);
        }
    }
    assert_int_equal(i, 18);
    close_prompts(&f);
}

static void test_one_beam_is_greedy_and_seeds_repeat(void **state) {
    (void)state;
    fixture f;
    oc_error err;
    open_prompts(&f, 2);
    oc_spans_fill(&f.b, OC_MASK_PREFIX);
    oc_generation a[2], b[2];
    oc_generate_options sampling = {.max_new_tokens = 12, .temperature = 1.5, .top_k = 50, .top_p = 0.9, .seed = 7};
    ok(oc_generate(&f.m, &f.b, &sampling, 1, a, &err), &err);
    ok(oc_generate(&f.m, &f.b, &sampling, 1, b, &err), &err);
    assert_int_equal(a[0].n, 12);
    for (int k = 0; k < 2; k++) assert_memory_equal(a[k].token, b[k].token, 12 * sizeof(int32_t));
    assert_true(memcmp(a[0].token, a[1].token, 12 * sizeof(int32_t)) != 0); /* each prompt draws its own */
    for (int k = 0; k < 2; k++) oc_generation_free(&a[k]), oc_generation_free(&b[k]);
    sampling.top_k = 1; /* only the most probable token is left */
    oc_generate_options greedy = {.max_new_tokens = 12};
    ok(oc_generate(&f.m, &f.b, &sampling, 1, a, &err), &err);
    ok(oc_generate(&f.m, &f.b, &greedy, 1, b, &err), &err);
    assert_memory_equal(a[0].token, b[0].token, 12 * sizeof(int32_t));
    for (int k = 0; k < 2; k++) oc_generation_free(&a[k]), oc_generation_free(&b[k]);
    close_prompts(&f);
}

/* Attention over the prompt is a distribution's part: positive, at most 1 in sum, and greedy output does not change. */
static void test_attention_maps(void **state) {
    (void)state;
    fixture f;
    oc_error err;
    open_prompts(&f, 1);
    oc_spans_fill(&f.b, OC_MASK_PREFIX);
    oc_generation a, b;
    oc_generate_options o = {.max_new_tokens = 6, .want_attention = true}, plain = {.max_new_tokens = 6};
    ok(oc_generate(&f.m, &f.b, &o, 1, &a, &err), &err);
    ok(oc_generate(&f.m, &f.b, &plain, 1, &b, &err), &err);
    assert_memory_equal(a.token, b.token, 6 * sizeof(int32_t));
    for (int i = 0; i < a.n; i++) {
        double sum = 0;
        for (int p = 0; p < f.b.N; p++) {
            float x = a.attention[i * f.b.N + p];
            assert_true(x > 0);
            sum += (double)x;
        }
        assert_true(sum > 0.05 && sum < 1);
    }
    oc_generation_free(&a);
    oc_generation_free(&b);
    close_prompts(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_cases),
        cmocka_unit_test(test_one_beam_is_greedy_and_seeds_repeat),
        cmocka_unit_test(test_attention_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
