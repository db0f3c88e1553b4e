"""A child of a netwright search in PyTorch: builds the convolutional network that it is handed and trains it on CIFAR-10's binary
files. netwright runs it once for each trial: it reads the architecture from stdin and answers with JSON lines on stdout."""
import json, os, pathlib, sys
import torch, torch.nn as nn, torch.nn.functional as F

class Net(nn.Module):
    def __init__(self, net):
        super().__init__()
        sizes = lambda l: ([l[f"{what}_height"], l[f"{what}_width"]] for what in ("filter", "stride"))
        conv = lambda l: [nn.LazyConv2d(l["filters"], *sizes(l), bias=False), nn.LazyBatchNorm2d(), nn.ReLU()]
        trained = lambda l: conv(l) if "filters" in l else [nn.LazyBatchNorm2d()] if l["type"] == "batch_norm" else []
        self.net, self.layers = net, nn.ModuleList(nn.Sequential(*trained(l)) for l in net["layers"])
        self.classifier = nn.LazyLinear(net["classes"])
        self.eval()(torch.zeros(1, *(net["image"][axis] for axis in ("channels", "height", "width"))))  # layers count their channels
    def forward(self, images):
        outputs = [images]  # 0 is the image, i the i-th layer
        for l, layer in zip(self.net["layers"], self.layers):
            outputs.append(layer(seen(l, join([outputs[i] for i in l["inputs"]]))))
        return self.classifier(join([outputs[i] for i in self.net["output"]]).mean((2, 3)))
def join(inputs):  # along depth; smaller ones are padded with zeros at the bottom and the right
    height, width = (max(x.shape[axis] for x in inputs) for axis in (2, 3))
    return torch.cat([F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])) for x in inputs], 1)
def seen(l, x):  # all that a layer does before its parameters; side - 1 pixels of padding, the odd one at the bottom and the right
    kind, side, stride = l.get("type", "conv"), l.get("size", l.get("window")), l.get("stride")
    pad = lambda x, height, width, value=0.0: F.pad(x, ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2), value=value)
    mean = lambda f, x: f(pad(x, side, side)) / f(pad(torch.ones_like(x), side, side))  # of the pixels inside the image alone
    if kind in ("conv", "batch_norm"): return pad(x, l.get("filter_height", 1), l.get("filter_width", 1))
    if kind == "max_pool": return F.max_pool2d(pad(x, side, side, -torch.inf), side, stride)
    if kind == "avg_pool": return mean(lambda x: F.avg_pool2d(x, side, stride), x)
    line = torch.exp(-8 * ((torch.arange(side, device=x.device) - side // 2) / side) ** 2)  # local contrast normalisation
    blurred = lambda x: mean(lambda x: F.conv2d(x, torch.outer(line, line)[None, None]), x.mean(1, True))
    return (x := x - blurred(x)) / (deviation := (blurred(x * x) + 1e-5).sqrt()).maximum(deviation.mean((2, 3), True))

def cifar10(folder, count):  # training images, each to zero mean and unit variance; the test set stays untouched
    data = b"".join(path.read_bytes() for path in sorted(pathlib.Path(folder).glob("data_batch_*.bin")))
    rows = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(-1, 3073)[:count]
    return F.layer_norm(rows[:, 1:].reshape(-1, 3, 32, 32).float(), (3, 32, 32)), rows[:, 0].long()

def main(data, images=50000, epochs=12, batch=64):
    torch.manual_seed(int(os.environ["NETWRIGHT_SEED"]))
    net, device = json.load(sys.stdin), "cuda" if torch.cuda.is_available() else "cpu"  # each child has its own GPU, or none
    model, x, y = (part.to(device) for part in (Net(net), *cifar10(data, int(images))))
    train, accuracies, saved = len(x) * 9 // 10, [], pathlib.Path(os.environ["NETWRIGHT_CHECKPOINT_DIR"], "last.pt")
    sgd = torch.optim.SGD(model.parameters(), net.get("learning_rate", 0.1), momentum=0.9, nesterov=True, weight_decay=1e-4)
    *_, rate = parts = model, sgd, torch.optim.lr_scheduler.CosineAnnealingLR(sgd, int(epochs))
    if saved.exists():  # the same trial, interrupted: it goes on after its last epoch
        *states, generator, accuracies = torch.load(saved)
        torch.set_rng_state(generator), [part.load_state_dict(state) for part, state in zip(parts, states)]
    for epoch in range(len(accuracies) + 1, int(epochs) + 1):
        for i in torch.randperm(train).split(int(batch)):
            loss = F.cross_entropy(model.train()(x[i]), y[i])
            sgd.zero_grad(), loss.backward(), sgd.step()
        rate.step(), model.eval()
        with torch.no_grad(): right = torch.cat([model(part).argmax(1) for part in x[train:].split(500)]) == y[train:]
        accuracies.append(right.float().mean().item())
        print(json.dumps({"epoch": epoch, "metric": accuracies[-1], "train_loss": loss.item()}), flush=True)
        torch.save([*(part.state_dict() for part in parts), torch.get_rng_state(), accuracies], f"{saved}.new"), os.replace(f"{saved}.new", saved)
    print(json.dumps({"reward": max(accuracies[-5:]) ** 3, "metric": max(accuracies[-5:])}))
if __name__ == "__main__": main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
