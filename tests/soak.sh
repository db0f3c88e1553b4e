#!/usr/bin/env bash
# A long search at the paper's size (S = 20 shards, K = 100 controllers, m = 8) on a table, killed again and again: resident memory
# and speed over time, the seconds from each start to its first new trial, and at the end an empty queue and parameters that verify.
# Usage: tests/soak.sh NETWRIGHT RUN_DIR
# SOAK_TRIALS=1000000 trials, SOAK_KILLS=20 kills spread over them, SOAK_VERIFY=no leaves the replay of the whole log out.
# SOAK_STRATEGY=ppo and the like: another strategy than reinforce, on a table of two million rows, because it proposes no network twice.
set -euo pipefail
netwright=$1 run=$2
trials=${SOAK_TRIALS:-1000000} kills=${SOAK_KILLS:-20} strategy=${SOAK_STRATEGY:-reinforce}
log=$run.log samples=$run.samples
config=config/choices.toml
mkdir -p "$(dirname "$run")"
# Seven decisions of eight options; the nearer each is to its own best, the better, and a little that only chance knows.
large_table() {
    awk 'BEGIN {srand(1); print "a,b,c,d,e,f,g,reward"
        for (i = 0; i < 8 ^ 7; i++) {
            sum = 0; line = ""; rest = i
            for (d = 0; d < 7; d++) {o = rest % 8; rest = (rest - o) / 8; line = line o ","; sum += (o - (3 * d + 2) % 8) ^ 2}
            printf "%s%.4f\n", line, 0.9 - sum / 700 + 0.05 * rand()
        }}' > "$run.csv"
    {
        printf '[space]\nkind = "choices"\n'
        for name in a b c d e f g; do printf '[[space.decision]]\nname = "%s"\noptions = [0, 1, 2, 3, 4, 5, 6, 7]\n' "$name"; done
        printf '[child]\nevaluator = "table"\n[child.table]\npath = "%s"\nreward = ["reward"]\n' "$(realpath "$run.csv")"
    } > "$run.toml"
    config=$run.toml
}
[ "$strategy" = reinforce ] || large_table
: > "$log"
: > "$samples"
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true' EXIT

start() {
    begun=$(date +%s%N)
    offset=$(stat -c %s "$log")
    "$netwright" search "$config" "$@" --run-dir "$run" --set "run.trials=$trials" --set "controller.strategy=$strategy" --set controller.replicas=100 \
        --set controller.children=8 --set parameter_server.shards=20 --set telemetry.listen=off >> "$log" 2>&1 &
    pid=$!
}
# What this process has said of single trials: `2026-01-01T00:00:00Z trial 17 0.9 reward 0.9 in 3 s`.
spoken() { tail -c "+$((offset + 1))" "$log" | grep -aoE 'Z trial [0-9]+ ' || true; }
# Seconds from the start to the first new trial.
first_trial() {
    while ! spoken | grep -q .; do
        kill -0 "$pid" 2>/dev/null || { echo "the search has ended: see $log" >&2; exit 1; }
        sleep 0.02
    done
    awk -v begun="$begun" -v now="$(date +%s%N)" 'BEGIN {printf "%.2f", (now - begun) / 1e9}'
}
newest() { tail -c 4096 "$log" | grep -aoE 'Z trial [0-9]+ ' | tail -n 1 | grep -oE '[0-9]+' || echo 0; }
# One line: seconds, trials, trials a second since the line before, memory, threads.
sample() {
    local now rss threads reached
    now=$(date +%s%N) reached=$(newest)
    rss=$(awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status" 2>/dev/null || true)
    threads=$(awk '/^Threads/ {print $2}' "/proc/$pid/status" 2>/dev/null || true)
    awk -v now="$now" -v zero="$zero" -v last="$last_at" -v reached="$reached" -v before="$last_trial" -v rss="${rss:--}" \
        -v threads="${threads:--}" 'BEGIN {printf "%d %d %.0f %s %s\n", (now - zero) / 1e9, reached, (reached - before) / ((now - last) / 1e9), rss, threads}' |
        tee -a "$samples"
    last_at=$now last_trial=$reached
}

zero=$(date +%s%N)
start --fresh
echo "first trial after $(first_trial) s"
echo "seconds  trial  trials/s  resident_MB  threads"
slowest=0
for ((kill = 1; kill <= kills + 1; kill++)); do
    goal=$((trials * kill / (kills + 1)))
    last_at=$(date +%s%N) last_trial=$(newest)
    while kill -0 "$pid" 2>/dev/null && { [ "$kill" -gt "$kills" ] || [ "$(newest)" -lt "$goal" ]; }; do
        sleep 2
        sample
    done
    [ "$kill" -le "$kills" ] || break
    kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    start
    waited=$(first_trial)
    echo "kill $kill at trial $(newest): at work again after $waited s"
    slowest=$(awk -v a="$slowest" -v b="$waited" 'BEGIN {print (b > a) ? b : a}')
done
wait "$pid"
pid=
speed() { awk -v low="$1" -v high="$2" '$2 >= low && $2 <= high && $3 > 0 {sum += $3; n++} END {printf "%s", n ? int(sum / n) : "-"}' "$samples"; }
echo "trials/s at 100,000: $(speed 80000 120000); in the last tenth: $(speed $((trials * 9 / 10)) "$trials")"
echo "resident MB: $(awk '$4 ~ /^[0-9]+$/ && $4 > most {most = $4} END {print most + 0}' "$samples") at most; slowest start: $slowest s"
"$netwright" status "$run"
"$netwright" status "$run" --json | awk -v trials="$trials" -F'[:,]' '
    /"completed"|"failed"/ {ended += $2} /"queued"|"running"|"stopped"/ && !/\[/ {left += $2}
    END {if (ended != trials || left != 0) {print "NOT DRAINED: " ended " of " trials " ended, " left " left"; exit 1} print "drained: " ended " trials ended, none is left"}'
[ "${SOAK_VERIFY:-yes}" = no ] || "$netwright" verify "$run"
