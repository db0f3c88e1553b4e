"""The twin of `benches/conv.rs` in PyTorch: the same architectures (as `cargo bench --bench conv -- --describe` prints them), batch
and optimiser. Reads words from standard input (step, evaluation, memory) and answers each with one JSON line.

Run through compare.py, which takes turns with the other side. `agree.py` uses the network itself."""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F


class Net(torch.nn.Module):
    """A convolutional child from its Architecture's JSON."""

    def __init__(self, architecture):
        super().__init__()
        self.layers, self.output = architecture["layers"], architecture["output"]
        channels, self.operations = [architecture["image"]["channels"]], torch.nn.ModuleList()
        for l in self.layers:
            inputs = [channels[i] for i in l["inputs"]]
            self.operations.append(OPERATIONS[l.get("type", "conv")](l, max(inputs) if l.get("type") == "add" else sum(inputs)))
            channels.append(self.operations[-1].channels)
        self.classifier = torch.nn.Linear(sum(channels[i] for i in self.output), architecture["classes"])

    @staticmethod
    def concatenate(outputs):
        if len(outputs) == 1:
            return outputs[0]
        height, width = (max(o.shape[axis] for o in outputs) for axis in (2, 3))

        def grown(o):
            missing = (0, width - o.shape[3], 0, height - o.shape[2])
            return F.pad(o, missing) if any(missing) else o

        return torch.cat([grown(o) for o in outputs], 1)

    @staticmethod
    def add(outputs):
        depth, height, width = (max(o.shape[axis] for o in outputs) for axis in (1, 2, 3))
        return sum(F.pad(o, (0, width - o.shape[3], 0, height - o.shape[2], 0, depth - o.shape[1])) for o in outputs)

    def forward(self, images):
        outputs = [images]
        for l, operation in zip(self.layers, self.operations):
            join = self.add if l.get("type") == "add" else self.concatenate
            outputs.append(operation(join([outputs[i] for i in l["inputs"]])))
        return self.classifier(self.concatenate([outputs[i] for i in self.output]).mean((2, 3)))

    def norms(self):
        return [operation.norm for operation in self.operations if hasattr(operation, "norm")]

    def packed(self):
        """Parameters and running statistics as netwright packs them: each layer's weight, scale, shift; mean, variance."""
        parameters = [p for operation in self.operations for p in operation.parameters()]
        running = [r for n in self.norms() for r in (n.running_mean, n.running_var)]
        return [*parameters, self.classifier.weight, self.classifier.bias], running


class SameConv2d(torch.nn.Conv2d):
    """Padding (k - 1) / 2 above and left and ceil(n / stride) outputs; an even filter needs one row more below than above."""

    def __init__(self, channels, filters, kernel, stride):
        super().__init__(channels, filters, kernel, stride, tuple((k - 1) // 2 for k in kernel), bias=False)
        self.uneven = (0, 1 - kernel[1] % 2, 0, 1 - kernel[0] % 2)

    def forward(self, x):
        return super().forward(F.pad(x, self.uneven) if any(self.uneven) else x)


class Convolution(torch.nn.Module):
    def __init__(self, l, channels):
        super().__init__()
        self.channels = l["filters"]
        kernel, stride = (l["filter_height"], l["filter_width"]), (l["stride_height"], l["stride_width"])
        self.conv, self.norm = SameConv2d(channels, l["filters"], kernel, stride), torch.nn.BatchNorm2d(l["filters"])

    def forward(self, x):
        return F.relu_(self.norm(self.conv(x)))


class BatchNorm(torch.nn.Module):
    def __init__(self, l, channels):
        super().__init__()
        self.channels, self.norm = channels, torch.nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(x)


class PlainConvolution(torch.nn.Module):
    def __init__(self, l, channels):
        super().__init__()
        self.channels = l["filters"]
        kernel, stride = (l["filter_height"], l["filter_width"]), (l["stride_height"], l["stride_width"])
        self.conv = SameConv2d(channels, l["filters"], kernel, stride)

    def forward(self, x):
        return self.conv(x)


class Relu(torch.nn.Module):
    """Of its inputs' concatenation or, as `add`, of their sum."""

    def __init__(self, l, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        return F.relu(x)


class Window(torch.nn.Module):
    """A layer without parameters over a window of this side, padded as a convolution is; pixels outside the image do not count."""

    def __init__(self, l, channels):
        super().__init__()
        self.channels, self.side, self.stride = channels, l.get("size", l.get("window")), l.get("stride", 1)

    def padded(self, x, value=0.0):
        before, behind = (self.side - 1) // 2, self.side // 2
        return F.pad(x, (before, behind, before, behind), value=value)

    def mean(self, x, weights):
        """`weights` [side, side] over each channel by itself, scaled to sum to 1 over the pixels inside."""
        filters = weights.to(x).expand(x.shape[1], 1, self.side, self.side)
        total, weight = (F.conv2d(self.padded(p), filters, None, self.stride, groups=x.shape[1]) for p in (x, torch.ones_like(x)))
        return total / weight


class MaxPool(Window):
    def forward(self, x):
        return F.max_pool2d(self.padded(x, -torch.inf), self.side, self.stride)


class AveragePool(Window):
    def forward(self, x):
        return self.mean(x, torch.ones(self.side, self.side))


class LocalContrast(Window):
    """Jarrett et al. (2009), with a Gaussian window whose standard deviation is a quarter of its side."""

    def forward(self, x):
        distance = torch.arange(self.side, dtype=torch.float64) - (self.side - 1) / 2
        line = torch.exp(-0.5 * (distance / (self.side / 4)) ** 2)
        window = torch.outer(line, line)
        x = x - self.mean(x.mean(1, keepdim=True), window)
        deviation = (self.mean(x.square().mean(1, keepdim=True), window) + 1e-5).sqrt()
        return x / torch.maximum(deviation, deviation.mean((2, 3), keepdim=True))


OPERATIONS = {
    "conv": Convolution,
    "batch_norm": BatchNorm,
    "max_pool": MaxPool,
    "avg_pool": AveragePool,
    "lcn": LocalContrast,
    "plain_conv": PlainConvolution,
    "relu": Relu,
    "add": Relu,
}


# Seconds of a call that needs no other before it to warm up.
LONG = 0.4


def measure(seconds, f):
    """Medians in milliseconds of calls for `seconds`, on the wall and of the processor, after one that does not count (but if it
    takes long, when the caches that it warms matter little)."""
    start, wall, processor, calls = time.perf_counter(), [], [], 0
    while not wall or time.perf_counter() - start < seconds:
        a, b = time.perf_counter(), time.process_time()
        f()
        calls += 1
        if calls > 1 or time.perf_counter() - a > LONG:
            wall.append(time.perf_counter() - a)
            processor.append(time.process_time() - b)
    return {"wall": 1e3 * statistics.median(wall), "cpu": 1e3 * statistics.median(processor)}


def resident(key):
    """VmRSS, or its peak VmHWM, in MiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key + ":"))


def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


class Bench:
    """One architecture, built and warmed up: compiled, where that is the variant."""

    def __init__(self, architecture, variant, batch, seconds):
        torch.manual_seed(1)
        self.seconds = seconds
        form = torch.channels_last if "channels_last" in variant else torch.contiguous_format
        self.net = Net(architecture).to(memory_format=form)
        image = architecture["image"]
        self.images = torch.randn(batch, image["channels"], image["height"], image["width"]).to(memory_format=form)
        self.labels = torch.randint(architecture["classes"], (batch,))
        self.optimiser = torch.optim.SGD(
            self.net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True, fused=True
        )
        forget_peak()
        before = resident("VmRSS")
        self.model = torch.compile(self.net) if "compile" in variant else self.net
        self.evaluate()
        self.step()
        if "compile" in variant:
            forget_peak()
        self.step()
        self.memory = resident("VmHWM") - before

    def step(self):
        if not self.net.training:
            self.net.train()
        self.optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(self.model(self.images), self.labels).backward()
        self.optimiser.step()

    def evaluate(self):
        if self.net.training:
            self.net.eval()
        with torch.no_grad():
            return self.model(self.images)

    def answer(self, what):
        if what == "memory":
            return {"mib": self.memory}
        return measure(self.seconds, {"step": self.step, "evaluation": self.evaluate}[what])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--described", required=True, help="the JSON that conv.rs --describe prints")
    parser.add_argument("--name", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--variant", default="nchw", help="nchw, channels_last, compile or compile_channels_last")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with open(arguments.described) as file:
        architecture = next(e["architecture"] for e in json.load(file) if e["name"] == arguments.name)
    bench = Bench(architecture, arguments.variant, arguments.batch, arguments.seconds)
    print(json.dumps({"ready": arguments.name}), flush=True)
    for line in sys.stdin:
        print(json.dumps(bench.answer(line.strip())), flush=True)


if __name__ == "__main__":
    main()
