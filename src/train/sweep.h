/* A sweep: a table of training runs that answers a question, in one YAML file (docs/sweeps.md is its reference).
 * Variants times seeds are the runs; each is trained by a recipe and measured by evaluations. `ocellus sweep` runs it.
 *
 * <name> in a command, a path or a variable's value stands for what only the run knows: a preparation's folder by the
 * preparation's name, <seed>, <recipe> (the recipe's path) and <here> (the sweep file's folder); oc_sweep_expand puts
 * it in. Other text in angle brackets stays as it is.
 *
 * Reading checks keys, types, ranges and what must go together, as for recipes (train/recipe.h); strings are NULL when
 * absent. */
#ifndef OC_TRAIN_SWEEP_H
#define OC_TRAIN_SWEEP_H

#include "train/settings.h"

/* One of the program's own commands that makes what the runs need: data, tokenizer, towers. It gets --out with a folder
 * of its own. */
typedef struct oc_sweep_prepare {
    int line;
    const char *name, *command;
    bool each_seed;
} oc_sweep_prepare;

/* One row of the table. */
typedef struct oc_sweep_variant {
    int line;
    const char *name, *label; /* label: as people read it; never NULL after reading */
    const char *recipe;       /* instead of the sweep's */
    const char *model;        /* this folder is measured, nothing is trained */
    oc_list set;              /* of const char *, "name=value" */
} oc_sweep_variant;

typedef enum { OC_SWEEP_TASK_CAPTION, OC_SWEEP_TASK_VQA } oc_sweep_task;

typedef struct oc_sweep_eval {
    int line;
    const char *name, *data, *images, *prompt;
    const char *stage; /* the model after this stage; NULL: after the last */
    oc_sweep_task task;
    int kind; /* llava|coco|karpathy|vqa, as oc_recipe_data_kind */
    int limit, max_new_tokens, beams;
    bool shuffle_images, constant; /* constant: the best answer without looking; measured once, without a model */
} oc_sweep_eval;

typedef enum {
    OC_SWEEP_SCORE,   /* a number of an evaluation's scores.json */
    OC_SWEEP_LOSS,    /* of a stage: the mean over its last tenth */
    OC_SWEEP_REACH,   /* optimizer steps until a stage's loss is `value` or lower */
    OC_SWEEP_SECONDS, /* of training, in a stage or in all */
} oc_sweep_measure_kind;

/* One column of the table. */
typedef struct oc_sweep_measure {
    int line;
    const char *name;
    oc_sweep_measure_kind kind;
    const char *of;                        /* evaluation or stage */
    const char *score;                     /* keys with dots between: "scores.overall.accuracy" */
    const char *baseline, *baseline_score; /* a constant evaluation to compare with */
    double value, scale;
    int digits;
    bool lower; /* is better */
} oc_sweep_measure;

typedef enum {
    OC_SWEEP_PLOT_LOSS,   /* of a stage, against steps: a line a variant */
    OC_SWEEP_PLOT_POINTS, /* of a measure: seeds, mean and spread of each variant */
    OC_SWEEP_PLOT_AGAINST /* of one measure against another */
} oc_sweep_plot_kind;

typedef struct oc_sweep_plot {
    int line;
    oc_sweep_plot_kind kind;
    const char *name, *title;
    const char *of;      /* stage, or measure */
    const char *against; /* measure on the x axis */
    bool connect;        /* points: a line through the means, for variants that are a row of steps */
} oc_sweep_plot;

typedef struct oc_sweep {
    int line;
    const char *name, *title, *question, *notes;
    const char *recipe;
    int seeds, first_seed;
    double minutes; /* after which no run is begun; 0: no limit */
    oc_list set;    /* of const char *, "name=value": for all variants */
    oc_list prepare, variants, evaluate, measures, plots;
    char *path; /* the file */
} oc_sweep;

/* As oc_recipe_open and its kin. */
oc_status oc_sweep_open(oc_sweep *s, const char *path, const char *const *vars, int n_vars, oc_error *err);
oc_status oc_sweep_parse(oc_sweep *s, const char *text, size_t len, const char *path, const char *const *vars,
                         int n_vars, oc_error *err);
void oc_sweep_close(oc_sweep *s);

static inline const oc_sweep_prepare *oc_sweep_prepare_at(const oc_sweep *s, int i) {
    return (const oc_sweep_prepare *)s->prepare.item + i;
}
static inline const oc_sweep_variant *oc_sweep_variant_at(const oc_sweep *s, int i) {
    return (const oc_sweep_variant *)s->variants.item + i;
}
static inline const oc_sweep_eval *oc_sweep_eval_at(const oc_sweep *s, int i) {
    return (const oc_sweep_eval *)s->evaluate.item + i;
}
static inline const oc_sweep_measure *oc_sweep_measure_at(const oc_sweep *s, int i) {
    return (const oc_sweep_measure *)s->measures.item + i;
}
static inline const oc_sweep_plot *oc_sweep_plot_at(const oc_sweep *s, int i) {
    return (const oc_sweep_plot *)s->plots.item + i;
}
/* Positions by name, -1 when there is none of it. */
int oc_sweep_find_eval(const oc_sweep *s, const char *name);
int oc_sweep_find_measure(const oc_sweep *s, const char *name);

/* What <name> stands for. */
typedef struct oc_sweep_place {
    const char *name, *value;
} oc_sweep_place;

/* text with its <names> replaced, as a new string (oc_free). path: what stands before a <name> that begins with a
 * folder is dropped, since it is only the folder to which a relative path was joined. */
oc_status oc_sweep_expand(char **out, const char *text, bool path, const oc_sweep_place *place, int n, oc_error *err);

/* A command's words: blanks separate them, double quotes keep them together. *word [*n] is one block with its strings
 * (oc_free). */
oc_status oc_sweep_words(char ***word, int *n, const char *command, oc_error *err);

/* Adds the reference of all keys in Markdown (docs/sweeps.md holds it). */
void oc_sweep_describe(oc_strbuf *out);

#endif
