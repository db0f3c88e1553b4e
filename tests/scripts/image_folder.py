"""The same networks through CIFAR-10's binary files and through a folder of PNG files written out of them: their accuracies must be the same,
but for the noise of another split (`make test-scripts`, outside the short gate).

    python3 tests/scripts/image_folder.py NETWRIGHT CIFAR10-FOLDER [IMAGES]"""
import sqlite3, struct, subprocess, sys, tempfile, zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def png(record):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    planes = [record[1 + 1024 * plane : 1025 + 1024 * plane] for plane in range(3)]
    pixels = bytes(value for pixel in zip(*planes) for value in pixel)
    lines = b"".join(b"\0" + pixels[96 * row : 96 * row + 96] for row in range(32))
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 1)) + chunk(b"IEND", b"")


def search(netwright, folder, name, images, *data):
    sets = ["run.trials=2", "controller.children=2", "child.epochs=6", "telemetry.listen=off", f"data.train_size={images * 8 // 10}"]
    sets += [f"data.validation_size={images - images * 8 // 10}", *data]
    command = [netwright, "search", str(ROOT / "config/cifar10.toml"), "--run-dir", str(folder / name)]
    subprocess.run([*command, *(word for key in sets for word in ("--set", key))], check=True, stdout=subprocess.DEVNULL)
    database = sqlite3.connect(f"file:{folder / name}/search.db?mode=ro", uri=True)
    return database.execute("SELECT architecture, metric FROM trials ORDER BY id").fetchall()


def main(netwright, cifar10, images="10000"):
    images, folder = int(images), Path(tempfile.mkdtemp())
    data = Path(cifar10, "data_batch_1.bin").read_bytes()[: 3073 * images]
    (folder / "binary").mkdir()
    (folder / "binary" / "data_batch_1.bin").write_bytes(data)
    for index in range(images):
        record = data[3073 * index : 3073 * (index + 1)]
        path = folder / "images" / CLASSES[record[0]] / f"{index:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(record))
    binary = search(netwright, folder, "one", images, f"data.path={folder}/binary")
    files = search(netwright, folder, "two", images, "data.kind=image-folder", f"data.path={folder}/images", "data.size=32")
    for (network, accuracy), (same, other) in zip(binary, files):
        assert network == same
        print(f"{images} images: binary {100 * accuracy:.2f}%, folder {100 * other:.2f}%")
    means = [sum(metric for _, metric in rows) / len(rows) for rows in (binary, files)]
    assert abs(means[0] - means[1]) < 0.02, means


main(*sys.argv[1:])
