/* Captions of smears and questions about them. Answers are balanced at the source: a yes/no question is built for an
 * answer that a coin has chosen. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "data/cells.h"
#include "data/scene_internal.h"

static const char *const number_word[OC_CELLS_MAX + 1] = {"no", "one", "two", "three", "four", "five", "six"};

/* --- Captions ----------------------------------------------------------------------------------------------------- */

static void add_group(const oc_cells *c, oc_cell_kind kind, oc_strbuf *out) {
    const int n = oc_cells_count(c, kind);
    int said = 0;
    oc_strbuf_printf(out, "%s %s (", number_word[n], oc_cell_kind_name(kind, n > 1));
    for (int i = 0; i < c->count; i++)
        if (c->cell[i].kind == kind)
            oc_strbuf_printf(out, "%s%s, %s", said++ ? "; " : "", oc_cell_size_name(c->cell[i].size),
                             oc_cell_region_name(c->cell[i].region));
    oc_strbuf_putc(out, ')');
}

void oc_cells_caption_recap(const oc_cells *c, oc_strbuf *out) {
    int kinds = 0, said = 0;
    for (int k = 0; k < OC_CELL_KIND_COUNT; k++) kinds += oc_cells_count(c, (oc_cell_kind)k) > 0;
    oc_strbuf_printf(out, "A smear stained with %s shows %s cell%s: ", oc_stain_name(c->stain), number_word[c->count],
                     c->count == 1 ? "" : "s");
    for (int k = 0; k < OC_CELL_KIND_COUNT; k++) {
        if (!oc_cells_count(c, (oc_cell_kind)k)) continue;
        oc_strbuf_puts(out, !said ? "" : said == kinds - 1 ? " and " : ", ");
        add_group(c, (oc_cell_kind)k, out);
        said++;
    }
    oc_strbuf_putc(out, '.');
}

void oc_cells_caption_human(const oc_cells *c, oc_rng *rng, oc_strbuf *out) {
    static const char *const opening[] = {"", "", "smear, ", "we see ", "field with ", "there are "};
    static const char *const shorter[OC_CELL_KIND_COUNT][2] = {
        {"lymph", "lymphs"}, {"neutro", "neutros"}, {"eo", "eos"}, {"mono", "monos"}, {"rbc", "rbcs"}, {"plt", "plts"}};
    uint32_t order[OC_CELL_KIND_COUNT] = {0, 1, 2, 3, 4, 5};
    const bool brief = oc_scene_chance(rng, 0.4), stain = oc_scene_chance(rng, 0.5);
    bool any = false;
    oc_rng_shuffle_u32(rng, order, OC_CELL_KIND_COUNT);
    oc_strbuf_puts(out, opening[oc_rng_below(rng, OC_COUNT(opening))]);
    for (int k = 0; k < OC_CELL_KIND_COUNT; k++) {
        const oc_cell_kind kind = (oc_cell_kind)order[k];
        const int n = oc_cells_count(c, kind);
        if (!n || (any && oc_scene_chance(rng, 0.2)))
            continue; /* the first kind is always said, others may be left out */
        oc_strbuf_puts(out, !any ? "" : oc_scene_chance(rng, 0.5) ? " and " : ", ");
        const char *word = brief ? shorter[kind][n > 1] : oc_cell_kind_name(kind, n > 1);
        const char *article = strchr("aeiou", word[0]) ? "an" : "a";
        if (oc_scene_chance(rng, 0.4))
            oc_strbuf_printf(out, "%d ", n);
        else
            oc_strbuf_printf(out, "%s ",
                             n == 1                               ? article
                             : n > 3 && oc_scene_chance(rng, 0.5) ? "many"
                                                                  : number_word[n]);
        oc_strbuf_puts(out, word);
        any = true;
    }
    if (stain && oc_scene_chance(rng, 0.5))
        oc_strbuf_printf(out, ", %s", oc_stain_name(c->stain));
    else if (stain)
        oc_strbuf_printf(out, " in %s stain", oc_stain_name(c->stain));
    if (oc_scene_chance(rng, 0.4)) oc_strbuf_putc(out, '.');
}

/* --- Questions ---------------------------------------------------------------------------------------------------- */

typedef struct asking {
    const oc_cells *c;
    oc_rng *rng;
    oc_scene_question *q;
} asking;

static int draw(asking *a, int n) { return (int)oc_rng_below(a->rng, (uint32_t)n); }

__attribute__((format(printf, 3, 4))) static bool say(asking *a, const char *answer, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(a->q->question, sizeof a->q->question, fmt, ap);
    va_end(ap);
    OC_ASSERT(n < (int)sizeof a->q->question && strlen(answer) < sizeof a->q->answer);
    snprintf(a->q->answer, sizeof a->q->answer, "%s", answer);
    return true;
}

static const oc_cell *any_cell(asking *a) { return &a->c->cell[draw(a, a->c->count)]; }

/* A question about that kind is about a pair that train lacks. */
static void mark(asking *a, oc_cell_kind kind) { a->q->held_out |= oc_cells_held_out(kind, a->c->stain); }

/* A kind that is absent. Train and val never speak of held-out pairs: that would teach that they do not exist. */
static bool absent_kind(asking *a, oc_cell_kind *kind) {
    int found = 0;
    for (int k = 0; k < OC_CELL_KIND_COUNT; k++) {
        if (oc_cells_count(a->c, (oc_cell_kind)k)) continue;
        if (a->c->split != OC_SPLIT_TEST && oc_cells_held_out((oc_cell_kind)k, a->c->stain)) continue;
        if (draw(a, ++found) == 0) *kind = (oc_cell_kind)k;
    }
    return found > 0;
}

static bool ask_any(asking *a, bool yes) {
    oc_cell_kind kind = any_cell(a)->kind;
    if (!yes && !absent_kind(a, &kind)) return false;
    mark(a, kind);
    return say(a, yes ? "yes" : "no", "Are there any %s?", oc_cell_kind_name(kind, true));
}

static bool ask_stained(asking *a, bool yes) {
    const int stain = yes ? (int)a->c->stain : ((int)a->c->stain + 1 + draw(a, OC_STAIN_COUNT - 1)) % OC_STAIN_COUNT;
    return say(a, yes ? "yes" : "no", "Is the smear stained with %s?", oc_stain_name((oc_stain)stain));
}

static bool ask_sized(asking *a, bool yes) {
    const oc_cell *o = any_cell(a);
    oc_cell_size size = o->size;
    if (!yes) size = (oc_cell_size)(((int)size + 1 + draw(a, 2)) % OC_CELL_SIZE_COUNT);
    for (int i = 0; i < a->c->count && !yes; i++)
        if (a->c->cell[i].kind == o->kind && a->c->cell[i].size == size) return false;
    mark(a, o->kind);
    return say(a, yes ? "yes" : "no", "Is there %s %s %s?", size == OC_CELL_ENLARGED ? "an" : "a",
               oc_cell_size_name(size), oc_cell_kind_name(o->kind, false));
}

static bool ask_more(asking *a, bool yes) {
    const oc_cell_kind p = any_cell(a)->kind, q = any_cell(a)->kind;
    const int np = oc_cells_count(a->c, p), nq = oc_cells_count(a->c, q);
    if (p == q || np == nq || (np > nq) != yes) return false;
    mark(a, p);
    mark(a, q);
    return say(a, yes ? "yes" : "no", "Are there more %s than %s?", oc_cell_kind_name(p, true),
               oc_cell_kind_name(q, true));
}

static bool ask_there(asking *a, bool yes) {
    int region = any_cell(a)->region;
    bool taken[9] = {false};
    for (int i = 0; i < a->c->count; i++) taken[a->c->cell[i].region] = true;
    while (!yes && taken[region]) region = draw(a, 9);
    return say(a, yes ? "yes" : "no", "Is there a cell in the %s field?", oc_cell_region_name(region));
}

static bool ask_yesno(asking *a) {
    static bool (*const form[])(asking *, bool) = {ask_any, ask_any, ask_stained, ask_sized, ask_more, ask_there};
    const bool yes = draw(a, 2);
    const int k = draw(a, (int)OC_COUNT(form));
    for (int attempt = 0; attempt < 4; attempt++) {
        *a->q = (oc_scene_question){.kind = OC_CELL_ASK_YESNO};
        if (form[k](a, yes)) return true;
    }
    return false;
}

/* The only cell of its kind, as a question about it needs. */
static const oc_cell *only_cell(asking *a) {
    const oc_cell *o = any_cell(a);
    return oc_cells_count(a->c, o->kind) == 1 ? o : NULL;
}

static bool ask_what_at(asking *a, const oc_cell *o) {
    mark(a, o->kind);
    return say(a, oc_cell_kind_name(o->kind, false), "What cell is in the %s field?", oc_cell_region_name(o->region));
}

static bool ask_most(asking *a) {
    int best = 0, ties = 0;
    for (int k = 1; k < OC_CELL_KIND_COUNT; k++)
        if (oc_cells_count(a->c, (oc_cell_kind)k) > oc_cells_count(a->c, (oc_cell_kind)best)) best = k;
    for (int k = 0; k < OC_CELL_KIND_COUNT; k++)
        ties += oc_cells_count(a->c, (oc_cell_kind)k) == oc_cells_count(a->c, (oc_cell_kind)best);
    if (ties > 1 || a->c->count < 2) return false;
    mark(a, (oc_cell_kind)best);
    return say(a, oc_cell_kind_name((oc_cell_kind)best, false), "Which kind of cell is most frequent?");
}

static bool ask_what(asking *a) { return draw(a, 3) ? ask_what_at(a, any_cell(a)) : ask_most(a); }

static bool ask_where(asking *a) {
    const oc_cell *o = only_cell(a);
    if (!o) return false;
    mark(a, o->kind);
    return say(a, oc_cell_region_name(o->region), "Where is the %s?", oc_cell_kind_name(o->kind, false));
}

static bool ask_how_many(asking *a) {
    oc_cell_kind kind = any_cell(a)->kind;
    char digit[2] = {0};
    if (draw(a, 4) == 0) {
        digit[0] = (char)('0' + a->c->count);
        return say(a, digit, "How many cells are there?");
    }
    if (draw(a, 4) == 0 && !absent_kind(a, &kind)) return false;
    digit[0] = (char)('0' + oc_cells_count(a->c, kind));
    mark(a, kind);
    return say(a, digit, "How many %s are there?", oc_cell_kind_name(kind, true));
}

static bool ask_stain(asking *a) { return say(a, oc_stain_name(a->c->stain), "What stain was used?"); }

static bool ask_size(asking *a) {
    const oc_cell *o = only_cell(a);
    if (!o) return false;
    mark(a, o->kind);
    return say(a, oc_cell_size_name(o->size), "What is the size of the %s?", oc_cell_kind_name(o->kind, false));
}

static bool ask_nucleus(asking *a) {
    const oc_cell *o = any_cell(a);
    mark(a, o->kind);
    return say(a, oc_cell_nucleus_name(o->kind), "What is the nucleus of the cell in the %s field like?",
               oc_cell_region_name(o->region));
}

const char *oc_cell_ask_name(int kind) {
    static const char *const name[OC_CELL_ASK_COUNT] = {"yesno", "what", "where",  "how many",
                                                        "stain", "size", "nucleus"};
    return name[kind];
}

static bool ask_kind(void *ctx, oc_scene_question *q) {
    static bool (*const build[OC_CELL_ASK_COUNT])(asking *) = {ask_yesno, ask_what, ask_where,  ask_how_many,
                                                              ask_stain, ask_size, ask_nucleus};
    asking *a = ctx;
    a->q = q;
    return build[q->kind](a);
}

int oc_cells_questions(const oc_cells *c, oc_rng *rng, oc_scene_question *out, int max) {
    return oc_scene_ask_all(out, max, rng, OC_CELL_ASK_COUNT, 2, ask_kind, &(asking){.c = c, .rng = rng});
}

int oc_cells_places(const oc_cells *c, oc_scene_question *out, int max) {
    int n = 0;
    for (int i = 0; i < c->count && n < max; i++) {
        out[n] = (oc_scene_question){.kind = OC_CELL_ASK_WHAT};
        n += ask_what_at(&(asking){c, NULL, &out[n]}, &c->cell[i]);
    }
    return n;
}
