"""A language model around a recurrent cell that netwright found and trained. Rebuilds it from config.json, loads model.safetensors,
continues a text:

    python model.py [TEXT] [--tokens 100] [--temperature 1.0] [--seed 1]

Needs torch and safetensors. To use the model in a program of your own:

    from model import load
    network, config = load()
    state = network.start(batch=1)
    logits, state = network(tokens, state)      # tokens: int64 [batch]; logits: [batch, vocabulary]
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

HERE = Path(__file__).resolve().parent
COMBINATIONS = {"add": torch.add, "elem_mult": torch.mul, "max": torch.maximum}
ACTIVATIONS = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "sin": torch.sin,
}
# Gates, vectors of biases beside each, and states of the cells that are no trees.
REFERENCE_CELLS = {"rnn": (1, 1, 1), "lstm": (4, 1, 2), "gru": (3, 2, 1)}


class Layer(nn.Module):
    """One step of a cell: x [batch, hidden] and the states before it become the states after it; the first is h, the output."""

    def __init__(self, cell, hidden):
        super().__init__()
        self.cell = cell
        tree = ((len(cell["nodes"]) + 1) // 2, 0, 2) if "nodes" in cell else None
        gates, biases, self.states = tree or REFERENCE_CELLS[cell["reference"]]
        self.input_weight = nn.Parameter(torch.zeros(gates, hidden, hidden))
        self.recurrent_weight = nn.Parameter(torch.zeros(gates, hidden, hidden))
        for name in ("input_bias", "recurrent_bias")[:biases]:
            self.register_parameter(name, nn.Parameter(torch.zeros(gates, hidden)))

    def products(self, which, x):
        """W x + b of every gate, [gates, batch, hidden]."""
        product = x @ getattr(self, f"{which}_weight").transpose(1, 2)
        bias = getattr(self, f"{which}_bias", None)
        return product if bias is None else product + bias[:, None]

    def forward(self, x, states):
        x, r = self.products("input", x), self.products("recurrent", states[0])
        if "nodes" in self.cell:
            return self.tree(x, r, states[1])
        return getattr(self, self.cell["reference"])(x, r, states)

    def rnn(self, x, r, states):
        return [torch.tanh(x[0] + r[0])]

    def lstm(self, x, r, states):
        i, f, g, o = x + r
        c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]

    def gru(self, x, r, states):
        reset, z = torch.sigmoid(x[0] + r[0]), torch.sigmoid(x[1] + r[1])
        new = torch.tanh(x[2] + reset * r[2])
        return [(1 - z) * new + z * states[0]]

    def tree(self, x, r, c):
        """Leaf i joins x and r of gate i, node base+k the outputs of nodes 2k and 2k+1; the last output is h."""
        nodes, inject = self.cell["nodes"], self.cell["inject"]
        base, before, after = (len(nodes) + 1) // 2, [], []
        for number, node in enumerate(nodes):
            pair = 2 * (number - base)
            a, b = (x[number], r[number]) if number < base else (after[pair], after[pair + 1])
            before.append(COMBINATIONS[node["combination"]](a, b))
            output = ACTIVATIONS[node["activation"]](before[-1])
            if number == self.cell["inject_index"]:
                output = ACTIVATIONS[inject["activation"]](COMBINATIONS[inject["combination"]](output, c))
            after.append(output)
        return [after[-1], before[self.cell["cell_index"]]]


class Softmax(nn.Module):
    def __init__(self, hidden, words):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(hidden, words)), nn.Parameter(torch.zeros(words))

    def forward(self, x):
        return x @ self.weight + self.bias


class Network(nn.Module):
    def __init__(self, config):
        super().__init__()
        cell = config["architecture"]
        model = cell["model"]
        words, self.hidden, self.layers = model["vocabulary"], model["hidden"], model["layers"]
        if not model["shared_embeddings"]:
            self.embedding = nn.Parameter(torch.zeros(words, self.hidden))
        for number in range(1, self.layers + 1):
            self.add_module(f"layer{number}", Layer(cell, self.hidden))
        self.softmax = Softmax(self.hidden, words)

    def start(self, batch):
        """The state before the first token: zeros [layers, states, batch, hidden]."""
        return torch.zeros(self.layers, self.layer1.states, batch, self.hidden)

    def forward(self, tokens, state):
        """The logits of the token that follows, and the state after these tokens, int64 [batch]."""
        table = self.embedding if hasattr(self, "embedding") else self.softmax.weight.T
        x, after = table[tokens], []
        for number in range(1, self.layers + 1):
            states = getattr(self, f"layer{number}")(x, state[number - 1])
            x = states[0]
            after.append(torch.stack(states))
        return self.softmax(x), torch.stack(after)


def load(folder=HERE):
    """The model with its weights, ready for use, and its config."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    network = Network(config)
    network.load_state_dict(load_file(Path(folder) / "model.safetensors"), strict=True)
    return network.eval(), config


def tokens_of(text, config):
    """Positions in the vocabulary; a line's end is <eos>, and what is not there is <unk> or left out."""
    places = {word: place for place, word in enumerate(config["input"]["vocabulary"])}
    tokens = []
    for index, line in enumerate(text.split("\n")):
        words = line.split() if config["input"]["unit"] == "word" else list(" ".join(line.split()))
        words = (["<eos>"] if index else []) + words
        tokens += [places.get(word, places.get("<unk>")) for word in words]
    return [token for token in tokens if token is not None]


def main():
    parser = argparse.ArgumentParser(description="Continues a text.")
    parser.add_argument("text", nargs="?", default="", metavar="TEXT")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1: likelier tokens more often")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network, config = load()
    words, end = config["input"]["vocabulary"], config["input"]["end"]
    between = " " if config["input"]["unit"] == "word" else ""
    state, sampled = network.start(batch=1), []
    with torch.no_grad():
        for token in [end, *tokens_of(arguments.text, config)]:
            logits, state = network(torch.tensor([token]), state)
        for _ in range(arguments.tokens):
            token = torch.multinomial((logits[0] / arguments.temperature).softmax(0), 1)
            sampled.append("\n" if token.item() == end else words[token.item()])
            logits, state = network(token, state)
    print(between.join(([arguments.text] if arguments.text else []) + sampled))


if __name__ == "__main__":
    main()
