/* Synthetic smears: a few stained cells in the field of a microscope, with captions and questions that only the picture
 * answers. The second domain beside scenes (data/scene.h): another vocabulary, other shapes, the same structure, so
 * that a model which learned scenes can be adapted to it. Not medicine: kinds are told apart by their nuclei as a
 * drawing shows them.
 *
 *     oc_cells c;
 *     oc_cells_generate(&c, seed, OC_SPLIT_TRAIN, index, NULL);
 *     oc_cells_render(rgb, 64, &c);
 *
 * Everything follows from (seed, split, index). Four of the 24 (kind, stain) pairs never occur in train and val,
 * neither in pictures nor in words; every test smear shows one of them. Each cell has one field of a 3 x 3 grid to
 * itself. */
#ifndef OC_DATA_CELLS_H
#define OC_DATA_CELLS_H

#include "data/scene.h"

enum { OC_CELLS_MAX = 6 };

typedef enum {
    OC_CELL_LYMPHOCYTE, /* round nucleus that nearly fills the cell */
    OC_CELL_NEUTROPHIL, /* nucleus of three lobes */
    OC_CELL_EOSINOPHIL, /* two lobes, orange granules */
    OC_CELL_MONOCYTE,   /* large, kidney-shaped nucleus */
    OC_CELL_RED,        /* no nucleus, pale centre */
    OC_CELL_PLATELET,   /* tiny and dark, no nucleus */
    OC_CELL_KIND_COUNT
} oc_cell_kind;

typedef enum { OC_STAIN_EOSIN, OC_STAIN_METHYLENE, OC_STAIN_GIEMSA, OC_STAIN_SILVER, OC_STAIN_COUNT } oc_stain;
typedef enum { OC_CELL_SMALL, OC_CELL_NORMAL, OC_CELL_ENLARGED, OC_CELL_SIZE_COUNT } oc_cell_size;

typedef struct oc_cell {
    oc_cell_kind kind;
    oc_cell_size size;
    int region;         /* field of the grid: row * 3 + column */
    float x, y, radius; /* fractions of the image's side */
    float angle;        /* radians, of the nucleus */
    uint32_t seed;      /* of granules and the outline's waves */
} oc_cell;

typedef struct oc_cells {
    oc_split split;
    oc_stain stain;
    int count;
    oc_cell cell[OC_CELLS_MAX]; /* by region */
    uint8_t ground[3];          /* between the cells */
    uint32_t seed;              /* of its grain */
} oc_cells;

/* opt's limits are 1 .. OC_CELLS_MAX; NULL or 0: 1 and OC_CELLS_MAX. */
void oc_cells_generate(oc_cells *c, uint64_t seed, oc_split split, uint64_t index, const oc_scene_options *opt);
/* rgb [size, size, 3], antialiased. */
void oc_cells_render(uint8_t *rgb, int size, const oc_cells *c);

/* Pairs that train and val never show. */
bool oc_cells_held_out(oc_cell_kind kind, oc_stain stain);
/* Cells of that kind. */
int oc_cells_count(const oc_cells *c, oc_cell_kind kind);

const char *oc_cell_kind_name(oc_cell_kind kind, bool plural);
const char *oc_cell_nucleus_name(oc_cell_kind kind); /* "round", ... "absent" */
const char *oc_stain_name(oc_stain stain);
const char *oc_cell_size_name(oc_cell_size size);
const char *oc_cell_region_name(int region); /* "upper left", ... "center" ... */

/* Appends a complete and regular caption, or what a hurried person might note; as for scenes. */
void oc_cells_caption_recap(const oc_cells *c, oc_strbuf *out);
void oc_cells_caption_human(const oc_cells *c, oc_rng *rng, oc_strbuf *out);

/* Kinds of questions, as PathVQA has them: yes/no and open ones. */
typedef enum {
    OC_CELL_ASK_YESNO,
    OC_CELL_ASK_WHAT,
    OC_CELL_ASK_WHERE,
    OC_CELL_ASK_HOW_MANY,
    OC_CELL_ASK_STAIN,
    OC_CELL_ASK_SIZE,
    OC_CELL_ASK_NUCLEUS,
    OC_CELL_ASK_COUNT
} oc_cell_ask;
const char *oc_cell_ask_name(int kind); /* "yesno", "what", ... */

/* Writes up to max questions in random order (three yes/no, one of each other kind that this smear allows, no text
 * twice) and returns how many. Yes and no are equally frequent. The kind is an oc_cell_ask. */
int oc_cells_questions(const oc_cells *c, oc_rng *rng, oc_scene_question *out, int max);
/* "What cell is in the upper left field?" for every cell. */
int oc_cells_places(const oc_cells *c, oc_scene_question *out, int max);

#endif
