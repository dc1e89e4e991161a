/* Allocation: alignment, overflow, injected failures; the arena; growing strings; element types. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/base.h"

static void allocation(void **state) {
    OC_UNUSED(state);
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 5u << 20};
    for (size_t i = 0; i < OC_COUNT(sizes); i++) {
        unsigned char *p = oc_alloc(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(p, 1, sizes[i]);
        oc_free(p);
        p = oc_calloc(sizes[i], 1);
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], 0);
        oc_free(p);
    }
    assert_null(oc_alloc(SIZE_MAX));
    assert_null(oc_calloc(SIZE_MAX / 2, 3));
    oc_free(NULL);
    size_t out;
    assert_true(oc_mul_size(1u << 20, 1u << 20, &out) && out == (size_t)1 << 40);
    assert_false(oc_mul_size(SIZE_MAX, 2, &out));
}

static void reallocation(void **state) {
    OC_UNUSED(state);
    char *p = oc_realloc(NULL, 0, 4);
    memcpy(p, "abc", 4);
    p = oc_realloc(p, 4, 1000);
    assert_string_equal(p, "abc");
    p = oc_realloc(p, 1000, 2);
    assert_memory_equal(p, "ab", 2);
    oc_alloc_fail_after(0);
    assert_null(oc_realloc(p, 2, 100)); /* the old block stays */
    assert_memory_equal(p, "ab", 2);
    oc_free(p);
    p = oc_strndup("hello", 4);
    assert_string_equal(p, "hell");
    oc_free(p);
}

static void injection(void **state) {
    OC_UNUSED(state);
    oc_error e;
    void *p[4];
    oc_alloc_fail_after(2);
    for (int i = 0; i < 4; i++) p[i] = oc_alloc(8);
    assert_true(p[0] && p[1] && !p[2] && p[3]); /* the third, once */
    for (int i = 0; i < 4; i++) oc_free(p[i]);
    oc_alloc_fail_after(0);
    assert_int_equal(oc_alloc_for(&p[0], 3u << 20, "activations", &e), OC_ERR_NOMEM);
    assert_null(p[0]);
    assert_non_null(strstr(e.msg, "3.0 MiB for activations"));
    oc_alloc_fail_after(-1);
    assert_int_equal(oc_alloc_for(&p[0], 10, "activations", &e), OC_OK);
    oc_free(p[0]);
}

/* One piece of code, run while planning and again for real. */
static size_t use_arena(oc_arena *a, void **first, void **second) {
    *first = oc_arena_push(a, 100);
    size_t mark = oc_arena_mark(a);
    oc_arena_push(a, 1000);
    oc_arena_pop(a, mark);
    *second = oc_arena_push(a, 1);
    return a->peak;
}

static void arena(void **state) {
    OC_UNUSED(state);
    oc_arena plan = {0}, real;
    void *a, *b;
    oc_error e;
    size_t peak = use_arena(&plan, &a, &b);
    assert_true(!a && !b);
    assert_int_equal(peak, 128 + 1024);
    assert_int_equal(oc_arena_open(&real, peak, "test", &e), OC_OK);
    assert_int_equal(use_arena(&real, &a, &b), peak);
    assert_int_equal((char *)b - (char *)a, 128);
    assert_int_equal((uintptr_t)b % 64, 0);
    oc_arena_close(&real);
    assert_null(real.base);
}

static void arena_overrun_aborts(void **state) {
    OC_UNUSED(state);
    pid_t pid = fork();
    if (pid == 0) {
        oc_arena a;
        close(STDERR_FILENO);
        if (oc_arena_open(&a, 128, "test", NULL) != OC_OK) _exit(1);
        oc_arena_push(&a, 129);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void strings(void **state) {
    OC_UNUSED(state);
    oc_strbuf b = {0};
    for (int i = 0; i < 1000; i++) oc_strbuf_printf(&b, "%d,", i);
    oc_strbuf_add(&b, "\0x", 2);
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4 + 2);
    assert_memory_equal(b.data, "0,1,2,3,", 8);
    assert_int_equal(b.data[b.len], 0);
    oc_strbuf_clear(&b);
    assert_true(b.len == 0 && b.data[0] == 0 && !b.failed);
    oc_strbuf_puts(&b, "");
    oc_strbuf_free(&b);
    assert_null(b.data);
}

static void strings_have_a_limit(void **state) {
    OC_UNUSED(state);
    for (size_t max = 1; max < 20; max++) {
        oc_strbuf b = {.max = max};
        size_t fit = 0;
        for (; !b.failed; fit++) oc_strbuf_putc(&b, 'x');
        assert_int_equal(fit - 1, max - 1); /* the NUL counts */
        assert_int_equal(b.len, max - 1);
        oc_strbuf_puts(&b, ""); /* failed stays */
        assert_true(b.failed);
        oc_strbuf_free(&b);
    }
    oc_strbuf b = {.max = 10};
    oc_strbuf_add(&b, "x", SIZE_MAX);
    assert_true(b.failed && b.len == 0);
    oc_strbuf_free(&b);
    oc_alloc_fail_after(0);
    oc_strbuf_puts(&b, "x");
    assert_true(b.failed);
    oc_strbuf_free(&b);
}

static void bfloat16(void **state) {
    OC_UNUSED(state);
    for (uint32_t h = 0; h < 65536; h++) { /* every value survives the way to f32 and back */
        float f = oc_bf16_to_f32((uint16_t)h);
        uint16_t back = oc_f32_to_bf16(f);
        if (isnan(f)) assert_true(isnan(oc_bf16_to_f32(back)));
        else assert_int_equal(back, h);
    }
    assert_int_equal(oc_f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);           /* half-way: to even */
    assert_int_equal(oc_f32_to_bf16(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);
    assert_int_equal(oc_f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82);
    assert_int_equal(oc_f32_to_bf16(3.4e38f), 0x7f80); /* rounds up to infinity */
}

static void half_precision(void **state) {
    OC_UNUSED(state);
    assert_true(oc_f16_to_f32(0x3c00) == 1.0f && oc_f16_to_f32(0xc000) == -2.0f);
    assert_true(oc_f16_to_f32(0x7bff) == 65504.0f && oc_f16_to_f32(0x0001) == 0x1p-24f && oc_f16_to_f32(0x0400) == 0x1p-14f);
    assert_true(isinf(oc_f16_to_f32(0xfc00)) && isnan(oc_f16_to_f32(0x7e00)));
    assert_true(oc_f16_to_f32(0x8000) == 0 && signbit(oc_f16_to_f32(0x8000)));
    float last = -1;
    for (uint16_t h = 0; h < 0x7c00; h++) { /* order is kept */
        float f = oc_f16_to_f32(h);
        assert_true(f > last);
        last = f;
    }
}

static void types_and_machine(void **state) {
    OC_UNUSED(state);
    assert_string_equal(oc_dtype_name(OC_BF16), "BF16");
    assert_string_equal(oc_dtype_name(OC_BOOL), "BOOL");
    assert_string_equal(oc_dtype_name((oc_dtype)99), "?");
    assert_int_equal(oc_dtype_size(OC_F64), 8);
    assert_int_equal(oc_dtype_size(OC_F16), 2);
    assert_true(oc_cpu_count() >= 1);
    assert_true(oc_rss_bytes() > 1u << 18 && oc_peak_rss_bytes() >= oc_rss_bytes() / 2);
    double a = oc_now(), b = oc_now();
    assert_true(b >= a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocation), cmocka_unit_test(reallocation),         cmocka_unit_test(injection),
        cmocka_unit_test(arena),      cmocka_unit_test(arena_overrun_aborts), cmocka_unit_test(strings),
        cmocka_unit_test(strings_have_a_limit), cmocka_unit_test(bfloat16),   cmocka_unit_test(half_precision),
        cmocka_unit_test(types_and_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
