"""The shipped training scripts against PyTorch itself (`make test-scripts`, outside the short gate): searches with both, stopped and
continued in the middle, then every network of the first is built again and compared with its twin in benches/peers/convnet.py.

    python3 tests/scripts/command.py NETWRIGHT [CIFAR10-FOLDER]     without a folder: random images"""
import importlib.util, json, os, signal, sqlite3, subprocess, sys, tempfile, time
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

    example, twin = load(ROOT / "config/command.py"), load(ROOT / "benches/peers/convnet.py")
    images = torch.randn(8, 3, 32, 32)
    for trial, text, parameters in rows(folder / "command", "SELECT id, architecture, parameters FROM trials"):
        architecture = json.loads(text)
        net = example.Net(architecture).eval()
        other = twin.Net({**architecture, **architecture["image"]}).eval()
        assert sum(p.numel() for p in net.parameters()) == parameters, trial
        convolutions = [(layer[0], layer[1]) for layer in net.layers]
        for (conv, norm), a, b in zip(convolutions, other.convs, other.norms):
            a.load_state_dict(conv.state_dict()), b.load_state_dict(norm.state_dict())
        other.classifier.load_state_dict(net.classifier.state_dict())
        with torch.no_grad():
            assert torch.allclose(net(images), other(images), atol=1e-5), trial
    print("the scripts work, their networks have the parameters that netwright says and compute what their twins compute")


main(*sys.argv[1:])
