"""Models and images for docs/results/harden.md: what a user of PyTorch brings to `fgmf harden`.

    python3 parity/harden_models.py OUT

Writes OUT/images, the embedded Fashion-MNIST slice as 32x32 colour PNG in a folder per class (each item in a random colour on a
random darker ground, at a random place, with noise), the same at 224x224 in OUT/large (every third training image), and beside
them small models trained on them without attacks, exported as users do: `dynamo` (default of PyTorch, weights beside the file, batch
normalisation folded), `keep` (not optimised: batch normalisation stays), `legacy` (the older exporter), and `wide`, a network of
the same kind for 224x224, as `keep`. Seeds are fixed; weights depend on the version of PyTorch.
"""

import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

CLASSES = "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot".split()
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ASSETS = Path(__file__).resolve().parent.parent / "assets" / "fashion-mnist-mini"


def idx(name):
    raw = gzip.open(ASSETS / name).read()
    dims = struct.unpack_from(f">{raw[3]}I", raw, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


def coloured(image, rng):
    grey = np.zeros((32, 32))
    y, x = rng.integers(0, 5, 2)
    grey[y : y + 28, x : x + 28] = image / 255
    item, ground = rng.uniform(0.3, 1, 3), rng.uniform(0, 0.5, 3)
    colours = grey[..., None] * item + (1 - grey[..., None]) * ground
    return np.clip(255 * colours + rng.normal(0, 4, colours.shape), 0, 255).astype(np.uint8)


def images(out):
    rng, found = np.random.default_rng(0), {}
    for split in ("train", "test"):
        labels = idx(f"{split}-labels.idx.gz")
        pixels = np.stack([coloured(x, rng) for x in idx(f"{split}-images.idx.gz")])
        for i, (image, label) in enumerate(zip(pixels, labels)):
            for folder, size in (("images", 32), ("large", 224)):
                if size == 224 and split == "train" and i % 3:
                    continue
                place = out / folder / split / CLASSES[label]
                place.mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(image)
                picture = picture if size == 32 else picture.resize((224, 224), Image.Resampling.BICUBIC)
                picture.save(place / f"{i:05}.png")
        found[split] = pixels, labels.astype(np.int64)
    return found


class Block(nn.Module):
    def __init__(self, width, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        same = stride == 1 and width == out
        self.down = nn.Identity() if same else nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.down(x))


def resnet(wide):
    conv = nn.Conv2d(3, 16, 7, 4, 3, bias=False) if wide else nn.Conv2d(3, 16, 3, 1, 1, bias=False)
    stem = [conv, nn.BatchNorm2d(16), nn.ReLU()] + wide * [nn.MaxPool2d(3, 2, 1)]
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def normalised(pixels, size):
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if size != x.shape[-1]:
        x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def trained(net, data, size, epochs, every, rate):
    (pixels, labels), (test, truth) = ((x[:: every if k == "train" else 5], y[:: every if k == "train" else 5]) for k, (x, y) in data.items())
    y, truth = torch.from_numpy(labels), torch.from_numpy(truth)
    steps = epochs * -(-len(y) // 64)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for epoch in range(epochs):
        net.train()
        for rows in torch.randperm(len(y)).split(64):
            loss = F.cross_entropy(net(normalised(pixels[rows.numpy()], size)), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            right = torch.cat([net(normalised(t, size)).argmax(1) for t in np.array_split(test, 8)]) == truth
        print(f"{size}: epoch {epoch + 1}, {right.float().mean():.3f} of {len(truth)} test images right", flush=True)
    return net


def export(net, folder, size, **how):
    folder.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(net, (torch.randn(2, 3, size, size),), folder / "model.onnx", **how)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    config = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def main():
    out = Path(sys.argv[1])
    torch.manual_seed(0)
    data = images(out)
    free = {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
    net = trained(resnet(False), data, 32, 8, 1, 3e-3)
    export(net, out / "dynamo", 32, dynamo=True, **free)
    export(net, out / "keep", 32, dynamo=True, optimize=False, **free)
    export(net, out / "legacy", 32, dynamo=False, opset_version=17, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    wide = trained(resnet(True), data, 224, 12, 2, 3e-3)
    export(wide, out / "wide", 224, dynamo=True, optimize=False, **free)


main()
