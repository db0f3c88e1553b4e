"""A child of a netwright search in PyTorch: builds the convolutional network that it is handed and trains it on CIFAR-10's binary
files. netwright runs it once for each trial: it hears the architecture on stdin and answers with JSON lines on stdout."""
import json, os, sys
from pathlib import Path
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net, self.layers, channels = net, nn.ModuleList(), [net["image"]["channels"]]
        for l in net["layers"]:
            kernel, stride = (l["filter_height"], l["filter_width"]), (l["stride_height"], l["stride_width"])
            depth, padding = sum(channels[i] for i in l["inputs"]), [(k - 1) // 2 for k in kernel]
            conv = nn.Conv2d(depth, l["filters"], kernel, stride, padding, bias=False)
            self.layers.append(nn.Sequential(conv, nn.BatchNorm2d(l["filters"]), nn.ReLU()))
            channels.append(l["filters"])
        self.classifier = nn.Linear(sum(channels[i] for i in net["output"]), net["classes"])
    def forward(self, images):
        outputs = [images]  # 0 is the image, i the i-th layer
        for l, layer in zip(self.net["layers"], self.layers):
            outputs.append(layer(join([outputs[i] for i in l["inputs"]])))
        return self.classifier(join([outputs[i] for i in self.net["output"]]).mean((2, 3)))

def join(inputs):  # along depth; smaller ones are padded with zeros at the bottom and the right
    height, width = (max(x.shape[axis] for x in inputs) for axis in (2, 3))
    return torch.cat([nn.functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])) for x in inputs], 1)

def cifar10(folder, count):  # training images, each to zero mean and unit variance; the test set stays untouched
    data = b"".join(path.read_bytes() for path in sorted(Path(folder).glob("data_batch_*.bin")))
    rows = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(-1, 3073)[:count]
    images = rows[:, 1:].reshape(-1, 3, 32, 32).float()
    return (images - images.mean((1, 2, 3), True)) / images.std((1, 2, 3), keepdim=True), rows[:, 0].long()

def main(data, images=50000, epochs=12, batch=64):
    torch.manual_seed(int(os.environ["NETWRIGHT_SEED"]))
    device = "cuda" if torch.cuda.is_available() else "cpu"  # netwright shows each child its own GPU, or none
    net, (x, y) = Net(json.load(sys.stdin)).to(device), (part.to(device) for part in cifar10(data, int(images)))
    train, accuracies, saved = len(x) * 9 // 10, [], Path(os.environ["NETWRIGHT_CHECKPOINT_DIR"], "last.pt")
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, int(epochs))
    if saved.exists():  # the same trial, interrupted: it goes on after its last epoch
        *states, generator, accuracies = torch.load(saved)
        torch.set_rng_state(generator), [part.load_state_dict(s) for part, s in zip((net, sgd, rate), states)]
    for epoch in range(len(accuracies) + 1, int(epochs) + 1):
        for i in torch.randperm(train).split(int(batch)):
            loss = nn.functional.cross_entropy(net.train()(x[i]), y[i])
            sgd.zero_grad(), loss.backward(), sgd.step()
        with torch.no_grad():
            rate.step(), net.eval()
            guesses = torch.cat([net(images).argmax(1) for images in x[train:].split(500)])
        accuracies.append((guesses == y[train:]).float().mean().item())
        print(json.dumps({"epoch": epoch, "metric": accuracies[-1], "train_loss": loss.item()}), flush=True)
        states = [part.state_dict() for part in (net, sgd, rate)]
        torch.save([*states, torch.get_rng_state(), accuracies], f"{saved}.new"), os.replace(f"{saved}.new", saved)
    print(json.dumps({"reward": max(accuracies[-5:]) ** 3, "metric": max(accuracies[-5:])}))

if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
