"""Runs `benches/cells.rs` and the same cells in PyTorch in turn, several pairs, and prints medians of processor time and ratios.

    python benches/peers/cells.py [--pairs 5] [--seconds 1] [--name CELL]... [--compile] [--ours PATH]

One training step of a stack of two layers, hidden 200, batch 20, 35 steps, one thread: forward, backward to the weights and to x.
PyTorch's cells are written as one would for speed: all products W x of the sequence at once, all R h of a step at once, then the
element-wise operations; the LSTM, GRU and plain RNN are `nn.LSTM`, `nn.GRU` and `nn.RNN`. Needs PyTorch in the Python that runs it,
and cargo (or `--ours`, the bench's binary)."""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
HIDDEN, BATCH, STEPS, LAYERS = 200, 20, 35, 2

JOIN = {"add": torch.add, "elem_mult": torch.mul, "max": torch.maximum}
APPLY = {"identity": lambda a: a, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu, "sin": torch.sin}


class Tree(nn.Module):
    """One layer of a tree cell (the rules stand in src/space/cell_network.rs)."""

    def __init__(self, cell):
        super().__init__()
        self.nodes = [(JOIN[node["combination"]], APPLY[node["activation"]]) for node in cell["nodes"]]
        self.inject = JOIN[cell["inject"]["combination"]], APPLY[cell["inject"]["activation"]]
        self.cell_index, self.inject_index = cell["cell_index"], cell["inject_index"]
        self.base = (len(self.nodes) + 1) // 2
        self.w = nn.Parameter(torch.empty(self.base * HIDDEN, HIDDEN).uniform_(-0.05, 0.05))
        self.r = nn.Parameter(torch.empty(self.base * HIDDEN, HIDDEN).uniform_(-0.05, 0.05))

    def step(self, x, h, c):
        x, h = x.chunk(self.base, -1), nn.functional.linear(h, self.r).chunk(self.base, -1)
        outputs = []
        for index, (join, apply) in enumerate(self.nodes):
            place = 2 * (index - self.base)
            joined = join(x[index], h[index]) if place < 0 else join(outputs[place], outputs[place + 1])
            if index == self.cell_index:
                new_c = joined
            output = apply(joined)
            if index == self.inject_index:
                output = self.inject[1](self.inject[0](output, c))
            outputs.append(output)
        return outputs[-1], new_c

    def forward(self, x):
        h = c = x.new_zeros(BATCH, HIDDEN)
        outputs = []
        for x in nn.functional.linear(x, self.w).unbind(0):
            h, c = self.step(x, h, c)
            outputs.append(h)
        return torch.stack(outputs)


class Stack(nn.Module):
    def __init__(self, cell):
        super().__init__()
        reference = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}.get(cell.get("reference"))
        self.reference = reference and reference(HIDDEN, HIDDEN, LAYERS)
        self.layers = nn.ModuleList() if reference else nn.ModuleList(Tree(cell) for _ in range(LAYERS))

    def forward(self, x):
        if self.reference:
            return self.reference(x)[0]
        for layer in self.layers:
            x = layer(x)
        return x


def stepper(cell, compiled):
    torch.manual_seed(1)
    model = Stack(cell)
    run = torch.compile(model) if compiled else model
    x = (torch.rand(STEPS, BATCH, HIDDEN) - 0.5).requires_grad_()
    d_out = (torch.rand(STEPS, BATCH, HIDDEN) - 0.5) * 0.01

    def step():
        x.grad = None
        for parameter in model.parameters():
            parameter.grad = None
        run(x).backward(d_out)

    return step


def measured(step, seconds):
    """Median milliseconds of the processor."""
    step()
    times, start = [], time.monotonic()
    while len(times) < 5 or time.monotonic() - start < seconds:
        before = time.process_time()
        step()
        times.append(1e3 * (time.process_time() - before))
    return statistics.median(times)


def ours(command, name, seconds):
    output = subprocess.run([*command, "--name", name, "--seconds", str(seconds)], check=True, capture_output=True, text=True).stdout
    return json.loads(next(line for line in output.splitlines() if line.startswith("{")))["step_cpu"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--name", action="append")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well (minutes for each cell)")
    parser.add_argument("--ours", help="the bench's binary, if it is built")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    command = [arguments.ours] if arguments.ours else ["cargo", "bench", "--quiet", "--profile", "release", "--bench", "cells", "--"]
    cells = json.loads((HERE / "cells.json").read_text())
    print(f"PyTorch {torch.__version__}; milliseconds of the processor for one step, medians of {arguments.pairs} pairs, with the range")
    print(f"{'cell':12} {'ours':>22} {'eager':>22} {'eager/ours':>11}" + (f" {'compiled':>22} {'compiled/ours':>14}" if arguments.compile else ""))
    for cell in cells:
        name = cell["name"]
        if name not in (arguments.name or [name]):
            continue
        rivals = {"eager": stepper(cell, False)}
        if arguments.compile and "reference" not in cell:
            rivals["compiled"] = stepper(cell, True)
        runs = {"ours": [], **{rival: [] for rival in rivals}}
        for _ in range(arguments.pairs):
            runs["ours"].append(ours(command, name, arguments.seconds))
            for rival, step in rivals.items():
                runs[rival].append(measured(step, arguments.seconds))
        middle = {who: statistics.median(times) for who, times in runs.items()}
        row = f"{name:12}"
        for who, times in runs.items():
            row += f" {middle[who]:8.1f} ({min(times):.1f}-{max(times):.1f})".ljust(23)
            row += "" if who == "ours" else f" {middle[who] / middle['ours']:10.2f}×"
        print(row, flush=True)


main()
