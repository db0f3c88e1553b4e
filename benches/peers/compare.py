"""Runs `benches/conv.rs` and its PyTorch twin in turn, several pairs, and prints medians and ratios.

    python benches/peers/compare.py [--pairs 5] [--threads 1] [--seconds 1] [--name NETWORK]... [--variants nchw,channels_last]

Needs PyTorch in the Python that runs it, and cargo. On a machine with other work, `--time cpu` compares the processor's time,
which other processes' turns do not count in (one thread only)."""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def lines(command, names):
    """One process a network, so that each has its own peak of memory."""
    rows = {}
    for name in names:
        output = subprocess.run([*command, "--name", name], check=True, capture_output=True, text=True).stdout
        rows |= {row["name"]: row for row in (json.loads(line) for line in output.splitlines() if line.startswith("{"))}
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--name", action="append")
    parser.add_argument("--variants", default="nchw,channels_last")
    parser.add_argument("--time", choices=["wall", "cpu"], default="wall")
    arguments = parser.parse_args()
    variants = arguments.variants.split(",")
    common = ["--threads", str(arguments.threads), "--seconds", str(arguments.seconds)]
    networks = str(HERE / "networks.json")
    names = [network["name"] for network in json.loads(Path(networks).read_text()) if network["name"] in (arguments.name or [network["name"]])]
    ours = ["cargo", "bench", "--quiet", "--profile", "release", "--bench", "conv", "--", "--networks", networks, *common]
    theirs = [sys.executable, str(HERE / "convnet.py"), "--networks", networks, *common]
    runs = {"ours": [], **{v: [] for v in variants}}
    for _ in range(arguments.pairs):
        runs["ours"].append(lines(ours, names))
        for variant in variants:
            runs[variant].append(lines([*theirs, "--variant", variant], names))
    suffix = "_cpu" if arguments.time == "cpu" else ""
    report(runs, variants, suffix)


def report(runs, variants, suffix):
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()
    print("instruction sets:", ", ".join(f for f in ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile") if f in flags))
    print(f"{'network':18} {'':10} {'ours ms':>9} " + " ".join(f"{v:>14}" for v in variants) + f" {'best/ours':>10}")
    ratios = {}
    for name in runs["ours"][0]:
        for what in ("step", "evaluation"):
            mine = statistics.median(run[name][what + suffix] for run in runs["ours"])
            others = [statistics.median(run[name][what + suffix] for run in runs[v]) for v in variants]
            ratios.setdefault(what, []).append(min(others) / mine)
            cells = " ".join(f"{o:14.2f}" for o in others)
            print(f"{name:18} {what:10} {mine:9.2f} {cells} {min(others) / mine:10.2f}")
        memory = [statistics.median(run[name]["mib"] for run in runs[v]) for v in ("ours", *variants)]
        print(f"{name:18} {'MiB':10} " + " ".join(f"{m:14.1f}" for m in memory))
    for what, values in ratios.items():
        print(f"{what}: median ratio {statistics.median(values):.2f}, least {min(values):.2f}")


if __name__ == "__main__":
    main()
