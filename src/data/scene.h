/* Synthetic scenes: pictures of coloured shapes on textured backgrounds, with captions and questions that only the
 * picture answers. A scene is a small description; pixels, captions and questions are each derived from it.
 *
 * Everything follows from (seed, split, index), so any thread can make any sample:
 *
 *     oc_scene s;
 *     oc_scene_generate(&s, seed, OC_SPLIT_TRAIN, index, NULL);
 *     oc_scene_render(rgb, 64, &s);
 *     oc_rng rng = oc_scene_rng(seed, OC_SPLIT_TRAIN, index, OC_SCENE_ASK);
 *     int n = oc_scene_questions(&s, &rng, questions, OC_SCENE_MAX_QUESTIONS);
 *
 * Splits differ by combination. Twelve of the 64 (colour, shape) pairs, and four (shape left of shape) arrangements,
 * never occur in train and val, neither in the pictures nor in the words; every test scene holds at least one of
 * those pairs. Each colour and each shape alone is common everywhere. So a model that has merely learned which pairs
 * exist fails on test.
 *
 * Coordinates are fractions of the image's side, x to the right and y down. An object's centre always lies clearly
 * inside one cell of a 3 x 3 grid, and relations count only beyond a margin, so that no answer hangs on a pixel. */
#ifndef OC_DATA_SCENE_H
#define OC_DATA_SCENE_H

#include "base/base.h"
#include "base/rng.h"

enum { OC_SCENE_MAX_OBJECTS = 4, OC_SCENE_MAX_QUESTIONS = 10 };

typedef enum {
    OC_SHAPE_CIRCLE, OC_SHAPE_SQUARE, OC_SHAPE_TRIANGLE, OC_SHAPE_STAR,
    OC_SHAPE_CROSS, OC_SHAPE_RING, OC_SHAPE_HEART, OC_SHAPE_DIAMOND, OC_SHAPE_COUNT
} oc_shape;

typedef enum {
    OC_COLOR_RED, OC_COLOR_GREEN, OC_COLOR_BLUE, OC_COLOR_YELLOW,
    OC_COLOR_PURPLE, OC_COLOR_ORANGE, OC_COLOR_WHITE, OC_COLOR_BLACK, OC_COLOR_COUNT
} oc_color;

typedef enum { OC_SIZE_SMALL, OC_SIZE_MEDIUM, OC_SIZE_LARGE, OC_SIZE_COUNT } oc_object_size;

typedef enum {
    OC_TEXTURE_PLAIN, OC_TEXTURE_GRADIENT, OC_TEXTURE_STRIPES, OC_TEXTURE_CHECKS,
    OC_TEXTURE_DOTS, OC_TEXTURE_NOISE, OC_TEXTURE_COUNT
} oc_texture;

typedef enum {
    OC_TINT_GRAY,
    OC_TINT_BEIGE,
    OC_TINT_PINK,
    OC_TINT_TEAL,
    OC_TINT_BROWN,
    OC_TINT_MINT,
    OC_TINT_COUNT
} oc_tint;

typedef enum {
    OC_REL_LEFT, OC_REL_RIGHT, OC_REL_ABOVE, OC_REL_BELOW, OC_REL_FRONT, OC_REL_BEHIND, OC_REL_COUNT
} oc_relation;

typedef enum { OC_SPLIT_TRAIN, OC_SPLIT_VAL, OC_SPLIT_TEST, OC_SPLIT_COUNT } oc_split;

/* Independent random streams of one sample, for oc_scene_rng. */
typedef enum { OC_SCENE_LAYOUT, OC_SCENE_HUMAN, OC_SCENE_ASK } oc_scene_stream;

typedef struct oc_scene_object {
    oc_shape shape;
    oc_color color;
    oc_object_size size;
    float x, y;      /* centre */
    float radius;    /* of the circle that the shape is drawn into, roughly */
    float angle;     /* radians, small */
    uint8_t rgb[3];  /* the colour as drawn: its name's value with a little jitter */
} oc_scene_object;

typedef struct oc_scene {
    oc_split split;
    int count;
    oc_scene_object object[OC_SCENE_MAX_OBJECTS]; /* drawn in this order */
    int front, back;                              /* object `front` partly covers object `back`; -1, -1: no overlap */
    oc_texture texture;
    oc_tint tint;
    uint8_t tint_rgb[2][3];  /* the two shades of the texture */
    float texture_period, texture_angle, texture_phase;
    uint32_t texture_seed;   /* of the noise */
} oc_scene;

typedef struct oc_scene_options {
    int min_objects, max_objects; /* 1 .. 4; 0 means 1 and 4 */
    /* Objects are drawn in colours that lie far from every named one, each in its own: pictures that teach shapes and show
     * no named pair. `color` of an object means nothing then, so captions and questions must not be made of the scene. */
    bool unnamed_colors;
} oc_scene_options;

/* The stream of random numbers for one purpose of one sample. */
oc_rng oc_scene_rng(uint64_t seed, oc_split split, uint64_t index, oc_scene_stream stream);

/* Makes the description of sample `index`. opt may be NULL; its limits must hold (checked by assertion). */
void oc_scene_generate(oc_scene *s, uint64_t seed, oc_split split, uint64_t index, const oc_scene_options *opt);

/* rgb [size, size, 3], antialiased. */
void oc_scene_render(uint8_t *rgb, int size, const oc_scene *s);

/* Combinations that train and val never show. The relation is "a is left of b" (equally "b is right of a"). */
bool oc_scene_pair_held_out(oc_color color, oc_shape shape);
bool oc_scene_left_held_out(oc_shape a, oc_shape b);

/* True if relation `rel` holds between objects a and b beyond the margin. Not symmetric: !holds(LEFT) does not mean
 * holds(RIGHT), since between them lies the band where neither is claimed. */
bool oc_scene_holds(const oc_scene *s, oc_relation rel, int a, int b);

/* Cell of the 3 x 3 grid in which an object lies: row * 3 + column. Names: "top left", "top", ... "center" ... */
int oc_scene_region(const oc_scene_object *o);

const char *oc_shape_name(oc_shape s);
const char *oc_color_name(oc_color c);
const char *oc_size_name(oc_object_size z);
const char *oc_texture_name(oc_texture t); /* an adjective: "striped", "plain" */
const char *oc_tint_name(oc_tint t);
const char *oc_region_name(int region);
const char *oc_split_name(oc_split s);
const uint8_t *oc_color_rgb(oc_color c); /* [3], without jitter */
const uint8_t *oc_tint_rgb(oc_tint t);   /* [3], between the two shades */

/* Appends a complete and regular caption: every object with size, colour, place; the background; one relation between
 * each object (or group of equal objects) and the next. */
void oc_scene_caption_recap(const oc_scene *s, oc_strbuf *out);

/* Appends what a hurried person might type: short, varied words, things left out, one caption in ten with a typing
 * slip. Never wrong about what it mentions. */
void oc_scene_caption_human(const oc_scene *s, oc_rng *rng, oc_strbuf *out);

/* Parts of the same facts as tables: dense lessons, in which each word of the answer hangs on one look at the picture.
 * None says which shape has which colour, which would teach which pairs exist.
 *   list (in reading order):  "top left circle, bottom ring, background mottled beige.", or
 *                             "top left small red, bottom large black, background mottled beige."
 *   find (all values, so that absence is taught too):  "circle two top left, right. square none. ..."
 * Appended to out. */
typedef enum {
    OC_LIST_SHAPES, OC_LIST_COLORS, OC_FIND_SHAPES, OC_FIND_COLORS, OC_FIND_SIZES, OC_INVENTORY_KIND_COUNT
} oc_inventory_kind;
const char *oc_scene_inventory_prompt(oc_inventory_kind kind);
void oc_scene_inventory(const oc_scene *s, oc_inventory_kind kind, oc_strbuf *out);

typedef enum {
    OC_ASK_YESNO, OC_ASK_COUNT, OC_ASK_COLOR, OC_ASK_SHAPE, OC_ASK_SIZE,
    OC_ASK_RELATION, OC_ASK_SPATIAL, OC_ASK_BACKGROUND, OC_ASK_COUNT_KINDS
} oc_ask;
const char *oc_ask_name(oc_ask kind); /* "yesno", "count", "color", ... */

typedef struct oc_scene_question {
    int kind;          /* oc_ask; of another domain its own */
    bool held_out;     /* it concerns an object whose (colour, shape) pair is held out */
    char question[96];
    char answer[24];
} oc_scene_question;

/* Writes up to max questions in random order (two yes/no, one of each other kind that this scene allows, no text
 * twice) and returns how many. Each has one right answer, which the picture shows clearly. Answers are balanced: over
 * many scenes no fixed answer to a kind of question does well. */
int oc_scene_questions(const oc_scene *s, oc_rng *rng, oc_scene_question *out, int max);

/* Writes "What is at the top?" with colour and shape for every object that has its cell of the grid to itself, up to
 * max, and returns how many: training that teaches to look at one place of a picture. */
int oc_scene_places(const oc_scene *s, oc_scene_question *out, int max);

#endif
