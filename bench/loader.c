/* What the loader costs: CPU milliseconds per sample, by part and as a whole, without and with the picture cache.
 *
 *   bench_loader conversations.json images tokenizer.json [size] [threads]
 *
 * images is a folder or shards, as everywhere. The first epoch fills the cache; the second is the one that counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/augment.h"

enum { BATCH = 32, MAX_SAMPLES = 6000, MAX_CACHE_MB = 8192 };

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(oc_status st, const oc_error *err) {
    if (st == OC_OK) return;
    fprintf(stderr, "bench_loader: %s\n", err->msg);
    exit(1);
}

/* Each step by itself on one thread. */
static void parts(const oc_dataset *d, const oc_loader_options *opt) {
    enum { N = 500 };
    double decode = 0, pixels = 0, tokens = 0;
    size_t R = (size_t)oc_augment_base_size(&opt->image), S = (size_t)opt->image.size;
    uint8_t *base = oc_alloc(3 * R * R), *scratch = oc_alloc(3 * S * S);
    float *out = oc_alloc(3 * S * S * sizeof *out);
    oc_chat_tokens c = {0};
    oc_error err;
    for (size_t i = 0; i < N && i < oc_dataset_count(d); i++) {
        const uint8_t *data;
        size_t size;
        void *owned;
        oc_sample s;
        oc_rng rng = oc_rng_seed(i);
        oc_dataset_sample(d, i * oc_dataset_count(d) / N, &s);
        double t0 = cpu_seconds();
        check(oc_dataset_image_bytes(d, s.image[0], &data, &size, &owned, &err), &err);
        check(oc_augment_base(base, data, size, s.image[0], &opt->image, &err), &err);
        oc_free(owned);
        double t1 = cpu_seconds();
        check(oc_augment_pixels(out, base, scratch, &opt->image, &rng, &err), &err);
        double t2 = cpu_seconds();
        check(oc_sample_tokens(&s, &opt->text, &c, NULL, &err), &err);
        double t3 = cpu_seconds();
        decode += t1 - t0, pixels += t2 - t1, tokens += t3 - t2;
    }
    printf("  parts, ms: decode and resize %.3f, crop, flip, jitter and normalise %.3f, tokens %.3f\n", 1e3 * decode / N, 1e3 * pixels / N, 1e3 * tokens / N);
    oc_free(base);
    oc_free(scratch);
    oc_free(out);
    oc_chat_tokens_free(&c);
}

static void epochs(const char *what, const oc_loader_options *opt) {
    oc_loader *l;
    oc_batch *b;
    oc_error err;
    oc_loader_position at = {0};
    check(oc_loader_open(&l, opt, at, &err), &err);
    for (int epoch = 0; epoch < 2; epoch++) {
        double wall = oc_now(), cpu = cpu_seconds();
        int n = 0;
        while (at.epoch == epoch) {
            check(oc_loader_next(l, &b, &at, &err), &err);
            n += b->n_seq;
            oc_loader_release(l, b);
        }
        cpu = cpu_seconds() - cpu, wall = oc_now() - wall;
        printf("  %-28s epoch %d: %.3f CPU ms a sample, %.0f samples/s of wall time\n", what, epoch + 1, 1e3 * cpu / n, n / wall);
    }
    oc_loader_close(l);
}

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "usage: bench_loader conversations.json images tokenizer.json [size] [threads]\n"), 2;
    oc_dataset *d;
    oc_tokenizer *t;
    oc_error err;
    char sampling[32];
    snprintf(sampling, sizeof sampling, "random:%d", MAX_SAMPLES);
    double begin = oc_now();
    check(oc_dataset_open(&d, &(oc_dataset_options){.json = argv[1], .images = argv[2], .sampling = sampling}, &err), &err);
    double opened = oc_now() - begin;
    check(oc_tokenizer_open(&t, argv[3], &err), &err);
    int32_t image;
    check(oc_tokenizer_add_special(t, OC_IMAGE_PLACEHOLDER, &image, &err), &err);
    oc_source source = {.dataset = d};
    oc_loader_options opt = {.source = &source, .n_sources = 1, .batch = BATCH, .max_bad = -1, .threads = argc > 5 ? atoi(argv[5]) : 1,
                             .image = {.size = argc > 4 ? atoi(argv[4]) : 224, .mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f}},
                             .text = {.tokenizer = t, .image_token = image, .tokens_per_image = 64, .max_length = 256}};
    printf("%zu samples, opened in %.2f s, pictures of %d x %d, %d worker(s)\n", oc_dataset_count(d), opened, opt.image.size, opt.image.size, opt.threads);
    for (int augment = 0; augment < 2; augment++) {
        if (augment) opt.image.augment = (oc_augment){.crop_min = 0.5, .flip = 0.5, .jitter = 0.2};
        printf("%s\n", augment ? "with crop, flip and jitter" : "nothing random");
        parts(d, &opt);
        opt.cache_mb = 0;
        epochs("without cache", &opt);
        opt.cache_mb = MAX_CACHE_MB;
        epochs("with cache", &opt);
        opt.group_by_image = true;
        epochs("with cache, by picture", &opt);
        opt.group_by_image = false;
    }
    oc_dataset_close(d);
    oc_tokenizer_close(t);
    return 0;
}
