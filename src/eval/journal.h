/* The answers of an evaluation as they come, in a file that a kill at any moment leaves valid:
 *
 *     {"identity": {...}}                                       what is evaluated, on what, and how
 *     {"item": 0, "id": "391895", "answer": "a man ...", "tokens": 12, "finished": true, "logprob": -9.1, "picture": "..."}
 *
 * One line an item, in order, appended and flushed to disk batch by batch. A second start reads them back, drops a last batch
 * that is not whole (so that batches, and with them every digit, are those of a run without interruption) and goes on. If
 * anything that the answers depend on is another one now, it refuses. */
#ifndef OC_EVAL_JOURNAL_H
#define OC_EVAL_JOURNAL_H

#include "eval/evaluate.h"

typedef struct oc_journal oc_journal;

/* Opens or begins the journal of folder dir (made if missing). Answers that it has go into e's first *done items; batch as
 * oc_evaluation_batch says. identity is compared member by member, nested ones included; pictures of answered items are
 * compared by their content with those of d. restart: begin anew, whatever there is. OC_ERR_ARG where something differs;
 * OC_ERR_IO where another process writes it. */
oc_status oc_journal_open(oc_journal **out, const char *dir, const json_t *identity, oc_evaluation *e,
                          const oc_dataset *d, size_t batch, bool restart, size_t *done, oc_error *err);
void oc_journal_close(oc_journal *j); /* NULL allowed */

/* For oc_evaluate_options.keep, with the journal as ctx. */
oc_status oc_journal_keep(void *journal, const oc_evaluation *e, size_t first, size_t n, oc_error *err);

/* Hash of a file's content, or of all configuration, tokenizer and weight files of a model's folder with their names, as 16
 * hexadecimal digits. */
oc_status oc_hash_file(char out[17], const char *path, oc_error *err);
oc_status oc_hash_model(char out[17], const char *dir, oc_error *err);

#endif
