/* Names, the making of a smear's description, and its picture: each cell is drawn through signed distances, as scenes
 * are. */
#include "data/cells.h"

#include <math.h>
#include <string.h>

#include "data/scene_internal.h"

/* --- Tables ------------------------------------------------------------------------------------------------------- */

static const char *const kind_name[OC_CELL_KIND_COUNT][2] = {
    {"lymphocyte", "lymphocytes"}, {"neutrophil", "neutrophils"}, {"eosinophil", "eosinophils"},
    {"monocyte", "monocytes"},     {"red cell", "red cells"},     {"platelet", "platelets"}};
static const char *const nucleus_name[OC_CELL_KIND_COUNT] = {"round",         "three lobes", "two lobes",
                                                             "kidney-shaped", "absent",      "absent"};
static const char *const stain_name[OC_STAIN_COUNT] = {"eosin", "methylene blue", "giemsa", "silver"};
static const char *const cell_size_name[OC_CELL_SIZE_COUNT] = {"small", "normal", "enlarged"};
static const char *const field_name[9] = {"upper left",   "upper middle", "upper right",  "middle left", "center",
                                          "middle right", "lower left",   "lower middle", "lower right"};

/* Ground, cytoplasm, nucleus. */
static const uint8_t stain_rgb[OC_STAIN_COUNT][3][3] = {{{247, 228, 232}, {233, 152, 172}, {146, 34, 84}},
                                                        {{226, 237, 247}, {146, 190, 232}, {26, 58, 140}},
                                                        {{237, 229, 243}, {192, 160, 218}, {86, 28, 130}},
                                                        {{244, 236, 214}, {208, 172, 110}, {72, 46, 20}}};
static const uint8_t granule_rgb[3] = {238, 112, 24};
static const float kind_radius[OC_CELL_KIND_COUNT] = {0.105f, 0.12f, 0.12f, 0.14f, 0.1f, 0.05f};
static const float size_factor[OC_CELL_SIZE_COUNT] = {0.72f, 0.94f, 1.16f};

const char *oc_cell_kind_name(oc_cell_kind kind, bool plural) { return kind_name[kind][plural]; }
const char *oc_cell_nucleus_name(oc_cell_kind kind) { return nucleus_name[kind]; }
const char *oc_stain_name(oc_stain stain) { return stain_name[stain]; }
const char *oc_cell_size_name(oc_cell_size size) { return cell_size_name[size]; }
const char *oc_cell_region_name(int region) { return field_name[region]; }

/* One kind with a nucleus for each stain. */
bool oc_cells_held_out(oc_cell_kind kind, oc_stain stain) { return (int)kind == (int)stain; }

int oc_cells_count(const oc_cells *c, oc_cell_kind kind) {
    int n = 0;
    for (int i = 0; i < c->count; i++) n += c->cell[i].kind == kind;
    return n;
}

/* --- Description -------------------------------------------------------------------------------------------------- */

static oc_cell_kind draw_kind(const oc_cells *c, oc_rng *rng) {
    oc_cell_kind kind;
    do kind = (oc_cell_kind)oc_rng_below(rng, OC_CELL_KIND_COUNT);
    while (c->split != OC_SPLIT_TEST && oc_cells_held_out(kind, c->stain));
    return kind;
}

/* Often the kind of an earlier cell, so that counts above one are common. */
static void draw_cell(oc_cells *c, int i, int region, oc_rng *rng) {
    oc_cell *o = &c->cell[i];
    o->kind = i > 0 && oc_scene_chance(rng, 0.4) ? c->cell[oc_rng_below(rng, (uint32_t)i)].kind : draw_kind(c, rng);
    if (i == 0 && c->split == OC_SPLIT_TEST) o->kind = (oc_cell_kind)c->stain; /* the pair that train lacks */
    o->size = (oc_cell_size)oc_rng_below(rng, OC_CELL_SIZE_COUNT);
    o->region = region;
    o->radius = kind_radius[o->kind] * size_factor[o->size] * (0.97f + 0.06f * (float)oc_rng_uniform(rng));
    const float room = 1.0f / 6.0f - o->radius - 0.005f; /* inside its field */
    o->x = ((float)(region % 3) + 0.5f) / 3.0f + OC_MAX(room, 0.0f) * (2.0f * (float)oc_rng_uniform(rng) - 1.0f);
    o->y = ((float)(region / 3) + 0.5f) / 3.0f + OC_MAX(room, 0.0f) * (2.0f * (float)oc_rng_uniform(rng) - 1.0f);
    o->angle = 6.2831853f * (float)oc_rng_uniform(rng);
    o->seed = (uint32_t)oc_rng_u64(rng);
}

static void sort_by_region(oc_cells *c) {
    for (int i = 1; i < c->count; i++)
        for (int k = i; k > 0 && c->cell[k].region < c->cell[k - 1].region; k--) {
            const oc_cell t = c->cell[k];
            c->cell[k] = c->cell[k - 1];
            c->cell[k - 1] = t;
        }
}

void oc_cells_generate(oc_cells *c, uint64_t seed, oc_split split, uint64_t index, const oc_scene_options *opt) {
    const int lo = opt && opt->min_objects ? opt->min_objects : 1;
    const int hi = opt && opt->max_objects ? opt->max_objects : OC_CELLS_MAX;
    OC_ASSERT(lo >= 1 && lo <= hi && hi <= OC_CELLS_MAX && (unsigned)split < OC_SPLIT_COUNT);
    oc_rng rng = oc_scene_rng(seed ^ 0x63656c6c73ull, split, index, OC_SCENE_LAYOUT); /* other numbers than a scene's */
    uint32_t field[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    memset(c, 0, sizeof *c);
    c->split = split;
    c->stain = (oc_stain)oc_rng_below(&rng, OC_STAIN_COUNT);
    c->count = oc_rng_range(&rng, lo, hi);
    c->seed = (uint32_t)oc_rng_u64(&rng);
    for (int k = 0; k < 3; k++) c->ground[k] = (uint8_t)(stain_rgb[c->stain][0][k] - oc_rng_below(&rng, 9));
    oc_rng_shuffle_u32(&rng, field, 9);
    for (int i = 0; i < c->count; i++) draw_cell(c, i, (int)field[i], &rng);
    sort_by_region(c);
}

/* --- Picture ------------------------------------------------------------------------------------------------------ */

static float noise(uint32_t seed, uint32_t a, uint32_t b) {
    uint32_t h = seed ^ a * 0x9e3779b1u ^ b * 0x85ebca77u;
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h = (h ^ (h >> 12)) * 0x297a2d39u;
    return (float)((h ^ (h >> 15)) >> 8) * (1.0f / 16777216.0f);
}

static float length(float x, float y) { return sqrtf(x * x + y * y); }

/* Distance to the nucleus in radii of the cell, negative inside; (x, y) is relative to the cell and turned by its
 * angle. */
static float nucleus_distance(oc_cell_kind kind, float x, float y) {
    switch (kind) {
    case OC_CELL_LYMPHOCYTE:
        return length(x, y) - 0.74f;
    case OC_CELL_NEUTROPHIL:
        return fminf(fminf(length(x + 0.4f, y + 0.22f), length(x - 0.4f, y + 0.22f)), length(x, y - 0.44f)) - 0.32f;
    case OC_CELL_EOSINOPHIL:
        return fminf(length(x + 0.38f, y), length(x - 0.38f, y)) - 0.34f;
    case OC_CELL_MONOCYTE:
        return fmaxf(length(x, y) - 0.66f, 0.42f - length(x, y - 0.5f)); /* a bite out of a disc */
    default:
        return 1.0f;
    }
}

static bool in_granule(const oc_cell *o, float x, float y) {
    for (uint32_t k = 0; k < 14; k++) {
        const float turn = 6.2831853f * noise(o->seed, k, 1), far = 0.85f * sqrtf(noise(o->seed, k, 2));
        if (length(x - far * cosf(turn), y - far * sinf(turn)) < 0.14f) return true;
    }
    return false;
}

static float cover(float distance, float pixel) {
    const float t = 0.5f - distance / pixel;
    return t < 0.0f ? 0.0f : t > 1.0f ? 1.0f : t;
}

static void blend(uint8_t p[3], const uint8_t rgb[3], float t) {
    for (int k = 0; k < 3; k++) p[k] = (uint8_t)((float)p[k] + ((float)rgb[k] - (float)p[k]) * t + 0.5f);
}

/* One pixel at (x, y), in radii of the cell from its middle; pixel is a pixel's width in the same unit. */
static void paint(uint8_t p[3], const oc_cells *c, const oc_cell *o, float x, float y, float pixel) {
    const uint8_t(*rgb)[3] = stain_rgb[c->stain];
    static const uint8_t red[3] = {206, 74, 66};
    const float wave = 0.04f * sinf(3.0f * atan2f(y, x) + o->angle), edge = length(x, y) - 1.0f + wave;
    const float inside = cover(edge, pixel);
    if (inside <= 0.0f) return;
    if (o->kind == OC_CELL_PLATELET) {
        blend(p, rgb[2], 0.75f * inside);
        return;
    }
    if (o->kind == OC_CELL_RED) { /* a disc that is thinner in the middle */
        const float hollow = 1.0f - fminf(1.0f, length(x, y) / 0.6f);
        blend(p, red, inside * (0.85f - 0.6f * hollow));
        return;
    }
    blend(p, rgb[1], 0.85f * inside);
    if (o->kind == OC_CELL_EOSINOPHIL && in_granule(o, x, y)) blend(p, granule_rgb, 0.8f * inside);
    const float turned_x = cosf(o->angle) * x + sinf(o->angle) * y, turned_y = cosf(o->angle) * y - sinf(o->angle) * x;
    blend(p, rgb[2], inside * cover(nucleus_distance(o->kind, turned_x, turned_y), pixel));
}

void oc_cells_render(uint8_t *rgb, int size, const oc_cells *c) {
    OC_ASSERT(size > 0 && c->count <= OC_CELLS_MAX);
    const float side = (float)size;
    for (int j = 0; j < size; j++)
        for (int i = 0; i < size; i++) {
            uint8_t *p = rgb + 3 * ((size_t)j * (size_t)size + (size_t)i);
            const float grain = 6.0f * (noise(c->seed, (uint32_t)(i * 64 / size), (uint32_t)(j * 64 / size)) - 0.5f);
            for (int k = 0; k < 3; k++) p[k] = (uint8_t)fminf(255.0f, fmaxf(0.0f, (float)c->ground[k] + grain));
        }
    for (int n = 0; n < c->count; n++) {
        const oc_cell *o = &c->cell[n];
        const float reach = 1.1f * o->radius * side + 1.0f;
        const int i0 = OC_MAX((int)(o->x * side - reach), 0), i1 = OC_MIN((int)(o->x * side + reach) + 1, size);
        const int j0 = OC_MAX((int)(o->y * side - reach), 0), j1 = OC_MIN((int)(o->y * side + reach) + 1, size);
        for (int j = j0; j < j1; j++)
            for (int i = i0; i < i1; i++)
                paint(rgb + 3 * ((size_t)j * (size_t)size + (size_t)i), c, o,
                      (((float)i + 0.5f) / side - o->x) / o->radius, (((float)j + 0.5f) / side - o->y) / o->radius,
                      1.0f / (o->radius * side));
    }
}
