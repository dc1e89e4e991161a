/* ocellus eval --benchmark: the files of a benchmark, a run that can be killed, intervals and the page. */
#ifndef OC_CLI_EVAL_BENCHMARK_H
#define OC_CLI_EVAL_BENCHMARK_H

#include "cli/session.h"
#include "eval/benchmark.h"

/* Values of the options; strings NULL where they were not given. */
typedef struct oc_benchmark_settings {
    const oc_benchmark *benchmark;
    const char *model, *out, *published;
    oc_benchmark_options data;
    int resamples, seed; /* of the bootstrap */
    bool restart, json;
    oc_model_settings arithmetic;
    oc_prompt_settings prompting;
} oc_benchmark_settings;

/* eo: limit, batch, exchange of pictures and decoding; the rest is set here. */
oc_status oc_eval_benchmark(const oc_benchmark_settings *s, oc_evaluate_options *eo, oc_error *err);

#endif
