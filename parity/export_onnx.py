"""Write the ONNX parity fixtures: small PyTorch models with reference results.

Each model has random weights from a fixed seed, runs in eval mode and is
exported with a free batch axis. Beside every `<name>.onnx` stands a
`<name>.json` with the input, the logits of ONNX Runtime and of PyTorch, the
per-example cross entropy, and PyTorch's gradient of the summed cross entropy
with respect to the input.

Usage: python parity/export_onnx.py [NAME ...]      (no name: all of them)
"""

import copy
import math
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from onnx_results import numbers, run_onnx, write_json

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "crates" / "fgmf-net" / "tests" / "fixtures" / "onnx"
EXAMPLES = 3
CLASSES = 10
TOLERANCE = 1e-4


# --------------------------------------------------------------------- models


class CnnBn(nn.Module):
    """Plain CNN; its BatchNormalization nodes must survive the export."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Dropout2d(0.2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 7 * 7, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(32, CLASSES),
        )

    def forward(self, x):
        return self.head(self.features(x))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, width_in, width_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out)
        self.shortcut = nn.Identity()
        if stride != 1 or width_in != width_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride, bias=False),
                nn.BatchNorm2d(width_out),
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            BasicBlock(8, 8, 1), BasicBlock(8, 16, 2), BasicBlock(16, 32, 2)
        )
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1)
        return self.head(torch.flatten(x, 1))


class Attention(nn.Module):
    """Hand-written multi-head attention around scaled_dot_product_attention."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        n, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(n, tokens, dim))


class VitBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, dim=32, heads=4, patch=7):
        super().__init__()
        self.patch = nn.Conv2d(1, dim, patch, stride=patch)
        self.cls_token = nn.Parameter(0.5 * torch.randn(1, 1, dim))
        self.position = nn.Parameter(0.5 * torch.randn(1, 1 + (28 // patch) ** 2, dim))
        self.blocks = nn.Sequential(VitBlock(dim, heads), VitBlock(dim, heads))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        cls = self.cls_token.expand(x.shape[0], -1, -1)
        x = torch.cat([cls, x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def timm_vit():
    """The real timm class; its own start (std 0.02) would be almost constant."""
    model = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=CLASSES
    )
    nn.init.normal_(model.cls_token, std=0.5)
    nn.init.normal_(model.pos_embed, std=0.5)
    return model


class SqueezeExcite(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.reduce = nn.Conv2d(width, hidden, 1)
        self.expand = nn.Conv2d(hidden, width, 1)

    def forward(self, x):
        s = F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.expand(s))


def inverted(width_in, hidden, width_out, kernel, stride, act, excite):
    """MobileNet block: 1x1 expansion, depthwise, squeeze-excite, 1x1 projection."""
    return nn.Sequential(
        nn.Conv2d(width_in, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        act(),
        nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
        nn.BatchNorm2d(hidden),
        act(),
        SqueezeExcite(hidden, 8) if excite else nn.Identity(),
        nn.Conv2d(hidden, width_out, 1, bias=False),
        nn.BatchNorm2d(width_out),
    )


class Depthwise(nn.Module):
    """MobileNet-v3-like, one activation per stage."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
        )
        self.block1 = inverted(8, 16, 8, 3, 1, nn.ReLU6, excite=False)
        self.block2 = inverted(8, 24, 16, 5, 2, nn.Hardswish, excite=True)
        self.block3 = inverted(16, 32, 16, 3, 2, nn.SiLU, excite=True)
        # groups strictly between 1 and the width, dilated and non-square
        self.grouped = nn.Conv2d(16, 32, (3, 1), padding=(2, 0), dilation=(2, 1), groups=4)
        self.head = nn.Sequential(nn.Linear(32, 32), nn.Hardswish(), nn.Linear(32, CLASSES))

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block1(x)
        x = self.block3(self.block2(x))
        x = F.silu(self.grouped(x))
        return self.head(x.mean((2, 3)))


class ConcatResize(nn.Module):
    """UNet/FPN-like: skips by Concat, every kind of Resize, pooling and padding."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1)
        self.prelu = nn.PReLU(16)
        self.pool_with = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=True)
        self.pool_without = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.pool_ceil = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.merge2 = nn.Conv2d(32, 8, 1)
        self.merge1 = nn.Conv2d(24, 8, 3)
        self.head = nn.Linear(8 * 5 * 5, CLASSES)

    def forward(self, x):
        a = F.leaky_relu(self.conv1(x), 0.1)  # 8 x 20 x 20
        b = self.prelu(self.conv2(self.pool_with(a)))  # 16 x 10 x 10
        c = torch.tanh(self.conv3(self.pool_without(b)))  # 16 x 5 x 5
        # decoder: nearest by scale, bilinear by the size of another activation
        up_c = F.interpolate(c, scale_factor=2, mode="nearest")
        d = F.softplus(self.merge2(torch.cat([b, up_c], dim=1)))  # 8 x 10 x 10
        up_d = F.interpolate(d, size=a.shape[-2:], mode="bilinear", align_corners=False)
        e = torch.cat([a, up_d, self.up(b)], dim=1)  # 24 x 20 x 20
        # odd sizes: both bilinear conventions and a nearest without whole ratio
        e = F.interpolate(e, size=(13, 11), mode="bilinear", align_corners=True)
        e = F.interpolate(e, size=(9, 17), mode="nearest")
        e = F.interpolate(e, size=(14, 12), mode="bilinear", align_corners=False)
        e = F.pad(e, (1, 2, 0, 1), value=0.5)  # 24 x 15 x 15
        left, right = self.merge1(e).chunk(2, dim=1)  # 4 x 13 x 13 each
        first, second = torch.split(right * left, [1, 3], dim=1)
        e = torch.cat([left, second, first], dim=1)[:, :, 1:-2, 1::1]  # 8 x 10 x 12
        e = F.pad(e, (-1, -2, 0, -1))  # negative padding crops: 8 x 9 x 9
        return self.head(torch.flatten(self.pool_ceil(e), 1))


class ConvNextBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.scale = nn.Parameter(0.5 + 0.2 * torch.randn(dim))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.widen(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.stem = nn.Conv2d(1, dim, 4, stride=4)
        self.stem_norm = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.Sequential(ConvNextBlock(dim), ConvNextBlock(dim))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x):
        x = self.stem_norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.blocks(x).mean((-2, -1))
        return self.head(self.norm(x))


class Maths(nn.Module):
    """Normalisation, attention, GELU and log-sum-exp spelled out in elementary ops."""

    def __init__(self, dim=8):
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 4, stride=4)
        self.mix = nn.Parameter(torch.randn(dim, dim) / math.sqrt(dim))
        self.prior = nn.Parameter(torch.randn(1, 2, dim))
        self.exponents = nn.Parameter(0.5 + torch.rand(dim))
        self.register_buffer("chosen", torch.tensor([0, 3, 17, 3, 1, 9]))
        self.head = nn.Linear(2 * dim + 6, CLASSES)

    def forward(self, x):
        t = self.stem(x).flatten(2).transpose(1, 2)  # n x 16 x 8
        t = t - t.mean(-1, keepdim=True)
        t = t / torch.sqrt(t.pow(2).mean(-1, keepdim=True) + 1e-3)
        weights = torch.softmax(torch.matmul(t @ self.mix, t.transpose(1, 2)) * 0.3, dim=-1)
        t = torch.matmul(weights, t) + t
        t = 0.5 * t * (1 + torch.erf(t / math.sqrt(2)))
        t = torch.cat([self.prior.expand(t.shape[0], -1, -1), t], dim=1)  # n x 18 x 8
        t = torch.index_select(t, 1, self.chosen)  # n x 6 x 8
        positive = torch.exp(0.5 * t)
        log_sum = torch.log(positive.sum(dim=1))  # n x 8
        power = torch.pow(positive, self.exponents).sum(dim=2, keepdim=True).squeeze(-1)  # n x 6
        spread = torch.sqrt((t - log_sum.unsqueeze(1)).pow(2).mean(dim=1) + 1e-3)  # n x 8
        return self.head(torch.cat([log_sum, power / 8, spread], dim=1))


# ------------------------------------------------------------------ the table

TORCHSCRIPT, DYNAMO = "torchscript", "dynamo"

# name: (model, seed, image shape, exporter, opset, keep batch normalisation)
FIXTURES = {
    "cnn_bn": (CnnBn, 1, (1, 28, 28), TORCHSCRIPT, 13, True),
    "resnet": (ResNet, 2, (3, 32, 32), TORCHSCRIPT, 17, False),
    "vit": (Vit, 3, (1, 28, 28), TORCHSCRIPT, 17, False),
    "vit_dynamo": (Vit, 3, (1, 28, 28), DYNAMO, 18, False),
    "timm_vit": (timm_vit, 4, (3, 32, 32), TORCHSCRIPT, 17, False),
    "depthwise": (Depthwise, 5, (3, 16, 16), TORCHSCRIPT, 14, False),
    "concat_resize": (ConcatResize, 6, (3, 20, 20), TORCHSCRIPT, 16, False),
    "convnext_dynamo": (ConvNext, 7, (1, 28, 28), DYNAMO, 18, False),
    "maths": (Maths, 8, (3, 16, 16), TORCHSCRIPT, 13, False),
    "maths_dynamo": (Maths, 8, (3, 16, 16), DYNAMO, 21, False),
}


# ------------------------------------------------------------------ machinery


def build(make, seed):
    """The model in eval mode, weights large enough for clear logits and gradients.

    No normalisation layer, slope or bias is left at its default.
    """
    torch.manual_seed(seed)
    model = make()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                fan_in = module.weight[0].numel()
                gain = 1.0 if isinstance(module, nn.Linear) else 2.0
                module.weight.normal_(0, math.sqrt(gain / fan_in))
                if module.bias is not None:
                    module.bias.normal_(0, 0.2)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1.5)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            if isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.1, 0.4)
    return model.eval()


def examples(seed, shape):
    """Inputs in [0, 1] with four decimals (short files, exact in f32), and labels."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.random((EXAMPLES, *shape)), 4).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(rng.integers(0, CLASSES, EXAMPLES))


def export(model, x, path, exporter, opset, keep_bn):
    """Write one self-contained ONNX file whose first axis is called `batch`."""
    names = {"input_names": ["input"], "output_names": ["logits"], "opset_version": opset}
    if exporter == DYNAMO:
        shapes = {"x": {0: torch.export.Dim("batch")}}
        torch.onnx.export(
            model, (x,), path, dynamo=True, dynamic_shapes=shapes, external_data=False,
            verbose=False, **names,
        )
    else:
        if keep_bn:  # PRESERVE skips the pass that folds BatchNormalization into Conv
            names.update(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(model, (x,), str(path), dynamo=False, dynamic_axes=axes, **names)


def graphs(graph):
    """The graph and those inside its nodes' attributes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node:
                    yield from graphs(inner)


def strip_notes(path):
    """Drop stack traces and other notes of the exporter (they name local files)."""
    model = onnx.load(path)
    assert not model.functions, path
    holders = [model]
    for graph in graphs(model.graph):
        holders += [graph, *graph.node, *graph.input, *graph.output]
        holders += [*graph.value_info, *graph.initializer]
    for holder in holders:
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return model


def reference(model, x, labels):
    """PyTorch's logits, per-example cross entropy, and input gradient of its sum."""
    x = x.clone().requires_grad_(True)
    logits = model(x)
    loss = F.cross_entropy(logits, labels, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return logits.detach(), loss.detach(), gradient


def make_fixture(name):
    make, seed, shape, exporter, opset, keep_bn = FIXTURES[name]
    model = build(make, seed)
    x, labels = examples(seed, shape)
    path = OUT / f"{name}.onnx"
    export(model, x, path, exporter, opset, keep_bn)
    proto = strip_notes(path)

    logits_torch, loss, gradient = reference(model, x, labels)
    logits = run_onnx(path, x.numpy())

    # f64 gives the same gradient: no input so near a kink that rounding decides
    exact = reference(copy.deepcopy(model).double(), x.double(), labels)[2]
    gap_gradient = float((gradient - exact).abs().max() / exact.abs().max())
    assert gap_gradient < 1e-5, (name, gap_gradient)

    gap = float(np.abs(logits - logits_torch.numpy()).max())
    single = run_onnx(path, x.numpy()[:1])  # the batch axis is really free
    gap_single = float(np.abs(single - logits_torch[:1].numpy()).max())
    assert max(gap, gap_single) < TOLERANCE, (name, gap, gap_single)

    declared = {o.domain or "ai.onnx": o.version for o in proto.opset_import}
    assert declared["ai.onnx"] == opset, (name, declared)
    ops = Counter(n.op_type for g in graphs(proto.graph) for n in g.node)
    if keep_bn:
        assert ops["BatchNormalization"] > 0, name
    origin = {
        "script": "parity/export_onnx.py",
        "torch": torch.__version__.split("+")[0],  # without the CPU/CUDA build tag
        "onnx": onnx.__version__,
        "onnxruntime": ort.__version__,
        "timm": timm.__version__,
        "opset": opset,
        "exporter": exporter,
    }
    write_json(
        path.with_suffix(".json"),
        {
            "origin": origin,
            "input_shape": list(x.shape),
            "input": numbers(x),
            "labels": labels.tolist(),
            "logits": numbers(logits),
            "logits_torch": numbers(logits_torch),
            "loss": numbers(loss),
            "input_gradient": numbers(gradient),
        },
    )
    listing = " ".join(f"{op}:{count}" for op, count in sorted(ops.items()))
    spread = float(logits_torch.max() - logits_torch.min())
    print(f"{name}: {path.stat().st_size} bytes, opset {declared}, ir {proto.ir_version}")
    print(f"  gap torch-ort {gap:.1e}, logit range {spread:.2f}, "
          f"|gradient| max {float(gradient.abs().max()):.1e}, "
          f"relative gap to f64 {gap_gradient:.1e}")
    print(f"  {listing}")


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or FIXTURES:
        make_fixture(name)


if __name__ == "__main__":
    main()
