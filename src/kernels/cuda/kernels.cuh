// Every kernel by its name, as the host finds it. On the emulator each is a function.
#pragma once
#include "local_contrast.cuh"
#include "weight_gradient.cuh"

#ifdef __CUDACC__
// `blocks`: how many blocks a multiprocessor must have room for.
#define DEFINE_KERNEL(name, blocks, Arguments, ...)                     \
    extern "C" __global__ void __launch_bounds__(THREADS, blocks) name( \
        const __grid_constant__ Arguments p) {                          \
        wait_for_launch_before();                                       \
        __VA_ARGS__;                                                    \
    }
// One that another file defines.
#define DECLARE_KERNEL(name, blocks, Arguments, ...) \
    extern "C" __global__ void name(const __grid_constant__ Arguments p);
#else
#define DEFINE_KERNEL(name, blocks, Arguments, ...)        \
    [[maybe_unused]] static void name(const Arguments p) { \
        __VA_ARGS__;                                       \
    }
#endif

// Convolutions: columns of filters in a tile, and 128 pixels so many times.
#define CONVOLUTIONS(K, n)                                         \
    K(conv_forward_##n##_2, 2, Conv, convolve<n, 2, false>(p))     \
    K(conv_forward_##n##_1, 2, Conv, convolve<n, 1, false>(p))     \
    K(conv_gradient_##n##_2, 2, Conv, convolve<n, 2, true>(p))     \
    K(conv_gradient_##n##_1, 2, Conv, convolve<n, 1, true>(p))     \
    K(weight_gradient_##n, 1, WeightGradient, weight_gradient<n>(p))

// What exists in both precisions.
#define BOTH_PRECISIONS(K, T, suffix)                                            \
    K(load_images_##suffix, 2, Images<T>, load_images(p))                        \
    K(convolve_plain_##suffix, 2, PlainConv<T>, convolve_plain<T, false>(p))     \
    K(gradient_plain_##suffix, 2, PlainConv<T>, convolve_plain<T, true>(p))      \
    K(weights_plain_##suffix, 2, PlainWeights<T>, plain_weights(p))              \
    K(statistics_##suffix, 2, Statistics<T>, statistics<T, false>(p))            \
    K(gradient_statistics_##suffix, 2, Statistics<T>, statistics<T, true>(p))    \
    K(pool_##suffix, 2, Pool<T>, pool(p))                                        \
    K(pool_gradient_##suffix, 2, Pool<T>, pool_gradient(p))                      \
    K(copy_##suffix, 2, Copy<T>, copy_part(p))                                   \
    K(copy_gradient_##suffix, 2, Copy<T>, copy_gradient(p))                      \
    K(sum_##suffix, 2, Sum<T>, sum_part(p))                                      \
    K(sum_gradient_##suffix, 2, Sum<T>, sum_gradient(p))                         \
    K(contrast_##suffix, 2, Contrast<T>, contrast(p))                            \
    K(contrast_gradient_##suffix, 2, Contrast<T>, contrast_gradient(p))          \
    K(pool_head_##suffix, 2, Head<T>, pool_head(p))                              \
    K(classify_##suffix, 2, Head<T>, classify(p))                                \
    K(head_weights_##suffix, 2, Head<T>, head_weights(p))                        \
    K(judge_##suffix, 2, Head<T>, judge(p))

// What knows no precision, or f32 alone.
#define PARAMETERS(K)                                          \
    K(add_splits, 2, Reduction, reduce_splits(p))              \
    K(update_parameters, 2, Update, update(p))                 \
    K(average_parameters, 2, Average, move_average(p))         \
    K(pack_all_parameters, 2, Update, pack_parameters(p))      \
    K(use_running_statistics, 2, Norm, use_running(p))

#define ALL_KERNELS(K)                                                              \
    CONVOLUTIONS(K, 1) CONVOLUTIONS(K, 2) CONVOLUTIONS(K, 3) CONVOLUTIONS(K, 4)     \
    CONVOLUTIONS(K, 5) CONVOLUTIONS(K, 6) CONVOLUTIONS(K, 7) CONVOLUTIONS(K, 8)     \
    BOTH_PRECISIONS(K, bf16, bf16) BOTH_PRECISIONS(K, float, f32) PARAMETERS(K)
