#include "cli/train_plan.h"

#include <stdio.h>

static json_t *stage_json(const oc_plan_stage *s) {
    json_t *memory = json_object();
    for (int i = 0; i < OC_ROLE_COUNT; i++)
        json_object_set_new(memory, oc_role_names[i], json_integer((json_int_t)s->memory.bytes[i]));
    json_object_set_new(memory, "total", json_integer((json_int_t)oc_memory_total(&s->memory)));
    json_object_set_new(memory, "most", json_integer((json_int_t)s->memory_most));
    const double steps = (double)s->steps;
    return json_pack("{s:s, s:I, s:i, s:i, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:{s:i, s:i}, s:o}", "name", s->name,
                     "trainable", (json_int_t)s->trainable, "batch", s->batch, "micro_batch", s->micro_batch,
                     "units_per_epoch", (json_int_t)s->units_per_epoch, "steps", (json_int_t)s->steps,
                     "tokens_per_step", s->tokens_per_step, "images_per_step", s->images_per_step, "labels_per_step",
                     s->labels_per_step, "flops_per_step", s->flops_per_step, "seconds_per_step", s->seconds_per_step,
                     "seconds", s->seconds, "tokens", steps * s->tokens_per_step, "flops", steps * s->flops_per_step,
                     "recomputed_layers", "vision", s->recomputed[OC_PART_VISION], "lm", s->recomputed[OC_PART_LM],
                     "memory_bytes", memory);
}

static size_t total_parameters(const oc_plan *p) {
    size_t n = 0;
    for (int i = 0; i < OC_PART_COUNT; i++) n += p->parameters[i];
    return n;
}

json_t *oc_plan_json(const oc_plan *p, const oc_recipe *recipe) {
    json_t *parts = json_object(), *stages = json_array();
    size_t memory = 0;
    double seconds = 0;
    for (int i = 0; i < OC_PART_COUNT; i++)
        json_object_set_new(parts, oc_part_names[i], json_integer((json_int_t)p->parameters[i]));
    json_object_set_new(parts, "total", json_integer((json_int_t)total_parameters(p)));
    for (int i = 0; i < p->n; i++) {
        json_array_append_new(stages, stage_json(&p->stage[i]));
        memory = OC_MAX(memory, oc_memory_total(&p->stage[i].memory));
        seconds += p->stage[i].seconds;
    }
    return json_pack("{s:s, s:o, s:s, s:o, s:f, s:f, s:I}", "recipe", recipe->path, "parameters", parts, "dtype",
                     p->dtype == OC_BF16 ? "bf16" : "f32", "stages", stages, "seconds", seconds,
                     "measured_flops_per_second", p->operations_per_second, "memory_bytes", (json_int_t)memory);
}

void oc_plan_print(const oc_plan *p) {
    const double GIB = 1 << 30;
    size_t memory = 0;
    double seconds = 0;
    printf("%zu parameters: vision %zu, projector %zu, lm %zu; %s\n\n", total_parameters(p),
           p->parameters[OC_PART_VISION], p->parameters[OC_PART_PROJECTOR], p->parameters[OC_PART_LM],
           p->dtype == OC_BF16 ? "bf16" : "float32");
    printf("%-16s %11s %9s %6s %9s %10s %9s %9s\n", "stage", "trainable", "steps", "batch", "tokens", "TFLOP",
           "s a step", "minutes");
    for (int i = 0; i < p->n; i++) {
        const oc_plan_stage *s = &p->stage[i];
        printf("%-16.16s %11zu %9lld %6d %9.0f %10.4f %9.3f %9.1f\n", s->name, s->trainable, (long long)s->steps,
               s->batch, s->tokens_per_step, s->flops_per_step / 1e12, s->seconds_per_step, s->seconds / 60);
        memory = OC_MAX(memory, oc_memory_total(&s->memory));
        seconds += s->seconds;
    }
    printf("\n%-16s %11s %9s %10s %10s %9s\n", "in all", "units", "epochs", "Mtokens", "PFLOP", "hours");
    for (int i = 0; i < p->n; i++) {
        const oc_plan_stage *s = &p->stage[i];
        const double steps = (double)s->steps, units = steps * s->batch;
        printf("%-16.16s %11.0f %9.2f %10.2f %10.3f %9.2f\n", s->name, units, units / (double)s->units_per_epoch,
               steps * s->tokens_per_step / 1e6, steps * s->flops_per_step / 1e15, s->seconds / 3600);
    }
    printf("\n%-16s", "memory, GiB");
    for (int k = 0; k < OC_ROLE_COUNT; k++) printf(" %11s", oc_role_names[k]);
    printf(" %11s %11s\n", "total", "at most");
    for (int i = 0; i < p->n; i++) {
        printf("%-16.16s", p->stage[i].name);
        for (int k = 0; k < OC_ROLE_COUNT; k++) printf(" %11.3f", (double)p->stage[i].memory.bytes[k] / GIB);
        printf(" %11.3f %11.3f\n", (double)oc_memory_total(&p->stage[i].memory) / GIB,
               (double)p->stage[i].memory_most / GIB);
    }
    for (int i = 0; i < p->n; i++) {
        const int *n = p->stage[i].recomputed;
        if (n[OC_PART_VISION] + n[OC_PART_LM] > 0)
            printf("\n%s: %d vision and %d decoder layers are computed again in the backward pass", p->stage[i].name,
                   n[OC_PART_VISION], n[OC_PART_LM]);
    }
    printf("\nabout %.1f %s and %.2f GiB; times are estimated from a forward pass, at %.1f GFLOP/s\n",
           seconds < 7200 ? seconds / 60 : seconds / 3600, seconds < 7200 ? "minutes" : "hours", (double)memory / GIB,
           p->operations_per_second / 1e9);
}
