/* The table of domains. */
#include "data/synth.h"

#include "data/cells.h"

static void scene_generate(void *s, uint64_t seed, oc_split split, uint64_t index, const oc_scene_options *opt) {
    oc_scene_generate(s, seed, split, index, opt);
}
static void scene_render(uint8_t *rgb, int size, const void *s) { oc_scene_render(rgb, size, s); }
static void scene_recap(const void *s, oc_strbuf *out) { oc_scene_caption_recap(s, out); }
static void scene_human(const void *s, oc_rng *rng, oc_strbuf *out) { oc_scene_caption_human(s, rng, out); }
static int scene_questions(const void *s, oc_rng *rng, oc_scene_question *out, int max) {
    return oc_scene_questions(s, rng, out, max);
}
static int scene_places(const void *s, oc_scene_question *out, int max) { return oc_scene_places(s, out, max); }
static const char *scene_inventory_prompt(int kind) { return oc_scene_inventory_prompt((oc_inventory_kind)kind); }
static void scene_inventory(const void *s, int kind, oc_strbuf *out) {
    oc_scene_inventory(s, (oc_inventory_kind)kind, out);
}
static const char *scene_ask_name(int kind) { return oc_ask_name((oc_ask)kind); }

static void cells_generate(void *c, uint64_t seed, oc_split split, uint64_t index, const oc_scene_options *opt) {
    oc_cells_generate(c, seed, split, index, opt);
}
static void cells_render(uint8_t *rgb, int size, const void *c) { oc_cells_render(rgb, size, c); }
static void cells_recap(const void *c, oc_strbuf *out) { oc_cells_caption_recap(c, out); }
static void cells_human(const void *c, oc_rng *rng, oc_strbuf *out) { oc_cells_caption_human(c, rng, out); }
static int cells_questions(const void *c, oc_rng *rng, oc_scene_question *out, int max) {
    return oc_cells_questions(c, rng, out, max);
}
static int cells_places(const void *c, oc_scene_question *out, int max) { return oc_cells_places(c, out, max); }

const oc_synth oc_synth_domains[OC_DOMAIN_COUNT] = {
    [OC_DOMAIN_SCENES] = {"ocellus synthetic scenes", sizeof(oc_scene), OC_SCENE_MAX_OBJECTS, OC_SCENE_PROMPT_RECAP,
                          OC_SCENE_PROMPT_HUMAN, scene_generate, scene_render, scene_recap, scene_human,
                          scene_questions, scene_places, scene_ask_name, scene_inventory_prompt,
                          scene_inventory},
    [OC_DOMAIN_CELLS] = {"ocellus synthetic smears", sizeof(oc_cells), OC_CELLS_MAX, OC_SCENE_PROMPT_RECAP,
                         OC_SCENE_PROMPT_HUMAN, cells_generate, cells_render, cells_recap, cells_human, cells_questions,
                         cells_places, oc_cell_ask_name, NULL, NULL},
};
