/* The model on a device with memory of its own (compute/device.h): the same numbers, bit for bit, as on the processor that
 * the device is made of, and nothing left in its memory. */
#include "small.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/device.h"
#include "model/generate.h"

enum { MAX = 1 << 17 };

/* What a run gives, as bytes in the order in which they come. */
typedef struct record {
    char *data;
    size_t n;
} record;

static void keep(record *r, const void *p, size_t bytes) {
    assert_true(r->n + bytes <= (size_t)MAX * 64);
    if (!r->data) assert_non_null(r->data = malloc((size_t)MAX * 64));
    memcpy(r->data + r->n, p, bytes);
    r->n += bytes;
}

static void keep_device(record *r, oc_compute *c, const void *p, size_t bytes) {
    void *copy = malloc(bytes + 1);
    c->ops.download(c, copy, p, bytes);
    keep(r, copy, bytes);
    free(copy);
}

typedef struct plan {
    oc_dtype t;
    oc_dtype weights;
    oc_mask mask;
    bool narrow, recompute, sample_loss, untied;
    int merge;
} plan;

static void tapped(void *ctx, const char *name, const void *x, int rows, int cols, int ld, oc_dtype t) {
    record *r = ctx;
    keep(r, name, strlen(name));
    for (int i = 0; i < rows; i++) keep(r, (const char *)x + (size_t)i * (size_t)ld * oc_dtype_size(t), (size_t)cols * oc_dtype_size(t));
}

static void open_model(oc_vlm *m, oc_compute *c, const plan *p) {
    oc_error err;
    oc_config cfg = small_config();
    cfg.text.tied = !p->untied;
    cfg.projector.merge = p->merge;
    small_ok(oc_vlm_create_typed(m, c, &cfg, p->t, p->weights, &err), &err);
    oc_params_init(&m->params, 3, SMALL_ALL);
    oc_vlm_weights_changed(m, SMALL_ALL);
    oc_params_narrow(&m->params, p->narrow, p->narrow);
}

/* Two pictures, one of which is shown twice and out of order, and a sequence without any. */
static void fill(oc_batch *b, const oc_config *cfg) {
    small_batch_open(b, cfg, 256, 3, 3, 2);
    const int32_t first = small_add_image(b, 1), second = small_add_image(b, 2), both[2] = {second, first};
    small_add_sequence(b, cfg, 50, 2, both, 2, 9);
    small_add_sequence(b, cfg, 51, 3, &second, 1, 5);
    small_add_sequence(b, cfg, 52, 4, NULL, 0, 6);
}

static void keep_gradients(record *r, oc_vlm *m) {
    for (int p = 0; p < OC_PART_COUNT; p++) {
        if (m->params.g[p]) keep_device(r, m->compute, m->params.g[p], m->params.n_g[p] * sizeof(float));
        if (m->params.g16[p]) keep_device(r, m->compute, m->params.g16[p], m->params.n_g16[p] * sizeof(uint16_t));
    }
}

static void train(record *r, oc_compute *c, const plan *p) {
    oc_error err;
    oc_vlm m;
    oc_batch b;
    open_model(&m, c, p);
    fill(&b, &m.cfg);
    oc_spans_fill(&b, p->mask);
    m.sample_loss = p->sample_loss;
    for (int i = 0; p->recompute && i < OC_PART_COUNT; i++) m.recomputed[i] = 2;
    m.vision_tap = m.decoder_tap = (oc_tap){tapped, r};
    const bool projector[OC_PART_COUNT] = {[OC_PART_PROJECTOR] = true};
    for (int all = 0; all < 2; all++) {
        small_ok(oc_vlm_set_trainable(&m, all ? SMALL_ALL : projector, &err), &err);
        small_ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.n_labels, true, &err), &err);
        for (int twice = 0; twice < 2; twice++) {
            oc_loss loss;
            small_ok(oc_vlm_try_loss(&loss, &m, &b, 0.1f, &err), &err);
            keep(r, &loss.sum, sizeof loss.sum);
            keep(r, &loss.correct, sizeof loss.correct);
        }
        keep_gradients(r, &m);
    }
    oc_loss loss = oc_vlm_loss(&m, &b, 0);
    keep(r, &loss.sum, sizeof loss.sum);
    oc_batch_close(&b);
    oc_vlm_close(&m);
}

static void generate(record *r, oc_compute *c, const plan *p) {
    oc_error err;
    oc_vlm m;
    oc_batch b;
    open_model(&m, c, p);
    fill(&b, &m.cfg);
    oc_spans_fill(&b, p->mask);
    const oc_generate_options how[] = {{.max_new_tokens = 7, .want_attention = true},
                                       {.max_new_tokens = 7, .temperature = 0.8, .top_k = 20, .top_p = 0.9, .seed = 4},
                                       {.max_new_tokens = 7, .beams = 3, .eos = {9, 11}, .n_eos = 2}};
    for (size_t i = 0; i < OC_COUNT(how); i++) {
        oc_generation g[3];
        small_ok(oc_generate(&m, &b, &how[i], 1, g, &err), &err);
        for (int k = 0; k < 3; k++) {
            keep(r, g[k].token, (size_t)g[k].n * sizeof *g[k].token);
            keep(r, g[k].logprob, (size_t)g[k].n * sizeof *g[k].logprob);
            if (g[k].attention) keep(r, g[k].attention, (size_t)g[k].n * (size_t)(b.seq_start[k + 1] - b.seq_start[k]) * sizeof(float));
            oc_generation_free(&g[k]);
        }
    }
    small_ok(oc_vlm_reserve(&m, b.N, b.n_images, b.n_blocks, b.N, false, &err), &err);
    int32_t *row = malloc((size_t)b.N * sizeof *row);
    float *logits = malloc((size_t)b.N * (size_t)m.cfg.text.vocab * sizeof *logits);
    for (int i = 0; i < b.N; i++) row[i] = b.N - 1 - i;
    oc_vlm_logits(&m, logits, oc_vlm_forward(&m, &b, NULL, NULL), row, b.N); /* more than one chunk */
    keep(r, logits, (size_t)b.N * (size_t)m.cfg.text.vocab * sizeof *logits);
    free(row);
    free(logits);
    oc_batch_close(&b);
    oc_vlm_close(&m);
}

static void files(record *r, oc_compute *c, const plan *p) {
    oc_error err;
    oc_vlm m, again;
    char folder[64];
    small_folder(folder);
    open_model(&m, c, p);
    small_ok(oc_weights_save(&m, folder, &(oc_save_options){.dtype = OC_F32}, &err), &err);
    small_ok(oc_weights_open_typed(&again, c, folder, p->t, p->weights, &err), &err);
    for (int i = 0; i < m.params.count; i++) {
        const size_t n = m.params.row[i].n;
        float *x = malloc(2 * n * sizeof *x);
        oc_params_read(&m.params, i, 0, x, n);
        oc_params_read(&again.params, i, 0, x + n, n);
        assert_memory_equal(x, x + n, n * sizeof *x);
        keep(r, x, n * sizeof *x);
        free(x);
    }
    oc_vlm_close(&again);
    oc_vlm_close(&m);
    small_ok(oc_remove_tree(folder, &err), &err);
}

static void check(void (*run)(record *, oc_compute *, const plan *), const plan *p) {
    record near = {0}, far = {0};
    oc_compute *c;
    oc_error err;
    small_ok(oc_compute_open(&c, &(oc_compute_options){.threads = 2}, &err), &err);
    run(&near, c, p);
    oc_compute_close(c);
    device_open(&c);
    run(&far, c, p);
    device_close(c);
    assert_true(near.n > 1000);
    assert_int_equal(near.n, far.n);
    assert_memory_equal(near.data, far.data, near.n);
    free(near.data);
    free(far.data);
}

static const plan plans[] = {{.mask = OC_MASK_PREFIX, .merge = 1},
                             {.mask = OC_MASK_CAUSAL, .merge = 2, .t = OC_BF16, .sample_loss = true, .recompute = true},
                             {.mask = OC_MASK_PREFIX, .merge = 1, .untied = true, .narrow = true, .recompute = true},
                             {.mask = OC_MASK_PREFIX, .merge = 2, .t = OC_BF16, .weights = OC_BF16}};

static void test_training(void **state) {
    OC_UNUSED(state);
    for (size_t i = 0; i < OC_COUNT(plans); i++)
        if (plans[i].weights == OC_F32) check(train, &plans[i]);
}

static void test_generation(void **state) {
    OC_UNUSED(state);
    for (size_t i = 0; i < OC_COUNT(plans); i++) check(generate, &plans[i]);
}

static void test_files(void **state) {
    OC_UNUSED(state);
    check(files, &plans[0]);
    check(files, &plans[3]);
}

/* The device refuses what is not its own: a test that could not fail would say nothing. */
static void test_device_is_strict(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    device_open(&c);
    float x[16] = {0}, *far = c->ops.device_alloc(c, sizeof x);
    assert_false(device_has(x));
    assert_true(device_has(far));
    assert_false(c->ops.host_memory);
    assert_null(c->ops.device_alloc(c, DEVICE_BYTES));
    c->ops.upload(c, far, x, sizeof x);
    assert_true(c->ops.sum_squares(c, far, 16) == 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* sanitizers would report it */
        _exit(*(volatile float *)far == 0 ? 0 : 1); /* must not come to its end */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    c->ops.device_free(c, far);
    device_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device_is_strict),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
