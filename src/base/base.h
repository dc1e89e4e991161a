/* base: what every other layer rests on and that knows nothing of models: errors, memory, strings, files, JSON,
 * random numbers, clocks, the progress bar and the log. This header collects the small ones.
 *
 * Layer order: base <- compute, data <- model <- train, eval, serve <- cli (tests/base/test_layers.sh checks it). */
#ifndef OC_BASE_BASE_H
#define OC_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/strbuf.h"

#define OC_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define OC_MIN(a, b) ((a) < (b) ? (a) : (b))
#define OC_MAX(a, b) ((a) > (b) ? (a) : (b))
#define OC_UNUSED(x) ((void)(x))

/* Element types of tensors in memory and in files. */
typedef enum {
    OC_F32, OC_BF16, OC_F16, OC_F64,
    OC_I64, OC_I32, OC_I16, OC_I8, OC_U8, OC_BOOL,
    OC_DTYPE_COUNT
} oc_dtype;

/* Bytes per element. */
static inline size_t oc_dtype_size(oc_dtype t) {
    static const uint8_t size[OC_DTYPE_COUNT] = {4, 2, 2, 8, 8, 4, 2, 1, 1, 1};
    return size[t];
}
const char *oc_dtype_name(oc_dtype t); /* "F32", "BF16", ... as safetensors spells them */

/* bfloat16 <-> float32; to bf16 rounds to nearest even, NaN stays NaN. */
static inline float oc_bf16_to_f32(uint16_t h) {
    union { uint32_t u; float f; } v = {(uint32_t)h << 16};
    return v.f;
}
static inline uint16_t oc_f32_to_bf16(float f) {
    union { float f; uint32_t u; } v = {f};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((v.u >> 16) | 0x40u);
    return (uint16_t)((v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16);
}
/* x rounded to bf16 by the uniform number `random` (16 bits count). NaN stays NaN, infinities stay. */
static inline uint16_t oc_round_stochastic(float x, uint32_t random) {
    union { float f; uint32_t u; } v = {x};
    if ((v.u & 0x7f800000u) == 0x7f800000u) return oc_f32_to_bf16(x);
    return (uint16_t)((v.u + (random & 0xffffu)) >> 16);
}
float oc_f16_to_f32(uint16_t h);

double oc_now(void); /* seconds on a monotonic clock */
size_t oc_rss_bytes(void);      /* resident memory of this process now */
size_t oc_peak_rss_bytes(void); /* its highest value so far */
int oc_cpu_count(void);         /* cores this process may run on (affinity and cgroup quota respected) */

#endif
