/* Files: whole reads with limits, maps, atomic writes that leave nothing behind, folders, paths. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"

static char dir[64], buffer[200];
static oc_error err;

static int make_dir(void **state) {
    OC_UNUSED(state);
    snprintf(dir, sizeof dir, "/tmp/ocellus-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    OC_UNUSED(state);
    return oc_remove_tree(dir, &err) == OC_OK ? 0 : -1;
}

static const char *in_dir(const char *name) {
    snprintf(buffer, sizeof buffer, "%s/%s", dir, name);
    return buffer;
}

static int entries(const char *path) {
    DIR *d = opendir(path);
    int n = -2;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static void write_and_read(void **state) {
    OC_UNUSED(state);
    char *data;
    size_t size;
    assert_int_equal(oc_file_write_atomic(in_dir("a"), "one\0two", 7, &err), OC_OK);
    assert_int_equal(oc_file_write_atomic(in_dir("a"), "three", 5, &err), OC_OK); /* replaces */
    assert_int_equal(oc_file_read(&data, &size, in_dir("a"), 5, &err), OC_OK);    /* exactly the limit */
    assert_int_equal(size, 5);
    assert_string_equal(data, "three");
    oc_free(data);
    assert_int_equal(oc_file_write_atomic(in_dir("empty"), NULL, 0, &err), OC_OK);
    assert_int_equal(oc_file_read(&data, &size, in_dir("empty"), 5, &err), OC_OK);
    assert_true(size == 0 && data[0] == 0);
    oc_free(data);
    assert_int_equal(entries(dir), 2);
    assert_true(oc_file_exists(in_dir("a")) && !oc_file_exists(in_dir("b")) && !oc_file_exists(dir));
}

static void read_fails(void **state) {
    OC_UNUSED(state);
    char *data;
    size_t size;
    assert_int_equal(oc_file_read(&data, &size, in_dir("none"), 5, &err), OC_ERR_IO);
    assert_null(data);
    assert_non_null(strstr(err.msg, "/none: cannot open: No such file"));
    assert_int_equal(oc_file_read(&data, &size, dir, 5, &err), OC_ERR_IO);
    assert_non_null(strstr(err.msg, "is a folder"));
    assert_int_equal(oc_file_write_atomic(in_dir("a"), "123456", 6, &err), OC_OK);
    assert_int_equal(oc_file_read(&data, &size, in_dir("a"), 5, &err), OC_ERR_FORMAT);
    assert_int_equal(oc_file_read(&data, &size, "/dev/zero", 1 << 20, &err), OC_ERR_FORMAT); /* no size known before */
    oc_status st = OC_ERR_NOMEM;
    for (long n = 0; st != OC_OK; n++) {
        assert_true(n < 10);
        oc_alloc_fail_after(n);
        st = oc_file_read(&data, &size, in_dir("a"), 100, &err);
        oc_alloc_fail_after(-1);
        if (st != OC_OK) assert_int_equal(st, OC_ERR_NOMEM);
    }
    oc_free(data);
}

static void failed_writes_leave_nothing(void **state) {
    OC_UNUSED(state);
    assert_int_equal(oc_make_dirs(in_dir("target"), &err), OC_OK);
    assert_int_equal(oc_file_write_atomic(in_dir("target"), "x", 1, &err), OC_ERR_IO); /* a folder can't be replaced */
    assert_int_equal(entries(dir), 1);
    assert_int_equal(oc_file_write_atomic(in_dir("missing/file"), "x", 1, &err), OC_ERR_IO);
    oc_alloc_fail_after(0);
    assert_int_equal(oc_file_write_atomic(in_dir("b"), "x", 1, &err), OC_ERR_NOMEM);
    oc_alloc_fail_after(-1);
    assert_int_equal(entries(dir), 1);
}

static void maps(void **state) {
    OC_UNUSED(state);
    oc_map m;
    assert_int_equal(oc_file_write_atomic(in_dir("a"), "mapped", 6, &err), OC_OK);
    assert_int_equal(oc_map_open(&m, in_dir("a"), &err), OC_OK);
    assert_int_equal(m.size, 6);
    assert_memory_equal(m.data, "mapped", 6);
    oc_map_close(&m);
    assert_null(m.data);
    oc_map_close(&m);
    assert_int_equal(oc_file_write_atomic(in_dir("empty"), "", 0, &err), OC_OK);
    assert_int_equal(oc_map_open(&m, in_dir("empty"), &err), OC_OK);
    assert_true(!m.data && m.size == 0);
    assert_int_equal(oc_map_open(&m, dir, &err), OC_ERR_IO);
    assert_int_equal(oc_map_open(&m, in_dir("none"), &err), OC_ERR_IO);
    assert_int_equal(oc_map_open(&m, "/dev/null", &err), OC_ERR_IO);
}

static void folders(void **state) {
    OC_UNUSED(state);
    assert_int_equal(oc_make_dirs(in_dir("x//y/z/"), &err), OC_OK);
    assert_int_equal(oc_make_dirs(in_dir("x/y/z"), &err), OC_OK); /* again */
    assert_true(oc_dir_exists(in_dir("x/y/z")));
    assert_int_equal(oc_fsync_dir(in_dir("x"), &err), OC_OK);
    assert_int_equal(oc_file_write_atomic(in_dir("x/f"), "1", 1, &err), OC_OK);
    assert_int_equal(oc_make_dirs(in_dir("x/f"), &err), OC_ERR_IO);
    assert_int_equal(oc_make_dirs(in_dir("x/f/g"), &err), OC_ERR_IO);
    assert_int_equal(oc_make_dirs("", &err), OC_ERR_IO);
    /* a link to a folder is removed, not followed */
    char outside[100];
    snprintf(outside, sizeof outside, "%s/kept", dir);
    assert_int_equal(oc_make_dirs(outside, &err), OC_OK);
    assert_int_equal(symlink(outside, in_dir("x/link")), 0);
    assert_int_equal(oc_remove_tree(in_dir("x"), &err), OC_OK);
    assert_false(oc_dir_exists(in_dir("x")));
    assert_true(oc_dir_exists(outside));
    assert_int_equal(oc_remove_tree(in_dir("x"), &err), OC_OK); /* not there: fine */
}

static void check_join(const char *a, const char *b, const char *want) {
    char *p = oc_path_join(a, b);
    assert_string_equal(p, want);
    oc_free(p);
}

static void check_dir(const char *path, const char *want_dir, const char *want_base) {
    char *p = oc_path_dir(path);
    assert_string_equal(p, want_dir);
    assert_string_equal(oc_path_base(path), want_base);
    oc_free(p);
}

static void paths(void **state) {
    OC_UNUSED(state);
    check_join("a", "b", "a/b");
    check_join("a/", "b", "a/b");
    check_join("", "b", "b");
    check_join(NULL, "b", "b");
    check_join("a", "/b", "/b");
    check_dir("a/b/c", "a/b", "c");
    check_dir("c", ".", "c");
    check_dir("/c", "/", "c");
    check_dir("a/", "a", "");
}

static void containment(void **state) {
    OC_UNUSED(state);
    static const char *inside[] = {"a", "a/b.jpg", "..a/b", "a/..b", "a.../b", "./a", "a//b"};
    static const char *outside[] = {"", "/a", "..", "../a", "a/..", "a/../b", "a/b/..", "../../etc/passwd"};
    for (size_t i = 0; i < OC_COUNT(inside); i++) assert_true(oc_path_is_contained(inside[i]));
    for (size_t i = 0; i < OC_COUNT(outside); i++) assert_false(oc_path_is_contained(outside[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(write_and_read, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(read_fails, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(failed_writes_leave_nothing, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(maps, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(folders, make_dir, remove_dir),
        cmocka_unit_test(paths),
        cmocka_unit_test(containment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
