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
BATCHES = (64, 256)  # images in one call of an explainer


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
        kind, network = row.split("-", 1)
        if kind in EXPLAINERS:
            return {f"batches of {n}, {layout}": partial(EXPLAINERS[kind], NETWORKS[network], layout, n) for n in BATCHES for layout in LAYOUTS}
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


class Module(torch.nn.Module):
    """A task's network as the explanation libraries want it, with the last feature map as a module of its own."""

    def __init__(self, task):
        super().__init__()
        self.task, self.features = task, torch.nn.Identity()
        self.device = torch.nn.Parameter(torch.zeros(1))  # the libraries look for one

    def forward(self, x):
        p = self.task.p
        z = (x - p["normalise.mean"]) / p["normalise.deviation"]
        return cnn_small(p, z, False, self.features)


def integrated_gradients(network, layout, batch, arrays):
    """Captum's, its default quadrature (Gauss-Legendre), 50 steps, black reference image."""
    from captum.attr import IntegratedGradients

    task = Task(network, layout, arrays)
    method = IntegratedGradients(Module(task))
    maps = partial(method.attribute, task.x, target=task.y, n_steps=50, internal_batch_size=batch)
    return lambda: {"result": maps().sum(1)}


def pgca(network, layout, batch, arrays):
    """The steps of our PGCA at 28 x 28: 7 x 7 cells, black and two noise fills, Grad-CAM++ of `pytorch-grad-cam`, consensus."""
    from pytorch_grad_cam import GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    task, cells = Task(network, layout, arrays), 7
    model = Module(task)
    x, y, noise = task.x, task.y, arrays["noise"]
    n, side = len(x), x.shape[-1]
    fills = torch.cat([torch.zeros_like(noise[:, :1]), noise], 1)
    masks = torch.eye(cells * cells).view(-1, 1, cells, cells).repeat_interleave(side // cells, 2).repeat_interleave(side // cells, 3)
    work = [(i, f) for i in range(n) for f in range(fills.shape[1])]

    @torch.inference_mode()
    def falls():
        clean = model(x).gather(1, y[:, None])
        out = torch.zeros(n, cells * cells)
        together = max(1, batch // len(masks))
        for at in range(0, len(work), together):
            some = work[at : at + together]
            rows = torch.tensor([i for i, _ in some])
            fill = torch.stack([fills[i, f] for i, f in some])[:, None]
            images = torch.where(masks[None] > 0, fill, x[rows][:, None]).flatten(0, 1).contiguous(memory_format=LAYOUTS[layout])
            score = model(images).view(len(some), len(masks), -1).gather(2, y[rows][:, None, None].expand(-1, len(masks), 1))[..., 0]
            out.index_add_(0, rows, (clean[rows] - score).clamp_min(0) / fills.shape[1])
        return out

    def stretched(v):
        low, high = torch.quantile(v, torch.tensor([0.01, 0.99], dtype=v.dtype), 1, keepdim=True)
        return ((v - low) / (high - low)).clamp(0, 1)

    def explain():
        p = F.interpolate(falls().view(n, 1, cells, cells), (side, side), mode="bilinear", align_corners=False)
        cams = []
        with GradCAMPlusPlus(model=model, target_layers=[model.features]) as cam:
            for at in range(0, n, batch):
                some = slice(at, at + batch)
                cams.append(torch.from_numpy(cam(input_tensor=x[some].clone().requires_grad_(), targets=[ClassifierOutputTarget(int(c)) for c in y[some]])))
        p, g = stretched(p.flatten(1).double()), stretched(torch.cat(cams).flatten(1).double())
        agreement = spearman(p, g)
        fused = (p * g).sqrt() * (1 + torch.minimum(p, g) / (torch.maximum(p, g) + 1e-6))
        fused = torch.where((agreement >= 0.2)[:, None], fused, p)
        q, first, third = (torch.quantile(fused, v, 1, keepdim=True) for v in (0.8, 0.25, 0.75))
        raised = torch.sigmoid((fused - q) / (0.25 * (third - first) + 1e-6)).view(n, 1, side, side)
        smooth = smoothed(raised, 0.5 * side / cells).flatten(1)
        low, high = smooth.amin(1, keepdim=True), smooth.amax(1, keepdim=True)
        return {"result": ((smooth - low) / (high - low)).view(n, side, side).float()}

    return explain


def spearman(a, b):
    """Rank correlation of rows, ties by their mean rank."""

    def ranks(v):
        order = v.argsort(1)
        sorted_v = v.gather(1, order)
        low, high = torch.searchsorted(sorted_v, v), torch.searchsorted(sorted_v, v, right=True)
        return (low + high + 1).double() / 2

    a, b = (r - r.mean(1, keepdim=True) for r in (ranks(a), ranks(b)))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def smoothed(x, sigma):
    """Gaussian weights cut at three deviations and shared among the pixels that exist."""
    reach = int(np.ceil(3 * sigma))
    w = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype) / sigma) ** 2)
    for shape, pad in ((w.view(1, 1, -1, 1), (reach, 0)), (w.view(1, 1, 1, -1), (0, reach))):
        x = F.conv2d(x, shape, padding=pad) / F.conv2d(torch.ones_like(x[:1]), shape, padding=pad)
    return x


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


def cnn_small(p, x, train, features=lambda x: x):
    for first in (1, 3):
        x = relu(conv(p, f"conv{first}", x))
        x = relu(conv(p, f"conv{first + 1}", x))
        x = F.max_pool2d(features(x) if first == 3 else x, 2)
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
EXPLAINERS = {"pgca": pgca, "ig50": integrated_gradients}
