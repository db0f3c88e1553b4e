"""A network that netwright found and trained. Rebuilds it from config.json, loads model.safetensors, classifies image files:

    python model.py IMAGE... [--json]

Needs torch, safetensors, numpy and pillow. To use the network in a program of your own:

    from model import load
    network, config = load()
    logits = network(images)        # raw images, uint8 [batch, channels, height, width], red first
"""

import argparse
import json
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import nn

HERE = Path(__file__).resolve().parent
LOCAL_CONTRAST_EPSILON = 1e-5


def pad(x, window, stride, value=0.0):
    """(window - 1) / 2 pixels before, and as many behind as ceil(size / stride) outputs need."""
    pads = []
    for size, k, s in zip(x.shape[2:], window, stride):
        before = (k - 1) // 2
        last = (-(-size // s) - 1) * s
        pads.append((before, max(0, last + k - size - before)))
    (top, bottom), (left, right) = pads
    return F.pad(x, (left, right, top, bottom), value=value)


def concatenate(outputs):
    """Along depth; smaller ones are padded with zeros at the bottom and the right."""
    height, width = (max(x.shape[axis] for x in outputs) for axis in (2, 3))
    return torch.cat([F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])) for x in outputs], 1)


def add(outputs):
    """Their sum; smaller ones are padded with zeros at the bottom and the right, and behind their channels."""
    depth, height, width = (max(x.shape[axis] for x in outputs) for axis in (1, 2, 3))
    return sum(F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, depth - x.shape[1])) for x in outputs)


class BatchNorm(nn.Module):
    def __init__(self, layer, channels, epsilon):
        super().__init__()
        self.channels, self.epsilon = channels, epsilon
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))

    def forward(self, x):
        statistics = self.running_mean, self.running_variance
        return F.batch_norm(x, *statistics, self.scale, self.shift, self.training, 0.1, self.epsilon)


class Convolution(BatchNorm):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, layer, channels, epsilon):
        super().__init__(layer, layer["filters"], epsilon)
        self.window = layer["filter_height"], layer["filter_width"]
        self.stride = layer["stride_height"], layer["stride_width"]
        self.weight = nn.Parameter(torch.empty(self.channels, channels, *self.window))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def forward(self, x):
        x = F.conv2d(pad(x, self.window, self.stride), self.weight, stride=self.stride)
        return F.relu(super().forward(x))


class PlainConvolution(nn.Module):
    """Convolution without bias, and nothing behind it."""

    def __init__(self, layer, channels, epsilon):
        super().__init__()
        self.channels = layer["filters"]
        self.window = layer["filter_height"], layer["filter_width"]
        self.stride = layer["stride_height"], layer["stride_width"]
        self.weight = nn.Parameter(torch.empty(self.channels, channels, *self.window))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def forward(self, x):
        return F.conv2d(pad(x, self.window, self.stride), self.weight, stride=self.stride)


class Relu(nn.Module):
    """Of what is concatenated, or added, before it."""

    def __init__(self, layer, channels, epsilon):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        return F.relu(x)


class Pool(nn.Module):
    """Pixels outside the image do not count."""

    def __init__(self, layer, channels, epsilon):
        super().__init__()
        self.channels, self.maximum = channels, layer["type"] == "max_pool"
        self.window, self.stride = (layer["size"],) * 2, (layer["stride"],) * 2

    def forward(self, x):
        if self.maximum:
            return F.max_pool2d(pad(x, self.window, self.stride, -torch.inf), self.window, self.stride)
        inside = torch.ones_like(x[:1, :1])
        total, count = (F.avg_pool2d(pad(p, self.window, self.stride), self.window, self.stride) for p in (x, inside))
        return total / count


class LocalContrast(nn.Module):
    """Local contrast normalisation (Jarrett et al. 2009) by a Gaussian window whose deviation is a quarter of its side."""

    def __init__(self, layer, channels, epsilon):
        super().__init__()
        self.channels, self.window = channels, layer["window"]

    def matrix(self, size):
        """Row i: the weights of the window at i, which sum to 1 over the positions inside."""
        at = torch.arange(size, dtype=torch.float64)
        distance, radius = at[None, :] - at[:, None], (self.window - 1) // 2
        inside = (distance >= -radius) & (distance < self.window - radius)
        weights = torch.exp(-0.5 * (distance / (self.window / 4)) ** 2) * inside
        return (weights / weights.sum(1, keepdim=True)).float()

    def forward(self, x):
        rows, columns = (self.matrix(size).to(x) for size in x.shape[2:])
        x = x - rows @ x.mean(1, keepdim=True) @ columns.T
        deviation = (rows @ x.square().mean(1, keepdim=True) @ columns.T + LOCAL_CONTRAST_EPSILON).sqrt()
        return x / torch.maximum(deviation, deviation.mean((2, 3), keepdim=True))


LAYERS = {
    "conv": Convolution,
    "batch_norm": BatchNorm,
    "max_pool": Pool,
    "avg_pool": Pool,
    "lcn": LocalContrast,
    "plain_conv": PlainConvolution,
    "relu": Relu,
    "add": Relu,
}


class Network(nn.Module):
    def __init__(self, config):
        super().__init__()
        architecture, self.normalisation = config["architecture"], config["input"]["normalisation"]
        self.inputs = [(add if layer.get("type") == "add" else concatenate, layer["inputs"]) for layer in architecture["layers"]]
        self.output = architecture["output"]
        channels = [architecture["image"]["channels"]]
        for number, layer in enumerate(architecture["layers"], 1):
            taken = [channels[i] for i in layer["inputs"]]
            taken = max(taken) if layer.get("type") == "add" else sum(taken)
            module = LAYERS[layer.get("type", "conv")](layer, taken, config["batch_norm_epsilon"])
            self.add_module(f"layer{number}", module)
            channels.append(module.channels)
        self.classifier = nn.Linear(sum(channels[i] for i in self.output), architecture["classes"])

    def whiten(self, images):
        x = images.float()
        if self.normalisation["by"] == "channel":
            mean, scale = (torch.tensor(self.normalisation[key]).view(1, -1, 1, 1).to(x) for key in ("mean", "scale"))
            return (x - mean) * scale
        x = x - x.mean((1, 2, 3), keepdim=True)
        variance = x.square().mean((1, 2, 3), keepdim=True)
        return torch.where(variance < self.normalisation["min_variance"], torch.zeros_like(x), x / variance.sqrt())

    def forward(self, images):
        """Logits [batch, classes] of raw images, uint8 [batch, channels, height, width]."""
        outputs = [self.whiten(images)]
        for number, (join, inputs) in enumerate(self.inputs, 1):
            outputs.append(getattr(self, f"layer{number}")(join([outputs[i] for i in inputs])))
        return self.classifier(concatenate([outputs[i] for i in self.output]).mean((2, 3)))


def load(folder=HERE):
    """The network with its weights, ready for use, and its config."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    network = Network(config)
    network.load_state_dict(load_file(Path(folder) / "model.safetensors"), strict=True)
    return network.eval(), config


def taps(side, size):
    """For each of `size` pixels: the first of `side` pixels that counts, and the weights from there on (triangle filter)."""
    scale = side / size
    reach, rows = max(scale, 1.0), []
    for index in range(size):
        centre = (index + 0.5) * scale
        first = max(int(numpy.floor(centre - reach)), 0)
        last = min(int(numpy.ceil(centre + reach)), side)
        weights = [max(1.0 - abs((at + 0.5 - centre) / reach), 0.0) for at in range(first, last)]
        rows.append((first, [numpy.float32(weight / sum(weights)) for weight in weights]))
    return rows


def read_image(path, size):
    """An image file as it was read for training: turned as EXIF says, transparency over black, the middle square, scaled."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode.startswith("I"):
        grey = numpy.asarray(picture).astype(numpy.int64) >> 8
        pixels = numpy.repeat(grey[:, :, None], 3, 2).astype(numpy.float32)
    else:
        pixels = numpy.asarray(picture.convert("RGBA")).astype(numpy.int64)
        pixels = (pixels[:, :, :3] * pixels[:, :, 3:] // 255).astype(numpy.float32)
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    pixels, filters = pixels[top : top + side, left : left + side], taps(side, size)
    # Sum by sum in single precision, in the order of the training program: not one pixel may differ.
    rows = numpy.zeros((size, side, 3), numpy.float32)
    for row, (first, weights) in enumerate(filters):
        for offset, weight in enumerate(weights):
            rows[row] += weight * pixels[first + offset]
    square = numpy.zeros((size, size, 3), numpy.float32)
    for column, (first, weights) in enumerate(filters):
        for offset, weight in enumerate(weights):
            square[:, column] += weight * rows[:, first + offset]
    whole = numpy.floor(square)
    whole += square - whole >= 0.5
    return torch.from_numpy(whole.clip(0, 255).astype(numpy.uint8)).permute(2, 0, 1)


def main():
    parser = argparse.ArgumentParser(description="Classifies image files.")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--json", action="store_true", help="every class's probability and logit")
    arguments = parser.parse_args()
    network, config = load()
    names, size = config["input"]["class_names"], config["architecture"]["image"]["height"]
    answers = []
    for path in arguments.images:
        with torch.no_grad():
            logits = network(read_image(path, size)[None])[0].double()
        shares = logits.softmax(0).tolist()
        order = sorted(range(len(names)), key=lambda index: -shares[index])
        answers.append({
            "image": path,
            "class": names[order[0]],
            "probabilities": dict(zip(names, shares)),
            "logits": logits.tolist(),
        })
        if not arguments.json:
            best = ", ".join(f"{names[index]} {100 * shares[index]:.1f}%" for index in order[:3])
            print(f"{path}: {best}")
    if arguments.json:
        print(json.dumps(answers, indent=2))


if __name__ == "__main__":
    main()
