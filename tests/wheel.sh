#!/usr/bin/env bash
# Installs a wheel into a fresh virtual environment and runs a short quickstart search with its binary: tests/wheel.sh WHEEL
set -euo pipefail
wheel=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-index "$wheel"
netwright=venv/bin/netwright
"$netwright" --version
"$netwright" init quickstart
"$netwright" search netwright.toml --set run.trials=2 --set controller.children=2 --set child.epochs=1 --set data.train_size=500 \
    --set data.validation_size=200 --set telemetry.listen=off
trials=$("$netwright" top runs/quickstart --json | grep -o '"status": *"completed"' | wc -l)
[ "$trials" = 2 ] || { echo "2 completed trials expected, $trials found" >&2; exit 1; }
venv/bin/pip uninstall --quiet --yes netwright
[ ! -e venv/bin/netwright ] || { echo "pip left the program behind" >&2; exit 1; }
echo "the wheel installs and searches"
