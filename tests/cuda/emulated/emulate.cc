// The fibers behind cuda_runtime.h, and the runtime's calls.
#include "cuda_runtime.h"

#include <algorithm>
#include <map>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

dim3 threadIdx(0), blockIdx(0), blockDim(1), gridDim(1);

namespace {

enum { WARP = 32, STACK = 1 << 16, MOST = 1024 };

struct barrier {
    int arrived, passed, alive;  // passed: how often it has opened
};

struct fiber {
    jmp_buf at;  // where it waits; swapcontext would ask the system to change signals each time
    ucontext_t context;
    bool started, done;
};

jmp_buf scheduler;
fiber fibers[MOST];
char *stacks;
barrier whole, warps[MOST / WARP];
uint64_t brought[2][MOST];  // in turn: who is one exchange ahead does not overwrite what others still read
unsigned exchanges[MOST];
const std::function<void()> *body;
bool moved;  // something happened in this round

void yield() {
    if (_setjmp(fibers[threadIdx.x].at) == 0) _longjmp(scheduler, 1);
}

// Runs a fiber until it waits or ends.
void resume(fiber &f) {
    if (_setjmp(scheduler) != 0) return;
    if (f.started) _longjmp(f.at, 1);
    f.started = true;
    setcontext(&f.context);
}

void open_if_complete(barrier &b) {
    if (b.arrived == 0 || b.arrived < b.alive) return;
    b.arrived = 0;
    b.passed++;
    moved = true;
}

void wait_at(barrier &b) {
    const int before = b.passed;
    b.arrived++;
    open_if_complete(b);
    while (b.passed == before) yield();
}

void run_fiber() {
    (*body)();
    const unsigned me = threadIdx.x;
    fibers[me].done = true;
    moved = true;
    // those that wait need not wait for this thread
    barrier *all[] = {&whole, &warps[me / WARP]};
    for (barrier *b : all) {
        b->alive--;
        open_if_complete(*b);
    }
    _longjmp(scheduler, 1);
}

void run_block() {
    const unsigned n = blockDim.x;
    whole = {0, 0, (int)n};
    for (unsigned w = 0; w * WARP < n; w++) warps[w] = {0, 0, std::min((int)WARP, (int)(n - w * WARP))};
    for (unsigned i = 0; i < n; i++) {
        fiber &f = fibers[i];
        f.started = f.done = false;
        exchanges[i] = 0;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = stacks + (size_t)i * STACK;
        f.context.uc_stack.ss_size = STACK;
        f.context.uc_link = nullptr;
        makecontext(&f.context, run_fiber, 0);
    }
    for (unsigned left = n; left > 0;) {
        moved = false;
        for (unsigned i = 0; i < n; i++) {
            if (fibers[i].done) continue;
            threadIdx.x = i;
            resume(fibers[i]);
            left -= fibers[i].done;
        }
        if (!moved && left > 0) {
            fprintf(stderr, "emulated CUDA: %u threads of block (%u, %u) wait for each other\n", left, blockIdx.x, blockIdx.y);
            abort();
        }
    }
}

}  // namespace

void oc_emulate(dim3 grid, dim3 block, const std::function<void()> &thread) {
    if (block.x > MOST || block.y != 1 || block.z != 1 || grid.x == 0 || grid.y == 0) {
        fprintf(stderr, "emulated CUDA: a grid that no device would take\n");
        abort();
    }
    if (!stacks) stacks = static_cast<char *>(malloc((size_t)MOST * STACK));
    body = &thread;
    gridDim = grid;
    blockDim = block;
    for (unsigned y = 0; y < grid.y; y++)
        for (unsigned x = 0; x < grid.x; x++) {
            blockIdx = dim3(x, y);
            run_block();
        }
}

void __syncthreads() {
    wait_at(whole);
}

uint64_t oc_emulate_exchange(uint64_t mine, unsigned from) {
    const unsigned me = threadIdx.x, first = me / WARP * WARP;
    uint64_t *turn = brought[exchanges[me]++ % 2];
    turn[me] = mine;
    wait_at(warps[me / WARP]);
    return turn[first + from];
}

// ---- The runtime ------------------------------------------------------------------------------------------------------

static std::map<void *, size_t> sizes;  // of what is allocated

cudaError_t cudaGetDeviceCount(int *count) { return *count = 1, cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    *p = {"emulated", 0, 0, (size_t)1 << 30};
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { return *s = nullptr, cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
long oc_emulated_failure_after = -1;
cudaError_t cudaGetLastError(void) {
    return oc_emulated_failure_after >= 0 && oc_emulated_failure_after-- == 0 ? cudaErrorLaunchFailure : cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaGetLastError(); }
// Each piece ends, but for alignment, where a page begins that nobody may touch. Freed by its address alone.
cudaError_t cudaMalloc(void *p, size_t bytes) {
    const size_t page = 4096, used = (bytes + 63) / 64 * 64, pages = (used + page - 1) / page * page;
    char *whole = static_cast<char *>(mmap(nullptr, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (whole == MAP_FAILED || mprotect(whole + pages, page, PROT_NONE) != 0) return cudaErrorMemoryAllocation;
    memset(whole, 0xff, pages);  // NaN in either type: what is not written must not be read
    char *piece = whole + pages - used;
    sizes[piece] = pages + page;
    memcpy(p, &piece, sizeof piece);
    return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
    if (!p) return cudaSuccess;
    const auto found = sizes.find(p);
    if (found == sizes.end()) abort();
    munmap(reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(p) / 4096 * 4096), found->second);
    sizes.erase(found);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
    return memcpy(to, from, bytes), cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *x, int value, size_t bytes, cudaStream_t) { return memset(x, value, bytes), cudaSuccess; }
const char *cudaGetErrorString(cudaError_t e) { return e == cudaSuccess ? "success" : e == cudaErrorLaunchFailure ? "launch failure" : "out of memory"; }
