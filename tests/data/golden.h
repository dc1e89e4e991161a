/* Reference tensors for the tests of this folder. */
#ifndef OC_TESTS_DATA_GOLDEN_H
#define OC_TESTS_DATA_GOLDEN_H

#include <stdio.h>
#include <string.h>

#include "data/safetensors.h"

static inline const char *test_path(const char *name) {
    static char path[4][512];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], OC_TEST_DATA "/%s", name);
    return path[i];
}

static inline oc_safetensors *golden_open(const char *name) {
    oc_safetensors *st;
    oc_error err;
    if (oc_safetensors_open(&st, test_path(name), &err) != OC_OK) fail_msg("%s", err.msg);
    return st;
}

static inline const oc_tensor_info *golden(const oc_safetensors *st, const char *name) {
    const oc_tensor_info *t = oc_safetensors_find(st, name);
    if (!t) fail_msg("no tensor '%s' in the reference", name);
    return t;
}

#endif
