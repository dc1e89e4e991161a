/* Question files: VQA JSON lines, the official VQA v2 pair of files, and PathVQA in the forms in which it is found. Each
 * becomes conversations with one human turn, "<image>\n" and the question, and one answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/dataset_internal.h"

/* ---- VQA: {"image", "question", "answer" | "answers": [...], "type"?} ---------------------------------------------- */

/* An element of "answers": a text, or as the official files have it an object that holds one. */
static const char *answer_text(const json_t *a) {
    return json_string_value(json_is_object(a) ? json_object_get(a, "answer") : a);
}

/* What is trained on. */
static const char *first_answer(const json_t *o) {
    const json_t *a = json_object_get(o, "answer");
    return a ? json_string_value(a) : answer_text(json_array_get(json_object_get(o, "answers"), 0));
}

/* What an evaluation compares with. */
static oc_status add_answers(oc_dataset *d, const json_t *list, size_t index, int line, oc_error *err) {
    size_t i;
    const json_t *a;
    json_array_foreach((json_t *)(uintptr_t)list, i, a) {
        const char *text = answer_text(a);
        if (!text)
            return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: answers[%zu] is no text", d->opt.json, line, index,
                           i);
        OC_TRY(oc_dataset_add_answer(d, text, err));
    }
    return OC_OK;
}

static bool is_yes_no(const char *s) {
    static const char *const words[] = {"yes", "no", "Yes", "No", "YES", "NO"};
    for (size_t i = 0; i < OC_COUNT(words); i++)
        if (!strcmp(s, words[i])) return true;
    return false;
}

static oc_status read_vqa_record(oc_dataset *d, size_t index, int line, const json_t *o, void *ctx, oc_error *err) {
    OC_UNUSED(ctx);
    char id[OC_JSON_ID];
    const char *image = json_string_value(json_object_get(o, "image")),
               *question = json_string_value(json_object_get(o, "question")), *answer = first_answer(o),
               *type = json_string_value(json_object_get(o, "type"));
    if (!image || !question || !answer)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s:%d: record %zu: \"image\", \"question\" and \"answer\" (or \"answers\") must be there",
                       d->opt.json, line, index);
    if (!oc_path_is_contained(image))
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: the picture's name leaves the picture folder",
                       d->opt.json, line, index);
    if (!oc_json_id(json_object_get(o, "question_id"), id)) snprintf(id, sizeof id, "#%zu", index);
    OC_TRY(oc_dataset_add_pair(d, id, image, question, answer,
                               type                ? type
                               : is_yes_no(answer) ? "yesno"
                                                   : "open",
                               err));
    return add_answers(d, json_object_get(o, "answers"), index, line, err);
}

oc_status oc_dataset_read_vqa(oc_dataset *d, oc_error *err) {
    return oc_dataset_each(d, d->opt.json, NULL, NULL, read_vqa_record, NULL, err);
}

/* ---- VQA v2: {"questions": [{"image_id", "question", "question_id"}]} and
 *      {"annotations": [{"question_id", "answers": [{"answer"}], "answer_type", "multiple_choice_answer"}]} ------------- */

typedef struct annotation {
    const char *id, *type, *best; /* best: the answer that most people gave */
    size_t first;                 /* of `answer` in the table */
    int n;
} annotation;

typedef struct annotation_table {
    annotation *at;
    const char **answer;
    size_t n, capacity, n_answers, answer_capacity;
} annotation_table;

static int by_question(const void *a, const void *b) {
    return strcmp(((const annotation *)a)->id, ((const annotation *)b)->id);
}

static bool more(void **array, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return true;
    size_t wanted = *capacity ? *capacity * 2 : 1024;
    void *p = oc_realloc(*array, n * size, wanted * size);
    if (!p) return false;
    *array = p;
    *capacity = wanted;
    return true;
}

static oc_status add_annotation(oc_dataset *d, size_t i, int line, const json_t *o, void *ctx, oc_error *err) {
    OC_UNUSED(line);
    annotation_table *t = ctx;
    const char *file = d->opt.annotations, *type = json_string_value(json_object_get(o, "answer_type")),
               *best = json_string_value(json_object_get(o, "multiple_choice_answer"));
    char id[OC_JSON_ID];
    const json_t *answers = json_object_get(o, "answers"), *a;
    size_t k;
    if (!oc_json_id(json_object_get(o, "question_id"), id))
        return oc_dataset_fail_item(err, file, "annotations", i, "no \"question_id\"");
    if (json_array_size(answers) == 0) return oc_dataset_fail_item(err, file, "annotations", i, "no \"answers\"");
    if (!more((void **)&t->at, t->n, &t->capacity, sizeof *t->at)) goto no_memory;
    annotation *to = &t->at[t->n];
    *to = (annotation){.first = t->n_answers, .n = (int)json_array_size(answers)};
    json_array_foreach((json_t *)(uintptr_t)answers, k, a) {
        const char *text = answer_text(a);
        if (!text) return oc_dataset_fail_item(err, file, "annotations", i, "an answer is no text");
        if (!more((void **)&t->answer, t->n_answers, &t->answer_capacity, sizeof *t->answer)) goto no_memory;
        if (!(t->answer[t->n_answers++] = oc_dataset_store(d, text, strlen(text)))) goto no_memory;
    }
    to->id = oc_dataset_store(d, id, strlen(id));
    to->type = type ? oc_dataset_store(d, type, strlen(type)) : NULL;
    to->best = best ? oc_dataset_store(d, best, strlen(best)) : t->answer[to->first];
    if (!to->id || (type && !to->type) || !to->best) goto no_memory;
    t->n++;
    return OC_OK;
no_memory:
    return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory for the answers", file);
}

/* "val2014" from a name like v2_OpenEnded_mscoco_val2014_questions.json. */
static const char *subset_of(const char *file) {
    static const char *const names[] = {"train2014", "val2014", "test2015"};
    for (size_t i = 0; i < OC_COUNT(names); i++)
        if (strstr(oc_path_base(file), names[i])) return names[i];
    return "val2014";
}

static oc_status add_question(oc_dataset *d, size_t i, int line, const json_t *o, void *ctx, oc_error *err) {
    OC_UNUSED(line);
    const annotation_table *t = ctx;
    char id[OC_JSON_ID], image[OC_JSON_ID + 64], number[OC_JSON_ID];
    const char *question = json_string_value(json_object_get(o, "question")),
               *name = json_string_value(json_object_get(o, "image"));
    if (!oc_json_id(json_object_get(o, "question_id"), id))
        return oc_dataset_fail_item(err, d->opt.json, "questions", i, "no \"question_id\"");
    if (!question) return oc_dataset_fail_item(err, d->opt.json, "questions", i, "no \"question\"");
    if (name)
        snprintf(image, sizeof image, "%s", name);
    else if (!oc_json_id(json_object_get(o, "image_id"), number))
        return oc_dataset_fail_item(err, d->opt.json, "questions", i, "no \"image_id\"");
    else
        snprintf(image, sizeof image, "COCO_%s_%012lld.jpg", subset_of(d->opt.json), strtoll(number, NULL, 10));
    if (!oc_path_is_contained(image))
        return oc_dataset_fail_item(err, d->opt.json, "questions", i, "the picture's name leaves the picture folder");
    const annotation *a = t->n ? bsearch(&(annotation){.id = id}, t->at, t->n, sizeof *a, by_question) : NULL;
    if (!a)
        return oc_fail(err, OC_ERR_FORMAT, "%s: questions[%zu]: question_id %s has no answers in %s", d->opt.json, i,
                       id, d->opt.annotations);
    OC_TRY(oc_dataset_add_pair(d, id, image, question, a->best, a->type, err));
    for (int k = 0; k < a->n; k++) OC_TRY(oc_dataset_add_answer(d, t->answer[a->first + (size_t)k], err));
    return OC_OK;
}

oc_status oc_dataset_read_vqav2(oc_dataset *d, oc_error *err) {
    annotation_table t = {0};
    bool found = false;
    oc_status st =
        d->opt.annotations ? OC_OK : oc_fail(err, OC_ERR_ARG, "%s: the file with the answers is missing", d->opt.json);
    if (st == OC_OK) st = oc_dataset_each(d, d->opt.annotations, "annotations", &found, add_annotation, &t, err);
    if (st == OC_OK && !found)
        st = oc_fail(err, OC_ERR_FORMAT, "%s: VQA v2 answers have the list \"annotations\"", d->opt.annotations);
    if (st == OC_OK && t.n) qsort(t.at, t.n, sizeof *t.at, by_question);
    if (st == OC_OK) st = oc_dataset_each(d, d->opt.json, "questions", &found, add_question, &t, err);
    if (st == OC_OK && !found)
        st = oc_fail(err, OC_ERR_FORMAT, "%s: VQA v2 questions have the list \"questions\"", d->opt.json);
    oc_free(t.at);
    oc_free(t.answer);
    return st;
}

/* ---- PathVQA --------------------------------------------------------------------------------------------------------
 * Four forms of record: {"image", "question", "answer"} (also the published pickles, written as JSON), {"img_id", "sent",
 * "label": {answer: score}} (the published baseline), {"Image_ID", "Questions", "Answers"} (texts or lists of them), and
 * conversations. Pictures are named without ".jpg" in most of them. */

/* The text of a value: numbers are taken as they are written ("answer": 3). */
static const char *text_of(const json_t *v, char number[32]) {
    if (json_is_integer(v)) return snprintf(number, 32, "%lld", (long long)json_integer_value(v)), number;
    return json_string_value(v);
}

static const json_t *first_of(const json_t *o, const char *a, const char *b, const char *c) {
    const char *const key[] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        const json_t *v = key[i] ? json_object_get(o, key[i]) : NULL;
        if (v && !json_is_null(v)) return v;
    }
    return NULL;
}

/* The label with the highest score. */
static const char *best_label(const json_t *label) {
    const char *key, *best = NULL;
    const json_t *v;
    double score = 0;
    json_object_foreach((json_t *)(uintptr_t)label, key, v) if (!best || json_number_value(v) > score)
        best = key,
        score = json_number_value(v);
    return best;
}

/* A type as the files spell it ("yes/no", "other") says less than the answer: the protocol's split is by that. */
static oc_status add_pathvqa(oc_dataset *d, const char *id, const char *image, const char *question, const char *answer,
                             oc_error *err) {
    return oc_dataset_add_pair(d, id, image, question, answer, is_yes_no(answer) ? "yes/no" : "open", err);
}

static const json_t *element(const json_t *list, size_t k) {
    if (json_is_array(list)) return json_array_get(list, k);
    return k == 0 ? list : NULL;
}

/* "from": "human" and "gpt", or "role": "user" and "assistant", by turns. */
static oc_status add_conversation(oc_dataset *d, const char *id, const char *image, const json_t *turns,
                                  oc_error *err) {
    for (size_t k = 0; k + 1 < json_array_size(turns); k += 2) {
        char sub[OC_JSON_ID + 24];
        const json_t *q = json_array_get(turns, k), *a = json_array_get(turns, k + 1);
        const char *question = json_string_value(first_of(q, "value", "content", NULL)),
                   *answer = json_string_value(first_of(a, "value", "content", NULL));
        if (!question || !answer)
            return oc_fail(err, OC_ERR_FORMAT, "%s: record %s: turn %zu is no text", d->opt.json, id, k);
        if (!strncmp(question, OC_IMAGE_PLACEHOLDER, strlen(OC_IMAGE_PLACEHOLDER)))
            question += strlen(OC_IMAGE_PLACEHOLDER);
        question += strspn(question, "\n ");
        snprintf(sub, sizeof sub, "%s_%zu", id, k / 2);
        OC_TRY(add_pathvqa(d, sub, image, question, answer, err));
    }
    return OC_OK;
}

static oc_status read_pathvqa_record(oc_dataset *d, size_t index, int line, const json_t *o, void *ctx, oc_error *err) {
    OC_UNUSED(ctx);
    char id[OC_JSON_ID], image[300], number[2][32];
    const json_t *label = json_object_get(o, "label"), *questions = first_of(o, "question", "sent", "Questions"),
                 *answers = first_of(o, "answer", "Answers", NULL),
                 *turns = first_of(o, "conversations", "messages", NULL);
    const char *name = text_of(first_of(o, "image", "img_id", "Image_ID"), number[0]);
    if (!name || (!turns && (!questions || (!answers && !label))))
        return oc_fail(
            err, OC_ERR_FORMAT,
            "%s:%d: record %zu: no picture, question or answer (\"image\", \"question\", \"answer\" or \"img_id\", "
            "\"sent\", \"label\" or \"Image_ID\", \"Questions\", \"Answers\")",
            d->opt.json, line, index);
    if (snprintf(image, sizeof image, "%s%s", name, strchr(oc_path_base(name), '.') ? "" : ".jpg") >=
            (int)sizeof image ||
        !oc_path_is_contained(image))
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: the picture's name leaves the picture folder",
                       d->opt.json, line, index);
    if (!oc_json_id(first_of(o, "question_id", "id", NULL), id)) snprintf(id, sizeof id, "#%zu", index);
    if (turns) return add_conversation(d, id, image, turns, err);
    size_t n = json_is_array(questions) ? json_array_size(questions) : 1;
    for (size_t k = 0; k < n; k++) {
        char sub[OC_JSON_ID + 24];
        const char *question = text_of(element(questions, k), number[0]),
                   *answer = answers                 ? text_of(element(answers, k), number[1])
                             : json_is_object(label) ? best_label(label)
                                                     : text_of(label, number[1]);
        if (!question || !answer)
            return oc_fail(err, OC_ERR_FORMAT, "%s:%d: record %zu: question %zu or its answer is no text", d->opt.json,
                           line, index, k);
        snprintf(sub, sizeof sub, n > 1 ? "%s_%zu" : "%s", id, k);
        OC_TRY(add_pathvqa(d, sub, image, question, answer, err));
    }
    return OC_OK;
}

oc_status oc_dataset_read_pathvqa(oc_dataset *d, oc_error *err) {
    return oc_dataset_each(d, d->opt.json, NULL, NULL, read_pathvqa_record, NULL, err);
}
