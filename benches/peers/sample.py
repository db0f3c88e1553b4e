"""The networks that searches begin with: drawn from the space of each shipped config as a fresh controller draws them, every choice and
every skip connection evenly. `make bench-peers` measures the lists that this wrote:

    python benches/peers/sample.py        writes quickstart.json, cifar10.json, cifar10-v1.json, -v2, -v3 again

Seeds are fixed, so the lists change only with the configs' spaces."""

import json
import random
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
CONFIGS = ["quickstart", "cifar10", "cifar10-v1", "cifar10-v2", "cifar10-v3"]
COUNT = 30
# In the order of the paper's figure 2; a list of one entry is not predicted.
SIZES = ["filter_height", "filter_width", "stride_height", "stride_width", "filters"]


def decisions(space, generator):
    """For each layer (or block) the numbers of its sizes, and a 0 or 1 for each earlier one."""
    for index in range(space["layers"] // space.get("block", 1)):
        for size in SIZES:
            if len(space[size]) > 1:
                yield generator.randrange(len(space[size]))
        yield [generator.randrange(2) for _ in range(index)]


def main():
    for config in CONFIGS:
        space = tomllib.loads((HERE.parents[1] / "config" / f"{config}.toml").read_text())["space"]
        generator = random.Random(config)
        lines = []
        for number in range(COUNT):
            drawn = json.dumps(list(decisions(space, generator)), separators=(",", ":"))
            lines.append(f'{{"name": "{config}-{number:02}", "space": {json.dumps(space)}, "decisions": {drawn}}}')
        (HERE / f"{config}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
