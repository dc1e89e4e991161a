/* What the files of `ocellus sweep` share: where a sweep stands. */
#ifndef OC_CLI_SWEEP_H
#define OC_CLI_SWEEP_H

#include "base/json.h"
#include "train/sweep.h"

typedef enum {
    OC_RUN_WAITING,    /* not begun */
    OC_RUN_UNFINISHED, /* begun, then stopped */
    OC_RUN_FAILED,     /* its folder's failed.json says why */
    OC_RUN_DONE
} oc_run_state;

/* One variant with one seed. */
typedef struct oc_sweep_run {
    const oc_sweep_variant *variant;
    int seed;
    char *folder; /* NULL as long as its definition is not known (its preparations were not made) */
    char **eval;  /* [evaluations] folder of each result; NULL for constant ones */
    oc_run_state state;
    char error[400];
} oc_sweep_run;

typedef struct oc_sweep_state {
    const oc_sweep *sweep;
    const char *out;
    const char *const *set; /* [n_set] "name=value" of the command line */
    int n_set;
    int threads;
    oc_sweep_run *run; /* [n] by seed, then variant */
    int n;
    char **constant; /* [evaluations] result file of each constant one, else NULL */
    double seconds;  /* of all work recorded so far: preparation, training, measuring */
} oc_sweep_state;

/* --- Definitions (sweep_define.c): what a run is made from, and a name for it ------------------------------------- */

/* Adds to `data` (an object) the path with a hash of what lies there. Paths below `prepared` stand for themselves:
 * their names hold the hash of their preparation. A file is read whole up to 256 MiB, else its ends; of a folder, names
 * and sizes, and the contents of *.json and *.safetensors. */
oc_status oc_define_data(json_t *data, const char *path, const char *prepared, oc_error *err);
/* Data that a recipe with these variables reads, by its stages. */
oc_status oc_define_recipe_data(json_t *data, const char *recipe, const char *const *vars, int n_vars,
                                const char *prepared, oc_error *err);
/* A string with `prepared` replaced by "<prepared>", so that the folder can move. */
json_t *oc_define_string(const char *text, const char *prepared);
/* A hash of the definition in 8 hexadecimal digits. */
oc_status oc_define_hash(char hash[9], const json_t *definition, oc_error *err);
/* The keys in which two definitions differ, "variables.steps, recipe"; empty when they are equal. */
void oc_define_difference(const json_t *a, const json_t *b, oc_strbuf *out);

/* --- Results (sweep_results.c, sweep_plots.c) --------------------------------------------------------------------- */

/* Loss by steps of one stage of a run's log: *step and *loss [*n] (oc_free), *seconds that the stage took. n is 0 when
 * the log has none of it. */
oc_status oc_sweep_curve(const char *run_folder, const char *stage, double **step, double **loss, size_t *n,
                         double *seconds, oc_error *err);
/* A measure of a run, NaN when there is none. */
oc_status oc_sweep_value(double *value, const oc_sweep_state *s, const oc_sweep_run *run, const oc_sweep_measure *m,
                         oc_error *err);
/* The measure's baseline, NaN when there is none. */
oc_status oc_sweep_baseline(double *value, const oc_sweep_state *s, const oc_sweep_measure *m, oc_error *err);

/* OUT/results.json, OUT/results.md and OUT/NAME-PLOT.svg, from what there is so far. *json (may be NULL) is the first. */
oc_status oc_sweep_write_results(const oc_sweep_state *s, json_t **json, oc_error *err);
/* The section of this sweep in a Markdown page, replaced or added, with its plots beside the page. */
oc_status oc_sweep_write_docs(const oc_sweep_state *s, const char *page, oc_error *err);
/* DIR/NAME-PLOT.svg of every plot. */
oc_status oc_sweep_write_plots(const oc_sweep_state *s, const char *dir, oc_error *err);

/* Mean, standard deviation (n - 1) and extremes of the values that are not NaN. */
typedef struct oc_spread {
    int n;
    double mean, sd, min, max;
} oc_spread;
oc_spread oc_spread_of(const double *value, int n);
/* Half the width of the 95% confidence interval of a mean by Student's t; NaN for n < 2. */
double oc_spread_interval(const oc_spread *s);

#endif
