/* Any bytes as the texts of config.json, processor_config.json, preprocessor_config.json and generation_config.json, divided
 * by NUL bytes: refused with a message, or a configuration from which tables can be built without overflow. */
#include <math.h>
#include <string.h>

#include "model/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const oc_config *c) {
    oc_params p;
    oc_error err;
    if (oc_params_build(&p, c, &err) != OC_OK) return;
    for (int i = 0; i < p.count; i++) {
        const oc_param *r = &p.row[i];
        size_t n = 1;
        for (int d = 0; d < r->n_dims; d++) {
            OC_ASSERT(r->shape[d] > 0);
            n *= (size_t)r->shape[d];
        }
        OC_ASSERT(r->n == n && r->offset + r->n <= p.n[r->part] && n < (size_t)1 << 40);
        OC_ASSERT(strlen(r->name) < sizeof r->name - 1);
    }
    if (c->has_vision && c->has_text) OC_ASSERT(oc_config_tokens_per_image(c) > 0 && c->image_token < c->text.vocab);
    if (c->has_text) OC_ASSERT(c->eos_token < c->text.vocab && c->pad_token < c->text.vocab && isfinite(c->text.rope_theta));
    for (int i = 0; i < 3; i++) OC_ASSERT(isfinite(c->image_mean[i]) && c->image_std[i] > 0);
    oc_params_close(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    oc_config c;
    oc_error err = {0};
    const char *text = (const char *)data, *end = text + size;
    oc_status st = OC_OK;
    for (int file = 0; file < OC_CONFIG_FILE_COUNT && (file == 0 || text < end) && st == OC_OK; file++) {
        const char *stop = text < end ? memchr(text, 0, (size_t)(end - text)) : NULL;
        size_t len = (size_t)((stop ? stop : end) - text);
        st = oc_config_parse(&c, (oc_config_file)file, text, len, "fuzz", &err);
        text += len < (size_t)(end - text) ? len + 1 : len;
    }
    if (st == OC_OK) st = oc_config_check(&c, "fuzz", &err);
    if (st == OC_OK) check_accepted(&c);
    else OC_ASSERT(strlen(err.msg) > 0);
    return 0;
}
