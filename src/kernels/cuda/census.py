"""What the compiler made of each kernel, one a line: from ptxas's report and the disassembly in a folder.
Shared memory here is a kernel's static part; all of these kernels have theirs from the launch, which plan.h sizes."""

import collections
import pathlib
import re
import sys

COUNTED = {"HMMA": "mma", "LDSM": "ldmatrix", "LDGSTS": "async-copies", "LDL": "local-loads", "STL": "local-stores"}


def report(log):
    """Kernel → (registers, static shared memory, stack, bytes of spill stores)."""
    kernels, name, stack, spills = {}, None, 0, 0
    for line in log.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            name = found.group(1)
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
            stack, spills = map(int, found.groups())
        elif found := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            kernels[name] = (int(found.group(1)), int(shared.group(1)) if shared else 0, stack, spills)
    return kernels


def instructions(sass):
    """Kernel → how many instructions of each kind."""
    kernels, name = collections.defaultdict(collections.Counter), None
    for line in sass.splitlines():
        if found := re.match(r"\s*Function : (\w+)", line):
            name = found.group(1)
        elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_]+)", line):
            kernels[name]["all"] += 1
            kernels[name][found.group(1)] += 1
    return kernels


def main():
    folder = pathlib.Path(sys.argv[1])
    columns = ["registers", "shared", "stack", "spills", "instructions", *COUNTED.values()]
    print(f"{'kernel':28} {'code':6}", *columns)
    for log in sorted(folder.glob("*.log")):
        code, counts = log.stem.split(".")[1], instructions(log.with_suffix(".sass").read_text())
        for name, reported in sorted(report(log.read_text()).items()):
            values = [*reported, counts[name]["all"], *(counts[name][kind] for kind in COUNTED)]
            print(f"{name:28} {code:6}", *(f"{value:{len(column)}}" for value, column in zip(values, columns)))


main()
