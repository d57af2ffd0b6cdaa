"""Does the comparison of image settings catch wrong ones, and leave right ones alone? Models of ten settings.

    python parity/guard_settings.py IMAGES OUT [--binary fgmf]

IMAGES is a folder that `harden_models.py` writes: items of random colours. In OUT/images every second class gets more red
than blue, the others more blue than red: where colours say nothing, channels that are turned around cannot be noticed. Ten
small networks of four kinds are trained on that, each with its own normalisation, and exported by PyTorch with their `preprocessor_config.json`. `fgmf predict --data` must run with each as it
is. Of the first, fifth and eighth, of three kinds, the mean and deviation are then forgotten, the channels turned around, and the pixels
given as 0 to 255, by flags: each of the nine runs must stop with exit code 2. A line a run is printed. 400 images a run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CIFAR = [0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]
# Kind of network, mean, deviation, largest pixel value.
SETTINGS = [
    ("plain", *IMAGENET, 1), ("batch-norm", *IMAGENET, 1), ("patches", *IMAGENET, 1), ("mixed", *IMAGENET, 1),
    ("batch-norm", [0.5] * 3, [0.5] * 3, 1), ("plain", [0.5] * 3, [0.5] * 3, 1), ("plain", [0.0] * 3, [1.0] * 3, 1),
    ("patches", *CIFAR, 1), ("plain", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 255), ("batch-norm", [0.0] * 3, [1.0] * 3, 1),
]
TRIED = 0, 4, 7


def network(kind):
    conv = lambda i, o: [nn.Conv2d(i, o, 3, 2, 1), *([nn.BatchNorm2d(o)] if kind == "batch-norm" else []), nn.ReLU()]  # noqa: E731
    if kind == "patches":
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True)

        class Patches(nn.Module):
            def __init__(self):
                super().__init__()
                self.cut = nn.Conv2d(3, 64, 4, 4)
                self.place = nn.Parameter(torch.randn(1, 64, 64) * 0.02)
                self.body = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
                self.head = nn.Linear(64, 10)

            def forward(self, x):
                return self.head(self.body(self.cut(x).flatten(2).transpose(1, 2) + self.place).mean(1))

        return Patches()
    tail = [nn.Flatten(), nn.Linear(64 * 16, 128), nn.GELU() if kind == "mixed" else nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*conv(3, 32), *conv(32, 64), *conv(64, 64), *tail)


def tinted(source, out):
    """The images with colours that say something of the class."""
    for index, folder in enumerate(sorted(p for p in source.glob("*/*"))):
        to = out / folder.relative_to(source)
        to.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.png"):
            x = np.asarray(Image.open(path))
            red, _, blue = x.mean((0, 1))
            Image.fromarray(x[..., ::-1] if (red > blue) == bool(index % 2) else x).save(to / path.name)


def images(folder):
    classes = sorted(p.name for p in folder.iterdir())
    files = [(p, i) for i, name in enumerate(classes) for p in sorted((folder / name).glob("*.png"))]
    return np.stack([np.asarray(Image.open(p)) for p, _ in files]), np.array([i for _, i in files]), classes


def trained(kind, mean, std, largest, data, epochs=6):
    pixels, labels, _ = data
    x = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() * (largest / 255)
    x = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    y, net = torch.from_numpy(labels), network(kind)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * -(-len(y) // 64))
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def export(net, folder, mean, std, largest, classes):
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        torch.onnx.export(net, (torch.randn(2, 3, 32, 32),), folder / "model.onnx", dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False)
    (folder / "classes.txt").write_text("\n".join(classes))
    config = {"do_rescale": largest == 1, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": mean, "image_std": std}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def asked(binary, folder, out, *flags):
    """The exit code, and the last line of what was said."""
    command = [binary, "predict", folder / "model.onnx", "--data", out / "images", "--limit", "400", *flags]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in (run.stdout + run.stderr).splitlines() if "accuracy" in line or "error" in line or "right" in line]
    return run.returncode, said[-1].strip() if said else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--binary", default=ROOT / "target/release/fgmf")
    given = parser.parse_args()
    torch.manual_seed(0)
    if not (given.out / "images").exists():
        tinted(given.images, given.out / "images")
    data, failed = images(given.out / "images/train"), 0
    for index, (kind, mean, std, largest) in enumerate(SETTINGS):
        folder = given.out / f"setting-{index}"
        if not (folder / "model.onnx").exists():
            export(trained(kind, mean, std, largest, data), folder, mean, std, largest, data[2])
        words = lambda v: ",".join(map(str, v))  # noqa: E731
        right = "--scale", str(largest), "--mean", words(mean), "--std", words(std)
        cases = [("right", (), 0)]
        if index in TRIED:
            cases += [
                ("forgotten", ("--scale", "1", "--mean", "0,0,0", "--std", "1,1,1"), 2),
                ("turned around", (*right, "--bgr"), 2),
                ("0 to 255", ("--scale", "255", *right[2:]), 2),
            ]
        for name, flags, wanted in cases:
            code, said = asked(given.binary, folder, given.out, *flags)
            failed += code != wanted
            print(f"{index} {kind}, {words(mean)} / {words(std)} of {largest}: {name}: exit {code}, {said[:200]}", flush=True)
    print(f"{failed} not as they should be")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
