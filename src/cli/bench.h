/* What `ocellus bench train` and `bench infer` share: the models that other systems are timed with, with random weights. */
#ifndef OC_CLI_BENCH_H
#define OC_CLI_BENCH_H

#include "base/json.h"
#include "cli/session.h"
#include "compute/profile.h"

typedef enum { OC_BENCH_SMALL, OC_BENCH_FULL } oc_bench_preset;

/* full: the paper's model (SigLIP so400m, 729 patches; Qwen2-0.5B). small: six layers of 256 in both towers. The projector
 * has the decoder's width, as in LLaVA. */
void oc_bench_config(oc_config *c, oc_bench_preset preset);

/* Random weights at the deviations of a fresh model, quickly: speed does not depend on their values. */
void oc_bench_fill(oc_vlm *m);

double oc_bench_median(double *x, int n); /* sorts x */
json_t *oc_bench_list(const double *x, int n);

/* Time per operation over `repeats` equal pieces of work, as JSON {"name": {"calls", "ms", "share", "gflops"}} and as a table. */
json_t *oc_bench_operations(const oc_compute *c, int repeats);
void oc_bench_print_operations(const oc_compute *c, int repeats);

#endif
