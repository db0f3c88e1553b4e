#!/usr/bin/env python3
"""NAS-Bench-Macro as a table for netwright: python3 benches/nas_bench_macro.py nas-bench-macro_cifar10.json OUT_DIR [SEEDS]

Writes OUT_DIR/nas-bench-macro.csv and .toml; with SEEDS also runs that many searches of 500 trials with each strategy, and prints
the mean test accuracy of the best trial of each. Needs the standard library alone, and target/release/netwright for the searches.
"""
import csv
import json
import pathlib
import statistics
import subprocess
import sys

OPTIONS = ["identity", "mb3_k3", "mb6_k5"]


def write(source, folder):
    """One row an architecture: eight choices, three accuracies (one is drawn for each trial), their mean as a report column."""
    folder.mkdir(parents=True, exist_ok=True)
    table, config = folder / "nas-bench-macro.csv", folder / "nas-bench-macro.toml"
    layers = [f"layer{index}" for index in range(1, 9)]
    with open(table, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*layers, "accuracy1", "accuracy2", "accuracy3", "mean_accuracy", "parameters", "flops"])
        for key, value in json.loads(source.read_text()).items():
            choices = [OPTIONS[int(digit)] for digit in key]
            rows.writerow([*choices, *value["test_acc"], value["mean_acc"], value["params"], value["flops"]])
    decisions = "".join(f'[[space.decision]]\nname = "{layer}"\noptions = {json.dumps(OPTIONS)}\n\n' for layer in layers)
    config.write_text(
        "# NAS-Bench-Macro: 6,561 networks for CIFAR-10 whose accuracies are known.\n"
        '[run]\nname = "nas-bench-macro"\ntrials = 500\n\n[space]\nkind = "choices"\n\n' + decisions +
        "[controller]\nchildren = 5\nlearning_rate = 0.02\nbaseline_decay = 0.9\n\n"
        '[child]\nevaluator = "table"\n\n[child.table]\n'
        f"path = {json.dumps(str(table))}\n"
        'reward = ["accuracy1", "accuracy2", "accuracy3"]\nreport = ["mean_accuracy", "parameters", "flops"]\n\n'
        '[telemetry]\nlisten = "off"\n')
    return table, config


def search(config, table, folder, strategy, seed):
    """The best trial's mean accuracy, looked up in the table by what `top --json` says of it."""
    run = folder / f"{strategy}-{seed}"
    binary = pathlib.Path(__file__).parent.parent / "target/release/netwright"
    settings = ["--set", f"run.seed={seed}", "--set", f"controller.strategy={strategy}"]
    subprocess.run([binary, "search", config, "--run-dir", run, "--fresh", *settings], check=True, stdout=subprocess.DEVNULL)
    best = json.loads(subprocess.run([binary, "top", run, "-n", "1", "--json"], check=True, capture_output=True).stdout)[0]
    values = best["architecture"]["values"]
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            if all(row[name] == value for name, value in values.items()):
                return float(row["mean_accuracy"])
    raise SystemExit(f"no row for {values}")


def main():
    source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    table, config = write(source, folder)
    print(f"wrote {table} and {config}")
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    for strategy in ["reinforce", "random"] if seeds else []:
        found = [search(config, table, folder, strategy, seed) for seed in range(1, seeds + 1)]
        print(f"{strategy}: mean test accuracy of the best of 500 trials over {seeds} seeds: {statistics.mean(found):.3f} "
              f"(standard deviation {statistics.pstdev(found):.3f}, {' '.join(f'{value:.2f}' for value in found)})")


main()
