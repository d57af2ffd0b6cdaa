"""SGAM as an explainer beside its teacher: faithfulness, stability under attack, cost. Standard library only.

    python experiments/sgam/sgam.py OUT train    [--arch cnn-small,convvit-tiny] [--seeds 0,1,2]
    python experiments/sgam/sgam.py OUT amortise [--arch ...] [--seeds ...]
    python experiments/sgam/sgam.py OUT evaluate [--arch ...] [--seeds ...] [-n 500] [--stability 100]
    python experiments/sgam/sgam.py OUT table    [--arch ...] [--seeds ...] > table.md

`train` makes the classifiers (scor-pio, eps 0.1, the first 20,000 training images, 6 epochs), `amortise` teaches each to draw its
maps (10,000 images, 10 epochs, GradientSHAP with one sample a half), `evaluate` scores maps by LeRF minus MoRF under ROAD's
imputation, clean and under PGD, and what an attacker of the map leaves of its top tenth. Every command can be given again after a
kill and makes what is missing. `table` pairs by image; the interval of a ratio is that of its bootstrap over images (1,000
draws, seed 0), 95%; it does not cover the choice of models, which stand beside each other.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")) / "release" / "fgmf"
METHODS = ["sgam", "gradient-shap", "deep-shap"]
TEACHER = "gradient-shap"
EPS = "0.1"


def fgmf(options, *words):
    words = [options.binary, *map(str, words), "--quiet", *options.threads]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def runs(options):
    for seed in options.seeds:
        for arch in options.arch:
            yield arch, seed, options.out / arch / str(seed)


def train(options):
    for arch, seed, at in runs(options):
        words = ["--data", options.data, "--arch", arch, "--objective", "scor-pio", "--eps", EPS, "--limit", 20000, "--epochs", 6]
        fgmf(options, "train", *words, "--seed", seed, "--out", at / "classifier")
        print(arch, seed, "trained", flush=True)


def drawn(options, at):
    return at / f"drawing-{options.name}"


def amortise(options):
    for arch, seed, at in runs(options):
        settings = json.dumps({TEACHER: {"samples": options.samples}})
        words = ["--data", options.data, "--eps", EPS, "--limit", options.limit, "--epochs", options.epochs, "--judge", 0]
        words += ["--settings", settings, "--seed", seed, *options.more]
        fgmf(options, "amortise", at / "classifier" / "model.onnx", *words, "--out", drawn(options, at))
        print(arch, seed, "taught", flush=True)


def evaluate(options):
    for arch, seed, at in runs(options):
        model = drawn(options, at) / "model.onnx"
        for metric, n, attack in [("lerf-minus-morf", options.n, "pgd"), ("attacked-stability", options.stability, "none")]:
            to = drawn(options, at) / f"{metric}-{n}"
            if n == 0 or (to / "evaluation.json").exists():
                continue
            words = ["--data", options.data, "--limit", n, "--eps", EPS, "--attack", attack, "--explainers", ",".join(METHODS)]
            fgmf(options, "evaluate", model, *words, "--metrics", metric, "--out", to)
            print(arch, seed, metric, flush=True)


def rows(folder):
    record = folder / "evaluation.json"
    return json.loads(record.read_text())["rows"] if record.exists() else []


def values(found, method, kind, figure):
    match = (row["values"] for row in found if (row["explainer"], row["input"], row["figure"]) == (method, kind, figure))
    return next(match, None)


def ratio(a, b):
    """Mean of a by mean of b, and its interval."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    rng = random.Random(0)
    draws = []
    for _ in range(1000):
        some = rng.choices(pairs, k=len(pairs))
        draws.append(sum(x for x, _ in some) / sum(y for _, y in some))
    draws.sort()
    return sum(x for x, _ in pairs) / sum(y for _, y in pairs), draws[25], draws[974], len(pairs)


def table(options):
    print("| network | seed | input | " + " | ".join(f"`{m}`" for m in METHODS) + " | `sgam` by its teacher |")
    print("| --- | --- | --- |" + " --- |" * (len(METHODS) + 1))
    for arch, seed, at in runs(options):
        found = rows(drawn(options, at) / f"lerf-minus-morf-{options.n}")
        for kind in dict.fromkeys(row["input"] for row in found):
            by = {m: values(found, m, kind, "lerf-minus-morf") for m in METHODS}
            cells = [f"{statistics.fmean(v for v in by[m] if v is not None):.3f}" for m in METHODS]
            r, low, high, n = ratio(by["sgam"], by[TEACHER])
            print(f"| {arch} | {seed} | {kind}, n = {n} | {' | '.join(cells)} | {r:.3f} [{low:.3f}, {high:.3f}] |")
        found = rows(drawn(options, at) / f"attacked-stability-{options.stability}")
        by = {m: values(found, m, "clean", "attacked-top-k") for m in METHODS}
        if all(by.values()):
            cells = [f"{statistics.fmean(v for v in by[m] if v is not None):.3f}" for m in METHODS]
            r, low, high, n = ratio(by["sgam"], by[TEACHER])
            print(f"| {arch} | {seed} | top tenth left, n = {n} | {' | '.join(cells)} | {r:.3f} [{low:.3f}, {high:.3f}] |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("command", choices=["train", "amortise", "evaluate", "table"])
    parser.add_argument("--arch", type=lambda s: s.split(","), default=["cnn-small", "convvit-tiny"])
    parser.add_argument("--seeds", type=lambda s: [int(v) for v in s.split(",")], default=[0, 1, 2])
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--name", default="usual", help="of the maps, where several settings are compared")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--limit", type=int, default=10000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--stability", type=int, default=100)
    parser.add_argument("--threads", type=lambda s: ["--threads", s], default=[])
    parser.add_argument("--more", type=str.split, default=[], help="further words for `fgmf amortise`")
    parser.add_argument("--binary", default=str(BINARY))
    options = parser.parse_args()
    globals()[options.command](options)


if __name__ == "__main__":
    main()
