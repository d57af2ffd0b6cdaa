"""Run metrics of Quantus (and tests of SciPy) on small networks and write what they say.

The networks and images are those of `export_onnx.py`; the maps are gradient times
input, channels summed. Where a metric draws random numbers the script replaces the
draws by fixed ones (a rule, or a list in the fixture), so that both sides see the
same perturbed images.

Usage: python parity/metrics_reference.py
"""

import json
from pathlib import Path

import numpy as np
import onnx2torch
import quantus
import scipy
import torch
from quantus.functions import complexity_func, similarity_func

HERE = Path(__file__).resolve().parent
NETS = HERE.parent / "crates" / "fgmf-net" / "tests" / "fixtures" / "onnx"
OUT = HERE.parent / "crates" / "fgmf" / "tests" / "fixtures" / "metrics.json"
RADIUS = 0.005
DRAWS = 3
PERCENTAGES = [10, 30, 50, 70, 90]


def wave(n, offset):
    """Numbers in [0, 1): the fractional part of (i + offset) times the golden ratio's."""
    return np.modf((np.arange(n) + offset) * 0.6180339887498949)[0]


class Noise:
    """Noise of draw k on a batch `[n, ...]`: RADIUS (2 wave - 1), offset 1000 k."""

    def __init__(self):
        self.calls = 0

    def __call__(self, arr, indices, **_):
        noise = wave(arr.size, 1000 * self.calls).reshape(arr.shape)
        self.calls += 1
        return (arr + RADIUS * (2 * noise - 1)).astype(np.float32)


def gradient_times_input(model, inputs, targets, **_):
    x = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_(True)
    z = model(x)[torch.arange(len(x)), torch.as_tensor(np.asarray(targets))].sum()
    (g,) = torch.autograd.grad(z, x)
    return (g * x).sum(1, keepdim=True).detach().numpy()


def call(metric, net, x, y, a, **more):
    quiet = {"disable_warnings": True, "display_progressbar": False}
    made = metric(**quiet, **more)
    out = made(
        model=net,
        x_batch=x.copy(),
        y_batch=y,
        a_batch=a.copy(),
        device="cpu",
        softmax=False,
        explain_func=gradient_times_input,
    )
    return np.asarray(out, dtype=np.float64).tolist() if not isinstance(out, dict) else {str(k): float(v) for k, v in out.items()}


def subsets(n, size, runs, features, seed):
    rng = np.random.default_rng(seed)
    return [[rng.choice(features, size, replace=False).tolist() for _ in range(n)] for _ in range(runs)]


def case(name, patch):
    data = json.loads((NETS / f"{name}.json").read_text())
    net = onnx2torch.convert(str(NETS / f"{name}.onnx")).eval()
    x = np.asarray(data["input"], dtype=np.float32).reshape(data["input_shape"])
    with torch.no_grad():
        y = net(torch.from_numpy(x)).argmax(1).numpy()
    a = gradient_times_input(net, x, y)
    n, c, h, w = x.shape
    raw = {"normalise": False, "abs": False}
    size = {"normalise": False, "abs": True}
    inside = np.zeros((n, 1, h, w), dtype=np.float32)
    inside[:, :, : h // 2, : w // 2] = 1
    out = {
        "patch": patch,
        "targets": y.tolist(),
        "maps": [float(v) for v in a.flatten()],
        "sparseness": call(quantus.Sparseness, net, x, y, a, **size),
        "complexity": call(quantus.Complexity, net, x, y, a, **size),
        "infidelity": call(
            quantus.Infidelity, net, x, y, a, perturb_baseline=0.0, perturb_patch_sizes=[patch], n_perturb_samples=1, **raw
        ),
        "max_sensitivity": call(quantus.MaxSensitivity, net, x, y, a, nr_samples=DRAWS, perturb_func=Noise(), **raw),
        "ris": call(quantus.RelativeInputStability, net, x, y, a, nr_samples=DRAWS, perturb_func=Noise(), **raw),
        "ros": call(quantus.RelativeOutputStability, net, x, y, a, nr_samples=DRAWS, perturb_func=Noise(), **raw),
        "spearman": [float(similarity_func.correlation_spearman(a[i].flatten(), a[(i + 1) % n].flatten())) for i in range(n)],
        "ssim": [float(similarity_func.ssim(a[i, 0], a[(i + 1) % n, 0])) for i in range(n)],
        "histogram_entropy": [float(complexity_func.discrete_entropy(a=a[i], x=x[i], n_bins=100)) for i in range(n)],
    }
    located = {"pointing": quantus.PointingGame, "mass": quantus.RelevanceMassAccuracy, "rank": quantus.RelevanceRankAccuracy}
    for key, metric in located.items():
        made = metric(disable_warnings=True, **size)
        found = made(model=net, x_batch=x.copy(), y_batch=y, a_batch=a.copy(), s_batch=inside, device="cpu")
        out[key] = [float(v) for v in found]
    if c == 1:
        # Quantus removes single values of [c, h, w]; with one channel these are pixels.
        out["pixel_flipping"] = call(quantus.PixelFlipping, net, x, y, a, features_in_step=h, perturb_baseline=0.0, **raw)
        out["road"] = call(quantus.ROAD, net, x, y, a, percentages=PERCENTAGES, noise=0.0, **raw)
        sets = subsets(n, 60, 25, h * w, 7)
        waiting = iter([s for run in sets for s in run])
        original = np.random.choice
        np.random.choice = lambda *_args, **_kwargs: np.asarray(next(waiting))
        out["faithfulness_correlation"] = call(
            quantus.FaithfulnessCorrelation, net, x, y, a, nr_runs=25, subset_size=60, perturb_baseline=0.0, return_aggregate=False, **raw
        )
        np.random.choice = original
        out["sets"] = sets
    return out


def tests():
    """Paired tests of SciPy on differences with and without ties, zeros and size."""
    rng = np.random.default_rng(3)
    samples = [
        rng.normal(0.3, 1.0, 12),
        rng.normal(0.05, 1.0, 49),
        rng.normal(0.1, 1.0, 120),
        np.round(rng.normal(0.2, 1.0, 60), 1),
        rng.exponential(1.0, 30) - 0.8,
    ]
    rows = []
    for d in samples:
        t, w = scipy.stats.ttest_1samp(d, 0.0), scipy.stats.wilcoxon(d)
        rows.append(
            {"differences": d.tolist(), "t": [float(t.statistic), float(t.pvalue)], "wilcoxon": [float(w.statistic), float(w.pvalue)]}
        )
    return rows


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    record = {
        "origin": {
            "script": "parity/metrics_reference.py",
            "quantus": quantus.__version__,
            "torch": torch.__version__,
            "scipy": scipy.__version__,
            "onnx2torch": "1.5.15",
        },
        "radius": RADIUS,
        "draws": DRAWS,
        "percentages": PERCENTAGES,
        "nets": {name: case(name, patch) for name, patch in [("cnn_bn", 7), ("vit", 7), ("resnet", 8)]},
        "tests": tests(),
    }
    OUT.write_text(json.dumps(record, allow_nan=False) + "\n")
    print(OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
