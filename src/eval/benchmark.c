/* 1. the benchmarks  2. where their files lie  3. the annotations  4. the pictures */
#include "eval/benchmark.h"

#include <glob.h>
#include <string.h>

#include "base/file.h"

/* ---- 1. The benchmarks --------------------------------------------------------------------------------------------- */


static const oc_benchmark benchmarks[] = {
    {.name = "coco-karpathy",
     .title = "COCO captions, Karpathy's split",
     .task = OC_EVAL_CAPTION,
     .prompt = OC_CAPTION_PROMPT,
     .split = "test",
     .splits = "test|val|train|all",
     .main_scores = {"CIDEr", "Bleu_4", "ROUGE_L"}},
    {.name = "flickr30k",
     .title = "Flickr30k captions, Karpathy's split",
     .task = OC_EVAL_CAPTION,
     .prompt = OC_CAPTION_PROMPT,
     .split = "test",
     .splits = "test|val|train|all",
     .main_scores = {"CIDEr", "Bleu_4", "ROUGE_L"}},
    {.name = "pathvqa",
     .title = "PathVQA, questions about pathology",
     .task = OC_EVAL_VQA,
     .split = "test",
     .splits = "test|val|train",
     .main_scores = {"yesno.exact", "open.exact", "open.f1", "overall.exact"}},
    {.name = "vqav2",
     .title = "VQA v2, open-ended questions",
     .task = OC_EVAL_VQA,
     .suffix = "\nAnswer the question using a single word or phrase.",
     .split = "val",
     .splits = "val|train",
     .types = true,
     .main_scores = {"overall.accuracy", "yesno.accuracy", "open.accuracy"}},
};

const oc_benchmark *oc_benchmark_find(const char *name) {
    for (size_t i = 0; i < OC_COUNT(benchmarks); i++)
        if (!strcmp(benchmarks[i].name, name)) return &benchmarks[i];
    return NULL;
}

/* ---- 2. Where their files lie -------------------------------------------------------------------------------------- */

/* A file that may hold the annotations. In names and folders "{split}" stands for the split, "{set}" for COCO's name of it
 * (val2014). */
typedef struct candidate {
    const char *name;
    oc_dataset_kind kind;
    const char *answers; /* VQA v2: the file beside it */
    bool whole_set;
} candidate;

typedef struct layout {
    candidate file[10];
    const char *folder[10];   /* below --data, for annotations */
    const char *pictures[14]; /* below --data, for pictures */
} layout;

static const layout layouts[OC_COUNT(benchmarks)] = {
    /* coco-karpathy */
    {.file = {{"dataset_coco.json", OC_DATASET_KARPATHY, NULL, false},
              {"coco_karpathy_{split}.json", OC_DATASET_CAPTION_LIST, NULL, false},
              {"captions_{set}.json", OC_DATASET_COCO, NULL, true}},
     .folder = {"", "annotations", "karpathy", "caption_datasets", "coco", "coco/annotations"},
     .pictures = {"", "images", "coco", "coco/images", "{set}", "images/{set}", "coco/{set}", "coco/images/{set}",
                  "train2014", "*2014.tar", "*.tar", "images/*.tar"}},
    /* flickr30k */
    {.file = {{"dataset_flickr30k.json", OC_DATASET_KARPATHY, NULL, false},
              {"flickr30k_{split}.json", OC_DATASET_CAPTION_LIST, NULL, false}},
     .folder = {"", "annotations", "karpathy", "caption_datasets", "flickr30k"},
     .pictures = {"", "flickr30k-images", "flickr30k_images", "flickr30k_images/flickr30k_images", "images", "Images",
                  "flickr30k", "flickr30k/images", "flickr30k/flickr30k-images", "*.tar", "images/*.tar"}},
    /* pathvqa */
    {.file = {{"{split}_qa.jsonl", OC_DATASET_PATHVQA, NULL, false},
              {"{split}_qa.json", OC_DATASET_PATHVQA, NULL, false},
              {"{split}_vqa.json", OC_DATASET_PATHVQA, NULL, false},
              {"pvqa_{split}.json", OC_DATASET_PATHVQA, NULL, false},
              {"{split}.jsonl", OC_DATASET_PATHVQA, NULL, false},
              {"{split}.json", OC_DATASET_PATHVQA, NULL, false},
              {"{split}_llava.json", OC_DATASET_PATHVQA, NULL, false}},
     .folder = {"", "qas", "qas/{split}", "{split}", "pvqa/qas", "pvqa/qas/{split}", "data", "annotations"},
     .pictures = {"images/{split}", "images", "", "{split}", "pvqa/images/{split}", "pvqa/images", "{split}/images",
                  "images-{split}*.tar", "{split}*.tar", "images*.tar", "*.tar"}},
    /* vqav2 */
    {.file = {{"v2_OpenEnded_mscoco_{set}_questions.json", OC_DATASET_VQAV2, "v2_mscoco_{set}_annotations.json",
               false}},
     .folder = {"", "questions", "Questions", "annotations", "Annotations", "vqav2", "VQAv2"},
     .pictures = {"{set}", "images/{set}", "Images/{set}", "Images/mscoco/{set}", "images/mscoco/{set}", "coco/{set}",
                  "coco/images/{set}", "images", "", "{set}.tar", "*.tar"}},
};

static const layout *layout_of(const oc_benchmark *b) { return &layouts[b - benchmarks]; }

static const char *coco_set(const char *split) { return strcmp(split, "train") ? "val2014" : "train2014"; }

/* dir/folder/name with its placeholders filled in; NULL when memory is out. */
static char *expand(const char *dir, const char *folder, const char *name, const char *split) {
    oc_strbuf b = {.max = 1 << 16};
    const char *part[] = {folder, name};
    oc_strbuf_puts(&b, *dir ? dir : ".");
    for (size_t i = 0; i < OC_COUNT(part); i++) {
        if (!part[i] || !*part[i]) continue;
        oc_strbuf_putc(&b, '/');
        for (const char *p = part[i]; *p;) {
            if (!strncmp(p, "{split}", 7))
                oc_strbuf_puts(&b, split), p += 7;
            else if (!strncmp(p, "{set}", 5))
                oc_strbuf_puts(&b, coco_set(split)), p += 5;
            else
                oc_strbuf_putc(&b, *p++);
        }
    }
    if (!b.failed) return b.data; /* from oc_alloc, as strings are */
    oc_strbuf_free(&b);
    return NULL;
}

static oc_status no_memory(oc_error *err) {
    return oc_fail(err, OC_ERR_NOMEM, "out of memory for the files of a benchmark");
}

/* "a, b or c" of a table's entries, as they are looked for. */
static void list(oc_strbuf *out, const char *const *entry, size_t stride, size_t n, const char *split) {
    size_t count = 0;
    while (count < n && *(const char *const *)((const char *)entry + count * stride)) count++;
    for (size_t i = 0; i < count; i++) {
        const char *e = *(const char *const *)((const char *)entry + i * stride);
        char *path = expand("", NULL, *e ? e : ".", split); /* "./..." */
        oc_strbuf_printf(out, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " or ", path ? path + 2 : "");
        oc_free(path);
    }
}

/* ---- 3. The annotations -------------------------------------------------------------------------------------------- */

/* The first of folder x name that is there, as a new string in *path; or NULL. */
static oc_status find_file(char **path, const oc_benchmark *b, const char *dir, const char *name, const char *split,
                           oc_error *err) {
    const layout *l = layout_of(b);
    for (size_t f = 0; f < OC_COUNT(l->folder) && l->folder[f]; f++) {
        *path = expand(dir, l->folder[f], name, split);
        if (!*path) return no_memory(err);
        if (oc_file_exists(*path)) return OC_OK;
        oc_free(*path);
    }
    *path = NULL;
    return OC_OK;
}

/* Files of other forms that people have, with what to do about them. */
static const char *other_form(const char *dir, const char *split) {
    static const struct {
        const char *pattern, *remedy;
    } forms[] = {
        {"qas/{split}/*.pkl",
         "pickles can run code when they are opened and are not read; the user guide converts them to JSON"},
        {"pvqa/qas/{split}/*.pkl",
         "pickles can run code when they are opened and are not read; the user guide converts them to JSON"},
        {"qas/*.pkl",
         "pickles can run code when they are opened and are not read; the user guide converts them to JSON"},
        {"data/{split}-*.parquet",
         "Parquet files are not read here; the user guide converts them to JSON and pictures"},
        {"*.zip", "the archives must be unpacked"},
    };
    for (size_t i = 0; i < OC_COUNT(forms); i++) {
        char *path = expand(dir, forms[i].pattern, NULL, split);
        glob_t g;
        bool there = path && glob(path, 0, NULL, &g) == 0;
        if (there) globfree(&g);
        oc_free(path);
        if (there) return forms[i].remedy;
    }
    return NULL;
}

/* Another split that is there, or NULL. */
static oc_status other_split(char name[16], const oc_benchmark *b, const char *dir, const char *split, oc_error *err) {
    const layout *l = layout_of(b);
    *name = 0;
    for (const char *p = b->splits; *p; p += *p == '|') {
        size_t n = strcspn(p, "|");
        snprintf(name, 16, "%.*s", (int)n, p);
        p += n;
        if (!strcmp(name, split)) continue;
        for (size_t i = 0; i < OC_COUNT(l->file) && l->file[i].name; i++) {
            char *path;
            OC_TRY(find_file(&path, b, dir, l->file[i].name, name, err));
            const bool there = path != NULL;
            oc_free(path);
            if (there) return OC_OK;
        }
    }
    *name = 0;
    return OC_OK;
}

static oc_status fail_no_annotations(const oc_benchmark *b, const char *dir, const char *split, oc_error *err) {
    const layout *l = layout_of(b);
    oc_strbuf names = {.max = 400}, folders = {.max = 400};
    char other[16];
    OC_TRY(other_split(other, b, dir, split, err));
    const char *remedy = other_form(dir, split);
    list(&names, &l->file[0].name, sizeof l->file[0], OC_COUNT(l->file), split);
    list(&folders, l->folder, sizeof *l->folder, OC_COUNT(l->folder), split);
    oc_status st =
        oc_fail(err, OC_ERR_IO, "%s: no annotations of %s (split %s): looked for %s in %s of it%s%s%s%s%s", dir,
                b->name, split, names.data ? names.data : "", folders.data ? folders.data : "", remedy ? "; " : "",
                remedy ? remedy : "", *other ? "; --split " : "", other, *other ? " is there" : "");
    oc_strbuf_free(&names);
    oc_strbuf_free(&folders);
    return st;
}

static oc_status find_annotations(oc_benchmark_files *f, oc_dataset_kind *kind, const oc_benchmark *b, const char *dir,
                                  const char *split, oc_error *err) {
    const layout *l = layout_of(b);
    if (!oc_dir_exists(dir))
        return oc_fail(err, OC_ERR_IO, "%s: no such folder; --data names the folder of the data set", dir);
    for (size_t i = 0; i < OC_COUNT(l->file) && l->file[i].name; i++) {
        OC_TRY(find_file(&f->annotations, b, dir, l->file[i].name, split, err));
        if (!f->annotations) continue;
        *kind = l->file[i].kind;
        f->whole_set = l->file[i].whole_set;
        if (!l->file[i].answers) return OC_OK;
        OC_TRY(find_file(&f->answers, b, dir, l->file[i].answers, split, err));
        if (f->answers) return OC_OK;
        oc_strbuf name = {.max = 200};
        list(&name, &l->file[i].answers, sizeof l->file[i], 1, split);
        oc_status st = oc_fail(err, OC_ERR_IO,
                               "%s: the answers to these questions are missing: no %s beside it or in the usual "
                               "folders of %s",
                               f->annotations, name.data ? name.data : "file", dir);
        oc_strbuf_free(&name);
        return st;
    }
    return fail_no_annotations(b, dir, split, err);
}

/* ---- 4. The pictures ----------------------------------------------------------------------------------------------- */

/* How many of some of the data set's pictures are there now. */
static int count_there(const oc_dataset *d) {
    enum { PROBES = 8 };
    const size_t n = oc_dataset_group_count(d), probes = OC_MIN(n, (size_t)PROBES);
    int there = 0;
    for (size_t i = 0; i < probes; i++) {
        oc_image_group g;
        oc_dataset_group(d, i * n / probes, &g);
        there += oc_dataset_has_image(d, g.image);
    }
    return there;
}

/* Tries one place; the best one so far stays in f. */
static void try_place(oc_benchmark_files *f, int *best, oc_dataset *d, const char *where) {
    for (int flat = 0; flat < 2; flat++) {
        oc_error ignored;
        if (oc_dataset_set_images(d, where, flat, &ignored) != OC_OK) break;
        const int there = count_there(d);
        if (there <= *best) continue;
        *best = there;
        oc_free(f->images);
        f->images = oc_strdup(where);
        f->flat = flat;
    }
}

static oc_status find_images(oc_benchmark_files *f, oc_dataset *d, const oc_benchmark *b, const char *dir,
                             const char *split, oc_error *err) {
    const layout *l = layout_of(b);
    int best = 0;
    for (size_t i = 0; i < OC_COUNT(l->pictures) && l->pictures[i]; i++) {
        char *where = expand(dir, l->pictures[i], NULL, split);
        if (!where) return no_memory(err);
        try_place(f, &best, d, where);
        oc_free(where);
    }
    if (best) return f->images ? oc_dataset_set_images(d, f->images, f->flat, err) : no_memory(err);
    oc_image_group g;
    oc_dataset_group(d, 0, &g);
    oc_strbuf places = {.max = 500};
    list(&places, l->pictures, sizeof *l->pictures, OC_COUNT(l->pictures), split);
    oc_status st = oc_fail(
        err, OC_ERR_IO, "%s: the pictures of %s are missing: looked for %s in %s of it; --images says where they are",
        dir, b->name, g.image, places.data ? places.data : "");
    oc_strbuf_free(&places);
    return st;
}

static oc_status use_images(oc_benchmark_files *f, oc_dataset *d, const char *where, oc_error *err) {
    int best = 0;
    OC_TRY(oc_dataset_set_images(d, where, false, err)); /* says what is wrong with the place itself */
    try_place(f, &best, d, where);
    if (!best) f->images = oc_strdup(where); /* nothing of it is there: what is missing is said later */
    return f->images ? oc_dataset_set_images(d, f->images, f->flat, err) : no_memory(err);
}

static bool has_split(const oc_benchmark *b, const char *split) {
    const size_t n = strlen(split);
    for (const char *p = b->splits; *p; p += strcspn(p, "|"), p += *p == '|')
        if (strcspn(p, "|") == n && !memcmp(p, split, n)) return true;
    return false;
}

oc_status oc_benchmark_open(oc_dataset **d, oc_benchmark_files *files, const oc_benchmark *b,
                            const oc_benchmark_options *opt, oc_error *err) {
    const char *split = opt->split ? opt->split : b->split;
    *d = NULL;
    *files = (oc_benchmark_files){0};
    if (!has_split(b, split)) return oc_fail(err, OC_ERR_ARG, "--split %s: %s has %s", split, b->name, b->splits);
    oc_dataset_options o = {.prompt = opt->prompt ? opt->prompt : b->prompt,
                            .prompt_suffix = opt->suffix ? opt->suffix : b->suffix,
                            .split = split};
    oc_status st;
    OC_GO(find_annotations(files, &o.kind, b, opt->dir, split, err));
    o.json = files->annotations;
    o.annotations = files->answers;
    OC_GO(oc_dataset_open(d, &o, err));
    if (opt->no_images) goto done;
    if (opt->images)
        OC_GO(use_images(files, *d, opt->images, err));
    else
        OC_GO(find_images(files, *d, b, opt->dir, split, err));
done:
    if (st == OC_OK) return OC_OK;
    oc_dataset_close(*d);
    *d = NULL;
    oc_benchmark_files_free(files);
    return st;
}

void oc_benchmark_files_free(oc_benchmark_files *f) {
    oc_free(f->annotations);
    oc_free(f->answers);
    oc_free(f->images);
    *f = (oc_benchmark_files){0};
}

oc_status oc_benchmark_check_images(const oc_evaluation *e, const oc_dataset *d, const char *dir, oc_error *err) {
    const char *first = NULL, *last = NULL;
    size_t missing = 0, all = 0;
    for (size_t k = 0; k < e->n; k++) {
        const char *image = e->item[k].shown;
        if (last && !strcmp(last, image)) continue; /* of the question before */
        last = image;
        all++;
        if (oc_dataset_has_image(d, image)) continue;
        if (!missing++) first = image;
    }
    if (!missing) return OC_OK;
    return oc_fail(
        err, OC_ERR_IO,
        "%s: %zu of %zu pictures are missing, the first is %s; complete the folder, or take fewer with --limit", dir,
        missing, all, first);
}
