/* Shared by the files of the scene generator. */
#ifndef OC_DATA_SCENE_INTERNAL_H
#define OC_DATA_SCENE_INTERNAL_H

#include "data/scene.h"

/* An object's outline prepared for distance tests: circles by formula, all else as a polygon around the centre. */
enum { OC_OUTLINE_MAX = 32 };
typedef struct oc_outline {
    int n;                                /* corners; 0: circle or ring */
    float x[OC_OUTLINE_MAX], y[OC_OUTLINE_MAX];
    float outer, inner;                   /* radii of circle (inner = 0) and ring */
    float cx, cy;
} oc_outline;
void oc_outline_init(oc_outline *o, const oc_scene_object *object);
/* Distance of (x, y) to the outline, negative inside. */
float oc_outline_distance(const oc_outline *o, float x, float y);

/* No shape reaches farther from its centre than this multiple of its radius. */
#define OC_SHAPE_REACH 1.25f

/* Equal objects: same shape, colour and size name. */
bool oc_scene_same(const oc_scene_object *a, const oc_scene_object *b);
oc_relation oc_relation_inverse(oc_relation rel);

/* Questions of the kinds 0 to kinds - 1 and `more` further ones of kind 0 (yes/no), in random order, none twice. ask makes
 * one of the kind that q has; it fails when the description allows none, and is tried some times. Returns how many. */
int oc_scene_ask_all(oc_scene_question *out, int max, oc_rng *rng, int kinds, int more,
                     bool (*ask)(void *ctx, oc_scene_question *q), void *ctx);

/* True with probability p. */
static inline bool oc_scene_chance(oc_rng *rng, double p) { return oc_rng_uniform(rng) < p; }

#endif
