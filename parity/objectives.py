"""One step of gradient descent on published training objectives, in PyTorch, from their formulas.

A convolution with softplus and a dense layer, in double precision, with weights and images by a
rule. Points that an objective searches for are given (in the ball, by a rule), so that no draw
and no search is involved. Penalties on input gradients are differentiated twice. The script
writes the network, and the weights after one step of each objective.

Usage: python parity/objectives.py
"""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "crates" / "fgmf" / "tests" / "fixtures" / "objectives"
EPS, RATE, COUNT, CLASSES = 0.1, 0.5, 4, 3
SHAPES = {
    "conv.weight": (4, 2, 3, 3),
    "conv.bias": (4,),
    "dense.weight": (CLASSES, 36),
    "dense.bias": (CLASSES,),
}


def wave(shape, offset):
    """Numbers in [0, 1): the fractional part of (i + offset) times the golden ratio's."""
    n = int(np.prod(shape))
    return np.modf((np.arange(n) + offset) * 0.6180339887498949)[0].reshape(shape)


def made():
    """Weights, images and points, rounded to single precision."""
    scale = {"conv.weight": 1.2, "dense.weight": 1.0}
    weights = {
        name: (scale.get(name, 0.3) * (2 * wave(shape, 100 * i + 1) - 1)).astype(np.float32)
        for i, (name, shape) in enumerate(SHAPES.items())
    }
    x = wave((COUNT, 2, 6, 6), 7).astype(np.float32)
    points = np.clip(x + EPS * (2 * wave(x.shape, 3001) - 1), 0, 1).astype(np.float32)
    return weights, x, points


def network(weights):
    """The same as an ONNX graph."""
    stored = [numpy_helper.from_array(w, name) for name, w in weights.items()]
    nodes = [
        helper.make_node(
            "Conv",
            ["image", "conv.weight", "conv.bias"],
            ["maps"],
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
        ),
        helper.make_node("Softplus", ["maps"], ["smooth"]),
        helper.make_node("Flatten", ["smooth"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "dense.weight", "dense.bias"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, 6, 6])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])
    graph = helper.make_graph(nodes, "objectives", [image], [logits], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


def run(w, x):
    maps = F.conv2d(x, w["conv.weight"], w["conv.bias"], stride=2, padding=1)
    return F.linear(F.softplus(maps).flatten(1), w["dense.weight"], w["dense.bias"])


def losses(w, x, y):
    return F.cross_entropy(run(w, x), y, reduction="none")


def image_gradient(w, x, y, twice=False):
    """Gradient of each loss in its image; `twice` keeps it differentiable in the weights."""
    x = x.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(losses(w, x, y).sum(), x, create_graph=twice)
    return g


def inner(a, b):
    return (a * b).flatten(1).sum(1)


def pgd_at(w, x, y, points):
    return losses(w, points, y).mean()


def trades(w, x, y, points, beta=6.0):
    p, q = run(w, x), run(w, points)
    kl = F.kl_div(F.log_softmax(q, 1), F.softmax(p, 1), reduction="sum") / len(x)
    return F.cross_entropy(p, y) + beta * kl


def mart(w, x, y, points, beta=5.0):
    p, q = F.softmax(run(w, x), 1), F.softmax(run(w, points), 1)
    rivals = q.scatter(1, y[:, None], -1.0).amax(1)
    own = p.gather(1, y[:, None])[:, 0]
    kl = (p * (p.log() - q.log())).sum(1)
    boosted = losses(w, points, y) - torch.log(1.0001 - rivals)
    return (boosted + beta * kl * (1 - own)).mean()


def grad_norm(w, x, y, points, clean=0.8, weight=1.2):
    norm = image_gradient(w, x, y, twice=True).abs().flatten(1).sum(1)
    return (clean * losses(w, x, y) + weight * EPS * norm).mean()


def cure(w, x, y, points, weight=1.0, reach=0.25):
    z = reach * EPS * image_gradient(w, x, y).sign()
    change = image_gradient(w, x + z, y, twice=True) - image_gradient(w, x, y, twice=True)
    return (losses(w, x, y) + weight * change.flatten(1).norm(dim=1)).mean()


def llr(w, x, y, points, deviation=4.0, slope=3.0):
    d = points - x
    steep = inner(d, image_gradient(w, x, y, twice=True))
    own = losses(w, x, y)
    bend = losses(w, points, y) - own - steep
    return (own + deviation * bend.abs() + slope * steep.abs()).mean()


def gradients(objective, w, x, y, points):
    value = objective(w, x, y, points)
    return dict(zip(w, torch.autograd.grad(value, list(w.values()))))


def step(objective, gamma, w, x, y, points):
    """The weights after one step. With gamma, the gradient is taken where each array of rank 2
    or more has moved by gamma of its norm along its gradient."""
    g = gradients(objective, w, x, y, points)
    if gamma:
        there = {
            name: (v + gamma * v.norm() / g[name].norm() * g[name] if v.dim() > 1 else v)
            .detach()
            .requires_grad_(True)
            for name, v in w.items()
        }
        g = gradients(objective, there, x, y, points)
    return {name: (v - RATE * g[name]).detach() for name, v in w.items()}


def main():
    weights, x, points = made()
    w = {name: torch.tensor(v).double().requires_grad_(True) for name, v in weights.items()}
    images, attacked = torch.tensor(x).double(), torch.tensor(points).double()
    labels = torch.arange(COUNT) % CLASSES
    cases = [
        (pgd_at, 0, {"name": "pgd-at"}),
        (trades, 0, {"name": "trades"}),
        (mart, 0, {"name": "mart"}),
        (llr, 0, {"name": "llr", "step": 0.02}),
        (grad_norm, 0, {"name": "grad-norm", "step": 0.02}),
        (cure, 0, {"name": "cure", "step": 0.02}),
        (pgd_at, 0.05, {"name": "awp", "inner": {"name": "pgd-at"}, "gamma": 0.05}),
        (trades, 0.05, {"name": "awp", "inner": {"name": "trades"}, "gamma": 0.05}),
    ]
    steps = []
    for objective, gamma, config in cases:
        after = step(objective, gamma, w, images, labels, attacked)
        rounded = {n: [float(f"{v:.7g}") for v in t.flatten().tolist()] for n, t in after.items()}
        steps.append({"objective": config, "weights": rounded})
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "network.onnx").write_bytes(network(weights))
    fixture = {
        "made_with": f"torch {torch.__version__.split('+')[0]}",
        "eps": EPS,
        "rate": RATE,
        "images": x.flatten().tolist(),
        "points": points.flatten().tolist(),
        "labels": labels.tolist(),
        "steps": steps,
    }
    (OUT / "steps.json").write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
