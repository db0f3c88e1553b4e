#!/usr/bin/env bash
# Everything that is measured on a GPU machine, in about 90 seconds: build, times, audit, sanitizer, profile, PyTorch.
# Prints as it goes; the profiles go to $OUT. The machine needs nvcc 13, ncu, compute-sanitizer and a python3 with PyTorch.
cd "$(dirname "$0")/../.."
begun=$(date +%s)
since() { echo "== $1 ($(($(date +%s) - begun)) s)"; }
out=${OUT:-/tmp}; step=/tmp/gpu-step/step
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
timeout 90 benches/gpu/build.sh "${step%/*}" || exit 1
since "our step"
for overlap in 0 1; do
    echo "launches overlap: $overlap"
    OVERLAP=$overlap timeout 30 $step time chain-3x3-48 64 chain-3x3-48 128 chain-3x3-64 64 chain-7x7-24 64 layers-15 64 layers-15 128
done
since audit
timeout 30 $step audit 8 200 | grep -vE "e-0|0.00e"
since sanitizer
for tool in memcheck racecheck; do
    timeout 30 compute-sanitizer --tool $tool $step audit 1 48 | grep -E "SUMMARY|wrong"
done
since profile
metrics=gpu__time_duration.sum,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,smsp__inst_executed.sum
timeout 30 ncu --clock-control none --cache-control none --launch-skip 31 --launch-count 29 --metrics $metrics --csv \
    $step profile chain-3x3-48 64 > "$out/chain.csv"
timeout 30 ncu --clock-control none --cache-control none --launch-skip 67 --launch-count 65 --metrics $metrics --csv \
    $step profile layers-15 64 > "$out/layers-15.csv"
since "PyTorch's step"
timeout 120 python3 benches/gpu/torch_step.py "${VARIANTS:-eager_last_bf16,graph_last_bf16}" \
    chain-3x3-48 64 chain-3x3-48 128 chain-3x3-64 64 chain-7x7-24 64 layers-15 64 layers-15 128
since end
