/* What `ocellus train` adds to a run: evaluation by the recipe's eval keys, and the summary that --json prints. */
#ifndef OC_CLI_TRAIN_HOOKS_H
#define OC_CLI_TRAIN_HOOKS_H

#include "base/json.h"
#include "train/train.h"

typedef struct oc_train_summary {
    json_t *stages; /* of finished ones; NULL when memory is out */
    bool profile;   /* print the time of each operation after a stage */
} oc_train_summary;

/* Sets opt's hooks. */
void oc_train_summary_open(oc_train_summary *s, oc_train_options *opt);
void oc_train_summary_close(oc_train_summary *s);
/* The whole as a new object. */
json_t *oc_train_summary_json(const oc_train_summary *s, const oc_recipe *recipe, const oc_train_options *opt);

#endif
