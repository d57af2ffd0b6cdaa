"""PyTorch's side of `bench.py`.

`candidates(row)` names every way of doing a row that PyTorch may choose from; `bench.py` counts the fastest. Each takes the
arrays that our side wrote and gives a function that does one repetition and returns its results under our names. The
networks are those of `crates/fgmf-net/src/zoo`, so both sides do the same work on the same numbers.
"""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
EPS, STEPS = 0.1, 20


def read(folder, shapes, results=True):
    """The arrays our side wrote, by name."""
    names = [n for n in shapes if results or not n.startswith("result")]
    return {n: torch.from_numpy(np.fromfile(folder / f"{n}.f32", "<f4").reshape(shapes[n])) for n in names}


def laid_out(t, layout):
    """A copy of an array, images and their weights in the layout."""
    return t.clone(memory_format=LAYOUTS[layout] if t.dim() == 4 else torch.contiguous_format)


def as_linear(name, t):
    """A parameter as PyTorch has it: in the blocks of a transformer our weights are [k, outputs], PyTorch's own [outputs, k]."""
    return t.t().contiguous() if name.startswith("block") and t.dim() == 2 else t


def candidates(row):
    """Ways to do the row, by name."""
    if row.startswith("pgd20-"):
        ways = {"all": pgd_on_all, "survivors": pgd_on_survivors}
        return {f"{way}, {layout}": partial(attack, search, layout) for way, search in ways.items() for layout in LAYOUTS}
    if row.startswith("conv-"):
        make = partial(convolution, row.split("-")[1])
    else:
        network, kind = row.rsplit("-", 1)
        make = partial({"dx": input_gradient, "train": training}[kind], NETWORKS[network])
    return {layout: partial(make, layout) for layout in LAYOUTS}


def convolution(kind, layout, arrays):
    x, w, dy = (laid_out(arrays[n], layout) for n in ("x", "w", "dy"))
    geometry = [[1, 1], [1, 1], [1, 1], False, [0, 0], 1]  # stride, padding, dilation, transposed, output padding, groups
    which = {"dx": 0, "dw": 1}

    @torch.inference_mode()
    def forward():
        return {"result": F.conv2d(x, w, padding=1)}

    @torch.inference_mode()
    def backward():
        mask = [i == which[kind] for i in range(3)]
        return {"result": torch.ops.aten.convolution_backward(dy, x, w, None, *geometry, mask)[which[kind]]}

    return forward if kind == "fwd" else backward


class Task:
    """A network with its parameters, by our names, and a batch."""

    def __init__(self, network, layout, arrays):
        self.network = network
        parameters = {n.removeprefix("parameter."): t for n, t in arrays.items() if n.startswith("parameter.")}
        self.p = {name: as_linear(name, laid_out(t, layout)) for name, t in parameters.items()}
        self.x, self.y = laid_out(arrays["x"], layout), arrays["labels"].long()

    def logits(self, x, train=False):
        return self.network(self.p, (x - self.p["normalise.mean"]) / self.p["normalise.deviation"], train)

    def gradient(self, x, y):
        """Of the summed cross-entropy in the images; with the logits."""
        x = x.detach().requires_grad_()
        z = self.logits(x)
        return torch.autograd.grad(F.cross_entropy(z, y, reduction="sum"), x)[0], z.detach()


def input_gradient(network, layout, arrays):
    task = Task(network, layout, arrays)
    return lambda: {"result": task.gradient(task.x, task.y)[0]}


def training(network, layout, arrays):
    task = Task(network, layout, arrays)
    weights = {n: t.requires_grad_() for n, t in task.p.items() if trains(n)}
    sgd = torch.optim.SGD(weights.values(), lr=0.01, momentum=0.9, foreach=True)

    def step():
        sgd.zero_grad(set_to_none=True)
        F.cross_entropy(task.logits(task.x, train=True), task.y).backward()
        sgd.step()
        return {f"result.{n}": t.grad for n, t in weights.items()}

    return step


def trains(name):
    """Running statistics and the normalisation of the images do not."""
    return not name.startswith("normalise.") and name.rsplit(".", 1)[1] not in ("mean", "variance")


def attack(search, layout, arrays):
    task = Task(cnn_tiny, layout, arrays)
    return lambda: {"result": search(task).float()}


def random_start(x):
    return (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp_(0, 1)


def stepped(adv, gradient, x):
    """One step and the projection; step size as in our PGD."""
    adv = adv + 2.5 * EPS / STEPS * gradient.sign()
    return (x + (adv - x).clamp_(-EPS, EPS)).clamp_(0, 1)


def pgd_on_all(task):
    """The usual way: every example makes every step, success is judged at the end."""
    adv = random_start(task.x)
    for _ in range(STEPS):
        adv = stepped(adv, task.gradient(adv, task.y)[0], task.x)
    with torch.inference_mode():
        return task.logits(adv).argmax(1) != task.y


def pgd_on_survivors(task):
    """Examples leave the batch once they are misclassified, before the attack or at any step: what ours does."""
    with torch.inference_mode():
        broken = task.logits(task.x).argmax(1) != task.y
    broken = broken.clone()
    left = (~broken).nonzero()[:, 0]
    x, y = task.x[left], task.y[left]
    adv = random_start(x)
    for _ in range(STEPS):
        gradient, z = task.gradient(adv, y)
        adv = stepped(adv, gradient, x)
        stands = z.argmax(1) == y
        if not stands.all():
            broken[left[~stands]] = True
            left, x, y, adv = left[stands], x[stands], y[stands], adv[stands]
    with torch.inference_mode():
        broken[left[task.logits(adv).argmax(1) != y]] = True
    return broken


def relu(x):
    return F.relu(x, inplace=True)


def conv(p, name, x, stride=1, padding=1):
    return F.conv2d(x, p[f"{name}.weight"], p.get(f"{name}.bias"), stride, padding)


def dense(p, name, x):
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def batch_norm(p, name, x, train):
    mean, variance, scale, bias = (p[f"{name}.{part}"] for part in ("mean", "variance", "scale", "bias"))
    return F.batch_norm(x, mean, variance, scale, bias, train, momentum=0.1, eps=1e-5)


def layer_norm(p, name, x):
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.scale"], p[f"{name}.bias"], eps=1e-5)


def cnn_tiny(p, x, train):
    x = relu(conv(p, "conv1", x, stride=2))
    x = relu(conv(p, "conv2", x, stride=2))
    return dense(p, "logits", relu(dense(p, "dense1", x.flatten(1))))


def cnn_small(p, x, train):
    for first in (1, 3):
        x = relu(conv(p, f"conv{first}", x))
        x = F.max_pool2d(relu(conv(p, f"conv{first + 1}", x)), 2)
    return dense(p, "logits", relu(dense(p, "dense1", x.flatten(1))))


def preact_resnet18(p, x, train):
    x = conv(p, "stem", x)
    for stage in range(1, 5):
        for block in (1, 2):
            name, stride = f"stage{stage}.block{block}", 2 if stage > 1 and block == 1 else 1
            active = relu(batch_norm(p, f"{name}.norm1", x, train))
            if f"{name}.shortcut.weight" in p:
                x = conv(p, f"{name}.shortcut", active, stride, padding=0)
            y = conv(p, f"{name}.conv1", active, stride)
            y = relu(batch_norm(p, f"{name}.norm2", y, train))
            x = conv(p, f"{name}.conv2", y) + x
    x = relu(batch_norm(p, "final.norm", x, train))
    return dense(p, "logits", x.mean((2, 3)))


def vit_tiny(p, x, train, heads=3):
    tokens = conv(p, "patches", x, stride=4, padding=0).flatten(2).transpose(1, 2)
    x = tokens + p["position"]
    n, t, width = x.shape
    for name in (f"block{i}" for i in range(1, 7)):
        qkv = dense(p, f"{name}.attention.qkv", layer_norm(p, f"{name}.norm1", x))
        q, k, v = qkv.view(n, t, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, width)
        x = x + dense(p, f"{name}.attention.out", mixed)
        y = F.gelu(dense(p, f"{name}.mlp1", layer_norm(p, f"{name}.norm2", x)))
        x = x + dense(p, f"{name}.mlp2", y)
    return dense(p, "logits", layer_norm(p, "final.norm", x).mean(1))


NETWORKS = {"cnn-small": cnn_small, "resnet18": preact_resnet18, "vit-tiny": vit_tiny}
