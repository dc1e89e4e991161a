/* Checkpoints as they are on the Hugging Face hub, at tiny size (tests/data/checkpoints, made by
 * tools/reference/make_checkpoints.py from the classes of transformers): SigLIP with both towers and class defaults left out of
 * config.json, Qwen2 with its tied head, and one LLaVA under four sets of names, in three types, in one to three files. */
#include "small.h"

static oc_error err;

#define FOLDER(name) OC_TEST_DATA "/checkpoints/" name

static void open_folder(oc_vlm *m, oc_compute *c, const char *dir) {
    small_ok(oc_weights_open(m, c, dir, OC_F32, &err), &err);
}

/* Every parameter is what the file holds under one name or another. */
static void assert_as_in_file(const oc_vlm *m, const char *dir) {
    oc_safetensors *st;
    char name[256];
    size_t found = 0;
    small_ok(oc_safetensors_open(&st, dir, &err), &err);
    for (size_t i = 0; i < oc_safetensors_count(st); i++) {
        const oc_tensor_info *t = oc_safetensors_at(st, i);
        assert_true(oc_weights_canonical(name, sizeof name, t->name));
        int row = oc_params_find(&m->params, name);
        if (row < 0) continue;
        float *want = malloc((oc_tensor_elements(t) + 1) * sizeof *want);
        small_ok(oc_tensor_to_f32(t, want, &err), &err);
        if (memcmp(want, oc_params_weight(&m->params, row), oc_tensor_elements(t) * sizeof *want)) fail_msg("%s differs", t->name);
        free(want);
        found++;
    }
    assert_int_equal(found, m->params.count);
    oc_safetensors_close(st);
}

static void siglip(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    oc_vlm m;
    small_compute(&c, "ref");
    open_folder(&m, c, FOLDER("siglip"));
    assert_true(m.cfg.has_vision && !m.cfg.has_text);
    assert_int_equal(m.cfg.vision.hidden, 16);
    assert_int_equal(m.cfg.vision.layers, 2);
    assert_int_equal(oc_vision_patches(&m.cfg.vision), 4); /* of 30 pixels: the last two are dropped */
    assert_true(m.cfg.vision.act == OC_ACT_GELU_TANH && m.cfg.vision.eps == 1e-6f); /* not in the file */
    assert_as_in_file(&m, FOLDER("siglip"));
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static void qwen2(void **state) {
    OC_UNUSED(state);
    oc_compute *c;
    oc_vlm m;
    small_compute(&c, "ref");
    open_folder(&m, c, FOLDER("qwen2"));
    assert_true(m.cfg.has_text && !m.cfg.has_vision && m.cfg.text.tied);
    assert_int_equal(m.cfg.text.head_size, 16);
    assert_int_equal(m.cfg.eos_token, 508);
    assert_as_in_file(&m, FOLDER("qwen2"));
    oc_vlm_close(&m);
    oc_compute_close(c);
}

static float rounded(float x, oc_dtype t) {
    if (t == OC_F16) { /* to 11 bits; these weights are far from its limits */
        int e;
        float f = frexpf(x, &e);
        e = OC_MAX(e, -13);
        f = ldexpf(rintf(ldexpf(x, 11 - e)), e - 11);
        return f;
    }
    return t == OC_BF16 ? oc_bf16_to_f32(oc_f32_to_bf16(x)) : x;
}

/* The same weights whatever they are called. */
static void llava_layouts(void **state) {
    OC_UNUSED(state);
    static const struct { const char *dir; oc_dtype t; } all[] = {{FOLDER("llava_onevision"), OC_F16}, {FOLDER("llava_original"), OC_BF16}, {FOLDER("llava_legacy"), OC_F16}};
    oc_compute *c;
    oc_vlm base, m;
    small_compute(&c, "ref");
    open_folder(&base, c, FOLDER("llava_memory"));
    assert_as_in_file(&base, FOLDER("llava_memory"));
    assert_true(base.cfg.text.tied && base.cfg.projector.act == OC_ACT_GELU_ERF);
    for (size_t k = 0; k < OC_COUNT(all); k++) {
        open_folder(&m, c, all[k].dir);
        assert_true(m.cfg.text.tied);
        assert_int_equal(m.cfg.vision.feature_layer, -1);
        assert_int_equal(m.params.count, base.params.count);
        for (int i = 0; i < m.params.count; i++) {
            const oc_param *r = &m.params.row[i];
            assert_string_equal(r->name, base.params.row[i].name);
            const float *x = oc_params_weight(&base.params, i), *y = oc_params_weight(&m.params, i);
            for (size_t j = 0; j < r->n; j++)
                if (y[j] != rounded(x[j], all[k].t)) fail_msg("%s: %s[%zu] is %.9g, from %.9g", all[k].dir, r->name, j, (double)y[j], (double)x[j]);
        }
        oc_vlm_close(&m);
    }
    oc_vlm_close(&base);
    oc_compute_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(siglip), cmocka_unit_test(qwen2), cmocka_unit_test(llava_layouts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
