/* The loader: worker threads decode, resize, augment, tokenise and pack batches ahead of the trainer.
 *
 * Order is a shuffle by (seed, epoch) and does not depend on the number of threads, so a run can be continued in the
 * middle of an epoch from (epoch, cursor). What is random about a sample is seeded by (seed, epoch, its index). */
#ifndef OC_DATA_LOADER_H
#define OC_DATA_LOADER_H

#include "base/rng.h"
#include "base/trace.h"
#include "data/dataset.h"
#include "data/resize.h"

/* How pictures become pixels. All zero: resized by `aspect` to S x S, nothing random. */
typedef struct oc_augment {
    double crop_min;   /* random crop of at least this share of the area, then resized to S x S; 0 or 1: none */
    double flip;       /* probability of a horizontal mirror (captions with left and right forbid it) */
    double jitter;     /* brightness, contrast and saturation each by a factor in [1-j, 1+j] */
    /* Probability that a picture fades: a random part of its colour, often nearly all, gives way to the gray that
     * black-and-white film sees through a filter of random colour. What is learned then hangs little on colours, or on
     * how bright each of them is. */
    double grayscale;
} oc_augment;

typedef struct oc_image_options {
    int size;                 /* S */
    oc_aspect aspect;
    float mean[3], std[3];
    oc_augment augment;
} oc_image_options;

typedef enum { OC_TEMPLATE_CHAT, OC_TEMPLATE_PLAIN } oc_template;

typedef struct oc_text_options {
    const oc_tokenizer *tokenizer;
    oc_template template;
    int32_t image_token, eos_token; /* eos: what ends the answer in the plain template */
    int tokens_per_image, max_length; /* longer sequences lose the end of their last answer */
    bool no_system, llava_labels;
    /* Probability that an answer's token is hidden from the tokens after it (word dropout, Bowman et al.,
     * arXiv 1511.06349): drop_token stands in its row; labels stay. */
    double token_drop;
    int32_t drop_token;
} oc_text_options;

/* One data set of a mixture. */
typedef struct oc_source {
    const oc_dataset *dataset;
    /* How often an epoch visits each of its samples: 1 once, 0.5 every second, 3 three times; at most 1000; 0 means 1. */
    double weight;
    double grayscale; /* in place of the loader's image.augment.grayscale where it is more */
} oc_source;

typedef struct oc_loader_options {
    const oc_source *source;
    int n_sources;
    uint64_t seed;
    int batch;                 /* samples per batch (groups, when grouped) */
    int step; /* no batch crosses a multiple of so many units of an epoch: what one optimizer step takes. 0: no such border */
    int max_tokens; /* capacity of a batch, at least max_length: a batch is closed before the unit that would not fit.
                                * 0: batch * max_length, grouped: * captions_per_image */
    /* A unit is one picture with captions_per_image of its samples, drawn anew each epoch; the picture is encoded once
     * (samples that show more pictures add theirs). Samples without pictures are left out. */
    bool group_by_image;
    int captions_per_image;    /* 0: all samples of the picture */
    int threads;               /* workers; 0: 1 */
    int ahead;                 /* finished batches that may wait; 0: 4 */
    size_t cache_mb; /* decoded pictures kept at slightly more than S x S (exactly S x S without crops); 0: none */
    int max_bad;               /* samples that may fail and be skipped; -1: the first one is an error */
    void (*on_bad)(void *ctx, const char *sample,
                   const char *reason); /* called from workers, one at a time; must not call the loader */
    void *on_bad_ctx;
    oc_trace *trace;           /* one event for each batch that a worker makes; NULL: none */
    oc_image_options image;
    oc_text_options text;
} oc_loader_options;

typedef struct oc_loader_position {
    int64_t epoch, cursor; /* units of this epoch already delivered */
} oc_loader_position;

typedef struct oc_loader oc_loader;

/* Starts the workers at a position ({0} for a new run). Data sets, tokenizer and options' pointers must outlive it. */
oc_status oc_loader_open(oc_loader **out, const oc_loader_options *opt, oc_loader_position start, oc_error *err);
void oc_loader_close(oc_loader *l); /* also while workers are busy */

/* The next batch in order, owned by the loader until oc_loader_release. Goes on into the next epoch by itself. *after is
 * the position behind this batch (may be NULL). n_samples of the batch is b->n_seq. Fails when too many samples are bad. */
oc_status oc_loader_next(oc_loader *l, oc_batch **out, oc_loader_position *after, oc_error *err);
void oc_loader_release(oc_loader *l, oc_batch *b);

int64_t oc_loader_units_per_epoch(const oc_loader *l); /* samples, or pictures when grouped */
int oc_loader_bad_count(const oc_loader *l);
int64_t oc_loader_cut_count(const oc_loader *l); /* sequences that lost their end to max_length so far */
/* Seconds that oc_loader_next has waited so far: what the data path costs the trainer. */
double oc_loader_wait_seconds(const oc_loader *l);
/* Bytes that the picture cache may come to hold after so many different pictures. */
size_t oc_loader_cache_bytes(const oc_loader *l, double pictures);
/* Most tokens, sequences, blocks and pictures that any batch can have: what to reserve. */
void oc_loader_capacity(const oc_loader *l, int *tokens, int *seqs, int *blocks, int *images);

/* ---- The same steps one sample at a time, for evaluation and tests ---- */

/* Tokens of a sample, each picture as tokens_per_image placeholders. *cut (may be NULL): it was longer than max_length.
 * Messages of these three do not name the sample: the caller does. */
oc_status oc_sample_tokens(const oc_sample *s, const oc_text_options *opt, oc_chat_tokens *out, bool *cut,
                           oc_error *err);
/* The same up to the last answer, which the model is to give: turns before it and the opening of its turn; with the plain
 * template the pictures alone. max_length does not apply. */
oc_status oc_sample_prompt(const oc_sample *s, const oc_text_options *opt, oc_chat_tokens *out, oc_error *err);
/* *out = t with each image token repeated tokens_per_image times. They must be n_images. */
oc_status oc_expand_images(const oc_chat_tokens *t, const oc_text_options *opt, int n_images,
                           oc_chat_tokens *out, oc_error *err);
/* Pixels f32 [3, S, S] of one encoded picture; rng NULL: nothing random. */
oc_status oc_image_pixels(float *out, const void *bytes, size_t size, const char *name, const oc_image_options *opt,
                          oc_rng *rng, oc_error *err);

#endif
