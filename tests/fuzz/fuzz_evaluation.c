/* Any bytes as what an evaluation left behind: its items, its journal, and a user's table of published numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "eval/benchmark_scores.h"
#include "eval/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];
static oc_dataset *questions; /* three, about a picture that is not there */

static void remove_folder(void) {
    oc_error err;
    oc_dataset_close(questions);
    (void)oc_remove_tree(folder, &err);
}

static const char *in_folder(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *data, size_t size) {
    FILE *f = fopen(in_folder(name), "wb");
    OC_ASSERT(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static void make_folder(void) {
    static const char three[] = "{\"question_id\":\"q0\",\"image\":\"a.jpg\",\"question\":\"Q\",\"answer\":\"yes\"}\n"
                                "{\"question_id\":\"q1\",\"image\":\"a.jpg\",\"question\":\"Q\",\"answer\":\"no\"}\n"
                                "{\"question_id\":\"q2\",\"image\":\"a.jpg\",\"question\":\"Q\",\"answer\":\"x\"}\n";
    oc_error err;
    if (folder[0]) return;
    oc_log_set_level(OC_LOG_ERROR);
    strcpy(folder, "/tmp/fuzz_evaluation_XXXXXX");
    OC_ASSERT(mkdtemp(folder));
    write_file("qa.jsonl", three, sizeof three - 1);
    OC_ASSERT(oc_dataset_open(&questions, &(oc_dataset_options){.kind = OC_DATASET_VQA, .json = in_folder("qa.jsonl")},
                              &err) == OC_OK);
    atexit(remove_folder);
}

static void load_items(const uint8_t *data, size_t size) {
    static const char *const task[] = {"{\"task\": \"caption\"}", "{\"task\": \"vqa\"}"};
    write_file("items.jsonl", data, size);
    for (int i = 0; i < 2; i++) {
        oc_evaluation e;
        oc_error err = {0};
        write_file("scores.json", task[i], strlen(task[i]));
        if (oc_evaluation_load(&e, folder, &err) != OC_OK) {
            OC_ASSERT(err.msg[0]);
            continue;
        }
        OC_ASSERT(e.n > 0 && e.n_references >= e.n);
        oc_evaluation_free(&e);
    }
}

static void open_journal(const uint8_t *data, size_t size) {
    oc_evaluation e;
    oc_error err = {0};
    oc_journal *j;
    size_t done;
    json_t *identity = json_pack("{s:i, s:{s:s}}", "a", 1, "b", "c", "x");
    write_file("journal.jsonl", data, size);
    OC_ASSERT(identity);
    OC_ASSERT(oc_evaluation_open(&e, questions, &(oc_evaluate_options){.task = OC_EVAL_VQA}, &err) == OC_OK);
    if (oc_journal_open(&j, folder, identity, &e, questions, 2, false, &done, &err) == OC_OK) {
        OC_ASSERT(done == 0); /* else it would have missed the picture */
        oc_journal_close(j);
    } else {
        OC_ASSERT(err.msg[0]);
    }
    oc_evaluation_free(&e);
    json_decref(identity);
}

static void load_published(const uint8_t *data, size_t size) {
    oc_published *rows;
    json_t *root = NULL;
    size_t n;
    oc_error err = {0};
    write_file("published.json", data, size);
    if (oc_published_load(&rows, &n, &root, in_folder("published.json"), &err) == OC_OK) {
        for (size_t i = 0; i < n; i++) OC_ASSERT(rows[i].benchmark && rows[i].model && rows[i].source);
        oc_free(rows);
        json_decref(root);
    } else {
        OC_ASSERT(err.msg[0]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 1 << 16) return 0;
    make_folder();
    load_items(data, size);
    open_journal(data, size);
    load_published(data, size);
    return 0;
}
