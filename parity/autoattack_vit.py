"""Train a small vision transformer in PyTorch, write it as ONNX, and run the reference AutoAttack on it.

The third model of the parity tests, and one that is not of our making: the transformer of `export_onnx.py` (patches of 7, width 32, 4
heads, 2 blocks), trained on the embedded slice against one signed step (eps 0.03), exported by PyTorch. Training is seeded; if MODEL.onnx
is there already, its logits must be those of the trained network. Everything else as in `autoattack_reference.py`.

Usage: python parity/autoattack_vit.py MODEL.onnx OUT.json --norm Linf --eps 0.1 [--limit 500] [--attacks apgd-ce,...] [--seeds 5]
"""

import gzip

import numpy as np
import torch
import torch.nn.functional as F

from autoattack_reference import arguments, write
from export_onnx import TORCHSCRIPT, Vit, export, strip_notes
from onnx_results import run_onnx
from zoo_torch import SLICE, images

EPOCHS, BATCH, EPS = 15, 64, 0.03


def trained():
    """The network, for evaluation."""
    torch.manual_seed(0)
    pixels = gzip.decompress((SLICE / "train-images.idx.gz").read_bytes())[16:]
    labels = gzip.decompress((SLICE / "train-labels.idx.gz").read_bytes())[8:]
    x = torch.from_numpy(np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255))
    y = torch.from_numpy(np.frombuffer(labels, np.uint8).astype(np.int64))
    net = Vit()
    adam = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, total_steps=EPOCHS * -(-len(x) // BATCH))
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            start = (x[rows] + torch.empty_like(x[rows]).uniform_(-EPS, EPS)).clamp(0, 1).requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(net(start), y[rows]), start)
            moved = start.detach() + 1.25 * EPS * slope.sign()
            moved = (x[rows] + (moved - x[rows]).clamp(-EPS, EPS)).clamp(0, 1)
            adam.zero_grad()
            F.cross_entropy(net(moved), y[rows]).backward()
            adam.step()
            schedule.step()
    for p in net.parameters():
        p.requires_grad_(False)
    return net.eval()


def main():
    a = arguments(__doc__)
    torch.set_num_threads(a.threads)
    net = trained()
    x, y = images(64)
    if not a.model.exists():
        export(net, x[:3], a.model, TORCHSCRIPT, 17, False)
        strip_notes(a.model)
    with torch.no_grad():
        z = net(x)
    apart = np.abs(run_onnx(a.model, x.numpy()) - z.numpy()).max()
    print(f"{int((z.argmax(1) == y).sum())} of 64 right, logits apart by {apart:.1e}")
    assert apart < 1e-3, "the file holds another network: delete it, and make all results anew"
    write(net, "autoattack_vit.py", a)


if __name__ == "__main__":
    main()
