/* 1. distinct references  2. captions: screen on some pictures, then score the best on all  3. questions  4. results */
#include "eval/constant.h"

#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "eval/id_map.h"
#include "eval/ptb.h"

enum { SCREENED = 1200, SCREEN_PICTURES = 50, FREQUENT = 60, CENTRAL = 140, ANSWERS = 50 };

/* ---- 1. Distinct references ---------------------------------------------------------------------------------------- */

typedef struct counted {
    const char *text; /* as scored: tokens for captions */
    size_t reference; /* its first occurrence */
    size_t count;
    double score; /* of the screening */
} counted;

static int by_text(const void *a, const void *b) {
    const counted *x = a, *y = b;
    int c = strcmp(x->text, y->text);
    return c ? c : x->reference < y->reference ? -1 : x->reference > y->reference;
}

static int by_count(const void *a, const void *b) {
    const counted *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->reference < y->reference ? -1 : x->reference > y->reference;
}

static int by_score(const void *a, const void *b) {
    const counted *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->reference < y->reference ? -1 : x->reference > y->reference;
}

/* Merges equal texts of list[n]; the rest comes most frequent first. Returns how many there are. */
static size_t merge(counted *list, size_t n) {
    size_t m = 0;
    qsort(list, n, sizeof *list, by_text);
    for (size_t i = 0; i < n; i++) {
        if (m && !strcmp(list[m - 1].text, list[i].text))
            list[m - 1].count++;
        else
            list[m++] = (counted){.text = list[i].text, .reference = list[i].reference, .count = 1};
    }
    qsort(list, m, sizeof *list, by_count);
    return m;
}

/* ---- 2. Captions --------------------------------------------------------------------------------------------------- */

/* References in their tokens, once for all scoring. */
typedef struct caption_set {
    const oc_evaluation *e;
    oc_strbuf text;
    const char **tokens;   /* [n_references] */
    oc_caption_item *item; /* [n] of all pictures */
    oc_caption_item *screen;
    size_t n_screen;
    counted *list;
    size_t n_list;
} caption_set;

static oc_status no_memory(oc_error *err) {
    return oc_fail(err, OC_ERR_NOMEM, "out of memory for the search of a constant answer");
}

/* The tokenizer's output has nothing between captions: they are copied apart. */
static oc_status cut_tokens(caption_set *s, const oc_strbuf *joined, const size_t *end) {
    size_t n = s->e->n_references;
    s->text.max = joined->len + n + 1;
    for (size_t i = 0; i < n; i++) {
        size_t from = i ? end[i - 1] : 0;
        oc_strbuf_add(&s->text, joined->data + from, end[i] - from);
        oc_strbuf_putc(&s->text, 0);
    }
    if (s->text.failed) return OC_ERR_NOMEM;
    const char *at = s->text.data;
    for (size_t i = 0; i < n; i++, at += strlen(at) + 1) s->tokens[i] = at;
    return OC_OK;
}

static oc_status tokenize(caption_set *s, oc_error *err) {
    oc_ptb *ptb = NULL;
    oc_strbuf joined = {0};
    size_t n = s->e->n_references, *end = oc_calloc(n, sizeof *end);
    s->tokens = oc_calloc(n, sizeof *s->tokens);
    oc_status st = end && s->tokens ? OC_OK : no_memory(err);
    OC_GO(st);
    OC_GO(oc_ptb_open(&ptb, err));
    OC_GO(oc_ptb_captions(ptb, s->e->references, n, &joined, end, err));
    st = cut_tokens(s, &joined, end);
    if (st != OC_OK) no_memory(err);
done:
    oc_ptb_close(ptb);
    oc_strbuf_free(&joined);
    oc_free(end);
    return st;
}

static oc_status open_captions(caption_set *s, const oc_evaluation *e, oc_error *err) {
    *s = (caption_set){.e = e};
    OC_TRY(tokenize(s, err));
    s->item = oc_calloc(e->n, sizeof *s->item);
    s->screen = oc_calloc(SCREEN_PICTURES, sizeof *s->screen);
    s->list = oc_calloc(e->n_references, sizeof *s->list);
    if (!s->item || !s->screen || !s->list) return no_memory(err);
    for (size_t k = 0; k < e->n; k++) {
        size_t first = (size_t)(e->item[k].reference - (const char *const *)e->references);
        s->item[k] = (oc_caption_item){
            .id = e->item[k].id, .references = s->tokens + first, .n_references = e->item[k].n_references};
    }
    s->n_screen = OC_MIN((size_t)SCREEN_PICTURES, e->n);
    for (size_t i = 0; i < s->n_screen; i++) s->screen[i] = s->item[i * e->n / s->n_screen];
    for (size_t i = 0; i < e->n_references; i++) s->list[i] = (counted){.text = s->tokens[i], .reference = i};
    s->n_list = merge(s->list, e->n_references);
    return OC_OK;
}

static void close_captions(caption_set *s) {
    oc_strbuf_free(&s->text);
    oc_free(s->tokens);
    oc_free(s->item);
    oc_free(s->screen);
    oc_free(s->list);
}

static oc_status score_constant(oc_caption_scores *out, oc_caption_item *item, size_t n, const char *tokens,
                                oc_error *err) {
    for (size_t k = 0; k < n; k++) item[k].candidate = tokens;
    return oc_caption_scores_compute(out, NULL, item, n, &(oc_caption_options){.tokenized = true}, err);
}

/* Leaves the candidates at the front of the list: the most frequent, then the most central ones, which score best on a
 * part of the pictures. Returns how many. */
static oc_status screen(caption_set *s, size_t *n, oc_progress *bar, oc_error *err) {
    size_t frequent = OC_MIN((size_t)FREQUENT, s->n_list), rest = s->n_list - frequent,
           m = OC_MIN((size_t)SCREENED, rest);
    counted *list = s->list + frequent;
    for (size_t i = 0; i < m; i++) {
        counted *c = &list[i * rest / m]; /* evenly over the list, of which most occur once; i <= i * rest / m */
        oc_caption_scores scores;
        OC_TRY(score_constant(&scores, s->screen, s->n_screen, c->text, err));
        list[i] = *c;
        list[i].score = scores.v[OC_SCORE_CIDER];
        oc_progress_update(bar, (double)i, (double)(m + FREQUENT + CENTRAL), NULL);
    }
    qsort(list, m, sizeof *list, by_score);
    *n = frequent + OC_MIN((size_t)CENTRAL, m);
    return OC_OK;
}

static oc_status find_caption(oc_constant *c, caption_set *s, oc_progress *bar, oc_error *err) {
    OC_TRY(screen(s, &c->candidates, bar, err));
    for (size_t i = 0; i < c->candidates; i++) {
        oc_caption_scores scores;
        OC_TRY(score_constant(&scores, s->item, s->e->n, s->list[i].text, err));
        for (int k = 0; k < OC_SCORE_COUNT; k++) {
            if (c->caption[k] && scores.v[k] <= c->scores[k].v[k]) continue;
            c->caption[k] = s->e->references[s->list[i].reference];
            c->scores[k] = scores;
        }
        oc_progress_update(bar, bar->total - (double)(c->candidates - 1 - i), bar->total, NULL);
    }
    return OC_OK;
}

/* ---- 3. Questions -------------------------------------------------------------------------------------------------- */

/* The most frequent first references of items [0, n) with that type (NULL: all). */
static size_t frequent_answers(const oc_evaluation *e, const char *type, counted *list) {
    size_t n = 0;
    for (size_t k = 0; k < e->n; k++)
        if (!type || (e->item[k].type && !strcmp(e->item[k].type, type)))
            list[n++] = (counted){.text = e->item[k].reference[0], .reference = k};
    return merge(list, n);
}

static oc_status best_for_all(oc_constant *c, const oc_evaluation *e, oc_vqa_item *item, counted *list, oc_error *err) {
    size_t n = frequent_answers(e, NULL, list);
    c->candidates = OC_MIN(n, (size_t)ANSWERS);
    for (size_t i = 0; i < c->candidates; i++) {
        oc_vqa_report r;
        for (size_t k = 0; k < e->n; k++) item[k].prediction = list[i].text;
        OC_TRY(oc_vqa_compute(&r, NULL, item, e->n, err));
        bool better = !c->answer || r.overall.accuracy > c->all.overall.accuracy;
        oc_vqa_report_free(better ? &c->all : &r);
        if (!better) continue;
        c->all = r;
        c->answer = list[i].text;
    }
    return OC_OK;
}

static oc_status best_per_type(oc_constant *c, const oc_evaluation *e, oc_vqa_item *item, counted *list,
                               oc_error *err) {
    for (size_t i = 0; i < c->all.n_types; i++) {
        const char *type = c->all.type[i].type;
        if (!frequent_answers(e, type, list)) continue;
        for (size_t k = 0; k < e->n; k++)
            if (item[k].type && !strcmp(item[k].type, type)) item[k].prediction = list[0].text;
    }
    return oc_vqa_compute(&c->per_type, NULL, item, e->n, err);
}

/* "yes/no is": the type and the first word of a question, in lower case. level 1: the type alone; 2: nothing. */
static void kind_of(char out[64], const oc_evaluated *it, int level) {
    const char *q = it->prompt ? it->prompt : "";
    const size_t skip = strlen(OC_IMAGE_PLACEHOLDER);
    size_t n = 0;
    if (!strncmp(q, OC_IMAGE_PLACEHOLDER, skip)) q += skip;
    q += strspn(q, " \n");
    if (level < 2) n = (size_t)snprintf(out, 40, "%.30s ", it->type ? it->type : "");
    for (; level == 0 && n < 63 && *q && *q != ' ' && *q != '\n'; q++)
        out[n++] = (char)(*q >= 'A' && *q <= 'Z' ? *q - 'A' + 'a' : *q);
    out[n] = 0;
}

/* Most frequent answers: best[kind] of an item, counted over the items of from. */
typedef struct majority {
    oc_id_map kinds, answers; /* answers: "kind\nanswer" */
    size_t *count;            /* [answers.n] */
    struct {
        const char *answer;
        size_t count;
    } * best; /* [kinds.n] */
} majority;

static void majority_close(majority *m) {
    oc_id_map_free(&m->kinds);
    oc_id_map_free(&m->answers);
    oc_free(m->count);
    oc_free(m->best);
}

static oc_status count_answer(majority *m, const oc_evaluated *it, int level, oc_error *err) {
    char kind[64];
    size_t k, a;
    oc_strbuf key = {0};
    kind_of(kind, it, level);
    oc_strbuf_printf(&key, "%s\n%s", kind, it->reference[0]);
    oc_status st = key.failed ? no_memory(err) : oc_id_map_add(&m->kinds, kind, &k, err);
    if (st == OC_OK) st = oc_id_map_add(&m->answers, key.data, &a, err);
    oc_strbuf_free(&key);
    if (st != OC_OK) return st;
    if (++m->count[a] > m->best[k].count) {
        m->best[k].answer = it->reference[0];
        m->best[k].count = m->count[a];
    }
    return OC_OK;
}

static oc_status majority_open(majority *m, const oc_evaluation *from, int level, oc_error *err) {
    *m = (majority){.count = oc_calloc(from->n, sizeof *m->count), .best = oc_calloc(from->n, sizeof *m->best)};
    oc_status st = m->count && m->best ? OC_OK : no_memory(err);
    for (size_t k = 0; k < from->n && st == OC_OK; k++) st = count_answer(m, &from->item[k], level, err);
    return st;
}

/* Every question gets the answer of its kind; a kind that does not occur that of its type, then that of all. */
static oc_status answer_by_kind(oc_vqa_report *out, const oc_evaluation *e, const oc_evaluation *from,
                                oc_vqa_item *item, oc_error *err) {
    enum { LEVELS = 3 };
    majority m[LEVELS] = {0};
    oc_status st = OC_OK;
    for (int i = 0; i < LEVELS && st == OC_OK; i++) st = majority_open(&m[i], from, i, err);
    for (size_t k = 0; k < e->n && st == OC_OK; k++) {
        for (int i = LEVELS - 1; i >= 0; i--) {
            char kind[64];
            size_t at;
            kind_of(kind, &e->item[k], i);
            if (oc_id_map_find(&m[i].kinds, kind, &at)) item[k].prediction = m[i].best[at].answer;
        }
    }
    if (st == OC_OK) st = oc_vqa_compute(out, NULL, item, e->n, err);
    for (int i = 0; i < LEVELS; i++) majority_close(&m[i]);
    return st;
}

static oc_status find_answer(oc_constant *c, const oc_evaluation *e, const oc_evaluation *training, oc_error *err) {
    oc_vqa_item *item = oc_calloc(e->n, sizeof *item);
    counted *list = oc_calloc(e->n, sizeof *list);
    oc_status st = item && list ? OC_OK : no_memory(err);
    for (size_t k = 0; k < e->n && st == OC_OK; k++)
        item[k] = (oc_vqa_item){.id = e->item[k].id,
                                .type = e->item[k].type,
                                .answers = e->item[k].reference,
                                .n_answers = e->item[k].n_references};
    if (st == OC_OK) st = best_for_all(c, e, item, list, err);
    for (size_t k = 0; k < e->n && st == OC_OK; k++) item[k].prediction = c->answer;
    if (st == OC_OK) st = best_per_type(c, e, item, list, err);
    if (st == OC_OK) st = answer_by_kind(&c->per_kind, e, e, item, err);
    c->has_learned = training != NULL;
    if (st == OC_OK && training) st = answer_by_kind(&c->learned, e, training, item, err);
    oc_free(item);
    oc_free(list);
    return st;
}

/* ---- 4. Results ---------------------------------------------------------------------------------------------------- */

oc_status oc_constant_find(oc_constant *c, const oc_evaluation *e, const oc_evaluation *training, bool quiet,
                           oc_error *err) {
    memset(c, 0, sizeof *c);
    oc_status st;
    if (e->task == OC_EVAL_VQA)
        st = find_answer(c, e, training, err);
    else {
        caption_set s;
        oc_progress bar;
        oc_progress_open(&bar, "constant captions", 0, quiet);
        st = open_captions(&s, e, err);
        if (st == OC_OK) st = find_caption(c, &s, &bar, err);
        oc_progress_close(&bar);
        close_captions(&s);
    }
    if (st != OC_OK) oc_constant_free(c);
    return st;
}

void oc_constant_free(oc_constant *c) {
    oc_vqa_report_free(&c->all);
    oc_vqa_report_free(&c->per_type);
    oc_vqa_report_free(&c->per_kind);
    oc_vqa_report_free(&c->learned);
    memset(c, 0, sizeof *c);
}

static json_t *split_json(const oc_vqa_report *r) {
    return json_pack("{s:o, s:o, s:o}", "overall", oc_vqa_scores_json(&r->overall), "yesno",
                     oc_vqa_scores_json(&r->yesno), "open", oc_vqa_scores_json(&r->open));
}

static json_t *answers_json(const oc_constant *c, const oc_evaluation *e) {
    json_t *o = json_pack("{s:s, s:I, s:I, s:s, s:o, s:o, s:o}", "task", "vqa", "items", (json_int_t)e->n, "candidates",
                          (json_int_t)c->candidates, "answer", c->answer, "scores", oc_vqa_scores_json(&c->all.overall),
                          "per_type", oc_vqa_scores_json(&c->per_type.overall), "per_kind", split_json(&c->per_kind));
    json_object_set_new(o, "per_type_yesno", oc_vqa_scores_json(&c->per_type.yesno));
    json_object_set_new(o, "per_type_open", oc_vqa_scores_json(&c->per_type.open));
    if (c->has_learned) json_object_set_new(o, "learned", split_json(&c->learned));
    return o;
}

json_t *oc_constant_json(const oc_constant *c, const oc_evaluation *e) {
    if (e->task == OC_EVAL_VQA) return answers_json(c, e);
    json_t *best = json_object();
    for (int k = 0; k < OC_SCORE_COUNT; k++)
        json_object_set_new(best, oc_score_name((oc_score)k),
                            json_pack("{s:f, s:s}", "value", c->scores[k].v[k], "caption", c->caption[k]));
    return json_pack("{s:s, s:I, s:I, s:s, s:o, s:o}", "task", "caption", "items", (json_int_t)e->n, "candidates",
                     (json_int_t)c->candidates, "caption", c->caption[OC_SCORE_CIDER], "scores",
                     oc_caption_scores_json(&c->scores[OC_SCORE_CIDER]), "best", best);
}

static void describe_line(oc_strbuf *out, const char *what, const oc_vqa_report *r) {
    oc_strbuf_printf(out, "%-44s %8.2f %8.2f %8.2f %8.2f %8.2f\n", what, 100 * r->overall.accuracy,
                     100 * r->overall.exact, 100 * r->yesno.exact, 100 * r->open.exact, 100 * r->open.f1);
}

static void describe_answers(const oc_constant *c, const oc_evaluation *e, oc_strbuf *out) {
    char what[64];
    oc_strbuf_printf(out, "%-44s %8s %8s %8s %8s %8s\n", "", "accuracy", "exact", "yes/no", "open", "open F1");
    snprintf(what, sizeof what, "always \"%.30s\"", c->answer);
    describe_line(out, what, &c->all);
    describe_line(out, "the most frequent answer of each type", &c->per_type);
    describe_line(out, "the most frequent of each type and first word", &c->per_kind);
    if (c->has_learned) describe_line(out, "the same, counted over the training questions", &c->learned);
    oc_strbuf_printf(out, "%zu questions, %zu of them yes/no; times 100; yes/no and open: exact match\n", e->n,
                     c->all.yesno.n);
}

void oc_constant_describe(const oc_constant *c, const oc_evaluation *e, oc_strbuf *out) {
    if (e->task == OC_EVAL_VQA) {
        describe_answers(c, e, out);
        return;
    }
    for (int k = 0; k < OC_SCORE_COUNT; k++)
        oc_strbuf_printf(out, "%-15s %6.2f  %s\n", oc_score_name((oc_score)k), 100 * c->scores[k].v[k], c->caption[k]);
    oc_strbuf_printf(out, "the best of %zu captions that are the same for all %zu pictures\n", c->candidates, e->n);
}
