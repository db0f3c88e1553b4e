"""One network trained by netwright and by PyTorch on the same recipe: the test errors of several seeds each, and the 95% interval of
their difference.

    python benches/peers/test_error.py --data cifar-10-batches-bin --architecture best.json

`best.json` is a network as `netwright export RUN TRIAL --format json` writes it. netwright's side is `netwright retrain --architecture`,
which ends with the only reading of the test images; PyTorch's is the recipe of config/cifar10.toml on the same number of training
images (those for training and those for validation). Needs PyTorch in the Python that runs it, and `make build`."""

import argparse
import json
import math
import statistics
import subprocess
import tempfile
import tomllib
from pathlib import Path

from searches import CONFIG, ROOT, Images

# Two-sided 95% quantiles of Student's t by degrees of freedom, 2 to 30.
T95 = [4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
       2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042]


def ours(arguments, seed):
    """The test error that a retraining ends with."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            # One recipe: there is nothing to choose, and the final training is what counts.
            "run.dir": json.dumps(f"{folder}/run"), "run.seed": seed, "retrain.epochs": 1, "retrain.final_epochs": arguments.epochs,
            "data.path": json.dumps(str(arguments.data.resolve())), "devices.use": '["cpu"]', "telemetry.listen": '"off"',
        }
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        command = [str(arguments.netwright), "retrain", "--architecture", str(arguments.architecture), str(CONFIG), *words, "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)["test"]["error"]


class WholeImages(Images):
    """All training images, and the test images in place of validation ones."""

    def __init__(self, folder, seed):
        import numpy

        folder = folder / "cifar-10-batches-bin" if (folder / "cifar-10-batches-bin").is_dir() else folder
        count = sum(path.stat().st_size for path in folder.glob("data_batch_*.bin")) // 3073
        super().__init__(folder, count, 0, seed)
        self.validation = numpy.fromfile(folder / "test_batch.bin", numpy.uint8).reshape(-1, 3073)


def theirs(arguments, seed):
    """The same of PyTorch."""
    import torch
    import torch.nn.functional as F
    from convnet import Net

    torch.manual_seed(seed)
    child = tomllib.loads(CONFIG.read_text())["child"]
    images = WholeImages(arguments.data, seed)
    net = Net(json.loads(arguments.architecture.read_text()))
    for parameter in net.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_uniform_(parameter, nonlinearity="relu")
    torch.nn.init.zeros_(net.classifier.bias)
    optimiser = torch.optim.SGD(
        net.parameters(), lr=child["learning_rate"], momentum=child["momentum"], weight_decay=child["weight_decay"], nesterov=True, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, arguments.epochs)
    for _ in range(arguments.epochs):
        for batch, labels in images.batches():
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(net(batch), labels).backward()
            optimiser.step()
        schedule.step()
    return 1 - images.accuracy(net)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10's binary files")
    parser.add_argument("--architecture", type=Path, required=True)
    parser.add_argument("--netwright", type=Path, default=ROOT / "target/release/netwright")
    parser.add_argument("--seeds", type=int, default=5, help="of each side, 2 to 16")
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    errors = {ours: [], theirs: []}
    print(f"{arguments.epochs} epochs\n\n| seed | test error, netwright | PyTorch |\n|---|---|---|", flush=True)
    for seed in range(1, arguments.seeds + 1):
        for side in errors:
            errors[side].append(side(arguments, seed))
        print(f"| {seed} | {errors[ours][-1]:.2%} | {errors[theirs][-1]:.2%} |", flush=True)
    difference = statistics.mean(errors[ours]) - statistics.mean(errors[theirs])
    # Seeds of the two sides have nothing in common, so the samples are independent; their variances are pooled.
    spread = math.sqrt((statistics.variance(errors[ours]) + statistics.variance(errors[theirs])) / arguments.seeds)
    half = T95[2 * arguments.seeds - 2 - 2] * spread
    print(f"\nnetwright {statistics.mean(errors[ours]):.2%}, PyTorch {statistics.mean(errors[theirs]):.2%}; difference {difference:+.2%}, "
          f"95% interval {difference - half:+.2%} to {difference + half:+.2%}.")


if __name__ == "__main__":
    main()
