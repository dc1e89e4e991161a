/* One pass over the samples per file: a scene costs microseconds to make again, and memory holds one record. */
#include "data/scene_dataset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "data/image.h"
#include "data/synth.h"
#include "data/tar_write.h"

/* The options with their defaults filled in, and buffers that all passes share. */
typedef struct writing {
    oc_scene_dataset opt;
    uint8_t *rgb; /* [size, size, 3] */
    oc_strbuf file, text;
    const oc_synth *domain;
    char *scene; /* [min(count, OC_SCENES_KEPT)] descriptions made so far: each file of the set needs all of them */
    bool *made;
} writing;

enum { OC_SCENES_KEPT = 200000 }; /* 55 MB */

/* --- Records ------------------------------------------------------------------------------------------------------- */

/* Valid until the next call. */
static const void *make_scene(const writing *w, int i) {
    const bool keep = i < OC_SCENES_KEPT; /* the last place is for those that are not kept */
    char *s = w->scene + (size_t)(keep ? i : OC_SCENES_KEPT) * w->domain->size;
    if (!keep || !w->made[i]) w->domain->generate(s, w->opt.seed, w->opt.split, (uint64_t)i, &w->opt.scene);
    if (keep) w->made[i] = true;
    return s;
}

static oc_rng stream(const writing *w, int i, oc_scene_stream which) {
    return oc_scene_rng(w->opt.seed, w->opt.split, (uint64_t)i, which);
}

static int ask(const writing *w, int i, oc_scene_question *q) {
    oc_rng rng = stream(w, i, OC_SCENE_ASK);
    return w->domain->questions(make_scene(w, i), &rng, q, OC_SCENE_MAX_QUESTIONS);
}

static int ask_places(const writing *w, int i, oc_scene_question *q) {
    return w->domain->places(make_scene(w, i), q, OC_SCENE_MAX_QUESTIONS);
}

static const char *extension(const writing *w) { return w->opt.jpeg ? "jpg" : "png"; }

/* As the JSON files name image i. */
static void image_name(const writing *w, int i, char name[48]) {
    snprintf(name, 48, "%s%06d.%s", w->opt.tar ? "" : "images/", i, extension(w));
}

/* Captions of one image into w->text. human: how many from the human stream, one after another, keeping the last. */
static const char *caption(writing *w, int i, int human) {
    const void *s = make_scene(w, i);
    oc_strbuf_clear(&w->text);
    oc_rng rng = stream(w, i, OC_SCENE_HUMAN);
    if (human == 0) w->domain->recap(s, &w->text);
    for (int k = 0; k < human; k++) {
        oc_strbuf_clear(&w->text);
        w->domain->human(s, &rng, &w->text);
    }
    return w->text.failed ? NULL : w->text.data;
}

static void add_turn(json_t *turns, const char *from, const char *prefix, const char *value) {
    json_array_append_new(turns, json_pack("{s:s, s:s+}", "from", from, "value", prefix, value));
}

/* {"id", "image", "conversations"} with the turns given (taken over). */
static json_t *llava_record(const writing *w, int i, json_t *turns) {
    char id[32], name[48];
    snprintf(id, sizeof id, "%s-%06d", oc_split_name(w->opt.split), i);
    image_name(w, i, name);
    return json_pack("{s:s, s:s, s:o}", "id", id, "image", name, "conversations", turns);
}

static json_t *caption_record(writing *w, int i, bool human) {
    const char *text = caption(w, i, human);
    json_t *turns = json_array();
    if (!text || !turns) return json_decref(turns), NULL;
    add_turn(turns, "human", "<image>\n", human ? w->domain->prompt_human : w->domain->prompt_recap);
    add_turn(turns, "gpt", "", text);
    return llava_record(w, i, turns);
}

static json_t *recap_record(writing *w, int i) { return caption_record(w, i, false); }
static json_t *human_record(writing *w, int i) { return caption_record(w, i, true); }

static json_t *inventory_record(writing *w, int i, oc_inventory_kind kind) {
    json_t *turns = json_array();
    oc_strbuf_clear(&w->text);
    w->domain->inventory(make_scene(w, i), (int)kind, &w->text);
    if (!turns || w->text.failed) return json_decref(turns), NULL;
    add_turn(turns, "human", "<image>\n", w->domain->inventory_prompt((int)kind));
    add_turn(turns, "gpt", "", w->text.data);
    return llava_record(w, i, turns);
}

enum { FIND_KINDS = OC_INVENTORY_KIND_COUNT - OC_FIND_SHAPES };
static json_t *shapes_record(writing *w, int i) { return inventory_record(w, i, OC_LIST_SHAPES); }
static json_t *colors_record(writing *w, int i) { return inventory_record(w, i, OC_LIST_COLORS); }
static json_t *find_record(writing *w, int i) {
    return inventory_record(w, i / FIND_KINDS, (oc_inventory_kind)(OC_FIND_SHAPES + i % FIND_KINDS));
}

static json_t *qa_record(writing *w, int i) {
    oc_scene_question q[OC_SCENE_MAX_QUESTIONS];
    const int n = ask(w, i, q);
    json_t *turns = json_array();
    if (!turns) return NULL;
    for (int k = 0; k < n; k++) {
        add_turn(turns, "human", k == 0 ? "<image>\n" : "", q[k].question);
        add_turn(turns, "gpt", "", q[k].answer);
    }
    return llava_record(w, i, turns);
}

static json_t *coco_image(writing *w, int i) {
    char name[48];
    image_name(w, i, name);
    return json_pack("{s:i, s:s, s:i, s:i}", "id", i, "file_name", name, "width", w->opt.size, "height", w->opt.size);
}

/* --- Text files ---------------------------------------------------------------------------------------------------- */

/* A text file that appears under its name once it is whole. */
typedef struct text_file {
    FILE *f;
    char *path, *part;
} text_file;

static oc_status text_open(text_file *t, const writing *w, const char *name, oc_error *err) {
    char part[64];
    snprintf(part, sizeof part, "%s.part", name);
    *t = (text_file){.path = oc_path_join(w->opt.dir, name), .part = oc_path_join(w->opt.dir, part)};
    if (!t->path || !t->part) return oc_fail(err, OC_ERR_NOMEM, "out of memory for the name of %s", name);
    t->f = fopen(t->part, "wb");
    return t->f ? OC_OK : oc_fail(err, OC_ERR_IO, "%s: cannot create: %s", t->part, strerror(errno));
}

static oc_status text_finish(text_file *t, oc_error *err) {
    FILE *f = t->f;
    t->f = NULL;
    bool bad = ferror(f) || fflush(f) != 0 || fsync(fileno(f)) != 0;
    if (fclose(f) != 0 || bad || rename(t->part, t->path) != 0)
        return oc_fail(err, OC_ERR_IO, "%s: cannot write: %s", t->path, strerror(errno));
    return OC_OK;
}

static void text_close(text_file *t) {
    if (t->f) {
        fclose(t->f);
        unlink(t->part);
    }
    oc_free(t->part);
    oc_free(t->path);
}

/* Writes one record and releases it; NULL means that memory ran out while it was made. */
static oc_status put_record(text_file *t, json_t *record, oc_error *err) {
    if (!record) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a record of %s", t->path);
    int bad = json_dumpf(record, t->f, JSON_COMPACT);
    json_decref(record);
    return bad ? oc_fail(err, OC_ERR_IO, "%s: cannot write: %s", t->part, strerror(errno)) : OC_OK;
}

/* The n records between "[" and "]". */
static oc_status put_array(writing *w, text_file *t, int n, json_t *(*record)(writing *, int), oc_error *err) {
    for (int i = 0; i < n; i++) {
        fputs(i == 0 ? "[\n" : ",\n", t->f);
        OC_TRY(put_record(t, record(w, i), err));
    }
    fputs("\n]", t->f);
    return OC_OK;
}

static oc_status put_llava(writing *w, text_file *t, int n, json_t *(*record)(writing *, int), oc_error *err) {
    OC_TRY(put_array(w, t, n, record, err));
    fputc('\n', t->f);
    return OC_OK;
}
static oc_status put_recap(writing *w, text_file *t, oc_error *err) { return put_llava(w, t, w->opt.count, recap_record, err); }
static oc_status put_human(writing *w, text_file *t, oc_error *err) { return put_llava(w, t, w->opt.count, human_record, err); }
static oc_status put_qa(writing *w, text_file *t, oc_error *err) { return put_llava(w, t, w->opt.count, qa_record, err); }

static oc_status put_shapes(writing *w, text_file *t, oc_error *err) {
    return put_llava(w, t, w->opt.count, shapes_record, err);
}
static oc_status put_colors(writing *w, text_file *t, oc_error *err) {
    return put_llava(w, t, w->opt.count, colors_record, err);
}
static oc_status put_find(writing *w, text_file *t, oc_error *err) {
    return put_llava(w, t, w->opt.count * FIND_KINDS, find_record, err);
}

static oc_status put_coco(writing *w, text_file *t, oc_error *err) {
    fprintf(t->f, "{\"info\": {\"description\": \"%s, %s split\"},\n\"images\": ", w->domain->name + strlen("ocellus "),
            oc_split_name(w->opt.split));
    OC_TRY(put_array(w, t, w->opt.count, coco_image, err));
    fputs(",\n\"annotations\": [", t->f);
    for (int i = 0; i < w->opt.count; i++) {
        for (int k = 0; k < OC_SCENE_COCO_REFERENCES; k++) {
            const char *text = caption(w, i, k);
            if (!text) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a caption of %s", t->path);
            fputs(i + k == 0 ? "\n" : ",\n", t->f);
            json_int_t id = (json_int_t)i * OC_SCENE_COCO_REFERENCES + k;
            OC_TRY(put_record(t, json_pack("{s:I, s:i, s:s}", "id", id, "image_id", i, "caption", text), err));
        }
    }
    fputs("\n]}\n", t->f);
    return OC_OK;
}

static oc_status put_lines(writing *w, text_file *t, int (*asker)(const writing *, int, oc_scene_question *),
                           oc_error *err) {
    for (int i = 0; i < w->opt.count; i++) {
        oc_scene_question q[OC_SCENE_MAX_QUESTIONS];
        char name[48], id[48];
        const int n = asker(w, i, q);
        image_name(w, i, name);
        for (int k = 0; k < n; k++) {
            snprintf(id, sizeof id, "%s-%06d-%d", oc_split_name(w->opt.split), i, k);
            OC_TRY(put_record(t,
                              json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "question_id", id, "image", name, "question",
                                        q[k].question, "answer", q[k].answer, "type", w->domain->ask_name(q[k].kind),
                                        "held_out", q[k].held_out),
                              err));
            fputc('\n', t->f);
        }
    }
    return OC_OK;
}

static oc_status put_questions(writing *w, text_file *t, oc_error *err) { return put_lines(w, t, ask, err); }
static oc_status put_places(writing *w, text_file *t, oc_error *err) { return put_lines(w, t, ask_places, err); }

static oc_status put_index(writing *w, text_file *t, oc_error *err) {
    const oc_scene_dataset *o = &w->opt;
    json_t *index =
        json_pack("{s:s, s:s, s:I, s:i, s:i, s:s, s:b, s:i, s:i, s:s, s:s, s:s}", "kind", w->domain->name, "split",
                  oc_split_name(o->split), "seed", (json_int_t)o->seed, "count", o->count, "size", o->size, "format",
                  extension(w), "tar", o->tar, "min_objects", o->scene.min_objects, "max_objects", o->scene.max_objects,
                  "colors", o->scene.unnamed_colors ? "unnamed" : "named",
                  "prompt_recap", w->domain->prompt_recap, "prompt_human", w->domain->prompt_human);
    OC_TRY(put_record(t, index, err));
    fputc('\n', t->f);
    return OC_OK;
}

static oc_status write_text(writing *w, const char *name, oc_status (*put)(writing *, text_file *, oc_error *),
                            oc_error *err) {
    text_file t = {0};
    oc_status st = text_open(&t, w, name, err);
    if (st == OC_OK) st = put(w, &t, err);
    if (st == OC_OK) st = text_finish(&t, err);
    text_close(&t);
    return st;
}

/* --- Images -------------------------------------------------------------------------------------------------------- */

/* The encoded image i in w->file. */
static oc_status encode(writing *w, int i, oc_error *err) {
    const int size = w->opt.size;
    w->domain->render(w->rgb, size, make_scene(w, i));
    oc_strbuf_clear(&w->file);
    return w->opt.jpeg ? oc_image_encode_jpeg(&w->file, w->rgb, size, size, w->opt.quality, err)
                       : oc_image_encode_png(&w->file, w->rgb, size, size, err);
}

static oc_status report(const writing *w, int done, oc_error *err) {
    if (!w->opt.progress || w->opt.progress(w->opt.ctx, done, w->opt.count)) return OC_OK;
    return oc_fail(err, OC_ERR_INTERRUPTED, "%s: interrupted after %d of %d images; run again with --overwrite",
                   w->opt.dir, done, w->opt.count);
}

/* Plain writes: index.json vouches for the set as a whole, and a flush per image would cost more than making it. */
static oc_status write_plain(const char *path, const oc_strbuf *data, oc_error *err) {
    FILE *f = fopen(path, "wb");
    if (!f) return oc_fail(err, OC_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    bool bad = fwrite(data->data, 1, data->len, f) != data->len;
    if (fclose(f) != 0 || bad) return oc_fail(err, OC_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    return OC_OK;
}

static oc_status write_images(writing *w, oc_error *err) {
    char *folder = oc_path_join(w->opt.dir, "images");
    oc_status st = folder ? oc_make_dirs(folder, err) : oc_fail(err, OC_ERR_NOMEM, "out of memory for a path");
    oc_free(folder);
    for (int i = 0; i < w->opt.count && st == OC_OK; i++) {
        char name[48];
        image_name(w, i, name);
        char *path = oc_path_join(w->opt.dir, name);
        st = path ? encode(w, i, err) : oc_fail(err, OC_ERR_NOMEM, "out of memory for a path");
        if (st == OC_OK) st = write_plain(path, &w->file, err);
        oc_free(path);
        if (st == OC_OK) st = report(w, i + 1, err);
    }
    return st;
}

/* The member beside the image: the recap conversation, with the human caption and the questions as further keys. */
static oc_status add_record_member(writing *w, oc_tar_writer *tar, int i, oc_error *err) {
    char name[48];
    json_t *record = recap_record(w, i), *qa = qa_record(w, i), *human = json_string(caption(w, i, 1));
    char *text = NULL;
    if (record && qa && human && json_object_set(record, "human", human) == 0 &&
        json_object_set(record, "qa", json_object_get(qa, "conversations")) == 0)
        text = json_dumps(record, JSON_COMPACT);
    json_decref(record);
    json_decref(qa);
    json_decref(human);
    snprintf(name, sizeof name, "%06d.json", i);
    oc_status st = text ? oc_tar_add(tar, name, text, strlen(text), err)
                        : oc_fail(err, OC_ERR_NOMEM, "out of memory for the record %s", name);
    free(text);
    return st;
}

static oc_status write_shard(writing *w, int shard, int first, int last, oc_error *err) {
    char name[48];
    oc_tar_writer tar = {0};
    oc_status st = OC_OK;
    snprintf(name, sizeof name, "images-%06d.tar", shard);
    char *path = oc_path_join(w->opt.dir, name);
    if (!path) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a path");
    OC_GO(oc_tar_create(&tar, path, err));
    for (int i = first; i < last; i++) {
        image_name(w, i, name);
        OC_GO(encode(w, i, err));
        OC_GO(oc_tar_add(&tar, name, w->file.data, w->file.len, err));
        if (!w->opt.scene.unnamed_colors) OC_GO(add_record_member(w, &tar, i, err));
        OC_GO(report(w, i + 1, err));
    }
    OC_GO(oc_tar_finish(&tar, err));
done:
    oc_tar_discard(&tar);
    oc_free(path);
    return st;
}

static oc_status write_shards(writing *w, oc_error *err) {
    for (int first = 0, shard = 0; first < w->opt.count; first += w->opt.shard_size, shard++)
        OC_TRY(write_shard(w, shard, first, OC_MIN(first + w->opt.shard_size, w->opt.count), err));
    return OC_OK;
}

/* --- All ----------------------------------------------------------------------------------------------------------- */

static oc_status check(writing *w, oc_error *err) {
    oc_scene_dataset *o = &w->opt;
    if (!o->size) o->size = 64;
    if (!o->quality) o->quality = 90;
    if (!o->shard_size) o->shard_size = 1000;
    if (!o->scene.min_objects) o->scene.min_objects = 1;
    if (!o->scene.max_objects) o->scene.max_objects = w->domain->max_objects;
    if (o->count < 1 || o->count > 100000000)
        return oc_fail(err, OC_ERR_ARG, "count is %d; 1 to 100000000 is possible", o->count);
    if (o->size < 16 || o->size > 4096)
        return oc_fail(err, OC_ERR_ARG, "size is %d; 16 to 4096 pixels are possible", o->size);
    if (o->scene.min_objects < 1 || o->scene.min_objects > o->scene.max_objects ||
        o->scene.max_objects > w->domain->max_objects)
        return oc_fail(err, OC_ERR_ARG, "%d to %d objects asked for; 1 to %d are possible", o->scene.min_objects,
                       o->scene.max_objects, w->domain->max_objects);
    if (o->scene.unnamed_colors && !w->domain->inventory)
        return oc_fail(err, OC_ERR_ARG, "unnamed colours are for scenes; this domain names its colours in every text");
    if (o->seed > INT64_MAX) return oc_fail(err, OC_ERR_ARG, "the seed does not fit into 63 bits");
    return OC_OK;
}

/* Removes a file of the folder, if it is there. */
static oc_status remove_file(const writing *w, const char *name, bool *removed, oc_error *err) {
    char *path = oc_path_join(w->opt.dir, name);
    if (!path) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a path");
    *removed = unlink(path) == 0;
    oc_free(path);
    return OC_OK;
}

/* Texts and shards of the set that is overwritten, some of which the new one may lack. */
static oc_status remove_old(const writing *w, oc_error *err) {
    static const char *const text[] = {"recap.json", "human.json", "qa.json", "qa.jsonl", "places.jsonl",
                                       "shapes.json", "colors.json", "find.json", "captions_coco.json"};
    bool removed = true;
    for (size_t i = 0; i < OC_COUNT(text); i++) OC_TRY(remove_file(w, text[i], &removed, err));
    removed = true;
    for (int shard = 0; removed; shard++) {
        char name[48];
        snprintf(name, sizeof name, "images-%06d.tar", shard);
        OC_TRY(remove_file(w, name, &removed, err));
    }
    return OC_OK;
}

/* An index.json from before must not vouch for what is about to be written. */
static oc_status prepare_folder(const writing *w, oc_error *err) {
    OC_TRY(oc_make_dirs(w->opt.dir, err));
    char *index = oc_path_join(w->opt.dir, "index.json");
    if (!index) return oc_fail(err, OC_ERR_NOMEM, "out of memory for a path");
    oc_status st = OC_OK;
    const bool old = oc_file_exists(index);
    if (old && !w->opt.overwrite)
        st = oc_fail(err, OC_ERR_ARG,
                     "%s: holds a data set already (index.json); choose another folder or allow overwriting",
                     w->opt.dir);
    else if (old && unlink(index) != 0)
        st = oc_fail(err, OC_ERR_IO, "%s: cannot remove: %s", index, strerror(errno));
    else if (old)
        st = remove_old(w, err);
    oc_free(index);
    return st;
}

/* The files that name colours. */
static oc_status write_colorful(writing *w, oc_error *err) {
    OC_TRY(write_text(w, "recap.json", put_recap, err));
    OC_TRY(write_text(w, "human.json", put_human, err));
    OC_TRY(write_text(w, "qa.json", put_qa, err));
    if (w->domain->inventory) {
        OC_TRY(write_text(w, "colors.json", put_colors, err));
        OC_TRY(write_text(w, "find.json", put_find, err));
    }
    OC_TRY(write_text(w, "captions_coco.json", put_coco, err));
    OC_TRY(write_text(w, "qa.jsonl", put_questions, err));
    return write_text(w, "places.jsonl", put_places, err);
}

oc_status oc_scene_dataset_write(const oc_scene_dataset *opt, oc_error *err) {
    writing w = {.opt = *opt, .domain = &oc_synth_domains[opt->domain]};
    oc_status st = OC_OK;
    OC_GO(check(&w, err));
    OC_GO(prepare_folder(&w, err));
    OC_GO(oc_alloc_for(&w.rgb, 3 * (size_t)w.opt.size * (size_t)w.opt.size, "an image", err));
    const size_t kept = (size_t)OC_MIN(w.opt.count, OC_SCENES_KEPT);
    OC_GO(oc_alloc_for(&w.scene, (kept + 1) * w.domain->size, "the scenes", err));
    OC_GO(oc_alloc_for(&w.made, kept * sizeof *w.made, "the scenes", err));
    memset(w.made, 0, kept * sizeof *w.made);
    OC_GO(w.opt.tar ? write_shards(&w, err) : write_images(&w, err));
    if (w.domain->inventory) OC_GO(write_text(&w, "shapes.json", put_shapes, err));
    if (!w.opt.scene.unnamed_colors) OC_GO(write_colorful(&w, err));
    OC_GO(write_text(&w, "index.json", put_index, err));
done:
    oc_free(w.rgb);
    oc_free(w.scene);
    oc_free(w.made);
    oc_strbuf_free(&w.file);
    oc_strbuf_free(&w.text);
    return st;
}
