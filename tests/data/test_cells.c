/* Smears: equal seeds give equal smears, cells stay in their fields, held-out pairs occur in test alone (also in words), answers
 * are true of the description and balanced, the picture shows what the description says, and the data set is of the same form as
 * that of scenes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "data/cells.h"
#include "data/scene_dataset.h"

enum { SAMPLES = 3000, SEED = 3 };

static oc_cells make(oc_split split, int i) {
    oc_cells c;
    oc_cells_generate(&c, SEED, split, (uint64_t)i, NULL);
    return c;
}

static int ask(const oc_cells *c, int i, oc_scene_question *q) {
    oc_rng rng = oc_scene_rng(SEED, c->split, (uint64_t)i, OC_SCENE_ASK);
    return oc_cells_questions(c, &rng, q, OC_SCENE_MAX_QUESTIONS);
}

static void descriptions(void **state) {
    OC_UNUSED(state);
    int kinds[OC_CELL_KIND_COUNT] = {0}, stains[OC_STAIN_COUNT] = {0}, counts[OC_CELLS_MAX + 1] = {0};
    for (int i = 0; i < SAMPLES; i++) {
        const oc_cells c = make(OC_SPLIT_TRAIN, i), again = make(OC_SPLIT_TRAIN, i);
        assert_memory_equal(&c, &again, sizeof c);
        assert_true(c.count >= 1 && c.count <= OC_CELLS_MAX);
        stains[c.stain]++;
        counts[c.count]++;
        for (int k = 0; k < c.count; k++) {
            const oc_cell *o = &c.cell[k];
            kinds[o->kind]++;
            assert_false(oc_cells_held_out(o->kind, c.stain));
            assert_true(k == 0 || c.cell[k - 1].region < o->region);
            const float left = (float)(o->region % 3) / 3, top = (float)(o->region / 3) / 3, third = 1.0f / 3, slack = 0.004f;
            assert_true(o->x - o->radius > left - slack && o->x + o->radius < left + third + slack);
            assert_true(o->y - o->radius > top - slack && o->y + o->radius < top + third + slack);
        }
    }
    for (int k = 0; k < OC_CELL_KIND_COUNT; k++) assert_true(kinds[k] > SAMPLES / 4);
    for (int k = 0; k < OC_STAIN_COUNT; k++) assert_true(abs(stains[k] - SAMPLES / 4) < SAMPLES / 12);
    for (int k = 1; k <= OC_CELLS_MAX; k++) assert_true(abs(counts[k] - SAMPLES / 6) < SAMPLES / 15);
    oc_cells one;
    oc_cells_generate(&one, SEED, OC_SPLIT_VAL, 1, &(oc_scene_options){.min_objects = 2, .max_objects = 2});
    assert_int_equal(one.count, 2);
}

static void held_out_pairs(void **state) {
    OC_UNUSED(state);
    int pairs = 0, novel_questions = 0;
    for (int k = 0; k < OC_CELL_KIND_COUNT; k++)
        for (int s = 0; s < OC_STAIN_COUNT; s++) pairs += oc_cells_held_out((oc_cell_kind)k, (oc_stain)s);
    assert_int_equal(pairs, 4);
    for (int i = 0; i < SAMPLES; i++) {
        const oc_cells train = make(OC_SPLIT_VAL, i), test = make(OC_SPLIT_TEST, i);
        oc_scene_question q[OC_SCENE_MAX_QUESTIONS];
        const char *unseen = NULL;
        for (int k = 0; k < OC_CELL_KIND_COUNT; k++)
            if (oc_cells_held_out((oc_cell_kind)k, train.stain)) unseen = oc_cell_kind_name((oc_cell_kind)k, false);
        assert_true(oc_cells_count(&test, (oc_cell_kind)test.stain) >= 1);
        const int n = ask(&train, i, q);
        for (int k = 0; k < n; k++) {
            assert_false(q[k].held_out);
            if (strstr(q[k].question, unseen)) fail_msg("%s, %s: %s", oc_stain_name(train.stain), unseen, q[k].question);
        }
        const int m = ask(&test, i, q);
        for (int k = 0; k < m; k++) novel_questions += q[k].held_out;
    }
    assert_true(novel_questions > SAMPLES);
}

/* The answer as the description has it, for the forms that can be read back simply. */
static void check_answer(const oc_cells *c, const oc_scene_question *q) {
    char want[32] = "";
    for (int k = 0; k < OC_CELL_KIND_COUNT; k++) {
        char text[96];
        const oc_cell_kind kind = (oc_cell_kind)k;
        const int n = oc_cells_count(c, kind);
        snprintf(text, sizeof text, "How many %s are there?", oc_cell_kind_name(kind, true));
        if (!strcmp(q->question, text)) snprintf(want, sizeof want, "%d", n);
        snprintf(text, sizeof text, "Are there any %s?", oc_cell_kind_name(kind, true));
        if (!strcmp(q->question, text)) snprintf(want, sizeof want, "%s", n ? "yes" : "no");
        for (int i = 0; i < c->count; i++) {
            const oc_cell *o = &c->cell[i];
            if (o->kind != kind) continue;
            snprintf(text, sizeof text, "Where is the %s?", oc_cell_kind_name(kind, false));
            if (!strcmp(q->question, text)) snprintf(want, sizeof want, "%s", n == 1 ? oc_cell_region_name(o->region) : "-");
            snprintf(text, sizeof text, "What is the size of the %s?", oc_cell_kind_name(kind, false));
            if (!strcmp(q->question, text)) snprintf(want, sizeof want, "%s", n == 1 ? oc_cell_size_name(o->size) : "-");
            snprintf(text, sizeof text, "What cell is in the %s field?", oc_cell_region_name(o->region));
            if (!strcmp(q->question, text)) snprintf(want, sizeof want, "%s", oc_cell_kind_name(kind, false));
            snprintf(text, sizeof text, "What is the nucleus of the cell in the %s field like?", oc_cell_region_name(o->region));
            if (!strcmp(q->question, text)) snprintf(want, sizeof want, "%s", oc_cell_nucleus_name(kind));
        }
    }
    if (!strcmp(q->question, "What stain was used?")) snprintf(want, sizeof want, "%s", oc_stain_name(c->stain));
    if (!strcmp(q->question, "How many cells are there?")) snprintf(want, sizeof want, "%d", c->count);
    if (*want && strcmp(want, q->answer)) fail_msg("%s: got %s, want %s", q->question, q->answer, want);
}

static void questions(void **state) {
    OC_UNUSED(state);
    int asked[OC_CELL_ASK_COUNT] = {0}, yes = 0;
    for (int i = 0; i < SAMPLES; i++) {
        const oc_cells c = make(OC_SPLIT_TRAIN, i);
        oc_scene_question q[OC_SCENE_MAX_QUESTIONS], again[OC_SCENE_MAX_QUESTIONS];
        const int n = ask(&c, i, q);
        assert_true(n >= 5 && n <= 9);
        assert_int_equal(ask(&c, i, again), n);
        assert_memory_equal(q, again, (size_t)n * sizeof *q);
        for (int k = 0; k < n; k++) {
            asked[q[k].kind]++;
            const bool binary = !strcmp(q[k].answer, "yes") || !strcmp(q[k].answer, "no");
            assert_true(binary == (q[k].kind == OC_CELL_ASK_YESNO));
            yes += !strcmp(q[k].answer, "yes");
            check_answer(&c, &q[k]);
            for (int j = 0; j < k; j++) assert_string_not_equal(q[k].question, q[j].question);
        }
        assert_int_equal(oc_cells_places(&c, q, OC_SCENE_MAX_QUESTIONS), c.count);
        for (int k = 0; k < c.count; k++) check_answer(&c, &q[k]);
    }
    for (int k = 0; k < OC_CELL_ASK_COUNT; k++) assert_true(asked[k] > SAMPLES / 3);
    const double share = (double)yes / asked[OC_CELL_ASK_YESNO];
    if (fabs(share - 0.5) > 0.04) fail_msg("yes is the answer to %.3f of the yes/no questions", share);
}

static void captions(void **state) {
    OC_UNUSED(state);
    oc_strbuf text = {0};
    for (int i = 0; i < SAMPLES; i++) {
        const oc_cells c = make(OC_SPLIT_TRAIN, i);
        oc_rng rng = oc_scene_rng(SEED, OC_SPLIT_TRAIN, (uint64_t)i, OC_SCENE_HUMAN);
        oc_strbuf_clear(&text);
        oc_cells_caption_recap(&c, &text);
        assert_non_null(strstr(text.data, oc_stain_name(c.stain)));
        for (int k = 0; k < c.count; k++) {
            char part[64];
            snprintf(part, sizeof part, "%s, %s", oc_cell_size_name(c.cell[k].size), oc_cell_region_name(c.cell[k].region));
            assert_non_null(strstr(text.data, part));
        }
        oc_strbuf_clear(&text);
        oc_cells_caption_human(&c, &rng, &text);
        assert_true(text.len > 3 && !text.failed && !strstr(text.data, "  "));
        for (int k = 0; k < OC_CELL_KIND_COUNT; k++) /* nothing that is not there */
            if (!oc_cells_count(&c, (oc_cell_kind)k)) assert_null(strstr(text.data, oc_cell_kind_name((oc_cell_kind)k, false)));
    }
    oc_strbuf_free(&text);
}

/* Mean colour within part of a cell's radius of its middle. */
static void mean_colour(double rgb[3], const uint8_t *image, int size, float x, float y, float radius) {
    int n = 0;
    rgb[0] = rgb[1] = rgb[2] = 0;
    for (int j = 0; j < size; j++)
        for (int i = 0; i < size; i++) {
            const float dx = ((float)i + 0.5f) / (float)size - x, dy = ((float)j + 0.5f) / (float)size - y;
            if (dx * dx + dy * dy > radius * radius) continue;
            for (int k = 0; k < 3; k++) rgb[k] += image[3 * (j * size + i) + k];
            n++;
        }
    for (int k = 0; k < 3; k++) rgb[k] /= OC_MAX(n, 1);
}

static void pictures(void **state) {
    OC_UNUSED(state);
    enum { SIDE = 64 };
    static uint8_t image[3 * SIDE * SIDE], large[3 * 16 * SIDE * SIDE];
    for (int i = 0; i < 300; i++) {
        const oc_cells c = make(OC_SPLIT_TRAIN, i);
        bool taken[9] = {false};
        oc_cells_render(image, SIDE, &c);
        for (int k = 0; k < c.count; k++) {
            double rgb[3];
            const oc_cell *o = &c.cell[k];
            taken[o->region] = true;
            mean_colour(rgb, image, SIDE, o->x, o->y, 0.9f * o->radius);
            const double darker = (c.ground[0] - rgb[0] + c.ground[1] - rgb[1] + c.ground[2] - rgb[2]) / 3;
            if (darker < 20) fail_msg("%s on %s: hardly to be seen (%.1f)", oc_cell_kind_name(o->kind, false), oc_stain_name(c.stain), darker);
        }
        for (int r = 0; r < 9; r++) { /* an empty field has the ground's colour */
            double rgb[3];
            if (taken[r]) continue;
            mean_colour(rgb, image, SIDE, ((float)(r % 3) + 0.5f) / 3, ((float)(r / 3) + 0.5f) / 3, 0.12f);
            for (int k = 0; k < 3; k++) assert_true(fabs(rgb[k] - c.ground[k]) < 3);
        }
        if (i >= 20) continue;
        oc_cells_render(large, 4 * SIDE, &c); /* the same picture at another size */
        double difference = 0;
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++)
                for (int k = 0; k < 3; k++) {
                    double sum = 0;
                    for (int b = 0; b < 16; b++) sum += large[3 * ((4 * y + b / 4) * 4 * SIDE + 4 * x + b % 4) + k];
                    difference += fabs(sum / 16 - image[3 * (y * SIDE + x) + k]);
                }
        assert_true(difference / (3 * SIDE * SIDE) < 3);
    }
}

static void data_set(void **state) {
    OC_UNUSED(state);
    char dir[64] = "/tmp/oc_cells_XXXXXX", path[160];
    oc_error err;
    json_t *o;
    assert_non_null(mkdtemp(dir));
    const oc_scene_dataset set = {.domain = OC_DOMAIN_CELLS, .dir = dir, .seed = SEED, .count = 8, .size = 32};
    if (oc_scene_dataset_write(&set, &err) != OC_OK) fail_msg("%s", err.msg);
    snprintf(path, sizeof path, "%s/index.json", dir);
    assert_int_equal(oc_json_load(&o, path, 1 << 20, &err), OC_OK);
    assert_string_equal(json_string_value(json_object_get(o, "kind")), "ocellus synthetic smears");
    json_decref(o);
    snprintf(path, sizeof path, "%s/recap.json", dir);
    assert_int_equal(oc_json_load(&o, path, 1 << 20, &err), OC_OK);
    assert_int_equal(json_array_size(o), 8);
    json_decref(o);
    char *text;
    size_t len;
    snprintf(path, sizeof path, "%s/qa.jsonl", dir);
    assert_int_equal(oc_file_read(&text, &len, path, 1 << 20, &err), OC_OK);
    assert_non_null(strstr(text, "\"type\":\"nucleus\""));
    oc_free(text);
    oc_scene_dataset bad = set;
    bad.overwrite = true;
    bad.scene.max_objects = 7;
    assert_int_equal(oc_scene_dataset_write(&bad, &err), OC_ERR_ARG);
    assert_int_equal(oc_remove_tree(dir, &err), OC_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptions), cmocka_unit_test(held_out_pairs), cmocka_unit_test(questions),
        cmocka_unit_test(captions),     cmocka_unit_test(pictures),       cmocka_unit_test(data_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
