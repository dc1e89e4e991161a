/* Writes a data set of synthetic scenes (or smears, see data/cells.h) into a folder, in the formats that the rest of the
 * program reads:
 *
 *   images/000000.png ...     or, packed, images-000000.tar ... with NNNNNN.png and NNNNNN.json side by side (WebDataset)
 *   recap.json, human.json    LLaVA conversations: one caption each, complete or human
 *   qa.json                   LLaVA conversations: several questions and answers about one image
 *   captions_coco.json        COCO captions, five references an image: the recap and four human ones
 *   qa.jsonl                  questions for evaluation; "held_out" marks those about combinations unseen in training
 *   places.jsonl              "What is at the top?" for every object that is alone in its cell, in the same form
 *   shapes.json, colors.json  LLaVA conversations: where each object is, with its shape or with its size and colour (scenes
 *                             only)
 *   find.json                 LLaVA conversations: each shape, colour and size, how many there are and where (scenes only)
 *   With unnamed colours (oc_scene_options) there are pictures and shapes.json alone, and no records in the shards.
 *   index.json                what it was made from; written last, so its presence means that the set is complete
 *
 * Image names are relative to the folder, or member names of the shards. Equal options give equal bytes. */
#ifndef OC_DATA_SCENE_DATASET_H
#define OC_DATA_SCENE_DATASET_H

#include "data/scene.h"

#define OC_SCENE_PROMPT_RECAP "Describe the image in detail."
#define OC_SCENE_PROMPT_HUMAN "Describe the image."

enum { OC_SCENE_COCO_REFERENCES = 5 };

typedef enum { OC_DOMAIN_SCENES, OC_DOMAIN_CELLS, OC_DOMAIN_COUNT } oc_synth_domain;

typedef struct oc_scene_dataset {
    oc_synth_domain domain;
    const char *dir; /* made if missing; an index.json in it is an error unless overwrite is set */
    oc_split split;
    uint64_t seed;
    int count;
    int size;    /* pixels a side; 0 means 64 */
    bool jpeg;   /* else PNG */
    int quality; /* of JPEG; 0 means 90 */
    bool tar;
    int shard_size; /* samples a shard; 0 means 1000 */
    bool overwrite;
    oc_scene_options scene;
    /* Called for every image; false ends the work with OC_ERR_INTERRUPTED. NULL allowed. */
    bool (*progress)(void *ctx, int done, int total);
    void *ctx;
} oc_scene_dataset;

oc_status oc_scene_dataset_write(const oc_scene_dataset *opt, oc_error *err);

#endif
