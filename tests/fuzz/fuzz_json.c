/* Elements of a text, read as trees and as records: the same errors, the same strings and ids, the same positions. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const keys[] = {"id", "image_id", "caption", "a", ""};

static void same_members(const json_t *v, const oc_json_record *rec) {
    for (size_t i = 0; i < OC_COUNT(keys); i++) {
        char a[OC_JSON_ID], b[OC_JSON_ID];
        const bool has = oc_json_id(json_object_get(v, keys[i]), a);
        if (has != oc_json_record_id(rec, keys[i], b) || (has && strcmp(a, b) != 0)) abort();
        const json_t *s = json_object_get(v, keys[i]);
        size_t len;
        const char *text = oc_json_record_string(rec, keys[i], &len);
        if ((text != NULL) != json_is_string(s)) abort();
        if (text && (len != json_string_length(s) || memcmp(text, json_string_value(s), len) != 0)) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 1 << 16) return 0;
    char *text = malloc(size + 1); /* a copy of its own, so that reading past the end is seen */
    if (!text) abort();
    memcpy(text, data, size);
    oc_json_reader a, b;
    oc_json_reader_init(&a, text, size, "t");
    oc_json_reader_init(&b, text, size, "t");
    for (bool more = true; more;) {
        json_t *v;
        oc_json_record rec;
        oc_error ea = {0}, eb = {0};
        const oc_status sa = oc_json_reader_object(&a, &v, &ea), sb = oc_json_reader_record(&b, &rec, &more, &eb);
        if (sa != sb || strcmp(ea.msg, eb.msg) != 0) abort();
        if (sa != OC_OK) break;
        if (more != (v != NULL) || a.pos != b.pos || a.line != b.line || a.index != b.index) abort();
        if (v) same_members(v, &rec);
        json_decref(v);
        oc_json_record_close(&rec);
    }
    free(text);
    return 0;
}
