"""Networks of our zoo in PyTorch, rebuilt from the ONNX files that `fgmf train` writes.

The file's metadata name the architecture, its initialisers carry our parameter names, and the forward passes are those of
`bench_torch.py`: no converter is needed (onnx2torch refuses our transformers).
"""

import gzip
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from bench_torch import NETWORKS, as_linear, cnn_tiny

SLICE = Path(__file__).resolve().parent.parent / "assets" / "fashion-mnist-mini"
ARCHITECTURES = {"cnn-tiny": cnn_tiny, "cnn-small": NETWORKS["cnn-small"], "preact-resnet18": NETWORKS["resnet18"], "vit-tiny": NETWORKS["vit-tiny"]}


class Zoo(torch.nn.Module):
    """A network with its parameters, for evaluation; no gradient in the parameters is ever asked for."""

    def __init__(self, path):
        super().__init__()
        file = onnx.load(str(path))
        facts = {entry.key: entry.value for entry in file.metadata_props}
        self.forward_pass = ARCHITECTURES[facts["fgmf.architecture"]]
        arrays = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in file.graph.initializer}
        self.p = {name: as_linear(name, t) for name, t in arrays.items()}

    def forward(self, x):
        return self.forward_pass(self.p, (x - self.p["normalise.mean"]) / self.p["normalise.deviation"], False)


def images(limit):
    """The first test images of the embedded slice, `[n, 1, 28, 28]` in [0, 1], and their labels."""
    pixels = gzip.decompress((SLICE / "test-images.idx.gz").read_bytes())[16:]
    labels = gzip.decompress((SLICE / "test-labels.idx.gz").read_bytes())[8:]
    x = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)[:limit]
    y = np.frombuffer(labels, np.uint8)[:limit]
    return torch.from_numpy(x.astype(np.float32) / np.float32(255)), torch.from_numpy(y.astype(np.int64))
