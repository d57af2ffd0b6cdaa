"""Run the reference AutoAttack on a model of ours and write what it breaks.

Each attack runs alone on every image that the model classifies correctly, with
the settings of its `standard` suite: APGD-CE (`apgd-ce`), APGD-DLR
(`apgd-dlr`), targeted APGD (`apgd-t`), FAB-T (`fab-t`), Square (`square`). The
images are the first of the embedded Fashion-MNIST slice. The ONNX file, one of
our zoo, is rebuilt in PyTorch by `zoo_torch.py`.

Usage: python parity/autoattack_reference.py MODEL.onnx OUT.json --norm Linf --eps 0.1 [--limit 500]
       [--attacks apgd-ce,...] [--seeds 5]
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import torch
from autoattack import AutoAttack

from zoo_torch import Zoo, images

COMMIT = "a39220048b3c9f2cca9a4d3a54604793c68eca7e"


def run(net, x, y, right, name, seed, a):
    """What one attack breaks alone, positions of images."""
    suite = AutoAttack(net, norm=a.norm, eps=a.eps, seed=seed, verbose=False, version="standard", device="cpu")
    suite.attacks_to_run = [name]
    start = time.time()
    points = suite.run_standard_evaluation(x, y, bs=250)
    seconds = time.time() - start
    with torch.no_grad():
        broken = right & (net(points).argmax(1) != y)
    print(f"{a.norm} {a.eps} {name}, seed {seed}: {int(broken.sum())} of {int(right.sum())} broken, {seconds:.1f} s", flush=True)
    return broken.nonzero().squeeze(1).tolist()


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--norm", default="Linf", choices=["Linf", "L2", "L1"])
    parser.add_argument("--eps", type=float, required=True)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--attacks", default="apgd-ce,apgd-dlr,apgd-t,fab-t,square")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def write(net, script, a):
    """Runs the attacks and writes what they break."""
    x, y = images(a.limit)
    with torch.no_grad():
        right = net(x).argmax(1) == y
    record = {
        "origin": {"script": f"parity/{script}", "auto-attack": COMMIT, "torch": torch.__version__},
        "model_sha256": hashlib.sha256(a.model.read_bytes()).hexdigest(),
        "norm": a.norm.lower(),
        "eps": a.eps,
        "limit": a.limit,
        "seeds": [a.seed, a.seeds],
        "right": right.nonzero().squeeze(1).tolist(),
        "attacks": {},
    }
    for name in a.attacks.split(","):
        # Random starts decide on images near the boundary: one list a seed shows which.
        record["attacks"][name] = [run(net, x, y, right, name, seed, a) for seed in range(a.seed, a.seed + a.seeds)]
    a.out.write_text(json.dumps(record) + "\n")


def main():
    a = arguments(__doc__)
    torch.set_num_threads(a.threads)
    write(Zoo(a.model), "autoattack_reference.py", a)


if __name__ == "__main__":
    main()
