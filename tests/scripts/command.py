"""The shipped training scripts against PyTorch itself (`make test-scripts`, outside the short gate): searches with both, stopped and
continued in the middle, then every network of the first, and drawn ones with every type of layer, is built again and compared with its
twin in benches/peers/convnet.py: what it computes, and its gradient. (`make test-peers` compares the twin with netwright's own engines.)

    python3 tests/scripts/command.py NETWRIGHT [CIFAR10-FOLDER]     without a folder: random images"""
import importlib.util, json, os, random, signal, sqlite3, subprocess, sys, tempfile, time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(run, sql):
    return sqlite3.connect(f"file:{run}/search.db?mode=ro", uri=True).execute(sql).fetchall()


def search(netwright, folder, example, data, *more):
    argv = json.dumps([sys.executable, str(ROOT / f"config/{example}.py"), f"data={data}", "images=2000", "epochs=2"])
    sets = ["run.trials=4", "controller.children=2", "telemetry.listen=off", "devices.use=['cpu']", f"child.command.argv={argv}"]
    command = [netwright, "search", str(ROOT / f"config/{example}.toml"), "--run-dir", str(folder / example)]
    return subprocess.Popen([*command, *(word for key in sets for word in ("--set", key)), *more])


sys.path.insert(0, str(ROOT / "benches/peers"))
example, twin, agree = (load(ROOT / path) for path in ("config/command.py", "benches/peers/convnet.py", "benches/peers/agree.py"))


def compare(architecture, parameters, what):
    """The example's network and its twin: the same parameters in the same order, the same outputs and gradients in training and after."""
    image = architecture["image"]
    torch.manual_seed(1)
    net, other = example.Net(architecture), twin.Net(architecture)
    own, theirs = list(net.parameters()), list(other.parameters())
    assert [p.shape for p in own] == [p.shape for p in theirs], what
    assert parameters is None or sum(p.numel() for p in own) == parameters, what
    images, labels = torch.randn(8, image["channels"], image["height"], image["width"]), torch.arange(8) % architecture["classes"]
    with torch.no_grad():
        for a, b in zip(own, theirs):
            b.copy_(a.normal_(0.5, 0.3))
    for one in (net, other):
        torch.nn.functional.cross_entropy(one.train()(images), labels).backward()
    for a, b in zip(own, theirs):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4 * a.grad.abs().max().item() + 1e-6), what
    with torch.no_grad():
        a, b = net.eval()(images), other.eval()(images)
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * a.abs().max().item()), what


def main(netwright, data=None):
    folder = Path(tempfile.mkdtemp())
    if data is None:
        data = folder
        Path(folder, "data_batch_1.bin").write_bytes(b"".join(bytes([i % 10]) + os.urandom(3072) for i in range(2000)))
    for example in ("command", "command-choices"):
        first = search(netwright, folder, example, data)
        checkpoints, started = folder / example / "checkpoints", time.monotonic()
        if example == "command":  # stopped once a child has saved its first epoch, and continued
            while not list(checkpoints.glob("*/last.pt")):
                assert first.poll() is None and time.monotonic() - started < 300, "no checkpoint"
                time.sleep(0.01)
            first.send_signal(signal.SIGTERM)
            assert first.wait() == 143
            first = search(netwright, folder, example, data)
        assert first.wait() == 0
        trials = rows(folder / example, "SELECT id, status, reward, metric, error FROM trials ORDER BY id")
        print(example, trials)
        assert len(trials) == 4 and all(status == "completed" for _, status, *_ in trials)

    for trial, text, parameters in rows(folder / "command", "SELECT id, architecture, parameters FROM trials"):
        compare(json.loads(text), parameters, f"trial {trial}")
    networks = [*agree.NETWORKS.values(), *(agree.drawn(random.Random(seed)) for seed in range(200))]
    for number, architecture in enumerate(networks):
        compare(architecture, None, f"network {number}: {json.dumps(architecture)}")
    types = {layer.get("type", "conv") for architecture in networks for layer in architecture["layers"]}
    assert types == {"conv", "max_pool", "avg_pool", "lcn", "batch_norm"}, types
    print("the scripts work, their networks have the parameters that netwright says and compute what their twins compute")


main(*sys.argv[1:])
