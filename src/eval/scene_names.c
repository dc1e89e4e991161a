#include "eval/scene_names.h"

#include <ctype.h>
#include <string.h>

typedef struct pair_set {
    bool pair[OC_COLOR_COUNT][OC_SHAPE_COUNT], color[OC_COLOR_COUNT], shape[OC_SHAPE_COUNT];
} pair_set;

static int find_color(const char *word, size_t len) {
    for (int c = 0; c < OC_COLOR_COUNT; c++) {
        const char *name = oc_color_name((oc_color)c);
        if (strlen(name) == len && !strncmp(name, word, len)) return c;
    }
    return -1;
}

/* Singular, or plural with s or es. */
static int find_shape(const char *word, size_t len) {
    for (int s = 0; s < OC_SHAPE_COUNT; s++) {
        const char *name = oc_shape_name((oc_shape)s);
        size_t n = strlen(name);
        if (len < n || strncmp(name, word, n)) continue;
        if (len == n || (len == n + 1 && word[n] == 's') || (len == n + 2 && !strncmp(word + n, "es", 2))) return s;
    }
    return -1;
}

/* A colour holds for the next word, if that is a shape. */
static void read_caption(pair_set *set, const char *text) {
    int color = -1;
    memset(set, 0, sizeof *set);
    while (*text) {
        char word[32];
        size_t len = 0;
        while (*text && !isalpha((unsigned char)*text)) text++;
        for (; isalpha((unsigned char)*text); text++)
            if (len < sizeof word) word[len++] = (char)tolower((unsigned char)*text);
        if (!len) return;
        int shape = find_shape(word, len), c = find_color(word, len);
        if (shape >= 0) {
            set->shape[shape] = true;
            if (color >= 0) set->pair[color][shape] = set->color[color] = true;
        }
        color = c;
    }
}

void oc_scene_names_add(oc_scene_names *n, const char *caption, const char *reference) {
    pair_set got, want;
    read_caption(&got, caption);
    read_caption(&want, reference);
    n->captions++;
    for (int c = 0; c < OC_COLOR_COUNT; c++) {
        n->colours += got.color[c];
        n->colours_right += got.color[c] && want.color[c];
        for (int s = 0; s < OC_SHAPE_COUNT; s++) {
            n->named += got.pair[c][s];
            n->in_reference += want.pair[c][s];
            n->right += got.pair[c][s] && want.pair[c][s];
        }
    }
    for (int s = 0; s < OC_SHAPE_COUNT; s++) {
        n->shapes += got.shape[s];
        n->shapes_right += got.shape[s] && want.shape[s];
    }
}
