"""The language model of src/child/language_model in PyTorch: the same layers, recipe and text, so that anyone can compare.

  train   perplexity after each epoch of a text:  language.py train --data FOLDER --hidden 200 --epochs 3
  step    processor time of one training step:    language.py step --hidden 200 [--compile]

Masks are variational (one a sequence and window, all its steps alike), the loss is summed over the steps and averaged over the
sequences (Zaremba et al. 2014), every validation token counts once. Needs PyTorch alone.
"""
import argparse
import json
import math
import pathlib
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


def tokens(path):
    return [word for line in path.read_text().splitlines() for word in line.split() + ["<eos>"]]


def corpus(folder):
    """(train, validation) as ids of the words of train, and how many there are."""
    parts = [tokens(next(pathlib.Path(folder).glob(f"*{name}.txt"))) for name in ("train", "valid")]
    ids = {}
    for word in parts[0]:
        ids.setdefault(word, len(ids))
    return *(torch.tensor([ids[word] if word in ids else ids["<unk>"] for word in part]) for part in parts), len(ids), ids["<eos>"]


class Lstm(nn.Module):
    """nn.LSTM with one bias instead of two."""

    def __init__(self, hidden):
        super().__init__()
        self.lstm = nn.LSTM(hidden, hidden)
        self.lstm.bias_hh_l0.requires_grad_(False).zero_()

    def forward(self, x, state, mask):
        assert mask is None, "nn.LSTM knows no mask on h"
        return self.lstm(x, state)


class NasCell(nn.Module):
    """The cell that TensorFlow ships: tf.contrib.rnn.NASCell, without biases."""

    def __init__(self, hidden):
        super().__init__()
        self.x = nn.Linear(hidden, 8 * hidden, bias=False)
        self.h = nn.Linear(hidden, 8 * hidden, bias=False)

    def forward(self, x, state, mask):
        h, c = (s[0] for s in state)
        outputs = []
        for product in self.x(x):
            x0, x1, x2, x3, x4, x5, x6, x7 = product.chunk(8, 1)
            m0, m1, m2, m3, m4, m5, m6, m7 = self.h(h if mask is None else h * mask).chunk(8, 1)
            p0 = torch.tanh(torch.sigmoid(x0 + m0) * torch.relu(x1 + m1))
            p1 = torch.tanh(torch.sigmoid(x2 + m2) + torch.relu(x3 * m3))
            p2 = torch.tanh(torch.tanh(x4 + m4) * torch.sigmoid(x5 + m5))
            p3 = torch.sigmoid(torch.tanh(x6 + m6) + torch.sigmoid(x7 + m7))
            c = torch.tanh(p0 + c) * p1
            h = torch.tanh(c * torch.tanh(p2 + p3))
            outputs.append(h)
        return torch.stack(outputs), (h[None], c[None])


class Model(nn.Module):
    def __init__(self, vocabulary, options):
        super().__init__()
        self.options, self.hidden = options, options.hidden
        self.embedding = nn.Embedding(vocabulary, options.hidden)
        cell = {"lstm": Lstm, "nascell": NasCell}[options.cell]
        self.layers = nn.ModuleList(cell(options.hidden) for _ in range(options.layers))
        self.output = nn.Linear(options.hidden, vocabulary)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.zero_() if "bias" in name else parameter.uniform_(-options.init_scale, options.init_scale)

    def start(self, batch):
        return [(torch.zeros(1, batch, self.hidden),) * 2 for _ in self.layers]

    def mask(self, rate, shape):
        """Zeros with probability `rate`, else 1 / (1 - rate)."""
        return torch.empty(shape).bernoulli_(1 - rate).div_(1 - rate) if self.training and rate > 0 else None

    def forward(self, inputs, states):
        """inputs [steps, batch]; logits [steps * batch, vocabulary] and the next states."""
        o, batch = self.options, inputs.shape[1]
        x = self.embedding(inputs)
        words = self.mask(o.embedding_dropout, (self.embedding.num_embeddings, 1))
        if words is not None:
            x = x * words[inputs]
        after = []
        for layer, state in zip(self.layers, states):
            mask = self.mask(o.input_dropout, (batch, self.hidden))
            x, state = layer(x if mask is None else x * mask, state, self.mask(o.recurrent_dropout, (batch, self.hidden)))
            after.append(tuple(s.detach() for s in state))
        mask = self.mask(o.output_dropout, (batch, self.hidden))
        x = x if mask is None else x * mask
        return self.output(x.reshape(-1, self.hidden)), after


def validate(model, text, eos, streams, steps):
    """Perplexity: each token once, each stream but the first warmed on the `steps` tokens before it."""
    model.eval()
    inputs = torch.cat([torch.tensor([eos]), text[:-1]])
    length = -(-len(text) // streams)
    nats, states = 0.0, model.start(streams)
    with torch.no_grad():
        for first in range(-steps, length, steps):
            place = torch.arange(first, min(first + steps, length) if first >= 0 else 0)[:, None] + torch.arange(streams) * length
            logits, states = model(inputs[place.clamp(0, len(text) - 1)], states)
            if first < 0:
                states = [tuple(s * torch.tensor([0.0] + [1.0] * (streams - 1))[None, :, None] for s in state) for state in states]
                continue
            losses = F.cross_entropy(logits, text[place.clamp(0, len(text) - 1)].reshape(-1), reduction="none")
            nats += losses[(place < len(text)).reshape(-1)].double().sum().item()
    model.train()
    return math.exp(nats / len(text))


def step(model, optimiser, inputs, targets, states, clip):
    optimiser.zero_grad(set_to_none=True)
    logits, states = model(inputs, states)
    loss = F.cross_entropy(logits, targets.reshape(-1), reduction="sum") / inputs.shape[1]
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimiser.step()
    return loss.detach() / inputs.shape[0], states


def train(o):
    text, validation, vocabulary, eos = corpus(o.data)
    text, validation = text[: o.train_size], validation[: o.validation_size]
    model = Model(vocabulary, o)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print(json.dumps({"parameters": count, "vocabulary": vocabulary, "train": len(text), "validation": len(validation)}), flush=True)
    optimiser = torch.optim.SGD(model.parameters(), lr=o.learning_rate)
    inputs = torch.cat([torch.tensor([eos]), text[:-1]])
    length = len(text) // o.batch
    inputs, targets = (t[: length * o.batch].view(o.batch, length).t().contiguous() for t in (inputs, text))
    for epoch in range(o.epochs):
        for group in optimiser.param_groups:
            group["lr"] = o.learning_rate * o.decay ** max(epoch + 1 - o.decay_after, 0)
        started, nats, states = time.process_time(), 0.0, model.start(o.batch)
        for first in range(0, length, o.steps):
            rows = slice(first, min(first + o.steps, length))
            loss, states = step(model, optimiser, inputs[rows], targets[rows], states, o.clip)
            nats += loss.item() * (rows.stop - rows.start)
        perplexity = validate(model, validation, eos, 10, o.steps)
        seconds = round(time.process_time() - started, 1)
        print(json.dumps({"epoch": epoch + 1, "train_loss": round(nats / length, 4), "perplexity": round(perplexity, 3), "cpu_seconds": seconds}), flush=True)


def stepper(o):
    """A training step on drawn words, ready to be called."""
    model = Model(10_000, o)
    optimiser = torch.optim.SGD(model.parameters(), lr=o.learning_rate)
    states, inputs = model.start(o.batch), torch.randint(10_000, (o.steps, o.batch))
    targets, run = inputs.roll(-1, 0), torch.compile(model) if o.compile else model
    return lambda: step(run, optimiser, inputs, targets, states, o.clip)


def measure(o):
    f = stepper(o)
    f(), f()
    start, wall, processor = time.perf_counter(), [], []
    while len(wall) < 5 or time.perf_counter() - start < o.seconds:
        a, b = time.perf_counter(), time.process_time()
        f()
        wall.append(1e3 * (time.perf_counter() - a))
        processor.append(1e3 * (time.process_time() - b))
    numbers = {"step": statistics.median(wall), "step_cpu": statistics.median(processor), "step_cpu_least": min(processor)}
    print(json.dumps({"cell": o.cell, "compile": o.compile, **{k: round(v, 2) for k, v in numbers.items()}}))


def options(words=None):
    """Of the command line, or of `words`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "step"])
    parser.add_argument("--data", default="../shared/data/ptb", help="folder with *train.txt and *valid.txt")
    parser.add_argument("--cell", choices=["lstm", "nascell"], default="lstm")
    parser.add_argument("--compile", action="store_true")
    for name, default in [("hidden", 200), ("layers", 2), ("batch", 20), ("steps", 35), ("epochs", 3), ("decay-after", 6), ("threads", 1), ("seed", 1)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--validation-size", type=int)
    for name, default in [("learning-rate", 1.0), ("decay", 0.8), ("clip", 5.0), ("init-scale", 0.05), ("embedding-dropout", 0.0),
                          ("input-dropout", 0.0), ("recurrent-dropout", 0.0), ("output-dropout", 0.0), ("seconds", 10.0)]:
        parser.add_argument(f"--{name}", type=float, default=default)
    return parser.parse_args(words)


def main():
    o = options()
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    {"train": train, "step": measure}[o.what](o)


if __name__ == "__main__":
    main()
