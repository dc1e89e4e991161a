/* The optimizer and checkpoints on a device with memory of its own (compute/device.h): the same numbers, bit for bit, as
 * on the processor that the device is made of. */
#include "model/small.h"

#include "compute/device.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"

static oc_error err;
static const double LR[OC_PART_COUNT] = {1e-3, 2e-3, 3e-3};

typedef struct plan {
    bool gradients, moments;
    oc_dtype weights;
} plan;

typedef struct run {
    oc_compute *c;
    oc_vlm m;
    oc_optimizer o;
    oc_batch b;
    float *ema[OC_PART_COUNT];
} run;

static void open_run(run *r, oc_compute *c, const plan *p) {
    oc_config cfg = small_config();
    memset(r, 0, sizeof *r);
    r->c = c;
    small_ok(oc_vlm_create_typed(&r->m, c, &cfg, OC_F32, p->weights, &err), &err);
    oc_params_init(&r->m.params, 5, SMALL_ALL);
    oc_vlm_weights_changed(&r->m, SMALL_ALL);
    oc_params_narrow(&r->m.params, p->gradients, p->moments);
    small_ok(oc_vlm_set_trainable(&r->m, SMALL_ALL, &err), &err);
    const bool averaged = p->weights == OC_F32 && !p->moments;
    for (int i = 0; averaged && i < OC_PART_COUNT; i++) {
        const size_t bytes = r->m.params.n[i] * sizeof(float);
        small_ok(oc_compute_alloc_for(c, &r->ema[i], bytes, "averages", &err), &err);
        c->ops.copy(c, r->ema[i], r->m.params.w[i], bytes);
    }
    r->o = (oc_optimizer){.compute = c,
                          .opt = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 0.5, .ema = averaged ? 0.9 : 0}};
    small_ok(oc_optimizer_add_model(&r->o, &r->m, LR, r->ema, false, &err), &err);
    small_batch_open(&r->b, &cfg, 128, 2, 2, 2);
    for (int i = 0; i < 2; i++) {
        const int32_t image = small_add_image(&r->b, (uint64_t)i);
        small_add_sequence(&r->b, &cfg, (uint64_t)(50 + i), 2, &image, 1, 9);
    }
    oc_spans_fill(&r->b, OC_MASK_PREFIX);
    small_ok(oc_vlm_reserve(&r->m, r->b.N, r->b.n_images, r->b.n_blocks, r->b.n_labels, true, &err), &err);
}

static void close_run(run *r) {
    for (int i = 0; i < OC_PART_COUNT; i++)
        if (r->ema[i]) r->c->ops.device_free(r->c, r->ema[i]);
    oc_optimizer_close(&r->o);
    oc_batch_close(&r->b);
    oc_vlm_close(&r->m);
}

/* The training state as checkpoints name it. */
static int buffers(const run *r, oc_state_buffer *b) {
    const oc_params *p = &r->m.params;
    int n = 0;
    for (int i = 0; i < OC_PART_COUNT; i++) {
        const oc_dtype t = p->narrow_moments ? OC_BF16 : OC_F32;
        void *role[] = {p->m16[i] ? (void *)p->m16[i] : p->m[i], p->v16[i] ? (void *)p->v16[i] : p->v[i], r->ema[i]};
        for (int k = 0; k < 3; k++) {
            if (!role[k]) continue;
            b[n] = (oc_state_buffer){.data = role[k], .n = p->n[i], .t = k < 2 ? t : OC_F32, .device = r->c};
            snprintf(b[n++].name, sizeof b->name, "%d.%d", k, i);
        }
    }
    return n;
}

static void steps(run *r, int n, double *norm) {
    for (int i = 0; i < n; i++) {
        const oc_loss loss = oc_vlm_loss(&r->m, &r->b, 1);
        assert_true(oc_optimizer_step(&r->o, 1, loss.sum, 1 / loss.weight));
        oc_vlm_weights_changed(&r->m, SMALL_ALL);
        norm[i] = r->o.last_norm;
    }
    assert_true(oc_optimizer_weights_finite(&r->o));
}

enum { STEPS = 3, MAX_BUFFERS = 3 * OC_PART_COUNT };

/* Three steps, a checkpoint into `folder`, two more. */
static void train(oc_compute *c, const plan *p, const char *folder, double norm[STEPS + 2]) {
    run r;
    oc_state_buffer b[MAX_BUFFERS];
    open_run(&r, c, p);
    steps(&r, STEPS, norm);
    const oc_position pos = {.step = STEPS, .updates = STEPS};
    small_ok(oc_checkpoint_save(folder, &r.m, NULL, "stage", &pos, b, buffers(&r, b), &err), &err);
    for (int i = 0; i < OC_PART_COUNT; i++)
        if (r.ema[i]) c->ops.swap(c, r.m.params.w[i], r.ema[i], r.m.params.n[i]);
    oc_vlm_weights_changed(&r.m, SMALL_ALL);
    const oc_loss averaged = oc_vlm_loss(&r.m, &r.b, 0);
    norm[STEPS] = averaged.sum;
    for (int i = 0; i < OC_PART_COUNT; i++)
        if (r.ema[i]) c->ops.swap(c, r.m.params.w[i], r.ema[i], r.m.params.n[i]);
    oc_vlm_weights_changed(&r.m, SMALL_ALL);
    steps(&r, 1, norm + STEPS + 1);
    close_run(&r);
}

/* From the checkpoint, the step that follows it. */
static double resume(oc_compute *c, const plan *p, const char *folder) {
    run r;
    oc_state_buffer b[MAX_BUFFERS];
    double norm;
    open_run(&r, c, p);
    small_ok(oc_weights_load(&r.m, folder, SMALL_ALL, &err), &err);
    oc_vlm_weights_changed(&r.m, SMALL_ALL);
    small_ok(oc_checkpoint_load_buffers(folder, b, buffers(&r, b), &err), &err);
    r.o.step = STEPS;
    steps(&r, 1, &norm);
    close_run(&r);
    return norm;
}

static void same_files(const char *a, const char *b, const char *name) {
    char path[2][256];
    char *data[2];
    size_t size[2];
    const char *folder[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s", folder[i], name);
        small_ok(oc_file_read(&data[i], &size[i], path[i], (size_t)1 << 28, &err), &err);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(data[0], data[1], size[0]);
    for (int i = 0; i < 2; i++) oc_free(data[i]);
}

static void check(const plan *p) {
    char root[64], near[80], far[80];
    double norm[2][STEPS + 2];
    oc_compute *c;
    small_folder(root);
    snprintf(near, sizeof near, "%s/near", root);
    snprintf(far, sizeof far, "%s/far", root);
    small_ok(oc_compute_open(&c, &(oc_compute_options){.threads = 2}, &err), &err);
    train(c, p, near, norm[0]);
    oc_compute_close(c);
    device_open(&c);
    train(c, p, far, norm[1]);
    const double resumed = resume(c, p, near); /* what a processor wrote */
    device_close(c);
    assert_memory_equal(norm[0], norm[1], sizeof norm[0]);
    assert_true(resumed == norm[0][STEPS + 1]);
    same_files(near, far, "training.safetensors");
    same_files(near, far, "model.safetensors");
    small_ok(oc_remove_tree(root, &err), &err);
}

static void test_float32(void **state) {
    OC_UNUSED(state);
    check(&(plan){.weights = OC_F32});
}

static void test_bf16_state(void **state) {
    OC_UNUSED(state);
    check(&(plan){.weights = OC_F32, .gradients = true, .moments = true});
    check(&(plan){.weights = OC_F32, .gradients = true});
}

/* Whose weights are rounded at random: a checkpoint in float32 holds them exactly. */
static void test_bf16_weights(void **state) {
    OC_UNUSED(state);
    check(&(plan){.weights = OC_BF16, .gradients = true, .moments = true});
}

/* Muon works on the processor; on a device it says so. */
static void test_muon_is_refused(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    device_open(&c);
    run r;
    open_run(&r, c, &(plan){.weights = OC_F32});
    oc_optimizer o = {.compute = c, .opt = {.rule = OC_RULE_MUON, .momentum = 0.95}};
    assert_int_equal(oc_optimizer_add_model(&o, &r.m, LR, r.ema, false, &err), OC_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "adamw"));
    oc_optimizer_close(&o);
    close_run(&r);
    device_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float32),
        cmocka_unit_test(test_bf16_state),
        cmocka_unit_test(test_bf16_weights),
        cmocka_unit_test(test_muon_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
