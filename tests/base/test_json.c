/* JSON: positions in messages, the element reader over arrays and lines, member access with types and ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"

static oc_error err;

static oc_status parse(json_t **out, const char *text) {
    return oc_json_parse(out, text, strlen(text), "t.json", &err);
}

static void whole_texts(void **state) {
    OC_UNUSED(state);
    json_t *v;
    assert_int_equal(parse(&v, "\xef\xbb\xbf{\"a\": [1, null]}"), OC_OK);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(v, "a"), 0)), 1);
    json_decref(v);
    static const struct {
        const char *text, *message;
    } bad[] = {{"{\"a\": 1,\n \"a\": 2}", "t.json:2:"},
               {"{\"a\":\n\n 1x}", "t.json:3:"},
               {"", "t.json:1:"},
               {"[1] 2", "not valid JSON"},
               {"\"\\ud800\"", "not valid JSON"},
               {"\"\xff\"", "not valid JSON"}};
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        assert_int_equal(parse(&v, bad[i].text), OC_ERR_FORMAT);
        assert_null(v);
        if (!strstr(err.msg, bad[i].message)) fail_msg("\"%s\" is not in \"%s\"", bad[i].message, err.msg);
    }
    oc_strbuf deep = {0};
    for (int i = 0; i < 100000; i++) oc_strbuf_putc(&deep, '[');
    assert_int_equal(parse(&v, deep.data), OC_ERR_FORMAT); /* a limit, not the stack's end */
    oc_strbuf_free(&deep);
}

static void reads_elements(void **state) {
    OC_UNUSED(state);
    static const char *three[] = {"[1,2 ,\n3]", " [ 1 , 2 , 3 ] \n", "1\n2\n3", "1 2\n\n3\n", "\xef\xbb\xbf[1,2,3]"};
    for (size_t i = 0; i < OC_COUNT(three); i++) {
        oc_json_reader r;
        json_t *v;
        oc_json_reader_init(&r, three[i], strlen(three[i]), "t");
        for (int k = 1; k <= 3; k++) {
            assert_int_equal(oc_json_reader_next(&r, &v, &err), OC_OK);
            assert_int_equal(json_integer_value(v), k);
            json_decref(v);
        }
        for (int k = 0; k < 2; k++) {
            assert_int_equal(oc_json_reader_next(&r, &v, &err), OC_OK);
            assert_null(v);
        }
        assert_int_equal(r.index, 3);
    }
    oc_json_reader r;
    json_t *v;
    oc_json_reader_init(&r, " [ ]\n", 5, "t");
    assert_int_equal(oc_json_reader_next(&r, &v, &err), OC_OK);
    assert_null(v);
}

static void reader_errors(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "t: empty"},
        {"[1,2", "t:1: element 2: the file ends inside the array"},
        {"[1,\n2,]", "t:2: element 2: a comma before the closing"},
        {"[1,\n2 3]", "t:2: element 2: ',' or ']' expected"},
        {"[1]\n2", "text after the end of the array"},
        {"{\"a\":1}\n{\"a\":\n}", "element 1: not valid JSON"},
        {"[{\"a\":1,\"a\":2}]", "element 0: not valid JSON"},
    };
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        oc_json_reader r;
        json_t *v;
        oc_status st;
        oc_json_reader_init(&r, bad[i].text, strlen(bad[i].text), "t");
        do {
            st = oc_json_reader_next(&r, &v, &err);
            json_decref(v);
        } while (st == OC_OK && v);
        assert_int_equal(st, OC_ERR_FORMAT);
        if (!strstr(err.msg, bad[i].message)) fail_msg("\"%s\" is not in \"%s\"", bad[i].message, err.msg);
    }
}

/* Records that are read in place and the others give what the tree gives. */
static void records(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *text;
        bool in_place;
        const char *id, *caption; /* NULL: no such member */
    } one[] = {
        {"{\"id\":17,\"caption\":\"a dog\"}", true, "17", "a dog"},
        {" { \"caption\" :\t\"\" ,\n\"id\": \"x y\" } ", true, "x y", ""},
        {"{\"id\":0}", true, "0", NULL},
        {"{\"caption\":5,\"id\":123456789012345678}", true, "123456789012345678", NULL},
        {"{\"id\":\"\"}", true, NULL, NULL},
        {"{\"ids\":1,\"i\":2}", true, NULL, NULL},
        {"{\"id\":1234567890123456789}", false, "1234567890123456789", NULL},
        {"{\"id\":-4,\"caption\":\"caf\\u00e9\"}", false, "-4", "caf\xc3\xa9"},
        {"{\"id\":17.0,\"caption\":\"caf\xc3\xa9\"}", false, "17", "caf\xc3\xa9"},
        {"{\"id\":1.5,\"caption\":null}", false, NULL, NULL},
        {"{\"id\":3,\"box\":[1,2]}", false, "3", NULL},
        {"{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"id\":9}", false, "9", NULL},
        {"{}", false, NULL, NULL},
    };
    for (size_t i = 0; i < OC_COUNT(one); i++) {
        oc_json_reader r;
        oc_json_record rec;
        bool found;
        char id[OC_JSON_ID];
        size_t len = 0;
        oc_json_reader_init(&r, one[i].text, strlen(one[i].text), "t");
        assert_int_equal(oc_json_reader_record(&r, &rec, &found, &err), OC_OK);
        assert_true(found);
        assert_int_equal(rec.value == NULL, one[i].in_place);
        assert_int_equal(oc_json_record_id(&rec, "id", id), one[i].id != NULL);
        if (one[i].id) assert_string_equal(id, one[i].id);
        const char *caption = oc_json_record_string(&rec, "caption", &len);
        assert_int_equal(caption != NULL, one[i].caption != NULL);
        if (caption) assert_int_equal(len, strlen(one[i].caption));
        if (caption) assert_memory_equal(caption, one[i].caption, len);
        oc_json_record_close(&rec);
        assert_int_equal(oc_json_reader_record(&r, &rec, &found, &err), OC_OK);
        assert_false(found);
    }
}

static void record_errors(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"[{\"id\":1},\n{\"id\":1,\"id\":2}]", "t:2: element 1: not valid JSON: duplicate"},
        {"[{\"id\":1},\n{\"id\":01}]", "t:2: element 1: not valid JSON"},
        {"[{\"id\":1}\n{\"id\":2}]", "t:2: element 1: ',' or ']' expected"},
        {"{\"id\":\n1}\n7\n", "t:3: element 1 is not an object"},
        {"{\"id\":1", "t:1: element 0: not valid JSON"},
        {"{\"id\":\"1", "t:1: element 0: not valid JSON"},
        {"{\"id\":\"a\tb\"}", "t:1: element 0: not valid JSON"},
        {"{\"id\":1,}", "t:1: element 0: not valid JSON"},
    };
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        oc_json_reader r;
        oc_json_record rec;
        oc_status st;
        bool found;
        oc_json_reader_init(&r, bad[i].text, strlen(bad[i].text), "t");
        do {
            st = oc_json_reader_record(&r, &rec, &found, &err);
            oc_json_record_close(&rec);
        } while (st == OC_OK && found);
        assert_int_equal(st, OC_ERR_FORMAT);
        if (!strstr(err.msg, bad[i].message)) fail_msg("\"%s\" is not in \"%s\"", bad[i].message, err.msg);
    }
}

static void members(void **state) {
    OC_UNUSED(state);
    json_t *v;
    int n = 7;
    double x = 7;
    bool b = true;
    const char *s = "kept";
    assert_int_equal(
        parse(&v, "{\"n\": 3, \"x\": 2.5, \"b\": false, \"s\": \"text\", \"null\": null, \"big\": 5000000000}"), OC_OK);
    assert_int_equal(oc_json_get_int(v, "absent", 0, 9, &n, "f", &err), OC_OK);
    assert_int_equal(oc_json_get_int(v, "null", 0, 9, &n, "f", &err), OC_OK);
    assert_int_equal(n, 7);
    assert_int_equal(oc_json_get_int(v, "n", 3, 3, &n, "f", &err), OC_OK);
    assert_int_equal(n, 3);
    assert_int_equal(oc_json_get_int(v, "n", 4, 9, &n, "f", &err), OC_ERR_FORMAT);
    assert_string_equal(err.msg, "f: \"n\" is 3, outside of 4 to 9");
    assert_int_equal(oc_json_get_int(v, "big", 0, 1 << 30, &n, "f", &err), OC_ERR_FORMAT);
    assert_int_equal(oc_json_get_int(v, "x", 0, 9, &n, "f", &err), OC_ERR_FORMAT);
    assert_string_equal(err.msg, "f: \"x\" is a number, an integer was expected");
    assert_int_equal(oc_json_get_double(v, "x", 0, 9, &x, "f", &err), OC_OK);
    assert_true(x == 2.5);
    assert_int_equal(oc_json_get_double(v, "n", 0, 9, &x, "f", &err), OC_OK); /* an integer is a number */
    assert_true(x == 3);
    assert_int_equal(oc_json_get_double(v, "x", 3, 9, &x, "f", &err), OC_ERR_FORMAT);
    assert_int_equal(oc_json_get_bool(v, "b", &b, "f", &err), OC_OK);
    assert_false(b);
    assert_int_equal(oc_json_get_bool(v, "n", &b, "f", &err), OC_ERR_FORMAT);
    assert_int_equal(oc_json_get_string(v, "s", &s, "f", &err), OC_OK);
    assert_string_equal(s, "text");
    assert_int_equal(oc_json_get_string(v, "b", &s, "f", &err), OC_ERR_FORMAT);
    json_decref(v);
}

static void save_and_load(void **state) {
    OC_UNUSED(state);
    char path[] = "/tmp/ocellus-json-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    json_t *v = json_pack("{s:f,s:[i,s]}", "x", 0.1, "list", 1, "\xc3\xa4\n"), *back;
    assert_int_equal(oc_json_save(v, path, &err), OC_OK);
    assert_int_equal(oc_json_load(&back, path, 1000, &err), OC_OK);
    assert_true(json_equal(v, back)); /* doubles too, to the last bit */
    json_decref(v);
    json_decref(back);
    assert_int_equal(oc_json_load(&back, path, 5, &err), OC_ERR_FORMAT);
    unlink(path);
    assert_int_equal(oc_json_load(&back, path, 1000, &err), OC_ERR_IO);
    assert_null(back);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_texts),   cmocka_unit_test(reads_elements),
                                       cmocka_unit_test(reader_errors), cmocka_unit_test(records),
                                       cmocka_unit_test(record_errors), cmocka_unit_test(members),
                                       cmocka_unit_test(save_and_load)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
