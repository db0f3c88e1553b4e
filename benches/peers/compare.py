"""Puts `benches/conv.rs` beside its PyTorch twin and prints tables in markdown: `make bench-peers`.

Both sides of an architecture stand ready as processes of their own and are asked in turn, so that whatever else the machine does
meets both. Needs PyTorch in the Python that runs it, and cargo. On a machine with other work, `--time cpu` compares the
processor's time, which other processes' turns do not count in (one thread only)."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# What is measured where no list is named: networks of the paper's space, and those that searches of the shipped configs begin with.
LISTS = [HERE / f"{name}.json" for name in ("architectures", "quickstart", "cifar10", "cifar10-v1", "cifar10-v2", "cifar10-v3")]
VARIANTS = ["nchw", "channels_last", "compile", "compile_channels_last"]


class Side:
    """One process that measures when it is asked; None if it cannot (torch.compile without a C++ compiler, say)."""

    def __init__(self, command):
        # Whatever would hold the peer back: another architecture for OpenBLAS, a number of threads of OpenMP's own.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "OMP_", "MKL_", "KMP_", "GOMP_", "ONEDNN_", "DNNL_"))}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(log := tempfile.TemporaryFile("w+")), text=True, env=environment
        )
        self.log = log

    def complaint(self):
        """The last line that it wrote to standard error."""
        self.process.wait()
        self.log.seek(0)
        return (self.log.read().strip().splitlines() or ["no word of why"])[-1]

    def ready(self):
        return self.line() is not None

    def line(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        return None

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answer = self.line()
        if answer is None:
            sys.exit(f"{' '.join(self.process.args)}: ended while it measured {what}: {self.complaint()}")
        return answer

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def start(arguments, path, name, threads, described):
    """Our process and one for each variant; they warm up (and compile) side by side."""
    common = ["--name", name, "--threads", str(threads), "--seconds", str(arguments.seconds)]
    ours = [arguments.ours, "--serve", "--list", str(path), *common]
    theirs = [sys.executable, str(HERE / "convnet.py"), "--described", described, *common]
    return {side: Side(ours if side == "ours" else [*theirs, "--variant", side]) for side in ["ours", *arguments.variants]}


def working(name, started):
    """Those that are ready once all have warmed up."""
    ready = {}
    for side, process in started.items():
        if process.ready():
            ready[side] = process
        else:
            print(f"{name}: {side} does not work here: {process.complaint()}", file=sys.stderr)
    if "ours" not in ready or len(ready) < 2:
        sys.exit(f"{name}: nothing to compare")
    return ready


def compare(arguments, started):
    """Medians of one architecture: {what: {side: number}}."""
    seen = {what: {side: [] for side in started} for what in ("step", "evaluation")}
    batches = []
    for _ in range(arguments.pairs):
        for what, times in seen.items():
            for side, process in started.items():
                times[side].append(process.ask(what)[arguments.time])
        batches.append(started["ours"].ask("batch")[arguments.time])
    medians = {what: {side: statistics.median(v) for side, v in times.items()} for what, times in seen.items()}
    mine = started["ours"].ask("memory")
    medians["MiB"] = {side: (mine if side == "ours" else process.ask("memory"))["mib"] for side, process in started.items()}
    medians["batch"], medians["flops"], medians["isa"] = statistics.median(batches), mine["flops"], mine["isa"]
    for process in started.values():
        process.end()
    return medians


def best(times):
    """The fastest of PyTorch's variants."""
    return min((t, side) for side, t in times.items() if side != "ours")


def table(arguments, title, threads, results):
    sides = ["ours", *arguments.variants]
    print(f"\n### {title}, {threads} thread{'s' if threads > 1 else ''}\n")
    head = ["architecture", *(f"step {s}, ms" for s in sides), "ratio", *(f"eval. {s}" for s in sides), "ratio", "MiB ours", "MiB PyTorch", "ratio", "GFLOP/s", "batch"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    ratios = {"step": [], "evaluation": [], "MiB": []}
    for name, r in results.items():
        cells = [name]
        for what in ("step", "evaluation"):
            ratio = best(r[what])[0] / r[what]["ours"]
            ratios[what].append(ratio)
            cells += [f"{r[what][s]:.1f}" if s in r[what] else "-" for s in sides] + [f"**{ratio:.2f}**"]
        least, _ = best(r["MiB"])
        ratios["MiB"].append(r["MiB"]["ours"] / least)
        share = 100 * r["batch"] / r["step"]["ours"]
        cells += [f"{r['MiB']['ours']:.0f}", f"{least:.0f}", f"**{ratios['MiB'][-1]:.2f}**", f"{3 * r['flops'] / r['step']['ours'] / 1e6:.0f}", f"{share:.1f}%"]
        print("| " + " | ".join(cells) + " |")
    print(f"\nStep: median {statistics.median(ratios['step']):.2f}x of PyTorch's best, least {min(ratios['step']):.2f}x. "
          f"Evaluation: median {statistics.median(ratios['evaluation']):.2f}x, least {min(ratios['evaluation']):.2f}x. "
          f"Working memory: median {statistics.median(ratios['MiB']):.2f} of PyTorch's least, most {max(ratios['MiB']):.2f}.", flush=True)


def lanes(arguments, path, names):
    """Two lanes of one thread beside one such lane and one of two threads; batches are prepared as in a search."""
    print("\n### Lanes (images a second, batches prepared as in a search)\n")
    print("| architecture | one lane, 1 thread | two lanes, 1 thread each | ratio, median of the rounds | one lane, 2 threads |\n|---|---|---|---|---|")
    for name in names:
        side = Side([arguments.ours, "--serve", "--list", str(path), "--name", name, "--seconds", str(max(2.0, arguments.seconds))])
        side.line()
        seen = {what: [] for what in ("lane", "lanes", "wide")}
        for _ in range(arguments.pairs):
            for what, values in seen.items():
                values.append(side.ask(what)["images"])
        side.end()
        one, two, wide = (statistics.median(v) for v in seen.values())
        ratio = statistics.median(b / a for a, b in zip(seen["lane"], seen["lanes"]))
        print(f"| {name} | {one:.0f} | {two:.0f} | **{ratio:.2f}** | {wide:.0f} |", flush=True)


def machine():
    """What the numbers depend on."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    field = lambda key: next((l.split(":", 1)[1].strip() for l in text.splitlines() if l.startswith(key)), "")
    sets = ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile")
    flags = [s for s in sets if s in field("flags").split()]
    torch = subprocess.run([sys.executable, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{field('model name') or platform.processor()}, {os.cpu_count()} cores; instruction sets: {', '.join(flags)}; PyTorch {torch}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, action="append", help="architectures: decisions, or their JSON (default: all lists beside this file)")
    parser.add_argument("--quick", action="store_true", help="two networks of each config's list, ten in all, on one thread")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", help="numbers of threads (default: 1,2; with --quick 1)")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement, at least")
    parser.add_argument("--name", action="append", help="only these architectures")
    parser.add_argument("--variants", default="nchw,channels_last,compile")
    parser.add_argument("--time", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--no-lanes", action="store_true")
    arguments = parser.parse_args()
    arguments.variants = arguments.variants.split(",")
    if unknown := set(arguments.variants) - set(VARIANTS):
        parser.error(f"--variants: {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    build = ["cargo", "bench", "--locked", "--profile", "release", "--bench", "conv", "--no-run", "--message-format", "json"]
    built = subprocess.run(build, check=True, capture_output=True, text=True, cwd=HERE).stdout
    arguments.ours = next(m["executable"] for m in map(json.loads, built.splitlines()) if m.get("executable") and m["target"]["name"] == "conv")
    arguments.threads = arguments.threads or ("1" if arguments.quick else "1,2")
    lists = arguments.list or (LISTS[1:] if arguments.quick else LISTS)
    print(f"{machine()}. Medians of {arguments.pairs} interleaved pairs, batch 64, {arguments.time} time.", flush=True)
    measured = [name for path in lists for name in measure(arguments, path)]
    if not measured:
        sys.exit("no architecture of the lists has one of these names")
    if not (arguments.no_lanes or arguments.quick):
        lanes(arguments, lists[0], [e["name"] for e in described(arguments, lists[0])][:3])


def described(arguments, path):
    """The architectures of a list that were asked for, in full."""
    names = [e["name"] for e in json.loads(path.read_text()) if not arguments.name or e["name"] in arguments.name]
    names = names[:2] if arguments.quick else names
    words = [word for name in names for word in ("--name", name)]
    text = subprocess.run([arguments.ours, "--describe", "--list", str(path), *words], check=True, capture_output=True, text=True).stdout
    return json.loads(text) if names else []


def measure(arguments, path):
    """One list, and its tables; the names of what was measured."""
    entries = described(arguments, path)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(entries, file)
        file.flush()
        names = [entry["name"] for entry in entries]
        results = {threads: {} for threads in map(int, arguments.threads.split(","))}
        for name in names:
            started = {threads: start(arguments, path, name, threads, file.name) for threads in results}
            ready = {threads: working(name, processes) for threads, processes in started.items()}
            for threads, processes in ready.items():
                r = results[threads][name] = compare(arguments, processes)
                step, evaluation = (best(r[what])[0] / r[what]["ours"] for what in ("step", "evaluation"))
                print(f"{name}, {threads} thread(s): step {step:.2f}x, evaluation {evaluation:.2f}x", file=sys.stderr, flush=True)
        for threads, seen in results.items():
            if seen:
                table(arguments, path.stem, threads, seen)
    return names


if __name__ == "__main__":
    main()
