/* The data set that `data synth` writes: every file parses, counts agree, images hold the scenes' pixels, tar members
 * stand where a reader expects them, equal options give equal bytes, and index.json appears only on a whole set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "data/image.h"
#include "data/scene_dataset.h"
#include "data/tar_write.h"

enum { COUNT = 12, SIDE = 32, SEED = 5 };

static char folder[64];

static int make_folder(void **state) {
    OC_UNUSED(state);
    snprintf(folder, sizeof folder, "/tmp/oc_scene_XXXXXX");
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state) {
    OC_UNUSED(state);
    return oc_remove_tree(folder, NULL) != OC_OK;
}

static void path_of(char path[160], const char *set, const char *name) { snprintf(path, 160, "%s/%s/%s", folder, set, name); }

static oc_scene_dataset options_for(char dir[160], const char *set) {
    snprintf(dir, 160, "%s/%s", folder, set);
    return (oc_scene_dataset){.dir = dir, .seed = SEED, .count = COUNT, .size = SIDE, .split = OC_SPLIT_TEST, .shard_size = 5};
}

static void write_set(const char *set, bool tar) {
    char dir[160];
    oc_error err = {0};
    oc_scene_dataset opt = options_for(dir, set);
    opt.tar = tar;
    if (oc_scene_dataset_write(&opt, &err) != OC_OK) fail_msg("%s", err.msg);
}

static char *read_file(const char *set, const char *name, size_t *size) {
    char path[160], *data;
    oc_error err = {0};
    path_of(path, set, name);
    if (oc_file_read(&data, size, path, 1 << 24, &err) != OC_OK) fail_msg("%s", err.msg);
    return data;
}

static json_t *load(const char *set, const char *name) {
    char path[160];
    json_t *value;
    oc_error err = {0};
    path_of(path, set, name);
    if (oc_json_load(&value, path, 1 << 24, &err) != OC_OK) fail_msg("%s", err.msg);
    return value;
}

static const char *text_at(const json_t *record, size_t turn, const char *key) {
    return json_string_value(json_object_get(json_array_get(json_object_get(record, "conversations"), turn), key));
}

static void check_captions(const char *name, const char *prompt) {
    json_t *file = load("plain", name);
    assert_int_equal(json_array_size(file), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const json_t *record = json_array_get(file, i);
        char want[64];
        snprintf(want, sizeof want, "images/%06zu.png", i);
        assert_string_equal(json_string_value(json_object_get(record, "image")), want);
        assert_int_equal(json_array_size(json_object_get(record, "conversations")), 2);
        snprintf(want, sizeof want, "<image>\n%s", prompt);
        assert_string_equal(text_at(record, 0, "value"), want);
        assert_string_equal(text_at(record, 0, "from"), "human");
        assert_string_equal(text_at(record, 1, "from"), "gpt");
        assert_true(strlen(text_at(record, 1, "value")) > 3);
    }
    json_decref(file);
}

static void conversations_are_whole(void **state) {
    OC_UNUSED(state);
    write_set("plain", false);
    check_captions("recap.json", OC_SCENE_PROMPT_RECAP);
    check_captions("human.json", OC_SCENE_PROMPT_HUMAN);
    json_t *file = load("plain", "qa.json");
    size_t pairs = 0, lines = 0, size, i, n;
    assert_int_equal(json_array_size(file), COUNT);
    for (i = 0; i < COUNT; i++) {
        const json_t *record = json_array_get(file, i);
        n = json_array_size(json_object_get(record, "conversations"));
        assert_true(n >= 8 && n % 2 == 0);
        pairs += n / 2;
        for (size_t k = 0; k < n; k++) {
            assert_string_equal(text_at(record, k, "from"), k % 2 ? "gpt" : "human");
            assert_int_equal(strncmp(text_at(record, k, "value"), "<image>\n", 8) == 0, k == 0);
        }
    }
    json_decref(file);

    char *text = read_file("plain", "qa.jsonl", &size);
    oc_json_reader reader;
    json_t *line;
    oc_json_reader_init(&reader, text, size, "qa.jsonl");
    while (oc_json_reader_next(&reader, &line, NULL) == OC_OK && line) {
        assert_non_null(json_string_value(json_object_get(line, "question")));
        assert_non_null(json_string_value(json_object_get(line, "answer")));
        assert_non_null(json_string_value(json_object_get(line, "type")));
        assert_non_null(json_string_value(json_object_get(line, "image")));
        json_decref(line);
        lines++;
    }
    assert_int_equal(lines, pairs);
    oc_free(text);
}

/* What a place holds is what the caption of that picture says. */
static void places_agree_with_captions(void **state) {
    OC_UNUSED(state);
    size_t size;
    int lines = 0;
    char *text = read_file("plain", "places.jsonl", &size);
    json_t *recap = load("plain", "recap.json"), *line;
    oc_json_reader reader;
    oc_json_reader_init(&reader, text, size, "places.jsonl");
    while (oc_json_reader_next(&reader, &line, NULL) == OC_OK && line) {
        const char *question = json_string_value(json_object_get(line, "question")), *answer = json_string_value(json_object_get(line, "answer"));
        const char *image = json_string_value(json_object_get(line, "image"));
        char place[64];
        assert_int_equal(sscanf(question, "What is at %63[^?]", place), 1);
        assert_string_equal(json_string_value(json_object_get(line, "type")), "spatial");
        const char *caption = text_at(json_array_get(recap, (size_t)atoi(strrchr(image, '/') + 1)), 1, "value");
        assert_non_null(strstr(caption, place));
        assert_non_null(strstr(caption, answer));
        json_decref(line);
        lines++;
    }
    assert_in_range(lines, COUNT / 2, COUNT * OC_SCENE_MAX_OBJECTS);
    json_decref(recap);
    oc_free(text);
}

/* The tables are those of the generator, in the order of the pictures. */
static void inventories_are_the_scenes(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *name;
        int first, kinds;
    } file[] = {{"shapes.json", OC_LIST_SHAPES, 1}, {"colors.json", OC_LIST_COLORS, 1}, {"find.json", OC_FIND_SHAPES, 3}};
    for (size_t f = 0; f < OC_COUNT(file); f++) {
        json_t *records = load("plain", file[f].name), *recap = load("plain", "recap.json");
        assert_int_equal(json_array_size(records), COUNT * file[f].kinds);
        for (int i = 0; i < COUNT * file[f].kinds; i++) {
            const oc_inventory_kind kind = (oc_inventory_kind)(file[f].first + i % file[f].kinds);
            const json_t *record = json_array_get(records, (size_t)i);
            const int index = i / file[f].kinds;
            assert_string_equal(json_string_value(json_object_get(record, "image")),
                                json_string_value(json_object_get(json_array_get(recap, (size_t)index), "image")));
            assert_string_equal(text_at(record, 0, "value") + strlen("<image>\n"), oc_scene_inventory_prompt(kind));
            oc_scene s;
            oc_strbuf want = {0};
            oc_scene_generate(&s, SEED, OC_SPLIT_TEST, (uint64_t)index, NULL);
            oc_scene_inventory(&s, kind, &want);
            assert_string_equal(text_at(record, 1, "value"), want.data);
            oc_strbuf_free(&want);
        }
        json_decref(records);
        json_decref(recap);
    }
}

static void coco_has_five_references(void **state) {
    OC_UNUSED(state);
    json_t *file = load("plain", "captions_coco.json"), *recap = load("plain", "recap.json");
    const json_t *images = json_object_get(file, "images"), *captions = json_object_get(file, "annotations");
    assert_int_equal(json_array_size(images), COUNT);
    assert_int_equal(json_array_size(captions), COUNT * OC_SCENE_COCO_REFERENCES);
    for (size_t i = 0; i < COUNT * OC_SCENE_COCO_REFERENCES; i++) {
        const json_t *c = json_array_get(captions, i);
        assert_int_equal(json_integer_value(json_object_get(c, "id")), i);
        assert_int_equal(json_integer_value(json_object_get(c, "image_id")), i / OC_SCENE_COCO_REFERENCES);
        const char *text = json_string_value(json_object_get(c, "caption"));
        assert_non_null(text);
        if (i % OC_SCENE_COCO_REFERENCES == 0) assert_string_equal(text, text_at(json_array_get(recap, i / OC_SCENE_COCO_REFERENCES), 1, "value"));
    }
    json_decref(file);
    json_decref(recap);
}

static void images_hold_the_scenes(void **state) {
    OC_UNUSED(state);
    uint8_t rgb[SIDE * SIDE * 3];
    for (int i = 0; i < COUNT; i++) {
        char name[48], path[160];
        oc_image image;
        oc_error err = {0};
        oc_scene s;
        snprintf(name, sizeof name, "images/%06d.png", i);
        path_of(path, "plain", name);
        if (oc_image_load(&image, path, NULL, &err) != OC_OK) fail_msg("%s", err.msg);
        oc_scene_generate(&s, SEED, OC_SPLIT_TEST, (uint64_t)i, NULL);
        oc_scene_render(rgb, SIDE, &s);
        assert_int_equal(image.width, SIDE);
        assert_int_equal(image.height, SIDE);
        assert_memory_equal(image.rgb, rgb, sizeof rgb);
        oc_image_close(&image);
    }
}

/* Walks a tar file: names in order, each header's checksum right, two zero blocks at the end. */
static void walk_tar(const char *tar, size_t size, int first, int *members) {
    size_t at = 0;
    *members = 0;
    while (at + 512 <= size && tar[at]) {
        unsigned sum = 0;
        char want[32];
        for (size_t k = 0; k < 512; k++) sum += k >= 148 && k < 156 ? ' ' : (unsigned char)tar[at + k];
        assert_int_equal(strtoul(tar + at + 148, NULL, 8), sum);
        assert_memory_equal(tar + at + 257, "ustar\0" "00", 8);
        snprintf(want, sizeof want, "%06d.%s", first + *members / 2, *members % 2 ? "json" : "png");
        assert_string_equal(tar + at, want);
        size_t bytes = strtoul(tar + at + 124, NULL, 8);
        assert_true(bytes > 20 && at + 512 + bytes <= size);
        if (*members % 2) {
            json_t *record;
            oc_error err = {0};
            if (oc_json_parse(&record, tar + at + 512, bytes, want, &err) != OC_OK) fail_msg("%s", err.msg);
            assert_int_equal(json_array_size(json_object_get(record, "conversations")), 2);
            assert_true(json_array_size(json_object_get(record, "qa")) >= 8);
            assert_non_null(json_string_value(json_object_get(record, "human")));
            json_decref(record);
        } else {
            assert_memory_equal(tar + at + 512, "\x89PNG", 4);
        }
        at += 512 + (bytes + 511) / 512 * 512;
        (*members)++;
    }
    assert_int_equal(size - at, 1024);
    for (; at < size; at++) assert_int_equal(tar[at], 0);
}

static void shards_are_tar_files(void **state) {
    OC_UNUSED(state);
    write_set("tar", true);
    static const int want[3] = {10, 10, 4};
    for (int shard = 0; shard < 3; shard++) {
        char name[48];
        size_t size;
        int members;
        snprintf(name, sizeof name, "images-%06d.tar", shard);
        char *tar = read_file("tar", name, &size);
        walk_tar(tar, size, shard * 5, &members);
        assert_int_equal(members, want[shard]);
        oc_free(tar);
    }
    json_t *file = load("tar", "recap.json");
    assert_string_equal(json_string_value(json_object_get(json_array_get(file, 3), "image")), "000003.png");
    json_decref(file);
}

static void equal_options_give_equal_bytes(void **state) {
    OC_UNUSED(state);
    static const char *const names[] = {"images-000001.tar", "recap.json", "human.json", "qa.json", "qa.jsonl", "places.jsonl", "shapes.json", "colors.json", "find.json", "captions_coco.json", "index.json"};
    write_set("again", true);
    for (size_t k = 0; k < OC_COUNT(names); k++) {
        size_t a_size, b_size;
        char *a = read_file("tar", names[k], &a_size), *b = read_file("again", names[k], &b_size);
        assert_int_equal(a_size, b_size);
        assert_memory_equal(a, b, a_size);
        oc_free(a);
        oc_free(b);
    }
}

static bool stop_at_seven(void *ctx, int done, int total) {
    OC_UNUSED(ctx);
    assert_int_equal(total, COUNT);
    return done < 7;
}

static void index_vouches_for_a_whole_set(void **state) {
    OC_UNUSED(state);
    char dir[160], path[160];
    oc_error err = {0};
    oc_scene_dataset opt = options_for(dir, "plain");
    assert_int_equal(oc_scene_dataset_write(&opt, &err), OC_ERR_ARG);
    assert_non_null(strstr(err.msg, "index.json"));
    opt.overwrite = true;
    opt.progress = stop_at_seven;
    assert_int_equal(oc_scene_dataset_write(&opt, &err), OC_ERR_INTERRUPTED);
    path_of(path, "plain", "index.json");
    assert_false(oc_file_exists(path));
    opt = options_for(dir, "broken");
    opt.tar = true;
    opt.progress = stop_at_seven;
    assert_int_equal(oc_scene_dataset_write(&opt, &err), OC_ERR_INTERRUPTED);
    path_of(path, "broken", "images-000000.tar");
    assert_true(oc_file_exists(path)); /* finished before the stop */
    path_of(path, "broken", "images-000001.tar.part");
    assert_false(oc_file_exists(path));
}

static void unnamed_colors_have_lists_of_shapes_alone(void **state) {
    OC_UNUSED(state);
    static const char *const absent[] = {"recap.json", "human.json", "qa.json", "qa.jsonl", "places.jsonl", "colors.json", "find.json", "captions_coco.json"};
    char dir[160], path[160];
    oc_error err = {0};
    oc_scene_dataset opt = options_for(dir, "unnamed");
    write_set("unnamed", true); /* what is overwritten leaves nothing behind that the new set lacks */
    opt.tar = true;
    opt.overwrite = true;
    opt.count = 4;
    opt.scene.unnamed_colors = true;
    if (oc_scene_dataset_write(&opt, &err) != OC_OK) fail_msg("%s", err.msg);
    path_of(path, "unnamed", "images-000001.tar");
    assert_false(oc_file_exists(path));
    for (size_t i = 0; i < OC_COUNT(absent); i++) {
        path_of(path, "unnamed", absent[i]);
        assert_false(oc_file_exists(path));
    }
    size_t size, name = 0;
    char *shard = read_file("unnamed", "images-000000.tar", &size);
    for (size_t at = 0; at + 512 <= size; at += 512) name += !memcmp(shard + at, "000000.json", 11);
    assert_int_equal(name, 0); /* records name colours */
    oc_free(shard);
    json_t *file = load("unnamed", "shapes.json"), *index = load("unnamed", "index.json");
    assert_int_equal(json_array_size(file), 4);
    for (size_t i = 0; i < 4; i++)
        for (int c = 0; c < OC_COLOR_COUNT; c++) {
            snprintf(path, sizeof path, " %s", oc_color_name((oc_color)c)); /* "checkered" ends in a colour */
            assert_null(strstr(text_at(json_array_get(file, i), 1, "value"), path));
        }
    assert_string_equal(json_string_value(json_object_get(index, "colors")), "unnamed");
    json_decref(file);
    json_decref(index);
    opt.domain = OC_DOMAIN_CELLS;
    assert_int_equal(oc_scene_dataset_write(&opt, &err), OC_ERR_ARG);
    assert_non_null(strstr(err.msg, "for scenes"));
}

static void wrong_options_are_named(void **state) {
    OC_UNUSED(state);
    char dir[160];
    oc_error err = {0};
    oc_scene_dataset opt = options_for(dir, "wrong");
    opt.count = 0;
    assert_int_equal(oc_scene_dataset_write(&opt, &err), OC_ERR_ARG);
    opt = options_for(dir, "wrong");
    opt.size = 5;
    assert_int_equal(oc_scene_dataset_write(&opt, &err), OC_ERR_ARG);
    opt = options_for(dir, "wrong");
    opt.scene = (oc_scene_options){.min_objects = 3, .max_objects = 2};
    assert_int_equal(oc_scene_dataset_write(&opt, &err), OC_ERR_ARG);
    assert_false(oc_dir_exists(dir));
    opt = options_for(dir, "plain/recap.json/below");
    assert_int_equal(oc_scene_dataset_write(&opt, &err), OC_ERR_IO);
    oc_tar_writer tar;
    char long_name[120];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    path_of(dir, "tar", "x.tar");
    assert_int_equal(oc_tar_create(&tar, dir, &err), OC_OK);
    assert_int_equal(oc_tar_add(&tar, long_name, "x", 1, &err), OC_ERR_ARG);
    oc_tar_discard(&tar);
    assert_false(oc_file_exists(dir));
}

static void memory_failures_are_reported(void **state) {
    OC_UNUSED(state);
    for (long n = 0; n < 40; n++) {
        char dir[160];
        oc_error err = {0};
        oc_scene_dataset opt = options_for(dir, "torture");
        opt.count = 2;
        opt.overwrite = true;
        opt.tar = n % 2;
        oc_alloc_fail_after(n / 2);
        oc_status st = oc_scene_dataset_write(&opt, &err);
        oc_alloc_fail_after(-1);
        assert_true(st == OC_OK || st == OC_ERR_NOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_are_whole),
        cmocka_unit_test(places_agree_with_captions),
        cmocka_unit_test(inventories_are_the_scenes),
        cmocka_unit_test(coco_has_five_references),
        cmocka_unit_test(images_hold_the_scenes),
        cmocka_unit_test(shards_are_tar_files),
        cmocka_unit_test(equal_options_give_equal_bytes),
        cmocka_unit_test(unnamed_colors_have_lists_of_shapes_alone),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(index_vouches_for_a_whole_set),
        cmocka_unit_test(memory_failures_are_reported),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
