/* 1. storage  2. fields of a record  3. references  4. results  5. matching  6. the two kinds of files */
#include "eval/score_io.h"

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "eval/id_map.h"

/* ---- 1. Storage ---------------------------------------------------------------------------------------------------- */

/* A caption or an answer of the references: whose it is, and where its text is. */
typedef struct {
    size_t subject, text;
} reference;

/* What is known of an image or a question besides its references: offsets + 1 in storage.text, 0: nothing. */
typedef struct {
    size_t result, type;
} subject;

typedef struct {
    const char *what, *id_key; /* "image", "image_id"; "question", "question_id" */
    bool answers;
    oc_match match;
    oc_id_map ids;
    oc_strbuf text; /* all strings, each with its NUL */
    reference *refs;
    subject *subjects; /* [ids.n] */
    size_t n_refs, cap_refs, cap_subjects, ignored;
    const char **pointers; /* [n_refs] into text, those of one subject together */
} storage;

static void storage_free(storage *s) {
    if (!s) return;
    oc_id_map_free(&s->ids);
    oc_strbuf_free(&s->text);
    oc_free(s->refs);
    oc_free(s->subjects);
    oc_free(s->pointers);
    oc_free(s);
}

static oc_status no_memory(const storage *s, oc_error *err) {
    return oc_fail(err, OC_ERR_NOMEM, "out of memory for %zu %ss with %zu references", s->ids.n, s->what, s->n_refs);
}

/* Room for one more in array[n]. */
static bool grow(void *array, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return true;
    size_t wanted = *cap ? *cap * 2 : 256;
    void *old, *p;
    memcpy(&old, array, sizeof old);
    if (!(p = oc_realloc(old, n * size, wanted * size))) return false;
    memcpy(array, &p, sizeof p);
    *cap = wanted;
    return true;
}

/* The number of an id, new ids included. */
static oc_status subject_of(storage *s, const char *id, size_t *index, oc_error *err) {
    OC_TRY(oc_id_map_add(&s->ids, id, index, err));
    if (*index + 1 < s->ids.n) return OC_OK;
    if (!grow(&s->subjects, *index, &s->cap_subjects, sizeof *s->subjects)) return no_memory(s, err);
    s->subjects[*index] = (subject){0};
    return OC_OK;
}

/* ---- 2. Fields of a record ----------------------------------------------------------------------------------------- */

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

/* Captions must name their image; answers without an id are numbered. */
static oc_status get_id(const storage *s, const oc_json_record *rec, const char *key, char id[OC_JSON_ID],
                        const oc_json_reader *r, oc_error *err) {
    if (s->answers) {
        const json_t *v = FIRST_OF(rec->value, "question_id", "id");
        if (!v) return snprintf(id, OC_JSON_ID, "%zu", r->index - 1), OC_OK;
        if (oc_json_id(v, id)) return OC_OK;
        return fail_record(r, "\"question_id\" is neither an integer nor a string", err);
    }
    if (oc_json_record_id(rec, key, id)) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: \"%s\" is missing or neither an integer nor a string",
                   r->name, r->line, r->index - 1, key);
}

/* text[len] into s->text, whose length was *offset, with a NUL. */
static oc_status keep_text(storage *s, const char *text, size_t len, size_t *offset, const oc_json_reader *r,
                           oc_error *err) {
    *offset = s->text.len;
    oc_strbuf_add(&s->text, text, len);
    oc_strbuf_putc(&s->text, 0);
    return s->text.failed ? oc_fail(err, OC_ERR_NOMEM, "%s: out of memory", r->name) : OC_OK;
}

/* The caption of a record. */
static oc_status keep_caption(storage *s, const oc_json_record *rec, size_t *offset, const oc_json_reader *r,
                              oc_error *err) {
    size_t len;
    const char *text = oc_json_record_string(rec, "caption", &len);
    if (!text) return fail_record(r, "\"caption\" is missing or not a string", err);
    return keep_text(s, text, len, offset, r, err);
}

/* An answer: a string, or an integer as it is written ("answer": 3). */
static oc_status keep_answer(storage *s, const json_t *v, size_t *offset, const char *wanted, const oc_json_reader *r,
                             oc_error *err) {
    char digits[32];
    if (json_is_string(v)) return keep_text(s, json_string_value(v), json_string_length(v), offset, r, err);
    if (!json_is_integer(v)) return fail_record(r, wanted, err);
    int n = snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(v));
    return keep_text(s, digits, (size_t)n, offset, r, err);
}

/* ---- 3. References ------------------------------------------------------------------------------------------------- */

/* Room for one more reference of a subject, which is there when ++s->n_refs counts it. */
static oc_status new_reference(storage *s, size_t index, reference **ref, oc_error *err) {
    if (!grow(&s->refs, s->n_refs, &s->cap_refs, sizeof *s->refs)) return no_memory(s, err);
    *ref = &s->refs[s->n_refs];
    (*ref)->subject = index;
    return OC_OK;
}

static oc_status add_image(storage *s, const oc_json_record *rec, const oc_json_reader *r, oc_error *err) {
    char id[OC_JSON_ID];
    size_t index;
    OC_TRY(get_id(s, rec, "id", id, r, err));
    return subject_of(s, id, &index, err);
}

static oc_status add_caption(storage *s, const oc_json_record *rec, const oc_json_reader *r, oc_error *err) {
    char id[OC_JSON_ID];
    size_t index;
    OC_TRY(get_id(s, rec, "image_id", id, r, err));
    OC_TRY(subject_of(s, id, &index, err));
    reference *ref = NULL;
    OC_TRY(new_reference(s, index, &ref, err));
    OC_TRY(keep_caption(s, rec, &ref->text, r, err));
    s->n_refs++;
    return OC_OK;
}

static oc_status add_answer(storage *s, size_t index, const json_t *v, const oc_json_reader *r, oc_error *err) {
    if (json_is_object(v)) v = json_object_get(v, "answer");
    reference *ref = NULL;
    OC_TRY(new_reference(s, index, &ref, err));
    OC_TRY(keep_answer(s, v, &ref->text, "an answer is neither a string nor an object with \"answer\"", r, err));
    s->n_refs++;
    return OC_OK;
}

static oc_status add_question(storage *s, const oc_json_record *rec, const oc_json_reader *r, oc_error *err) {
    char id[OC_JSON_ID];
    size_t index, type, i;
    OC_TRY(get_id(s, rec, NULL, id, r, err));
    if (oc_id_map_find(&s->ids, id, &index))
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: question_id %s occurs twice", r->name, r->line,
                       r->index - 1, id);
    OC_TRY(subject_of(s, id, &index, err));
    const json_t *answers = json_object_get(rec->value, "answers"), *v;
    if (json_is_array(answers)) {
        if (json_array_size(answers) == 0) return fail_record(r, "\"answers\" is empty", err);
        json_array_foreach((json_t *)(uintptr_t)answers, i, v) OC_TRY(add_answer(s, index, v, r, err));
    } else {
        v = FIRST_OF(rec->value, "answer", "answers", "multiple_choice_answer");
        if (!v) return fail_record(r, "neither \"answer\" nor \"answers\"", err);
        OC_TRY(add_answer(s, index, v, r, err));
    }
    if (!(v = FIRST_OF(rec->value, "type", "answer_type"))) return OC_OK;
    OC_TRY(keep_answer(s, v, &type, "\"type\" is not a string", r, err));
    s->subjects[index].type = type + 1;
    return OC_OK;
}

typedef oc_status (*record_fn)(storage *s, const oc_json_record *rec, const oc_json_reader *r, oc_error *err);

/* Records of answers, whose members are lists and objects too, are always trees: rec->value. */
static oc_status each_record(storage *s, oc_json_reader *r, record_fn fn, oc_error *err) {
    for (oc_json_record rec = {0};;) {
        bool found;
        if (s->answers) {
            OC_TRY(oc_json_reader_object(r, &rec.value, err));
            found = rec.value != NULL;
        } else
            OC_TRY(oc_json_reader_record(r, &rec, &found, err));
        if (!found) return OC_OK;
        oc_status st = fn(s, &rec, r, err);
        oc_json_record_close(&rec);
        OC_TRY(st);
    }
}

static bool is_object(const char *text, size_t len) {
    size_t at = len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < len && text[at] && strchr(" \t\r\n", text[at])) at++;
    return at < len && text[at] == '{';
}

static oc_status read_captions(storage *s, const char *text, size_t len, const char *name, oc_error *err) {
    oc_json_reader r;
    bool found, object = is_object(text, len);
    if (object) {
        OC_TRY(oc_json_reader_member(&r, &found, text, len, "images", name, err));
        if (found) OC_TRY(each_record(s, &r, add_image, err));
    }
    OC_TRY(oc_json_reader_member(&r, &found, text, len, "annotations", name, err));
    if (!found || !object)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: no \"annotations\" array; COCO caption annotations were expected: "
                       "{\"images\": [{\"id\"}], \"annotations\": [{\"image_id\", \"caption\"}]}",
                       name);
    OC_TRY(each_record(s, &r, add_caption, err));
    return s->n_refs ? OC_OK : oc_fail(err, OC_ERR_FORMAT, "%s: \"annotations\" has no captions", name);
}

static oc_status read_questions(storage *s, const char *text, size_t len, const char *name, oc_error *err) {
    oc_json_reader r;
    bool found;
    OC_TRY(oc_json_reader_member(&r, &found, text, len, "annotations", name, err));
    if (!found) oc_json_reader_init(&r, text, len, name); /* JSON lines of a single line */
    OC_TRY(each_record(s, &r, add_question, err));
    return s->ids.n ? OC_OK : oc_fail(err, OC_ERR_FORMAT, "%s: no questions", name);
}

/* ---- 4. Results ---------------------------------------------------------------------------------------------------- */

static oc_status add_result(storage *s, const oc_json_record *rec, const oc_json_reader *r, oc_error *err) {
    char id[OC_JSON_ID];
    size_t index, text;
    OC_TRY(get_id(s, rec, "image_id", id, r, err));
    bool known = oc_id_map_find(&s->ids, id, &index), lenient = s->match == OC_MATCH_LENIENT;
    if (!known || s->subjects[index].result) {
        s->ignored++;
        if (lenient) return OC_OK;
        return oc_fail(err, OC_ERR_FORMAT, "%s:%d: element %zu: %s %s %s; --lenient leaves such results out", r->name,
                       r->line, r->index - 1, s->id_key, id,
                       known ? "has a result already" : "is not among the references");
    }
    if (s->answers) {
        const json_t *v = FIRST_OF(rec->value, "answer", "prediction", "text");
        if (lenient && !v) return s->ignored++, OC_OK;
        OC_TRY(keep_answer(s, v, &text, "\"answer\" is missing or not a string", r, err));
    } else {
        size_t len;
        if (lenient && !oc_json_record_string(rec, "caption", &len)) return s->ignored++, OC_OK;
        OC_TRY(keep_caption(s, rec, &text, r, err));
    }
    s->subjects[index].result = text + 1;
    return OC_OK;
}

static oc_status read_results(storage *s, const char *text, size_t len, const char *name, oc_error *err) {
    oc_json_reader r;
    bool found;
    OC_TRY(oc_json_reader_member(&r, &found, text, len, "annotations", name, err));
    if (!found && !s->answers)
        return oc_fail(err, OC_ERR_FORMAT,
                       "%s: an object; a list of results was expected: [{\"image_id\", \"caption\"}]", name);
    if (!found) oc_json_reader_init(&r, text, len, name);
    return each_record(s, &r, add_result, err);
}

/* ---- 5. Matching --------------------------------------------------------------------------------------------------- */

/* What an image or a question comes down to. */
typedef struct {
    const char *id, *type, *result;
    const char *const *references;
    size_t n_references;
} item;

/* Groups the references by subject: first[i] .. first[i + 1] are those of subject i in s->pointers. s->text no longer grows.
 */
static oc_status group_references(storage *s, size_t **first, oc_error *err) {
    size_t n = s->ids.n, *at = *first = oc_calloc(n + 1, sizeof *at);
    s->pointers = oc_calloc(s->n_refs, sizeof *s->pointers);
    if (!at || !s->pointers) return no_memory(s, err);
    for (size_t i = 0; i < s->n_refs; i++) at[s->refs[i].subject + 1]++;
    for (size_t i = 0; i < n; i++) at[i + 1] += at[i];
    for (size_t i = 0; i < s->n_refs; i++) s->pointers[at[s->refs[i].subject]++] = s->text.data + s->refs[i].text;
    memmove(at + 1, at, n * sizeof *at); /* at[i] had become the end of subject i */
    at[0] = 0;
    return OC_OK;
}

/* Whether subject i is scored, as s->match says. */
static oc_status take(storage *s, const item *it, size_t *unanswered, bool *taken, const char *results_name,
                      oc_error *err) {
    *taken = false;
    if (!it->result) {
        ++*unanswered;
        if (s->match != OC_MATCH_STRICT) return OC_OK;
        return oc_fail(err, OC_ERR_FORMAT, "%s: no result for %s %s; without --strict the %ss that have one are scored",
                       results_name, s->id_key, it->id, s->what);
    }
    *taken = it->n_references > 0;
    if (*taken) return OC_OK;
    s->ignored++;
    if (s->match == OC_MATCH_LENIENT) return OC_OK;
    return oc_fail(err, OC_ERR_FORMAT, "%s %s has a result in %s but no reference caption; --lenient leaves it out",
                   s->id_key, it->id, results_name);
}

/* out[ids.n]: the *n items that are scored; *n_references is their references' number. */
static oc_status match_items(storage *s, item *out, size_t *n, size_t *n_references, size_t *unanswered,
                             const char *results_name, oc_error *err) {
    size_t *first = NULL;
    oc_status st;
    OC_GO(group_references(s, &first, err));
    for (size_t i = 0; i < s->ids.n; i++) {
        const subject *k = &s->subjects[i];
        bool taken;
        out[*n] = (item){.id = oc_id_map_name(&s->ids, i),
                         .type = k->type ? s->text.data + k->type - 1 : NULL,
                         .result = k->result ? s->text.data + k->result - 1 : NULL,
                         .references = s->pointers + first[i],
                         .n_references = first[i + 1] - first[i]};
        OC_GO(take(s, &out[*n], unanswered, &taken, results_name, err));
        if (!taken) continue;
        *n_references += out[*n].n_references;
        ++*n;
    }
    if (*n == 0)
        st = oc_fail(err, OC_ERR_FORMAT, "%s: no result belongs to %s %s of the references", results_name,
                     s->answers ? "a" : "an", s->what);
done:
    oc_free(first);
    return st;
}

/* A text with its name. */
typedef struct {
    const char *text;
    size_t len;
    const char *name;
} source;

/* *items is the caller's (oc_free), and so is *s (storage_free), also after a failure. */
static oc_status read_both(storage **s, item **items, size_t *n, size_t *n_references, size_t *unanswered, bool answers,
                           source references, source results, oc_match match, oc_error *err) {
    *items = NULL;
    *n = *n_references = *unanswered = 0;
    storage *to = *s = oc_calloc(1, sizeof *to);
    if (!to) return oc_fail(err, OC_ERR_NOMEM, "out of memory for what is scored");
    to->what = answers ? "question" : "image";
    to->id_key = answers ? "question_id" : "image_id";
    to->answers = answers;
    to->match = match;
    to->text.max = SIZE_MAX / 2;
    OC_TRY((answers ? read_questions : read_captions)(to, references.text, references.len, references.name, err));
    OC_TRY(read_results(to, results.text, results.len, results.name, err));
    *items = oc_calloc(to->ids.n + 1, sizeof **items);
    if (!*items) return no_memory(to, err);
    return match_items(to, *items, n, n_references, unanswered, results.name, err);
}

/* ---- 6. The two kinds of files ------------------------------------------------------------------------------------- */

oc_status oc_caption_set_parse(oc_caption_set *set, const char *references, size_t references_len,
                               const char *references_name, const char *results, size_t results_len,
                               const char *results_name, oc_match match, oc_error *err) {
    storage *s;
    item *items;
    *set = (oc_caption_set){0};
    oc_status st = read_both(&s, &items, &set->n, &set->n_references, &set->unanswered, false,
                             (source){references, references_len, references_name},
                             (source){results, results_len, results_name}, match, err);
    set->owned = s;
    if (st == OC_OK && !(set->items = oc_calloc(set->n, sizeof *set->items))) st = no_memory(s, err);
    for (size_t i = 0; st == OC_OK && i < set->n; i++)
        set->items[i] = (oc_caption_item){items[i].id, items[i].result, items[i].references, items[i].n_references};
    if (st == OC_OK) set->ignored = s->ignored;
    oc_free(items);
    if (st != OC_OK) oc_caption_set_free(set);
    return st;
}

oc_status oc_vqa_set_parse(oc_vqa_set *set, const char *references, size_t references_len, const char *references_name,
                           const char *results, size_t results_len, const char *results_name, oc_match match,
                           oc_error *err) {
    storage *s;
    item *items;
    *set = (oc_vqa_set){0};
    oc_status st = read_both(&s, &items, &set->n, &set->n_references, &set->unanswered, true,
                             (source){references, references_len, references_name},
                             (source){results, results_len, results_name}, match, err);
    set->owned = s;
    if (st == OC_OK && !(set->items = oc_calloc(set->n, sizeof *set->items))) st = no_memory(s, err);
    for (size_t i = 0; st == OC_OK && i < set->n; i++)
        set->items[i] =
            (oc_vqa_item){items[i].id, items[i].type, items[i].references, items[i].n_references, items[i].result};
    if (st == OC_OK) set->ignored = s->ignored;
    oc_free(items);
    if (st != OC_OK) oc_vqa_set_free(set);
    return st;
}

/* A file is mapped; standard input and pipes are read. */
typedef struct {
    oc_map map;
    char *read;
    source source;
} input;

static oc_status input_open(input *in, const char *path, oc_error *err) {
    enum { MAX_PIPE = 1 << 30 };
    *in = (input){.source = {"", 0, path}};
    struct stat sb;
    if (!strcmp(path, "-") || (stat(path, &sb) == 0 && S_ISFIFO(sb.st_mode))) {
        OC_TRY(oc_file_read(&in->read, &in->source.len, path, MAX_PIPE, err));
        in->source.text = in->read;
        return OC_OK;
    }
    OC_TRY(oc_map_open(&in->map, path, err));
    if (in->map.data) in->source.text = (const char *)in->map.data;
    in->source.len = in->map.size;
    return OC_OK;
}

static void input_close(input *in) {
    oc_map_close(&in->map);
    oc_free(in->read);
}

oc_status oc_caption_set_load(oc_caption_set *set, const char *references_path, const char *results_path,
                              oc_match match, oc_error *err) {
    input refs, results = {0};
    *set = (oc_caption_set){0};
    OC_TRY(input_open(&refs, references_path, err));
    oc_status st = input_open(&results, results_path, err);
    if (st == OC_OK)
        st = oc_caption_set_parse(set, refs.source.text, refs.source.len, references_path, results.source.text,
                                  results.source.len, results_path, match, err);
    input_close(&refs);
    input_close(&results);
    return st;
}

oc_status oc_vqa_set_load(oc_vqa_set *set, const char *references_path, const char *results_path, oc_match match,
                          oc_error *err) {
    input refs, results = {0};
    *set = (oc_vqa_set){0};
    OC_TRY(input_open(&refs, references_path, err));
    oc_status st = input_open(&results, results_path, err);
    if (st == OC_OK)
        st = oc_vqa_set_parse(set, refs.source.text, refs.source.len, references_path, results.source.text,
                              results.source.len, results_path, match, err);
    input_close(&refs);
    input_close(&results);
    return st;
}

void oc_caption_set_free(oc_caption_set *set) {
    storage_free(set->owned);
    oc_free(set->items);
    *set = (oc_caption_set){0};
}

void oc_vqa_set_free(oc_vqa_set *set) {
    storage_free(set->owned);
    oc_free(set->items);
    *set = (oc_vqa_set){0};
}
