/* Any bytes as the weights of a small model: refused with a message, or every wanted tensor is read. The first byte says
 * which parts are wanted. */
#include <string.h>

#include "model/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static oc_vlm *small_model(void) {
    static oc_vlm m;
    static bool open;
    if (open) return &m;
    oc_compute *c;
    oc_config cfg;
    oc_error err;
    oc_config_defaults(&cfg);
    cfg.has_vision = cfg.has_text = true;
    cfg.vision = (oc_vision_config){.hidden = 8, .layers = 1, .heads = 1, .mlp = 4, .image_size = 4, .patch_size = 4, .eps = 1e-6f, .feature_layer = -1};
    cfg.text = (oc_text_config){.hidden = 8, .layers = 1, .heads = 1, .kv_heads = 1, .head_size = 8, .mlp = 4, .vocab = 8, .max_positions = 16,
                                .eps = 1e-6f, .rope_theta = 1e4f};
    cfg.projector = (oc_projector_config){.hidden = 4, .merge = 1};
    cfg.image_token = 7;
    OC_ASSERT(oc_compute_open(&c, &(oc_compute_options){.threads = 1, .backend = "ref"}, &err) == OC_OK);
    OC_ASSERT(oc_vlm_create(&m, c, &cfg, OC_F32, &err) == OC_OK);
    open = true;
    return &m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    const bool want[OC_PART_COUNT] = {data[0] & 1, data[0] & 2, data[0] & 4};
    oc_safetensors *st;
    oc_error err = {0};
    if (oc_safetensors_open_memory(&st, data + 1, size - 1, "fuzz", &err) != OC_OK) return 0;
    for (size_t i = 0; i < oc_safetensors_count(st); i++) {
        char once[64], twice[64];
        if (oc_weights_canonical(once, sizeof once, oc_safetensors_at(st, i)->name)) OC_ASSERT(strlen(once) < sizeof once);
        OC_ASSERT(!oc_weights_canonical(twice, 1, "x"));
    }
    oc_status status = oc_weights_load_from(small_model(), st, "fuzz", want, &err);
    if (status != OC_OK) OC_ASSERT(strlen(err.msg) > 0);
    oc_safetensors_close(st);
    return 0;
}
