// A GPU in a C++17 program: each thread of a block is a fiber. Warps are resumed in random order,
// shared memory starts as NaN, and asynchronous copies land as late (or, by the seed, as early) as
// they may: a missing barrier or wait gives wrong numbers. It says nothing about time, bank
// conflicts or the order of memory between blocks, which run one after the other.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#define DEVICE [[maybe_unused]] static inline
#define __restrict__
#define SHARED(name) unsigned char* name = emulator::shared_memory.data()

struct bf16 {
    uint16_t bits;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct Index {
    int x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

DEVICE float bits_to_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

DEVICE float to_float(bf16 v) { return bits_to_float(uint32_t(v.bits) << 16); }

// Rounds to the nearest, ties to even.
DEVICE bf16 to_bf16(float value) {
    if (std::isnan(value)) return {0x7fc0};
    uint32_t bits;
    memcpy(&bits, &value, 4);
    bits += 0x7fff + (bits >> 16 & 1);
    return {uint16_t(bits >> 16)};
}

DEVICE uint32_t pack_pair(float low, float high) {
    return to_bf16(low).bits | uint32_t(to_bf16(high).bits) << 16;
}

namespace emulator {

struct Copy {
    void* to;
    unsigned char bytes[16];
};

// Goes from one stack to another. Written out, because swapcontext makes a system call each time.
extern "C" void emulator_switch(void** from, void* to);
#if defined(__x86_64__)
asm(R"(
.text
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
constexpr int SAVED = 6;
#elif defined(__aarch64__)
asm(R"(
.text
emulator_switch:
    sub sp, sp, #176
    stp x19, x20, [sp, #16]
    stp x21, x22, [sp, #32]
    stp x23, x24, [sp, #48]
    stp x25, x26, [sp, #64]
    stp x27, x28, [sp, #80]
    stp x29, xzr, [sp, #96]
    stp d8, d9, [sp, #112]
    stp d10, d11, [sp, #128]
    stp d12, d13, [sp, #144]
    stp d14, d15, [sp, #160]
    str x30, [sp]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldr x30, [sp]
    ldp x19, x20, [sp, #16]
    ldp x21, x22, [sp, #32]
    ldp x23, x24, [sp, #48]
    ldp x25, x26, [sp, #64]
    ldp x27, x28, [sp, #80]
    ldr x29, [sp, #96]
    ldp d8, d9, [sp, #112]
    ldp d10, d11, [sp, #128]
    ldp d12, d13, [sp, #144]
    ldp d14, d15, [sp, #160]
    add sp, sp, #176
    ret
)");
#else
#error "the emulator knows x86-64 and aarch64"
#endif

struct Fiber {
    void* stack_pointer;
    std::vector<char> stack;
    bool done = false;
    // The barrier that it waits at, or -1.
    long barrier = -1;
    // Asynchronous copies that have not landed.
    std::vector<Copy> copies;
};

// Lanes of one warp that meet in an instruction of the whole warp.
struct Warp {
    long generation = 0;
    int waiting = 0;
    const void* in[32];
    uint32_t out[32][4];
};

static std::vector<unsigned char> shared_memory;
static std::vector<Fiber> fibers;
static Warp warps[32];
static void* scheduler;
static std::function<void()> body;
static int current;
static long barriers_passed;
static int waiting_at_barrier;
static bool copies_land_early;

inline void yield() { emulator_switch(&fibers[current].stack_pointer, scheduler); }

[[noreturn]] inline void fail(const char* what) {
    fprintf(stderr, "emulator: %s (block %d %d %d, thread %d)\n", what, blockIdx.x, blockIdx.y,
            blockIdx.z, current);
    // Without destructors, since this is a fiber's stack.
    fflush(stdout);
    std::_Exit(3);
}

inline void run_fiber() {
    body();
    fibers[current].done = true;
    yield();
}

inline void barrier() {
    const long mine = barriers_passed;
    if (++waiting_at_barrier == int(fibers.size())) {
        waiting_at_barrier = 0;
        barriers_passed++;
        return;
    }
    fibers[current].barrier = mine;
    while (barriers_passed == mine) yield();
    fibers[current].barrier = -1;
}

// Every lane of a warp hands something in; the last one lets `work` read it all and write every
// lane's result.
template <class Work>
void meet(const void* in, void* out, size_t bytes, Work work) {
    Warp& warp = warps[current / 32];
    const int lane = current % 32;
    const long mine = warp.generation;
    warp.in[lane] = in;
    if (++warp.waiting == 32) {
        warp.waiting = 0;
        work(warp);
        warp.generation++;
    } else {
        while (warp.generation == mine) yield();
    }
    memcpy(out, warp.out[lane], bytes);
}

inline void start(Fiber& fiber) {
    fiber.done = false;
    fiber.barrier = -1;
    fiber.copies.clear();
    auto* top = reinterpret_cast<void**>(uintptr_t(&fiber.stack.back()) / 16 * 16);
#if defined(__x86_64__)
    // As if `run_fiber` had been called: its return address would make the stack odd.
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(run_fiber);
    top -= SAVED;
#else
    top -= 22;
    top[0] = reinterpret_cast<void*>(run_fiber);
#endif
    fiber.stack_pointer = top;
}

inline bool can_go_on(const Fiber& fiber) {
    return !fiber.done && fiber.barrier != barriers_passed;
}

// Runs one warp until all its lanes have ended or wait at a barrier.
inline int run_warp(int warp, std::mt19937& random) {
    int lanes[32], ended = 0;
    std::iota(lanes, lanes + 32, warp * 32);
    std::shuffle(lanes, lanes + 32, random);
    for (bool moved = true; moved;) {
        moved = false;
        for (int t : lanes) {
            if (!can_go_on(fibers[t])) continue;
            current = t;
            threadIdx = {t, 0, 0};
            emulator_switch(&scheduler, fibers[t].stack_pointer);
            ended += fibers[t].done;
            moved = true;
        }
    }
    return ended;
}

inline void run_block(std::mt19937& random) {
    const int threads = int(fibers.size());
    std::fill(shared_memory.begin(), shared_memory.end(), 0xff);
    waiting_at_barrier = 0;
    barriers_passed = 0;
    for (Warp& warp : warps) warp.generation = warp.waiting = 0;
    for (Fiber& fiber : fibers) start(fiber);
    std::vector<int> order(threads / 32);
    std::iota(order.begin(), order.end(), 0);
    for (int left = threads; left > 0;) {
        std::shuffle(order.begin(), order.end(), random);
        int before = left;
        const long passed = barriers_passed;
        for (int warp : order) left -= run_warp(warp, random);
        if (left == before && passed == barriers_passed && left > 0) fail("threads wait for ever");
    }
}

// Runs `kernel` in every thread of a grid of blocks.
inline void launch(Index grid, int threads, size_t shared, unsigned seed,
                   std::function<void()> kernel) {
    std::mt19937 random(seed);
    gridDim = grid;
    blockDim = {threads, 1, 1};
    if (int(fibers.size()) != threads) {
        fibers.clear();
        fibers.resize(threads);
        for (Fiber& fiber : fibers) fiber.stack.resize(64 << 10);
    }
    copies_land_early = seed % 2;
    shared_memory.resize(shared);
    body = std::move(kernel);
    for (int z = 0; z < grid.z; z++)
        for (int y = 0; y < grid.y; y++)
            for (int x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                run_block(random);
            }
}

inline void check_shared(const void* p) {
    const auto at = uintptr_t(p), first = uintptr_t(shared_memory.data());
    if (at < first || at + 16 > first + shared_memory.size()) fail("outside of shared memory");
    if ((at - first) % 16) fail("an address in shared memory is not a multiple of 16");
}

inline void load_matrices(uint32_t* r, const void* p, int count, bool transposed) {
    if (current % 32 < 8 * count) check_shared(p);
    meet(p, r, 4 * count, [&](Warp& warp) {
        for (int m = 0; m < count; m++)
            for (int lane = 0; lane < 32; lane++) {
                uint16_t pair[2];
                for (int i = 0; i < 2; i++) {
                    const int row = transposed ? lane % 4 * 2 + i : lane / 4;
                    const int column = transposed ? lane / 4 : lane % 4 * 2 + i;
                    pair[i] = static_cast<const uint16_t*>(warp.in[m * 8 + row])[column];
                }
                memcpy(&warp.out[lane][m], pair, 4);
            }
    });
}

struct Product {
    const uint32_t* a;
    const uint32_t* b;
    const float* c;
};

inline float half(uint32_t pair, int i) { return to_float({uint16_t(pair >> 16 * i)}); }

inline void multiply(Warp& warp) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const auto& in = *static_cast<const Product*>(warp.in[lane]);
        const int row = lane / 4, column = lane % 4 * 2;
        for (int i = 0; i < 2; i++) {
            for (int r = 0; r < 4; r++)
                a[row + r % 2 * 8][column + r / 2 * 8 + i] = half(in.a[r], i);
            for (int r = 0; r < 2; r++) b[column + r * 8 + i][row] = half(in.b[r], i);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const auto& in = *static_cast<const Product*>(warp.in[lane]);
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = in.c[i];
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
            memcpy(&warp.out[lane][i], &sum, 4);
        }
    }
}

}  // namespace emulator

DEVICE void ldmatrix_x4(uint32_t* r, const void* p) { emulator::load_matrices(r, p, 4, false); }
DEVICE void ldmatrix_x2(uint32_t* r, const void* p) { emulator::load_matrices(r, p, 2, false); }
DEVICE void ldmatrix_x4_transposed(uint32_t* r, const void* p) {
    emulator::load_matrices(r, p, 4, true);
}
DEVICE void ldmatrix_x2_transposed(uint32_t* r, const void* p) {
    emulator::load_matrices(r, p, 2, true);
}

DEVICE void mma(float* c, const uint32_t* a, const uint32_t* b) {
    const emulator::Product in{a, b, c};
    emulator::meet(&in, c, 16, emulator::multiply);
}

DEVICE void copy_async(void* to, const void* from) {
    emulator::check_shared(to);
    emulator::Copy copy{to, {}};
    memcpy(copy.bytes, from, 16);
    if (emulator::copies_land_early)
        memcpy(to, from, 16);
    else
        emulator::fibers[emulator::current].copies.push_back(copy);
}

DEVICE void wait_copies() {
    auto& copies = emulator::fibers[emulator::current].copies;
    for (const auto& copy : copies) memcpy(copy.to, copy.bytes, 16);
    copies.clear();
}

DEVICE float shuffle_xor(float v, int mask) {
    float result;
    emulator::meet(&v, &result, 4, [&](emulator::Warp& warp) {
        for (int lane = 0; lane < 32; lane++) memcpy(warp.out[lane], warp.in[lane ^ mask], 4);
    });
    return result;
}

DEVICE void sync_block() { emulator::barrier(); }
DEVICE void fence() {}
DEVICE void wait_for_launch_before() {}
DEVICE void begin_next_launch() {}
DEVICE unsigned add_atomic(unsigned* counter, unsigned n) {
    const unsigned before = *counter;
    *counter += n;
    return before;
}
DEVICE void min_atomic(unsigned* least, unsigned n) { *least = std::min(*least, n); }
DEVICE float4 load_fresh(const float4* p) { return *p; }
