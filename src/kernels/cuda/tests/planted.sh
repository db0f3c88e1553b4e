#!/usr/bin/env bash
# Plants bugs in copies of the kernels, one at a time; the audit on the emulator must find each.
# Arguments: names of bugs; none: all of them, in about eight minutes of one core.
cd "$(dirname "$0")/.."
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
missed=0

# name, file, what stands there, what stands there instead
plant() {
    [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]] || return
    rm -rf "$work/cuda"; cp -r . "$work/cuda"
    if ! FROM="$3" TO="$4" perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/ or die' "$work/cuda/$2"; then
        echo "$1: its place is not in $2"; missed=1; return
    fi
    if ! ${CXX:-c++} -O0 -std=c++17 -w "$work/cuda/tests/emulated.cpp" -o "$work/emulated" \
        2> "$work/errors"; then
        echo "$1: does not compile"; head -5 "$work/errors"; missed=1; return
    fi
    if timeout 300 "$work/emulated" "${NETWORKS:-12}" > "$work/log" 2>&1; then
        echo "$1: NOT FOUND"; missed=1
    else
        echo "$1: found ($(grep -m1 -E '^    |emulator' "$work/log" | sed 's/^ *//'))"
    fi
}
wanted=("$@")

plant missing-barrier conv.cuh $'wait_copies();\n                sync_block();' 'wait_copies();'
plant missing-wait conv.cuh $'wait_copies();\n                sync_block();' 'sync_block();'
plant weights-overwritten conv.cuh $'const int here = smaller(p.group, even - from);\n                sync_block();' 'const int here = smaller(p.group, even - from);'
plant patch-overwritten-by-epilogue conv.cuh $'begin_next_launch();\n    // All have read the last patch.\n    sync_block();' 'begin_next_launch();'
plant staged-too-late conv.cuh $'stage<NT, MT>(staged, sum);\n    sync_block();' 'stage<NT, MT>(staged, sum);'
plant swapped-matrices conv.cuh '(2 * step + lane / 8 % 2)' '(2 * step + (lane / 8 + 1) % 2)'
plant swapped-halves conv.cuh 'offsets[2 * step + lane / 16]' 'offsets[2 * step + 1 - lane / 16]'
plant lost-moment norm.cuh 'for (int group = 0; group < groups; group++) sum += sums' 'for (int group = 1; group < groups; group++) sum += sums'
plant lost-tile norm.cuh 'for (int first = group; first < tiles' 'for (int first = group; first < tiles - 1'
plant moment-of-what-was-not-stored conv.cuh $'            unpack(rounded, v);\n#pragma unroll\n            for (int j' $'#pragma unroll\n            for (int j'
plant counter-left-behind norm.cuh 'if (*flag) *counter = 0;' ''
plant tile-overwritten weight_gradient.cuh $'// All have read the tile before.\n        sync_block();' ''
plant tile-read-early weight_gradient.cuh $'group.columns);\n        sync_block();' 'group.columns);'
plant lost-split weight_gradient.cuh 'split = group; split < p.splits' 'split = group; split < p.splits - 1'
plant splits-before-barrier weight_gradient.cuh $'room[t] = sum;\n    sync_block();' 'room[t] = sum;'
plant swapped-pair weight_gradient.cuh '(u * WARPS + warp) * 2 + lane / 8 % 2' '(u * WARPS + warp) * 2 + (lane / 8 + 1) % 2'
plant strides-between patch.cuh 'inside = inside && y % v.dilation_height == 0;' ''
plant part-beyond-its-edge patch.cuh 'inside = inside && y < v.height && x < v.width;' 'inside = inside && x < v.width;'
plant biased-variance norm.cuh '(variance * n.count / (n.count - 1))' '(variance)'
plant no-mask conv.cuh 'if (!(slope[i] * y[i] + offset[i] > p.floor)) g[i] = 0;' ';'
plant last-of-equals windows.cuh 'else if (first || v[i] > result[i])' 'else if (first || v[i] >= result[i])'
plant divisor-of-whole-window windows.cuh 'result[i] /= count;' 'result[i] /= p.size * p.size;'
plant blur-not-transposed local_contrast.cuh '(transposed ? other : at) * window' 'at * window'
plant filter-not-turned plain.cuh '(GRADIENT ? taps - 1 - tap : tap)' 'tap'
plant no-nesterov update.cuh '(decayed + p.momentum * velocity)' 'velocity'
plant flipped-the-wrong-ones update.cuh 'crop.flip ? p.width - 1 - x0 : x0' 'crop.flip ? x0 : p.width - 1 - x0'
exit $missed
