"""Two searches side by side, of equal wall clock, cores, space and recipe: netwright's, and Optuna's TPE with PyTorch children in as many
processes as there are cores. For each seed: children trained, and the best validation accuracy.

    python benches/peers/searches.py --data cifar-10-batches-bin             twelve minutes a search, two cores, five seeds: two hours
    python benches/peers/searches.py --data … --minutes 1 --seeds 1          whether it works

Needs PyTorch and Optuna in the Python that runs it, and `make build`. Both train the children of config/cifar10.toml on the same number of
CIFAR-10's images, a network at a time on each core. Optuna's processes share a study in its journal file; a child counts when it has ended
within the time."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONFIG = ROOT / "config" / "cifar10.toml"


def ours(arguments, seed, seconds):
    """(children, best validation accuracy) of a netwright search."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        settings = {
            "run.dir": json.dumps(run), "run.seed": seed, "run.trials": 1_000_000, "run.max_seconds": seconds,
            "data.path": json.dumps(str(arguments.data.resolve())), "data.train_size": arguments.train, "data.validation_size": arguments.validation,
            "controller.strategy": json.dumps(arguments.strategy), "devices.use": '["cpu"]', "telemetry.listen": '"off"',
        }
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        command = [str(arguments.netwright), "search", str(CONFIG), *words]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, arguments.cores))
        if done.returncode:
            sys.exit(f"{' '.join(command)}:\n{done.stderr}")
        text = subprocess.run([str(arguments.netwright), "top", run, "--json", "-n", "1000000"], check=True, capture_output=True, text=True).stdout
        accuracies = [row["metric"] for row in json.loads(text) if row["metric"] is not None]
        return len(accuracies), max(accuracies, default=0.0)


def theirs(arguments, seed, seconds):
    """The same of Optuna's processes."""
    with tempfile.TemporaryDirectory() as folder:
        end = time.time() + seconds
        processes = []
        for number, core in enumerate(sorted(arguments.cores)):
            words = ["--study", f"{folder}/journal", "--seeds", str(seed), "--worker", str(number), "--until", str(end), "--data", str(arguments.data)]
            words += ["--train", str(arguments.train), "--validation", str(arguments.validation)]
            pin = lambda core=core: os.sched_setaffinity(0, {core})
            processes.append(subprocess.Popen([sys.executable, __file__, *words], preexec_fn=pin))
        for process in processes:
            if process.wait():
                sys.exit(f"a process of Optuna's ended with {process.returncode}")
        import optuna

        study = optuna.load_study(study_name="study", storage=storage(f"{folder}/journal"))
        values = [trial.value for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
        return len(values), max(values, default=0.0)


def storage(path):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))


def suggest(trial, space):
    """An Architecture's JSON from the space of the config, parameter by parameter."""
    layers = []
    for index in range(space["layers"]):
        size = {key: trial.suggest_categorical(f"{key}_{index}", space[key]) for key in ("filter_height", "filter_width", "filters")}
        inputs = [i for i in range(1, index + 1) if trial.suggest_categorical(f"skip_{i}_{index}", [0, 1])]
        layers.append({**size, "stride_height": space["stride_height"][0], "stride_width": space["stride_width"][0], "inputs": inputs or [0]})
    read = {i for layer in layers for i in layer["inputs"]}
    output = [i for i in range(1, len(layers) + 1) if i not in read]
    return {"image": {"channels": 3, "height": 32, "width": 32}, "classes": 10, "layers": layers, "output": output}


class Images:
    """CIFAR-10 on netwright's recipe: each image whitened; then, for training, upsampled to 36, cropped at random, flipped at random."""

    def __init__(self, folder, train, validation, seed):
        import numpy
        import torch

        folder = folder / "cifar-10-batches-bin" if (folder / "cifar-10-batches-bin").is_dir() else folder
        records = numpy.concatenate([numpy.fromfile(path, numpy.uint8).reshape(-1, 3073) for path in sorted(folder.glob("data_batch_*.bin"))])
        order = numpy.random.default_rng(seed).permutation(len(records))
        self.generator = torch.Generator().manual_seed(seed)
        self.train, self.validation = (records[part] for part in (order[:train], order[train : train + validation]))

    @staticmethod
    def tensors(records):
        import torch

        return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()).float(), torch.from_numpy(records[:, 0].copy()).long()

    @staticmethod
    def whitened(images):
        flat = images.flatten(1)
        deviation = flat.var(1, unbiased=False).clamp(min=1e-4).sqrt()
        return (images - flat.mean(1)[:, None, None, None]) / deviation[:, None, None, None]

    def batches(self):
        import torch
        import torch.nn.functional as F

        order = torch.randperm(len(self.train), generator=self.generator)
        for indices in order.split(64):
            images, labels = self.tensors(self.train[indices.numpy()])
            images = F.interpolate(self.whitened(images), size=(36, 36), mode="bilinear", align_corners=False)
            draws = torch.randint(5, (len(images), 2), generator=self.generator).tolist()
            images = torch.stack([image[:, y : y + 32, x : x + 32] for image, (y, x) in zip(images, draws)])
            flip = torch.rand(len(images), generator=self.generator) < 0.5
            images[flip] = images[flip].flip(3)
            yield images, labels

    def accuracy(self, net):
        import torch

        net.eval()
        right = 0
        with torch.no_grad():
            for start in range(0, len(self.validation), 64):
                images, labels = self.tensors(self.validation[start : start + 64])
                right += (net(self.whitened(images)).argmax(1) == labels).sum().item()
        net.train()
        return right / len(self.validation)


def train(architecture, images, child, until):
    """Best validation accuracy of the last epochs; None where the time is over before."""
    import torch
    import torch.nn.functional as F
    from convnet import Net

    net = Net(architecture)
    for parameter in net.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_uniform_(parameter, nonlinearity="relu")
    torch.nn.init.zeros_(net.classifier.bias)
    optimiser = torch.optim.SGD(
        net.parameters(), lr=child["learning_rate"], momentum=child["momentum"], weight_decay=child["weight_decay"], nesterov=True, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, child["epochs"])
    accuracies = []
    for _ in range(child["epochs"]):
        for batch, labels in images.batches():
            if time.time() > until:
                return None
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(net(batch), labels).backward()
            optimiser.step()
        schedule.step()
        accuracies.append(images.accuracy(net))
    return max(accuracies[-child["reward_window"] :])


def work(arguments):
    """One of Optuna's processes."""
    import optuna
    import torch

    torch.set_num_threads(1)
    config = tomllib.loads(CONFIG.read_text())
    seed = 1000 * arguments.seeds + arguments.worker
    torch.manual_seed(seed)
    # Both processes take the same images, as netwright's lanes do.
    images = Images(arguments.data, arguments.train, arguments.validation, arguments.seeds)
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(study_name="study", storage=storage(arguments.study), sampler=sampler, direction="maximize", load_if_exists=True)

    def objective(trial):
        accuracy = train(suggest(trial, config["space"]), images, config["child"], arguments.until)
        if accuracy is None:
            raise optuna.TrialPruned
        return accuracy

    while time.time() < arguments.until:
        study.optimize(objective, n_trials=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10's binary files")
    parser.add_argument("--netwright", type=Path, default=ROOT / "target/release/netwright")
    parser.add_argument("--strategy", default="auto", help="controller.strategy")
    parser.add_argument("--minutes", type=float, default=12.0, help="of each search")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--cores", type=lambda text: set(map(int, text.split(","))), default={0, 1})
    parser.add_argument("--train", type=int, default=2000, help="training images")
    parser.add_argument("--validation", type=int, default=1000)
    # Of Optuna's processes, which this starts.
    parser.add_argument("--study", help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.study:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work(arguments)
        return
    import optuna

    seconds = 60 * arguments.minutes
    print(f"{arguments.minutes:g} minutes a search on {len(arguments.cores)} cores, {arguments.train} training images, Optuna {optuna.__version__}\n", flush=True)
    print("| seed | children, netwright | Optuna | ratio | best accuracy, netwright | Optuna |\n|---|---|---|---|---|---|", flush=True)
    ratios, better = [], 0
    for seed in range(1, arguments.seeds + 1):
        sides = [ours, theirs] if seed % 2 else [theirs, ours]
        results = {side: side(arguments, seed, seconds) for side in sides}
        (mine, my_best), (other, other_best) = results[ours], results[theirs]
        ratios.append(mine / max(other, 1))
        better += my_best > other_best
        print(f"| {seed} | {mine} | {other} | **{ratios[-1]:.2f}** | {100 * my_best:.1f}% | {100 * other_best:.1f}% |", flush=True)
    print(f"\nChildren: median {statistics.median(ratios):.2f}x. The better best: {better} of {arguments.seeds}.")


if __name__ == "__main__":
    main()
