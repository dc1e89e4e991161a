/* What `ocellus train --dry-run` prints. */
#ifndef OC_CLI_TRAIN_PLAN_H
#define OC_CLI_TRAIN_PLAN_H

#include "base/json.h"
#include "train/plan.h"

json_t *oc_plan_json(const oc_plan *p, const oc_recipe *recipe);
void oc_plan_print(const oc_plan *p);

#endif
