/* 1. units and their order  2. the picture cache  3. building one batch  4. planning  5. workers  6. public calls
 *
 * Each batch is built by one worker: it plans the batch, a range [begin, end) of an epoch's order, then fills it. One
 * worker plans at a time (lock `planning`), so batches are numbered in the order of their ranges and what a batch holds
 * depends on nothing but its range. Results lie in slots; oc_loader_next hands them out by number. Lock `lock` guards the
 * slots, the cache's table, the bad units, the counts and the first error; it is taken inside `planning`, never around it. */
#include "data/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "data/augment.h"

typedef enum { SLOT_FREE, SLOT_BUSY, SLOT_READY, SLOT_TAKEN } slot_state;

typedef struct slot {
    slot_state state;
    int64_t number;
    oc_loader_position after;
    oc_batch batch;
} slot;

typedef struct cached_image {
    const oc_dataset *dataset; /* NULL: empty */
    const char *name;          /* of the data set, which outlives the loader */
    uint8_t *rgb;              /* [R, R, 3] */
} cached_image;

struct oc_loader {
    oc_loader_options opt;
    oc_source *source; /* own copy */
    size_t *first;     /* [n_sources + 1]: units of source s are [first[s], first[s+1]) */
    size_t units_per_epoch;
    int max_captions, max_group;                /* sequences of a unit; samples of a group */
    int max_unit_images, max_sample_images;     /* pictures of a unit, of one sequence */
    int max_tokens, max_seqs, max_blocks, max_images; /* of a batch */

    pthread_mutex_t planning; /* guards the next four */
    oc_loader_position next;  /* where the next batch begins */
    int64_t next_number;
    uint32_t *order;          /* of epoch order_epoch */
    int64_t order_epoch;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    slot *slot;
    int n_slots;
    int64_t next_delivery;
    bool stop;
    oc_error error;
    bool failed;

    uint8_t *bad; /* [units] known to be bad */
    int n_bad;
    int64_t n_cut;

    cached_image *cache;
    size_t cache_capacity, cache_used, cache_limit; /* entries */

    pthread_t *thread;
    int n_threads;
    double waited;
};

/* ---- 1. Units and their order -------------------------------------------------------------------------------------- */

static size_t source_units(const oc_loader *l, int s) {
    const oc_dataset *d = l->source[s].dataset;
    return l->opt.group_by_image ? oc_dataset_group_count(d) : oc_dataset_count(d);
}

/* How often a source's units occur in one epoch, all together. */
static size_t visits(const oc_source *s, size_t units) { return (size_t)((double)units * s->weight + 0.5); }

static size_t count_visits(const oc_loader *l) {
    size_t n = 0;
    for (int s = 0; s < l->opt.n_sources; s++) n += visits(&l->source[s], source_units(l, s));
    return n;
}

/* Whole visits first, then a random subset for the fraction; then everything is shuffled. */
static void make_order(const oc_loader *l, int64_t epoch, uint32_t *order) {
    oc_rng rng = oc_rng_at(l->opt.seed, 0x6f72646572, (uint64_t)epoch);
    size_t at = 0;
    for (int s = 0; s < l->opt.n_sources; s++) {
        size_t units = source_units(l, s), left = visits(&l->source[s], units);
        uint32_t base = (uint32_t)l->first[s];
        for (; left >= units && units; left -= units)
            for (size_t i = 0; i < units; i++) order[at++] = base + (uint32_t)i;
        for (size_t i = 0, taken = 0; i < units && taken < left; i++) /* selection sampling (Knuth, algorithm S) */
            if (oc_rng_uniform(&rng) * (double)(units - i) < (double)(left - taken)) {
                order[at++] = base + (uint32_t)i;
                taken++;
            }
    }
    OC_ASSERT(at == l->units_per_epoch);
    oc_rng_shuffle_u32(&rng, order, at);
}

/* ---- 2. The picture cache ------------------------------------------------------------------------------------------ */

static cached_image *cache_slot(oc_loader *l, const oc_dataset *d, const char *name) {
    size_t i = (size_t)XXH3_64bits_withSeed(name, strlen(name), (XXH64_hash_t)(uintptr_t)d) & (l->cache_capacity - 1);
    while (l->cache[i].dataset && (l->cache[i].dataset != d || strcmp(l->cache[i].name, name)))
        i = (i + 1) & (l->cache_capacity - 1);
    return &l->cache[i];
}

static const uint8_t *cache_find(oc_loader *l, const oc_dataset *d, const char *name) {
    if (!l->cache) return NULL;
    pthread_mutex_lock(&l->lock);
    const uint8_t *rgb = cache_slot(l, d, name)->rgb;
    pthread_mutex_unlock(&l->lock);
    return rgb;
}

/* Keeps a copy while there is room. */
static void cache_add(oc_loader *l, const oc_dataset *d, const char *name, const uint8_t *rgb, size_t bytes) {
    if (!l->cache) return;
    uint8_t *copy = oc_alloc(bytes);
    if (!copy) return;
    memcpy(copy, rgb, bytes);
    pthread_mutex_lock(&l->lock);
    cached_image *c = cache_slot(l, d, name);
    if (!c->dataset && l->cache_used < l->cache_limit) {
        *c = (cached_image){d, name, copy};
        l->cache_used++;
        copy = NULL;
    }
    pthread_mutex_unlock(&l->lock);
    oc_free(copy);
}

static oc_status open_cache(oc_loader *l, oc_error *err) {
    size_t R = (size_t)oc_augment_base_size(&l->opt.image), bytes = 3 * R * R;
    l->cache_limit = l->opt.cache_mb * ((size_t)1 << 20) / bytes;
    size_t units = l->first[l->opt.n_sources] * (size_t)l->max_unit_images;
    if (l->cache_limit > units) l->cache_limit = units;
    if (l->cache_limit == 0) return OC_OK;
    for (l->cache_capacity = 16; l->cache_capacity < 2 * l->cache_limit;) l->cache_capacity *= 2;
    l->cache = oc_calloc(l->cache_capacity, sizeof *l->cache);
    return l->cache ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the picture cache");
}

/* ---- 3. Building one batch ----------------------------------------------------------------------------------------- */

/* What one worker reuses from batch to batch. */
typedef struct workspace {
    uint8_t *base, *scratch;
    oc_chat_tokens tokens;
    size_t *pick;          /* [max_group] */
    size_t sample;         /* of its dataset: the one that was added last, or could not be */
    const char **shown;    /* [max_unit_images] the unit's pictures */
    uint32_t *order;       /* own copy of the order of epoch order_epoch: the next planner may replace the shared one */
    int64_t order_epoch;
} workspace;

typedef struct unit_ref {
    const oc_source *source;
    size_t index; /* sample, or group */
    uint32_t id;
} unit_ref;

static unit_ref unit_of(const oc_loader *l, uint32_t id) {
    int s = 0;
    while (id >= l->first[s + 1]) s++;
    return (unit_ref){&l->source[s], id - l->first[s], id};
}

static oc_status load_pixels(oc_loader *l, workspace *w, const oc_source *source, const char *name, float *out,
                             oc_rng *rng, oc_error *err) {
    const oc_dataset *d = source->dataset;
    oc_image_options image = l->opt.image;
    image.augment.grayscale = OC_MAX(image.augment.grayscale, source->grayscale);
    size_t R = (size_t)oc_augment_base_size(&l->opt.image);
    const uint8_t *base = cache_find(l, d, name);
    if (!base) {
        const uint8_t *bytes;
        size_t size;
        void *owned;
        OC_TRY(oc_dataset_image_bytes(d, name, &bytes, &size, &owned, err));
        oc_status st = oc_augment_base(w->base, bytes, size, name, &l->opt.image, err);
        oc_free(owned);
        OC_TRY(st);
        cache_add(l, d, name, w->base, 3 * R * R);
        base = w->base;
    }
    return oc_augment_pixels(out, base, w->scratch, &image, rng, err);
}

/* The pictures of one sample; those that the unit (whose pictures begin at `from`) already has are not loaded again. */
static oc_status add_pictures(oc_loader *l, workspace *w, oc_batch *b, int from, const oc_source *source,
                              const oc_sample *s, int32_t *image, oc_rng *rng, oc_error *err) {
    size_t plane = 3 * (size_t)b->image_size * (size_t)b->image_size;
    for (int i = 0; i < s->n_images; i++) {
        int k = from;
        while (k < b->n_images && strcmp(w->shown[k - from], s->image[i])) k++;
        if (k == b->n_images) {
            OC_ASSERT(k < b->max_images);
            OC_TRY(load_pixels(l, w, source, s->image[i], b->pixels + (size_t)k * plane, rng, err));
            w->shown[b->n_images++ - from] = s->image[i];
        }
        image[i] = k;
    }
    return OC_OK;
}

enum { MAX_SAMPLE_IMAGES = 256 };

/* Hides some of the answer tokens of the sequence that was appended last. */
static void drop_tokens(const oc_loader *l, const workspace *w, oc_batch *b, oc_rng *rng) {
    int first = b->seq_start[b->n_seq - 1];
    for (size_t i = 0; i < w->tokens.ids.len; i++)
        if (w->tokens.is_answer[i] && oc_rng_uniform(rng) < l->opt.text.token_drop)
            b->token[first + (int)i] = l->opt.text.drop_token;
}

/* Adds one sequence. *fits becomes false, and nothing is added, when it is too long for what is left of the batch. */
static oc_status add_sequence(oc_loader *l, workspace *w, oc_batch *b, int from, const oc_source *source, size_t index,
                              oc_rng *rng, bool *fits, oc_error *err) {
    int32_t image[MAX_SAMPLE_IMAGES];
    oc_sample s;
    bool cut;
    w->sample = index;
    oc_dataset_sample(source->dataset, index, &s);
    OC_TRY(oc_sample_tokens(&s, &l->opt.text, &w->tokens, &cut, err));
    int n = (int)w->tokens.ids.len;
    *fits = n <= b->max_tokens - b->N;
    if (!*fits)
        return oc_fail(err, OC_ERR_ARG, "%d tokens, but max_tokens leaves room for %d; raise it", n,
                       b->max_tokens - b->N);
    OC_TRY(add_pictures(l, w, b, from, source, &s, image, rng, err));
    bool added =
        oc_batch_append(b, w->tokens.ids.data, w->tokens.is_answer, n, l->opt.text.image_token, image, s.n_images);
    OC_ASSERT(added);
    if (l->opt.text.token_drop > 0) drop_tokens(l, w, b, rng);
    if (cut) {
        pthread_mutex_lock(&l->lock);
        l->n_cut++;
        pthread_mutex_unlock(&l->lock);
    }
    return OC_OK;
}

/* The samples of a unit: itself, or captions_per_image of its group drawn without replacement. pick [max_group]. */
static int draw_samples(const oc_loader *l, unit_ref u, size_t *pick, oc_rng *rng) {
    pick[0] = u.index;
    if (!l->opt.group_by_image) return 1;
    oc_image_group g;
    oc_dataset_group(u.source->dataset, u.index, &g);
    int k = l->opt.captions_per_image > 0 ? OC_MIN(l->opt.captions_per_image, g.n) : g.n;
    for (int i = 0; i < g.n; i++) pick[i] = g.sample[i];
    for (int i = 0; i < k; i++) {
        int j = oc_rng_range(rng, i, g.n - 1);
        size_t t = pick[i];
        pick[i] = pick[j];
        pick[j] = t;
    }
    return k;
}

static oc_rng unit_rng(const oc_loader *l, unit_ref u, int64_t epoch) {
    return oc_rng_at(l->opt.seed ^ 0x756e6974, (uint64_t)epoch, u.id);
}

/* Adds one unit; on failure the batch is as it was. */
static oc_status add_unit(oc_loader *l, workspace *w, oc_batch *b, unit_ref u, int64_t epoch, bool *fits,
                          oc_error *err) {
    oc_rng rng = unit_rng(l, u, epoch);
    oc_batch before = *b;
    oc_status st = OC_OK;
    *fits = true;
    int k = draw_samples(l, u, w->pick, &rng);
    for (int i = 0; i < k && st == OC_OK; i++)
        st = add_sequence(l, w, b, before.n_images, u.source, w->pick[i], &rng, fits, err);
    if (st != OC_OK) {
        b->N = before.N, b->n_seq = before.n_seq, b->n_blocks = before.n_blocks;
        b->n_images = before.n_images, b->n_labels = before.n_labels;
    }
    return st;
}

/* Counts a bad unit once, by the sample that was the reason. Fails when the limit is passed. */
static oc_status note_bad(oc_loader *l, unit_ref u, size_t sample, const oc_error *why, oc_error *err) {
    oc_status st = OC_OK;
    pthread_mutex_lock(&l->lock);
    if (!l->bad[u.id]) {
        l->bad[u.id] = 1;
        l->n_bad++;
        oc_sample s;
        oc_dataset_sample(u.source->dataset, sample, &s);
        if (l->opt.on_bad) l->opt.on_bad(l->opt.on_bad_ctx, s.id, why->msg);
        if (l->n_bad > l->opt.max_bad)
            st = l->opt.max_bad < 0
                     ? oc_fail(err, why->code, "sample %s: %s", s.id, why->msg)
                     : oc_fail(err, OC_ERR_FORMAT, "%d bad samples, more than the allowed %d; the last one is %s: %s",
                               l->n_bad, l->opt.max_bad, s.id, why->msg);
    }
    pthread_mutex_unlock(&l->lock);
    return st;
}

/* Adds the unit at `place` of the epoch's order, or the next good one in its stead. One that is good but too long for what
 * is left of the batch (only a stand-in can be) is passed over; alone in a batch it is bad. */
static oc_status add_good_unit(oc_loader *l, workspace *w, oc_batch *b, size_t place, int64_t epoch, oc_error *err) {
    enum { TRIES = 1000 };
    oc_error why = {0};
    for (size_t i = 0; i < TRIES && i < l->units_per_epoch; i++) {
        bool fits;
        unit_ref u = unit_of(l, w->order[(place + i) % l->units_per_epoch]);
        if (add_unit(l, w, b, u, epoch, &fits, &why) == OC_OK) return OC_OK;
        if (!fits && b->n_seq > 0) continue;
        if (why.code == OC_ERR_NOMEM) return oc_fail(err, why.code, "%s", why.msg); /* says nothing about the sample */
        OC_TRY(note_bad(l, u, w->sample, &why, err));
    }
    return b->n_seq > 0 ? OC_OK : oc_fail(err, OC_ERR_FORMAT, "no usable sample: %s", why.msg);
}

static oc_status build(oc_loader *l, workspace *w, oc_batch *b, int64_t epoch, int64_t begin, int64_t end,
                       oc_error *err) {
    oc_batch_clear(b);
    for (int64_t i = begin; i < end; i++) OC_TRY(add_good_unit(l, w, b, (size_t)i, epoch, err));
    return OC_OK;
}

/* ---- 4. Planning --------------------------------------------------------------------------------------------------- */

/* Tokens of a unit; 0 for one that is bad. */
static int64_t unit_tokens(const oc_loader *l, workspace *w, unit_ref u, int64_t epoch) {
    oc_rng rng = unit_rng(l, u, epoch);
    int64_t n = 0;
    int k = draw_samples(l, u, w->pick, &rng);
    for (int i = 0; i < k; i++) {
        oc_sample s;
        oc_dataset_sample(u.source->dataset, w->pick[i], &s);
        if (oc_sample_tokens(&s, &l->opt.text, &w->tokens, NULL, NULL) != OC_OK) return 0;
        n += (int64_t)w->tokens.ids.len;
    }
    return n;
}

/* Where the batch that begins at `begin` ends: after `batch` units, with the step or the epoch, or before the unit that does
 * not fit. */
static int64_t plan_end(const oc_loader *l, workspace *w, int64_t epoch, int64_t begin) {
    int64_t end = OC_MIN(begin + l->opt.batch, (int64_t)l->units_per_epoch), at = begin + 1;
    if (l->opt.step > 0) end = OC_MIN(end, begin - begin % l->opt.step + l->opt.step);
    if (l->max_tokens >= (int64_t)l->max_seqs * l->opt.text.max_length) return end;
    for (int64_t n = unit_tokens(l, w, unit_of(l, w->order[begin]), epoch); at < end; at++) {
        n += unit_tokens(l, w, unit_of(l, w->order[at]), epoch);
        if (n > l->max_tokens) break;
    }
    return at;
}

/* Under `planning`. Fills the worker's copy of the order. */
static void take_order(oc_loader *l, workspace *w, int64_t epoch) {
    if (w->order_epoch == epoch) return;
    if (l->order_epoch != epoch) make_order(l, epoch, l->order);
    memcpy(w->order, l->order, l->units_per_epoch * sizeof *l->order);
    l->order_epoch = w->order_epoch = epoch;
}

/* ---- 5. Workers ---------------------------------------------------------------------------------------------------- */

static oc_status open_workspace(const oc_loader *l, workspace *w, oc_error *err) {
    *w = (workspace){.order_epoch = -1};
    size_t R = (size_t)oc_augment_base_size(&l->opt.image), S = (size_t)l->opt.image.size;
    OC_TRY(oc_alloc_for(&w->base, 3 * R * R, "a picture", err));
    OC_TRY(oc_alloc_for(&w->scratch, 3 * S * S, "a picture", err));
    OC_TRY(oc_alloc_for(&w->pick, (size_t)l->max_group * sizeof *w->pick, "a picture's captions", err));
    OC_TRY(oc_alloc_for(&w->shown, (size_t)l->max_unit_images * sizeof *w->shown, "a sample's pictures", err));
    return oc_alloc_for(&w->order, l->units_per_epoch * sizeof *w->order, "the order of samples", err);
}

static void close_workspace(workspace *w) {
    oc_free(w->base);
    oc_free(w->scratch);
    oc_free(w->pick);
    oc_free(w->shown);
    oc_free(w->order);
    oc_chat_tokens_free(&w->tokens);
}

static slot *find_slot(oc_loader *l, slot_state state, int64_t number) {
    for (int i = 0; i < l->n_slots; i++)
        if (l->slot[i].state == state && (state == SLOT_FREE || l->slot[i].number == number)) return &l->slot[i];
    return NULL;
}

static void fail_loader(oc_loader *l, const oc_error *err) {
    pthread_mutex_lock(&l->lock);
    if (!l->failed) l->error = *err;
    l->failed = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

/* A slot to fill, NULL when it is time to stop. */
static slot *wait_for_free_slot(oc_loader *l) {
    slot *s = NULL;
    pthread_mutex_lock(&l->lock);
    while (!l->stop && !l->failed && !(s = find_slot(l, SLOT_FREE, 0))) pthread_cond_wait(&l->changed, &l->lock);
    if (s) s->state = SLOT_BUSY;
    pthread_mutex_unlock(&l->lock);
    return s;
}

/* Takes the next batch of the stream. */
static slot *plan_batch(oc_loader *l, workspace *w, int64_t *epoch, int64_t *begin, int64_t *end) {
    pthread_mutex_lock(&l->planning);
    slot *s = wait_for_free_slot(l);
    if (s) {
        *epoch = l->next.epoch;
        *begin = l->next.cursor;
        take_order(l, w, *epoch);
        *end = plan_end(l, w, *epoch, *begin);
        l->next = *end == (int64_t)l->units_per_epoch ? (oc_loader_position){*epoch + 1, 0}
                                                      : (oc_loader_position){*epoch, *end};
        s->number = l->next_number++;
        s->after = l->next;
    }
    pthread_mutex_unlock(&l->planning);
    return s;
}

static void *worker(void *arg) {
    oc_loader *l = arg;
    workspace w;
    oc_error err = {0};
    int64_t epoch, begin, end;
    slot *s;
    oc_trace_name_thread(l->opt.trace, "loader", 0);
    oc_status st = open_workspace(l, &w, &err);
    while (st == OC_OK && (s = plan_batch(l, &w, &epoch, &begin, &end))) {
        double start = oc_now();
        st = build(l, &w, &s->batch, epoch, begin, end, &err);
        if (st != OC_OK) break;
        oc_trace_add(l->opt.trace, &(oc_trace_event){.name = "make batch",
                                                     .category = "loader",
                                                     .dims = "tokens sequences images labels",
                                                     .dim = {s->batch.N, s->batch.n_seq, s->batch.n_images,
                                                             s->batch.n_labels},
                                                     .start = start});
        pthread_mutex_lock(&l->lock);
        s->state = SLOT_READY;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
    }
    if (st != OC_OK) fail_loader(l, &err);
    close_workspace(&w);
    return NULL;
}

/* ---- 6. Public calls ----------------------------------------------------------------------------------------------- */

/* What a group needs: all samples show its first picture; whatever else they show counts one by one. */
static void measure_group(oc_loader *l, const oc_dataset *d, const oc_image_group *g) {
    int images = 1;
    for (int i = 0; i < g->n; i++) {
        oc_sample s;
        oc_dataset_sample(d, g->sample[i], &s);
        images += s.n_images - 1;
    }
    l->max_unit_images = OC_MAX(l->max_unit_images, images);
    l->max_group = OC_MAX(l->max_group, g->n);
}

static void measure_units(oc_loader *l) {
    l->max_group = 1;
    for (int s = 0; s < l->opt.n_sources; s++) {
        const oc_dataset *d = l->source[s].dataset;
        oc_sample sample;
        oc_image_group g;
        for (size_t i = 0; i < oc_dataset_count(d); i++) {
            oc_dataset_sample(d, i, &sample);
            l->max_sample_images = OC_MAX(l->max_sample_images, sample.n_images);
        }
        for (size_t i = 0; l->opt.group_by_image && i < oc_dataset_group_count(d); i++) {
            oc_dataset_group(d, i, &g);
            measure_group(l, d, &g);
        }
    }
    if (!l->opt.group_by_image) l->max_unit_images = l->max_sample_images;
    l->max_captions = l->opt.captions_per_image > 0 ? OC_MIN(l->max_group, l->opt.captions_per_image) : l->max_group;
}

static oc_status measure_batch(oc_loader *l, oc_error *err) {
    int64_t B = l->opt.batch, seqs = B * l->max_captions, max_length = l->opt.text.max_length;
    int64_t all[] = {l->opt.max_tokens > 0 ? l->opt.max_tokens : seqs * max_length, seqs, seqs * l->max_sample_images,
                     B * l->max_unit_images};
    int *out[] = {&l->max_tokens, &l->max_seqs, &l->max_blocks, &l->max_images};
    for (size_t i = 0; i < OC_COUNT(all); i++) {
        if (all[i] > INT32_MAX)
            return oc_fail(
                err, OC_ERR_ARG,
                "batches of %lld units of %d tokens each are too large; choose smaller ones or set max_tokens",
                (long long)seqs, l->opt.text.max_length);
        *out[i] = (int)all[i];
    }
    if (l->max_tokens >= max_length) return OC_OK;
    return oc_fail(err, OC_ERR_ARG, "max_tokens %d is less than max_length %lld: one sample might not fit into a batch",
                   l->max_tokens, (long long)max_length);
}

void oc_loader_capacity(const oc_loader *l, int *tokens, int *seqs, int *blocks, int *images) {
    *tokens = l->max_tokens;
    *seqs = l->max_seqs;
    *blocks = l->max_blocks;
    *images = l->max_images;
}

static oc_status open_slots(oc_loader *l, oc_error *err) {
    int n = l->opt.ahead + l->n_threads;
    l->slot = oc_calloc((size_t)n, sizeof *l->slot);
    if (!l->slot) return oc_fail(err, OC_ERR_NOMEM, "out of memory for batches");
    for (int i = 0; i < n; i++) {
        OC_TRY(oc_batch_open(&l->slot[i].batch, l->max_tokens, l->max_seqs, l->max_blocks, l->max_images,
                             l->opt.text.tokens_per_image, l->opt.image.size, err));
        l->n_slots = i + 1;
    }
    return OC_OK;
}

static oc_status open_units(oc_loader *l, oc_error *err) {
    l->source = oc_alloc((size_t)l->opt.n_sources * sizeof *l->source);
    l->first = oc_calloc((size_t)l->opt.n_sources + 1, sizeof *l->first);
    if (!l->source || !l->first) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the loader");
    for (int s = 0; s < l->opt.n_sources; s++) {
        l->source[s] = l->opt.source[s];
        if (l->source[s].weight == 0) l->source[s].weight = 1;
        if (!(l->source[s].weight > 0 && l->source[s].weight <= 1000))
            return oc_fail(err, OC_ERR_ARG, "the weight %g of a data set is not between 0 and 1000",
                           l->source[s].weight);
        l->first[s + 1] = l->first[s] + source_units(l, s);
    }
    l->units_per_epoch = count_visits(l);
    if (l->first[l->opt.n_sources] >= UINT32_MAX || l->units_per_epoch >= UINT32_MAX)
        return oc_fail(err, OC_ERR_UNSUPPORTED, "more than 4 billion samples in an epoch");
    if (l->units_per_epoch == 0)
        return oc_fail(err, OC_ERR_ARG, "the mixture of data sets is empty: weights too small?");
    l->bad = oc_calloc(l->first[l->opt.n_sources], 1);
    l->order = oc_alloc(l->units_per_epoch * sizeof *l->order);
    l->order_epoch = -1;
    return l->bad && l->order ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the order of samples");
}

static oc_status start_workers(oc_loader *l, int wanted, oc_error *err) {
    l->thread = oc_calloc((size_t)wanted, sizeof *l->thread);
    if (!l->thread) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the loader");
    l->n_threads = 0;
    for (; l->n_threads < wanted; l->n_threads++)
        if (pthread_create(&l->thread[l->n_threads], NULL, worker, l))
            return oc_fail(err, OC_ERR_NOMEM, "cannot start a loader thread");
    return OC_OK;
}

oc_status oc_loader_open(oc_loader **out, const oc_loader_options *opt, oc_loader_position start, oc_error *err) {
    *out = NULL;
    OC_ASSERT(opt->batch > 0 && opt->n_sources > 0 && opt->image.size > 0 && opt->text.max_length > 0);
    oc_loader *l = oc_calloc(1, sizeof *l);
    if (!l) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the loader");
    l->opt = *opt;
    if (l->opt.ahead <= 0) l->opt.ahead = 4;
    l->next = start;
    pthread_mutex_init(&l->planning, NULL);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    oc_status st;
    int threads = opt->threads > 0 ? opt->threads : 1;
    OC_GO(open_units(l, err));
    measure_units(l);
    OC_GO(measure_batch(l, err));
    if (start.cursor < 0 || start.cursor >= (int64_t)l->units_per_epoch || start.epoch < 0) {
        st = oc_fail(err, OC_ERR_ARG,
                     "the position %lld of an epoch of %zu samples: was the data changed since the checkpoint?",
                     (long long)start.cursor, l->units_per_epoch);
        goto done;
    }
    l->n_threads = threads;
    OC_GO(open_slots(l, err));
    OC_GO(open_cache(l, err));
    OC_GO(start_workers(l, threads, err));
done:
    if (st == OC_OK) *out = l;
    else {
        if (!l->thread) l->n_threads = 0;
        oc_loader_close(l);
    }
    return st;
}

void oc_loader_close(oc_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++) pthread_join(l->thread[i], NULL);
    for (int i = 0; i < l->n_slots; i++) oc_batch_close(&l->slot[i].batch);
    for (size_t i = 0; i < l->cache_capacity && l->cache; i++) oc_free(l->cache[i].rgb);
    void *all[] = {l->thread, l->slot, l->cache, l->bad, l->order, l->source, l->first};
    for (size_t i = 0; i < OC_COUNT(all); i++) oc_free(all[i]);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->planning);
    oc_free(l);
}

oc_status oc_loader_next(oc_loader *l, oc_batch **out, oc_loader_position *after, oc_error *err) {
    double begin = oc_now();
    slot *s;
    oc_status st = OC_OK;
    *out = NULL;
    pthread_mutex_lock(&l->lock);
    while (!l->failed && !(s = find_slot(l, SLOT_READY, l->next_delivery))) pthread_cond_wait(&l->changed, &l->lock);
    if (l->failed) st = oc_fail(err, l->error.code, "%s", l->error.msg);
    else {
        s->state = SLOT_TAKEN;
        l->next_delivery++;
        *out = &s->batch;
        if (after) *after = s->after;
    }
    pthread_mutex_unlock(&l->lock);
    l->waited += oc_now() - begin;
    return st;
}

void oc_loader_release(oc_loader *l, oc_batch *b) {
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < l->n_slots; i++)
        if (&l->slot[i].batch == b) l->slot[i].state = SLOT_FREE;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

/* The lock is not part of the state that const promises. */
static oc_loader *lockable(const oc_loader *l) { return (oc_loader *)(uintptr_t)l; }

int64_t oc_loader_units_per_epoch(const oc_loader *l) { return (int64_t)l->units_per_epoch; }
size_t oc_loader_cache_bytes(const oc_loader *l, double pictures) {
    size_t R = (size_t)oc_augment_base_size(&l->opt.image);
    size_t n = pictures < (double)l->cache_limit ? (size_t)pictures : l->cache_limit;
    return n * 3 * R * R;
}

double oc_loader_wait_seconds(const oc_loader *l) { return l->waited; }

int oc_loader_bad_count(const oc_loader *l) {
    pthread_mutex_lock(&lockable(l)->lock);
    int n = l->n_bad;
    pthread_mutex_unlock(&lockable(l)->lock);
    return n;
}

int64_t oc_loader_cut_count(const oc_loader *l) {
    pthread_mutex_lock(&lockable(l)->lock);
    int64_t n = l->n_cut;
    pthread_mutex_unlock(&lockable(l)->lock);
    return n;
}
