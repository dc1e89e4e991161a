/* ocellus bench infer: encoding a picture, reading a prompt, generating, and a whole caption, timed. */
#include <string.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/signals.h"
#include "cli/bench.h"
#include "model/spans.h"

static struct {
    int preset, prefill, prompt, new_tokens, repeats;
    const char *model;
    oc_model_settings settings;
    bool json;
} opt = {.preset = 1, .prefill = 858, .prompt = 17, .new_tokens = 32, .repeats = 3};

static const oc_option options[] = {
    {"--preset", OPT_ENUM, &opt.preset, "small|full",
     "full: SigLIP so400m and Qwen2-0.5B; small: six layers of 256 in both"},
    {"--model", OPT_STRING, &opt.model, "DIR", "this model instead, and start_ms: the time to open it"},
    {"--prefill", OPT_INT, &opt.prefill, "1..32000", "tokens of the prompt whose reading is timed"},
    {"--prompt", OPT_INT, &opt.prompt, "1..32000", "text tokens beside the picture of the caption"},
    {"--new-tokens", OPT_INT, &opt.new_tokens, "2..4096", "tokens that are generated"},
    {"--repeats", OPT_INT, &opt.repeats, "1..1000", "runs that are timed, after one that is not"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print one JSON object"},
    OC_MODEL_OPTIONS(opt.settings),
    {0}};

enum { ENCODE, PREFILL, DECODE, CAPTION, N_TIMES };

typedef struct bench {
    oc_session s;
    double start_ms; /* < 0: not measured */
    oc_batch text, picture;
    oc_kv_cache kv;
    int32_t *slot;
    float *logits;
    double *time[N_TIMES]; /* [repeats] seconds */
} bench;

static oc_status open_model(bench *b, oc_error *err) {
    oc_config c;
    if (opt.model) {
        double start = oc_now();
        OC_TRY(oc_session_open(&b->s, opt.model, &opt.settings, false, err));
        b->start_ms = 1e3 * (oc_now() - start);
        return oc_session_needs_vlm(&b->s, opt.model, err);
    }
    oc_bench_config(&c, opt.preset == 1 ? OC_BENCH_FULL : OC_BENCH_SMALL);
    OC_TRY(oc_compute_open(
        &b->s.compute, &(oc_compute_options){.threads = opt.settings.threads, .backend = opt.settings.backend}, err));
    bool bf16 = opt.settings.dtype ? opt.settings.dtype == 2 : oc_compute_has_native_bf16(b->s.compute);
    OC_TRY(oc_vlm_create(&b->s.model, b->s.compute, &c, bf16 ? OC_BF16 : OC_F32, err));
    oc_bench_fill(&b->s.model);
    return OC_OK;
}

/* Random text tokens, after a picture if there is one. */
static oc_status make_prompt(oc_batch *b, const oc_config *c, int images, int text, oc_error *err) {
    const int P = oc_config_tokens_per_image(c), T = images * P + text;
    oc_chat_tokens t = {.n_images = images};
    oc_rng rng = oc_rng_seed(1);
    oc_status st = OC_OK;
    for (int k = 0; k < T && st == OC_OK; k++) {
        int32_t id = k < images * P ? c->image_token : (int32_t)oc_rng_below(&rng, (uint32_t)c->text.vocab);
        if (k >= images * P && id == c->image_token) id = 0;
        if (!oc_ids_add(&t.ids, id)) st = oc_fail(err, OC_ERR_NOMEM, "out of memory for the prompt");
    }
    t.is_answer = oc_calloc((size_t)T, 1);
    if (!t.is_answer) st = oc_fail(err, OC_ERR_NOMEM, "out of memory for the prompt");
    if (st == OC_OK) st = oc_prompt_pack(b, c, &t, 1, &(int32_t){0}, images, err);
    size_t S = (size_t)c->vision.image_size;
    for (size_t i = 0; st == OC_OK && i < (size_t)images * 3 * S * S; i++) b->pixels[i] = (float)oc_rng_normal(&rng);
    oc_chat_tokens_free(&t);
    return st;
}

static oc_status open_bench(bench *b, oc_error *err) {
    OC_TRY(open_model(b, err));
    const oc_vlm *m = &b->s.model;
    const size_t T = (size_t)OC_MAX(opt.prefill, opt.new_tokens);
    const int positions = OC_MAX(opt.prefill, oc_config_tokens_per_image(&m->cfg) + opt.prompt) + opt.new_tokens;
    if (positions > m->decoder.max_rope)
        return oc_fail(err, OC_ERR_ARG, "%d tokens exceed the model's %d positions", positions, m->decoder.max_rope);
    OC_TRY(make_prompt(&b->text, &m->cfg, 0, opt.prefill, err));
    OC_TRY(make_prompt(&b->picture, &m->cfg, 1, opt.prompt, err));
    OC_TRY(oc_kv_cache_open(&b->kv, m->compute, &m->cfg.text, 1, opt.prefill + opt.new_tokens, m->t, err));
    b->slot = oc_calloc(T, sizeof *b->slot);
    if (!b->slot) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the prompt");
    OC_TRY(oc_alloc_for(&b->logits, (size_t)m->cfg.text.vocab * sizeof *b->logits, "logits", err));
    for (int i = 0; i < N_TIMES; i++)
        OC_TRY(oc_alloc_for(&b->time[i], (size_t)opt.repeats * sizeof(double), "times", err));
    return oc_vlm_reserve(&b->s.model, OC_MAX(opt.prefill, b->picture.N), 1, 1, OC_MAX(opt.prefill, b->picture.N),
                          false, err);
}

static void close_bench(bench *b) {
    oc_batch_close(&b->text);
    oc_batch_close(&b->picture);
    oc_kv_cache_close(&b->kv);
    oc_free(b->slot);
    oc_free(b->logits);
    for (int i = 0; i < N_TIMES; i++) oc_free(b->time[i]);
    oc_session_close(&b->s);
}

/* One run of everything; times[N_TIMES]. */
static oc_status one_run(bench *b, double *times, oc_error *err) {
    oc_vlm *m = &b->s.model;
    double start = oc_now();
    oc_vlm_encode_images(m, b->picture.pixels, 1);
    times[ENCODE] = oc_now() - start;

    start = oc_now();
    void *x = oc_vlm_forward(m, &b->text, &b->kv, b->slot);
    oc_vlm_logits(m, b->logits, x, &(int32_t){b->text.N - 1}, 1);
    times[PREFILL] = oc_now() - start;

    start = oc_now();
    for (int i = 0; i < opt.new_tokens; i++)
        oc_vlm_decode(m, b->logits, &(int32_t){i % m->cfg.text.vocab}, &(int32_t){b->text.N + i}, &(int32_t){0}, 1,
                      &b->kv);
    times[DECODE] = oc_now() - start;

    oc_generation g;
    start = oc_now();
    OC_TRY(oc_generate(m, &b->picture, &(oc_generate_options){.max_new_tokens = opt.new_tokens}, 1, &g, err));
    times[CAPTION] = oc_now() - start;
    oc_generation_free(&g);
    return OC_OK;
}

static oc_status measure(bench *b, oc_error *err) {
    oc_progress bar;
    oc_status st = OC_OK;
    oc_progress_open(&bar, "bench infer", opt.repeats + 1, false);
    for (int i = 0; i <= opt.repeats && st == OC_OK; i++) {
        double times[N_TIMES];
        if (oc_interrupted())
            st = oc_fail(err, OC_ERR_INTERRUPTED, "interrupted after %d runs", i);
        else
            st = i == 1 ? oc_profile_start(b->s.compute, err) : OC_OK;
        if (st == OC_OK) st = one_run(b, times, err);
        for (int k = 0; k < N_TIMES && st == OC_OK && i > 0; k++) b->time[k][i - 1] = times[k];
        if (st == OC_OK) oc_progress_update(&bar, i + 1, opt.repeats + 1, "caption %.2f s", times[CAPTION]);
    }
    oc_progress_close(&bar);
    return st;
}

static oc_status print_result(bench *b, oc_error *err) {
    const oc_vlm *m = &b->s.model;
    const char *name = opt.model ? opt.model : opt.preset ? "full" : "small", *dtype = m->t == OC_BF16 ? "bf16" : "f32";
    double t[N_TIMES], rss = (double)oc_peak_rss_bytes() / (1 << 30);
    for (int i = 0; i < N_TIMES; i++) t[i] = oc_bench_median(b->time[i], opt.repeats);
    double prefill = opt.prefill / t[PREFILL], decode = opt.new_tokens / t[DECODE];
    if (opt.json) {
        json_t *o = json_pack("{s:s, s:s, s:i, s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:o}", "model", name, "dtype",
                              dtype, "threads", b->s.compute->threads, "backend", b->s.compute->ops.name,
                              "prefill_tokens", opt.prefill, "new_tokens", opt.new_tokens, "encode_s", t[ENCODE],
                              "prefill_tok_s", prefill, "decode_tok_s", decode, "caption_s", t[CAPTION], "peak_rss_gib",
                              rss, "operations", oc_bench_operations(b->s.compute, opt.repeats));
        if (o && b->start_ms >= 0) json_object_set_new(o, "start_ms", json_real(b->start_ms));
        return oc_print_json(o, err);
    }
    printf("%s, %s: %s\n", name, dtype, oc_compute_describe(b->s.compute));
    if (b->start_ms >= 0) printf("open      %8.0f ms\n", b->start_ms);
    printf("encode    %8.3f s a picture\nprefill   %8.1f tokens/s (%d tokens)\ndecode    %8.2f tokens/s\n", t[ENCODE],
           prefill, opt.prefill, decode);
    printf("caption   %8.3f s (picture, %d text tokens, %d new tokens)\nmemory    %8.2f GiB\n", t[CAPTION], opt.prompt,
           opt.new_tokens, rss);
    oc_bench_print_operations(b->s.compute, opt.repeats);
    return OC_OK;
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    OC_UNUSED(args);
    bench b = {.start_ms = -1};
    oc_status st;
    OC_GO(open_bench(&b, err));
    OC_GO(measure(&b, err));
    OC_GO(print_result(&b, err));
done:
    close_bench(&b);
    return (int)st;
}

const oc_command oc_command_bench_infer = {
    .name = "bench infer",
    .summary = "Time encoding, prefill, decoding and a caption",
    .positional = NULL,
    .min_args = 0,
    .max_args = 0,
    .details =
        "Random weights unless --model is given: speed only. Times are medians of the runs; operations are per run, which holds\n"
        "each of the four once.\n\n"
        "  ocellus bench infer --preset full --dtype bf16 --json\n"
        "  ocellus bench infer --model runs/flickr8k/model",
    .options = options,
    .run = run,
};
