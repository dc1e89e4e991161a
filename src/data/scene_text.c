/* Captions of scenes: the complete regular one and the hurried human one. Both speak of entities: one object, or all
 * objects that are equal. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/scene_internal.h"

typedef struct entity {
    int n, member[OC_SCENE_MAX_OBJECTS];
} entity;

static const char *const number_word[5] = {"no", "one", "two", "three", "four"};
static const char *const relation_word[OC_REL_COUNT] = {"left of", "right of",    "above",
                                                        "below",   "in front of", "behind"};

/* Reading order: by row of the grid, then by x. */
static bool comes_before(const oc_scene_object *a, const oc_scene_object *b) {
    int row_a = oc_scene_region(a) / 3, row_b = oc_scene_region(b) / 3;
    return row_a != row_b ? row_a < row_b : a->x < b->x;
}

static void reading_order(const oc_scene *s, int order[OC_SCENE_MAX_OBJECTS]) {
    for (int i = 0; i < s->count; i++) {
        int k = i;
        for (; k > 0 && comes_before(&s->object[i], &s->object[order[k - 1]]); k--) order[k] = order[k - 1];
        order[k] = i;
    }
}

static int list_entities(const oc_scene *s, entity *e) {
    int order[OC_SCENE_MAX_OBJECTS], n = 0;
    reading_order(s, order);
    for (int i = 0; i < s->count; i++) {
        int k = 0;
        while (k < n && !oc_scene_same(&s->object[order[i]], &s->object[e[k].member[0]])) k++;
        if (k == n) e[n++].n = 0;
        e[k].member[e[k].n++] = order[i];
    }
    return n;
}

static const oc_scene_object *first_of(const oc_scene *s, const entity *e) { return &s->object[e->member[0]]; }

static bool holds_for_all(const oc_scene *s, oc_relation rel, const entity *a, const entity *b) {
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n; j++)
            if (!oc_scene_holds(s, rel, a->member[i], b->member[j])) return false;
    return true;
}

/* The direction in which a lies of b, along the longer axis first; OC_REL_COUNT if there is none for all members. */
static oc_relation direction_of(const oc_scene *s, const entity *a, const entity *b) {
    const oc_scene_object *p = first_of(s, a), *q = first_of(s, b);
    const int first = fabsf(p->x - q->x) >= fabsf(p->y - q->y) ? OC_REL_LEFT : OC_REL_ABOVE;
    for (int k = 0; k < 4; k++) {
        oc_relation rel = (oc_relation)((first + k) % 4);
        if (holds_for_all(s, rel, a, b)) return rel;
    }
    return OC_REL_COUNT;
}

/* --- Recap --------------------------------------------------------------------------------------------------------- */

/* "at the top left", or for a group "at the top left, the center and the right". */
static void add_places(const oc_scene *s, const entity *e, oc_strbuf *out) {
    int region[OC_SCENE_MAX_OBJECTS], n = 0;
    for (int i = 0; i < e->n; i++) {
        int r = oc_scene_region(&s->object[e->member[i]]), k = 0;
        while (k < n && region[k] != r) k++;
        if (k == n) region[n++] = r;
    }
    oc_strbuf_puts(out, " at ");
    for (int i = 0; i < n; i++)
        oc_strbuf_printf(out, "%sthe %s", i == 0 ? "" : i == n - 1 ? " and " : ", ", oc_region_name(region[i]));
}

static const char *plural(oc_shape shape, int n) { return n == 1 ? "" : shape == OC_SHAPE_CROSS ? "es" : "s"; }

static void add_noun(const oc_scene_object *o, int n, bool with_size, oc_strbuf *out) {
    if (with_size) oc_strbuf_printf(out, "%s ", oc_size_name(o->size));
    oc_strbuf_printf(out, "%s %s%s", oc_color_name(o->color), oc_shape_name(o->shape), plural(o->shape, n));
}

/* "the red circle", with its size where another entity has the same colour and shape. */
static void add_reference(const oc_scene *s, const entity *e, oc_strbuf *out) {
    const oc_scene_object *o = first_of(s, e);
    int like = 0;
    for (int i = 0; i < s->count; i++) like += s->object[i].shape == o->shape && s->object[i].color == o->color;
    oc_strbuf_puts(out, "the ");
    add_noun(o, e->n, like > e->n, out);
}

static void capitalise(oc_strbuf *out, size_t at) {
    if (!out->failed && at < out->len) out->data[at] = (char)toupper((unsigned char)out->data[at]);
}

static void add_relation(const oc_scene *s, const entity *a, oc_relation rel, const entity *b, oc_strbuf *out) {
    oc_strbuf_putc(out, ' ');
    size_t start = out->len;
    add_reference(s, a, out);
    oc_strbuf_printf(out, " %s %s ", a->n == 1 ? "is" : "are", relation_word[rel]);
    add_reference(s, b, out);
    oc_strbuf_putc(out, '.');
    capitalise(out, start);
}

/* Overlap is between two objects; a member of a group is "one of the small red circles". */
static void add_overlap(const oc_scene *s, const entity *e, int n, oc_strbuf *out) {
    const entity *front = NULL, *back = NULL;
    for (int k = 0; k < n; k++) {
        for (int i = 0; i < e[k].n; i++) {
            if (e[k].member[i] == s->front) front = &e[k];
            if (e[k].member[i] == s->back) back = &e[k];
        }
    }
    if (!front || !back) return;
    oc_strbuf_putc(out, ' ');
    size_t start = out->len;
    oc_strbuf_puts(out, front->n > 1 ? "one of " : "");
    add_reference(s, front, out);
    oc_strbuf_printf(out, " is in front of %s", back->n > 1 ? "one of " : "");
    add_reference(s, back, out);
    oc_strbuf_putc(out, '.');
    capitalise(out, start);
}

void oc_scene_caption_recap(const oc_scene *s, oc_strbuf *out) {
    entity e[OC_SCENE_MAX_OBJECTS];
    const int n = list_entities(s, e);
    oc_strbuf_puts(out, "The image shows ");
    for (int k = 0; k < n; k++) {
        oc_strbuf_printf(out, "%s%s ",
                         k == 0       ? ""
                         : k == n - 1 ? " and "
                                      : ", ",
                         e[k].n == 1 ? "a" : number_word[e[k].n]);
        add_noun(first_of(s, &e[k]), e[k].n, true, out);
        add_places(s, &e[k], out);
    }
    oc_strbuf_printf(out, " on a %s %s background.", oc_tint_name(s->tint), oc_texture_name(s->texture));
    for (int k = 0; k + 1 < n; k++) {
        oc_relation rel = direction_of(s, &e[k], &e[k + 1]);
        if (rel != OC_REL_COUNT) add_relation(s, &e[k], rel, &e[k + 1], out);
    }
    add_overlap(s, e, n, out);
}

/* --- Inventories --------------------------------------------------------------------------------------------------- */

static int attribute_of(const oc_scene_object *o, oc_inventory_kind kind) {
    return kind == OC_FIND_SHAPES ? (int)o->shape : kind == OC_FIND_COLORS ? (int)o->color : (int)o->size;
}

/* After every list in the same words: with endings of their own the background was not learned (docs/results/demo.md). */
static void list_background(const oc_scene *s, oc_strbuf *out) {
    oc_strbuf_printf(out, "background %s %s.", oc_texture_name(s->texture), oc_tint_name(s->tint));
}

/* "top left circle, bottom ring, background mottled beige." */
static void list_shapes(const oc_scene *s, const int *order, oc_strbuf *out) {
    for (int i = 0; i < s->count; i++) {
        const oc_scene_object *o = &s->object[order[i]];
        oc_strbuf_printf(out, "%s %s, ", oc_region_name(oc_scene_region(o)), oc_shape_name(o->shape));
    }
    list_background(s, out);
}

/* "top left small red, bottom large black, background mottled beige." */
static void list_colors(const oc_scene *s, const int *order, oc_strbuf *out) {
    for (int i = 0; i < s->count; i++) {
        const oc_scene_object *o = &s->object[order[i]];
        oc_strbuf_printf(out, "%s %s %s, ", oc_region_name(oc_scene_region(o)), oc_size_name(o->size),
                         oc_color_name(o->color));
    }
    list_background(s, out);
}

/* "circle two top left, bottom right." or "square none." */
static void find_one(const oc_scene *s, const int *order, oc_inventory_kind kind, int value, const char *name,
                     oc_strbuf *out) {
    int n = 0, said = 0;
    for (int i = 0; i < s->count; i++) n += attribute_of(&s->object[i], kind) == value;
    oc_strbuf_printf(out, "%s%s %s", value ? " " : "", name, n ? number_word[n] : "none");
    for (int i = 0; i < s->count; i++) {
        const oc_scene_object *o = &s->object[order[i]];
        if (attribute_of(o, kind) == value)
            oc_strbuf_printf(out, "%s %s", said++ ? "," : "", oc_region_name(oc_scene_region(o)));
    }
    oc_strbuf_putc(out, '.');
}

const char *oc_scene_inventory_prompt(oc_inventory_kind kind) {
    static const char *const prompt[OC_INVENTORY_KIND_COUNT] = {
        "List the shapes.", "List the colors.", "Find each shape.", "Find each color.", "Find each size."};
    return prompt[kind];
}

void oc_scene_inventory(const oc_scene *s, oc_inventory_kind kind, oc_strbuf *out) {
    int order[OC_SCENE_MAX_OBJECTS];
    reading_order(s, order);
    switch (kind) {
    case OC_LIST_SHAPES: list_shapes(s, order, out); break;
    case OC_LIST_COLORS: list_colors(s, order, out); break;
    case OC_FIND_SHAPES:
        for (int k = 0; k < OC_SHAPE_COUNT; k++) find_one(s, order, kind, k, oc_shape_name((oc_shape)k), out);
        break;
    case OC_FIND_COLORS:
        for (int k = 0; k < OC_COLOR_COUNT; k++) find_one(s, order, kind, k, oc_color_name((oc_color)k), out);
        break;
    case OC_FIND_SIZES:
        for (int k = 0; k < OC_SIZE_COUNT; k++) find_one(s, order, kind, k, oc_size_name((oc_object_size)k), out);
        break;
    case OC_INVENTORY_KIND_COUNT: break;
    }
}

/* --- Human --------------------------------------------------------------------------------------------------------- */

/* Other words for the same; the usual one stands first and is drawn most. */
static const char *const shape_words[OC_SHAPE_COUNT][3] = {
    {"circle", "dot", "disc"},        {"square", "box", "square"},      {"triangle", "triangle", "triangle"},
    {"star", "star", "star"},         {"cross", "plus sign", "cross"},  {"ring", "donut", "hoop"},
    {"heart", "heart", "love heart"}, {"diamond", "rhombus", "diamond"}};
static const char *const size_words[OC_SIZE_COUNT][3] = {
    {"small", "little", "tiny"}, {"medium", "mid-sized", "medium sized"}, {"big", "large", "huge"}};
static const char *const texture_words[OC_TEXTURE_COUNT][3] = {
    {"on a plain %s background", "on a %s background", "on %s"},
    {"on a %s gradient", "on a shaded %s background", "on a %s background that fades"},
    {"on %s stripes", "on a striped background", "on a striped %s background"},
    {"on a %s checkerboard", "on a checkered background", "on checkered %s"},
    {"on %s dots", "on a dotted background", "on a dotted %s background"},
    {"on a mottled %s background", "on a blotchy background", "on a cloudy %s background"}};
static const char *const openings[] = {"there is ", "i see ", "picture of ", "looks like ", "an image with ", "it's "};

static const char *pick3(oc_rng *rng, const char *const words[3]) {
    double u = oc_rng_uniform(rng);
    return words[u < 0.6 ? 0 : u < 0.8 ? 1 : 2];
}

static const char *human_place(int region, oc_rng *rng) {
    static const char *const word[9] = {"top left",     "at the top",  "top right",     "on the left", "in the middle",
                                        "on the right", "bottom left", "at the bottom", "bottom right"};
    static const char *const other[9] = {"in the upper left", "up top",        "in the upper right",
                                         "left side",         "in the center", "right side",
                                         "in the lower left", "down below",    "in the lower right"};
    return oc_scene_chance(rng, 0.7) ? word[region] : other[region];
}

/* "a ", "three ", "some ", or nothing. `next` is the word that follows. */
static void human_number(int n, const char *next, oc_rng *rng, oc_strbuf *out) {
    if (n == 1) {
        bool vowel = strchr("aeiou", next[0]) != NULL;
        oc_strbuf_puts(out, oc_scene_chance(rng, 0.15)  ? ""
                            : vowel                     ? "an "
                            : oc_scene_chance(rng, 0.1) ? "one "
                                                        : "a ");
    } else if (oc_scene_chance(rng, 0.25)) {
        oc_strbuf_puts(out, n == 2 ? "a couple of " : "some ");
    } else if (oc_scene_chance(rng, 0.6)) {
        oc_strbuf_printf(out, "%s ", number_word[n]);
    } else {
        oc_strbuf_printf(out, "%d ", n);
    }
}

/* "a big red dot", "3 stars", "some small blue stars". */
static void human_mention(const oc_scene *s, const entity *e, oc_rng *rng, oc_strbuf *out) {
    const oc_scene_object *o = first_of(s, e);
    const char *size = "", *color = "", *noun = pick3(rng, shape_words[o->shape]);
    if (oc_scene_chance(rng, o->size == OC_SIZE_MEDIUM ? 0.12 : 0.4)) size = pick3(rng, size_words[o->size]);
    if (oc_scene_chance(rng, 0.85))
        color = o->color == OC_COLOR_PURPLE && oc_scene_chance(rng, 0.25) ? "violet" : oc_color_name(o->color);
    const char *ending = e->n == 1 ? "" : strchr("sx", noun[strlen(noun) - 1]) ? "es" : "s";
    human_number(e->n, size[0] ? size : color[0] ? color : noun, rng, out);
    oc_strbuf_printf(out, "%s%s%s%s%s%s", size, size[0] ? " " : "", color, color[0] ? " " : "", noun, ending);
}

static const char *human_relation(oc_relation rel, oc_rng *rng) {
    static const char *const word[OC_REL_COUNT][3] = {{"left of", "to the left of", "on the left of"},
                                                      {"right of", "to the right of", "on the right of"},
                                                      {"above", "over", "higher than"},
                                                      {"below", "under", "beneath"},
                                                      {"in front of", "covering", "overlapping"},
                                                      {"behind", "partly hidden by", "behind"}};
    return pick3(rng, word[rel]);
}

/* Two entities and how they stand to each other; false if nothing can be said. */
static bool human_relation_caption(const oc_scene *s, const entity *e, int n, oc_rng *rng, oc_strbuf *out) {
    if (n < 2) return false;
    int a = (int)oc_rng_below(rng, (uint32_t)n), b = (a + 1 + (int)oc_rng_below(rng, (uint32_t)n - 1)) % n;
    oc_relation rel = direction_of(s, &e[a], &e[b]);
    if (e[a].n == 1 && e[b].n == 1 && oc_scene_holds(s, OC_REL_FRONT, e[a].member[0], e[b].member[0]))
        rel = OC_REL_FRONT;
    if (e[a].n == 1 && e[b].n == 1 && oc_scene_holds(s, OC_REL_BEHIND, e[a].member[0], e[b].member[0]))
        rel = OC_REL_BEHIND;
    if (rel == OC_REL_COUNT) return false;
    human_mention(s, &e[a], rng, out);
    oc_strbuf_printf(out, " %s ", human_relation(rel, rng));
    human_mention(s, &e[b], rng, out);
    return true;
}

/* Some of the entities in any order. */
static void human_list(const oc_scene *s, const entity *e, int n, oc_rng *rng, oc_strbuf *out) {
    uint32_t order[OC_SCENE_MAX_OBJECTS] = {0, 1, 2, 3};
    oc_rng_shuffle_u32(rng, order, (size_t)n);
    int said = n;
    while (said > 1 && oc_scene_chance(rng, 0.3)) said--;
    const char *last = oc_scene_chance(rng, 0.6) ? " and " : oc_scene_chance(rng, 0.5) ? " with " : ", ";
    for (int k = 0; k < said; k++) {
        oc_strbuf_puts(out, k == 0 ? "" : k == said - 1 ? last : ", ");
        human_mention(s, &e[order[k]], rng, out);
        if (e[order[k]].n == 1 && oc_scene_chance(rng, said == 1 ? 0.45 : 0.15))
            oc_strbuf_printf(out, " %s", human_place(oc_scene_region(first_of(s, &e[order[k]])), rng));
    }
    if (said < n && oc_scene_chance(rng, 0.15))
        oc_strbuf_puts(out, n - said > 1 ? " and other shapes" : " and something else");
}

static void human_background(const oc_scene *s, oc_rng *rng, oc_strbuf *out) {
    const char *word = pick3(rng, texture_words[s->texture]), *mark = strstr(word, "%s");
    const char *tint = s->tint == OC_TINT_GRAY && oc_scene_chance(rng, 0.4) ? "grey" : oc_tint_name(s->tint);
    oc_strbuf_putc(out, ' ');
    oc_strbuf_add(out, word, mark ? (size_t)(mark - word) : strlen(word));
    if (mark) oc_strbuf_printf(out, "%s%s", tint, mark + 2);
}

/* One slip in a word of at least four letters: two letters swapped, one dropped, or one doubled. */
static void add_slip(oc_rng *rng, oc_strbuf *out, size_t start) {
    if (out->failed) return;
    for (int attempt = 0; attempt < 20; attempt++) {
        size_t i = start + oc_rng_below(rng, (uint32_t)(out->len - start));
        char *p = out->data + i;
        if (i < start + 1 || i + 2 >= out->len || !isalpha((unsigned char)p[-1]) || !isalpha((unsigned char)p[0]) ||
            !isalpha((unsigned char)p[1]) || !isalpha((unsigned char)p[2]) || p[0] == p[1]) continue;
        char letter = p[0];
        switch (oc_rng_below(rng, 4)) {
        case 0: /* dropped */
            memmove(p, p + 1, out->len - i);
            out->len--;
            return;
        case 1: /* doubled */
            oc_strbuf_putc(out, ' ');
            if (out->failed) return;
            p = out->data + i;
            memmove(p + 1, p, out->len - i - 1);
            return;
        default: /* swapped */
            p[0] = p[1];
            p[1] = letter;
            return;
        }
    }
}

void oc_scene_caption_human(const oc_scene *s, oc_rng *rng, oc_strbuf *out) {
    entity e[OC_SCENE_MAX_OBJECTS];
    const int n = list_entities(s, e);
    const size_t start = out->len;
    if (oc_scene_chance(rng, 0.25)) oc_strbuf_puts(out, openings[oc_rng_below(rng, OC_COUNT(openings))]);
    if (!oc_scene_chance(rng, 0.35) || !human_relation_caption(s, e, n, rng, out)) human_list(s, e, n, rng, out);
    if (oc_scene_chance(rng, 0.3)) human_background(s, rng, out);
    if (oc_scene_chance(rng, 0.1)) add_slip(rng, out, start);
    if (oc_scene_chance(rng, 0.35)) capitalise(out, start);
    if (oc_scene_chance(rng, 0.4)) oc_strbuf_putc(out, '.');
}
