// What the kernels need of a GPU, for two compilers: nvcc's instructions, or those of emulate.h for
// any C++17 compiler. Must not know what the kernels compute.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_bf16.h>

using bf16 = __nv_bfloat16;

#define DEVICE static __device__ __forceinline__
// A block's shared memory, whose size the launch decides.
#define SHARED(name) extern __shared__ __align__(16) unsigned char name[]

DEVICE float to_float(bf16 v) { return __bfloat162float(v); }
DEVICE bf16 to_bf16(float v) { return __float2bfloat16_rn(v); }

DEVICE uint32_t pack_pair(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}

DEVICE float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }

DEVICE uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Four 8×8 matrices; lane i hands in the address of row i % 8 of matrix i / 8.
DEVICE void ldmatrix_x4(uint32_t* r, const void* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}

DEVICE void ldmatrix_x2(uint32_t* r, const void* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(p)));
}

// The same, each matrix transposed.
DEVICE void ldmatrix_x4_transposed(uint32_t* r, const void* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}

DEVICE void ldmatrix_x2_transposed(uint32_t* r, const void* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(p)));
}

// c [16][8] += a [16][16] · b [16][8], spread over a warp as the PTX manual says.
DEVICE void mma(float* c, const uint32_t* a, const uint32_t* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Copies 16 bytes from global to shared memory; they are there after `wait_copies` and a barrier.
DEVICE void copy_async(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
}

DEVICE void wait_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(~0u, v, mask); }

DEVICE void sync_block() { __syncthreads(); }

// Makes what this thread has written visible to other blocks before what it writes next.
DEVICE void fence() { __threadfence(); }

DEVICE unsigned add_atomic(unsigned* counter, unsigned n) { return atomicAdd(counter, n); }
DEVICE void min_atomic(unsigned* least, unsigned n) { atomicMin(least, n); }

// Waits until the launch before has ended, where the host lets this one begin earlier.
DEVICE void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next launch begin, where the host allows it, when all blocks have come here.
DEVICE void begin_next_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Reads what another block of the same launch may have written.
DEVICE float4 load_fresh(const float4* p) { return __ldcg(p); }
#else
#include "emulate.h"
#endif

DEVICE void unpack(uint4 v, float* f) {
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        f[2 * i] = bits_to_float(words[i] << 16);
        f[2 * i + 1] = bits_to_float(words[i] & 0xffff0000u);
    }
}

DEVICE uint4 pack(const float* f) {
    return {pack_pair(f[0], f[1]), pack_pair(f[2], f[3]), pack_pair(f[4], f[5]),
            pack_pair(f[6], f[7])};
}

// Eight neighbouring channels, in either precision.
DEVICE void load8(const bf16* p, float* f) { unpack(*reinterpret_cast<const uint4*>(p), f); }
DEVICE void store8(bf16* p, const float* f) { *reinterpret_cast<uint4*>(p) = pack(f); }

DEVICE void load8(const float* p, float* f) {
    const float4 low = reinterpret_cast<const float4*>(p)[0];
    const float4 high = reinterpret_cast<const float4*>(p)[1];
    f[0] = low.x, f[1] = low.y, f[2] = low.z, f[3] = low.w;
    f[4] = high.x, f[5] = high.y, f[6] = high.z, f[7] = high.w;
}

DEVICE void store8(float* p, const float* f) {
    reinterpret_cast<float4*>(p)[0] = {f[0], f[1], f[2], f[3]};
    reinterpret_cast<float4*>(p)[1] = {f[4], f[5], f[6], f[7]};
}

DEVICE float load1(const bf16* p) { return to_float(*p); }
DEVICE float load1(const float* p) { return *p; }
DEVICE void store1(bf16* p, float v) { *p = to_bf16(v); }
DEVICE void store1(float* p, float v) { *p = v; }

DEVICE int smaller(int a, int b) { return a < b ? a : b; }
