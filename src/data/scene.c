/* Names, colours, held-out combinations, and the making of a scene's description by rejection: draw attributes, draw
 * places, keep the result if every rule holds. */
#include "data/scene.h"

#include <math.h>
#include <string.h>

#include "data/scene_internal.h"

/* --- Tables -------------------------------------------------------------------------------------------------------- */

static const char *const shape_name[OC_SHAPE_COUNT] = {"circle", "square", "triangle", "star",
                                                       "cross",  "ring",   "heart",    "diamond"};
static const char *const color_name[OC_COLOR_COUNT] = {"red",    "green",  "blue",  "yellow",
                                                       "purple", "orange", "white", "black"};
static const char *const size_name[OC_SIZE_COUNT] = {"small", "medium", "large"};
static const char *const texture_name[OC_TEXTURE_COUNT] = {"plain",     "gradient", "striped",
                                                           "checkered", "dotted",   "mottled"};
static const char *const tint_name[OC_TINT_COUNT] = {"gray", "beige", "pink", "teal", "brown", "mint"};
static const char *const split_name[OC_SPLIT_COUNT] = {"train", "val", "test"};
static const char *const region_name[9] = {"top left", "top", "top right", "left", "center", "right",
                                           "bottom left", "bottom", "bottom right"};

static const uint8_t color_rgb[OC_COLOR_COUNT][3] = {{214, 30, 34}, {20, 136, 44}, {30, 62, 214}, {246, 220, 24},
                                                     {128, 32, 160}, {246, 126, 14}, {245, 245, 245}, {16, 16, 16}};
/* Muted, and far from every object colour even after both jitters (the tests measure it). */
static const uint8_t tint_rgb[OC_TINT_COUNT][3] = {{138, 138, 138}, {198, 182, 152}, {206, 160, 170},
                                                   {90, 140, 144}, {122, 96, 76}, {166, 200, 176}};

static const float size_radius[OC_SIZE_COUNT] = {0.085f, 0.135f, 0.21f};
static const double count_weight[OC_SCENE_MAX_OBJECTS] = {0.15, 0.25, 0.30, 0.30};

const char *oc_shape_name(oc_shape s) { return shape_name[s]; }
const char *oc_color_name(oc_color c) { return color_name[c]; }
const char *oc_size_name(oc_object_size z) { return size_name[z]; }
const char *oc_texture_name(oc_texture t) { return texture_name[t]; }
const char *oc_tint_name(oc_tint t) { return tint_name[t]; }
const char *oc_region_name(int region) { return region_name[region]; }
const char *oc_split_name(oc_split s) { return split_name[s]; }
const uint8_t *oc_color_rgb(oc_color c) { return color_rgb[c]; }
const uint8_t *oc_tint_rgb(oc_tint t) { return tint_rgb[t]; }

/* --- Combinations and relations ------------------------------------------------------------------------------------ */

/* One shape of each colour (3c + 1 runs through all shapes, since 3 and 8 share no factor) and a second of every other
 * colour: 12 pairs that leave each colour at least six shapes and each shape at least six colours. */
bool oc_scene_pair_held_out(oc_color color, oc_shape shape) {
    int c = (int)color, s = (int)shape;
    return s == (3 * c + 1) % OC_SHAPE_COUNT || (c % 2 == 0 && s == (3 * c + 4) % OC_SHAPE_COUNT);
}

/* Circle left of cross, square of ring, triangle of heart, star of diamond; the other way round is common. */
bool oc_scene_left_held_out(oc_shape a, oc_shape b) { return (int)a < 4 && (int)b == (int)a + 4; }

oc_relation oc_relation_inverse(oc_relation rel) { return (oc_relation)((int)rel ^ 1); }

/* Centres nearer than this along an axis are not called left of, above, ... */
static const float RELATION_MARGIN = 0.15f;

bool oc_scene_holds(const oc_scene *s, oc_relation rel, int a, int b) {
    const float dx = s->object[b].x - s->object[a].x, dy = s->object[b].y - s->object[a].y;
    switch (rel) {
    case OC_REL_LEFT: return dx >= RELATION_MARGIN;
    case OC_REL_RIGHT: return -dx >= RELATION_MARGIN;
    case OC_REL_ABOVE: return dy >= RELATION_MARGIN;
    case OC_REL_BELOW: return -dy >= RELATION_MARGIN;
    case OC_REL_FRONT: return s->front == a && s->back == b;
    case OC_REL_BEHIND: return s->front == b && s->back == a;
    case OC_REL_COUNT: break;
    }
    return false;
}

static int third(float x) { return x < 0.35f ? 0 : x < 0.65f ? 1 : 2; }
int oc_scene_region(const oc_scene_object *o) { return third(o->y) * 3 + third(o->x); }

bool oc_scene_same(const oc_scene_object *a, const oc_scene_object *b) {
    return a->shape == b->shape && a->color == b->color && a->size == b->size;
}

oc_rng oc_scene_rng(uint64_t seed, oc_split split, uint64_t index, oc_scene_stream stream) {
    return oc_rng_at(seed, (uint64_t)split * 16 + (uint64_t)stream, index);
}

/* --- Attributes ---------------------------------------------------------------------------------------------------- */

static uint8_t jitter(oc_rng *rng, int value, int by) {
    value += oc_rng_range(rng, -by, by);
    return (uint8_t)OC_MIN(OC_MAX(value, 0), 255);
}

static int draw_count(oc_rng *rng, int lo, int hi) {
    double total = 0.0;
    for (int n = lo; n <= hi; n++) total += count_weight[n - 1];
    double u = oc_rng_uniform(rng) * total;
    int n = lo;
    while (n < hi && u >= count_weight[n - 1]) u -= count_weight[n++ - 1];
    return n;
}

static void draw_background(oc_scene *s, oc_rng *rng) {
    s->texture = (oc_texture)oc_rng_below(rng, OC_TEXTURE_COUNT);
    s->tint = (oc_tint)oc_rng_below(rng, OC_TINT_COUNT);
    const bool soft = s->texture == OC_TEXTURE_GRADIENT || s->texture == OC_TEXTURE_NOISE; /* needs more contrast */
    const int contrast = soft ? oc_rng_range(rng, 24, 32) : oc_rng_range(rng, 13, 19);
    for (int c = 0; c < 3; c++) {
        int middle = jitter(rng, tint_rgb[s->tint][c], 5);
        s->tint_rgb[0][c] = (uint8_t)OC_MAX(middle - contrast, 0);
        s->tint_rgb[1][c] = (uint8_t)OC_MIN(middle + contrast, 255);
        if (s->texture == OC_TEXTURE_PLAIN) s->tint_rgb[0][c] = s->tint_rgb[1][c] = (uint8_t)middle;
    }
    s->texture_period = (s->texture == OC_TEXTURE_CHECKS ? 0.22f : 0.15f) + 0.07f * (float)oc_rng_uniform(rng);
    const int turns = s->texture == OC_TEXTURE_CHECKS ? 1 : 8; /* checks stay upright, so that they are no diamonds */
    s->texture_angle = (float)oc_rng_below(rng, (uint32_t)turns) * 0.78539816f;
    s->texture_phase = (float)oc_rng_uniform(rng);
    s->texture_seed = (uint32_t)oc_rng_u64(rng);
}

static void draw_pair(const oc_scene *s, int i, oc_rng *rng, oc_scene_object *o) {
    o->shape = (oc_shape)oc_rng_below(rng, OC_SHAPE_COUNT);
    o->color = (oc_color)oc_rng_below(rng, OC_COLOR_COUNT);
    if (i == 0) return;
    /* Often one attribute in common with an earlier object: then neither colour nor shape alone tells them apart. */
    const oc_scene_object *earlier = &s->object[oc_rng_below(rng, (uint32_t)i)];
    double u = oc_rng_uniform(rng);
    if (u < 0.3) o->shape = earlier->shape;
    else if (u < 0.6) o->color = earlier->color;
}

static bool seen_before(const oc_scene *s, int i) {
    for (int j = 0; j < i; j++)
        if (oc_scene_same(&s->object[i], &s->object[j])) return true;
    return false;
}

/* Shape, colour, size of every object: perhaps one group of equal ones, the rest all different. */
static void draw_attributes(oc_scene *s, oc_rng *rng, bool all_small) {
    int group = 1;
    if (s->count >= 2 && oc_scene_chance(rng, 0.4)) group = oc_rng_range(rng, 2, s->count);
    for (int i = 0; i < s->count; i++) {
        oc_scene_object *o = &s->object[i];
        if (i > 0 && i < group) {
            *o = s->object[0];
            continue;
        }
        do {
            draw_pair(s, i, rng, o);
            o->size = all_small ? OC_SIZE_SMALL : (oc_object_size)oc_rng_below(rng, OC_SIZE_COUNT);
        } while (seen_before(s, i) || (s->split != OC_SPLIT_TEST && oc_scene_pair_held_out(o->color, o->shape)));
    }
}

/* Random order (drawing order must not tell the group), then the details that only the renderer sees. */
static void finish_objects(oc_scene *s, oc_rng *rng) {
    for (int i = s->count - 1; i > 0; i--) {
        int j = (int)oc_rng_below(rng, (uint32_t)i + 1);
        oc_scene_object t = s->object[i];
        s->object[i] = s->object[j];
        s->object[j] = t;
    }
    for (int i = 0; i < s->count; i++) {
        oc_scene_object *o = &s->object[i];
        o->radius = size_radius[o->size] * (0.95f + 0.1f * (float)oc_rng_uniform(rng));
        o->angle = 0.12f * ((float)oc_rng_uniform(rng) * 2.0f - 1.0f);
        for (int c = 0; c < 3; c++) o->rgb[c] = jitter(rng, color_rgb[o->color][c], 10);
    }
}

static int color_distance2(const uint8_t a[3], const uint8_t b[3]) {
    int d = 0;
    for (int c = 0; c < 3; c++) d += (a[c] - b[c]) * (a[c] - b[c]);
    return d;
}

/* Colours far from all that have a name; they stand out from the background and from each other. */
static void draw_unnamed_colors(oc_scene *s, oc_rng *rng) {
    enum { FROM_NAMED = 80, FROM_BACKGROUND = 70, FROM_OTHERS = 50 };
    for (int i = 0; i < s->count; i++) {
        uint8_t *rgb = s->object[i].rgb;
        bool good;
        do {
            good = true;
            for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)oc_rng_below(rng, 256);
            for (int k = 0; k < OC_COLOR_COUNT; k++)
                good &= color_distance2(rgb, color_rgb[k]) >= FROM_NAMED * FROM_NAMED;
            for (int k = 0; k < 2; k++)
                good &= color_distance2(rgb, s->tint_rgb[k]) >= FROM_BACKGROUND * FROM_BACKGROUND;
            for (int j = 0; j < i; j++)
                good &= color_distance2(rgb, s->object[j].rgb) >= FROM_OTHERS * FROM_OTHERS;
        } while (!good);
    }
}

/* --- Places -------------------------------------------------------------------------------------------------------- */

/* Centres keep this far from the middle of their cell's third, so that at least 0.06 separates them from a border. */
static const float CELL_JITTER = 0.09f;

static bool is_clear(float x) {
    static const float middle[3] = {0.2f, 0.5f, 0.8f};
    return fabsf(x - middle[third(x)]) <= CELL_JITTER;
}

static float draw_axis(oc_rng *rng, float radius) {
    float x = 0.2f + 0.3f * (float)oc_rng_below(rng, 3) + CELL_JITTER * ((float)oc_rng_uniform(rng) * 2.0f - 1.0f);
    float edge = 1.15f * radius + 0.01f;
    return OC_MIN(OC_MAX(x, edge), 1.0f - edge);
}

static bool is_apart(const oc_scene_object *a, const oc_scene_object *b) {
    float dx = a->x - b->x, dy = a->y - b->y, gap = 1.15f * (a->radius + b->radius) + 0.01f;
    return dx * dx + dy * dy >= gap * gap;
}

/* Share of `back` that `front` leaves visible. */
static float visible_share(const oc_scene_object *back, const oc_scene_object *front) {
    enum { GRID = 24 };
    oc_outline b, f;
    oc_outline_init(&b, back);
    oc_outline_init(&f, front);
    int all = 0, visible = 0;
    const float reach = OC_SHAPE_REACH * back->radius;
    for (int j = 0; j < GRID; j++) {
        for (int i = 0; i < GRID; i++) {
            float x = back->x + reach * (2.0f * ((float)i + 0.5f) / GRID - 1.0f);
            float y = back->y + reach * (2.0f * ((float)j + 0.5f) / GRID - 1.0f);
            if (oc_outline_distance(&b, x, y) > 0.0f) continue;
            all++;
            visible += oc_outline_distance(&f, x, y) > 0.0f;
        }
    }
    return all ? (float)visible / (float)all : 0.0f;
}

/* Puts s->front beside s->back so that it covers a part of it, but not enough to hide what it is. */
static bool place_front(oc_scene *s, oc_rng *rng) {
    oc_scene_object *front = &s->object[s->front];
    const oc_scene_object *back = &s->object[s->back];
    float turn = 6.2831853f * (float)oc_rng_uniform(rng);
    float distance = (0.6f + 0.4f * (float)oc_rng_uniform(rng)) * (front->radius + back->radius);
    front->x = back->x + distance * cosf(turn);
    front->y = back->y + distance * sinf(turn);
    float edge = 1.15f * front->radius + 0.01f;
    if (front->x < edge || front->x > 1.0f - edge || front->y < edge || front->y > 1.0f - edge) return false;
    if (!is_clear(front->x) || !is_clear(front->y)) return false;
    float share = visible_share(back, front);
    return share >= 0.72f && share <= 0.93f;
}

static bool place_objects(oc_scene *s, oc_rng *rng) {
    for (int i = 0; i < s->count; i++) {
        bool placed = false;
        for (int attempt = 0; attempt < 30 && !placed; attempt++) {
            oc_scene_object *o = &s->object[i];
            if (i == s->front) {
                placed = place_front(s, rng);
            } else {
                o->x = draw_axis(rng, o->radius);
                o->y = draw_axis(rng, o->radius);
                placed = true;
            }
            for (int j = 0; j < i && placed; j++)
                placed = (i == s->front && j == s->back) || is_apart(o, &s->object[j]);
        }
        if (!placed) return false;
    }
    return true;
}

/* Chooses which object covers which: neighbours in drawing order (so that nothing comes between), unlike in colour.
 * False if the pair drawn is not. */
static bool choose_overlap(oc_scene *s, oc_rng *rng) {
    s->back = oc_rng_range(rng, 0, s->count - 2);
    s->front = s->back + 1;
    return s->object[s->back].color != s->object[s->front].color;
}

static bool obeys_split(const oc_scene *s) {
    bool novel = false;
    for (int i = 0; i < s->count; i++) {
        novel = novel || oc_scene_pair_held_out(s->object[i].color, s->object[i].shape);
        for (int j = 0; j < s->count; j++)
            if (s->split != OC_SPLIT_TEST && oc_scene_left_held_out(s->object[i].shape, s->object[j].shape) &&
                s->object[i].x < s->object[j].x) return false;
    }
    return novel == (s->split == OC_SPLIT_TEST);
}

void oc_scene_generate(oc_scene *s, uint64_t seed, oc_split split, uint64_t index, const oc_scene_options *opt) {
    const int lo = opt && opt->min_objects ? opt->min_objects : 1;
    const int hi = opt && opt->max_objects ? opt->max_objects : OC_SCENE_MAX_OBJECTS;
    OC_ASSERT(lo >= 1 && lo <= hi && hi <= OC_SCENE_MAX_OBJECTS && (unsigned)split < OC_SPLIT_COUNT);
    oc_rng rng = oc_scene_rng(seed, split, index, OC_SCENE_LAYOUT);
    memset(s, 0, sizeof *s);
    s->split = split;
    s->count = draw_count(&rng, lo, hi);
    s->front = s->back = -1;
    draw_background(s, &rng);
    const bool overlap = s->count > 1 && oc_scene_chance(&rng, 0.35);
    for (int attempt = 0;; attempt++) {
        OC_ASSERT(attempt < 100000); /* small objects always fit: a few dozen attempts suffice */
        draw_attributes(s, &rng, attempt > 400);
        finish_objects(s, &rng);
        if (overlap && !choose_overlap(s, &rng)) continue;
        if (place_objects(s, &rng) && obeys_split(s)) break;
    }
    if (opt && opt->unnamed_colors) draw_unnamed_colors(s, &rng);
}
