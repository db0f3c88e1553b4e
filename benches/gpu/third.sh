#!/usr/bin/env bash
cd "$(dirname "$0")/../.."
since() { echo "== $1 ($(( $(date +%s) - begun )) s)"; }
begun=$(date +%s)
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
timeout 100 benches/gpu/build.sh /tmp/gpu-step || exit 1
step=/tmp/gpu-step/step
since time
for o in 0 1; do OVERLAP=$o timeout 30 $step time chain-3x3-48 64 chain-3x3-48 128 chain-3x3-64 64 chain-7x7-24 64 layers-15 64; done
since audit
timeout 30 $step audit ${AUDITS:-6} ${SEED:-100} 2>&1 | grep -vE "e-0|0.00e"
[ -z "$SANITIZE" ] || for tool in memcheck racecheck; do timeout 30 compute-sanitizer --tool $tool $step audit 1 48 2>&1 | tail -1; done
since profile
timeout 40 ncu --clock-control none --cache-control none --launch-skip 31 --launch-count 29 --metrics gpu__time_duration.sum,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,l1tex__data_bank_conflicts_pipe_lsu.sum,smsp__inst_executed.sum \
    --csv $step profile chain-3x3-48 64 > $OUT/ncu.csv 2>&1
timeout 40 ncu --clock-control none --cache-control none --launch-skip 32 --launch-count 12 --set full --import-source yes -k "regex:(conv_forward_6_2|conv_gradient_6_2|weight_gradient_6)" -o $OUT/full $step profile chain-3x3-48 64 > /dev/null 2>&1
ncu --import $OUT/full.ncu-rep --page source --csv > $OUT/source.csv 2>/dev/null
timeout 30 ncu --clock-control none --cache-control none --launch-skip 67 --launch-count 65 --metrics gpu__time_duration.sum,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active --csv $step profile layers-15 64 > $OUT/ncu15.csv 2>&1
since torch
[ -z "$TORCH" ] || timeout 150 python3 benches/gpu/torch_step.py $TORCH chain-3x3-48 64 layers-15 64
since end
