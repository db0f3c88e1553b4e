// Memory and launches, for the emulator and for a GPU, so that tests and the bench share one step.
#pragma once
#include "../kernels.cuh"

#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef __CUDACC__
ALL_KERNELS(DECLARE_KERNEL)
#else
ALL_KERNELS(DEFINE_KERNEL)
#endif

// Most shared memory of a block: that of compute capability 8.6; two such blocks fit on 8.0
// and 9.0.
constexpr size_t SHARED_LIMIT = 99 * 1024;

#ifdef __CUDACC__
struct Index {
    int x, y, z;
};

inline void check(cudaError_t error) {
    if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

struct Backend {
    cudaStream_t streams[2];
    cudaEvent_t event;
    std::vector<void*> owned;
    size_t bytes = 0;
    // Of the machine; a sum over pixels is split so that each has a block.
    int multiprocessors = 132;
    // Whether a launch may begin before the one before it has ended.
    bool overlap = getenv("OVERLAP") && *getenv("OVERLAP") == '1';

    Backend() {
        for (auto& s : streams) check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
        check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    }
    ~Backend() {
        for (void* p : owned) cudaFree(p);
    }
    void* allocate(size_t n) {
        void* p;
        check(cudaMalloc(&p, n + 64));
        check(cudaMemset(p, 0, n + 64));
        owned.push_back(p);
        bytes += n;
        return p;
    }
    void upload(void* to, const void* from, size_t n) {
        check(cudaMemcpy(to, from, n, cudaMemcpyHostToDevice));
    }
    void download(void* to, const void* from, size_t n) {
        check(cudaMemcpy(to, from, n, cudaMemcpyDeviceToHost));
    }
    // `to` goes on after what has been launched on `from`.
    void order(int from, int to) {
        check(cudaEventRecord(event, streams[from]));
        check(cudaStreamWaitEvent(streams[to], event, 0));
    }
    template <class A>
    void launch(int stream, void (*kernel)(A), Index grid, size_t shared, const A& arguments) {
        if (shared > 48 * 1024)
            check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                       cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)));
        void* pointers[] = {const_cast<A*>(&arguments)};
        cudaLaunchAttribute early{};
        early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        early.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t config{};
        config.gridDim = dim3(grid.x, grid.y, grid.z), config.blockDim = dim3(THREADS);
        config.dynamicSmemBytes = shared, config.stream = streams[stream];
        config.attrs = &early, config.numAttrs = overlap && stream == 0;
        check(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), pointers));
    }
    void synchronise() { check(cudaDeviceSynchronize()); }
};
#else
struct Backend {
    std::vector<void*> owned;
    size_t bytes = 0;
    // Of the machine; a sum over pixels is split so that each has a block.
    int multiprocessors = 132;
    unsigned seed = 1;

    ~Backend() {
        for (void* p : owned) free(p);
    }
    // Zeros at the front of what is used, NaN behind it.
    void* allocate(size_t n) {
        const size_t whole = (n + 64 + 255) / 256 * 256;
        void* p = aligned_alloc(256, whole);
        if (!p) throw std::bad_alloc();
        memset(p, 0xff, whole);
        memset(p, 0, n);
        owned.push_back(p);
        bytes += n;
        return p;
    }
    void upload(void* to, const void* from, size_t n) { memcpy(to, from, n); }
    void download(void* to, const void* from, size_t n) { memcpy(to, from, n); }
    void order(int, int) {}
    template <class A>
    void launch(int, void (*kernel)(A), Index grid, size_t shared, const A& arguments) {
        emulator::launch(grid, THREADS, shared, seed++, [&] { kernel(arguments); });
    }
    void synchronise() {}
};
#endif
