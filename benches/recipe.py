#!/usr/bin/env python3
"""Short trainings by each recipe, and how well they rank networks: python3 benches/recipe.py CIFAR_DIR OUT_DIR [--networks 30] …

The same networks, as `strategy = "random"` draws them from the space of config/cifar10.toml, are trained for a few epochs by the
paper's recipe, by today's quick config and by `child.recipe = "fast"`, and for long by the last two. Printed: validation accuracy and
seconds of a child, and Kendall's tau between each short ranking and the long one (the mean of both long accuracies, so that no
recipe is favoured), with 95% intervals over resampled networks. Runs that are there are gone on with, so it may be interrupted. Needs
the standard library and netwright; one lane of one thread unless --lanes says otherwise.
"""
import argparse
import json
import pathlib
import random
import statistics
import subprocess

HERE = pathlib.Path(__file__).parent.parent
# What config/cifar10.toml had before there was a recipe, and the paper's own.
QUICK = {"recipe": "paper", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0001, "schedule": "cosine"}
RECIPES = {"paper": QUICK | {"schedule": "constant"}, "cosine": QUICK, "fast": {"recipe": "fast"}}


def config(options):
    """config/cifar10.toml without the keys that a recipe sets."""
    lines = (HERE / "config/cifar10.toml").read_text().splitlines()
    keys = [f"{key} = " for key in QUICK]
    path = options.out / "recipe.toml"
    path.write_text("\n".join(line for line in lines if not any(line.startswith(key) for key in keys)) + "\n")
    return path


def train(options, name, epochs):
    """Accuracy and seconds of each network, by trial."""
    run = options.out / f"{name.replace('=', '-').replace(' ', '_')}-{epochs}"
    recipe, *more = name.split()
    child = RECIPES[recipe] | {"epochs": epochs} | dict(pair.split("=") for pair in more)
    keys = {f"child.{key}": value for key, value in child.items()} | {
        "run.seed": options.seed, "run.trials": options.networks, "controller.strategy": "random", "telemetry.listen": "off",
        "data.path": options.data, "data.train_size": options.train, "data.validation_size": options.validation,
        "devices.use": '["cpu"]', "devices.lanes_per_device": options.lanes, "devices.threads_per_lane": 1}
    arguments = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    binary = options.netwright
    subprocess.run([binary, "search", config(options), "--run-dir", run, *arguments], check=True, stdout=subprocess.DEVNULL)
    top = subprocess.run([binary, "top", run, "-n", str(options.networks), "--json"], check=True, capture_output=True).stdout
    return {row["id"]: (row["metric"], row["seconds"]) for row in json.loads(top) if row["status"] == "completed"}


def tau(a, b):
    """Kendall's tau-b of two lists."""
    sign = lambda x, y: (x > y) - (x < y)
    pairs = [(sign(a[i], a[j]), sign(b[i], b[j])) for i in range(len(a)) for j in range(i)]
    untied = [sum(pair[side] != 0 for pair in pairs) for side in (0, 1)]
    return sum(x * y for x, y in pairs) / (untied[0] * untied[1]) ** 0.5 if all(untied) else 0.0


def interval(trials, statistic):
    """The statistic, and its 95% interval by the percentile bootstrap over networks."""
    stream = random.Random(1)
    drawn = sorted(statistic([stream.choice(trials) for _ in trials]) for _ in range(1000))
    return f"{statistic(trials):.3f} ({drawn[25]:.3f} to {drawn[974]:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of CIFAR-10's binary files")
    parser.add_argument("out", type=pathlib.Path)
    for name, default in [("networks", 30), ("short", 6), ("long", 50), ("train", 45000), ("validation", 5000), ("seed", 1), ("lanes", 1)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--also", nargs="*", default=[], help="more short trainings: a recipe and keys, as \"fast label_smoothing=0.0\"")
    parser.add_argument("--only-short", action="store_true", help="no ranking")
    parser.add_argument("--netwright", type=pathlib.Path, default=HERE / "target/release/netwright")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    short = {name: train(options, name, options.short) for name in [*RECIPES, *options.also]}
    long = {} if options.only_short else {name: train(options, name, options.long) for name in ["cosine", "fast"]}
    trials = sorted(set.intersection(*(set(run) for run in [*short.values(), *long.values()])))
    print(f"{len(trials)} networks, {options.short} epochs of {options.train} images; the long ranking: {options.long} epochs\n")
    print("| recipe | accuracy | minus cosine | seconds | tau with the long ranking | minus cosine |\n|---|---|---|---|---|---|")
    accuracy = lambda run, of: [run[trial][0] for trial in of]
    mean = lambda run: lambda of: statistics.mean(accuracy(run, of))
    reference = lambda of: [statistics.mean(run[trial][0] for run in long.values()) for trial in of]
    agreement = lambda run: lambda of: tau(accuracy(run, of), reference(of)) if long else float("nan")
    base = short["cosine"]
    for name, run in [*short.items(), *((f"{name}, long", run) for name, run in long.items())]:
        seconds = statistics.mean(run[trial][1] for trial in trials)
        cells = [interval(trials, mean(run)), interval(trials, lambda of: mean(run)(of) - mean(base)(of)), f"{seconds:.1f}",
                 interval(trials, agreement(run)), interval(trials, lambda of: agreement(run)(of) - agreement(base)(of))]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
