#!/usr/bin/env python3
"""What early stopping buys and costs, replayed on the learning curves of a finished run.

    python3 benches/early_stopping.py RUN [--children 8] [--orders 2000]

RUN is the directory of a search with early_stopping.rule = "off", best with controller.strategy = "random": its children are then a
sample of the space. They are put in random orders, in minibatches of --children, and pruned as `child/early_stopping` does: by thresholds
of the minibatches before. For each rule two numbers are printed, with the 95% interval over the orders:

- children an hour, as a multiple of those without a rule: the seconds of all epochs divided by those of the epochs that are trained;
- the loss of the best: how much lower the best metric of the completed children is than the best of all.

Both need no training, so a rule is tried on thousands of orders within a second; that rewards would steer another strategy than
"random" elsewhere is not in it. Only the standard library is needed.
"""

import argparse
import random
import sqlite3
import statistics
from pathlib import Path

RULES = {
    "median": ("median", 5, 0),
    "median, warmup_epochs = 2": ("median", 5, 2),
    "asha": ("asha", 1, 4),
    "asha, reduction_factor = 2": ("asha", 1, 2),
    "asha, min_resource = 3, reduction_factor = 2": ("asha", 3, 2),
}


def curves(run: Path) -> list[list[tuple[float, float]]]:
    """For each completed child: metric and seconds of each epoch, the first one first."""
    connection = sqlite3.connect(f"file:{run / 'search.db'}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT trial, epochs.metric, epochs.seconds FROM epochs JOIN trials ON trials.id = trial "
        "WHERE status = 'completed' AND reused_from IS NULL ORDER BY trial, epoch"
    )
    children: dict[int, list[tuple[float, float]]] = {}
    for trial, metric, seconds in rows:
        children.setdefault(trial, []).append((metric, seconds))
    return list(children.values())


def best_so_far(curve):
    best = []
    for metric, _ in curve:
        best.append(max(metric, best[-1]) if best else metric)
    return best


def thresholds(rule, known, epochs: int) -> dict[int, float]:
    """Epoch (from 1) to the metric that a child must have reached; `known` holds (curve, completed)."""
    kind, first, second = rule
    found = {}
    if kind == "median":
        completed = [curve for curve, whole in known if whole]
        if len(completed) >= first:
            for epoch in range(second + 1, epochs):
                found[epoch] = statistics.median(curve[epoch - 1][0] for curve in completed)
        return found
    rung = first
    while rung < epochs:
        reached = sorted((best_so_far(curve)[rung - 1] for curve, _ in known if len(curve) >= rung), reverse=True)
        best = len(reached) // second
        if best == 0:
            break
        found[rung] = reached[best - 1]
        rung *= second
    return found


def replay(rule, children, minibatch: int) -> tuple[float, float]:
    """Seconds of all epochs over those that are trained, and the loss of the best."""
    epochs = len(children[0])
    known, trained = [], 0.0
    for start in range(0, len(children), minibatch):
        wanted = thresholds(rule, known, epochs)
        ended = []
        for curve in children[start : start + minibatch]:
            best = best_so_far(curve)
            last = next((epoch for epoch, metric in sorted(wanted.items()) if best[epoch - 1] < metric), epochs)
            ended.append((curve[:last], last == epochs))
            trained += sum(seconds for _, seconds in curve[:last])
        known += ended
    whole = sum(seconds for curve in children for _, seconds in curve)
    best = max(best_so_far(curve)[-1] for curve in children)
    kept = max(best_so_far(curve)[-1] for curve, completed in known if completed)
    return whole / trained, best - kept


def interval(values) -> str:
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(share * len(values)))]
    return f"{statistics.mean(values):.3f} [{at(0.025):.3f}, {at(0.975):.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--children", type=int, default=8, help="of a minibatch (controller.children)")
    parser.add_argument("--orders", type=int, default=2000)
    arguments = parser.parse_args()
    children = curves(arguments.run)
    if not children:
        raise SystemExit(f"{arguments.run}: no completed child with epochs")
    children = [curve for curve in children if len(curve) == max(map(len, children))]
    best = max(best_so_far(curve)[-1] for curve in children)
    print(f"{len(children)} children of {len(children[0])} epochs; the best metric is {best:.4f}")
    stream = random.Random(1)
    for name, rule in RULES.items():
        found = [replay(rule, stream.sample(children, len(children)), arguments.children) for _ in range(arguments.orders)]
        kept = sum(loss == 0.0 for _, loss in found) / len(found)
        print(
            f"{name}: children an hour × {interval([gain for gain, _ in found])}; "
            f"loss of the best {interval([loss for _, loss in found])}; the best survives in {kept:.0%} of the orders"
        )


if __name__ == "__main__":
    main()
