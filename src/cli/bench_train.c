/* ocellus bench train: one training step, timed. The models, batches and the count of operations are those of the PyTorch
 * script that it is compared with: one picture and a text per sample, every text token predicted, AdamW included. */
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/signals.h"
#include "cli/bench.h"
#include "model/spans.h"
#include "train/memory.h"
#include "train/optimizer.h"

enum { PROJECTOR, END_TO_END };

static struct {
    int preset, stage, dtype, batch, text, threads, steps, warmup, mask, recompute, weights, gradients, moments;
    const char *backend;
    bool json;
} opt = {.stage = END_TO_END, .steps = 3, .warmup = 1};

static const char *const STAGE[] = {"projector", "e2e"};

static const oc_option options[] = {
    {"--preset", OPT_ENUM, &opt.preset, "small|full",
     "full: SigLIP so400m and Qwen2-0.5B; small: six layers of 256 in both"},
    {"--stage", OPT_ENUM, &opt.stage, "projector|e2e", "what is trained: the projector alone, or everything"},
    {"--dtype", OPT_ENUM, &opt.dtype, "auto|f32|bf16", "type of the arithmetic"},
    {"--batch", OPT_INT, &opt.batch, "0..4096", "samples; 0: 32 small, 1 full"},
    {"--text", OPT_INT, &opt.text, "0..4096", "text tokens a sample; 0: 48 small, 128 full"},
    {"--mask", OPT_ENUM, &opt.mask, "causal|prefix|isolated",
     "which keys a visual token sees; the count of operations is the causal one's"},
    {"--recompute", OPT_ENUM, &opt.recompute, "off|on",
     "activation checkpointing: layers keep their input alone and are computed again in the backward pass"},
    {"--weights", OPT_ENUM, &opt.weights, "f32|bf16", "type of matrices and embeddings"},
    {"--gradients", OPT_ENUM, &opt.gradients, "f32|bf16", "type of the gradients of linear layers' matrices"},
    {"--moments", OPT_ENUM, &opt.moments, "f32|bf16", "type of AdamW's moments"},
    {"--steps", OPT_INT, &opt.steps, "1..10000", "steps that are timed"},
    {"--warmup", OPT_INT, &opt.warmup, "0..1000", "steps before"},
    {"--threads", OPT_INT, &opt.threads, "0..1024", "threads; 0: all cores"},
    {"--backend", OPT_STRING, &opt.backend, "NAME", "kernels to use; default: the best for this processor"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print one JSON object"},
    {0}};

typedef struct bench {
    oc_compute *compute;
    oc_vlm m;
    oc_batch batch;
    oc_optimizer optimizer;
    double *wall, *cpu; /* [steps] */
    double loss;
    oc_memory memory; /* as predicted before the model had any */
} bench;

/* ---- Operations of a step, as the compared script counts them ------------------------------------------------------ */

/* Multiply-adds of the decoder's matrices and of causal attention over T tokens. */
static double decoder_macs(const oc_text_config *t, double T) {
    double d = t->hidden, kv = t->head_size * t->kv_heads, layers = t->layers;
    return T * layers * (2 * d * d + 2 * d * kv + 3 * d * t->mlp) + layers * T * T * d;
}

static double vision_macs(const oc_vision_config *v) {
    double d = v->hidden, P = oc_vision_patches(v), layers = v->layers;
    return P * (layers * (4 * d * d + 2 * d * v->mlp) + 3.0 * v->patch_size * v->patch_size * d) +
           2 * layers * P * P * d;
}

static double step_flops(const oc_config *c, int text, int batch) {
    double P = oc_vision_patches(&c->vision), T = P + text, d = c->text.hidden;
    double projector = P * (c->vision.hidden * d + d * d), head = (double)text * d * c->text.vocab;
    double forward = vision_macs(&c->vision) + projector + decoder_macs(&c->text, T) + head;
    /* with a frozen decoder the gradient goes through it, without those of its weights */
    double through = forward + 2 * projector + decoder_macs(&c->text, T) + c->text.layers * T * T * d + head;
    return 2 * batch * (opt.stage == END_TO_END ? 3 * forward : through);
}

/* ---- The step ------------------------------------------------------------------------------------------------------ */

static oc_status make_batch(bench *b, oc_error *err) {
    const oc_config *c = &b->m.cfg;
    const int P = oc_config_tokens_per_image(c), T = P + opt.text, S = c->vision.image_size;
    OC_TRY(oc_batch_open(&b->batch, opt.batch * T, opt.batch, opt.batch, opt.batch, P, S, err));
    int32_t *token = oc_calloc((size_t)T, sizeof *token);
    uint8_t *answer = oc_calloc((size_t)T, 1);
    oc_rng rng = oc_rng_seed(0);
    for (int i = 0; token && answer && i < opt.batch; i++) {
        for (int k = 0; k < T; k++) {
            token[k] = k < P ? c->image_token : (int32_t)oc_rng_below(&rng, (uint32_t)c->text.vocab - 1);
            answer[k] = k >= P;
        }
        bool fits = oc_batch_append(&b->batch, token, answer, T, c->image_token, &(int32_t){i}, 1);
        OC_ASSERT(fits);
    }
    oc_status st = token && answer ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the batch");
    oc_free(token);
    oc_free(answer);
    b->batch.n_images = opt.batch;
    for (size_t i = 0; i < (size_t)opt.batch * 3 * (size_t)S * (size_t)S; i++)
        b->batch.pixels[i] = (float)oc_rng_normal(&rng);
    oc_spans_fill(&b->batch, c->mask);
    return st;
}

/* As `train --dry-run` does it. */
static oc_status predict_memory(bench *b, const bool train[OC_PART_COUNT], oc_error *err) {
    const oc_batch_shape s = oc_batch_shape_of(&b->batch);
    const size_t S = (size_t)b->m.cfg.vision.image_size;
    OC_TRY(oc_memory_measure_kernels(&b->memory, &b->m, train, &s, err));
    OC_TRY(oc_memory_parameters(&b->memory, &b->m, train, false, err));
    b->memory.bytes[OC_ROLE_ACTIVATIONS] = oc_vlm_arena_bytes(&b->m, s.tokens, s.images, s.blocks, s.labels, true);
    b->memory.bytes[OC_ROLE_BATCHES] =
        (size_t)s.tokens * 5 * sizeof(int32_t) + (size_t)s.images * 3 * S * S * sizeof(float);
    return OC_OK;
}

static oc_status open_bench(bench *b, oc_error *err) {
    static const oc_mask mask[] = {OC_MASK_CAUSAL, OC_MASK_PREFIX, OC_MASK_ISOLATED};
    const bool e2e = opt.stage == END_TO_END, train[OC_PART_COUNT] = {e2e, true, e2e};
    const double lr[OC_PART_COUNT] = {1e-5, 1e-5, 1e-5};
    oc_config c;
    OC_TRY(oc_compute_open(&b->compute, &(oc_compute_options){.threads = opt.threads, .backend = opt.backend}, err));
    bool bf16 = opt.dtype ? opt.dtype == 2 : oc_compute_has_native_bf16(b->compute);
    oc_bench_config(&c, opt.preset == 1 ? OC_BENCH_FULL : OC_BENCH_SMALL);
    c.mask = mask[opt.mask];
    b->memory.bytes[OC_ROLE_PROGRAM] = oc_rss_bytes();
    OC_TRY(oc_vlm_create_typed(&b->m, b->compute, &c, bf16 ? OC_BF16 : OC_F32, opt.weights ? OC_BF16 : OC_F32, err));
    oc_bench_fill(&b->m);
    OC_TRY(make_batch(b, err));
    memcpy(b->m.train, train, sizeof b->m.train);
    oc_memory_recompute_all(&b->m, opt.recompute);
    oc_params_narrow(&b->m.params, opt.gradients, opt.moments);
    OC_TRY(predict_memory(b, train, err));
    OC_TRY(oc_vlm_set_trainable(&b->m, train, err));
    b->optimizer =
        (oc_optimizer){.compute = b->compute, .opt = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01}};
    OC_TRY(oc_optimizer_add_model(&b->optimizer, &b->m, lr, NULL, false, err));
    OC_TRY(oc_alloc_for(&b->wall, (size_t)opt.steps * sizeof *b->wall, "times", err));
    OC_TRY(oc_alloc_for(&b->cpu, (size_t)opt.steps * sizeof *b->cpu, "times", err));
    return oc_vlm_reserve(&b->m, b->batch.N, opt.batch, opt.batch, b->batch.n_labels, true, err);
}

static void close_bench(bench *b) {
    oc_optimizer_close(&b->optimizer);
    oc_batch_close(&b->batch);
    oc_vlm_close(&b->m);
    oc_free(b->wall);
    oc_free(b->cpu);
    if (b->compute) oc_compute_close(b->compute);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void step(bench *b) {
    oc_loss l = oc_vlm_loss(&b->m, &b->batch, 1.0f / (float)b->batch.n_labels);
    b->loss = l.sum / l.n;
    oc_optimizer_step(&b->optimizer, 1, b->loss, 1);
    oc_vlm_weights_changed(&b->m, b->m.train);
}

static oc_status measure(bench *b, oc_error *err) {
    oc_progress bar;
    oc_status st = OC_OK;
    oc_progress_open(&bar, "bench train", opt.warmup + opt.steps, false);
    for (int i = 0; i < opt.warmup + opt.steps && st == OC_OK; i++) {
        if (i == opt.warmup) st = oc_profile_start(b->compute, err);
        if (oc_interrupted()) st = oc_fail(err, OC_ERR_INTERRUPTED, "interrupted after %d steps", i);
        if (st != OC_OK) break;
        double wall = oc_now(), cpu = cpu_seconds();
        step(b);
        wall = oc_now() - wall;
        if (i >= opt.warmup) b->wall[i - opt.warmup] = wall, b->cpu[i - opt.warmup] = cpu_seconds() - cpu;
        oc_progress_update(&bar, i + 1, opt.warmup + opt.steps, "%.3f s", wall);
    }
    oc_progress_close(&bar);
    return st;
}

/* ---- The result ---------------------------------------------------------------------------------------------------- */

static json_t *memory_json(const oc_memory *m) {
    json_t *o = json_object();
    for (int i = 0; i < OC_ROLE_COUNT; i++)
        json_object_set_new(o, oc_role_names[i], json_integer((json_int_t)m->bytes[i]));
    return o;
}

static oc_status print_result(bench *b, oc_error *err) {
    const size_t *n = b->m.params.n_values;
    const char *dtype = b->m.t == OC_BF16 ? "bf16" : "f32";
    json_t *all = oc_bench_list(b->wall, opt.steps); /* before sorting */
    double s = oc_bench_median(b->wall, opt.steps), cpu = oc_bench_median(b->cpu, opt.steps),
           flops = step_flops(&b->m.cfg, opt.text, opt.batch);
    double rss = (double)oc_peak_rss_bytes() / (1 << 30);
    if (opt.json)
        return oc_print_json(
            json_pack(
                "{s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:s, s:{s:I, s:I, s:I}, s:f, s:o, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:f, s:o}",
                "preset", opt.preset ? "full" : "small", "stage", STAGE[opt.stage], "dtype", dtype, "batch", opt.batch,
                "tokens", b->batch.N, "threads", b->compute->threads, "backend", b->compute->ops.name, "mask",
                oc_mask_names[b->m.cfg.mask], "parameters", "vision", (json_int_t)n[OC_PART_VISION], "projector",
                (json_int_t)n[OC_PART_PROJECTOR], "lm", (json_int_t)n[OC_PART_LM], "sec_per_step", s, "sec_all", all,
                "cpu_sec_per_step", cpu, "tokens_per_sec", b->batch.N / s, "tflop_per_step", flops / 1e12, "gflops",
                flops / s / 1e9, "peak_rss_gib", rss, "predicted_gib", (double)oc_memory_total(&b->memory) / (1 << 30),
                "memory_bytes", memory_json(&b->memory), "loss", b->loss, "operations",
                oc_bench_operations(b->compute, opt.steps)),
            err);
    json_decref(all);
    printf("%s, %s, %s, %d samples, %d tokens: %s\n", opt.preset ? "full" : "small", STAGE[opt.stage], dtype, opt.batch,
           b->batch.N, oc_compute_describe(b->compute));
    printf(
        "%.3f s a step (%.3f s of processor time), %.0f tokens/s, %.1f GFLOP/s, peak memory %.2f GiB (predicted: %.2f)\n",
        s, cpu, b->batch.N / s, flops / s / 1e9, rss, (double)oc_memory_total(&b->memory) / (1 << 30));
    oc_bench_print_operations(b->compute, opt.steps);
    return OC_OK;
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    OC_UNUSED(args);
    if (!opt.batch) opt.batch = opt.preset ? 1 : 32;
    if (!opt.text) opt.text = opt.preset ? 128 : 48;
    bench b = {0};
    oc_status st;
    OC_GO(open_bench(&b, err));
    OC_GO(measure(&b, err));
    OC_GO(print_result(&b, err));
done:
    close_bench(&b);
    return (int)st;
}

const oc_command oc_command_bench_train = {
    .name = "bench train",
    .summary = "Time a training step",
    .positional = NULL,
    .min_args = 0,
    .max_args = 0,
    .details = "Random weights and data: speed only. Times are medians of the steps; operations are per step.\n\n"
               "  ocellus bench train --preset small --stage e2e --dtype bf16 --json\n"
               "  ocellus bench train --preset full --stage projector --batch 1",
    .options = options,
    .run = run,
};
