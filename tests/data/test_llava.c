/* LLaVA conversation files: what each rule of the format makes of a record, and what is refused in which words. */
#include "data/dataset_files.h"

#include "base/json.h"

static oc_sample sample(const oc_dataset *d, size_t i) {
    oc_sample s;
    oc_dataset_sample(d, i, &s);
    return s;
}

static void assert_turns(const oc_sample *s, int n, const char *const *text) {
    assert_int_equal(s->n_turns, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(s->turn[i].assistant, i % 2);
        assert_string_equal(s->turn[i].text, text[i]);
    }
}

/* One record with this image value and this first human turn. */
static const char *record(const char *image, const char *human) {
    static char text[1024];
    snprintf(text, sizeof text, "[{\"id\":\"r\",\"image\":%s,\"conversations\":[{\"from\":\"human\",\"value\":\"%s\"},{\"from\":\"gpt\",\"value\":\"A.\"}]}]",
             image, human);
    return text;
}

/* ---- What is read -------------------------------------------------------------------------------------------------- */

static void conversations(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_llava(
        "[{\"id\": \"a\", \"image\": \"x/1.jpg\", \"width\": 5, \"conversations\": [\n"
        "   {\"from\": \"human\", \"value\": \"<image>\\nWhat?\"}, {\"from\": \"gpt\", \"value\": \"A bus.\"},\n"
        "   {\"from\": \"human\", \"value\": \"Why?\"}, {\"from\": \"gpt\", \"value\": \"Who knows.\"}]},\n"
        " {\"id\": 17, \"images\": [\"1.png\", \"2.png\"], \"messages\": [\n"
        "   {\"role\": \"system\", \"content\": \"Be brief.\"},\n"
        "   {\"role\": \"user\", \"content\": \"Is <image> left of <image>?\"}, {\"role\": \"assistant\", \"content\": \"\\u00e9 \\ud83d\\ude00\"}]},\n"
        " {\"conversations\": [{\"from\": \"human\", \"value\": \"2+2 in <image> tags?\"}, {\"from\": \"gpt\", \"value\": \"4\"}]}]");
    assert_int_equal(oc_dataset_count(d), 3);
    oc_sample s = sample(d, 0);
    assert_string_equal(s.id, "a");
    assert_int_equal(s.n_images, 1);
    assert_string_equal(s.image[0], "x/1.jpg");
    assert_null(s.system);
    assert_null(s.question_type);
    assert_turns(&s, 4, (const char *[]){"<image>\nWhat?", "A bus.", "Why?", "Who knows."});
    s = sample(d, 1);
    assert_string_equal(s.id, "17");
    assert_int_equal(s.n_images, 2);
    assert_string_equal(s.image[0], "1.png");
    assert_string_equal(s.image[1], "2.png");
    assert_string_equal(s.system, "Be brief.");
    assert_turns(&s, 2, (const char *[]){"Is <image> left of <image>?", "\xc3\xa9 \xf0\x9f\x98\x80"});
    s = sample(d, 2);
    assert_string_equal(s.id, "#2");
    assert_int_equal(s.n_images, 0);
    assert_turns(&s, 2, (const char *[]){"2+2 in <image> tags?", "4"});
    oc_dataset_close(d);
}

static void where_the_picture_stands(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *image, *human, *read;
    } cases[] = {
        {"\"a.jpg\"", "<image>\\nWhat?", "<image>\nWhat?"},
        {"\"a.jpg\"", "<image>What? ", "<image>What? "},                  /* at its start: left alone */
        {"\"a.jpg\"", "What?\\n<image>", "<image>\nWhat?"},                /* else moved there, the rest trimmed */
        {"\"a.jpg\"", " What <image> is it?\\n", "<image>\nWhat  is it?"},
        {"\"a.jpg\"", " <image>", "<image>\n"},
        {"[\"a.jpg\"]", "So: <image>", "<image>\nSo:"},
        {"[\"a.jpg\",\"b.jpg\"]", "So: <image> and <image> ", "So: <image> and <image> "}, /* several stay */
        {"\"\"", "So: <image>", "So: <image>"},                            /* no picture: text */
        {"null", "So: <image>", "So: <image>"},
        {"[]", "So: <image>", "So: <image>"},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_dataset *d = open_llava(record(cases[i].image, cases[i].human));
        assert_string_equal(sample(d, 0).turn[0].text, cases[i].read);
        oc_dataset_close(d);
    }
    /* A null "image" beside "images" does not hide them. */
    oc_dataset *d = open_llava("{\"image\":null,\"images\":[\"b.jpg\"],\"messages\":[{\"role\":\"user\",\"content\":\"<image>\"},{\"role\":\"assistant\",\"content\":\"A.\"}]}");
    assert_string_equal(sample(d, 0).image[0], "b.jpg");
    oc_dataset_close(d);
}

static void suffix_and_repair(void **state) {
    OC_UNUSED(state);
    const char *text = "{\"image\":\"a.jpg\",\"conversations\":[{\"from\":\"human\",\"value\":\"What?\"},{\"from\":\"gpt\",\"value\":\"ABC \\u00c9.\"},"
                       "{\"from\":\"human\",\"value\":\"Why?\"},{\"from\":\"gpt\",\"value\":\"So.\"}]}\n"
                       "{\"conversations\":[{\"from\":\"human\",\"value\":\"Hi\"},{\"from\":\"gpt\",\"value\":\"Ho\"}]}\n";
    oc_dataset_options opt = {.json = write_text("t.jsonl", text), .prompt_suffix = "\nBe brief.", .fix_placeholders = true, .lowercase = true};
    oc_dataset *d;
    OK(oc_dataset_open(&d, &opt, &err));
    oc_sample s = sample(d, 0);
    assert_turns(&s, 4, (const char *[]){"<image>\nWhat?\nBe brief.", "abc \xc3\x89.", "Why?", "so."});
    s = sample(d, 1); /* no picture, no suffix */
    assert_turns(&s, 2, (const char *[]){"Hi", "ho"});
    oc_dataset_close(d);
    opt.fix_placeholders = false;
    FAILS(oc_dataset_open(&d, &opt, &err), OC_ERR_FORMAT, "fix_placeholders");
    assert_null(d);
}

static void leading_answers_are_dropped(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_llava("[{\"conversations\":[{\"from\":\"gpt\",\"value\":\"Hello.\"},{\"from\":\"human\",\"value\":\"Hi\"},{\"from\":\"gpt\",\"value\":\"Ho\"}]}]");
    oc_sample s = sample(d, 0);
    assert_turns(&s, 2, (const char *[]){"Hi", "Ho"});
    oc_dataset_close(d);
}

static void lines_equal_array(void **state) {
    OC_UNUSED(state);
    oc_strbuf array = {0}, lines = {0};
    for (int i = 0; i < 700; i++) {
        char one[256];
        snprintf(one, sizeof one, "{\"id\":%d,\"image\":\"%d.jpg\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nQ%d\"},{\"from\":\"gpt\",\"value\":\"A%d\"}]}",
                 i, i / 5, i, i);
        oc_strbuf_printf(&array, "%s%s", i ? " ,\n" : "[", one);
        oc_strbuf_printf(&lines, "%s%s", one, i % 7 ? "\n" : "\r\n\n");
    }
    oc_strbuf_puts(&array, "]");
    oc_dataset *a = open_llava(array.data), *b = open_llava(lines.data);
    assert_int_equal(oc_dataset_count(a), 700);
    assert_int_equal(oc_dataset_count(b), 700);
    for (size_t i = 0; i < 700; i++) {
        oc_sample x = sample(a, i), y = sample(b, i);
        assert_string_equal(x.id, y.id);
        assert_string_equal(x.image[0], y.image[0]);
        assert_turns(&y, 2, (const char *[]){x.turn[0].text, x.turn[1].text});
    }
    oc_dataset_close(a);
    oc_dataset_close(b);
    oc_strbuf_free(&array);
    oc_strbuf_free(&lines);
}

/* ---- What is refused ----------------------------------------------------------------------------------------------- */

static void malformed_files(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *file, *error; /* NULL: read without complaint */
    } cases[] = {
        {"trailing_comma.json", "comma"},
        {"ellipsis.json", "element 0: not valid JSON"},
        {"comment.json", "not valid JSON"},
        {"single_quotes.json", "not valid JSON"},
        {"truncated.json", "not valid JSON"},
        {"empty.json", "empty"},
        {"nul_bytes.json", "not valid JSON"},
        {"raw_newline_in_string.json", "not valid JSON"},
        {"nan.json", "not valid JSON"},
        {"bom.json", NULL},
        {"jsonl_as_json.json", NULL},
        {"lone_surrogate.json", "not valid JSON"},
        {"bad_escape.json", "not valid JSON"},
        {"escapes_ok.json", NULL},
        {"text_only_entry.json", NULL},
        {"image_key_no_token.json", "fix_placeholders"},
        {"token_no_image_key.json", NULL}, /* text */
        {"two_tokens_one_image.json", "1 picture(s) but 2 \"<image>\""},
        {"image_list.json", NULL},
        {"missing_image_file.json", NULL}, /* found by the scan, below, and by the loader */
        {"empty_conversations.json", "no human turn"},
        {"gpt_first.json", NULL},
        {"two_humans.json", "two human turns"},
        {"unknown_role.json", "none of human, gpt, system"},
        {"value_null.json", "no text"},
        {"id_number.json", NULL},
        {"path_traversal.json", "leaves the picture folder"},
        {"special_tokens_in_text.json", NULL}, /* stay text */
        {"invalid_utf8.json", "not valid JSON"},
    };
    json_t *expected;
    OK(oc_json_load(&expected, OC_TEST_DATA "/llava_bad/expected.json", 1 << 20, &err));
    assert_int_equal(json_object_size(expected), OC_COUNT(cases) + 1); /* deep nesting has its own test */
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        char path[512];
        oc_dataset *d;
        const char *want = json_string_value(json_object_get(json_object_get(expected, cases[i].file), "expected"));
        assert_non_null(want);
        if (!strcmp(want, "error") || !strcmp(want, "clear error")) assert_non_null(cases[i].error);
        if (!strcmp(want, "ok")) assert_null(cases[i].error);
        snprintf(path, sizeof path, OC_TEST_DATA "/llava_bad/%s", cases[i].file);
        oc_status st = oc_dataset_open(&d, &(oc_dataset_options){.json = path}, &err);
        if ((st == OC_OK) != !cases[i].error) fail_msg("%s: %s", cases[i].file, st == OC_OK ? "was read" : err.msg);
        if (st != OC_OK && (!strstr(err.msg, cases[i].error) || !strstr(err.msg, cases[i].file)))
            fail_msg("\"%s\" lacks \"%s\" or \"%s\"", err.msg, cases[i].error, cases[i].file);
        if (!strcmp(cases[i].file, "missing_image_file.json")) assert_int_equal(oc_dataset_missing_images(d, NULL, NULL, 0), 1);
        oc_dataset_close(d);
    }
    json_decref(expected);
}

static void deep_nesting(void **state) {
    OC_UNUSED(state);
    char *text = oc_alloc(200001);
    memset(text, '[', 200000);
    text[200000] = 0;
    oc_dataset *d;
    FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = write_text("deep.json", text)}, &err), OC_ERR_FORMAT, "not valid JSON");
    oc_free(text);
}

static void refused_records(void **state) {
    OC_UNUSED(state);
#define TURNS "\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\"},{\"from\":\"gpt\",\"value\":\"A\"}]"
    static const struct {
        const char *json, *error;
    } cases[] = {
        {"[7]", "not an object"},
        {"[{\"image\":\"a.jpg\"}]", "conversations"},
        {"[{\"conversations\":{}}]", "conversations"},
        {"[{\"conversations\":[7]}]", "a turn is not an object"},
        {"[{\"conversations\":[{\"value\":\"x\"}]}]", "none of human, gpt, system"},
        {"[{\"conversations\":[{\"from\":7,\"value\":\"x\"}]}]", "none of human, gpt, system"},
        {"[{\"conversations\":[{\"from\":\"human\",\"value\":[\"x\"]},{\"from\":\"gpt\",\"value\":\"y\"}]}]", "no text"},
        {"[{\"conversations\":[{\"from\":\"human\",\"value\":\"x\"}]}]", "no human turn with an answer"},
        {"[{\"conversations\":[{\"from\":\"gpt\",\"value\":\"x\"}]}]", "no human turn with an answer"},
        {"[{\"conversations\":[{\"from\":\"human\",\"value\":\"x\"},{\"from\":\"gpt\",\"value\":\"y\"},{\"from\":\"human\",\"value\":\"z\"}]}]", "last turn"},
        {"[{\"conversations\":[{\"from\":\"human\",\"value\":\"x\"},{\"from\":\"gpt\",\"value\":\"y\"},{\"from\":\"gpt\",\"value\":\"z\"}]}]", "two assistant turns"},
        {"[{\"conversations\":[{\"from\":\"human\",\"value\":\"x\"},{\"from\":\"system\",\"value\":\"y\"},{\"from\":\"gpt\",\"value\":\"z\"}]}]", "system turn"},
        {"[{\"image\":7," TURNS "}]", "file name"},
        {"[{\"image\":{}," TURNS "}]", "file name"},
        {"[{\"image\":[7]," TURNS "}]", "file name"},
        {"[{\"image\":[\"\"]," TURNS "}]", "leaves the picture folder"},
        {"[{\"image\":\"/etc/passwd\"," TURNS "}]", "leaves the picture folder"},
        {"[{\"image\":\"a/../../b.jpg\"," TURNS "}]", "leaves the picture folder"},
        {"[{\"image\":[\"a.jpg\",\"b.jpg\"]," TURNS "}]", "2 picture(s) but 1 \"<image>\""},
        {"[{\"image\":\"a\",\"conversations\":[{\"from\":\"human\",\"value\":\"What <<image>image>\"},{\"from\":\"gpt\",\"value\":\"A\"}]}]", "within"},
        {"[]", "no samples"},
        {"\n", "empty"},
    };
#undef TURNS
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_dataset *d;
        FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = write_text("t.json", cases[i].json)}, &err), OC_ERR_FORMAT, cases[i].error);
        assert_null(d);
    }
    oc_dataset *d;
    FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = in_folder("absent.json")}, &err), OC_ERR_IO, "absent.json");
    oc_strbuf many = {0};
    oc_strbuf_puts(&many, "[{\"image\":[");
    for (int i = 0; i < 257; i++) oc_strbuf_printf(&many, "%s\"a.jpg\"", i ? "," : "");
    oc_strbuf_puts(&many, "],\"conversations\":[{}]}]");
    FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = write_text("t.json", many.data)}, &err), OC_ERR_FORMAT, "more than 256 pictures");
    oc_strbuf_clear(&many);
    oc_strbuf_puts(&many, "[{\"conversations\":[");
    for (int i = 0; i < 4097; i++) oc_strbuf_printf(&many, "%s{}", i ? "," : "");
    oc_strbuf_puts(&many, "]}]");
    FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = write_text("t.json", many.data)}, &err), OC_ERR_FORMAT, "more than 4096 turns");
    oc_strbuf_free(&many);
}

/* The line and number of the record, in both layouts of a file. */
static void errors_name_the_place(void **state) {
    OC_UNUSED(state);
    const char *good = "{\"conversations\":[{\"from\":\"human\",\"value\":\"x\"},\n{\"from\":\"gpt\",\"value\":\"y\"}]}";
    oc_strbuf b = {0};
    oc_dataset *d;
    oc_strbuf_printf(&b, "[\n%s,\n\n%s,\n {\"conversations\":[]},\n%s]", good, good, good);
    FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = write_text("t.json", b.data)}, &err), OC_ERR_FORMAT, "t.json:7: record 2: ");
    oc_strbuf_clear(&b);
    oc_strbuf_printf(&b, "%s\n%s\n\n{\"conversations\":[]}\n", good, good);
    FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = write_text("t.json", b.data)}, &err), OC_ERR_FORMAT, "t.json:6: record 2: ");
    oc_strbuf_free(&b);
}

static void out_of_memory(void **state) {
    OC_UNUSED(state);
    oc_dataset_options opt = {.prompt_suffix = "\nGo.", .json = write_text("t.json",
        "[{\"id\":\"a\",\"image\":[\"1.jpg\",\"2.jpg\"],\"conversations\":[{\"from\":\"system\",\"value\":\"S\"},{\"from\":\"human\",\"value\":\"So <image>\"},"
        "{\"from\":\"gpt\",\"value\":\"A\"},{\"from\":\"human\",\"value\":\"And <image>\"},{\"from\":\"gpt\",\"value\":\"B\"}]}]"), .sampling = "random:1"};
    for (long n = 0;; n++) {
        oc_dataset *d;
        oc_alloc_fail_after(n);
        oc_status st = oc_dataset_open(&d, &opt, &err);
        oc_alloc_fail_after(-1);
        if (st == OC_OK) {
            assert_true(n > 10);
            oc_dataset_close(d);
            break;
        }
        assert_int_equal(st, OC_ERR_NOMEM);
        assert_null(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations),
        cmocka_unit_test(where_the_picture_stands),
        cmocka_unit_test(suffix_and_repair),
        cmocka_unit_test(leading_answers_are_dropped),
        cmocka_unit_test(lines_equal_array),
        cmocka_unit_test(malformed_files),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(refused_records),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
