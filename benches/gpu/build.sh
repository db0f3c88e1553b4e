#!/usr/bin/env bash
# Builds the step's bench with nvcc, one file a group of kernels, as many at once as there are cores. Argument: where to.
set -e
here=$(cd "$(dirname "$0")" && pwd); out=${1:-/tmp/gpu-step}; mkdir -p "$out"
flags="-std=c++17 -O3 -gencode=arch=compute_90,code=sm_90 -lineinfo -I$here/../../src/kernels/cuda ${CUDA_INCLUDE:+-I$CUDA_INCLUDE}"
unit() { # name, text
    printf '#include "kernels.cuh"\n%s\n' "$2" > "$out/$1.cu"
    echo "$out/$1.cu"
}
units=$(for n in 1 2 3 4 5 6 7 8; do unit "conv_$n" "CONVOLUTIONS(DEFINE_KERNEL, $n)"; done
    unit bf16 "BOTH_PRECISIONS(DEFINE_KERNEL, bf16, bf16)"
    unit f32 "BOTH_PRECISIONS(DEFINE_KERNEL, float, f32)"
    unit parameters "PARAMETERS(DEFINE_KERNEL)"; echo "$here/step.cu")
for unit in $units; do echo "$unit"; done | xargs -P "$(nproc)" -I{} sh -c "nvcc $flags -c {} -o $out/\$(basename {} .cu).o"
nvcc $flags "$out"/*.o -o "$out/step"
