#!/usr/bin/env bash
# Compiles every kernel for the compute capabilities that are shipped, with a pinned nvcc from PyPI, and compares
# registers, spills, stack and instructions with census.txt, and what the program embeds with the files of code/.
# `--update` writes census.txt and code/ instead. The results are left in target/cuda, one file a group of kernels.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd); out=$root/target/cuda; mkdir -p "$out"
cache=${NETWRIGHT_CUDA:-${XDG_CACHE_HOME:-$HOME/.cache}/netwright/cuda-13.0.88}
packages="nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-cuobjdump==13.2.51 nvidia-cuda-nvdisasm==13.2.51"
if [ ! -x "$cache/nvidia/cu13/bin/nvcc" ]; then
    echo "installing nvcc into $cache"
    # shellcheck disable=SC2086
    "${PYTHON:-python3}" -m pip install --quiet --no-deps --disable-pip-version-check --target "$cache" $packages
fi
export PATH=$cache/nvidia/cu13/bin:$PATH

unit() { printf '#include "kernels.cuh"\n%s\n' "$2" > "$out/$1.cu"; }
for n in 1 2 3 4 5 6 7 8; do unit "conv_$n" "CONVOLUTIONS(DEFINE_KERNEL, $n)"; done
unit bf16 "BOTH_PRECISIONS(DEFINE_KERNEL, bf16, bf16)"
unit f32 "BOTH_PRECISIONS(DEFINE_KERNEL, float, f32)"
unit parameters "PARAMETERS(DEFINE_KERNEL)"
# What the program uses, in one.
unit engine "ALL_KERNELS(DEFINE_KERNEL)"

# Paths are left out of the code, so that it is the same everywhere.
compile() {
    local unit=$1 capability=$2 base=$out/$1.sm_$2
    (cd "$out" && nvcc -std=c++17 -O3 -cubin "-gencode=arch=compute_$capability,code=sm_$capability" -Xptxas -v \
        -I"$OLDPWD" "$unit.cu" -o "$base.cubin" 2> "$base.log") || { cat "$base.log"; return 1; }
    cuobjdump --dump-sass "$base.cubin" > "$base.sass"
}
export -f compile; export out
for capability in 80 90; do
    for unit in conv_{1..8} bf16 f32 parameters; do echo "$unit $capability"; done
done | xargs -P "${JOBS:-2}" -L 1 bash -c 'compile "$0" "$1"'

"${PYTHON:-python3}" census.py "$out" > "$out/census.txt"

# The code for two capabilities, and PTX that the driver compiles for what came later.
embedded="engine.sm_80.cubin engine.sm_90.cubin engine.compute_90.ptx"
cubin() { (cd "$out" && nvcc -std=c++17 -O3 "$1" "-gencode=arch=compute_$2,code=$3" -I"$OLDPWD" engine.cu -o "engine.$3.${1#-}"); }
cubin -cubin 80 sm_80; cubin -cubin 90 sm_90; cubin -ptx 90 compute_90
# Which sources they are of: a test of the program compares that without a compiler.
sources=$(cat $(ls ./*.h ./*.cuh ./build.sh | grep -v emulate.h | LC_ALL=C sort) | sha256sum | cut -d" " -f1)

if [ "${1:-}" = --update ]; then
    cp "$out/census.txt" census.txt
    mkdir -p code
    for file in $embedded; do gzip -9n < "$out/$file" > "code/$file.gz"; done
    echo "$sources" > code/sources.sha256
fi
for file in $embedded; do gzip -dc "code/$file.gz" | cmp - "$out/$file"; done
[ "$(cat code/sources.sha256)" = "$sources" ]
diff census.txt "$out/census.txt" && echo "$(grep -c sm_ census.txt) kernels: as census.txt says"
