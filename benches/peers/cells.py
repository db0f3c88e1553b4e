"""Runs `benches/cells.rs`, `benches/language.rs` and the same work in PyTorch in turn, and prints medians of several pairs.

    python benches/peers/cells.py [--pairs 5] [--seconds 1] [--name NAME]... [--compile] [--ours PATH] [--ours-model PATH]

One training step of a stack of two layers, hidden 200, batch 20, 35 steps, one thread: forward, backward to the weights and to x.
PyTorch's cells are written as one would for speed: all products W x of the sequence at once, all R h of a step at once, then the
element-wise operations; the LSTM, GRU and plain RNN are `nn.LSTM`, `nn.GRU` and `nn.RNN`. `model-CELL` is the whole step of a language
model: embedding, the stack, softmax over 10,000 words, clipping and the update; PyTorch's stands in `language.py`. Working memory is
the peak during steps over what was resident before the network was made. Needs PyTorch in the Python that runs it, and cargo (or
`--ours` and `--ours-model`, the benches' binaries)."""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import language
from compare import Side, machine
from convnet import forget_peak, measure, resident

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


def cell_step(cell, compiled):
    """One training step of a stack, ready to be called."""
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


def model_step(cell, compiled):
    """The same of a language model."""
    return language.stepper(language.options(["step", "--cell", cell, *(["--compile"] if compiled else [])]))


def answer(arguments):
    """Prints a measurement for each line that it reads: this process is PyTorch's side of one name."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    # What PyTorch loads with its first products is no working memory.
    nn.Linear(64, 64)(torch.rand(64, 64)).sum().backward()
    forget_peak()
    before = resident("VmRSS")
    if arguments.answer.startswith(MODEL):
        step = model_step(arguments.answer.removeprefix(MODEL), arguments.compile)
    else:
        step = cell_step(next(cell for cell in listed() if cell["name"] == arguments.answer), arguments.compile)
    step(), step()
    memory = resident("VmHWM") - before
    print(json.dumps({"ready": arguments.answer}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"step_cpu": measure(arguments.seconds, step)["cpu"], "mib": memory}), flush=True)


MODEL = "model-"
MODELS = [MODEL + cell for cell in ("lstm", "nascell")]


def listed():
    return json.loads((HERE / "cells.json").read_text())


def rivals(arguments, name):
    """A process for each variant of PyTorch."""
    wanted = ["eager"] if name in ("lstm", "gru", "rnn") else variants(arguments)
    command = [sys.executable, __file__, "--answer", name, "--seconds", str(arguments.seconds)]
    return {variant: Side([*command, *(["--compile"] if variant == "compile" else [])]) for variant in wanted}


def ours(arguments, name):
    bench = arguments.ours_model if name.startswith(MODEL) else arguments.ours
    command = [bench, "--name", name.removeprefix(MODEL), "--seconds", str(arguments.seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return next(line for line in lines if line["name"] == name.removeprefix(MODEL))


def compare(arguments, name):
    """One row of the table."""
    started = rivals(arguments, name)
    for variant in list(started):
        if not started[variant].ready():
            print(f"{name}: {variant} does not work here: {started.pop(variant).complaint()}", file=sys.stderr)
    runs = {"ours": [], **{variant: [] for variant in started}}
    for _ in range(arguments.pairs):
        runs["ours"].append(ours(arguments, name))
        for variant, side in started.items():
            runs[variant].append(side.ask("step"))
    for side in started.values():
        side.end()
    times = {who: [run["step_cpu"] for run in seen] for who, seen in runs.items()}
    middle = {who: statistics.median(seen) for who, seen in times.items()}
    sides = ["ours", *variants(arguments)]
    cell = lambda who, text: text(who) if who in runs else "-"
    columns = [cell(who, lambda w: f"{middle[w]:.1f} ({min(times[w]):.1f}-{max(times[w]):.1f})") for who in sides]
    columns += [cell(who, lambda w: f"{middle[w] / middle['ours']:.2f}") for who in sides[1:]]
    columns += [cell(who, lambda w: f"{max(run['mib'] for run in runs[w]):.0f}") for who in sides]
    return [name, *columns, f"{statistics.median(run['gflops'] for run in runs['ours']):.0f}"]


def variants(arguments):
    return ["eager", "compile"] if arguments.compile else ["eager"]


def built(bench):
    build = ["cargo", "bench", "--locked", "--profile", "release", "--bench", bench, "--no-run", "--message-format", "json"]
    output = subprocess.run(build, check=True, capture_output=True, text=True, cwd=HERE).stdout
    return next(m["executable"] for m in map(json.loads, output.splitlines()) if m.get("executable") and m["target"]["name"] == bench)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--name", action="append", help=f"of cells.json, or {' or '.join(MODELS)}")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well (minutes for each cell)")
    parser.add_argument("--ours", help="the binary of the bench cells, if it is built")
    parser.add_argument("--ours-model", help="the binary of the bench language, if it is built")
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        return answer(arguments)
    names = [cell["name"] for cell in listed()] + MODELS
    names = [name for name in names if name in (arguments.name or names)]
    if any(not name.startswith(MODEL) for name in names):
        arguments.ours = arguments.ours or built("cells")
    if any(name.startswith(MODEL) for name in names):
        arguments.ours_model = arguments.ours_model or built("language")
        output = subprocess.run([arguments.ours_model, "--name", "none"], check=True, capture_output=True, text=True).stdout
        print(f"Peak of a core: {json.loads(output)['gflops']:.0f} GFLOP/s. ", end="")
    print(f"{machine()}. Milliseconds of the processor for one step, medians of {arguments.pairs} interleaved pairs, with the range.\n")
    theirs = variants(arguments)
    head = ["cell", "ours", *theirs, *(f"{v}/ours" for v in theirs), "MiB ours", *(f"MiB {v}" for v in theirs), "GFLOP/s ours"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head), flush=True)
    for name in names:
        print("| " + " | ".join(compare(arguments, name)) + " |", flush=True)


if __name__ == "__main__":
    main()
