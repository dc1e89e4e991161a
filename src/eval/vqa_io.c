#include "eval/vqa_io.h"

#include <string.h>

#include "base/file.h"
#include "eval/caption_metrics_input.h"

/* A question while reading; texts are offsets + 1 in storage.text, 0: none. */
typedef struct {
    size_t type, first_answer, n_answers, result;
} question;

typedef struct {
    oc_id_map ids;
    oc_strbuf text;      /* all strings, each with its NUL */
    question *questions; /* [ids.n] */
    size_t *answers;     /* offsets in text */
    size_t cap_questions, n_answers, cap_answers, ignored;
    const char **answer_pointers;
} storage;

static void storage_free(storage *s) {
    if (!s) return;
    oc_id_map_free(&s->ids);
    oc_strbuf_free(&s->text);
    oc_free(s->questions);
    oc_free(s->answers);
    oc_free(s->answer_pointers);
    oc_free(s);
}

static oc_status fail_record(const oc_json_reader *r, const char *what, oc_error *err) {
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: %s", r->name, r->line, r->index - 1, what);
}

static const json_t *first_of(const json_t *rec, const char *const *keys) {
    for (; *keys; keys++) {
        const json_t *v = json_object_get(rec, *keys);
        if (v && !json_is_null(v)) return v;
    }
    return NULL;
}
#define FIRST_OF(rec, ...) first_of(rec, (const char *const[]){__VA_ARGS__, NULL})

static oc_status get_id(const json_t *rec, char id[256], const oc_json_reader *r, oc_error *err) {
    const json_t *v = FIRST_OF(rec, "question_id", "id");
    if (!v) return snprintf(id, 256, "%zu", r->index - 1), OC_OK;
    return oc_input_id(v, id) ? OC_OK
                              : fail_record(r, "\"question_id\" is neither an integer nor a string", err);
}

/* A string into s->text. Numbers are taken as they are written: "answer": 3. */
static oc_status keep_text(storage *s, const json_t *v, size_t *offset, const char *what,
                           const oc_json_reader *r, oc_error *err) {
    *offset = s->text.len;
    if (json_is_string(v))
        oc_strbuf_add(&s->text, json_string_value(v), json_string_length(v) + 1);
    else if (json_is_integer(v))
        oc_strbuf_printf(&s->text, "%lld%c", (long long)json_integer_value(v), 0);
    else
        return fail_record(r, what, err);
    return s->text.failed ? oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->name) : OC_OK;
}

static oc_status add_answer(storage *s, const json_t *v, const oc_json_reader *r, oc_error *err) {
    if (json_is_object(v)) v = json_object_get(v, "answer");
    if (s->n_answers == s->cap_answers) {
        size_t cap = s->cap_answers ? s->cap_answers * 2 : 1024;
        size_t *to = oc_realloc(s->answers, s->cap_answers * sizeof *to, cap * sizeof *to);
        if (!to) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->name);
        s->answers = to;
        s->cap_answers = cap;
    }
    OC_TRY(keep_text(s, v, &s->answers[s->n_answers],
                     "an answer is neither a string nor an object with \"answer\"", r, err));
    s->n_answers++;
    return OC_OK;
}

static oc_status add_question(storage *s, const json_t *rec, const oc_json_reader *r, oc_error *err) {
    char id[256];
    size_t index, type;
    OC_TRY(get_id(rec, id, r, err));
    if (oc_id_map_find(&s->ids, id, &index))
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: question_id %s occurs twice", r->name,
                       r->line, r->index - 1, id);
    OC_TRY(oc_id_map_add(&s->ids, id, &index, err));
    if (index == s->cap_questions) {
        size_t cap = s->cap_questions ? s->cap_questions * 2 : 256;
        question *to = oc_realloc(s->questions, s->cap_questions * sizeof *to, cap * sizeof *to);
        if (!to) return oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->name);
        s->questions = to;
        s->cap_questions = cap;
    }
    question *q = &s->questions[index];
    *q = (question){.first_answer = s->n_answers};
    const json_t *answers = json_object_get(rec, "answers"), *v;
    if (json_is_array(answers)) {
        size_t i;
        json_array_foreach((json_t *)(uintptr_t)answers, i, v) OC_TRY(add_answer(s, v, r, err));
    } else {
        v = FIRST_OF(rec, "answer", "answers", "multiple_choice_answer");
        if (!v) return fail_record(r, "neither \"answer\" nor \"answers\"", err);
        OC_TRY(add_answer(s, v, r, err));
    }
    q->n_answers = s->n_answers - q->first_answer;
    if (q->n_answers == 0) return fail_record(r, "\"answers\" is empty", err);
    if (!(v = FIRST_OF(rec, "type", "answer_type"))) return OC_OK;
    OC_TRY(keep_text(s, v, &type, "\"type\" is not a string", r, err));
    q->type = type + 1;
    return OC_OK;
}

static oc_status add_result(storage *s, const json_t *rec, oc_match match, const oc_json_reader *r,
                            oc_error *err) {
    char id[256];
    size_t index, text;
    OC_TRY(get_id(rec, id, r, err));
    bool known = oc_id_map_find(&s->ids, id, &index);
    if (!known || s->questions[index].result) {
        s->ignored++;
        if (match == OC_MATCH_LENIENT) return OC_OK;
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s:%d: element %zu: question_id %s %s; --lenient leaves such results out", r->name,
                       r->line, r->index - 1, id,
                       known ? "has a result already" : "is not among the references");
    }
    const json_t *v = FIRST_OF(rec, "answer", "prediction", "text");
    if (!v && match == OC_MATCH_LENIENT) return s->ignored++, OC_OK;
    OC_TRY(keep_text(s, v, &text, "\"answer\" is missing or not a string", r, err));
    s->questions[index].result = text + 1;
    return OC_OK;
}

/* Each record of text: a question of the references or, with results set, a result. */
static oc_status read_records(storage *s, const char *text, size_t len, const char *name, bool results,
                              oc_match match, oc_error *err) {
    oc_json_reader r;
    bool found;
    OC_TRY(oc_input_records(&r, &found, text, len, "annotations", name, err));
    if (!found) oc_json_reader_init(&r, text, len, name); /* JSON lines of a single line */
    for (json_t *rec;;) {
        OC_TRY(oc_input_next(&r, &rec, err));
        if (!rec) return OC_OK;
        oc_status st = results ? add_result(s, rec, match, &r, err) : add_question(s, rec, &r, err);
        json_decref(rec);
        OC_TRY(st);
    }
}

static oc_status make_items(oc_vqa_set *set, storage *s, oc_match match, const char *results_name,
                            oc_error *err) {
    set->items = oc_calloc(s->ids.n, sizeof *set->items);
    s->answer_pointers = oc_calloc(s->n_answers, sizeof *s->answer_pointers);
    if (!set->items || !s->answer_pointers)
        return oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu questions", s->ids.n);
    for (size_t i = 0; i < s->n_answers; i++) s->answer_pointers[i] = s->text.data + s->answers[i];
    for (size_t i = 0; i < s->ids.n; i++) {
        const question *q = &s->questions[i];
        if (!q->result) {
            set->unanswered++;
            if (match != OC_MATCH_STRICT) continue;
            return oc_fail(
                err, OC_ERR_FORMAT,
                "%s: no result for question_id %s; without --strict the questions that have one are scored",
                results_name, oc_id_map_name(&s->ids, i));
        }
        set->items[set->n++] = (oc_vqa_item){.id = oc_id_map_name(&s->ids, i),
                                             .type = q->type ? s->text.data + q->type - 1 : NULL,
                                             .answers = s->answer_pointers + q->first_answer,
                                             .n_answers = q->n_answers,
                                             .prediction = s->text.data + q->result - 1};
    }
    return set->n ? OC_OK
                  : oc_fail(err, OC_ERR_FORMAT, "%s: no result belongs to a question of the references",
                            results_name);
}

oc_status oc_vqa_set_parse(oc_vqa_set *set, const char *references, size_t references_len,
                           const char *references_name, const char *results, size_t results_len,
                           const char *results_name, oc_match match, oc_error *err) {
    *set = (oc_vqa_set){0};
    storage *s = set->owned = oc_calloc(1, sizeof *s);
    if (!s) return oc_fail(err, OC_ERR_NOMEM, "out of memory for questions");
    s->text.max = SIZE_MAX / 2;
    oc_status st = OC_OK;
    OC_GO(read_records(s, references, references_len, references_name, false, match, err));
    if (s->ids.n == 0) OC_GO(oc_fail(err, OC_ERR_FORMAT, "%s: no questions", references_name));
    OC_GO(read_records(s, results, results_len, results_name, true, match, err));
    OC_GO(make_items(set, s, match, results_name, err));
    set->ignored = s->ignored;
done:
    if (st != OC_OK) oc_vqa_set_free(set);
    return st;
}

oc_status oc_vqa_set_load(oc_vqa_set *set, const char *references_path, const char *results_path,
                          oc_match match, oc_error *err) {
    char *refs = NULL, *results = NULL;
    size_t refs_len, results_len;
    *set = (oc_vqa_set){0};
    oc_status st = OC_OK;
    OC_GO(oc_file_read(&refs, &refs_len, references_path, OC_INPUT_MAX_BYTES, err));
    OC_GO(oc_file_read(&results, &results_len, results_path, OC_INPUT_MAX_BYTES, err));
    OC_GO(oc_vqa_set_parse(set, refs, refs_len, references_path, results, results_len, results_path, match,
                           err));
done:
    oc_free(refs);
    oc_free(results);
    return st;
}

void oc_vqa_set_free(oc_vqa_set *set) {
    storage_free(set->owned);
    oc_free(set->items);
    *set = (oc_vqa_set){0};
}
