/* Are the colours and shapes that a caption of a synthetic scene names really there? Compared are the (colour, shape)
 * pairs that generated and reference caption name; "three large blue crosses" names (blue, cross). */
#ifndef OC_EVAL_SCENE_NAMES_H
#define OC_EVAL_SCENE_NAMES_H

#include "data/scene.h"

/* Sums over captions; add one pair of captions after the other. */
typedef struct oc_scene_names {
    int captions;
    int named, right;            /* (colour, shape) pairs named by the caption; of these, in the reference */
    int in_reference;            /* pairs that the reference names */
    int colours, colours_right;  /* colours named; in the reference */
    int shapes, shapes_right;
} oc_scene_names;

void oc_scene_names_add(oc_scene_names *n, const char *caption, const char *reference);

#endif
