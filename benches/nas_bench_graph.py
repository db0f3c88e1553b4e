"""NAS-Bench-Graph (Qin et al. 2022: 26,206 graph networks on nine data sets) as tables that `make bench-strategies` reads.

    python -m pip download --no-deps nas-bench-graph && unzip -q nas_bench_graph-*.whl -d FOLDER
    python benches/nas_bench_graph.py FOLDER/nas_bench_graph OUT

writes OUT/graph-NAME.csv: the macro-structure, the operations of the four nodes, and the validation performance, for every list; lists that
describe the same network have the same. Only the package's rule for which lists are the same is run, not its pickles' code."""

import importlib.util
import itertools
import pickle
import struct
import sys
from pathlib import Path


class Kind:
    """In the place of numpy.dtype."""

    def __init__(self, code, *_):
        self.code = code

    def __setstate__(self, _):
        pass


def scalar(kind, data):
    """A number of NumPy's."""
    return struct.unpack({"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}[kind.code], data)[0]


class Plain(pickle.Unpickler):
    """Dictionaries and numbers alone."""

    def find_class(self, module, name):
        if module.startswith("numpy") and name in ("dtype", "scalar"):
            return {"dtype": Kind, "scalar": scalar}[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no number")


def lists(architecture, proteins):
    """The name of the network that each list describes; that of the proteins has fewer operations."""
    names = {}
    for link in architecture.link_list:
        for operations in itertools.product(architecture.gnn_list_proteins if proteins else architecture.gnn_list, repeat=4):
            network = architecture.Arch(list(link), list(operations)).regularize()
            network.move_skip_op()
            network.equalpart_sort()
            names[(tuple(link), operations)] = network.hash_arch()
    return names


def main(package, out):
    spec = importlib.util.spec_from_file_location("architecture", package / "architecture.py")
    architecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architecture)
    every = {proteins: lists(architecture, proteins) for proteins in (False, True)}
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted((package / "light").glob("*.bench")):
        table = Plain(file.open("rb")).load()
        lines = ["structure,first,second,third,fourth,validation"]
        for (link, operations), name in every[file.stem == "proteins"].items():
            if name in table:
                lines.append(",".join(("-".join(map(str, link)), *operations, f"{table[name]['valid_perf']:.6f}")))
        (out / f"graph-{file.stem}.csv").write_text("\n".join(lines) + "\n")
        print(f"graph-{file.stem}: {len(lines) - 1:,} lists, {len(table):,} networks")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
