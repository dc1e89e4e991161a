/* A domain of synthetic pictures, as the writer of data sets (scene_dataset.c) sees it: scenes or cells. A description
 * is a plain structure that follows from (seed, split, index) and from which everything else is derived. */
#ifndef OC_DATA_SYNTH_H
#define OC_DATA_SYNTH_H

#include "data/scene_dataset.h"

typedef struct oc_synth {
    const char *name; /* in index.json: "ocellus synthetic scenes" */
    size_t size;      /* bytes of a description */
    int max_objects;  /* in a picture */
    const char *prompt_recap, *prompt_human;
    void (*generate)(void *description, uint64_t seed, oc_split split, uint64_t index, const oc_scene_options *opt);
    void (*render)(uint8_t *rgb, int size, const void *description);
    void (*recap)(const void *description, oc_strbuf *out);
    void (*human)(const void *description, oc_rng *rng, oc_strbuf *out);
    int (*questions)(const void *description, oc_rng *rng, oc_scene_question *out, int max);
    int (*places)(const void *description, oc_scene_question *out, int max);
    const char *(*ask_name)(int kind);
    const char *(*inventory_prompt)(int kind); /* of the tables of oc_inventory_kind; NULL, both: it has none */
    void (*inventory)(const void *description, int kind, oc_strbuf *out);
} oc_synth;

extern const oc_synth oc_synth_domains[OC_DOMAIN_COUNT];

#endif
