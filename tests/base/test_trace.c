/* A trace is JSON that says what was put in, holds no more than it may, and begins anew once it is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/trace.h"

static char dir[] = "/tmp/oc_trace_XXXXXX";
static oc_error err;

static int setup(void **state) {
    OC_UNUSED(state);
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state) {
    OC_UNUSED(state);
    return oc_remove_tree(dir, NULL) != OC_OK;
}

static json_t *write_and_read(oc_trace *t) {
    char path[256];
    json_t *o;
    snprintf(path, sizeof path, "%s/t.json", dir);
    assert_int_equal(oc_trace_write(t, path, &err), OC_OK);
    assert_int_equal(oc_json_load(&o, path, 1 << 24, &err), OC_OK);
    strcat(path, ".new");
    assert_false(oc_file_exists(path));
    return o;
}

/* The i-th event that is no description of a process or thread. */
static json_t *event(const json_t *trace, size_t i) {
    json_t *e;
    size_t k;
    json_array_foreach(json_object_get(trace, "traceEvents"), k, e) {
        if (!strcmp(json_string_value(json_object_get(e, "ph")), "X") && i-- == 0) return e;
    }
    return NULL;
}

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number \"%s\"", key);
    return json_number_value(v);
}

static void what_is_put_in(void **state) {
    OC_UNUSED(state);
    oc_trace *t;
    double before = oc_now();
    assert_int_equal(oc_trace_open(&t, 10, &err), OC_OK);
    double start = oc_now();
    oc_trace_name_thread(t, "main", 0);
    oc_trace_add(t, &(oc_trace_event){.name = "inner", .category = "a", .dims = "N rows", .dim = {3, 5}, .start = start, .seconds = 0.25, .flops = 30, .bytes = 7});
    oc_trace_add(t, &(oc_trace_event){.name = "outer", .category = "b", .start = start});
    double after = oc_now();
    json_t *o = write_and_read(t), *e = event(o, 0), *args = json_object_get(e, "args");
    assert_string_equal(json_string_value(json_object_get(e, "name")), "inner");
    assert_string_equal(json_string_value(json_object_get(e, "cat")), "a");
    assert_true(fabs(number(e, "dur") - 0.25e6) < 0.01 && number(e, "ts") >= 0 && number(e, "ts") <= (after - before) * 1e6);
    assert_true(number(args, "N") == 3 && number(args, "rows") == 5 && number(args, "flops") == 30 && number(args, "bytes") == 7);
    e = event(o, 1);
    assert_int_equal(json_object_size(json_object_get(e, "args")), 0);
    assert_true(number(e, "dur") >= 0 && number(e, "dur") <= (after - start) * 1e6);
    assert_true(number(e, "tid") == number(event(o, 0), "tid"));
    assert_null(event(o, 2));
    json_decref(o);
    o = write_and_read(t); /* anew */
    assert_null(event(o, 0));
    json_decref(o);
    oc_trace_close(t);
    oc_trace_add(NULL, &(oc_trace_event){.name = "nothing"});
    oc_trace_name_thread(NULL, "nobody", 0);
    oc_trace_close(NULL);
}

enum { THREADS = 4, EVENTS = 500 };

static void *add_many(void *arg) {
    oc_trace *t = arg;
    oc_trace_name_thread(t, "worker", 0);
    for (int i = 0; i < EVENTS; i++) oc_trace_add(t, &(oc_trace_event){.name = "e", .category = "c", .start = oc_now()});
    return NULL;
}

static void it_is_bounded(void **state) {
    OC_UNUSED(state);
    oc_trace *t;
    pthread_t thread[THREADS];
    assert_int_equal(oc_trace_open(&t, THREADS * EVENTS - 7, &err), OC_OK);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&thread[i], NULL, add_many, t), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    assert_int_equal(oc_trace_dropped(t), 7);
    json_t *o = write_and_read(t);
    assert_non_null(event(o, THREADS * EVENTS - 8));
    assert_null(event(o, THREADS * EVENTS - 7));
    assert_true(number(json_object_get(o, "otherData"), "dropped") == 7);
    json_decref(o);
    assert_int_equal(oc_trace_dropped(t), 0);
    oc_trace_close(t);
}

static void failures(void **state) {
    OC_UNUSED(state);
    oc_trace *t;
    char path[256];
    for (long n = 0; n < 2; n++) {
        oc_alloc_fail_after(n);
        assert_int_equal(oc_trace_open(&t, 10, &err), OC_ERR_NOMEM);
        assert_null(t);
    }
    oc_alloc_fail_after(-1);
    assert_int_equal(oc_trace_open(&t, 10, &err), OC_OK);
    snprintf(path, sizeof path, "%s/none/t.json", dir);
    assert_int_equal(oc_trace_write(t, path, &err), OC_ERR_IO);
    assert_non_null(strstr(err.msg, path));
    oc_trace_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_put_in), cmocka_unit_test(it_is_bounded), cmocka_unit_test(failures)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
