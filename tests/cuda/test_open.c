/* compute/cuda as nvcc built it: it opens where there is a device, and else says why not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "compute/cuda/cuda.h"

static void test_opens_or_says_why(void **state) {
    OC_UNUSED(state);
    oc_error err;
    oc_compute *c;
    const oc_status st = oc_cuda_open(&c, 0, &err);
    if (st != OC_OK) {
        print_message("%s\n", err.msg);
        assert_int_equal(st, OC_ERR_UNSUPPORTED);
        assert_null(c);
        assert_non_null(strstr(err.msg, "CUDA device"));
        return;
    }
    float x[3] = {3, 4, 12}, y[3] = {0};
    float *far = c->ops.device_alloc(c, sizeof x);
    assert_non_null(far);
    c->ops.upload(c, far, x, sizeof x);
    assert_true(c->ops.sum_squares(c, far, 3) == 169);
    c->ops.zero(c, far, sizeof x);
    c->ops.download(c, x, far, sizeof x);
    assert_memory_equal(x, y, sizeof x);
    c->ops.device_free(c, far);
    print_message("%s\n", oc_compute_describe(c));
    oc_compute_close(c);
}

/* Every entry is filled: a NULL would be a crash in the first step that needs it. */
static void test_table_is_whole(void **state) {
    OC_UNUSED(state);
    const oc_ops *ops = oc_cuda_table();
    const char *at = (const char *)&ops->close, *end = (const char *)(ops + 1);
    for (; at < end; at += sizeof(void (*)(void))) {
        void (*entry)(void);
        if (at == (const char *)&ops->host_memory) continue;
        memcpy(&entry, at, sizeof entry);
        assert_true(entry != NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens_or_says_why),
        cmocka_unit_test(test_table_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
