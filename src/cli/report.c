/* ocellus report: one HTML page of what runs and evaluations have written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/session.h"
#include "data/image.h"
#include "data/image_store.h"
#include "eval/report.h"
#include "eval/scene_names.h"
#include "eval/vqa.h"
#include "model/spans.h"

static struct {
    const char *out, *title, *summary, *captions, *answers, *images, *model, *scenes;
    oc_string_list log, scores;
    int pictures, attention;
    oc_model_settings settings;
} opt = {.title = "Ocellus", .pictures = 24, .attention = 4};

static const oc_option options[] = {
    {"--out", OPT_STRING | OPT_REQUIRED, &opt.out, "FILE.html", "the page to write"},
    {"--title", OPT_STRING, &opt.title, "TEXT", "its title"},
    {"--summary", OPT_STRING, &opt.summary, "TEXT", "a sentence below the title"},
    {"--log", OPT_LIST, &opt.log, "NAME=log.jsonl", "loss curves of a run; may be given several times"},
    {"--scores", OPT_LIST, &opt.scores, "NAME=scores.json",
     "a column of the score table (ocellus eval --out writes scores.json); may be given several times"},
    {"--captions", OPT_STRING, &opt.captions, "items.jsonl", "captions for the pictures (from ocellus eval --out)"},
    {"--answers", OPT_STRING, &opt.answers, "items.jsonl", "answers for the same pictures"},
    {"--scenes", OPT_STRING, &opt.scenes, "items.jsonl",
     "captions of synthetic scenes, to count right colours and shapes in"},
    {"--images", OPT_STRING, &opt.images, "WHERE", "folder, tar file or pattern of tar files with the pictures"},
    {"--pictures", OPT_INT, &opt.pictures, "0..1000", "how many are shown"},
    {"--model", OPT_STRING, &opt.model, "DIR", "draw where this model looks while it answers"},
    {"--attention", OPT_INT, &opt.attention, "0..100", "for so many pictures"},
    OC_MODEL_OPTIONS(opt.settings),
    {0}};

enum { MAX_FILE = 1 << 30 };

/* ---- Reading ------------------------------------------------------------------------------------------------------- */

/* All records of a JSON lines file as one array. */
static oc_status read_lines(json_t **out, const char *path, oc_error *err) {
    char *text;
    size_t len;
    OC_TRY(oc_file_read(&text, &len, path, MAX_FILE, err));
    oc_json_reader r;
    oc_json_reader_init(&r, text, len, path);
    oc_status st = OC_OK;
    *out = json_array();
    for (;;) {
        json_t *o;
        st = oc_json_reader_next(&r, &o, err);
        if (st != OC_OK || !o) break;
        json_array_append_new(*out, o);
    }
    oc_free(text);
    if (st != OC_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

/* "NAME=PATH" -> name (new string) and path. */
static oc_status split_name(const char *arg, char **name, const char **path, oc_error *err) {
    const char *eq = strchr(arg, '=');
    if (!eq || eq == arg) return oc_fail(err, OC_ERR_ARG, "\"%s\": NAME=FILE was expected", arg);
    *name = oc_strndup(arg, (size_t)(eq - arg));
    *path = eq + 1;
    return *name ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory");
}

static const char *string_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* ---- Loss curves --------------------------------------------------------------------------------------------------- */

/* One line a stage, over seconds of training. */
static oc_status add_curves(oc_report *r, const char *arg, oc_error *err) {
    char *name;
    const char *path = NULL;
    json_t *lines = NULL;
    OC_TRY(split_name(arg, &name, &path, err));
    oc_status st = read_lines(&lines, path, err);
    size_t n = json_array_size(lines);
    enum { MAX_STAGES = 16 };
    oc_chart_line line[MAX_STAGES];
    double *x = oc_alloc(n * sizeof *x), *y = oc_alloc(n * sizeof *y);
    if (st == OC_OK && (!x || !y)) st = oc_fail(err, OC_ERR_NOMEM, "out of memory");
    int n_lines = 0;
    size_t at = 0;
    for (size_t i = 0; st == OC_OK && i < n; i++) {
        const json_t *o = json_array_get(lines, i);
        const json_t *loss = json_object_get(o, "loss");
        if (!loss) continue; /* an evaluation */
        x[at] = json_number_value(json_object_get(o, "seconds"));
        y[at] = json_is_number(loss) ? json_number_value(loss) : NAN;
        const char *stage = string_of(o, "stage");
        bool same = n_lines && !strcmp(line[n_lines - 1].name, stage);
        if (!same && n_lines == MAX_STAGES) break;
        if (!same) line[n_lines++] = (oc_chart_line){.name = stage, .x = x + at, .y = y + at};
        line[n_lines - 1].n++;
        at++;
    }
    if (st == OC_OK && n_lines)
        oc_report_charts(r,
                         &(oc_chart){.title = name,
                                     .x_label = "seconds",
                                     .y_label = "loss",
                                     .line = line,
                                     .n_lines = n_lines,
                                     .smooth = 0.6},
                         1);
    oc_free(x);
    oc_free(y);
    json_decref(lines);
    oc_free(name);
    return st;
}

/* ---- Scores -------------------------------------------------------------------------------------------------------- */

/* Rows are the numbers below "scores" of any file, in the order of their appearance. Of groups of questions only the accuracy
 * is shown, as "yesno: accuracy"; items.jsonl and scores.json have the rest. */
typedef struct score_rows {
    char name[128][64];
    int n;
} score_rows;

static void collect_rows(score_rows *rows, const json_t *o, const char *prefix) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? ": " : "", key);
        if (json_is_object(v)) collect_rows(rows, v, name);
        if (!json_is_number(v) || (*prefix && strcmp(key, "accuracy"))) continue;
        bool known = false;
        for (int i = 0; i < rows->n; i++) known |= !strcmp(rows->name[i], name);
        if (!known && rows->n < (int)OC_COUNT(rows->name)) memcpy(rows->name[rows->n++], name, sizeof name);
    }
}

/* The number of a row's name, or NULL. */
static const json_t *lookup(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    if (v) return v;
    const char *colon = strstr(name, ": ");
    if (!colon) return NULL;
    char outer[64];
    snprintf(outer, sizeof outer, "%.*s", (int)(colon - name), name);
    return lookup(json_object_get(o, outer), colon + 2);
}

static void format_score(char *out, size_t size, const json_t *v) {
    if (json_is_integer(v))
        snprintf(out, size, "%lld", (long long)json_integer_value(v));
    else if (json_is_number(v))
        snprintf(out, size, "%.1f", 100 * json_number_value(v));
    else
        snprintf(out, size, "–");
}

/* The files of --scores with their names. */
enum { MAX_SCORES = 12 };
typedef struct score_files {
    json_t *scores[MAX_SCORES]; /* borrowed from file */
    json_t *file[MAX_SCORES];
    char *name[MAX_SCORES];
    int n;
} score_files;

static void close_scores(score_files *f) {
    for (int i = 0; i < f->n; i++) {
        json_decref(f->file[i]);
        oc_free(f->name[i]);
    }
    f->n = 0;
}

static oc_status open_scores(score_files *f, oc_error *err) {
    *f = (score_files){0};
    for (int i = 0; i < OC_MIN(opt.scores.n, MAX_SCORES); i++) {
        const char *path = NULL;
        f->n = i + 1;
        oc_status st = split_name(opt.scores.item[i], &f->name[i], &path, err);
        if (st == OC_OK) st = oc_json_load(&f->file[i], path, 1 << 24, err);
        if (st != OC_OK) return close_scores(f), st;
        json_t *inner = json_object_get(f->file[i], "scores");
        f->scores[i] = inner ? inner : f->file[i];
    }
    return OC_OK;
}

/* A card for each file: the share of right answers, or CIDEr-D of captions. */
static void add_score_cards(oc_report *r, const score_files *f) {
    oc_report_figure card[MAX_SCORES];
    char text[MAX_SCORES][24], note[MAX_SCORES][48];
    int n = 0;
    for (int i = 0; i < f->n; i++) {
        const json_t *accuracy = lookup(f->scores[i], "overall: accuracy"), *cider = lookup(f->scores[i], "CIDEr"),
                     *questions = lookup(f->scores[i], "overall: questions");
        if (!json_is_number(accuracy) && !json_is_number(cider)) continue;
        if (json_is_number(accuracy)) {
            snprintf(text[n], sizeof *text, "%.1f%%", 100 * json_number_value(accuracy));
            snprintf(note[n], sizeof *note, "right of %lld", (long long)json_integer_value(questions));
        } else {
            snprintf(text[n], sizeof *text, "%.1f", 100 * json_number_value(cider));
            snprintf(note[n], sizeof *note, "CIDEr-D times 100");
        }
        card[n] = (oc_report_figure){text[n], f->name[i], note[n]};
        n++;
    }
    if (n) oc_report_figures(r, card, n);
}

static oc_status add_score_table(oc_report *r, const score_files *f, oc_error *err) {
    const char *column[MAX_SCORES + 1] = {"score"};
    score_rows rows = {.n = 0};
    const int n = f->n;
    oc_status st = OC_OK;
    for (int i = 0; i < n; i++) {
        column[i + 1] = f->name[i];
        collect_rows(&rows, f->scores[i], "");
    }
    size_t cells = (size_t)rows.n * (size_t)(n + 1);
    char(*text)[64] = oc_calloc(cells, sizeof *text);
    const char **cell = oc_calloc(cells, sizeof *cell);
    if (st == OC_OK && (!text || !cell)) st = oc_fail(err, OC_ERR_NOMEM, "out of memory");
    for (int i = 0; i < rows.n && st == OC_OK; i++)
        for (int j = 0; j <= n; j++) {
            size_t at = (size_t)i * (size_t)(n + 1) + (size_t)j;
            cell[at] = text[at];
            if (j == 0)
                memcpy(text[at], rows.name[i], sizeof rows.name[i]);
            else
                format_score(text[at], sizeof *text, lookup(f->scores[j - 1], rows.name[i]));
        }
    if (st == OC_OK && rows.n)
        oc_report_add_table(
            r, &(oc_report_table){.caption = "Shares and caption scores times 100; whole numbers are counts",
                                  .column = column,
                                  .cell = cell,
                                  .n_columns = n + 1,
                                  .n_rows = rows.n});
    oc_free(text);
    oc_free(cell);
    return st;
}

/* How many of the colours and shapes that captions name are there. */
static oc_status add_scene_names(oc_report *r, oc_error *err) {
    json_t *items, *o;
    size_t i;
    oc_scene_names n = {0};
    OC_TRY(read_lines(&items, opt.scenes, err));
    json_array_foreach(items, i, o) {
        const char *reference = json_string_value(json_array_get(json_object_get(o, "references"), 0));
        if (reference) oc_scene_names_add(&n, string_of(o, "answer"), reference);
    }
    json_decref(items);
    char text[3][24];
    const int right[] = {n.colours_right, n.shapes_right, n.right}, named[] = {n.colours, n.shapes, n.named};
    for (int k = 0; k < 3; k++) snprintf(text[k], sizeof text[k], "%.1f%%", named[k] ? 100.0 * right[k] / named[k] : 0);
    oc_report_figures(r,
                      (oc_report_figure[]){{text[0], "colours named right", "of those that captions name"},
                                           {text[1], "shapes named right", "of those that captions name"},
                                           {text[2], "colour and shape together", "of the pairs that captions name"}},
                      3);
    printf("captions: colours right %s, shapes right %s, both together %s; %d of %d pairs mentioned\n", text[0],
           text[1], text[2], n.right, n.in_reference);
    return OC_OK;
}

/* ---- Pictures ------------------------------------------------------------------------------------------------------ */

static bool same_answer(const char *a, const char *b) {
    oc_strbuf x = {0}, y = {0};
    oc_vqa_normalize(a, &x);
    oc_vqa_normalize(b, &y);
    bool same = x.len == y.len && (!x.len || !memcmp(x.data, y.data, x.len));
    oc_strbuf_free(&x);
    oc_strbuf_free(&y);
    return same;
}

static const char *first_reference(const json_t *o) {
    const char *s = json_string_value(json_array_get(json_object_get(o, "references"), 0));
    return s ? s : "";
}

/* The question without the picture's placeholder. */
static const char *question_text(const json_t *o) {
    const char *s = string_of(o, "prompt"), *line = strchr(s, '\n');
    return !strncmp(s, OC_IMAGE_PLACEHOLDER, strlen(OC_IMAGE_PLACEHOLDER)) && line ? line + 1 : s;
}

static oc_status load_picture(const oc_image_store *store, const char *name, oc_image *img, oc_error *err) {
    const uint8_t *bytes;
    size_t size;
    void *owned;
    OC_TRY(oc_image_store_get(store, name, &bytes, &size, &owned, err));
    oc_status st = oc_image_decode(img, bytes, size, name, NULL, err);
    oc_free(owned);
    return st;
}

enum { MAX_ANSWERS = 16 };

static int collect_answers(oc_report_answer *out, const json_t *answers, const char *image) {
    int n = 0;
    size_t i;
    const json_t *o;
    json_array_foreach((json_t *)(uintptr_t)answers, i, o) {
        if (n == MAX_ANSWERS || strcmp(string_of(o, "image"), image)) continue;
        const char *truth = first_reference(o), *answer = string_of(o, "answer");
        out[n++] = (oc_report_answer){question_text(o), truth, answer,
                                      same_answer(truth, answer) ? OC_VERDICT_RIGHT : OC_VERDICT_WRONG};
    }
    return n;
}

static oc_status add_gallery(oc_report *r, const oc_image_store *store, const json_t *captions, const json_t *answers,
                             oc_error *err) {
    size_t n = OC_MIN((size_t)opt.pictures, json_array_size(captions));
    oc_report_picture *p = oc_calloc(n, sizeof *p);
    oc_image *img = oc_calloc(n, sizeof *img);
    oc_report_answer(*answer)[MAX_ANSWERS] = oc_calloc(n, sizeof *answer);
    oc_status st = p && img && answer ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the pictures");
    for (size_t i = 0; i < n && st == OC_OK; i++) {
        const json_t *o = json_array_get(captions, i * json_array_size(captions) / n); /* spread over the whole set */
        st = load_picture(store, string_of(o, "image"), &img[i], err);
        p[i] = (oc_report_picture){.image = {img[i].rgb, img[i].width, img[i].height},
                                   .name = string_of(o, "image"),
                                   .truth = first_reference(o),
                                   .generated = string_of(o, "answer"),
                                   .answer = answer[i],
                                   .n_answers = collect_answers(answer[i], answers, string_of(o, "image"))};
    }
    if (st == OC_OK) oc_report_gallery(r, p, (int)n);
    for (size_t i = 0; img && i < n; i++) oc_image_close(&img[i]);
    oc_free(p);
    oc_free(img);
    oc_free(answer);
    return st;
}

/* ---- Attention ----------------------------------------------------------------------------------------------------- */

static const float *answer_map(float *grid, const oc_generation *g, const oc_batch *b, int per_image) {
    memset(grid, 0, (size_t)per_image * sizeof *grid);
    int tokens = g->n - (g->finished ? 1 : 0);
    for (int t = 0; t < OC_MAX(tokens, 1); t++)
        for (int i = 0; i < per_image; i++)
            grid[i] += g->attention[(size_t)t * (size_t)b->N + (size_t)(b->block_row[0] + i)];
    return grid;
}

/* The model answers one question again, now recording where each token of its answer looks in the picture. */
static oc_status draw_attention(oc_report *r, oc_session *s, const oc_image_store *store, const json_t *o,
                                oc_error *err) {
    const oc_config *cfg = &s->model.cfg;
    oc_text_options text = oc_prompt_text_options(cfg, s->tokenizer);
    oc_image_options image = oc_prompt_image_options(cfg);
    oc_generate_options g = {.max_new_tokens = 64, .want_attention = true};
    const char *name = string_of(o, "image"), *human = string_of(o, "prompt");
    oc_turn turns[2] = {{false, human}, {true, ""}};
    oc_sample sample = {.id = "report", .image = &name, .n_images = 1, .turn = turns, .n_turns = 2};
    int per_image = oc_config_tokens_per_image(cfg), side = (int)lround(sqrt(per_image)), zero = 0;
    oc_chat_tokens tokens = {0};
    oc_batch b = {0};
    oc_generation out = {0};
    oc_image img = {0};
    oc_strbuf answer = {0}, caption = {0};
    float *grid = oc_alloc((size_t)per_image * sizeof *grid);
    const uint8_t *bytes;
    size_t size;
    void *owned = NULL;
    oc_status st = grid ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory");
    if (st != OC_OK) goto done;
    OC_GO(load_picture(store, name, &img, err));
    OC_GO(oc_sample_prompt(&sample, &text, &tokens, err));
    OC_GO(oc_batch_open(&b, (int)tokens.ids.len, 1, 1, 1, per_image, image.size, err));
    OC_GO(oc_image_store_get(store, name, &bytes, &size, &owned, err));
    OC_GO(oc_image_pixels(b.pixels, bytes, size, name, &image, NULL, err));
    b.n_images = 1;
    OC_ASSERT(oc_batch_append(&b, tokens.ids.data, tokens.is_answer, (int)tokens.ids.len, text.image_token, &zero, 1));
    oc_spans_fill(&b, cfg->mask);
    oc_prompt_set_eos(&g, cfg, s->tokenizer);
    OC_GO(oc_generate(&s->model, &b, &g, 1, &out, err));
    oc_prompt_answer_text(&out, s->tokenizer, &answer);
    oc_strbuf_printf(&caption, "%s %s", question_text(o), answer.data ? answer.data : "");
    oc_report_map map = {
        .label = answer.data, .grid = answer_map(grid, &out, &b, per_image), .rows = side, .columns = side};
    oc_report_attention a = {
        .image = {img.rgb, img.width, img.height}, .name = name, .caption = caption.data, .map = &map, .n_maps = 1};
    oc_report_add_attention(r, &a, 1);
done:
    oc_generation_free(&out);
    oc_batch_close(&b);
    oc_chat_tokens_free(&tokens);
    oc_image_close(&img);
    oc_strbuf_free(&answer);
    oc_strbuf_free(&caption);
    oc_free(owned);
    oc_free(grid);
    return st;
}

static oc_status add_attention(oc_report *r, const oc_image_store *store, const json_t *items, oc_error *err) {
    oc_session s;
    OC_TRY(oc_session_open(&s, opt.model, &opt.settings, true, err));
    oc_status st = oc_session_needs_vlm(&s, opt.model, err);
    size_t n = json_array_size(items), shown = OC_MIN((size_t)opt.attention, n);
    for (size_t i = 0; i < shown && st == OC_OK; i++)
        st = draw_attention(r, &s, store, json_array_get(items, i * n / shown), err);
    oc_session_close(&s);
    return st;
}

/* ---- The page ------------------------------------------------------------------------------------------------------ */

static oc_status fill(oc_report *r, oc_error *err) {
    json_t *captions = NULL, *answers = NULL;
    oc_image_store *store = NULL;
    score_files scores = {0};
    oc_status st = OC_OK;
    if (opt.scores.n || opt.scenes) oc_report_heading(r, "Scores");
    OC_GO(open_scores(&scores, err));
    add_score_cards(r, &scores);
    if (opt.scenes) OC_GO(add_scene_names(r, err));
    if (scores.n) OC_GO(add_score_table(r, &scores, err));
    if (opt.log.n) oc_report_heading(r, "Training");
    for (int i = 0; i < opt.log.n; i++) OC_GO(add_curves(r, opt.log.item[i], err));
    if (opt.captions) OC_GO(read_lines(&captions, opt.captions, err));
    if (opt.answers) OC_GO(read_lines(&answers, opt.answers, err));
    if (opt.images) OC_GO(oc_image_store_open(&store, opt.images, err));
    if (captions && store) {
        oc_report_heading(r, "Pictures that training never showed");
        OC_GO(add_gallery(r, store, captions, answers, err));
    }
    if (opt.model && store && (answers || captions)) {
        oc_report_heading(r, "Where the answer looked");
        oc_report_paragraph(r,
                            "Attention of the answer's tokens over the picture, the mean over all layers and heads.");
        OC_GO(add_attention(r, store, answers ? answers : captions, err));
    }
done:
    close_scores(&scores);
    json_decref(captions);
    json_decref(answers);
    oc_image_store_close(store);
    return st;
}

static int run(int n_args, char **args, oc_error *err) {
    OC_UNUSED(n_args);
    OC_UNUSED(args);
    if ((opt.captions || opt.model) && !opt.images) return oc_usage(err, "--captions and --model need --images");
    oc_report *r;
    OC_TRY(oc_report_open(&r, opt.out, opt.title, opt.summary, err));
    oc_status st = fill(r, err);
    if (st == OC_OK)
        st = oc_report_close(r, err);
    else
        oc_report_discard(r);
    if (st == OC_OK) printf("%s\n", opt.out);
    return (int)st;
}

const oc_command oc_command_report = {
    .name = "report",
    .summary = "One HTML page of loss curves, scores, pictures with answers, and attention",
    .details = "  ocellus report --out report.html --log stages=run/log.jsonl --scores held-out=eval/scores.json \\\n"
               "      --captions eval/items.jsonl --images val.tar --model run/model",
    .options = options,
    .run = run,
};
