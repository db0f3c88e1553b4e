#!/usr/bin/env bash
# A long search at the paper's size (S = 20 shards, K = 100 controllers, m = 8) on a table: resident memory over time, and at the end
# an empty queue and parameters that verify. Usage: tests/soak.sh NETWRIGHT RUN_DIR [TRIALS]
set -euo pipefail
netwright=$1 run=$2 trials=${3:-200000}
"$netwright" search config/choices.toml --fresh --run-dir "$run" --set "run.trials=$trials" --set controller.strategy=reinforce --set controller.replicas=100 \
    --set controller.children=8 --set parameter_server.shards=20 --set telemetry.listen=off > "$run.log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true' EXIT
echo "seconds  finished  resident_MB  threads"
started=$SECONDS
while kill -0 "$pid" 2>/dev/null; do
    rss=$(awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status" 2>/dev/null || true)
    threads=$(awk '/^Threads/ {print $2}' "/proc/$pid/status" 2>/dev/null || true)
    finished=$("$netwright" status "$run" --json 2>/dev/null | awk -F'[:,]' '/"completed"/ {print $2 + 0}' || true)
    echo "$((SECONDS - started)) ${finished:-0} ${rss:--} ${threads:--}"
    sleep 10
done
trap - EXIT
wait "$pid"
"$netwright" status "$run"
"$netwright" status "$run" --json | awk -v trials="$trials" -F'[:,]' '
    /"completed"|"failed"/ {ended += $2} /"queued"|"running"|"stopped"/ && !/\[/ {left += $2}
    END {if (ended != trials || left != 0) {print "NOT DRAINED: " ended " of " trials " ended, " left " left"; exit 1} print "drained: " ended " trials ended, none is left"}'
"$netwright" verify "$run"
