/* Clock, memory use, processor count, and the names and conversions of element types. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

double oc_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t oc_rss_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) return 0;
    unsigned long total = 0, resident = 0;
    int n = fscanf(f, "%lu %lu", &total, &resident);
    fclose(f);
    return n == 2 ? (size_t)resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

size_t oc_peak_rss_bytes(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (size_t)r.ru_maxrss << 10;
}

/* The CPU quota of the innermost cgroup (v2), rounded up; 0 when there is none. */
static int cgroup_quota(void) {
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f) return 0;
    long quota = 0, period = 0;
    int n = fscanf(f, "%ld %ld", &quota, &period);
    fclose(f);
    return n == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int oc_cpu_count(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    int quota = cgroup_quota();
    if (quota > 0 && quota < n) n = quota;
    return n > 0 ? n : 1;
}

const char *oc_dtype_name(oc_dtype t) {
    static const char *name[OC_DTYPE_COUNT] = {"F32", "BF16", "F16", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL"};
    return (unsigned)t < OC_DTYPE_COUNT ? name[t] : "?";
}

float oc_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu;
    union { uint32_t u; float f; } v;
    if (e == 0) { /* zero and subnormals: m * 2^-24 */
        v.f = (float)m * 0x1p-24f;
        v.u |= sign;
    } else v.u = sign | (e == 31 ? 0x7f800000u : (e + 112) << 23) | m << 13;
    return v.f;
}
