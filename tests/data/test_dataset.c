/* What all data sets share: sampling, the places where pictures lie, the scan for missing ones, groups by picture. */
#include "data/dataset_files.h"

enum { SAMPLES = 40 };

/* Sample i shows the picture of number i / 4 (so 0 to 9), except every tenth, which has none. */
static const char *forty_samples(void) {
    oc_strbuf b = {0};
    for (int i = 0; i < SAMPLES; i++) {
        bool picture = i % 10 != 9;
        oc_strbuf_printf(&b, "{\"id\":%d%s", i, picture ? ",\"image\":" : "");
        if (picture) oc_strbuf_printf(&b, "\"p%d.png\"", i / 4);
        oc_strbuf_printf(&b, ",\"conversations\":[{\"from\":\"human\",\"value\":\"%sQ\"},{\"from\":\"gpt\",\"value\":\"A%d\"}]}\n", picture ? "<image>\\n" : "", i);
    }
    const char *path = write_text("forty.jsonl", b.data);
    oc_strbuf_free(&b);
    return path;
}

/* ---- Sampling ------------------------------------------------------------------------------------------------------ */

static size_t ids_of(const char *sampling, uint64_t seed, int id[SAMPLES]) {
    oc_dataset *d;
    OK(oc_dataset_open(&d, &(oc_dataset_options){.json = in_folder("forty.jsonl"), .sampling = sampling, .seed = seed}, &err));
    size_t n = oc_dataset_count(d);
    for (size_t i = 0; i < n; i++) {
        oc_sample s;
        oc_dataset_sample(d, i, &s);
        id[i] = atoi(s.id);
    }
    oc_dataset_close(d);
    return n;
}

static void sampling(void **state) {
    OC_UNUSED(state);
    static const struct {
        const char *sampling;
        size_t count;
        int first;
    } cases[] = {{NULL, 40, 0}, {"all", 40, 0}, {"first:3", 3, 0}, {"first:99", 40, 0}, {"first:25%", 10, 0}, {"end:3", 3, 37},
                 {"end:10%", 4, 36}, {"end:100%", 40, 0}, {"first:2.5%", 1, 0}};
    int id[SAMPLES], other[SAMPLES], again[SAMPLES];
    forty_samples();
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        assert_int_equal(ids_of(cases[i].sampling, 1, id), cases[i].count);
        for (size_t k = 0; k < cases[i].count; k++) assert_int_equal(id[k], cases[i].first + (int)k);
    }
    assert_int_equal(ids_of("random:10", 1, id), 10);
    assert_int_equal(ids_of("random:25%", 1, again), 10);
    assert_int_equal(ids_of("random:10", 2, other), 10);
    assert_memory_equal(id, again, 10 * sizeof *id);
    assert_memory_not_equal(id, other, 10 * sizeof *id);
    for (int k = 1; k < 10; k++) assert_true(id[k] > id[k - 1]); /* in file order, none twice */
    static const char *const bad[] = {"some", "first", "first:", "first:x", "first:-1", "first:1.5", "first:101%", "first:10%%", "first:1 ", "first:inf",
                                      "first:nan", "last:3", "firsts:3", "random:", ":3", "first: 3"};
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        oc_dataset *d;
        FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = in_folder("forty.jsonl"), .sampling = bad[i]}, &err), OC_ERR_ARG, bad[i]);
    }
    oc_dataset *d;
    FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = in_folder("forty.jsonl"), .sampling = "first:0"}, &err), OC_ERR_FORMAT, "no samples");
}

/* Every sample is drawn about equally often. */
static void random_sampling_is_fair(void **state) {
    OC_UNUSED(state);
    int id[SAMPLES], drawn[SAMPLES] = {0};
    forty_samples();
    for (uint64_t seed = 0; seed < 400; seed++) {
        size_t n = ids_of("random:10", seed, id);
        for (size_t k = 0; k < n; k++) drawn[id[k]]++;
    }
    for (int i = 0; i < SAMPLES; i++) /* mean 100, deviation 8.7 */
        if (drawn[i] < 60 || drawn[i] > 140) fail_msg("sample %d was drawn %d times, 100 were expected", i, drawn[i]);
}

/* ---- Pictures ------------------------------------------------------------------------------------------------------ */

static void write_shard(const char *name, const char *prefix, int from, int to) {
    oc_tar_writer w;
    oc_strbuf png = {0};
    OK(oc_tar_create(&w, in_folder(name), &err));
    for (int i = from; i < to; i++) {
        char member[32];
        snprintf(member, sizeof member, "%sp%d.png", prefix, i);
        make_picture(&png, i, 5, 4);
        OK(oc_tar_add(&w, member, png.data, png.len, &err));
    }
    OK(oc_tar_finish(&w, &err));
    oc_tar_discard(&w);
    oc_strbuf_free(&png);
}

static oc_dataset *open_with(const char *images) {
    oc_dataset *d;
    OK(oc_dataset_open(&d, &(oc_dataset_options){.json = in_folder("forty.jsonl"), .images = images}, &err));
    return d;
}

static void assert_all_pictures(const oc_dataset *d) {
    oc_strbuf png = {0};
    for (int i = 0; i < SAMPLES / 4; i++) {
        char name[32];
        const uint8_t *data;
        size_t size;
        void *owned;
        snprintf(name, sizeof name, "p%d.png", i);
        OK(oc_dataset_image_bytes(d, name, &data, &size, &owned, &err));
        make_picture(&png, i, 5, 4);
        assert_int_equal(size, png.len);
        assert_memory_equal(data, png.data, size);
        oc_free(owned);
    }
    assert_int_equal(oc_dataset_missing_images(d, NULL, NULL, 0), 0);
    oc_strbuf_free(&png);
}

static void places_of_pictures(void **state) {
    OC_UNUSED(state);
    forty_samples();
    OK(oc_make_dirs(in_folder("pictures"), &err));
    for (int i = 0; i < SAMPLES / 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "pictures/p%d.png", i);
        write_picture(name, i, 5, 4);
    }
    write_shard("one.tar", "", 0, 10);
    write_shard("dotted.tar", "./", 0, 10);
    write_shard("s-0098.tar", "", 0, 3);
    write_shard("s-0099.tar", "", 3, 7);
    write_shard("s-0100.tar", "", 7, 10);
    write_shard("t-9.tar", "", 0, 7);
    write_shard("t-10.tar", "", 7, 10);
    static const char *const places[] = {"pictures", "one.tar", "dotted.tar", "s-*.tar", "s-{0098..0100}.tar", "t-{9..10}.tar", "s-00[9]*.tar"};
    for (size_t i = 0; i < OC_COUNT(places) - 1; i++) {
        oc_dataset *d = open_with(in_folder(places[i]));
        assert_all_pictures(d);
        oc_dataset_close(d);
    }
    oc_dataset *d = open_with(in_folder(places[OC_COUNT(places) - 1])); /* without the last shard */
    const uint8_t *data;
    size_t size;
    void *owned;
    assert_int_equal(oc_dataset_missing_images(d, NULL, NULL, 0), 10); /* p7 (3 of 4), p8, p9 (3 of 4) */
    FAILS(oc_dataset_image_bytes(d, "p8.png", &data, &size, &owned, &err), OC_ERR_IO, "p8.png: no such member in the 2 shards");
    oc_dataset_close(d);
}

static void broken_places(void **state) {
    OC_UNUSED(state);
    forty_samples();
    write_text("junk.tar", "this is no archive");
    static const struct {
        const char *where;
        oc_status code;
        const char *error;
    } cases[] = {
        {"absent", OC_ERR_IO, "no folder, tar file or shards"}, {"absent-*.tar", OC_ERR_IO, "no folder, tar file or shards"},
        {"junk.tar", OC_ERR_FORMAT, "junk.tar"}, {"u-{0..1}.tar", OC_ERR_IO, "u-0.tar"}, {"u-{5..4}.tar", OC_ERR_ARG, "not a range"},
        {"u-{a..b}.tar", OC_ERR_ARG, "not a range"}, {"u-{0..}.tar", OC_ERR_ARG, "not a range"}, {"u-{0..1", OC_ERR_ARG, "not a range"},
        {"u-{0.1}.tar", OC_ERR_ARG, "not a range"}, {"u-{-1..1}.tar", OC_ERR_ARG, "not a range"}, {"u-{ 1..2}.tar", OC_ERR_ARG, "not a range"},
        {"u-{}.tar", OC_ERR_ARG, "not a range"}, {"u-{0..99999999999999999999}.tar", OC_ERR_ARG, "not a range"}, {"u-{0..100000}.tar", OC_ERR_ARG, "not a range"},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        oc_dataset *d;
        FAILS(oc_dataset_open(&d, &(oc_dataset_options){.json = in_folder("forty.jsonl"), .images = in_folder(cases[i].where)}, &err), cases[i].code, cases[i].error);
        assert_null(d);
    }
}

static void names_stay_in_the_folder(void **state) {
    OC_UNUSED(state);
    static const char *const bad[] = {"../forty.jsonl", "/etc/passwd", "a/../../b", "..", ""};
    forty_samples();
    OK(oc_make_dirs(in_folder("inner"), &err));
    oc_dataset *d = open_with(in_folder("inner"));
    for (size_t i = 0; i < OC_COUNT(bad); i++) {
        const uint8_t *data;
        size_t size;
        void *owned;
        FAILS(oc_dataset_image_bytes(d, bad[i], &data, &size, &owned, &err), OC_ERR_FORMAT, "leaves the picture folder");
        assert_null(data);
        assert_null(owned);
    }
    oc_dataset_close(d);
}

static void note_missing(void *ctx, const char *sample, const char *image) { oc_strbuf_printf(ctx, "%s:%s ", sample, image); }

static void missing_pictures(void **state) {
    OC_UNUSED(state);
    oc_strbuf b = {0};
    forty_samples();
    OK(oc_make_dirs(in_folder("few"), &err));
    write_picture("few/p0.png", 0, 5, 4);
    write_picture("few/p2.png", 0, 5, 4);
    oc_dataset *d = open_with(in_folder("few"));
    assert_int_equal(oc_dataset_missing_images(d, note_missing, &b, 3), 36 - 4 - 3); /* sample 9 of p2 has no picture */
    assert_string_equal(b.data, "4:p1.png 5:p1.png 6:p1.png ");
    oc_dataset_close(d);
    oc_strbuf_free(&b);
}

/* ---- Groups -------------------------------------------------------------------------------------------------------- */

static void groups(void **state) {
    OC_UNUSED(state);
    oc_dataset *d = open_llava(
#define ONE(image, text) "{\"image\":" image ",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>" text "\"},{\"from\":\"gpt\",\"value\":\"A\"}]}\n"
        ONE("\"z.jpg\"", "") ONE("\"b.jpg\"", "") "{\"conversations\":[{\"from\":\"human\",\"value\":\"Q\"},{\"from\":\"gpt\",\"value\":\"A\"}]}\n"
        ONE("[\"z.jpg\",\"b.jpg\"]", "<image>") ONE("\"a.jpg\"", "") ONE("\"b.jpg\"", "") ONE("\"z.jpg\"", ""));
#undef ONE
    static const struct {
        const char *image;
        int n;
        size_t sample[3];
    } want[] = {{"z.jpg", 3, {0, 3, 6}}, {"b.jpg", 2, {1, 5}}, {"a.jpg", 1, {4}}};
    assert_int_equal(oc_dataset_group_count(d), 3);
    for (size_t g = 0; g < 3; g++) {
        oc_image_group group;
        oc_dataset_group(d, g, &group);
        assert_string_equal(group.image, want[g].image);
        assert_int_equal(group.n, want[g].n);
        for (int i = 0; i < group.n; i++) assert_int_equal(group.sample[i], want[g].sample[i]);
    }
    oc_dataset_close(d);
    d = open_llava("{\"conversations\":[{\"from\":\"human\",\"value\":\"Q\"},{\"from\":\"gpt\",\"value\":\"A\"}]}");
    assert_int_equal(oc_dataset_group_count(d), 0);
    assert_int_equal(oc_dataset_missing_images(d, NULL, NULL, 0), 0);
    oc_dataset_close(d);
}

static void out_of_memory(void **state) {
    OC_UNUSED(state);
    forty_samples();
    write_shard("s-0.tar", "", 0, 5);
    write_shard("s-1.tar", "", 5, 10);
    oc_dataset_options opt = {.json = in_folder("forty.jsonl"), .images = in_folder("s-{0..1}.tar"), .sampling = "random:20"};
    for (int pattern = 0; pattern < 2; pattern++) {
        for (long n = 0;; n += n < 64 ? 1 : 1 + n / 16) {
            oc_dataset *d;
            oc_alloc_fail_after(n);
            oc_status st = oc_dataset_open(&d, &opt, &err);
            oc_alloc_fail_after(-1);
            if (st == OC_OK) {
                oc_dataset_close(d);
                break;
            }
            assert_int_equal(st, OC_ERR_NOMEM);
            assert_null(d);
        }
        opt.images = in_folder("s-?.tar");
    }
}

/* A large file is indexed in little more memory than its text. */
static void many_records(void **state) {
    OC_UNUSED(state);
    enum { N = 30000 };
    oc_strbuf b = {0};
    for (int i = 0; i < N; i++)
        oc_strbuf_printf(&b, "{\"id\":\"%d\",\"image\":\"%06d.jpg\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nWhat is on picture %d?\"},"
                         "{\"from\":\"gpt\",\"value\":\"It shows number %d and otherwise nothing that would need a word.\"}]}\n", i, i / 5, i, i);
    const char *path = write_text("many.jsonl", b.data);
    oc_strbuf_free(&b);
    oc_dataset *d;
    OK(oc_dataset_open(&d, &(oc_dataset_options){.json = path}, &err));
    assert_int_equal(oc_dataset_count(d), N);
    assert_int_equal(oc_dataset_group_count(d), N / 5);
    for (size_t i = 0; i < N; i += 1237) {
        char want[64];
        oc_sample s;
        oc_dataset_sample(d, i, &s);
        snprintf(want, sizeof want, "<image>\nWhat is on picture %zu?", i);
        assert_string_equal(s.turn[0].text, want);
        snprintf(want, sizeof want, "%06zu.jpg", i / 5);
        assert_string_equal(s.image[0], want);
    }
    oc_dataset_close(d);
}

/* ---- The files people really have, below the folder that OC_SHARED names ------------------------------------------- */

static void real_data(void **state) {
    OC_UNUSED(state);
    const char *shared = getenv("OC_SHARED");
    if (!shared) skip();
    static const struct {
        oc_dataset_kind kind;
        const char *json, *images;
        size_t samples, pictures; /* different first ones */
    } cases[] = {
        {OC_DATASET_LLAVA, "flickr8k/train_llava.json", "flickr8k/train-{000000..000005}.tar", 30000, 6000},
        {OC_DATASET_COCO, "flickr8k/val_coco.json", "flickr8k/val-*.tar", 5000, 1000},
        {OC_DATASET_COCO, "coco-mini/captions_val2017.json", "coco-mini/val2017.tar", 0, 159},
        {OC_DATASET_COCO, "coco-mini/captions_train2017.json", "coco-mini/train2017.tar", 0, 80},
        {OC_DATASET_LLAVA, "llava-samples/llava_instruct_50.json", NULL, 50, 50},
        {OC_DATASET_LLAVA, "llava-samples/mllm_demo.json", NULL, 0, 0},
        {OC_DATASET_LLAVA, "pathvqa/train_llava.json", NULL, 1200, 1200},
        {OC_DATASET_VQA, "pathvqa/val_qa.jsonl", NULL, 1814, 300},
    };
    for (size_t i = 0; i < OC_COUNT(cases); i++) {
        char json[512], images[512];
        oc_dataset *d;
        snprintf(json, sizeof json, "%s/data/%s", shared, cases[i].json);
        snprintf(images, sizeof images, "%s/data/%s", shared, cases[i].images ? cases[i].images : "");
        oc_dataset_options opt = {.kind = cases[i].kind, .json = json, .images = cases[i].images ? images : NULL};
        OK(oc_dataset_open(&d, &opt, &err));
        if (cases[i].samples) assert_int_equal(oc_dataset_count(d), cases[i].samples);
        if (cases[i].pictures) assert_int_equal(oc_dataset_group_count(d), cases[i].pictures);
        if (cases[i].images) assert_int_equal(oc_dataset_missing_images(d, NULL, NULL, 0), 0);
        oc_dataset_close(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampling),
        cmocka_unit_test(random_sampling_is_fair),
        cmocka_unit_test(places_of_pictures),
        cmocka_unit_test(broken_places),
        cmocka_unit_test(names_stay_in_the_folder),
        cmocka_unit_test(missing_pictures),
        cmocka_unit_test(groups),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(many_records),
        cmocka_unit_test(real_data),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
