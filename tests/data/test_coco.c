/* Caption and question files: COCO, Karpathy's splits, VQA JSON lines. */
#include "data/dataset_files.h"

#define PROMPT "<image>\nProvide a one-sentence caption for the provided image."

static void assert_pair(const oc_dataset *d, size_t i, const char *id, const char *image, const char *question, const char *answer, const char *type) {
    oc_sample s;
    oc_dataset_sample(d, i, &s);
    assert_string_equal(s.id, id);
    assert_int_equal(s.n_images, 1);
    assert_string_equal(s.image[0], image);
    assert_int_equal(s.n_turns, 2);
    assert_false(s.turn[0].assistant);
    assert_true(s.turn[1].assistant);
    assert_string_equal(s.turn[0].text, question);
    assert_string_equal(s.turn[1].text, answer);
    assert_null(s.system);
    if (type) assert_string_equal(s.question_type, type);
    else assert_null(s.question_type);
}

static oc_dataset *open_kind(oc_dataset_options opt, const char *json) {
    oc_dataset *d;
    opt.json = write_text("t.json", json);
    OK(oc_dataset_open(&d, &opt, &err));
    return d;
}

static const char COCO[] =
    "{\"info\":{},\"images\":[{\"id\":30,\"file_name\":\"c.jpg\",\"height\":1},{\"id\":4,\"file_name\":\"d/a.jpg\"},{\"id\":\"x1\",\"file_name\":\"b.jpg\"}],"
    "\"annotations\":[{\"id\":1,\"image_id\":4,\"caption\":\"A cat.\"},{\"id\":2,\"image_id\":30,\"caption\":\"A DOG\\nruns\"},"
    "{\"id\":3,\"image_id\":4,\"caption\":\"One <image> cat\"},{\"id\":9,\"image_id\":\"x1\",\"caption\":\"\"}]}";

static void coco(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_kind((oc_dataset_options){.kind = OC_DATASET_COCO}, COCO);
    assert_int_equal(oc_dataset_count(d), 4);
    assert_pair(d, 0, "4", "d/a.jpg", PROMPT, "A cat.", NULL);
    assert_pair(d, 1, "30", "c.jpg", PROMPT, "A DOG\nruns", NULL);
    assert_pair(d, 2, "4", "d/a.jpg", PROMPT, "One <image> cat", NULL);
    assert_pair(d, 3, "x1", "b.jpg", PROMPT, "", NULL);
    oc_dataset_close(d);
    d = open_kind((oc_dataset_options){.kind = OC_DATASET_COCO, .prompt = "Describe it.", .prompt_suffix = " Now.", .lowercase = true}, COCO);
    assert_pair(d, 1, "30", "c.jpg", "<image>\nDescribe it. Now.", "a dog\nruns", NULL);
    oc_dataset_close(d);
}

static const char KARPATHY[] =
    "{\"dataset\":\"coco\",\"images\":["
    "{\"filename\":\"1.jpg\",\"filepath\":\"train2014\",\"cocoid\":11,\"imgid\":0,\"split\":\"train\",\"sentences\":[{\"raw\":\"T1\",\"tokens\":[\"t\"]},{\"raw\":\"T2\"}]},"
    "{\"filename\":\"2.jpg\",\"filepath\":\"val2014\",\"cocoid\":12,\"imgid\":1,\"split\":\"restval\",\"sentences\":[{\"raw\":\"R1\"}]},"
    "{\"filename\":\"3.jpg\",\"imgid\":2,\"split\":\"test\",\"sentences\":[{\"raw\":\"X1\"},{\"raw\":\"X2\"}]},"
    "{\"filename\":\"4.jpg\",\"imgid\":3,\"split\":\"val\",\"sentences\":[{\"raw\":\"V1\"}]}]}";

static void karpathy(void **state) {
    OC_UNUSED(state);
    oc_dataset_options opt = {.kind = OC_DATASET_KARPATHY, .split = "train"};
    oc_dataset *d = open_kind(opt, KARPATHY); /* with restval */
    assert_int_equal(oc_dataset_count(d), 3);
    assert_pair(d, 0, "11", "train2014/1.jpg", PROMPT, "T1", NULL);
    assert_pair(d, 1, "11", "train2014/1.jpg", PROMPT, "T2", NULL);
    assert_pair(d, 2, "12", "val2014/2.jpg", PROMPT, "R1", NULL);
    oc_dataset_close(d);
    opt.split = "test";
    d = open_kind(opt, KARPATHY);
    assert_int_equal(oc_dataset_count(d), 2);
    assert_pair(d, 1, "2", "3.jpg", PROMPT, "X2", NULL);
    oc_dataset_close(d);
    opt.split = NULL;
    d = open_kind(opt, KARPATHY);
    assert_int_equal(oc_dataset_count(d), 6);
    oc_dataset_close(d);
    opt.split = "dev";
    opt.json = in_folder("t.json");
    FAILS(oc_dataset_open(&d, &opt, &err), OC_ERR_FORMAT, "no samples");
}

static const char VQA[] =
    "{\"question_id\":5,\"image\":\"a.jpg\",\"question\":\"Is it?\",\"answer\":\"yes\"}\n"
    "{\"question_id\":\"q\",\"image\":\"a.jpg\",\"question\":\"What?\",\"answer\":\"Liver\",\"type\":\"organ\"}\n"
    "{\"image\":\"b.jpg\",\"question\":\"Who?\",\"answers\":[\"me\",\"you\"]}\n"
    "{\"image\":\"b.jpg\",\"question\":\"Or?\",\"answers\":[\"No\"]}\n";

static void vqa(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_kind((oc_dataset_options){.kind = OC_DATASET_VQA, .prompt_suffix = "\nAnswer with one word."}, VQA);
    assert_int_equal(oc_dataset_count(d), 4);
    assert_pair(d, 0, "5", "a.jpg", "<image>\nIs it?\nAnswer with one word.", "yes", "yesno");
    assert_pair(d, 1, "q", "a.jpg", "<image>\nWhat?\nAnswer with one word.", "Liver", "organ");
    assert_pair(d, 2, "#2", "b.jpg", "<image>\nWho?\nAnswer with one word.", "me", "open");
    assert_pair(d, 3, "#3", "b.jpg", "<image>\nOr?\nAnswer with one word.", "No", "yesno");
    oc_dataset_close(d);
}

/* As BLIP publishes the splits. */
static void caption_list(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_kind((oc_dataset_options){.kind = OC_DATASET_CAPTION_LIST},
        "[{\"image\":\"val2014/COCO_val2014_000000391895.jpg\",\"caption\":[\"A man\",\"A bike\"]},"
        "{\"image\":\"flickr30k-images/1007129816.jpg\",\"caption\":\"One\"},{\"image\":\"COCO_x_000.jpg\",\"image_id\":9,\"caption\":[\"z\"]}]");
    assert_int_equal(oc_dataset_count(d), 4);
    assert_pair(d, 0, "391895", "val2014/COCO_val2014_000000391895.jpg", PROMPT, "A man", NULL);
    assert_pair(d, 1, "391895", "val2014/COCO_val2014_000000391895.jpg", PROMPT, "A bike", NULL);
    assert_pair(d, 2, "1007129816", "flickr30k-images/1007129816.jpg", PROMPT, "One", NULL);
    assert_pair(d, 3, "9", "COCO_x_000.jpg", PROMPT, "z", NULL);
    oc_dataset_close(d);
}

static const char VQAV2_QUESTIONS[] =
    "{\"info\":{\"a\":[1]},\"data_subtype\":\"val2014\",\"questions\":[{\"image_id\":262148,\"question\":\"Where?\",\"question_id\":262148000},"
    "{\"image_id\":\"5\",\"question\":\"Is it?\",\"question_id\":\"5\"}]}";
static const char VQAV2_ANSWERS[] =
    "{\"annotations\":[{\"question_id\":5,\"answer_type\":\"yes/no\",\"multiple_choice_answer\":\"no\",\"answers\":[{\"answer\":\"yes\"},{\"answer\":\"no\"}]},"
    "{\"question_id\":262148000,\"answers\":[{\"answer\":\"down\"}]}]}";

static void vqav2(void **state) {
    OC_UNUSED(state);
    oc_sample s;
    oc_dataset_options opt = {.kind = OC_DATASET_VQAV2, .annotations = write_text("a.json", VQAV2_ANSWERS)};
    opt.annotations = strdup(opt.annotations);
    oc_dataset *d = open_kind(opt, VQAV2_QUESTIONS);
    assert_int_equal(oc_dataset_count(d), 2);
    assert_pair(d, 0, "262148000", "COCO_val2014_000000262148.jpg", "<image>\nWhere?", "down", NULL);
    assert_pair(d, 1, "5", "COCO_val2014_000000000005.jpg", "<image>\nIs it?", "no", "yes/no");
    oc_dataset_sample(d, 1, &s);
    assert_int_equal(s.n_answers, 2);
    assert_string_equal(s.answer[0], "yes");
    assert_string_equal(s.answer[1], "no");
    oc_dataset_close(d);
    static const struct {
        const char *questions, *error;
    } cases[] = {
        {"{\"questions\":[{\"image_id\":1,\"question\":\"Q\",\"question_id\":6}]}", "question_id 6 has no answers in"},
        {"{\"questions\":[{\"image_id\":1,\"question_id\":5}]}", "questions[0]: no \"question\""},
        {"{\"questions\":[{\"image_id\":1,\"question\":\"Q\"}]}", "questions[0]: no \"question_id\""},
        {"{\"questions\":[{\"question\":\"Q\",\"question_id\":5}]}", "questions[0]: no \"image_id\""},
        {"{\"questions\":[{\"image\":\"../a\",\"question\":\"Q\",\"question_id\":5}]}", "leaves the picture folder"},
        {"{}", "list \"questions\""},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        opt.json = write_text("t.json", cases[i].questions);
        FAILS(oc_dataset_open(&d, &opt, &err), OC_ERR_FORMAT, cases[i].error);
    }
    free((void *)(uintptr_t)opt.annotations);
    opt.annotations = NULL;
    FAILS(oc_dataset_open(&d, &opt, &err), OC_ERR_ARG, "answers is missing");
}

static void pathvqa(void **state) {
    OC_UNUSED(state);
    oc_dataset_options opt = {.kind = OC_DATASET_PATHVQA};
    oc_dataset *d = open_kind(opt,
        "[{\"image\":\"test_0273\",\"question\":\"What?\",\"answer\":\"in the liver\"},"
        "{\"img_id\":\"test_0001\",\"sent\":\"Is it?\",\"label\":{\"no\":0.3,\"yes\":1},\"question_id\":77,\"answer_type\":\"yes/no\"},"
        "{\"Image_ID\":\"Fig.1\",\"Questions\":[\"Q1?\",\"Q2?\"],\"Answers\":[\"A1\",2]},"
        "{\"Image_ID\":9,\"Questions\":\"Q3?\",\"Answers\":\"No\"},"
        "{\"id\":\"v\",\"image\":\"v.jpg\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nWho?\"},{\"from\":\"gpt\",\"value\":\"me\"},"
        "{\"from\":\"human\",\"value\":\"Really?\"},{\"from\":\"gpt\",\"value\":\"yes\"}]}]");
    assert_int_equal(oc_dataset_count(d), 7);
    assert_pair(d, 0, "#0", "test_0273.jpg", "<image>\nWhat?", "in the liver", "open");
    assert_pair(d, 1, "77", "test_0001.jpg", "<image>\nIs it?", "yes", "yes/no");
    assert_pair(d, 2, "#2_0", "Fig.1", "<image>\nQ1?", "A1", "open");
    assert_pair(d, 3, "#2_1", "Fig.1", "<image>\nQ2?", "2", "open");
    assert_pair(d, 4, "#3", "9.jpg", "<image>\nQ3?", "No", "yes/no");
    assert_pair(d, 5, "v_0", "v.jpg", "<image>\nWho?", "me", "open");
    assert_pair(d, 6, "v_1", "v.jpg", "<image>\nReally?", "yes", "yes/no");
    oc_dataset_close(d);
    static const char *const cases[][2] = {
        {"[7]", "no picture, question or answer"},
        {"[{\"image\":\"a\",\"question\":\"Q\"}]", "record 0: no picture, question or answer"},
        {"[{\"image\":\"../a\",\"question\":\"Q\",\"answer\":\"A\"}]", "leaves the picture folder"},
        {"[{\"image\":\"a\",\"question\":[\"Q\",\"R\"],\"answer\":[\"A\"]}]", "question 1 or its answer is no text"},
        {"[{\"image\":\"a\",\"question\":\"Q\",\"answer\":true}]", "question 0 or its answer is no text"},
        {"[{\"image\":\"a\",\"conversations\":[{\"value\":1},{}]}]", "turn 0 is no text"},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        opt.json = write_text("t.json", cases[i][0]);
        FAILS(oc_dataset_open(&d, &opt, &err), OC_ERR_FORMAT, cases[i][1]);
    }
}

static void types_choose_questions(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_kind((oc_dataset_options){.kind = OC_DATASET_VQA, .types = "yesno"}, VQA);
    assert_int_equal(oc_dataset_count(d), 2);
    assert_pair(d, 0, "5", "a.jpg", "<image>\nIs it?", "yes", "yesno");
    assert_pair(d, 1, "#3", "b.jpg", "<image>\nOr?", "No", "yesno");
    oc_dataset_close(d);
    d = open_kind((oc_dataset_options){.kind = OC_DATASET_VQA, .types = "open,organ"}, VQA);
    assert_int_equal(oc_dataset_count(d), 2);
    oc_dataset_close(d);
    static const char *const none[] = {"yes", "yesno2", "", ",", "yesno,"};
    for (size_t i = 0; i < OC_COUNT(none); i++) {
        oc_dataset_options opt = {.kind = OC_DATASET_VQA, .types = none[i], .json = in_folder("t.json")};
        if (i == 4) {
            OK(oc_dataset_open(&d, &opt, &err));
            assert_int_equal(oc_dataset_count(d), 2);
            oc_dataset_close(d);
        } else FAILS(oc_dataset_open(&d, &opt, &err), OC_ERR_FORMAT, "\"types\"");
    }
}

static void refused(void **state) {
    OC_UNUSED(state);
    static const struct {
        oc_dataset_kind kind;
        const char *json, *error;
    } cases[] = {
        {OC_DATASET_COCO, "[]", "lists \"images\" and \"annotations\""},
        {OC_DATASET_COCO, "{\"images\":[]}", "lists \"images\" and \"annotations\""},
        {OC_DATASET_COCO, "{\"images\":[],\"annotations\":[]}", "no samples"},
        {OC_DATASET_COCO, "{\"images\":[{\"file_name\":\"a.jpg\"}],\"annotations\":[]}", "images[0]: no \"id\""},
        {OC_DATASET_COCO, "{\"images\":[{\"id\":1}],\"annotations\":[]}", "images[0]: no \"file_name\""},
        {OC_DATASET_COCO, "{\"images\":[7],\"annotations\":[]}", "images[0]"},
        {OC_DATASET_COCO, "{\"images\":[{\"id\":1,\"file_name\":\"../a.jpg\"}],\"annotations\":[]}", "inside the picture folder"},
        {OC_DATASET_COCO, "{\"images\":[{\"id\":1,\"file_name\":\"a.jpg\"}],\"annotations\":[{\"image_id\":1}]}", "annotations[0]: no \"caption\""},
        {OC_DATASET_COCO, "{\"images\":[{\"id\":1,\"file_name\":\"a.jpg\"}],\"annotations\":[{\"caption\":\"x\"}]}", "annotations[0]: no \"image_id\""},
        {OC_DATASET_COCO, "{\"images\":[{\"id\":1,\"file_name\":\"a.jpg\"}],\"annotations\":[{\"image_id\":2,\"caption\":\"x\"}]}", "not among the images"},
        {OC_DATASET_COCO, "{", "t.json:1:"},
        {OC_DATASET_KARPATHY, "{}", "list \"images\""},
        {OC_DATASET_KARPATHY, "{\"images\":[{\"imgid\":1,\"sentences\":[]}]}", "images[0]: no \"filename\""},
        {OC_DATASET_KARPATHY, "{\"images\":[{\"imgid\":1,\"filename\":\"a.jpg\"}]}", "images[0]: no list \"sentences\""},
        {OC_DATASET_KARPATHY, "{\"images\":[{\"imgid\":1,\"filename\":\"a.jpg\",\"sentences\":[{}]}]}", "\"raw\""},
        {OC_DATASET_KARPATHY, "{\"images\":[{\"filename\":\"a.jpg\",\"sentences\":[]}]}", "neither \"cocoid\" nor \"imgid\""},
        {OC_DATASET_KARPATHY, "{\"images\":[{\"imgid\":1,\"filename\":\"a.jpg\",\"filepath\":\"..\",\"sentences\":[]}]}", "leaves the picture folder"},
        {OC_DATASET_VQA, "{\"image\":\"a.jpg\",\"question\":\"Q\"}", "t.json:1: record 0: "},
        {OC_DATASET_VQA, "\n\n{\"image\":\"/a.jpg\",\"question\":\"Q\",\"answer\":\"A\"}", "t.json:3: record 0: "},
        {OC_DATASET_VQA, "{\"image\":\"a.jpg\",\"question\":\"Q\",\"answers\":[]}", "(or \"answers\")"},
        {OC_DATASET_VQA, "[7]", "\"image\", \"question\""},
        {OC_DATASET_VQA, "{\"image\":\"a.jpg\",\"question\":\"<image> Q\",\"answer\":\"A\"}", "in front by itself"},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_dataset *d;
        FAILS(oc_dataset_open(&d, &(oc_dataset_options){.kind = cases[i].kind, .json = write_text("t.json", cases[i].json)}, &err), OC_ERR_FORMAT, cases[i].error);
        assert_null(d);
    }
    /* An id that does not fit is not cut. */
    oc_strbuf b = {0};
    oc_dataset *d;
    oc_strbuf_printf(&b, "{\"images\":[{\"id\":\"%0100d\",\"file_name\":\"a.jpg\"}],\"annotations\":[]}", 1);
    FAILS(oc_dataset_open(&d, &(oc_dataset_options){.kind = OC_DATASET_COCO, .json = write_text("t.json", b.data)}, &err), OC_ERR_FORMAT, "no \"id\"");
    oc_strbuf_free(&b);
}

static void out_of_memory(void **state) {
    OC_UNUSED(state);
    static const struct {
        oc_dataset_kind kind;
        const char *json;
    } cases[] = {{OC_DATASET_COCO, COCO},
                 {OC_DATASET_KARPATHY, KARPATHY},
                 {OC_DATASET_VQA, "{\"image\":\"a.jpg\",\"question\":\"Q\",\"answer\":\"A\"}"},
                 {OC_DATASET_PATHVQA, "{\"image\":\"a\",\"question\":\"Q\",\"answer\":\"A\"}"},
                 {OC_DATASET_CAPTION_LIST, "{\"image\":\"a\",\"caption\":\"A\"}"},
                 {OC_DATASET_VQAV2, VQAV2_QUESTIONS}};
    char *answers = strdup(write_text("a.json", VQAV2_ANSWERS));
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_dataset_options opt = {
            .kind = cases[i].kind, .json = write_text("t.json", cases[i].json), .annotations = answers};
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
    free(answers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coco), cmocka_unit_test(karpathy), cmocka_unit_test(vqa), cmocka_unit_test(types_choose_questions), cmocka_unit_test(caption_list), cmocka_unit_test(vqav2), cmocka_unit_test(pathvqa), cmocka_unit_test(refused), cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
