"""The training step of step.cu's networks in PyTorch: eager, channels_last, torch.compile, and a CUDA graph captured by hand.
usage: torch_step.py VARIANT,VARIANT,... NAME BATCH [NAME BATCH ...]"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F


def architecture(name):
    """(filter height, filter width, filters, inputs) of each layer; the inputs count from 0, the image."""
    if name.startswith("chain"):
        size = 7 if "7x7" in name else 3
        filters = {"chain-7x7-24": 24, "chain-3x3-64": 64}.get(name, 48)
        return [(size, size, filters, [i]) for i in range(6)]
    heights = [3, 3, 5, 3, 5, 3, 3, 7, 5, 3, 7, 7, 5, 5, 7]
    widths = [3, 3, 3, 5, 5, 3, 7, 5, 3, 7, 3, 5, 5, 7, 5]
    filters = [36, 48, 36, 36, 48, 48, 48, 48, 36, 36, 36, 36, 36, 48, 48]
    inputs = [[j for j in range(1 if i else 0, i) if (i * 7 + j * 5) % 4 == 0] + [i] for i in range(15)]
    return list(zip(heights, widths, filters, inputs))


class Net(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.layers = architecture(name)
        channels, convolutions, norms = [3], [], []
        for height, width, filters, inputs in self.layers:
            depth = sum(channels[i] for i in inputs)
            convolutions.append(torch.nn.Conv2d(depth, filters, (height, width), padding=(height // 2, width // 2), bias=False))
            norms.append(torch.nn.BatchNorm2d(filters))
            channels.append(filters)
        self.convolutions, self.norms = torch.nn.ModuleList(convolutions), torch.nn.ModuleList(norms)
        read = {i for *_, inputs in self.layers for i in inputs}
        self.output = [i for i in range(1, len(channels)) if i not in read]
        self.classifier = torch.nn.Linear(sum(channels[i] for i in self.output), 10)

    def forward(self, images):
        outputs = [images]
        for (*_, inputs), convolution, norm in zip(self.layers, self.convolutions, self.norms):
            x = outputs[inputs[0]] if len(inputs) == 1 else torch.cat([outputs[i] for i in inputs], 1)
            outputs.append(F.relu_(norm(convolution(x))))
        x = outputs[self.output[0]] if len(self.output) == 1 else torch.cat([outputs[i] for i in self.output], 1)
        return self.classifier(x.mean((2, 3)))


def measure(step):
    """The median of ten rounds in milliseconds a step, by events."""
    for _ in range(10):
        step()
    torch.cuda.synchronize()
    times = []
    for _ in range(10):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(20):
            step()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 20)
    return statistics.median(times)


def build(name, batch, variant):
    torch.manual_seed(1)
    last = torch.channels_last if "last" in variant else torch.contiguous_format
    net = Net(name).cuda().to(memory_format=last)
    images = torch.randn(batch, 3, 32, 32, device="cuda").contiguous(memory_format=last)
    labels = torch.randint(10, (batch,), device="cuda")
    captured = "graph" in variant
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True, fused=True)
    model = torch.compile(net, mode="reduce-overhead") if "compile" in variant else net

    def step():
        optimiser.zero_grad(set_to_none=not captured)
        with torch.autocast("cuda", torch.bfloat16, enabled="bf16" in variant, cache_enabled=not captured):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()

    if not captured:
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def ceilings():
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
    b = torch.empty_like(a)
    copy = measure(lambda: b.copy_(a))
    x, y = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = measure(lambda: x @ y)
    print(f"copy {2 * a.numel() / copy / 1e9:.2f} TB/s, bf16 product {2 * 8192**3 / product / 1e9:.0f} TFLOP/s", flush=True)


def main():
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    ceilings()
    rest = sys.argv[2:]
    for name, batch in zip(rest[::2], rest[1::2]):
        for variant in sys.argv[1].split(","):
            begin = time.perf_counter()
            try:
                ms = measure(build(name, int(batch), variant))
                print(f"{name:14} batch {batch:>4}: {variant:24} {ms:.4f} ms a step (ready and measured in {time.perf_counter() - begin:.0f} s)", flush=True)
            except Exception as error:
                print(f"{name} {variant}: {type(error).__name__}: {str(error)[:300]}", flush=True)


main()
