/* Choosing a backend at run time: what the processor has, which tables that allows, and the life of an
 * oc_compute. */
#define _GNU_SOURCE
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "compute/compute.h"
#include "compute/cpu/cpu.h"
#include "compute/profile.h"

/* ---- The processor ------------------------------------------------------------------------------------- */

#if defined(__x86_64__)

/* AMX tiles: leaf 7 of cpuid (TILE 24, BF16 22), state components 17 and 18 enabled in XCR0, and, since the
 * tile data is 8 KiB per thread, a permission that Linux gives on request only. */
static bool detect_amx(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1u) || !(d >> 22 & 1u)) return false;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1u)) return false; /* OSXSAVE */
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    if ((lo >> 17 & 3u) != 3u) return false;
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* __builtin_cpu_supports also asks XCR0 whether the system saves the registers. Each flag stands for
 * everything that CMake lets the compiler use in the folder of that name. */
oc_cpu_features oc_cpu_detect(void) {
    oc_cpu_features f = {0};
    __builtin_cpu_init();
    unsigned a, b, c = 0, d;
    bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1u);
    f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
    f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
    f.avx512_bf16 = f.avx512 && __builtin_cpu_supports("avx512bf16");
    f.amx = f.avx512_bf16 && detect_amx();
    return f;
}

#else

oc_cpu_features oc_cpu_detect(void) { return (oc_cpu_features){0}; }

#endif

/* ---- The backends -------------------------------------------------------------------------------------- */

/* Slowest first; each adds a layer to the one before. */
typedef enum { REF, PORTABLE, AVX2, AVX512, AVX512_BF16, AMX, LEVELS } level;

static const struct {
    const char *name, *instructions;
} level_text[LEVELS] = {
    [REF] = {"ref", "plain C"},
    [PORTABLE] = {"portable", "plain C, oneDNN"},
    [AVX2] = {"avx2", "AVX2, FMA"},
    [AVX512] = {"avx512", "AVX-512, VNNI"},
    [AVX512_BF16] = {"avx512_bf16", "AVX-512, VNNI, BF16"},
    [AMX] = {"amx", "AVX-512, VNNI, BF16, AMX"},
};

static bool level_available(level l, const oc_cpu_features *f) {
    const bool available[LEVELS] = {true, true, f->avx2, f->avx512, f->avx512_bf16, f->amx};
    return available[l];
}

int oc_compute_backends(const char **names, int max) {
    oc_cpu_features f = oc_cpu_detect();
    int n = 0;
    for (level l = REF; l < LEVELS; l++) {
        if (!level_available(l, &f)) continue;
        if (n < max) names[n] = level_text[l].name;
        n++;
    }
    return n;
}

static void fill(oc_ops *ops, level l, const oc_cpu_features *f) {
    oc_cpu_ref_fill(ops);
    if (l >= PORTABLE) oc_cpu_gemm_fill(ops, f);
#if defined(__x86_64__)
    if (l >= AVX2) oc_cpu_avx2_fill(ops);
    if (l >= AVX512) oc_cpu_avx512_fill(ops);
    if (l >= AVX512_BF16) oc_cpu_avx512bf16_fill(ops);
#endif
    ops->name = level_text[l].name;
}

/* The backend of that name, or the best. */
static oc_status choose(level *out, const char *name, const oc_cpu_features *f, oc_error *err) {
    char list[128] = "";
    *out = LEVELS;
    for (level l = REF; l < LEVELS; l++) {
        if (!level_available(l, f)) continue;
        if (!name || strcmp(name, level_text[l].name) == 0) *out = l;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", level_text[l].name);
    }
    if (*out != LEVELS) return OC_OK;
    return oc_fail(err, OC_ERR_UNSUPPORTED, "there is no compute backend '%s' on this processor; available: %s", name,
                   list);
}

/* ---- Scratch ------------------------------------------------------------------------------------------- */

/* One block per thread and, first, the one of the whole call. A cache line each, since threads write their
 * own. */
typedef struct scratch_block {
    _Alignas(64) void *p;
    size_t bytes;
} scratch_block;

void *oc_compute_scratch(oc_compute *c, int thread, size_t bytes) {
    OC_ASSERT(thread >= -1 && thread < c->threads);
    scratch_block *b = (scratch_block *)c->scratch + (thread + 1);
    if (b->bytes < bytes || !b->p) {
        oc_free(b->p);
        b->bytes = 0;
        if (!(b->p = oc_alloc(bytes))) {
            OC_ASSERT(!omp_in_parallel());
            oc_compute_give_up(c, bytes);
        }
        b->bytes = bytes;
    }
    return b->p;
}

void oc_compute_scratch_threads(oc_compute *c, size_t bytes) {
    for (int i = 0; i < c->threads; i++) oc_compute_scratch(c, i, bytes);
}

oc_status oc_compute_alloc_for(oc_compute *c, void *out, size_t bytes, const char *what, oc_error *err) {
    if (c->ops.host_memory) return oc_alloc_for(out, bytes, what, err);
    void *p = c->ops.device_alloc(c, bytes);
    memcpy(out, &p, sizeof p);
    if (p) return OC_OK;
    return oc_fail(err, OC_ERR_NOMEM, "out of memory on the device: %.1f MiB for %s; choose a smaller batch or model",
                   (double)bytes / (1 << 20), what);
}

static size_t cpu_scratch_bytes(const oc_compute *c) {
    const scratch_block *b = c->scratch;
    size_t sum = 0;
    for (int i = 0; i <= c->threads; i++) sum += b[i].bytes;
    const oc_cpu *cpu = oc_cpu_of(c);
    return sum + (cpu->gemm_bytes ? cpu->gemm_bytes(c) : 0);
}

/* ---- Giving up ----------------------------------------------------------------------------------------- */

/* Kernels return nothing and are called many layers above whoever can act on an error, so what can go wrong in them,
 * memory for scratch or an error of a device, leaves by a long jump. Nobody in between owns anything: models and kernels take
 * their memory from arenas and from blocks that oc_compute keeps. */
struct oc_compute_try {
    jmp_buf back;
    oc_status st;
    oc_error err;
};

_Noreturn void oc_compute_give_up(oc_compute *c, size_t bytes) {
    OC_ASSERT(c->trying != NULL); /* memory for a kernel ran out, and the caller did not use oc_compute_try */
    c->trying->st =
        oc_fail(&c->trying->err, OC_ERR_NOMEM,
                "out of memory: %.1f MiB for the scratch of a kernel; close other programs or choose a smaller batch, "
                "micro-batch or model",
                (double)bytes / (1 << 20));
    longjmp(c->trying->back, 1);
}

_Noreturn void oc_compute_fail(oc_compute *c, const char *what, const char *why) {
    OC_ASSERT(c->trying != NULL); /* an operation failed, and the caller did not use oc_compute_try */
    c->trying->st = oc_fail(&c->trying->err, OC_ERR_DEVICE, "%s: %s: %s", c->ops.name, what, why);
    longjmp(c->trying->back, 1);
}

oc_status oc_compute_try(oc_compute *c, void (*work)(void *ctx), void *ctx, oc_error *err) {
    struct oc_compute_try here = {.st = OC_OK}, *outer = c->trying;
    oc_status st = OC_OK;
    c->trying = &here;
    if (setjmp(here.back) == 0)
        work(ctx);
    else {
        oc_profile_gave_up(c);
        st = oc_fail(err, here.st, "%s", here.err.msg);
    }
    c->trying = outer;
    return st;
}

void oc_cpu_use_threads(const oc_compute *c) { omp_set_num_threads(c->threads); }

static void cpu_close(oc_compute *c) {
    oc_cpu *cpu = oc_cpu_of(c);
    if (cpu->gemm_close) cpu->gemm_close(c);
    scratch_block *scratch = c->scratch;
    for (int i = 0; i <= c->threads; i++) oc_free(scratch[i].p);
    oc_free(scratch);
    oc_free(cpu);
    oc_free(c);
}

static const char *cpu_describe(const oc_compute *c) { return oc_cpu_of(c)->describe; }

/* ---- Opening and closing ------------------------------------------------------------------------------- */

oc_status oc_compute_open(oc_compute **out, const oc_compute_options *opt, oc_error *err) {
    *out = NULL;
    int threads = opt ? opt->threads : 0;
    enum { MAX_THREADS = 4096 };
    if (threads < 0 || threads > MAX_THREADS)
        return oc_fail(err, OC_ERR_ARG, "threads is %d; allowed are 1 to %d, or 0 for all cores", threads, MAX_THREADS);
    if (threads == 0) threads = oc_cpu_count();

    oc_cpu_features f = oc_cpu_detect();
    level l;
    OC_TRY(choose(&l, opt ? opt->backend : NULL, &f, err));
    f.avx2 = f.avx2 && l >= AVX2;
    f.avx512 = f.avx512 && l >= AVX512;
    f.avx512_bf16 = f.avx512_bf16 && l >= AVX512_BF16;
    f.amx = f.amx && l >= AMX;

    oc_compute *c = oc_calloc(1, sizeof *c);
    oc_cpu *cpu = oc_calloc(1, sizeof *cpu);
    scratch_block *scratch = oc_calloc((size_t)threads + 1, sizeof *scratch);
    if (!c || !cpu || !scratch) {
        oc_free(c), oc_free(cpu), oc_free(scratch);
        return oc_fail(err, OC_ERR_NOMEM, "no memory for a compute backend of %d threads", threads);
    }
    c->threads = threads;
    c->backend = cpu;
    c->scratch = scratch;
    cpu->features = f;
    fill(&c->ops, l, &f);
    c->ops.native_bf16 = f.avx512_bf16;
    c->ops.close = cpu_close;
    c->ops.scratch_bytes = cpu_scratch_bytes;
    c->ops.describe = cpu_describe;
    snprintf(cpu->describe, sizeof cpu->describe, "%s (%s), %d thread%s", c->ops.name, level_text[l].instructions,
             threads, threads == 1 ? "" : "s");
    *out = c;
    return OC_OK;
}

void oc_compute_close(oc_compute *c) {
    if (!c) return;
    oc_profile_stop(c);
    c->ops.close(c);
}

size_t oc_compute_scratch_bytes(const oc_compute *c) { return c->ops.scratch_bytes(c); }
bool oc_compute_has_native_bf16(const oc_compute *c) { return c->ops.native_bf16; }
const char *oc_compute_describe(const oc_compute *c) { return c->ops.describe(c); }

/* ---- The table of rotary positions --------------------------------------------------------------------- */

/* The frequency as transformers forms it: the power and its reciprocal each rounded to f32. The angle is the
 * f32 product (its rounding at large positions is part of the reference); cos and sin of that angle are
 * rounded once. */
void oc_rope_table(float *table, int max_pos, int HS, float theta) {
    int half = HS / 2;
    for (int j = 0; j < half; j++) {
        float inv_freq = 1.0f / (float)pow((double)theta, (double)((float)(2 * j) / (float)HS));
        for (int p = 0; p < max_pos; p++) {
            float angle = (float)p * inv_freq;
            float *cs = table + ((size_t)p * (size_t)half + (size_t)j) * 2;
            cs[0] = (float)cos((double)angle);
            cs[1] = (float)sin((double)angle);
        }
    }
}
