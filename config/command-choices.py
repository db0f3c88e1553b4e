"""A child of a netwright search over decisions of its own: a perceptron in PyTorch on CIFAR-10's binary files. netwright runs it once
for each trial: it reads the decisions from stdin and answers with JSON lines on stdout."""
import json, os, sys
from pathlib import Path
import torch
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}

def perceptron(values):
    layers, width = [nn.Flatten()], 3 * 32 * 32
    for _ in range(values["depth"]):
        layers += [nn.Linear(width, values["units"]), ACTIVATIONS[values["activation"]](), nn.Dropout(values["dropout"])]
        width = values["units"]
    return nn.Sequential(*layers, nn.Linear(width, 10))

def cifar10(folder, count):
    data = b"".join(path.read_bytes() for path in sorted(Path(folder).glob("data_batch_*.bin")))
    rows = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(-1, 3073)[:count]
    return rows[:, 1:].float() / 127.5 - 1, rows[:, 0].long()

def main(data, images=50000, epochs=5, batch=128):
    torch.manual_seed(int(os.environ["NETWRIGHT_SEED"]))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    values = json.load(sys.stdin)["values"]
    net, (x, y) = perceptron(values).to(device), (part.to(device) for part in cifar10(data, int(images)))
    train, accuracies = len(x) * 9 // 10, []
    adam = torch.optim.Adam(net.parameters(), values["learning_rate"])
    for epoch in range(1, int(epochs) + 1):
        for i in torch.randperm(train).split(int(batch)):
            loss = nn.functional.cross_entropy(net.train()(x[i]), y[i])
            adam.zero_grad(), loss.backward(), adam.step()
        with torch.no_grad():
            accuracies.append((net.eval()(x[train:]).argmax(1) == y[train:]).float().mean().item())
        print(json.dumps({"epoch": epoch, "metric": accuracies[-1], "train_loss": loss.item()}), flush=True)
    print(json.dumps({"reward": max(accuracies), "metric": max(accuracies)}))

if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
