/* Any bytes as a safetensors file: rejected, or every tensor readable to its last byte. */
#include "data/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    oc_safetensors *st;
    oc_error err;
    if (oc_safetensors_open_memory(&st, data, size, "fuzz", &err) != OC_OK) return 0;
    size_t total = 0;
    for (size_t i = 0; i < oc_safetensors_count(st); i++) {
        const oc_tensor_info *t = oc_safetensors_at(st, i);
        OC_ASSERT(oc_safetensors_find(st, t->name) == t);
        OC_ASSERT((const uint8_t *)t->data + t->bytes <= data + size);
        total += t->bytes;
        float *out = oc_alloc(oc_tensor_elements(t) * sizeof *out);
        if (out && oc_tensor_to_f32(t, out, &err) != OC_OK) OC_ASSERT(err.code == OC_ERR_UNSUPPORTED);
        oc_free(out);
        char text[64];
        oc_tensor_describe(text, sizeof text, t);
    }
    OC_ASSERT(total + 8 <= size);
    oc_safetensors_metadata(st, "format");
    oc_safetensors_close(st);
    return 0;
}
