/* Data sets: an index of samples in memory; pictures stay in their files until a loader wants them.
 *
 * Sources: LLaVA conversation JSON or JSON lines, COCO caption JSON, Karpathy's split files, lists of captions, VQA JSON
 * lines, VQA v2, PathVQA.
 * Pictures: a folder, or tar shards ("train-*.tar", "name-{000000..000005}.tar", "one.tar"), found by member name. */
#ifndef OC_DATA_DATASET_H
#define OC_DATA_DATASET_H

#include "data/batch.h"
#include "data/chat.h"

typedef enum {
    OC_DATASET_LLAVA,
    OC_DATASET_COCO,
    OC_DATASET_KARPATHY,
    OC_DATASET_VQA,
    OC_DATASET_CAPTION_LIST, /* [{"image", "caption": text or list}] */
    OC_DATASET_VQAV2,        /* the official questions, with the answers in `annotations` */
    OC_DATASET_PATHVQA       /* PathVQA's JSON forms (data/vqa.c names them) */
} oc_dataset_kind;

typedef struct oc_dataset_options {
    oc_dataset_kind kind;
    const char *json;        /* the annotation file */
    const char *annotations; /* VQA v2: the file with the answers; else NULL */
    const char *images;      /* folder, shard pattern or glob; NULL: the annotation file's folder */
    const char *split;       /* Karpathy: "train" (which includes restval), "val", "test"; NULL: all */
    const char *prompt;        /* human turn for caption files; NULL: OC_CAPTION_PROMPT */
    const char *types;         /* VQA: only questions of these types, separated by commas; NULL: all */
    const char *prompt_suffix; /* appended to every human turn that holds an image; NULL: none */
    const char *sampling;      /* "all" (NULL), "first:N", "end:N", "random:N"; N a count or "K%" */
    uint64_t seed;             /* of random:N */
    bool fix_placeholders;     /* one image and no "<image>": put it before the first human turn instead of refusing */
    bool lowercase;            /* ASCII letters of answers become lower case */
} oc_dataset_options;

typedef struct oc_turn {
    bool assistant;
    /* "<image>" in a human turn marks a picture's place if the sample has pictures; elsewhere it is text. */
    const char *text;
} oc_turn;

typedef struct oc_sample {
    const char *id;           /* as text, never NULL */
    const char *const *image; /* [n_images] names below `images` */
    int n_images, n_turns;
    const oc_turn *turn;       /* human, assistant, human, ... and assistant last */
    const char *system;        /* NULL: none */
    const char *question_type; /* VQA files: "yesno", "open", ...; else NULL */
    const char *const
        *answer; /* [n_answers] VQA files with "answers": all that people gave, the first one is the turn; else none */
    int n_answers;
} oc_sample;

typedef struct oc_dataset oc_dataset; /* immutable once open; shared by threads */

/* A record that breaks the rules fails the open with file, line and element index. */
oc_status oc_dataset_open(oc_dataset **out, const oc_dataset_options *opt, oc_error *err);
void oc_dataset_close(oc_dataset *d);

size_t oc_dataset_count(const oc_dataset *d);
void oc_dataset_sample(const oc_dataset *d, size_t i, oc_sample *out); /* pointers live as long as d */

/* Encoded bytes of one picture. *data is owned by the caller if *owned is set (oc_free), else it points into a map. */
oc_status oc_dataset_image_bytes(const oc_dataset *d, const char *image, const uint8_t **data, size_t *size,
                                 void **owned, oc_error *err);

/* Takes pictures from somewhere else than the options said. flat: names lose their folders first ("val2014/a.jpg" is looked
 * for as "a.jpg"). Not while other threads read pictures. */
oc_status oc_dataset_set_images(oc_dataset *d, const char *where, bool flat, oc_error *err);
bool oc_dataset_has_image(const oc_dataset *d, const char *image);

/* Looks for every picture without decoding it; the first `max_report` missing ones are given to report. */
size_t oc_dataset_missing_images(const oc_dataset *d, void (*report)(void *ctx, const char *sample, const char *image),
                                 void *ctx, int max_report);

/* ---- For evaluation: samples grouped by picture ---------------------------------------------------------------------
 * references of one image: the last assistant turn of every sample that shows it. */
typedef struct oc_image_group {
    const char *image;
    const size_t *sample; /* [n] indices */
    int n;
} oc_image_group;

size_t oc_dataset_group_count(const oc_dataset *d); /* distinct first pictures, in order of appearance */
void oc_dataset_group(const oc_dataset *d, size_t g, oc_image_group *out);

#endif
