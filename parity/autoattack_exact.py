"""Numbers of the reference AutoAttack that involve no random draw.

Losses (DLR and targeted DLR, values and gradients), projections (L1 ball with
box, FAB's hyperplanes with box), the schedule of Square, and Auto-PGD from the
image itself on a small model, all in double precision (so that no path forks
where two ways to sum differ in a last digit): which images it breaks and the
best loss on the others.

Usage: python parity/autoattack_exact.py MODEL.onnx OUT.json
"""

import json
import sys
from pathlib import Path

import torch
from autoattack.autopgd_base import APGDAttack, APGDAttack_targeted, L1_projection
from autoattack.fab_projections import projection_l1, projection_l2, projection_linf
from autoattack.square import SquareAttack

from autoattack_reference import COMMIT
from onnx_results import numbers
from zoo_torch import Zoo, images

# Linf, L2 and L1 radii at which Auto-PGD breaks a part of the images.
RADII = {"linf": 0.08, "l2": 1.0, "l1": 8.0}
NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def losses(generator):
    """Values of both ratios and the gradients of their sums."""
    z = (3 * torch.randn(12, 6, generator=generator)).requires_grad_()
    y = torch.randint(6, (12,), generator=generator)
    t = (y + torch.randint(1, 6, (12,), generator=generator)) % 6
    attack = APGDAttack_targeted(None, eps=0.1)
    attack.y_target = t
    out = {"logits": numbers(z.detach()), "labels": y.tolist(), "targets": t.tolist()}
    for name, loss in [("dlr", attack.dlr_loss(z, y)), ("targeted-dlr", attack.dlr_loss_targeted(z, y))]:
        (gradient,) = torch.autograd.grad(loss.sum(), [z])
        out[name] = {"values": numbers(loss.detach()), "gradient": numbers(gradient)}
    return out


def projections(generator):
    """Random points; planes that the box reaches, and some that it does not."""
    x = torch.rand(20, 30, generator=generator)
    y = torch.randn(20, 30, generator=generator)
    w = torch.randn(20, 30, generator=generator)
    b = (w * x).sum(1) + torch.linspace(-12, 12, 20)
    ball = L1_projection(x.view(20, 1, 1, 30), y.view(20, 1, 1, 30), 2.5).view(20, 30)
    planes = {"linf": projection_linf, "l2": projection_l2, "l1": projection_l1}
    return {
        "x": numbers(x),
        "change": numbers(y),
        "radius": 2.5,
        "projected_change": numbers(y + ball),
        "normal": numbers(w),
        "level": numbers(b),
        "to_plane": {norm: numbers(f(x, w, b)) for norm, f in planes.items()},
    }


def schedule():
    """Share of the window by query, at both sides of each change."""
    square = SquareAttack(None, p_init=0.8, resc_schedule=False)
    queries = sorted({max(q + d, 0) for q in (0, 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000) for d in (0, 1)})
    return [[q, square.p_selection(q)] for q in queries]


def run(attack, x, y, norm, eps, steps):
    """Auto-PGD from the image; for L1 with the three radii of the suite."""
    attack.init_hyperparam(x)
    if norm != "l1":
        _, acc, loss, _ = attack.attack_single_run(x, y, x_init=x.clone())
        return acc, loss
    start = x.clone()
    for factor, share in [(3, 0.3), (2, 0.3), (1, 0.4)]:
        attack.eps, attack.n_iter = factor * eps, round(share * steps)
        start = start + L1_projection(x, start - x, attack.eps)
        start, acc, loss, _ = attack.attack_single_run(x, y, x_init=start)
    return acc, loss


def searches(path):
    """Every norm and loss, 20 steps; the target is the class that scores second."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # casts of the reference
    net = Zoo(path)
    net.p = {name: t.double() for name, t in net.p.items()}
    x, y = images(48)
    x = x.double()
    z = net(x)
    right = z.argmax(1) == y
    x, y, z = x[right][:32], y[right][:32], z[right][:32]
    rows = right.nonzero().squeeze(1)[:32]
    out = {"rows": rows.tolist(), "steps": 20, "runs": []}
    for norm, eps in RADII.items():
        for loss in ["ce", "dlr", "dlr-targeted"]:
            kind = APGDAttack_targeted if loss == "dlr-targeted" else APGDAttack
            attack = kind(net, n_iter=20, norm=NAMES[norm], eps=eps)
            attack.loss, attack.y_target = loss, z.sort(dim=1)[1][:, -2]
            acc, best = run(attack, x, y, norm, eps, 20)
            out["runs"].append({"norm": norm, "eps": eps, "loss": loss, "stands": acc.bool().tolist(), "best_loss": numbers(best)})
            print(norm, loss, int(acc.sum()), "of", len(x), "stand")
    return out


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(7)
    record = {
        "origin": {"script": "parity/autoattack_exact.py", "auto-attack": COMMIT, "torch": torch.__version__},
        "losses": losses(generator),
        "projections": projections(generator),
        "schedule": schedule(),
        "searches": searches(Path(sys.argv[1])),
    }
    Path(sys.argv[2]).write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
