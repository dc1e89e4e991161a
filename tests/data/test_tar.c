#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/tar.h"

/* ---- A small writer ----------------------------------------------------------------------------------------------- */

static void set_checksum(uint8_t *h) {
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++) sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
}

/* Appends a member and returns its header. size_field: NULL for the data's size. magic: "ustar\0" "00" (POSIX), "ustar  " (GNU) or "" (old). */
static uint8_t *put_sized(oc_strbuf *b, char type, const char *name, const void *data, size_t n, const char *size_field, const char *magic) {
    uint8_t h[512] = {0};
    memcpy(h, name, OC_MIN(strlen(name), (size_t)100));
    memcpy(h + 100, "0000644\0" "0000000\0" "0000000\0", 24);
    if (size_field) memcpy(h + 124, size_field, 12);
    else snprintf((char *)h + 124, 12, "%011o", (unsigned)n);
    memcpy(h + 136, "00000000000", 12);
    h[156] = (uint8_t)type;
    memcpy(h + 257, magic, strlen(magic));
    if (!strcmp(magic, "ustar")) memcpy(h + 263, "00", 2);
    set_checksum(h);
    oc_strbuf_add(b, h, 512);
    oc_strbuf_add(b, data, n);
    static const char zeros[512];
    oc_strbuf_add(b, zeros, (512 - n % 512) % 512);
    return (uint8_t *)b->data + b->len - (n + 511) / 512 * 512 - 512;
}

static uint8_t *put(oc_strbuf *b, char type, const char *name, const char *text) {
    return put_sized(b, type, name, text, strlen(text), NULL, "ustar");
}

static void put_end(oc_strbuf *b) {
    static const char zeros[1024];
    oc_strbuf_add(b, zeros, sizeof zeros);
}

/* An exact-size copy, so that a sanitizer sees every overrun; freed by close_copy. */
static uint8_t *copy;

static oc_tar *open_copy(const oc_strbuf *b, size_t size) {
    oc_tar *tar;
    oc_error err;
    copy = malloc(size);
    memcpy(copy, b->data, size);
    if (oc_tar_open_memory(&tar, copy, size, "t.tar", &err) != OC_OK) fail_msg("%s", err.msg);
    return tar;
}

static void close_copy(oc_tar *tar) {
    oc_tar_close(tar);
    free(copy);
}

static void assert_member(oc_tar *tar, const char *name, const char *text) {
    oc_tar_member m;
    oc_error err = {0};
    if (oc_tar_next(tar, &m, &err) != OC_OK) fail_msg("wanted '%s', got '%s'", name ? name : "the end", err.msg);
    if (!name) {
        assert_null(m.name);
        return;
    }
    assert_non_null(m.name);
    assert_string_equal(m.name, name);
    assert_int_equal(m.size, strlen(text));
    assert_memory_equal(m.data, text, m.size);
    assert_ptr_equal(m.data, copy + m.offset);
}

static void assert_fails(const oc_strbuf *b, size_t size, oc_status code, const char *message) {
    oc_tar *tar = open_copy(b, size);
    oc_tar_member m = {.name = ""};
    oc_error err = {0};
    oc_status st = OC_OK;
    while (st == OC_OK && m.name) st = oc_tar_next(tar, &m, &err);
    if (st != code || !strstr(err.msg, message) || !strstr(err.msg, "t.tar: byte ")) fail_msg("got %d '%s', wanted %d '%s'", st, err.msg, code, message);
    close_copy(tar);
}

/* ---- What must be read -------------------------------------------------------------------------------------------- */

static void test_plain(void **state) {
    OC_UNUSED(state);
    oc_strbuf b = {0};
    put(&b, '0', "a/1.jpg", "picture");
    put(&b, '5', "folder", "");
    put(&b, 0, "old/", "");
    put(&b, '2', "link", "");
    put_sized(&b, '1', "hard", "", 0, "00000000777", "ustar"); /* a link's size means nothing */
    put(&b, 0, "a/1.txt", "");
    put_sized(&b, '7', "c", "x", 1, NULL, "");
    uint8_t *h = put(&b, '0', "name", "with prefix");
    memcpy(h + 345, "far/away", 8);
    set_checksum(h);
    put_end(&b);
    oc_tar *tar = open_copy(&b, b.len);
    for (int round = 0; round < 2; round++) {
        assert_member(tar, "a/1.jpg", "picture");
        assert_member(tar, "a/1.txt", "");
        assert_member(tar, "c", "x");
        assert_member(tar, "far/away/name", "with prefix");
        assert_member(tar, NULL, NULL);
        assert_member(tar, NULL, NULL);
        oc_tar_rewind(tar);
    }
    close_copy(tar);
    oc_strbuf_free(&b);
}

/* One PAX record with its length in front. */
static void add_record(oc_strbuf *b, const char *key, const char *value) {
    size_t body = strlen(key) + strlen(value) + 3, digits = 1; /* " key=value\n" */
    for (size_t n = 10; body + digits >= n; n *= 10) digits++;
    oc_strbuf_printf(b, "%zu %s=%s\n", body + digits, key, value);
}

static void test_long_names(void **state) {
    OC_UNUSED(state);
    char name[301] = {0}, hundred[101] = {0}, accented[] = "d/\xc3\xa9=1\n.jpg";
    memset(name, 'n', 300);
    memset(hundred, 'h', 100); /* fills the field: no NUL */
    oc_strbuf b = {0}, pax = {0};
    put_sized(&b, 'L', "././@LongLink", name, 301, NULL, "ustar  ");
    put_sized(&b, '0', "nnn", "gnu", 3, NULL, "ustar  ");
    put(&b, '0', hundred, "full");
    put_sized(&b, 'K', "././@LongLink", name, 301, NULL, "ustar  ");
    put(&b, '2', "link", "");
    put(&b, 'g', "pax_global_header", "20 comment=whatever\n");
    add_record(&pax, "mtime", "123.456");
    add_record(&pax, "path", accented);
    add_record(&pax, "size", "3");
    put(&b, 'x', "PaxHeaders/x", pax.data);
    put_sized(&b, '0', "short", "abc", 3, "00000000000", "ustar"); /* PAX has the size */
    oc_strbuf_clear(&pax);
    add_record(&pax, "path", name);
    put(&b, 'x', "PaxHeaders/y", pax.data);
    put(&b, '0', "short", "long");
    put(&b, '0', "plain", "after");
    put_end(&b);
    oc_tar *tar = open_copy(&b, b.len);
    assert_member(tar, name, "gnu");
    assert_member(tar, hundred, "full");
    assert_member(tar, accented, "abc");
    assert_member(tar, name, "long");
    assert_member(tar, "plain", "after");
    assert_member(tar, NULL, NULL);
    close_copy(tar);
    oc_strbuf_free(&b);
    oc_strbuf_free(&pax);
}

static void test_numbers(void **state) {
    OC_UNUSED(state);
    oc_strbuf b = {0};
    put_sized(&b, '0', "base256", "abc", 3, "\x80\0\0\0\0\0\0\0\0\0\0\3", "ustar  ");
    put_sized(&b, '0', "spaces", "abc", 3, "          3 ", "");
    put_sized(&b, '0', "no end", "abc", 3, "000000000003", "");
    uint8_t *h = put(&b, '0', "signed \xff", "s"); /* checksum as a sum of signed chars */
    int sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++) sum += (int8_t)h[i];
    snprintf((char *)h + 148, 8, "%06o", (unsigned)sum);
    oc_tar *tar = open_copy(&b, b.len - 500); /* neither end blocks nor the last padding */
    assert_member(tar, "base256", "abc");
    assert_member(tar, "spaces", "abc");
    assert_member(tar, "no end", "abc");
    assert_member(tar, "signed \xff", "s");
    assert_member(tar, NULL, NULL);
    close_copy(tar);
    oc_strbuf_free(&b);
}

/* ---- What must not be ---------------------------------------------------------------------------------------------- */

static void test_hostile(void **state) {
    OC_UNUSED(state);
    static const struct { char type; const char *size, *text, *message; } cases[] = {
        {'0', "77777777777", "x", "a member of 8589934591 bytes, but only 1536 are left"},
        {'0', "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", "x", "but only 1536 are left"},
        {'0', "\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", "x", "a member of 18446744073709551615 bytes"},
        {'0', "\x80\1\0\0\0\0\0\0\0\0\0\1", "x", "size is not a number"},
        {'0', "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "x", "size is not a number"},
        {'0', "0000000009 ", "x", "size is not a number"},
        {'L', "00010000000", "x", "a member of 2097152 bytes"},
        {'x', NULL, "9 path=x\n\n", "damaged PAX records"},
        {'x', NULL, "99 path=x\n", "damaged PAX records"},
        {'x', NULL, "9 path=xy\n", "damaged PAX records"},
        {'x', NULL, "0 path=x\n", "damaged PAX records"},
        {'x', NULL, "18446744073709551625 path=x\n", "damaged PAX records"},
        {'x', NULL, "path=x\n", "damaged PAX records"},
        {'x', NULL, "9 pathxxx", "damaged PAX records"},
        {'x', NULL, "11 size=-1\n", "PAX size is not a number"},
        {'x', NULL, "30 size=99999999999999999999\n", "PAX"},
        {'x', NULL, "8 path=\n", "name is empty"},
        {'x', NULL, "27 size=184467440737095516\n", "a member of 184467440737095516 bytes"},
        {'x', NULL, "22 GNU.sparse.major=1\n", "sparse"},
        {'S', NULL, "x", "sparse"},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_strbuf b = {0};
        put_sized(&b, cases[i].type, "m", cases[i].text, strlen(cases[i].text), cases[i].size, "ustar");
        if (cases[i].type == 'x') put(&b, '0', "f", "f");
        put_end(&b);
        assert_fails(&b, b.len, strstr(cases[i].message, "sparse") ? OC_ERR_UNSUPPORTED : OC_ERR_FORMAT, cases[i].message);
        oc_strbuf_free(&b);
    }
}

static void test_damaged(void **state) {
    OC_UNUSED(state);
    oc_strbuf b = {0};
    put(&b, '0', "one", "1");
    put(&b, '0', "two", "2");
    assert_fails(&b, 1024 + 300, OC_ERR_FORMAT, "byte 1024: the file is cut off in a header");
    assert_fails(&b, 1024 + 512, OC_ERR_FORMAT, "byte 1024: a member of 1 bytes, but only 0 are left");
    b.data[1024 + 3] = 'x';
    assert_fails(&b, b.len, OC_ERR_FORMAT, "byte 1024: a header's checksum is wrong");
    b.data[0] = 'x';
    assert_fails(&b, b.len, OC_ERR_FORMAT, "byte 0: not a tar archive");
    oc_strbuf_clear(&b);
    put(&b, '0', "one", "1");
    put_end(&b);
    put(&b, '0', "joined", "2");
    assert_fails(&b, b.len, OC_ERR_FORMAT, "byte 1024: the archive ends here, but the file goes on");
    oc_strbuf_clear(&b);
    char *nul = calloc(1, 600);
    memcpy(nul, "10 path=x\0\n", 11);
    nul[0] = '1', nul[1] = '1';
    put_sized(&b, 'x', "m", nul, 11, NULL, "ustar");
    put(&b, '0', "f", "f");
    assert_fails(&b, b.len, OC_ERR_FORMAT, "holds a NUL");
    free(nul);
    oc_strbuf_free(&b);

    oc_tar *tar;
    oc_error err;
    assert_int_equal(oc_tar_open_memory(&tar, "\x1f\x8b\x08", 3, "t.tar.gz", &err), OC_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "run gunzip"));
    assert_null(tar);
    assert_int_equal(oc_tar_open_memory(&tar, "\x28\xb5\x2f\xfd", 4, "t.tar.zst", &err), OC_ERR_UNSUPPORTED);
    assert_int_equal(oc_tar_open_memory(&tar, "", 0, "t", &err), OC_ERR_FORMAT);
    assert_int_equal(oc_tar_open(&tar, "/nonexistent.tar", &err), OC_ERR_IO);
    assert_null(tar);
}

/* ---- Index, files, memory ----------------------------------------------------------------------------------------- */

static void test_index(void **state) {
    OC_UNUSED(state);
    oc_strbuf b = {0};
    char name[16], text[16];
    for (int i = 0; i < 700; i++) {
        snprintf(name, sizeof name, "k%d.txt", i * 37 % 700);
        snprintf(text, sizeof text, "%d", i);
        put(&b, '0', name, text);
    }
    put(&b, '0', "k5.txt", "again");
    oc_tar *tar = open_copy(&b, b.len);
    oc_tar_index index;
    oc_tar_member m;
    assert_int_equal(oc_tar_next(tar, &m, NULL), OC_OK); /* the index begins at the beginning all the same */
    assert_int_equal(oc_tar_index_open(&index, tar, NULL), OC_OK);
    assert_int_equal(index.n, 701);
    for (int i = 0; i < 700; i++) {
        snprintf(name, sizeof name, "k%d.txt", i * 37 % 700);
        snprintf(text, sizeof text, "%d", i);
        const oc_tar_entry *e = oc_tar_find(&index, name);
        assert_non_null(e);
        if (strcmp(name, "k5.txt")) assert_ptr_equal(e, &index.entry[i]);
        else strcpy(text, "again");
        assert_int_equal(e->size, strlen(text));
        assert_memory_equal(e->data, text, e->size);
        assert_ptr_equal(e->data, copy + e->offset);
    }
    assert_null(oc_tar_find(&index, "k700.txt"));
    assert_null(oc_tar_find(&index, ""));
    assert_null(oc_tar_find(&index, "zz"));
    oc_tar_index_close(&index);
    close_copy(tar);
    oc_strbuf_free(&b);
}

static void test_out_of_memory(void **state) {
    OC_UNUSED(state);
    oc_strbuf b = {0};
    put(&b, '0', "one", "1");
    put(&b, '0', "two", "2");
    copy = (uint8_t *)b.data;
    for (long n = 0;; n++) {
        oc_tar *tar = NULL;
        oc_tar_index index = {0};
        oc_alloc_fail_after(n);
        oc_status st = oc_tar_open_memory(&tar, b.data, b.len, "t", NULL);
        if (st == OC_OK) st = oc_tar_index_open(&index, tar, NULL);
        oc_alloc_fail_after(-1);
        oc_tar_index_close(&index);
        oc_tar_close(tar);
        if (st == OC_OK) {
            assert_true(n >= 5);
            break;
        }
        assert_int_equal(st, OC_ERR_NOMEM);
    }
    oc_strbuf_free(&b);
}

/* Archives of the system's own tar, in its three formats. */
static void test_system_tar(void **state) {
    OC_UNUSED(state);
    if (system("command -v tar > /dev/null") != 0) skip();
    char dir[] = "/tmp/oc_tar_XXXXXX", command[512], deep[181];
    assert_non_null(mkdtemp(dir));
    memset(deep, 'd', sizeof deep);
    deep[sizeof deep - 1] = 0;
    deep[90] = '/';
    static const char *const formats[] = {"ustar", "gnu", "pax"};
    for (size_t i = 0; i < OC_COUNT(formats); i++) {
        snprintf(command, sizeof command, "cd %s && mkdir -p s/%.90s && echo deep > s/%s && echo flat > s/flat && ln -sf flat s/link && "
                 "tar --format=%s --sort=name -cf a.tar s", dir, deep, deep, formats[i]);
        assert_int_equal(system(command), 0);
        char *path = oc_path_join(dir, "a.tar"), name[256];
        oc_tar *tar;
        oc_tar_index index;
        oc_error err = {0};
        if (oc_tar_open(&tar, path, &err) != OC_OK || oc_tar_index_open(&index, tar, &err) != OC_OK) fail_msg("%s: %s", formats[i], err.msg);
        assert_int_equal(index.n, 2);
        snprintf(name, sizeof name, "s/%s", deep);
        const oc_tar_entry *e = oc_tar_find(&index, name);
        assert_non_null(e);
        assert_memory_equal(e->data, "deep\n", 5);
        assert_non_null(oc_tar_find(&index, "s/flat"));
        oc_tar_index_close(&index);
        oc_tar_close(tar);
        oc_free(path);
    }
    assert_int_equal(oc_remove_tree(dir, NULL), OC_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),   cmocka_unit_test(test_long_names), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_damaged),    cmocka_unit_test(test_index),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_system_tar),
    };
    return cmocka_run_group_tests_name("data.tar", tests, NULL, NULL);
}
