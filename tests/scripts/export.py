"""Exported networks as others run them: ONNX Runtime, PyTorch by model.py, and `netwright classify` must agree (`make test-peers`).

    python3 tests/scripts/export.py NETWRIGHT [CIFAR10-FOLDER]

Needs torch, onnx, onnxruntime, safetensors, numpy and pillow. Without a folder of CIFAR-10 its part is left out."""
import importlib.util, json, subprocess, sys, tempfile
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import nn

MARGIN = 2e-4
WORDS = "the a small large cat dog owl sees hears fears and then sleeps".split()


def netwright(*arguments, cwd):
    command = [NETWRIGHT, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def best(folder):
    return json.loads(netwright("top", "run", "-n", "1", "--json", cwd=folder))[0]["id"]


def search(folder, config, trial=None):
    (folder / "search.toml").write_text('telemetry = { listen = "off" }\n' + config)
    netwright("search", "search.toml", "--run-dir", "run", cwd=folder)
    trial = trial or best(folder)
    print(netwright("export", "run", trial, "--format", "onnx", "m.onnx", cwd=folder), end="")
    netwright("export", "run", trial, "--format", "torch", "model", cwd=folder)
    onnx.checker.check_model(str(folder / "m.onnx"), full_check=True)
    spec = importlib.util.spec_from_file_location("model", folder / "model" / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return module, onnxruntime.InferenceSession(str(folder / "m.onnx"), options, providers=["CPUExecutionProvider"])


def agree(what, ours, theirs):
    error = numpy.abs(ours - theirs) / numpy.maximum(1, numpy.abs(ours))
    top = numpy.sort(ours, 1)
    differ = ours.argmax(1) != theirs.argmax(1)
    margins = (top[:, -1] - top[:, -2])[differ]
    print(f"{what}: {len(ours)} images, logits within {error.max():.1e}; {differ.sum()} other predictions, margins {margins.tolist()}")
    assert error.max() < 1e-4 and (margins < MARGIN).all()


def classified(folder, paths):
    return json.loads(netwright("classify", "model", *paths, "--json", cwd=folder))


def batches(session, images, size):
    return numpy.concatenate([session.run(["logits"], {"image": images[i : i + size]})[0] for i in range(0, len(images), size)])


def images(folder, rng):
    """Files of several sizes and modes in two class folders."""
    for name in ("dark", "light"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(40):
            height, width = rng.integers(9, 60, 2)
            shade = rng.integers(0, 120, (height, width, 4)) + (100 if name == "light" else 0)
            shade[:, :, 3] = rng.integers(0, 256, (height, width)) if number % 2 else 255
            picture = Image.fromarray(shade.astype(numpy.uint8))
            mode = ("RGBA", "RGB", "L", "LA", "P", "1")[number % 6]
            picture = picture if mode == "RGBA" else picture.convert("L" if mode == "LA" else "RGB").convert(mode)
            if number % 13 == 12:
                picture = Image.fromarray(rng.integers(0, 65536, (height, width)).astype(numpy.uint16))
            exif = Image.Exif()
            exif[0x0112] = 1 + number % 8  # how it is turned
            picture.save(folder / "images" / name / f"{number}.png", exif=exif)


def check_images(whiten):
    folder = Path(tempfile.mkdtemp())
    images(folder, numpy.random.default_rng(1))
    module, session = search(folder, f"""
[run]
trials = 6
[space]
layers = 6
filters = [6, 8]
filter_height = [3, 5]
filter_width = [1, 7]
stride_height = [1, 2, 3]
stride_width = [1, 2]
layer_types = ["conv", "max_pool", "avg_pool", "lcn", "batch_norm", "plain_conv", "relu", "add"]
pool_size = [2, 3]
pool_stride = [1, 2]
lcn_window = [5]
[controller]
children = 3
[child]
epochs = 3
batch_size = 8
learning_rate = 0.02
[data]
kind = "image-folder"
path = "images"
size = 19
augment = false
whiten = "{whiten}"
""")
    paths = sorted(str(path) for path in (folder / "images").rglob("*.png"))
    ours = numpy.array([answer["logits"] for answer in classified(folder, paths)])
    network, _ = module.load()
    raw = torch.stack([module.read_image(path, 19) for path in paths])
    with torch.no_grad():
        agree(f"model.py, whiten = {whiten}", ours, network(raw).double().numpy())
    for size in (1, 7):
        agree(f"ONNX Runtime, batches of {size}", ours, batches(session, raw.numpy(), size))
    own = subprocess.run([sys.executable, "model/model.py", *paths[:3], "--json"], cwd=folder, check=True, stdout=subprocess.PIPE)
    agree("python model.py", ours[:3], numpy.array([answer["logits"] for answer in json.loads(own.stdout)]))


def check_cifar10(path):
    folder = Path(tempfile.mkdtemp())
    _, session = search(folder, f"""
[run]
trials = 1
[space]
layers = 4
filters = [16, 24]
stride_height = [1, 2]
stride_width = [1, 2]
[controller]
children = 1
[child]
epochs = 2
[data]
kind = "cifar10"
path = "{Path(path).resolve()}"
train_size = 4000
validation_size = 500
""")
    records = numpy.fromfile(Path(path, "test_batch.bin"), numpy.uint8).reshape(-1, 3073)
    raw, names = records[:, 1:].reshape(-1, 3, 32, 32), []
    for number, image in enumerate(raw):
        names.append(f"{number}.png")
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / names[-1], compress_level=1)
    ours = numpy.array([answer["logits"] for answer in classified(folder, names)])
    agree("CIFAR-10's test images, ONNX Runtime", ours, batches(session, raw, 500))
    agree("the first of them, in batches of 7", ours[:700], batches(session, raw[:700], 7))
    agree("the first of them, one by one", ours[:200], batches(session, raw[:200], 1))


class Residual(nn.Module):
    """A block of He et al. (2016): its shortcut has every second pixel, and zeros for the channels that it lacks (option A)."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters)
        self.conv2, self.bn2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters)
        self.stride, self.missing = stride, filters - channels

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing)))


def resnet20():
    layers, channels = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for filters in (16, 32, 64):
        for block in range(3):
            layers.append(Residual(channels, filters, 1 if filters == channels else 2))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def normalised_convolution(channels, filters, size):
    return nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, filters, size, 1, size // 2, bias=False)


class Dense(nn.Sequential):
    """A layer of Huang et al. (2017): its output stands behind its input."""

    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


def densenet40():
    layers, channels = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for block in range(3):
        if block:
            layers += [*normalised_convolution(channels, channels, 1), nn.AvgPool2d(2)]
        for _ in range(12):
            layers.append(Dense(*normalised_convolution(channels, 12, 3)))
            channels += 12
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def check_known(name, theirs, parameters):
    """The file that ships, trained for an epoch, and the same network as PyTorch's users write it."""
    folder = Path(tempfile.mkdtemp())
    netwright("init", name, cwd=folder)
    module, session = search(folder, f"""
enqueue = [{{ architecture = "{name}.json" }}]
[run]
trials = 1
[space]
layers = 1
[controller]
children = 1
[child]
epochs = 1
batch_size = 16
[data]
kind = "builtin"
train_size = 64
validation_size = 32
[devices]
use = ["cpu"]
""", trial=1)
    network, config = module.load()
    tensors, state = load_file(folder / "model" / "model.safetensors"), theirs.state_dict()
    # Both have their layers in one order.
    parts = ["weight", "scale", "shift", "running_mean", "running_variance", "bias"]

    def rank(name):
        layer, part = name.split(".")
        return (int(layer[5:]) if layer.startswith("layer") else 10**6, parts.index(part))

    ordered, wanted = sorted(tensors, key=rank), [key for key in state if not key.endswith("num_batches_tracked")]
    assert len(ordered) == len(wanted)
    for ours, key in zip(ordered, wanted):
        assert tensors[ours].shape == state[key].shape, (ours, key)
        state[key] = tensors[ours]
    theirs.load_state_dict(state)
    count = sum(p.numel() for p in theirs.parameters())
    assert count == sum(p.numel() for p in network.parameters()) == parameters, count
    shown = json.loads(netwright("show", "run", 1, "--json", cwd=folder))
    assert shown["parameters"] == count
    raw = torch.from_numpy(numpy.random.default_rng(4).integers(0, 256, (24, 3, 32, 32), numpy.uint8))
    names = [f"{number}.png" for number in range(len(raw))]
    for path, image in zip(names, raw.numpy()):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / path)
    ours = numpy.array([answer["logits"] for answer in classified(folder, names)])
    with torch.no_grad():
        logits = theirs.eval()(network.whiten(raw)).double().numpy()
        agree(f"{name} of PyTorch, {count} parameters", ours, logits)
        agree(f"{name}, model.py", ours, network(raw).double().numpy())
    agree(f"{name}, ONNX Runtime", ours, batches(session, raw.numpy(), 8))


def check_cell(cell, shared):
    folder, rng = Path(tempfile.mkdtemp()), numpy.random.default_rng(2)
    for part, lines in (("train", 300), ("valid", 40)):
        text = "\n".join(" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(lines))
        (folder / f"x.{part}.txt").write_text(text + "\n")
    (folder / "cell.json").write_text(json.dumps({"version": 1, "kind": "cell", "reference": cell}))
    first = "" if cell is None else "enqueue = [{ architecture = 'cell.json' }]\n"
    module, session = search(folder, f"""{first}
[run]
trials = 1
[space]
kind = "cell"
base = 4
combinations = ["add", "elem_mult", "max"]
activations = ["identity", "tanh", "sigmoid", "relu", "sin"]
[controller]
children = 1
[child]
epochs = 1
batch_size = 1
steps = 35
hidden = 16
layers = 2
shared_embeddings = {str(shared).lower()}
learning_rate = 0.05
init_scale = 0.2
[data]
kind = "text"
path = "."
[devices]
use = ["cpu"]
""", trial=1)
    network, config = module.load()
    words = json.loads((folder / "m.vocabulary.json").read_text())
    assert words == config["input"]["vocabulary"]
    places, end = {word: place for place, word in enumerate(words)}, config["input"]["end"]
    lines = (folder / "x.valid.txt").read_text().splitlines()
    tokens = [end] + [places[word] for line in lines for word in (*line.split(), "<eos>")]
    state, torch_state, nats, worst = network.start(1).numpy(), network.start(1), 0.0, 0.0
    for token, target in zip(tokens, tokens[1:]):
        logits, state = session.run(["logits", "next_state"], {"token": numpy.array([token]), "state": state})
        with torch.no_grad():
            theirs, torch_state = network(torch.tensor([token]), torch_state)
        worst = max(worst, numpy.abs(theirs.numpy() - logits).max())
        nats -= torch.from_numpy(logits).double().log_softmax(1)[0, target].item()
    perplexity, score = numpy.exp(nats / (len(tokens) - 1)), config["training"]["score"]
    print(f"{cell or 'tree'}: {len(tokens) - 1} steps, perplexity {perplexity:.5f}, netwright's {score:.5f}; model.py within {worst:.1e}")
    assert abs(perplexity / score - 1) < 1e-4 and worst < 1e-4
    sampled = subprocess.run([sys.executable, "model/model.py", "the cat", "--tokens", "9"], cwd=folder, check=True, stdout=subprocess.PIPE)
    assert len(sampled.stdout.split()) > 2, sampled.stdout


NETWRIGHT = str(Path(sys.argv[1]).resolve())
for way in ("image", "channel"):
    check_images(way)
check_known("resnet-20", resnet20(), 269_722)
check_known("densenet-40", densenet40(), 1_019_722)
for name in (None, "rnn", "lstm", "gru"):
    check_cell(name, shared=name in ("rnn", "gru"))
if len(sys.argv) > 2 and sys.argv[2]:
    check_cifar10(sys.argv[2])
else:
    print("no folder of CIFAR-10: its part is left out (make test-peers DATA=FOLDER)")
