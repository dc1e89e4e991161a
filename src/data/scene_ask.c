/* Questions about a scene. For each kind a small function tries to build one question; it fails when this scene allows
 * none that is unambiguous, and another form or object is tried. Answers are balanced at the source: a yes/no
 * question is built for an answer that a coin has chosen, a count is chosen among the counts that the scene offers. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "data/scene_internal.h"

static const char *const ask_name[OC_ASK_COUNT_KINDS] = {"yesno", "count",    "color",   "shape",
                                                         "size",  "relation", "spatial", "background"};
const char *oc_ask_name(oc_ask kind) { return ask_name[kind]; }

static const char *const relation_phrase[OC_REL_COUNT] = {"left of", "right of",    "above",
                                                          "below",   "in front of", "behind"};
static const char *const relation_answer[OC_REL_COUNT] = {"left", "right", "above", "below", "in front", "behind"};

/* What a question is built from and into. */
typedef struct asking {
    const oc_scene *s;
    oc_rng *rng;
    oc_scene_question *q;
} asking;

typedef char phrase[48];

static int draw(asking *a, int n) { return (int)oc_rng_below(a->rng, (uint32_t)n); }
static const oc_scene_object *object_at(const asking *a, int i) { return &a->s->object[i]; }

__attribute__((format(printf, 3, 4)))
static bool say(asking *a, const char *answer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(a->q->question, sizeof a->q->question, format, args);
    va_end(args);
    int m = snprintf(a->q->answer, sizeof a->q->answer, "%s", answer);
    OC_ASSERT(n > 0 && (size_t)n < sizeof a->q->question && m > 0 && (size_t)m < sizeof a->q->answer);
    return true;
}

/* --- Naming an object ---------------------------------------------------------------------------------------------- */

enum { BY_SHAPE = 1, BY_COLOR = 2, BY_SIZE = 4 };

static bool matches(const oc_scene_object *a, const oc_scene_object *b, int by) {
    return (!(by & BY_SHAPE) || a->shape == b->shape) && (!(by & BY_COLOR) || a->color == b->color) &&
           (!(by & BY_SIZE) || a->size == b->size);
}

static int count_like(const oc_scene *s, const oc_scene_object *o, int by) {
    int n = 0;
    for (int i = 0; i < s->count; i++) n += matches(&s->object[i], o, by);
    return n;
}

/* "the red circle": words that fit object i alone, chosen among all such; none of the attributes in `without`. Short
 * names twice as likely as the full one. Notes that the question is about a held-out pair. */
static bool name_object(asking *a, int i, int without, phrase out) {
    const oc_scene_object *o = object_at(a, i);
    int usable[7], n = 0;
    for (int by = 1; by < 8; by++)
        if (!(by & without) && count_like(a->s, o, by) == 1) usable[n++] = by;
    if (n == 0) return false;
    int by = usable[draw(a, n)];
    if (by == 7) by = usable[draw(a, n)];
    snprintf(out, sizeof(phrase), "the %s%s%s%s%s", by & BY_SIZE ? oc_size_name(o->size) : "", by & BY_SIZE ? " " : "",
             by & BY_COLOR ? oc_color_name(o->color) : "", by & BY_COLOR ? " " : "",
             by & BY_SHAPE ? oc_shape_name(o->shape) : "object");
    a->q->held_out |= oc_scene_pair_held_out(o->color, o->shape);
    return true;
}

/* --- Yes or no ----------------------------------------------------------------------------------------------------- */

static const char *yes_or_no(bool yes) { return yes ? "yes" : "no"; }

static const char *article(const char *word) { return strchr("aeiou", word[0]) ? "an" : "a"; }

/* A pair that is absent and shares both its colour and its shape with something present where possible, else one of
 * them. Train never mentions held-out pairs (it would teach that they do not exist); test often does. */
static bool absent_pair(asking *a, oc_color *color, oc_shape *shape) {
    const bool test = a->s->split == OC_SPLIT_TEST, want_novel = test && draw(a, 2);
    for (int pass = 0; pass < 2; pass++) {
        int found = 0;
        for (int k = 0; k < OC_COLOR_COUNT * OC_SHAPE_COUNT; k++) {
            const oc_scene_object o = {.color = (oc_color)(k / OC_SHAPE_COUNT),
                                       .shape = (oc_shape)(k % OC_SHAPE_COUNT)};
            const int shared = (count_like(a->s, &o, BY_COLOR) > 0) + (count_like(a->s, &o, BY_SHAPE) > 0);
            const bool novel = oc_scene_pair_held_out(o.color, o.shape);
            if (count_like(a->s, &o, BY_COLOR | BY_SHAPE) || shared < 2 - pass) continue;
            if (novel ? !test : want_novel) continue;
            if (draw(a, ++found) > 0) continue; /* each candidate equally likely */
            *color = o.color;
            *shape = o.shape;
        }
        if (found) return true;
    }
    return false;
}

static bool ask_existence(asking *a, bool yes) {
    const oc_scene_object *o = object_at(a, draw(a, a->s->count));
    oc_color color = o->color;
    oc_shape shape = o->shape;
    if (!yes && !absent_pair(a, &color, &shape)) return false;
    a->q->held_out = oc_scene_pair_held_out(color, shape);
    return say(a, yes_or_no(yes), "Is there %s %s %s?", article(oc_color_name(color)), oc_color_name(color),
               oc_shape_name(shape));
}

static bool ask_sized_existence(asking *a, bool yes) {
    oc_scene_object o = *object_at(a, draw(a, a->s->count));
    if (!yes) o.size = (oc_object_size)(((int)o.size + 1 + draw(a, 2)) % OC_SIZE_COUNT);
    if ((count_like(a->s, &o, BY_SHAPE | BY_COLOR | BY_SIZE) > 0) != yes) return false;
    if (!yes && o.size == OC_SIZE_LARGE && draw(a, 2))
        return false; /* large objects are rarer: so must be the question */
    a->q->held_out = oc_scene_pair_held_out(o.color, o.shape);
    return say(a, yes_or_no(yes), "Is there a %s %s %s?", oc_size_name(o.size), oc_color_name(o.color),
               oc_shape_name(o.shape));
}

/* Two different objects; false if there is one only. */
static bool draw_two(asking *a, int *i, int *j) {
    if (a->s->count < 2) return false;
    *i = draw(a, a->s->count);
    *j = (*i + 1 + draw(a, a->s->count - 1)) % a->s->count;
    return true;
}

/* In train one direction of these never occurs: asking for it would teach a rule that test breaks. */
static bool is_untaught(const asking *a, int i, int j) {
    if (a->s->split == OC_SPLIT_TEST) return false;
    const oc_shape p = object_at(a, i)->shape, q = object_at(a, j)->shape;
    return oc_scene_left_held_out(p, q) || oc_scene_left_held_out(q, p);
}

static bool ask_relation_holds(asking *a, bool yes) {
    int i, j;
    phrase p, q;
    oc_relation rel = (oc_relation)draw(a, 4);
    if (!draw_two(a, &i, &j)) return false;
    if (a->s->front >= 0 && oc_scene_chance(a->rng, 0.4)) {
        rel = (oc_relation)(OC_REL_FRONT + draw(a, 2));
        i = draw(a, 2) ? a->s->front : a->s->back;
        j = i == a->s->front ? a->s->back : a->s->front;
    }
    if (rel <= OC_REL_RIGHT && is_untaught(a, i, j)) return false;
    if (!oc_scene_holds(a->s, yes ? rel : oc_relation_inverse(rel), i, j)) return false;
    if (!name_object(a, i, 0, p) || !name_object(a, j, 0, q)) return false;
    return say(a, yes_or_no(yes), "Is %s %s %s?", p, relation_phrase[rel], q);
}

static bool ask_larger(asking *a, bool yes) {
    int i, j;
    phrase p, q;
    const bool larger = draw(a, 2);
    if (!draw_two(a, &i, &j) || object_at(a, i)->size == object_at(a, j)->size) return false;
    if ((object_at(a, i)->size > object_at(a, j)->size) != (yes == larger)) return false;
    if (!name_object(a, i, BY_SIZE, p) || !name_object(a, j, BY_SIZE, q)) return false;
    return say(a, yes_or_no(yes), "Is %s %s than %s?", p, larger ? "larger" : "smaller", q);
}

static bool ask_half(asking *a, bool yes) {
    static const char *const half[4] = {"left", "right", "top", "bottom"};
    const int i = draw(a, a->s->count), axis = draw(a, 2);
    const float x = axis ? object_at(a, i)->y : object_at(a, i)->x;
    phrase p;
    if ((x > 0.35f && x < 0.65f) || !name_object(a, i, 0, p)) return false;
    const int there = axis * 2 + (x > 0.5f);
    return say(a, yes_or_no(yes), "Is %s in the %s half of the image?", p, half[yes ? there : there ^ 1]);
}

static const char *plural(oc_shape shape) {
    static const char *const word[OC_SHAPE_COUNT] = {"circles", "squares", "triangles", "stars",
                                                     "crosses", "rings",   "hearts",    "diamonds"};
    return word[shape];
}

static bool ask_more(asking *a, bool yes) {
    int i, j;
    if (!draw_two(a, &i, &j)) return false;
    const oc_scene_object *p = object_at(a, i), *q = object_at(a, j);
    const int np = count_like(a->s, p, BY_SHAPE), nq = count_like(a->s, q, BY_SHAPE);
    if (p->shape == q->shape || np == nq || (np > nq) != yes) return false;
    return say(a, yes_or_no(yes), "Are there more %s than %s?", plural(p->shape), plural(q->shape));
}

/* Few scenes have an overlap: most of those without are passed over, so that the answer stays even. */
static bool ask_overlap(asking *a, bool yes) {
    if ((a->s->front >= 0) != yes || a->s->count < 2) return false;
    if (!yes && !oc_scene_chance(a->rng, 0.16)) return false;
    return say(a, yes_or_no(yes), "Do any objects overlap?");
}

static bool ask_texture(asking *a, bool yes) {
    int t = (int)a->s->texture;
    if (!yes) t = (t + 1 + draw(a, OC_TEXTURE_COUNT - 1)) % OC_TEXTURE_COUNT;
    return say(a, yes_or_no(yes), "Is the background %s?",
               t == OC_TEXTURE_GRADIENT ? "a gradient" : oc_texture_name((oc_texture)t));
}

static bool ask_yesno(asking *a) {
    static bool (*const form[])(asking *, bool) = {ask_existence,      ask_existence,      ask_sized_existence,
                                                   ask_relation_holds, ask_relation_holds, ask_relation_holds,
                                                   ask_larger,         ask_half,           ask_more,
                                                   ask_overlap,        ask_texture};
    const bool yes = draw(a, 2);
    const int k = draw(a, (int)OC_COUNT(form));
    for (int attempt = 0; attempt < 4; attempt++) {
        *a->q = (oc_scene_question){.kind = OC_ASK_YESNO};
        if (form[k](a, yes)) return true;
    }
    return false;
}

/* --- Counts -------------------------------------------------------------------------------------------------------- */

/* All classes that can be counted, by what they share with `o`. */
typedef struct countable {
    oc_scene_object o;
    int by, n;
} countable;

static int list_countables(const asking *a, countable *c) {
    int n = 0;
    c[n++] = (countable){.by = 0, .n = a->s->count};
    for (int k = 0; k < OC_COLOR_COUNT * OC_SHAPE_COUNT; k++) {
        const oc_scene_object o = {.color = (oc_color)(k / OC_SHAPE_COUNT), .shape = (oc_shape)(k % OC_SHAPE_COUNT)};
        if (o.shape == 0) c[n++] = (countable){o, BY_COLOR, count_like(a->s, &o, BY_COLOR)};
        if (o.color == 0) c[n++] = (countable){o, BY_SHAPE, count_like(a->s, &o, BY_SHAPE)};
        const bool near = count_like(a->s, &o, BY_COLOR) > 0 && count_like(a->s, &o, BY_SHAPE) > 0;
        if (!near || (oc_scene_pair_held_out(o.color, o.shape) && a->s->split != OC_SPLIT_TEST)) continue;
        c[n++] = (countable){o, BY_COLOR | BY_SHAPE, count_like(a->s, &o, BY_COLOR | BY_SHAPE)};
    }
    return n;
}

/* Rare answers get more weight where they are possible at all. */
static int draw_answer(asking *a, const countable *c, int n) {
    static const double weight[OC_SCENE_MAX_OBJECTS + 1] = {1.0, 1.0, 2.0, 4.0, 5.0};
    bool offered[OC_SCENE_MAX_OBJECTS + 1] = {false};
    double total = 0.0;
    for (int i = 0; i < n; i++) offered[c[i].n] = true;
    for (int k = 0; k <= OC_SCENE_MAX_OBJECTS; k++) total += offered[k] ? weight[k] : 0.0;
    double u = oc_rng_uniform(a->rng) * total;
    int answer = 0;
    for (int k = 0; k <= OC_SCENE_MAX_OBJECTS; k++) {
        if (!offered[k]) continue;
        answer = k;
        if (u < weight[k]) break;
        u -= weight[k];
    }
    return answer;
}

static bool ask_count(asking *a) {
    countable c[1 + OC_COLOR_COUNT + OC_SHAPE_COUNT + OC_COLOR_COUNT * OC_SHAPE_COUNT], chosen = {0};
    const int n = list_countables(a, c), answer = draw_answer(a, c, n);
    for (int i = 0, found = 0; i < n; i++)
        if (c[i].n == answer && draw(a, ++found) == 0) chosen = c[i];
    char digit[2] = {(char)('0' + answer), 0};
    const char *color = oc_color_name(chosen.o.color), *shapes = plural(chosen.o.shape);
    a->q->held_out = chosen.by == (BY_COLOR | BY_SHAPE) && oc_scene_pair_held_out(chosen.o.color, chosen.o.shape);
    if (chosen.by == 0) return say(a, digit, "How many objects are there?");
    if (chosen.by == BY_COLOR) return say(a, digit, "How many %s objects are there?", color);
    if (chosen.by == BY_SHAPE) return say(a, digit, "How many %s are there?", shapes);
    return say(a, digit, "How many %s %s are there?", color, shapes);
}

/* --- Attributes, relations, places --------------------------------------------------------------------------------- */

static bool ask_color(asking *a) {
    const int i = draw(a, a->s->count);
    phrase p;
    return name_object(a, i, BY_COLOR, p) && say(a, oc_color_name(object_at(a, i)->color), "What color is %s?", p);
}

static bool ask_shape(asking *a) {
    const int i = draw(a, a->s->count);
    phrase p;
    return name_object(a, i, BY_SHAPE, p) && say(a, oc_shape_name(object_at(a, i)->shape), "What shape is %s?", p);
}

static bool ask_size(asking *a) {
    const int i = draw(a, a->s->count);
    phrase p;
    /* Large objects crowd others out and are rarer. */
    if (object_at(a, i)->size != OC_SIZE_LARGE && oc_scene_chance(a->rng, 0.25)) return false;
    return name_object(a, i, BY_SIZE, p) && say(a, oc_size_name(object_at(a, i)->size), "What size is %s?", p);
}

/* "Where is X relative to Y?": asked where one axis clearly wins; of overlapping pairs only which one is in front. */
static bool ask_where_relative(asking *a) {
    int i, j;
    phrase p, q;
    if (!draw_two(a, &i, &j)) return false;
    const oc_scene_object *o = object_at(a, i), *w = object_at(a, j);
    const float dx = fabsf(o->x - w->x), dy = fabsf(o->y - w->y);
    const bool overlap = oc_scene_holds(a->s, OC_REL_FRONT, i, j) || oc_scene_holds(a->s, OC_REL_BEHIND, i, j);
    if (!overlap && dx < 1.6f * dy && dy < 1.6f * dx) return false;
    int rel = overlap ? OC_REL_FRONT : dx > dy ? OC_REL_LEFT : OC_REL_ABOVE;
    if (!oc_scene_holds(a->s, (oc_relation)rel, i, j)) rel++;
    if (!oc_scene_holds(a->s, (oc_relation)rel, i, j)) return false;
    if (!name_object(a, i, 0, p) || !name_object(a, j, 0, q)) return false;
    return overlap ? say(a, relation_answer[rel], "Is %s in front of or behind %s?", p, q)
                   : say(a, relation_answer[rel], "Where is %s relative to %s?", p, q);
}

/* "What is left of X?": exactly one object is, and every other clearly is not. */
static bool ask_what_is(asking *a) {
    const int i = draw(a, a->s->count);
    const oc_relation rel = (oc_relation)draw(a, OC_REL_COUNT);
    int found = -1;
    phrase p, answer;
    for (int j = 0; j < a->s->count; j++) {
        if (j == i) continue;
        const bool is = oc_scene_holds(a->s, rel, j, i);
        if (is && found >= 0) return false;
        if (is) found = j;
        else if (rel < OC_REL_FRONT && !oc_scene_holds(a->s, oc_relation_inverse(rel), j, i)) return false;
    }
    if (found < 0 || !name_object(a, i, 0, p)) return false;
    const oc_scene_object *o = object_at(a, found);
    snprintf(answer, sizeof answer, "%s %s", oc_color_name(o->color), oc_shape_name(o->shape));
    a->q->held_out |= oc_scene_pair_held_out(o->color, o->shape);
    return say(a, answer, "What is %s %s?", relation_phrase[rel], p);
}

static bool ask_relation(asking *a) { return draw(a, 2) ? ask_where_relative(a) : ask_what_is(a); }

/* The only object of its region. */
static bool ask_what_is_at(asking *a, int i) {
    const oc_scene_object *o = object_at(a, i);
    const int region = oc_scene_region(o);
    phrase answer;
    for (int j = 0; j < a->s->count; j++)
        if (j != i && oc_scene_region(object_at(a, j)) == region) return false;
    snprintf(answer, sizeof answer, "%s %s", oc_color_name(o->color), oc_shape_name(o->shape));
    a->q->held_out |= oc_scene_pair_held_out(o->color, o->shape);
    return say(a, answer, "What is at the %s?", oc_region_name(region));
}

static bool ask_spatial(asking *a) {
    const int i = draw(a, a->s->count), region = oc_scene_region(object_at(a, i));
    phrase p;
    if (draw(a, 3)) return name_object(a, i, 0, p) && say(a, oc_region_name(region), "Where is %s?", p);
    return ask_what_is_at(a, i);
}

static bool ask_background(asking *a) {
    if (draw(a, 2)) return say(a, oc_tint_name(a->s->tint), "What color is the background?");
    return say(a, oc_texture_name(a->s->texture), "What pattern does the background have?");
}

/* --- All of them --------------------------------------------------------------------------------------------------- */

static bool is_among(const oc_scene_question *q, const oc_scene_question *list, int n) {
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i].question, q->question)) return true;
    return false;
}

int oc_scene_ask_all(oc_scene_question *out, int max, oc_rng *rng, int kinds, int more,
                     bool (*ask)(void *ctx, oc_scene_question *q), void *ctx) {
    enum { MAX_KINDS = 16, ATTEMPTS = 24 };
    uint32_t order[MAX_KINDS];
    const int wanted = kinds + more;
    int n = 0;
    OC_ASSERT(wanted <= MAX_KINDS);
    for (int k = 0; k < wanted; k++) order[k] = (uint32_t)(k < kinds ? k : 0);
    oc_rng_shuffle_u32(rng, order, (size_t)wanted);
    for (int k = 0; k < wanted && n < max; k++)
        for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
            out[n] = (oc_scene_question){.kind = (int)order[k]};
            if (!ask(ctx, &out[n]) || is_among(&out[n], out, n)) continue;
            n++;
            break;
        }
    return n;
}

static bool ask_kind(void *ctx, oc_scene_question *q) {
    static bool (*const build[OC_ASK_COUNT_KINDS])(asking *) = {ask_yesno, ask_count, ask_color, ask_shape, ask_size,
                                                               ask_relation, ask_spatial, ask_background};
    asking *a = ctx;
    a->q = q;
    return build[q->kind](a);
}

int oc_scene_questions(const oc_scene *s, oc_rng *rng, oc_scene_question *out, int max) {
    return oc_scene_ask_all(out, max, rng, OC_ASK_COUNT_KINDS, 1, ask_kind, &(asking){.s = s, .rng = rng});
}

int oc_scene_places(const oc_scene *s, oc_scene_question *out, int max) {
    int n = 0;
    for (int i = 0; i < s->count && n < max; i++) {
        out[n] = (oc_scene_question){.kind = OC_ASK_SPATIAL};
        n += ask_what_is_at(&(asking){s, NULL, &out[n]}, i);
    }
    return n;
}
