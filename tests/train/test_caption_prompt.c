/* What a stage's data ask for captions with: oc_mixture_caption_prompt over data sets of every kind of question. */
#include "runs.h"

#include "train/setup.h"

static oc_error err;

/* Writes a LLaVA file with a sample for each question, which has one answer. */
static void write_questions(const char *name, const char *const *question, int n) {
    char path[256];
    runs_path(path, "data", name);
    json_t *all = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(all, json_pack("{s:s, s:s, s:[{s:s, s:s}, {s:s, s:s}]}", "id", "x", "image", "images/000000.png",
                                             "conversations", "from", "human", "value", question[i], "from", "gpt", "value", "a thing"));
    assert_int_equal(json_dump_file(all, path, 0), 0);
    json_decref(all);
}

/* What is found for a stage with these data sets. */
static const char *found(const char *datasets) {
    static char out[OC_CAPTION_PROMPT_SIZE];
    char text[2048], path[256];
    oc_recipe r;
    oc_mixture m;
    snprintf(text, sizeof text, RUN_HEAD RUN_NEW "stages:\n  - {name: a, steps: 1, train: {lm: 1e-3}, datasets: [%s]}\n", datasets);
    runs_path(path, "recipe.yaml", "");
    small_ok(oc_recipe_parse(&r, text, strlen(text), path, NULL, 0, &err), &err);
    const oc_list *list = &oc_recipe_stage_at(&r, 0)->datasets;
    small_ok(oc_mixture_open(&m, list, 1, &err), &err);
    const char *prompt = oc_mixture_caption_prompt(&m, list);
    snprintf(out, sizeof out, "%s", prompt ? prompt : "none");
    oc_mixture_close(&m);
    oc_recipe_close(&r);
    return out;
}

static void the_question_of_most(void **state) {
    OC_UNUSED(state);
    write_questions("most.json", (const char *[]){"<image>\nWhat?", "<image>\nDescribe.", "Describe.\n<image>", "<image>\nWho?", "<image>\n Describe."}, 5);
    write_questions("half.json", (const char *[]){"<image>\nA", "<image>\nB", "<image>\nA", "<image>\nC"}, 4);
    write_questions("inside.json", (const char *[]){"Is <image> good?", "Is <image> good?"}, 2);
    write_questions("blank.json", (const char *[]){"<image>\n", "<image>"}, 2);
    assert_string_equal(found("{json: data/most.json}"), "Describe.");
    assert_string_equal(found("{json: data/half.json}"), "none");
    assert_string_equal(found("{json: data/inside.json}"), "Is  good?"); /* as LLaVA's rule writes it: the picture comes first */
    assert_string_equal(found("{json: data/blank.json}"), "none");
}

static void the_first_data_set_that_has_one(void **state) {
    OC_UNUSED(state);
    assert_string_equal(found("{json: data/half.json}, {json: data/human.json}, {json: data/recap.json}"), OC_SCENE_PROMPT_HUMAN);
    assert_string_equal(found("{json: data/recap.json}, {json: data/human.json}"), OC_SCENE_PROMPT_RECAP);
    assert_string_equal(found("{kind: coco, json: data/captions_coco.json}"), OC_CAPTION_PROMPT);
    assert_string_equal(found("{kind: coco, json: data/captions_coco.json, prompt: Say it.}"), "Say it.");
}

static void questions_are_no_captions(void **state) {
    OC_UNUSED(state);
    char path[256];
    runs_path(path, "data", "one.jsonl");
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 3; i++) fputs("{\"image\": \"images/000000.png\", \"question\": \"Is it ill?\", \"answer\": \"no\"}\n", f);
    fclose(f);
    assert_string_equal(found("{kind: vqa, json: data/one.jsonl}"), "none");
    assert_string_equal(found("{json: data/qa.json}"), "none"); /* conversations of several questions */
    assert_string_equal(found("{kind: vqa, json: data/one.jsonl}, {json: data/recap.json}"), OC_SCENE_PROMPT_RECAP);
}

static void too_long_is_none(void **state) {
    OC_UNUSED(state);
    static const char place[] = "<image>\n";
    enum { AT = sizeof place - 1 };
    char text[AT + OC_CAPTION_PROMPT_SIZE + 1];
    memcpy(text, place, AT);
    memset(text + AT, 'a', OC_CAPTION_PROMPT_SIZE);
    text[AT + OC_CAPTION_PROMPT_SIZE] = 0;
    write_questions("long.json", (const char *[]){text}, 1);
    assert_string_equal(found("{json: data/long.json}, {json: data/recap.json}"), "none");
    text[AT + OC_CAPTION_PROMPT_SIZE - 1] = 0;
    write_questions("long.json", (const char *[]){text}, 1);
    assert_string_equal(found("{json: data/long.json}, {json: data/recap.json}"), text + AT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_question_of_most),
        cmocka_unit_test(the_first_data_set_that_has_one),
        cmocka_unit_test(questions_are_no_captions),
        cmocka_unit_test(too_long_is_none),
    };
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
