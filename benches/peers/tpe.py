"""Optuna's TPE on the problems of benches/strategies, as a strategy beside ours: the same instances, the same noise, the same trials in
flight. The bench says what is decided next and what a finished list is worth; the rows go to a CSV file that the bench reads.

    cargo bench --no-run --bench strategies          prints the bench's path
    python benches/peers/tpe.py --bench target/release/deps/strategies-… --results tpe.csv [--seeds 50] [--trials 200]
        [--flight 8] [--problems macro,nk] [--macro nas-bench-macro_cifar10.json] [--tables FOLDER]
    cargo bench --bench strategies -- --seeds 0 --results ours.csv,tpe.csv

Words are categorical, and so are two options; three numbers or more are an integer, the number's rank: TPE knows their order, as `guided`
does. `--categorical` makes them categorical too (`tpe-categorical`). Sampler: its defaults, a fixed seed for each search, and with several
trials in flight `constant_liar`, which Optuna advises then. It may be interrupted and goes on."""

import argparse
import json
import subprocess
from pathlib import Path

import optuna

CHECKPOINTS = (50, 100, 200, 500)


class Problems:
    """The bench, as it is asked."""

    def __init__(self, arguments):
        words = [arguments.bench, "--serve"]
        for name in ("macro", "tables"):
            if getattr(arguments, name):
                words += [f"--{name}", getattr(arguments, name)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the bench has ended")
        return json.loads(answer)


def decided(trial, answer, categorical):
    """The decision that a trial takes."""
    if "connect" in answer:
        return [trial.suggest_categorical(f"{answer['connect']} {earlier}", (0, 1)) for earlier in range(answer["earlier"])]
    name, numbers = answer["choose"], answer["numbers"]
    if categorical or len(numbers) < 3 or None in numbers:
        return trial.suggest_categorical(name, tuple(range(answer["options"])))
    ascending = sorted(range(len(numbers)), key=numbers.__getitem__)
    return ascending[trial.suggest_int(name, 0, len(numbers) - 1)]


def search(problems, problem, seed, arguments):
    """(trials, regret, regret of the best that was tried) at each checkpoint."""
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=arguments.flight > 1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    best, found, tried, rows = float("-inf"), None, float("-inf"), []
    for first in range(0, arguments.trials, arguments.flight):
        flight = []
        for number in range(first, min(first + arguments.flight, arguments.trials)):
            trial, decisions = study.ask(), []
            question = {"problem": problem, "seed": seed, "children": arguments.flight, "trial": number}
            while "reward" not in (answer := problems.ask(list=decisions, **question)):
                decisions.append(decided(trial, answer, arguments.categorical))
            flight.append((trial, answer))
        for count, (trial, answer) in enumerate(flight, first + 1):
            study.tell(trial, answer["reward"])
            if answer["reward"] > best:
                best, found = answer["reward"], answer["value"]
            tried = max(tried, answer["value"])
            if count in CHECKPOINTS:
                rows.append((count, answer["optimum"] - found, answer["optimum"] - tried))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--problems", default="nk,noisy-nk,numbers,conditional,conv,cell")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--flight", type=int, default=8)
    parser.add_argument("--categorical", action="store_true")
    parser.add_argument("--macro")
    parser.add_argument("--tables")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = "tpe-categorical" if arguments.categorical else "tpe"
    last = max(count for count in CHECKPOINTS if count <= arguments.trials)
    lines = arguments.results.read_text().splitlines() if arguments.results.exists() else []
    known = {tuple(line.split(",")[:5]) for line in lines}
    problems = Problems(arguments)
    with arguments.results.open("a") as file:
        for seed in range(1, arguments.seeds + 1):
            for problem in arguments.problems.split(","):
                if (problem, str(arguments.flight), name, str(seed), str(last)) in known:
                    continue
                rows = search(problems, problem, seed, arguments)
                start = f"{problem},{arguments.flight},{name},{seed}"
                file.write("".join(f"{start},{count},{regret:.6f},{tried:.6f}\n" for count, regret, tried in rows))
                file.flush()


if __name__ == "__main__":
    main()
