"""The twin of `benches/conv.rs` in PyTorch: the same networks (networks.json), batch, optimiser and numbers.

Prints one JSON line a network: milliseconds of a training step and of an evaluation, on the wall and of the processor.
Run through compare.py, which takes turns with the other side."""

import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F


class Net(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        shapes = [(spec["channels"], spec["height"], spec["width"])]
        self.convs, self.norms = torch.nn.ModuleList(), torch.nn.ModuleList()
        for l in spec["layers"]:
            channels = sum(shapes[i][0] for i in l["inputs"])
            height, width = (max(shapes[i][axis] for i in l["inputs"]) for axis in (1, 2))
            kernel, stride = (l["filter_height"], l["filter_width"]), (l["stride_height"], l["stride_width"])
            padding = tuple((k - 1) // 2 for k in kernel)
            self.convs.append(torch.nn.Conv2d(channels, l["filters"], kernel, stride, padding, bias=False))
            self.norms.append(torch.nn.BatchNorm2d(l["filters"]))
            shapes.append((l["filters"], -(-height // stride[0]), -(-width // stride[1])))
        self.classifier = torch.nn.Linear(sum(shapes[i][0] for i in spec["output"]), spec["classes"])

    @staticmethod
    def concatenate(outputs):
        if len(outputs) == 1:
            return outputs[0]
        height, width = (max(o.shape[axis] for o in outputs) for axis in (2, 3))
        return torch.cat([F.pad(o, (0, width - o.shape[3], 0, height - o.shape[2])) for o in outputs], 1)

    def forward(self, images):
        outputs = [images]
        for l, conv, norm in zip(self.spec["layers"], self.convs, self.norms):
            x = self.concatenate([outputs[i] for i in l["inputs"]])
            outputs.append(F.relu_(norm(conv(x))))
        whole = self.concatenate([outputs[i] for i in self.spec["output"]])
        return self.classifier(whole.mean((2, 3)))


def measure(seconds, f):
    """Medians in milliseconds: (wall, processor)."""
    f(), f()
    start, wall, processor = time.perf_counter(), [], []
    while len(wall) < 3 or time.perf_counter() - start < seconds:
        a, b = time.perf_counter(), time.process_time()
        f()
        wall.append(time.perf_counter() - a)
        processor.append(time.process_time() - b)
    return 1e3 * statistics.median(wall), 1e3 * statistics.median(processor)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", default="benches/peers/networks.json")
    parser.add_argument("--name", action="append")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--variant", choices=["nchw", "channels_last", "compile"], default="nchw")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for spec in json.load(open(arguments.networks)):
        if arguments.name and spec["name"] not in arguments.name:
            continue
        torch.manual_seed(1)
        format = torch.channels_last if arguments.variant == "channels_last" else torch.contiguous_format
        net = Net(spec).to(memory_format=format)
        model = torch.compile(net) if arguments.variant == "compile" else net
        images = torch.randn(arguments.batch, spec["channels"], spec["height"], spec["width"]).to(memory_format=format)
        labels = torch.randint(spec["classes"], (arguments.batch,))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        def step():
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(model(images), labels).backward()
            optimiser.step()

        net.train()
        wall, processor = measure(arguments.seconds, step)
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        net.eval()
        with torch.no_grad():
            evaluation = measure(arguments.seconds / 4, lambda: model(images))
        numbers = {"step": wall, "step_cpu": processor, "evaluation": evaluation[0], "evaluation_cpu": evaluation[1], "mib": memory}
        print(json.dumps({"name": spec["name"], **{k: round(v, 3) for k, v in numbers.items()}}), flush=True)


if __name__ == "__main__":
    main()
