"""What PyTorch makes of five steps on small networks: `agreement.json`, with which `src/child/convnet/tests/torch.rs` compares ours.

    python benches/peers/agree.py > benches/peers/agreement.json             the networks of that test
    python benches/peers/agree.py --random 40 --seed 3 > target/agree.json   others; NETWRIGHT_AGREEMENT=FILE makes the test read them

`make test-peers` does the second. Parameters and images are a hash of their position, so that they need not be written down."""

import argparse
import json
import random

import torch
import torch.nn.functional as F

from convnet import Net

IMAGE = {"channels": 3, "height": 9, "width": 11}
# The last batch of an epoch is smaller.
BATCHES = [8, 8, 5, 8, 3]


def uniform(seed, count):
    """Numbers in -1..1: a 32-bit hash of seed and position, its upper 24 bits."""
    x = (torch.arange(count, dtype=torch.int64) + seed * 1_000_003) % 2**32
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) % 2**32
    return ((x ^ (x >> 16)) >> 8).to(torch.float32) / 2**23 - 1


def layer(height, width, filters, inputs, stride=(1, 1)):
    return {"filter_height": height, "filter_width": width, "filters": filters, "stride_height": stride[0], "stride_width": stride[1], "inputs": inputs}


def plain(*sizes):
    return {"type": "plain_conv", **layer(*sizes)}


# Types without sizes.
BARE = ("batch_norm", "relu", "add")


def window(kind, side, inputs, stride=1):
    sizes = {"window": side} if kind == "lcn" else {"size": side, "stride": stride}
    return {"type": kind, **({} if kind in BARE else sizes), "inputs": inputs}


def network(layers, image=IMAGE, classes=4):
    consumed = {i for l in layers for i in l["inputs"]}
    output = [i for i in range(1, len(layers) + 1) if i not in consumed]
    return {"version": 1, "kind": "conv", "image": image, "classes": classes, "layers": layers, "output": output}


def residual():
    """Two blocks as of He et al. (2016), the second with half the pixels and twice the filters: its shortcut has no parameters."""
    first = [layer(3, 3, 4, [0]), layer(3, 3, 4, [1]), plain(3, 3, 4, [2]), window("batch_norm", 0, [3]), window("add", 0, [1, 4])]
    second = [layer(3, 3, 8, [5], (2, 2)), plain(3, 3, 8, [6]), window("batch_norm", 0, [7]), window("max_pool", 1, [5], 2)]
    return network([*first, *second, window("add", 0, [8, 9])])


def dense():
    """Two layers as of Huang et al. (2017) and a transition."""

    def convolved(size, filters, inputs, last):
        return [window("batch_norm", 0, inputs), window("relu", 0, [last + 1]), plain(size, size, filters, [last + 2])]

    blocks = [plain(3, 3, 5, [0]), *convolved(3, 4, [1], 1), *convolved(3, 4, [1, 4], 4), *convolved(1, 6, [1, 4, 7], 7)]
    return network([*blocks, window("avg_pool", 2, [10], 2), window("batch_norm", 0, [11]), window("relu", 0, [12])])


NETWORKS = {
    "chain": network([layer(3, 3, 9, [0]), layer(3, 3, 8, [1]), layer(5, 3, 4, [2])]),
    "strides": network([layer(5, 3, 6, [0], (2, 3)), layer(3, 7, 5, [1], (1, 2)), layer(1, 1, 4, [2], (3, 1))]),
    "mixed shapes": network([layer(1, 7, 4, [0]), layer(7, 1, 4, [0], (2, 1)), layer(2, 4, 3, [1, 2]), layer(3, 1, 4, [1, 2, 3], (1, 3))]),
    "skips": network([layer(3, 3, 8, [0]), layer(3, 5, 8, [1]), layer(3, 3, 5, [1, 2]), layer(1, 1, 6, [0, 1, 3])]),
    "loose ends": network([layer(3, 3, 5, [0]), layer(3, 3, 4, [1], (2, 2)), layer(7, 7, 3, [0]), layer(1, 3, 4, [1, 2])]),
    "one channel, one row": network([layer(1, 5, 3, [0]), layer(3, 3, 2, [1], (1, 2))], {"channels": 1, "height": 1, "width": 13}, 2),
    "max pooling": network([layer(3, 3, 6, [0]), window("max_pool", 2, [1], 2), layer(3, 3, 5, [2]), window("max_pool", 3, [1, 3])]),
    "average pooling": network([layer(3, 3, 6, [0]), window("avg_pool", 3, [1], 2), window("avg_pool", 2, [0]), layer(3, 1, 5, [2, 3])]),
    "local contrast": network([window("lcn", 5, [0]), layer(3, 3, 6, [0, 1]), window("lcn", 3, [2]), layer(1, 3, 4, [1, 3], (2, 1))]),
    "batch normalisation": network([window("batch_norm", 0, [0]), layer(3, 3, 6, [1]), window("batch_norm", 0, [1, 2]), layer(3, 3, 4, [3])]),
    "residual": residual(),
    "dense": dense(),
    "sums of mixed shapes": network([plain(3, 5, 5, [0], (2, 1)), layer(1, 3, 2, [0], (1, 3)), window("add", 0, [0, 1, 2]), window("relu", 0, [1, 3]), plain(1, 1, 3, [4])]),
}


def drawn(generator):
    layers = []
    for index in range(generator.randint(1, 6)):
        inputs = [i for i in range(index + 1) if generator.random() < 0.4] or [generator.randint(0, index)]
        sizes = [generator.choice([1, 2, 3, 5, 7]) for _ in range(2)]
        kind = generator.choice(["conv"] * 4 + ["plain_conv", "max_pool", "avg_pool", "lcn", "batch_norm", "relu", "add"])
        if kind == "add" and len(inputs) == 1:
            kind = "relu"
        if kind not in ("conv", "plain_conv"):
            layers.append(window(kind, generator.choice([3, 5] if kind == "lcn" else [2, 3, 4]), inputs, generator.choice([1, 2, 3])))
            continue
        convolution = plain if kind == "plain_conv" else layer
        layers.append(convolution(*sizes, generator.randint(1, 12), inputs, tuple(generator.choice([1, 1, 2, 3]) for _ in range(2))))
    image = {"channels": generator.randint(1, 3), "height": generator.randint(4, 14), "width": generator.randint(4, 14)}
    return network(layers, image, generator.randint(2, 6))


def packed(tensors):
    # A network of poolings alone has none.
    return torch.cat([torch.zeros(0), *(t.detach().reshape(-1) for t in tensors)])


def train(architecture, seed):
    """Parameters, running statistics and logits after five steps."""
    net, image = Net(architecture), architecture["image"]
    parameters, running = net.packed()
    values = uniform(seed, sum(p.numel() for p in parameters))
    scales = {id(norm.weight) for norm in net.norms()}
    with torch.no_grad():
        for p in parameters:
            own, values = values[: p.numel()].reshape(p.shape), values[p.numel() :]
            if p.dim() == 1:
                # A scale begins near 1, shifts and biases near 0.
                p.copy_(own * 0.2 + (1 if id(p) in scales else 0))
            else:
                p.copy_(own * (6 / p[0].numel()) ** 0.5)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=0.05, nesterov=True)
    net.train()
    for step, count in enumerate(BATCHES):
        images = 2 * uniform(seed + 1000 * (step + 1), count * image["channels"] * image["height"] * image["width"])
        labels = torch.arange(count) * 7 % architecture["classes"]
        optimiser.zero_grad()
        F.cross_entropy(net(images.reshape(count, *image.values())), labels).backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        images = 2 * uniform(seed, BATCHES[0] * image["channels"] * image["height"] * image["width"])
        logits = net(images.reshape(BATCHES[0], *image.values()))
    return packed(parameters), packed(running), logits.reshape(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = random.Random(arguments.seed)
    networks = {f"drawn {i}": drawn(generator) for i in range(arguments.random)} or NETWORKS
    lines = []
    for seed, (name, architecture) in enumerate(networks.items(), arguments.seed):
        parameters, running, logits = ([float(f"{v:.6g}") for v in values.tolist()] for values in train(architecture, seed))
        case = {"name": name, "seed": seed, "batches": BATCHES, "architecture": architecture, "parameters": parameters, "running": running, "logits": logits}
        lines.append(json.dumps(case, separators=(",", ":")))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
