#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/safetensors.h"

static char dir[64];

static int make_dir(void **state) {
    OC_UNUSED(state);
    strcpy(dir, "/tmp/oc_safetensors_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    OC_UNUSED(state);
    return oc_remove_tree(dir, NULL);
}

static char *at(const char *name) {
    static char path[2][256];
    static int which;
    which = !which;
    snprintf(path[which], sizeof path[which], "%s/%s", dir, name);
    return path[which];
}

/* u64 length + header + data zeros. */
static size_t compose(uint8_t *out, const char *header, size_t data) {
    size_t n = strlen(header);
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(n >> (8 * i));
    memcpy(out + 8, header, n);
    memset(out + 8 + n, 0, data);
    return 8 + n + data;
}

static void assert_rejected(const char *header, size_t data, oc_status code, const char *message) {
    uint8_t *file = malloc(strlen(header) + 8 + data); /* exact size, so that a sanitizer sees every overrun */
    size_t size = compose(file, header, data);
    oc_safetensors *st;
    oc_error err = {0};
    oc_status got = oc_safetensors_open_memory(&st, file, size, "t.safetensors", &err);
    if (got != code || !strstr(err.msg, message)) fail_msg("%s\n got %d '%s', wanted %d '%s'", header, got, err.msg, code, message);
    assert_null(st);
    assert_non_null(strstr(err.msg, "t.safetensors"));
    free(file);
}

static void test_round_trip(void **state) {
    OC_UNUSED(state);
    oc_error err;
    float a[6] = {1, -2, 3.5f, 0, INFINITY, 1e-30f};
    uint16_t b[2] = {oc_f32_to_bf16(-1.5f), oc_f32_to_bf16(1e30f)}, h[2] = {0x3c00, 0x0001};
    double d[1] = {0.1};
    uint8_t u[3] = {7, 8, 9};
    oc_tensor_info t[] = {
        {.name = "a.weight", .dtype = OC_F32, .n_dims = 2, .shape = {2, 3}, .data = a},
        {.name = "b \"quoted\" \xc3\xa9\n", .dtype = OC_BF16, .n_dims = 1, .shape = {2}, .data = b},
        {.name = "half", .dtype = OC_F16, .n_dims = 1, .shape = {2}, .data = h},
        {.name = "empty", .dtype = OC_F32, .n_dims = 2, .shape = {0, 5}, .data = NULL},
        {.name = "double", .dtype = OC_F64, .n_dims = 0, .data = d},
        {.name = "bytes", .dtype = OC_U8, .n_dims = 1, .shape = {3}, .data = u},
    };
    oc_metadata meta[] = {{"step", "12"}, {"quote", "\"\\"}};
    char *path = at("round.safetensors");
    assert_int_equal(oc_safetensors_save(path, t, OC_COUNT(t), meta, 2, &err), OC_OK);

    oc_safetensors *st;
    if (oc_safetensors_open(&st, path, &err) != OC_OK) fail_msg("%s", err.msg);
    assert_int_equal(oc_safetensors_count(st), OC_COUNT(t));
    for (size_t i = 0; i < OC_COUNT(t); i++) {
        const oc_tensor_info *r = oc_safetensors_at(st, i);
        assert_string_equal(r->name, t[i].name);
        assert_ptr_equal(r, oc_safetensors_find(st, t[i].name));
        assert_int_equal(r->dtype, t[i].dtype);
        assert_int_equal(r->n_dims, t[i].n_dims);
        assert_memory_equal(r->shape, t[i].shape, sizeof r->shape);
        if (r->bytes) assert_memory_equal(r->data, t[i].data, r->bytes);
    }
    assert_int_equal((uintptr_t)oc_safetensors_at(st, 0)->data % 8, 0);
    assert_null(oc_safetensors_find(st, "a.weigh"));
    assert_null(oc_safetensors_find(st, "zzz"));
    assert_string_equal(oc_safetensors_metadata(st, "format"), "pt");
    assert_string_equal(oc_safetensors_metadata(st, "step"), "12");
    assert_string_equal(oc_safetensors_metadata(st, "quote"), "\"\\");
    assert_null(oc_safetensors_metadata(st, "absent"));

    float f[6];
    assert_int_equal(oc_tensor_to_f32(oc_safetensors_find(st, "a.weight"), f, &err), OC_OK);
    assert_memory_equal(f, a, sizeof a);
    assert_int_equal(oc_tensor_to_f32(oc_safetensors_at(st, 1), f, &err), OC_OK);
    assert_true(f[0] == -1.5f && fabsf(f[1] / 1e30f - 1) < 0.004f);
    assert_int_equal(oc_tensor_to_f32(oc_safetensors_find(st, "half"), f, &err), OC_OK);
    assert_true(f[0] == 1.0f && f[1] == ldexpf(1, -24));
    assert_int_equal(oc_tensor_to_f32(oc_safetensors_find(st, "double"), f, &err), OC_OK);
    assert_true(f[0] == 0.1f);
    assert_int_equal(oc_tensor_to_f32(oc_safetensors_find(st, "bytes"), f, &err), OC_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "'bytes' is U8"));
    char text[64];
    assert_string_equal(oc_tensor_describe(text, sizeof text, oc_safetensors_at(st, 0)), "F32 [2, 3]");
    assert_string_equal(oc_tensor_describe(text, 6, oc_safetensors_at(st, 0)), "F32 [");
    oc_safetensors_close(st);
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}"

static void test_hostile_headers(void **state) {
    OC_UNUSED(state);
    oc_status F = OC_ERR_FORMAT;
    assert_rejected("{" A "}", 15, F, "[0, 16] end after the 15 bytes");
    assert_rejected("{" A "}", 17, F, "1 bytes follow the last tensor (data offset 16)");
    assert_rejected("{" A "," A "}", 16, F, "duplicate");
    assert_rejected("{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[17,21]}}", 21, F, "'b' begins at data offset 17, which leaves a gap: 16");
    assert_rejected("{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[12,16]}}", 16, F, "'b' begins at data offset 12, which leaves an overlap");
    assert_rejected("{\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[4,20]}}", 20, F, "a gap: 0 was");
    assert_rejected("{\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,12]}}", 12, F, "hold 12 bytes, but F32 [2, 2] needs 16");
    assert_rejected("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4,4],\"data_offsets\":[0,0]}}", 0, F, "larger than any file");
    assert_rejected("{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0, F, "not valid JSON");
    assert_rejected("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,0]}}", 0, F, "shape[0]");
    assert_rejected("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, F, "shape[0]");
    assert_rejected("{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,16]}}", 16, F, "\"shape\" is not an array");
    assert_rejected("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, OC_ERR_UNSUPPORTED, "9 dimensions");
    assert_rejected("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, OC_ERR_UNSUPPORTED, "'a' has dtype \"F8_E4M3\"");
    assert_rejected("{\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}}", 4, F, "no \"dtype\"");
    assert_rejected("{\"a\":7}", 4, F, "no \"dtype\"");
    assert_rejected("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]}}", 4, F, "\"data_offsets\" is not");
    assert_rejected("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[-4,0]}}", 4, F, "\"data_offsets\" is not");
    assert_rejected("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,8]}}", 4, F, "\"data_offsets\" is not");
    assert_rejected("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":\"0,4\"}}", 4, F, "\"data_offsets\" is not");
    assert_rejected("{\"__metadata__\":{\"n\":1}}", 0, F, "value of \"n\" is not a string");
    assert_rejected("{\"__metadata__\":[]}", 0, F, "\"__metadata__\" is not an object");
    assert_rejected("{" A, 16, F, "t.safetensors:1:");
    assert_rejected("[]", 0, F, "does not begin with '{'");
    assert_rejected("", 0, F, "does not begin with '{'");
}

static void test_lying_length(void **state) {
    OC_UNUSED(state);
    uint8_t file[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, '{', '}'};
    oc_safetensors *st;
    oc_error err;
    assert_int_equal(oc_safetensors_open_memory(&st, file, sizeof file, "x", &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "header of 9223372036854775807 bytes"));
    memset(file, 0, 8);
    file[0] = 9; /* one more than there is */
    assert_int_equal(oc_safetensors_open_memory(&st, file, sizeof file, "x", &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "cut off"));
    assert_int_equal(oc_safetensors_open_memory(&st, file, 7, "x", &err), OC_ERR_FORMAT);
    assert_int_equal(oc_safetensors_open_memory(&st, NULL, 0, "x", &err), OC_ERR_FORMAT);
}

/* Order in the header is free; padding, unknown members and zero-sized tensors anywhere are allowed. */
static void test_accepted(void **state) {
    OC_UNUSED(state);
    uint8_t file[512];
    oc_safetensors *st;
    oc_error err;
    size_t size = compose(file, "{\"z\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]},"
                                "\"e\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[2,2]},"
                                "\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2],\"x\":1}}   ", 5);
    if (oc_safetensors_open_memory(&st, file, size, "x", &err) != OC_OK) fail_msg("%s", err.msg);
    assert_int_equal(oc_safetensors_count(st), 3);
    assert_string_equal(oc_safetensors_at(st, 0)->name, "a");
    assert_string_equal(oc_safetensors_at(st, 1)->name, "e");
    assert_string_equal(oc_safetensors_at(st, 2)->name, "z");
    assert_int_equal(oc_tensor_elements(oc_safetensors_at(st, 0)), 1);
    assert_ptr_equal(oc_safetensors_at(st, 2)->data, file + size - 3);
    oc_safetensors_close(st);

    size = compose(file, "{}", 0);
    assert_int_equal(oc_safetensors_open_memory(&st, file, size, "x", &err), OC_OK);
    assert_int_equal(oc_safetensors_count(st), 0);
    assert_null(oc_safetensors_find(st, "a"));
    assert_null(oc_safetensors_metadata(st, "format"));
    oc_safetensors_close(st);
}

static void save_one(const char *path, const char *name, float value) {
    oc_tensor_info t = {.name = name, .dtype = OC_F32, .n_dims = 1, .shape = {1}, .data = &value};
    assert_int_equal(oc_safetensors_save(path, &t, 1, NULL, 0, NULL), OC_OK);
}

static void write_text(const char *path, const char *text) {
    assert_int_equal(oc_file_write_atomic(path, text, strlen(text), NULL), OC_OK);
}

static void test_pointer_file(void **state) {
    OC_UNUSED(state);
    oc_safetensors *st;
    oc_error err;
    write_text(at("pointer.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 988097824\n");
    assert_int_equal(oc_safetensors_open(&st, at("pointer.safetensors"), &err), OC_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "git lfs pull"));
}

static void assert_dir_rejected(const char *index, const char *message) {
    oc_safetensors *st;
    oc_error err = {0};
    write_text(at("shards/model.safetensors.index.json"), index);
    assert_int_not_equal(oc_safetensors_open(&st, at("shards"), &err), OC_OK);
    assert_null(st);
    if (!strstr(err.msg, message)) fail_msg("got '%s', wanted '%s'", err.msg, message);
}

static void save_two(const char *path, const char *first, const char *second) {
    oc_error err;
    float value[2] = {1, 2};
    oc_tensor_info t[] = {{.name = first, .dtype = OC_F32, .n_dims = 1, .shape = {1}, .data = &value[0]},
                          {.name = second, .dtype = OC_F32, .n_dims = 1, .shape = {1}, .data = &value[1]}};
    assert_int_equal(oc_safetensors_save(path, t, 2, NULL, 0, &err), OC_OK);
}

static void test_folder(void **state) {
    OC_UNUSED(state);
    oc_safetensors *st;
    oc_error err;
    mkdir(at("shards"), 0777);
    assert_int_equal(oc_safetensors_open(&st, at("shards"), &err), OC_ERR_IO);
    assert_non_null(strstr(err.msg, "neither model.safetensors nor"));
    save_one(at("shards/s1.safetensors"), "one", 1);
    save_one(at("shards/s2.safetensors"), "two", 2);
    save_one(at("outside.safetensors"), "out", 3);

    write_text(at("shards/model.safetensors.index.json"),
               "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"two\":\"s2.safetensors\",\"one\":\"s1.safetensors\"}}");
    if (oc_safetensors_open(&st, at("shards"), &err) != OC_OK) fail_msg("%s", err.msg);
    assert_int_equal(oc_safetensors_count(st), 2);
    assert_true(*(const float *)oc_safetensors_find(st, "one")->data == 1);
    assert_true(*(const float *)oc_safetensors_find(st, "two")->data == 2);
    assert_non_null(strstr(oc_safetensors_find(st, "two")->file, "s2.safetensors"));
    oc_safetensors_close(st);

    assert_dir_rejected("{\"weight_map\":{\"out\":\"../outside.safetensors\"}}", "not the name of a file inside the folder");
    assert_dir_rejected("{\"weight_map\":{\"out\":\"/etc/passwd\"}}", "not the name of a file inside the folder");
    assert_dir_rejected("{\"weight_map\":{\"out\":5}}", "(not a string)");
    assert_dir_rejected("{\"weight_map\":{\"one\":\"s2.safetensors\"}}", "'one' is not in s2.safetensors");
    assert_dir_rejected("{\"weight_map\":{\"one\":\"s2.safetensors\",\"two\":\"s1.safetensors\"}}", "'one' is not in s2.safetensors, where the index puts it, but in s1.safetensors");
    save_one(at("shards/also-s2.safetensors"), "three", 3); /* a name that ends like another one */
    assert_dir_rejected("{\"weight_map\":{\"three\":\"s2.safetensors\",\"two\":\"also-s2.safetensors\"}}", "'three' is not in s2.safetensors");
    assert_dir_rejected("{\"weight_map\":{\"one\":\"s1.safetensors\",\"none\":\"s2.safetensors\"}}", "'none' is not in s2.safetensors");
    save_two(at("shards/s4.safetensors"), "four", "five");
    assert_dir_rejected("{\"weight_map\":{\"four\":\"s4.safetensors\"}}", "'five' of");
    assert_dir_rejected("{\"weight_map\":{\"one\":\"s3.safetensors\"}}", "s3.safetensors: cannot open");
    assert_dir_rejected("{\"weight_map\":{}}", "no \"weight_map\"");
    assert_dir_rejected("[]", "no \"weight_map\"");
    save_one(at("shards/s3.safetensors"), "one", 4);
    assert_dir_rejected("{\"weight_map\":{\"one\":\"s1.safetensors\",\"two\":\"s3.safetensors\"}}", "'one' is in two files");

    save_one(at("shards/model.safetensors"), "single", 9); /* goes before the index */
    assert_int_equal(oc_safetensors_open(&st, at("shards"), &err), OC_OK);
    assert_int_equal(oc_safetensors_count(st), 1);
    oc_safetensors_close(st);
}

static void test_writer(void **state) {
    OC_UNUSED(state);
    oc_error err;
    oc_safetensors_writer *w;
    oc_safetensors *st;
    char *path = at("w.safetensors");
    oc_tensor_info t[2] = {{.name = "x", .dtype = OC_I32, .n_dims = 1, .shape = {2}}, {.name = "y", .dtype = OC_I8, .n_dims = 1, .shape = {1}}};
    int32_t v[2] = {5, -6};
    save_one(path, "old", 1);

    /* Too few bytes, too many, given up: the old file stays, nothing else does. */
    assert_int_equal(oc_safetensors_writer_open(&w, path, t, 2, NULL, 0, &err), OC_OK);
    assert_int_equal(oc_safetensors_write(w, v, 8, &err), OC_OK);
    assert_int_equal(oc_safetensors_write(w, v, 2, &err), OC_ERR_ARG);
    assert_int_equal(oc_safetensors_writer_finish(w, &err), OC_ERR_ARG);
    assert_non_null(strstr(err.msg, "9 bytes of tensor data were declared, 8 were written"));
    assert_int_equal(oc_safetensors_writer_open(&w, path, t, 2, NULL, 0, &err), OC_OK);
    oc_safetensors_writer_abort(w);
    char tmp[300];
    snprintf(tmp, sizeof tmp, "%s.tmp.%ld", path, (long)getpid());
    assert_false(oc_file_exists(tmp));
    assert_int_equal(oc_safetensors_open(&st, path, &err), OC_OK);
    assert_non_null(oc_safetensors_find(st, "old"));

    /* In pieces that do not respect the tensors; replaces the file under a reader, whose map stays. */
    uint8_t all[9];
    memcpy(all, v, 8);
    all[8] = 3;
    assert_int_equal(oc_safetensors_writer_open(&w, path, t, 2, NULL, 0, &err), OC_OK);
    assert_int_equal(oc_safetensors_write(w, all, 3, &err), OC_OK);
    assert_int_equal(oc_safetensors_write(w, all + 3, 6, &err), OC_OK);
    assert_int_equal(oc_safetensors_writer_finish(w, &err), OC_OK);
    assert_false(oc_file_exists(tmp));
    assert_true(*(const float *)oc_safetensors_find(st, "old")->data == 1);
    oc_safetensors_close(st);
    assert_int_equal(oc_safetensors_open(&st, path, &err), OC_OK);
    assert_memory_equal(oc_safetensors_find(st, "x")->data, v, 8);
    assert_int_equal(*(const int8_t *)oc_safetensors_find(st, "y")->data, 3);
    oc_safetensors_close(st);

    t[1].name = "x";
    assert_int_equal(oc_safetensors_writer_open(&w, path, t, 2, NULL, 0, &err), OC_ERR_ARG);
    assert_non_null(strstr(err.msg, "two tensors have the name 'x'"));
    assert_null(w);
    t[1].name = "\xff";
    assert_int_equal(oc_safetensors_writer_open(&w, path, t, 2, NULL, 0, &err), OC_ERR_ARG);
    t[1] = (oc_tensor_info){.name = "big", .dtype = OC_F64, .n_dims = 2, .shape = {INT64_MAX, 2}};
    assert_int_equal(oc_safetensors_writer_open(&w, path, t, 2, NULL, 0, &err), OC_ERR_ARG);
    assert_int_equal(oc_safetensors_writer_open(&w, at("no/such/f"), t, 1, NULL, 0, &err), OC_ERR_IO);
}

/* Pages that were given back hold the same values when they are read again; neighbours are not disturbed, and a file in
 * memory is left alone. */
static void test_release(void **state) {
    OC_UNUSED(state);
    enum { N = 50000 };
    oc_error err;
    oc_safetensors *st;
    float *x = malloc(2 * N * sizeof *x);
    for (int i = 0; i < 2 * N; i++) x[i] = (float)i;
    oc_tensor_info t[] = {{.name = "a", .dtype = OC_F32, .n_dims = 1, .shape = {N}, .data = x},
                          {.name = "b", .dtype = OC_F32, .n_dims = 1, .shape = {N}, .data = x + N},
                          {.name = "empty", .dtype = OC_F32, .n_dims = 1, .shape = {0}}};
    assert_int_equal(oc_safetensors_save(at("pages.safetensors"), t, 3, NULL, 0, &err), OC_OK);
    oc_map file;
    assert_int_equal(oc_map_open(&file, at("pages.safetensors"), &err), OC_OK);
    uint8_t *copy = malloc(file.size);
    memcpy(copy, file.data, file.size);
    for (int how = 0; how < 2; how++) {
        oc_status got = how ? oc_safetensors_open_memory(&st, copy, file.size, "x", &err)
                            : oc_safetensors_open(&st, at("pages.safetensors"), &err);
        assert_int_equal(got, OC_OK);
        for (size_t i = 0; i < 3; i++) {
            oc_safetensors_release(st, oc_safetensors_at(st, i));
            for (size_t k = 0; k < 2; k++) assert_memory_equal(oc_safetensors_at(st, k)->data, t[k].data, N * sizeof *x);
        }
        oc_safetensors_close(st);
    }
    oc_map_close(&file);
    free(copy);
    free(x);
}

/* Each allocation fails in turn; nothing leaks (the sanitizer looks) and nothing crashes. */
static void test_out_of_memory(void **state) {
    OC_UNUSED(state);
    uint8_t file[128];
    size_t size = compose(file, "{" A "}", 16);
    for (long n = 0;; n++) {
        oc_safetensors *st;
        oc_error err;
        oc_alloc_fail_after(n);
        oc_status got = oc_safetensors_open_memory(&st, file, size, "x", &err);
        oc_alloc_fail_after(-1);
        if (got == OC_OK) {
            assert_true(n >= 5);
            oc_safetensors_close(st);
            return;
        }
        assert_int_equal(got, OC_ERR_NOMEM);
        assert_null(st);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_hostile_headers), cmocka_unit_test(test_lying_length),   cmocka_unit_test(test_pointer_file),
        cmocka_unit_test(test_accepted),   cmocka_unit_test(test_folder),          cmocka_unit_test(test_writer),
        cmocka_unit_test(test_release),    cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("data.safetensors", tests, make_dir, remove_dir);
}
