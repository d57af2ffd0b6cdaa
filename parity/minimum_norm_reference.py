"""Run reference attacks on the adversarially trained fixture and write what they find.

MI-FGSM of torchattacks (final points; eps so small that no image breaks, so
that no early end matters); L2 distances of DDN, DeepFool and Carlini & Wagner, Linf
distances of FMN of Foolbox. The images are the first of the embedded Fashion-MNIST slice that the
model classifies correctly.

Usage: python parity/minimum_norm_reference.py [--limit 40]
"""

import argparse
import json
from pathlib import Path

import foolbox
import torch
import torchattacks

from zoo_torch import Zoo, images

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "crates" / "fgmf" / "tests" / "fixtures" / "autoattack"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=40)
    a = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = images(a.limit)
    net = Zoo(FIXTURES / "adversarial.onnx")
    with torch.no_grad():
        right = net(x).argmax(1) == y
    index = torch.arange(len(y))[right].tolist()
    x, y = x[right], y[right]
    steps, eps = 10, 0.004
    points = torchattacks.MIFGSM(net, eps=eps, alpha=eps / steps, steps=steps, decay=1.0)(x[:4], y[:4])
    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    attacks = {
        "ddn": foolbox.attacks.DDNAttack(init_epsilon=1.0, steps=100, gamma=0.05),
        "deepfool": foolbox.attacks.L2DeepFoolAttack(steps=50, candidates=None, overshoot=0.02),
        "carlini-wagner": foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=9, steps=200, stepsize=0.01, confidence=0, initial_const=0.01
        ),
    }
    distances = {}
    for name, attack in attacks.items():
        _, found, success = attack(model, x, y, epsilons=None)
        assert bool(success.all()), name
        distances[name] = [float(d) for d in (found - x).flatten(1).norm(dim=1)]
        print(name, sum(distances[name]) / len(x))
    # Linf only: Foolbox 3.3.4 divides a norm by itself where L2FMNAttack projects, so that it never does, and its L1FMNAttack,
    # which projects onto the ball without the bounds, does not break every image.
    _, found, success = foolbox.attacks.LInfFMNAttack(steps=100)(model, x, y, epsilons=None)
    assert bool(success.all())
    fmn = {"linf": [float(d) for d in (found - x).flatten(1).abs().amax(1)]}
    print("fmn", sum(fmn["linf"]) / len(x))
    record = {
        "origin": {
            "script": "parity/minimum_norm_reference.py",
            "torch": torch.__version__,
            "foolbox": foolbox.__version__,
            "torchattacks": "3.5.1",
        },
        "model": "autoattack/adversarial.onnx",
        "index": index,
        "l2_distance": distances,
        "fmn_distance": fmn,
        "mi_fgsm": {"eps": eps, "steps": steps, "index": index[:4], "points": [float(v) for v in points.flatten()]},
    }
    (FIXTURES.parent / "minimum_norm.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
