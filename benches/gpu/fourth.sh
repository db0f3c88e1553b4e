#!/usr/bin/env bash
cd "$(dirname "$0")/../.."
since() { echo "== $1 ($(( $(date +%s) - begun )) s)"; }
begun=$(date +%s)
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
timeout 60 benches/gpu/build.sh /tmp/gpu-step || exit 1
step=/tmp/gpu-step/step
since time
for o in 0 1; do OVERLAP=$o timeout 30 $step time chain-3x3-48 64 chain-3x3-48 128 chain-3x3-64 64 chain-7x7-24 64 layers-15 64 layers-15 128; done
since audit
timeout 25 $step audit ${AUDITS:-8} ${SEED:-200} 2>&1 | grep -vE "e-0|0.00e"
since sanitizer
for tool in memcheck racecheck; do timeout 25 compute-sanitizer --tool $tool $step audit 1 48 2>&1 | grep -E "SUMMARY|wrong"; done
since profile
timeout 20 ncu --clock-control none --cache-control none --launch-skip 31 --launch-count 29 --metrics gpu__time_duration.sum,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,l1tex__data_bank_conflicts_pipe_lsu.sum,smsp__inst_executed.sum \
    --csv $step profile chain-3x3-48 64 > $OUT/ncu.csv 2>&1
timeout 20 ncu --clock-control none --cache-control none --launch-skip 67 --launch-count 65 --metrics gpu__time_duration.sum,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active --csv $step profile layers-15 64 > $OUT/ncu15.csv 2>&1
since torch
timeout 60 python3 benches/gpu/torch_step.py graph_last_bf16 chain-3x3-48 64 layers-15 64 chain-3x3-64 64 chain-7x7-24 64 chain-3x3-48 128 layers-15 128
timeout 20 python3 benches/gpu/torch_step.py eager_last_bf16 chain-3x3-48 64
since end
