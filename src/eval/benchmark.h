/* The benchmarks of the paper, and one more: what is asked and how answers are decoded is fixed here, and their files are
 * found where people have them. */
#ifndef OC_EVAL_BENCHMARK_H
#define OC_EVAL_BENCHMARK_H

#include "data/dataset.h"
#include "eval/bootstrap.h"

typedef struct oc_benchmark {
    const char *name;  /* "coco-karpathy" */
    const char *title; /* "COCO captions, Karpathy's test split" */
    oc_eval_task task;
    const char *prompt;         /* of captions */
    const char *suffix;         /* behind every question; NULL: none */
    const char *split;          /* by default */
    const char *splits;         /* those it has: "test|val|train" */
    bool types;                 /* the data set's question types say more than yes/no and open */
    const char *main_scores[4]; /* the first figures of a page, as oc_sampled_score names them; NULL ends */
} oc_benchmark;

/* Decoding of all of them: greedy, at most so many tokens, the end of a turn or text ends the answer. */
enum { OC_BENCHMARK_TOKENS = 64 };

/* NULL: no such benchmark. */
const oc_benchmark *oc_benchmark_find(const char *name);
/* "coco-karpathy|flickr30k|pathvqa|vqav2" */
#define OC_BENCHMARK_NAMES "coco-karpathy|flickr30k|pathvqa|vqav2"

typedef struct oc_benchmark_files {
    char *annotations, *answers; /* answers: VQA v2's second file, else NULL */
    char *images;                /* NULL: not looked for */
    bool flat;                   /* pictures lie in one folder, whatever their names say */
    bool whole_set; /* coco-karpathy without a split file: all of captions_val2014.json, which is another set */
} oc_benchmark_files;

typedef struct oc_benchmark_options {
    const char *dir;                              /* the data set's folder */
    const char *split, *prompt, *suffix, *images; /* NULL: the benchmark's own, and a search for the pictures */
    bool no_images;                               /* questions alone: pictures are not looked for */
} oc_benchmark_options;

/* Finds the files below opt->dir and reads them. Where something is missing, OC_ERR_IO names what was looked for and where.
 * *d and *files are the caller's. */
oc_status oc_benchmark_open(oc_dataset **d, oc_benchmark_files *files, const oc_benchmark *b,
                            const oc_benchmark_options *opt, oc_error *err);
void oc_benchmark_files_free(oc_benchmark_files *f);

/* OC_ERR_IO if pictures of e's items are not there: how many, and which first. */
oc_status oc_benchmark_check_images(const oc_evaluation *e, const oc_dataset *d, const char *dir, oc_error *err);

#endif
