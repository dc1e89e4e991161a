/* Scenes: what the words say is in the description, what the description says is in the pixels, splits differ by
 * combination, and no answer can be guessed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/scene.h"

enum { SIDE = 64, SEED = 11, SCENES = 3000 };

static void same_sample_from_same_index(void **state) {
    OC_UNUSED(state);
    static uint8_t a[SIDE * SIDE * 3], b[SIDE * SIDE * 3];
    oc_scene s, t;
    for (uint64_t i = 0; i < 50; i++) {
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, 49 - i, NULL);
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, i, NULL);
        oc_scene_generate(&t, SEED, OC_SPLIT_TRAIN, i, NULL);
        assert_memory_equal(&s, &t, sizeof s);
        oc_scene_render(a, SIDE, &s);
        oc_scene_render(b, SIDE, &t);
        assert_memory_equal(a, b, sizeof a);
        oc_scene_generate(&t, SEED, OC_SPLIT_VAL, i, NULL);
        assert_memory_not_equal(&s, &t, sizeof s);
        oc_scene_generate(&t, SEED + 1, OC_SPLIT_TRAIN, i, NULL);
        assert_memory_not_equal(&s, &t, sizeof s);
    }
}

static void limits_are_kept(void **state) {
    OC_UNUSED(state);
    int seen[OC_SCENE_MAX_OBJECTS + 1] = {0};
    for (uint64_t i = 0; i < 400; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TEST, i, &(oc_scene_options){.min_objects = 2, .max_objects = 3});
        assert_in_range(s.count, 2, 3);
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, i, NULL);
        seen[s.count]++;
        for (int k = 0; k < s.count; k++) {
            const oc_scene_object *o = &s.object[k];
            assert_true(o->x > o->radius && o->x < 1.0f - o->radius && o->y > o->radius && o->y < 1.0f - o->radius);
        }
        assert_true((s.front < 0) == (s.back < 0));
        if (s.front >= 0) assert_true(s.front > s.back && s.object[s.front].color != s.object[s.back].color);
    }
    for (int n = 1; n <= OC_SCENE_MAX_OBJECTS; n++) assert_true(seen[n] > 30);
}

/* The held-out pairs are 12, spread over all colours and shapes. */
static void held_out_pairs_are_spread(void **state) {
    OC_UNUSED(state);
    int total = 0, by_color[OC_COLOR_COUNT] = {0}, by_shape[OC_SHAPE_COUNT] = {0};
    for (int c = 0; c < OC_COLOR_COUNT; c++) {
        for (int k = 0; k < OC_SHAPE_COUNT; k++) {
            if (!oc_scene_pair_held_out((oc_color)c, (oc_shape)k)) continue;
            total++;
            by_color[c]++;
            by_shape[k]++;
        }
    }
    assert_int_equal(total, 12);
    for (int k = 0; k < 8; k++) {
        assert_in_range(by_color[k], 1, 2);
        assert_in_range(by_shape[k], 1, 2);
    }
}

static bool words_contain_held_out(const char *text) {
    char pair[48];
    for (int c = 0; c < OC_COLOR_COUNT; c++) {
        for (int k = 0; k < OC_SHAPE_COUNT; k++) {
            snprintf(pair, sizeof pair, "%s %s", oc_color_name((oc_color)c), oc_shape_name((oc_shape)k));
            if (oc_scene_pair_held_out((oc_color)c, (oc_shape)k) && strstr(text, pair)) return true;
        }
    }
    return false;
}

static int held_out_objects(const oc_scene *s) {
    int n = 0;
    for (int i = 0; i < s->count; i++) n += oc_scene_pair_held_out(s->object[i].color, s->object[i].shape);
    return n;
}

static bool has_held_out_relation(const oc_scene *s) {
    for (int i = 0; i < s->count; i++)
        for (int j = 0; j < s->count; j++)
            if (oc_scene_left_held_out(s->object[i].shape, s->object[j].shape) && s->object[i].x < s->object[j].x) return true;
    return false;
}

static void splits_differ_by_combination(void **state) {
    OC_UNUSED(state);
    oc_scene_question q[OC_SCENE_MAX_QUESTIONS];
    int by_color[OC_COLOR_COUNT] = {0}, by_shape[OC_SHAPE_COUNT] = {0}, relations = 0, novel_questions = 0;
    for (uint64_t i = 0; i < SCENES; i++) {
        oc_scene s;
        for (int split = OC_SPLIT_TRAIN; split <= OC_SPLIT_VAL; split++) {
            oc_scene_generate(&s, SEED, (oc_split)split, i, NULL);
            assert_int_equal(held_out_objects(&s), 0);
            assert_false(has_held_out_relation(&s));
            oc_strbuf text = {0};
            oc_rng human = oc_scene_rng(SEED, (oc_split)split, i, OC_SCENE_HUMAN), ask = oc_scene_rng(SEED, (oc_split)split, i, OC_SCENE_ASK);
            oc_scene_caption_recap(&s, &text);
            oc_strbuf_putc(&text, '\n');
            oc_scene_caption_human(&s, &human, &text);
            for (int kind = 0; kind < OC_INVENTORY_KIND_COUNT; kind++) {
                oc_strbuf_putc(&text, '\n');
                oc_scene_inventory(&s, (oc_inventory_kind)kind, &text);
            }
            assert_false(words_contain_held_out(text.data));
            oc_strbuf_free(&text);
            int n = oc_scene_questions(&s, &ask, q, OC_SCENE_MAX_QUESTIONS);
            for (int k = 0; k < n; k++) {
                assert_false(q[k].held_out);
                assert_false(words_contain_held_out(q[k].question) || words_contain_held_out(q[k].answer));
            }
            for (int k = 0; k < s.count && split == OC_SPLIT_TRAIN; k++) {
                by_color[s.object[k].color]++;
                by_shape[s.object[k].shape]++;
            }
        }
        oc_scene_generate(&s, SEED, OC_SPLIT_TEST, i, NULL);
        assert_true(held_out_objects(&s) >= 1);
        relations += has_held_out_relation(&s);
        oc_rng ask = oc_scene_rng(SEED, OC_SPLIT_TEST, i, OC_SCENE_ASK);
        int n = oc_scene_questions(&s, &ask, q, OC_SCENE_MAX_QUESTIONS);
        for (int k = 0; k < n; k++) {
            novel_questions += q[k].held_out;
            if (words_contain_held_out(q[k].question) || words_contain_held_out(q[k].answer)) assert_true(q[k].held_out);
        }
    }
    assert_true(relations > SCENES / 50);
    assert_true(novel_questions > SCENES);
    const int objects = SCENES * 5 / 2;
    for (int k = 0; k < 8; k++) {
        assert_true(by_color[k] > objects / 16);
        assert_true(by_shape[k] > objects / 16);
    }
}

/* --- Blind guessing ------------------------------------------------------------------------------------------------ */

typedef struct tally {
    char text[96];
    oc_ask kind;
    char answer[96][24];
    int count[96], answers, total, best;
} tally;

static void add_answer(tally *t, const char *answer) {
    int k = 0;
    while (k < t->answers && strcmp(t->answer[k], answer) != 0) k++;
    assert_true(k < 96);
    if (k == t->answers) snprintf(t->answer[t->answers++], sizeof t->answer[0], "%s", answer);
    t->count[k]++;
    t->total++;
    if (t->count[k] > t->best) t->best = t->count[k];
}

/* The longest question stems that a blind model could exploit: the text without the names that fill it. */
static void stem_of(char *stem, size_t size, const char *question) {
    static const char *const start[] = {"Is there a medium", "Is there a small", "Is there a large", "Is there", "Is the background", "Are there more",
                                        "Do any", "How many objects are", "Where is", "What is left", "What is right", "What is above", "What is below"};
    static const char *const inside[] = {"half of the image", "larger than", "smaller than", "left of", "right of", " above ", " below ", "in front of or", "in front of", "behind", "relative"};
    const size_t verb = strcspn(question, " ");
    snprintf(stem, size, "%.*s", (int)(verb + 1 + strcspn(question + verb + 1, " ")), question);
    for (size_t i = 0; i < OC_COUNT(start); i++)
        if (strncmp(question, start[i], strlen(start[i])) == 0) {
            snprintf(stem, size, "%s", start[i]);
            break;
        }
    for (size_t i = 0; i < OC_COUNT(inside); i++)
        if (strstr(question, inside[i])) {
            size_t n = strlen(stem);
            snprintf(stem + n, size - n, " ..%s", inside[i]);
            break;
        }
}

static void blind_guesses_fail(void **state) {
    OC_UNUSED(state);
    static tally kinds[OC_ASK_COUNT_KINDS], stems[128];
    for (int split = OC_SPLIT_TRAIN; split <= OC_SPLIT_TEST; split += 2) {
        memset(kinds, 0, sizeof kinds);
        memset(stems, 0, sizeof stems);
        int n_stems = 0;
        for (uint64_t i = 0; i < 2 * SCENES; i++) {
            oc_scene s;
            oc_scene_question q[OC_SCENE_MAX_QUESTIONS];
            oc_scene_generate(&s, SEED, (oc_split)split, i, NULL);
            oc_rng rng = oc_scene_rng(SEED, (oc_split)split, i, OC_SCENE_ASK);
            int n = oc_scene_questions(&s, &rng, q, OC_SCENE_MAX_QUESTIONS);
            assert_in_range(n, 4, 9);
            for (int k = 0; k < n; k++) {
                char stem[96];
                add_answer(&kinds[q[k].kind], q[k].answer);
                stem_of(stem, sizeof stem, q[k].question);
                int j = 0;
                while (j < n_stems && strcmp(stems[j].text, stem) != 0) j++;
                assert_true(j < 128);
                if (j == n_stems) snprintf(stems[n_stems++].text, sizeof stems[0].text, "%s", stem);
                stems[j].kind = q[k].kind;
                add_answer(&stems[j], q[k].answer);
                for (int m = 0; m < k; m++) assert_string_not_equal(q[m].question, q[k].question);
            }
        }
        for (int k = 0; k < OC_ASK_COUNT_KINDS; k++) {
            double blind = (double)kinds[k].best / kinds[k].total;
            print_message("%s %-10s %6d questions, %2d answers, best constant answer right %.1f%%\n", oc_split_name((oc_split)split),
                          oc_ask_name((oc_ask)k), kinds[k].total, kinds[k].answers, 100.0 * blind);
            assert_true(kinds[k].total > SCENES / 2);
            assert_true(blind < (k == OC_ASK_YESNO ? 0.55 : 0.45));
        }
        for (int j = 0; j < n_stems; j++) {
            double blind = (double)stems[j].best / stems[j].total;
            print_message("    %-40s %6d  %.1f%%\n", stems[j].text, stems[j].total, 100.0 * blind);
            if (stems[j].kind == OC_ASK_YESNO && stems[j].total > 300) assert_true(blind < 0.60);
        }
    }
}

/* --- The words against the description ----------------------------------------------------------------------------- */

static int count_words(const oc_scene *s, const char *color, const char *shape) {
    int n = 0;
    for (int i = 0; i < s->count; i++)
        n += (!color || strcmp(color, oc_color_name(s->object[i].color)) == 0) && (!shape || strcmp(shape, oc_shape_name(s->object[i].shape)) == 0);
    return n;
}

/* Answers that can be recomputed from the question's words alone, by a second and simpler road. */
static void answers_are_true(void **state) {
    OC_UNUSED(state);
    int checked = 0;
    for (uint64_t i = 0; i < SCENES; i++) {
        oc_scene s;
        oc_scene_question q[OC_SCENE_MAX_QUESTIONS];
        oc_scene_generate(&s, SEED, OC_SPLIT_TEST, i, NULL);
        oc_rng rng = oc_scene_rng(SEED, OC_SPLIT_TEST, i, OC_SCENE_ASK);
        int n = oc_scene_questions(&s, &rng, q, OC_SCENE_MAX_QUESTIONS);
        for (int k = 0; k < n; k++) {
            char a[16], b[16], c[16], rest[96];
            int used = 0;
            if (sscanf(q[k].question, "Is there a%*[n] %15s %15[a-z]?%n", a, b, &used) == 2 || sscanf(q[k].question, "Is there a %15s %15[a-z]?%n", a, b, &used) == 2) {
                if (!used) continue; /* with a size */
                assert_string_equal(q[k].answer, count_words(&s, a, b) ? "yes" : "no");
            } else if (sscanf(q[k].question, "How many %15s are there?%n", a, &used) == 1 && used) {
                if (strcmp(a, "crosses") == 0) strcpy(a, "cross");
                else a[strlen(a) - 1] = 0;
                assert_int_equal(atoi(q[k].answer), strcmp(a, "object") == 0 ? s.count : count_words(&s, NULL, a));
            } else if (sscanf(q[k].question, "What color is the %15[a-z]?%n", a, &used) == 1 && used) {
                if (strcmp(a, "background") == 0) assert_string_equal(q[k].answer, oc_tint_name(s.tint));
                else if (count_words(&s, NULL, a)) assert_int_equal(count_words(&s, NULL, a), count_words(&s, q[k].answer, a));
            } else if (sscanf(q[k].question, "Is the %15s %15s %8[a-z] of the %15s %63[a-z?]", a, b, c, rest, rest + 16) == 5) {
                int i0 = -1, i1 = -1;
                char *end = strchr(rest + 16, '?');
                if (end) *end = 0;
                for (int m = 0; m < s.count; m++) {
                    if (!strcmp(a, oc_color_name(s.object[m].color)) && !strcmp(b, oc_shape_name(s.object[m].shape))) i0 = m;
                    if (!strcmp(rest, oc_color_name(s.object[m].color)) && !strcmp(rest + 16, oc_shape_name(s.object[m].shape))) i1 = m;
                }
                if (i0 < 0 || i1 < 0) continue;
                bool left = s.object[i0].x < s.object[i1].x;
                assert_string_equal(q[k].answer, left == (strcmp(c, "left") == 0) ? "yes" : "no");
            } else {
                continue;
            }
            checked++;
        }
    }
    assert_true(checked > SCENES);
}

static void recap_is_complete(void **state) {
    OC_UNUSED(state);
    for (uint64_t i = 0; i < 500; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, i, NULL);
        oc_strbuf text = {0};
        oc_scene_caption_recap(&s, &text);
        assert_non_null(text.data);
        assert_true(strncmp(text.data, "The image shows ", 16) == 0 && text.data[text.len - 1] == '.' && text.len < 600);
        for (int k = 0; k < s.count; k++) {
            char want[64];
            const oc_scene_object *o = &s.object[k];
            snprintf(want, sizeof want, "%s %s %s", oc_size_name(o->size), oc_color_name(o->color), oc_shape_name(o->shape));
            if (!strstr(text.data, want)) fail_msg("'%s' lacks '%s'", text.data, want);
            snprintf(want, sizeof want, "the %s", oc_region_name(oc_scene_region(o)));
            if (!strstr(text.data, want)) fail_msg("'%s' lacks '%s'", text.data, want);
        }
        assert_non_null(strstr(text.data, oc_tint_name(s.tint)));
        assert_non_null(strstr(text.data, oc_texture_name(s.texture)));
        oc_strbuf_free(&text);
    }
}

/* The places of all objects with this value of an attribute, in the order of the places' names. */
static void places_of(const oc_scene *s, int attribute, int value, int count[9]) {
    memset(count, 0, 9 * sizeof *count);
    for (int i = 0; i < s->count; i++) {
        const oc_scene_object *o = &s->object[i];
        const int has = attribute == 0 ? (int)o->shape : attribute == 1 ? (int)o->color : (int)o->size;
        if (has == value) count[oc_scene_region(o)]++;
    }
}

/* Counts the places that text[0 .. end) lists, separated by commas. */
static int read_places(const char *text, const char *end, int count[9]) {
    int n = 0;
    memset(count, 0, 9 * sizeof *count);
    while (text < end) {
        const char *comma = memchr(text, ',', (size_t)(end - text)), *stop = comma ? comma : end;
        int region = 0;
        while (region < 9 && ((size_t)(stop - text) != strlen(oc_region_name(region)) || strncmp(text, oc_region_name(region), (size_t)(stop - text)))) region++;
        assert_true(region < 9);
        count[region]++;
        n++;
        text = comma ? comma + 2 : end;
    }
    return n;
}

/* "circle two top left, right. square none. ...": every value in order, with its objects and no others. */
static void find_says_where(void **state) {
    OC_UNUSED(state);
    static const int values[3] = {OC_SHAPE_COUNT, OC_COLOR_COUNT, OC_SIZE_COUNT};
    static const char *const words[5] = {"none", "one", "two", "three", "four"};
    for (uint64_t i = 0; i < 500; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TEST, i, NULL);
        for (int a = 0; a < 3; a++) {
            oc_strbuf text = {0};
            oc_scene_inventory(&s, (oc_inventory_kind)(OC_FIND_SHAPES + a), &text);
            const char *at = text.data;
            for (int v = 0; v < values[a]; v++) {
                const char *name = a == 0 ? oc_shape_name((oc_shape)v) : a == 1 ? oc_color_name((oc_color)v) : oc_size_name((oc_object_size)v);
                const char *end = strchr(at, '.');
                int want[9], got[9], n = 0;
                assert_non_null(end);
                assert_int_equal(strncmp(at, name, strlen(name)), 0);
                at += strlen(name) + 1;
                places_of(&s, a, v, want);
                for (int r = 0; r < 9; r++) n += want[r];
                assert_int_equal(strncmp(at, words[n], strlen(words[n])), 0);
                at += strlen(words[n]) + (n > 0);
                assert_int_equal(read_places(at, end, got), n);
                assert_memory_equal(got, want, sizeof got);
                at = end + (end[1] == ' ' ? 2 : 1);
            }
            assert_int_equal(*at, 0);
            oc_strbuf_free(&text);
        }
    }
}

/* Both lists name every object's place with what is there; neither says what the other one does. */
static void lists_name_every_object(void **state) {
    OC_UNUSED(state);
    for (uint64_t i = 0; i < 500; i++) {
        oc_scene s;
        oc_strbuf shapes = {0}, colors = {0};
        oc_scene_generate(&s, SEED, OC_SPLIT_TEST, i, NULL);
        oc_scene_inventory(&s, OC_LIST_SHAPES, &shapes);
        oc_scene_inventory(&s, OC_LIST_COLORS, &colors);
        int commas[2] = {0};
        for (const char *p = shapes.data; *p; p++) commas[0] += *p == ',';
        for (const char *p = colors.data; *p; p++) commas[1] += *p == ',';
        assert_int_equal(commas[0], s.count);
        assert_int_equal(commas[1], s.count);
        for (int k = 0; k < s.count; k++) {
            char want[64];
            const oc_scene_object *o = &s.object[k];
            const char *place = oc_region_name(oc_scene_region(o));
            snprintf(want, sizeof want, "%s %s, ", place, oc_shape_name(o->shape));
            assert_non_null(strstr(shapes.data, want));
            assert_null(strstr(colors.data, oc_shape_name(o->shape)));
            snprintf(want, sizeof want, "%s %s %s, ", place, oc_size_name(o->size), oc_color_name(o->color));
            assert_non_null(strstr(colors.data, want));
            snprintf(want, sizeof want, " %s", oc_color_name(o->color)); /* "checkered" ends in a colour */
            assert_null(strstr(shapes.data, want));
        }
        char background[64];
        snprintf(background, sizeof background, ", background %s %s.", oc_texture_name(s.texture), oc_tint_name(s.tint));
        assert_non_null(strstr(shapes.data, background));
        assert_non_null(strstr(colors.data, background));
        oc_strbuf_free(&shapes);
        oc_strbuf_free(&colors);
    }
}

static void human_captions_are_short_and_varied(void **state) {
    OC_UNUSED(state);
    size_t human_bytes = 0, recap_bytes = 0;
    int same = 0, without_color = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, i, NULL);
        oc_rng rng = oc_scene_rng(SEED, OC_SPLIT_TRAIN, i, OC_SCENE_HUMAN);
        oc_strbuf a = {0}, b = {0}, recap = {0};
        oc_scene_caption_human(&s, &rng, &a);
        oc_scene_caption_human(&s, &rng, &b);
        oc_scene_caption_recap(&s, &recap);
        assert_non_null(a.data);
        assert_non_null(b.data);
        assert_true(a.len >= 4 && a.len < 250);
        assert_null(strstr(a.data, "  "));
        human_bytes += a.len;
        recap_bytes += recap.len;
        same += strcmp(a.data, b.data) == 0;
        bool named = false;
        for (int c = 0; c < OC_COLOR_COUNT; c++) named |= strstr(a.data, oc_color_name((oc_color)c)) != NULL;
        without_color += !named;
        oc_strbuf_free(&a);
        oc_strbuf_free(&b);
        oc_strbuf_free(&recap);
    }
    assert_true(human_bytes * 2 < recap_bytes);
    assert_true(same < 150);
    assert_in_range(without_color, 20, 400);
}

/* --- The pixels against the description ---------------------------------------------------------------------------- */

static int distance2(const uint8_t *a, const uint8_t *b) {
    int d = 0;
    for (int c = 0; c < 3; c++) d += (a[c] - b[c]) * (a[c] - b[c]);
    return d;
}

static void background_is_never_an_object_color(void **state) {
    OC_UNUSED(state);
    static uint8_t rgb[SIDE * SIDE * 3];
    for (uint64_t i = 0; i < 1000; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, i, NULL);
        s.count = 0;
        oc_scene_render(rgb, SIDE, &s);
        for (int p = 0; p < SIDE * SIDE; p++)
            for (int c = 0; c < OC_COLOR_COUNT; c++)
                if (distance2(rgb + 3 * p, oc_color_rgb((oc_color)c)) < 45 * 45)
                    fail_msg("scene %d: a background pixel looks %s: %d %d %d", (int)i, oc_color_name((oc_color)c), rgb[3 * p], rgb[3 * p + 1], rgb[3 * p + 2]);
    }
    for (int a = 0; a < OC_COLOR_COUNT; a++)
        for (int b = 0; b < a; b++)
            assert_true(distance2(oc_color_rgb((oc_color)a), oc_color_rgb((oc_color)b)) > 90 * 90);
}

/* No picture with unnamed colours may show a pair of a shape and a named colour, held out or not. */
static void unnamed_colors_are_far_from_named_ones(void **state) {
    OC_UNUSED(state);
    const oc_scene_options opt = {.unnamed_colors = true};
    bool high[3] = {false}, low[3] = {false};
    for (uint64_t i = 0; i < 2000; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, i, &opt);
        for (int k = 0; k < s.count; k++) {
            const uint8_t *rgb = s.object[k].rgb;
            for (int c = 0; c < OC_COLOR_COUNT; c++) assert_true(distance2(rgb, oc_color_rgb((oc_color)c)) >= 80 * 80);
            for (int t = 0; t < 2; t++) assert_true(distance2(rgb, s.tint_rgb[t]) >= 70 * 70);
            for (int j = 0; j < k; j++) assert_true(distance2(rgb, s.object[j].rgb) >= 50 * 50);
            for (int c = 0; c < 3; c++) high[c] |= rgb[c] > 220, low[c] |= rgb[c] < 35;
        }
    }
    for (int c = 0; c < 3; c++) assert_true(high[c] && low[c]); /* the whole cube is used */
}

/* Counts pixels that are nearest to each object's own colour: every object shows enough of them, in proportion to its
 * size, where the description puts it. */
static void objects_are_where_they_are_said(void **state) {
    OC_UNUSED(state);
    static uint8_t rgb[SIDE * SIDE * 3];
    for (uint64_t i = 0; i < 500; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TEST, i, &(oc_scene_options){.max_objects = 1});
        oc_scene_render(rgb, SIDE, &s);
        const oc_scene_object *o = &s.object[0];
        double n = 0.0, x = 0.0, y = 0.0;
        for (int p = 0; p < SIDE * SIDE; p++) {
            if (distance2(rgb + 3 * p, o->rgb) > 20 * 20) continue;
            n++;
            x += (p % SIDE + 0.5) / SIDE;
            y += (p / SIDE + 0.5) / SIDE;
        }
        const double r = o->radius * SIDE;
        if (n < 0.9 * r * r || n > 3.2 * r * r) fail_msg("%s of radius %.1f covers %.0f pixels", oc_shape_name(o->shape), r, n);
        assert_true(abs((int)(1000.0 * (x / n - o->x))) < 50 && abs((int)(1000.0 * (y / n - o->y))) < 50);
    }
}

static void the_front_object_is_on_top(void **state) {
    OC_UNUSED(state);
    static uint8_t rgb[SIDE * SIDE * 3];
    int overlaps = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, i, NULL);
        if (s.front < 0) continue;
        overlaps++;
        int shown[2] = {0}, alone[2] = {0};
        for (int k = 0; k < 2; k++) {
            oc_scene one = s;
            one.count = 1;
            one.object[0] = s.object[k ? s.front : s.back];
            oc_scene_render(rgb, SIDE, &one);
            for (int p = 0; p < SIDE * SIDE; p++) alone[k] += distance2(rgb + 3 * p, one.object[0].rgb) < 100;
        }
        oc_scene two = s;
        two.count = 2;
        two.object[0] = s.object[s.back];
        two.object[1] = s.object[s.front];
        oc_scene_render(rgb, SIDE, &two);
        for (int p = 0; p < SIDE * SIDE; p++) {
            shown[0] += distance2(rgb + 3 * p, two.object[0].rgb) < 100;
            shown[1] += distance2(rgb + 3 * p, two.object[1].rgb) < 100;
        }
        assert_in_range(shown[1], alone[1] - 8, alone[1] + 8); /* edge pixels mix with what lies below */
        assert_true(shown[0] < alone[0] && shown[0] * 2 > alone[0]);
    }
    assert_in_range(overlaps, 150, 500);
}

static void any_size_renders(void **state) {
    OC_UNUSED(state);
    static uint8_t rgb[225 * 225 * 3 + 1];
    static const int sides[] = {1, 2, 7, 33, 225};
    oc_scene s;
    oc_scene_generate(&s, SEED, OC_SPLIT_TEST, 5, NULL);
    for (size_t k = 0; k < OC_COUNT(sides); k++) {
        size_t bytes = (size_t)sides[k] * (size_t)sides[k] * 3;
        rgb[bytes] = 77;
        oc_scene_render(rgb, sides[k], &s);
        assert_int_equal(rgb[bytes], 77);
    }
}

static void rendering_is_fast(void **state) {
    OC_UNUSED(state);
    static uint8_t rgb[SIDE * SIDE * 3];
    const double start = oc_now();
    for (uint64_t i = 0; i < 1000; i++) {
        oc_scene s;
        oc_scene_generate(&s, SEED, OC_SPLIT_TRAIN, i, NULL);
        oc_scene_render(rgb, SIDE, &s);
    }
    print_message("%.0f scenes/s of 64 px, generated and rendered\n", 1000.0 / (oc_now() - start));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_sample_from_same_index),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(held_out_pairs_are_spread),
        cmocka_unit_test(splits_differ_by_combination),
        cmocka_unit_test(blind_guesses_fail),
        cmocka_unit_test(answers_are_true),
        cmocka_unit_test(recap_is_complete),
        cmocka_unit_test(find_says_where),
        cmocka_unit_test(lists_name_every_object),
        cmocka_unit_test(human_captions_are_short_and_varied),
        cmocka_unit_test(background_is_never_an_object_color),
        cmocka_unit_test(unnamed_colors_are_far_from_named_ones),
        cmocka_unit_test(objects_are_where_they_are_said),
        cmocka_unit_test(the_front_object_is_on_top),
        cmocka_unit_test(any_size_renders),
        cmocka_unit_test(rendering_is_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
