#!/usr/bin/env bash
# One call on a GPU machine: build, audit, sanitizer, timings, profile. Prints as it goes.
cd "$(dirname "$0")/../.."
since() { echo "== $1 ($(( $(date +%s) - begun )) s)"; }
begun=$(date +%s)
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
since build
timeout 200 benches/gpu/build.sh /tmp/gpu-step || exit 1
step=/tmp/gpu-step/step
since audit
timeout 60 $step audit "${AUDITS:-24}" 1 2>&1 | tail -45
since time
timeout 30 $step time chain-3x3-48 64 chain-3x3-48 128 chain-3x3-64 64 chain-7x7-24 64 layers-15 64 layers-15 128
since sanitizer
for tool in memcheck racecheck synccheck; do
    echo "-- $tool"; timeout 60 compute-sanitizer --tool $tool $step audit 1 1 2>&1 | tail -4
done
since profile
timeout 90 ncu --clock-control none --launch-skip ${SKIP:-44} --launch-count ${COUNT:-44} --metrics gpu__time_duration.sum,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__inst_executed_pipe_tensor.sum,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,l1tex__data_bank_conflicts_pipe_lsu.sum,launch__grid_size \
    --csv $step profile chain-3x3-48 64 > $OUT/ncu.csv 2>&1
tail -3 $OUT/ncu.csv | cut -c1-300
since torch
timeout 150 python3 benches/gpu/torch_step.py ${VARIANTS:-eager,eager_last_bf16,graph_bf16,graph_last_bf16} chain-3x3-48 64 layers-15 64
since end
