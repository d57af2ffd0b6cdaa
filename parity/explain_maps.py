"""Write the explanation fixtures: small models as ONNX, images, and the maps that
Captum, pytorch-grad-cam and Zennit make of them.

Beside every `<name>.onnx` stands a `<name>.json` with the input, the targets and
one field a method: values of the kind that FGMF's map has (channels joined as
its page says), before any stretching to [0, 1].

Usage: python parity/explain_maps.py
"""

import copy
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from captum.attr import (
    LRP,
    DeepLift,
    DeepLiftShap,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
    ShapleyValues,
)
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import EpsilonRule
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import LayerMapComposite
from zennit.rules import AlphaBeta, Pass
from zennit.types import Activation, Linear

from explain_models import Cnn, ResNet
from export_onnx import TORCHSCRIPT, Vit, build, export, strip_notes
from onnx_results import numbers, run_onnx, write_json

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "crates" / "fgmf" / "tests" / "fixtures" / "explain"
EXAMPLES = 2
CLASSES = 10


class SmallVit(Vit):
    def __init__(self):
        super().__init__(dim=16, heads=2, patch=7)


# name: (model, seed, image shape, keep batch normalisation)
MODELS = {
    "cnn": (Cnn, 11, (3, 16, 16), True),
    "resnet": (ResNet, 12, (3, 16, 16), True),
    "vit": (SmallVit, 13, (1, 28, 28), False),
}


def inputs(seed, shape):
    rng = np.random.default_rng(seed)
    x = np.round(rng.random((EXAMPLES, *shape)), 3).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(rng.integers(0, CLASSES, EXAMPLES))


def summed(t):
    return t.sum(1)


def gradients(model, x, y):
    """Methods that work on every model. Double precision, so that only ours rounds."""
    # 2 x 3 cells, cut where FGMF cuts them.
    rows, columns = (torch.arange(side) for side in x.shape[2:])
    row = (rows >= len(rows) // 2).long()
    column = sum((columns >= i * len(columns) // 3).long() for i in (1, 2))
    grid = 3 * row[:, None] + column[None, :]
    out = {
        "saliency": Saliency(model).attribute(x, y).amax(1),
        "gradient-x-input": summed(InputXGradient(model).attribute(x, y)),
        "integrated-gradients": summed(
            IntegratedGradients(model).attribute(x, 0.25, y, n_steps=12, method="gausslegendre")
        ),
        "occlusion": summed(
            Occlusion(model).attribute(
                x, (x.shape[1], 5, 5), (x.shape[1], 3, 3), 0.25, y
            )
        )
        / x.shape[1],
        "kernel-shap": summed(ShapleyValues(model).attribute(x, 0.25, y, feature_mask=grid))
        / x.shape[1],
    }
    # Captum gives every pixel of a feature the feature's whole value.
    counts = torch.bincount(grid.flatten(), minlength=6)[grid].double()
    out["kernel-shap"] = out["kernel-shap"] / counts
    return out


def rectified(model, x, y):
    """Methods whose rules Captum has for rectifiers and maxima."""
    base = torch.full_like(x, 0.25)
    levels = torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1).expand(3, *x.shape[1:])
    out = {"guided-backprop": summed(GuidedBackprop(model).attribute(x, y))}
    if not isinstance(model, Cnn):
        # Behind a rectifier Captum's maximum pooling loses the sum, as its own convergence
        # delta shows (2 to 60% on the CNN; ours is exact there), so it is no reference.
        lift, delta = DeepLift(model).attribute(x, base, y, return_convergence_delta=True)
        assert delta.abs().max() < 1e-9, delta
        out["deep-lift"] = summed(lift)
        out["deep-shap"] = summed(DeepLiftShap(model).attribute(x, levels.double(), y))
    relevant = copy.deepcopy(model)
    for module in relevant.modules():
        linear = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d)
        if isinstance(module, (*linear, nn.Flatten, Addition_Module)):
            module.rule = EpsilonRule(epsilon=1e-9)
    out["lrp-epsilon"] = summed(LRP(relevant).attribute(x, y))
    return out


def alpha_beta(model, x, y, alpha):
    """Zennit, batch normalisation merged into the layer before it."""
    layers = [(Activation, Pass()), (Linear, AlphaBeta(alpha, alpha - 1.0))]
    composite = LayerMapComposite(layers, canonizers=[SequentialMergeBatchNorm()])
    with Gradient(copy.deepcopy(model), composite) as attributor:
        logits = model(x)
        hot = torch.nn.functional.one_hot(y, CLASSES).double()
        _, relevance = attributor(x.clone(), hot * logits.detach())
    return summed(relevance.detach())


def cams(model, x, y, layer, reshape=None):
    """pytorch-grad-cam before its last stretching: it stretches each map to [0, 1]."""
    targets = [ClassifierOutputTarget(int(c)) for c in y]
    # Masks with half-pixel centres, as in the authors' code; the library aligns corners.
    nn.UpsamplingBilinear2d = lambda size: nn.Upsample(size=size, mode="bilinear", align_corners=False)
    out = {}
    for name, method in [
        ("grad-cam", GradCAM),
        ("grad-cam-pp", GradCAMPlusPlus),
        ("layer-cam", LayerCAM),
        ("score-cam", ScoreCAM),
    ]:
        if name == "score-cam" and reshape is not None:
            continue  # the library masks by [n, t, d] values that were not laid out
        cam = method(model, [layer], reshape_transform=reshape)
        if name == "score-cam":
            # One image at a time: a batch shares one softmax's layout there.
            maps = [cam(x[i : i + 1].float(), targets[i : i + 1])[0] for i in range(len(x))]
            out[name] = torch.from_numpy(np.stack(maps))
        else:
            out[name] = torch.from_numpy(cam(x.float(), targets))
    return out


def attention(model, x, y):
    """Rollout and Chefer's rule from the formulas, with the weights computed by hand."""
    weights = []

    def attend(module, tokens):
        n, t, dim = tokens.shape
        qkv = module.qkv(tokens).reshape(n, t, 3, module.heads, dim // module.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        a = torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, dim=-1)
        a.retain_grad()
        weights.append(a)
        return module.out((a @ v).transpose(1, 2).reshape(n, t, dim))

    for block in model.blocks:
        block.attention.forward = attend.__get__(block.attention)
    z = model(x.clone().requires_grad_(True))
    z.gather(1, y[:, None]).sum().backward()
    t = weights[0].shape[-1]
    eye = torch.eye(t, dtype=x.dtype)
    flow, relevance = eye.expand(len(x), t, t), eye.expand(len(x), t, t)
    for a in weights:
        mixed = a.mean(1) + eye
        flow = (mixed / mixed.sum(-1, keepdim=True)) @ flow
        relevance = relevance + (a.grad * a).clamp(min=0).mean(1) @ relevance
    side = int((t - 1) ** 0.5)

    def laid(r):
        grid = r[:, 0, 1:].reshape(len(x), 1, side, side)
        size = x.shape[2:]
        return nn.functional.interpolate(grid, size=size, mode="bilinear", align_corners=False)[:, 0]

    return {"attention-rollout": laid(flow), "transformer-attribution": laid(relevance)}


def make(name):
    kind, seed, shape, keep = MODELS[name]
    model = build(kind, seed)
    x, y = inputs(seed, shape)
    path = OUT / f"{name}.onnx"
    export(model, x, path, TORCHSCRIPT, 17, keep)
    strip_notes(path)
    gap = np.abs(run_onnx(path, x.numpy()) - model(x).detach().numpy()).max()
    assert gap < 1e-4, (name, gap)
    double = copy.deepcopy(model).double()
    maps = gradients(double, x.double(), y)
    if name != "vit":
        maps |= rectified(double, x.double(), y)
    if name == "cnn":
        maps["lrp-alpha-beta"] = alpha_beta(double, x.double(), y, 2.0)
        maps |= cams(model, x, y, model.features[6])
    elif name == "resnet":
        maps |= cams(model, x, y, model.blocks[1])
    else:
        def laid_out(t):
            return t[:, 1:].reshape(t.shape[0], 4, 4, -1).permute(0, 3, 1, 2)

        maps |= cams(model, x, y, model.blocks[1].norm1, laid_out)
        maps |= attention(double, x.double(), y)
    origin = {
        "script": "parity/explain_maps.py",
        "torch": torch.__version__.split("+")[0],
        **{p: version(p) for p in ["captum", "grad-cam", "zennit"]},
    }
    record = {"origin": origin, "input_shape": list(x.shape), "input": numbers(x), "targets": y.tolist()}
    for method, values in maps.items():
        values = values.detach()
        assert list(values.shape) == [EXAMPLES, *x.shape[2:]], (method, values.shape)
        # Six digits: the tests ask for four.
        record[method] = [float(f"{v:.6g}") for v in values.flatten().tolist()]
    write_json(path.with_suffix(".json"), record)
    print(name, path.stat().st_size, path.with_suffix(".json").stat().st_size, sorted(maps))


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        make(name)


if __name__ == "__main__":
    main()
