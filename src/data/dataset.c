/* The index of a data set: compact arrays and one string store; the readers of each format (llava.c, coco.c) add to it. */
#include "data/dataset_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"

/* ---- Growing arrays and strings ------------------------------------------------------------------------------------ */

enum { STRING_BLOCK = 1 << 20 };

typedef struct string_block {
    struct string_block *next;
    size_t used, capacity;
    char data[];
} string_block;

/* Makes room for one more element of `size` bytes. */
static bool grow(void **array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return true;
    size_t wanted = *capacity ? *capacity * 2 : 256;
    void *p = oc_realloc(*array, count * size, wanted * size);
    if (!p) return false;
    *array = p;
    *capacity = wanted;
    return true;
}

const char *oc_dataset_store(oc_dataset *d, const char *s, size_t n) {
    string_block *b = d->strings;
    if (!b || b->capacity - b->used < n + 1) {
        size_t capacity = OC_MAX((size_t)STRING_BLOCK, n + 1);
        b = oc_alloc(sizeof *b + capacity);
        if (!b) return NULL;
        *b = (string_block){.next = d->strings, .capacity = capacity};
        d->strings = b;
    }
    char *at = b->data + b->used;
    memcpy(at, s, n);
    at[n] = 0;
    b->used += n + 1;
    return at;
}

static oc_status no_memory(oc_error *err) {
    return oc_fail(err, OC_ERR_NOMEM, "out of memory for the index of a data set");
}

oc_status oc_dataset_begin(oc_dataset *d, const char *id, const char *system, const char *question_type,
                           oc_error *err) {
    if (!grow((void **)&d->record, d->n_records, &d->record_capacity, sizeof *d->record)) return no_memory(err);
    dataset_record *r = &d->record[d->n_records++];
    *r = (dataset_record){.first_image = d->n_images, .first_turn = d->n_turns, .first_answer = d->n_answers};
    r->id = oc_dataset_store(d, id, strlen(id));
    r->system = system ? oc_dataset_store(d, system, strlen(system)) : NULL;
    r->question_type = question_type ? oc_dataset_store(d, question_type, strlen(question_type)) : NULL;
    return r->id && (!system || r->system) && (!question_type || r->question_type) ? OC_OK : no_memory(err);
}

oc_status oc_dataset_add_image(oc_dataset *d, const char *name, oc_error *err) {
    if (!grow((void **)&d->image, d->n_images, &d->image_capacity, sizeof *d->image)) return no_memory(err);
    const char *s = d->n_images && !strcmp(d->image[d->n_images - 1], name) ? d->image[d->n_images - 1]
                                                                            : oc_dataset_store(d, name, strlen(name));
    if (!s) return no_memory(err);
    d->image[d->n_images++] = s;
    d->record[d->n_records - 1].n_images++;
    return OC_OK;
}

oc_status oc_dataset_add_turn(oc_dataset *d, bool assistant, const char *text, size_t len, oc_error *err) {
    if (!grow((void **)&d->turn, d->n_turns, &d->turn_capacity, sizeof *d->turn)) return no_memory(err);
    char *s = (char *)(uintptr_t)oc_dataset_store(d, text, len);
    if (!s) return no_memory(err);
    if (assistant && d->opt.lowercase)
        for (char *c = s; *c; c++)
            if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    d->turn[d->n_turns++] = (oc_turn){assistant, s};
    d->record[d->n_records - 1].n_turns++;
    return OC_OK;
}

oc_status oc_dataset_add_answer(oc_dataset *d, const char *text, oc_error *err) {
    if (!grow((void **)&d->answer, d->n_answers, &d->answer_capacity, sizeof *d->answer)) return no_memory(err);
    const char *s = oc_dataset_store(d, text, strlen(text));
    if (!s) return no_memory(err);
    d->answer[d->n_answers++] = s;
    d->record[d->n_records - 1].n_answers++;
    return OC_OK;
}

int oc_dataset_record_line(const oc_json_reader *r) {
    int line = r->line;
    for (size_t i = r->pos; i < r->len && strchr(" \t\r\n,[", r->text[i]) && r->text[i]; i++)
        line += r->text[i] == '\n';
    return line;
}

/* ---- Sampling ------------------------------------------------------------------------------------------------------ */

static oc_status bad_sampling(const char *s, oc_error *err) {
    return oc_fail(
        err, OC_ERR_ARG,
        "sampling \"%s\": all, first:N, end:N or random:N were expected, N a count or a percentage like 10%%", s);
}

/* "N" or "K%" of total. */
static oc_status sampling_count(const char *text, const char *number, size_t total, size_t *out, oc_error *err) {
    char *end;
    double n = strtod(number, &end);
    if (*number < '0' || *number > '9') return bad_sampling(text, err);
    if (*end == '%' && !end[1] && n <= 100)
        n = (double)total * n / 100;
    else if (*end || n != floor(n))
        return bad_sampling(text, err);
    *out = n >= (double)total ? total : (size_t)n;
    return OC_OK;
}

static int by_index(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static oc_status apply_sampling(oc_dataset *d, oc_error *err) {
    const char *s = d->opt.sampling;
    size_t n = d->n_records, keep = 0;
    if (!s || !strcmp(s, "all")) return OC_OK;
    const char *colon = strchr(s, ':');
    if (!colon) return bad_sampling(s, err);
    OC_TRY(sampling_count(s, colon + 1, n, &keep, err));
    size_t kind = (size_t)(colon - s);
    if (kind == 5 && !strncmp(s, "first", 5))
        d->n_records = keep;
    else if (kind == 3 && !strncmp(s, "end", 3)) {
        memmove(d->record, d->record + (n - keep), keep * sizeof *d->record);
        d->n_records = keep;
    } else if (kind == 6 && !strncmp(s, "random", 6)) {
        uint32_t *order = oc_alloc(n * sizeof *order);
        if (!order) return no_memory(err);
        for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
        oc_rng rng = oc_rng_at(d->opt.seed, 0x73616d70, n);
        oc_rng_shuffle_u32(&rng, order, n);
        qsort(order, keep, sizeof *order, by_index); /* the chosen ones, in file order */
        for (size_t i = 0; i < keep; i++) d->record[i] = d->record[order[i]];
        d->n_records = keep;
        oc_free(order);
    } else
        return bad_sampling(s, err);
    return OC_OK;
}

/* ---- Groups by picture --------------------------------------------------------------------------------------------- */

typedef struct group_key {
    const char *image;
    size_t sample;
} group_key;

static int by_image(const void *a, const void *b) {
    const group_key *x = a, *y = b;
    int c = strcmp(x->image, y->image);
    return c ? c : x->sample < y->sample ? -1 : x->sample > y->sample;
}

static int by_first_sample(const void *a, const void *b) {
    size_t x = ((const oc_image_group *)a)->sample[0], y = ((const oc_image_group *)b)->sample[0];
    return x < y ? -1 : x > y;
}

static oc_status build_groups(oc_dataset *d, oc_error *err) {
    size_t n = 0;
    group_key *key = oc_alloc(d->n_records * sizeof *key);
    d->grouped = oc_alloc(d->n_records * sizeof *d->grouped);
    if (!key || !d->grouped) {
        oc_free(key);
        return no_memory(err);
    }
    for (size_t i = 0; i < d->n_records; i++)
        if (d->record[i].n_images) key[n++] = (group_key){d->image[d->record[i].first_image], i};
    qsort(key, n, sizeof *key, by_image);
    size_t groups = 0;
    for (size_t i = 0; i < n; i++) groups += i == 0 || strcmp(key[i].image, key[i - 1].image);
    d->group = oc_alloc(groups * sizeof *d->group);
    for (size_t i = 0, g = 0; d->group && i < n; i++) {
        d->grouped[i] = key[i].sample;
        if (i == 0 || strcmp(key[i].image, key[i - 1].image))
            d->group[g++] = (oc_image_group){.image = key[i].image, .sample = &d->grouped[i]};
        d->group[g - 1].n++;
    }
    oc_free(key);
    if (!d->group) return no_memory(err);
    d->n_groups = groups;
    if (groups) qsort(d->group, groups, sizeof *d->group, by_first_sample);
    return OC_OK;
}

/* Is `type` one of the words of `list`, which commas separate? */
static bool is_listed(const char *list, const char *type) {
    const size_t n = type ? strlen(type) : 0;
    for (const char *word = list; type; word++) {
        const size_t length = strcspn(word, ",");
        if (length == n && !memcmp(word, type, n)) return true;
        word += length;
        if (!*word) return false;
    }
    return false;
}

static void keep_types(oc_dataset *d) {
    size_t n = 0;
    if (!d->opt.types) return;
    for (size_t i = 0; i < d->n_records; i++)
        if (is_listed(d->opt.types, d->record[i].question_type)) d->record[n++] = d->record[i];
    d->n_records = n;
}

/* ---- Public -------------------------------------------------------------------------------------------------------- */

static oc_status read_records(oc_dataset *d, oc_error *err) {
    switch (d->opt.kind) {
    case OC_DATASET_LLAVA:
        return oc_dataset_read_llava(d, err);
    case OC_DATASET_COCO:
        return oc_dataset_read_coco(d, err);
    case OC_DATASET_KARPATHY:
        return oc_dataset_read_karpathy(d, err);
    case OC_DATASET_VQA:
        return oc_dataset_read_vqa(d, err);
    case OC_DATASET_CAPTION_LIST:
        return oc_dataset_read_caption_list(d, err);
    case OC_DATASET_VQAV2:
        return oc_dataset_read_vqav2(d, err);
    case OC_DATASET_PATHVQA:
        return oc_dataset_read_pathvqa(d, err);
    }
    return oc_fail(err, OC_ERR_ARG, "unknown kind of data set");
}

static bool has_images(const oc_dataset *d) { return d->n_images > 0; }

oc_status oc_dataset_open(oc_dataset **out, const oc_dataset_options *opt, oc_error *err) {
    oc_dataset *d = oc_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return no_memory(err);
    d->opt = *opt;
    if (!d->opt.prompt) d->opt.prompt = OC_CAPTION_PROMPT;
    oc_status st;
    char *folder = NULL;
    OC_GO(read_records(d, err));
    keep_types(d);
    OC_GO(apply_sampling(d, err));
    if (d->n_records == 0) {
        st = oc_fail(err, OC_ERR_FORMAT, "%s: no samples are left of it; look at the file, its split, \"types\" and \"sampling\"",
                     opt->json);
        goto done;
    }
    OC_GO(build_groups(d, err));
    if (has_images(d)) {
        folder = oc_path_dir(opt->json);
        if (!folder) {
            st = no_memory(err);
            goto done;
        }
        OC_GO(oc_image_store_open(&d->store, opt->images ? opt->images : folder, err));
    }
done:
    oc_free(folder);
    /* strings of the options may not outlive this call */
    d->opt.json = d->opt.annotations = d->opt.images = d->opt.split = d->opt.prompt = d->opt.prompt_suffix =
        d->opt.sampling = d->opt.types = NULL;
    if (st == OC_OK)
        *out = d;
    else
        oc_dataset_close(d);
    return st;
}

void oc_dataset_close(oc_dataset *d) {
    if (!d) return;
    for (string_block *b = d->strings, *next; b; b = next) {
        next = b->next;
        oc_free(b);
    }
    oc_image_store_close(d->store);
    oc_free(d->record);
    oc_free(d->image);
    oc_free(d->turn);
    oc_free(d->answer);
    oc_free(d->grouped);
    oc_free(d->group);
    oc_free(d);
}

size_t oc_dataset_count(const oc_dataset *d) { return d->n_records; }

void oc_dataset_sample(const oc_dataset *d, size_t i, oc_sample *out) {
    OC_ASSERT(i < d->n_records);
    const dataset_record *r = &d->record[i];
    *out = (oc_sample){.id = r->id,
                       .image = r->n_images ? d->image + r->first_image : NULL,
                       .n_images = r->n_images,
                       .n_turns = r->n_turns,
                       .turn = d->turn + r->first_turn,
                       .answer = r->n_answers ? d->answer + r->first_answer : NULL,
                       .n_answers = r->n_answers,
                       .system = r->system,
                       .question_type = r->question_type};
}

oc_status oc_dataset_set_images(oc_dataset *d, const char *where, bool flat, oc_error *err) {
    oc_image_store *store;
    OC_TRY(oc_image_store_open(&store, where, err));
    oc_image_store_set_flat(store, flat);
    oc_image_store_close(d->store);
    d->store = store;
    return OC_OK;
}

bool oc_dataset_has_image(const oc_dataset *d, const char *image) {
    return d->store && oc_image_store_has(d->store, image);
}

oc_status oc_dataset_image_bytes(const oc_dataset *d, const char *image, const uint8_t **data, size_t *size,
                                 void **owned, oc_error *err) {
    return oc_image_store_get(d->store, image, data, size, owned, err);
}

size_t oc_dataset_missing_images(const oc_dataset *d, void (*report)(void *ctx, const char *sample, const char *image),
                                 void *ctx, int max_report) {
    size_t missing = 0;
    for (size_t i = 0; i < d->n_records; i++)
        for (int j = 0; j < d->record[i].n_images; j++) {
            const char *name = d->image[d->record[i].first_image + (size_t)j];
            if (oc_image_store_has(d->store, name)) continue;
            if (missing++ < (size_t)max_report && report) report(ctx, d->record[i].id, name);
        }
    return missing;
}

size_t oc_dataset_group_count(const oc_dataset *d) { return d->n_groups; }

void oc_dataset_group(const oc_dataset *d, size_t g, oc_image_group *out) {
    OC_ASSERT(g < d->n_groups);
    *out = d->group[g];
}
