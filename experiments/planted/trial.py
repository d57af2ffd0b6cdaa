#!/usr/bin/env python3
"""Attacks the planted defences of make.py with the suite `adaptive`, and their twins.

Usage: trial.py OUT FGMF STANDARD.onnx SECOND.onnx THIRD.onnx

Writes OUT/trial.md: for each defence what is right when clean, after PGD-20 along the served
gradients, after the suite, and after the points found on its twins have been tried as well. Run it
again after a kill: it goes on where it was. Points are tried by ONNX Runtime, not by the tool.

Needs the packages `onnx`, `onnxruntime`, `numpy` and `safetensors`.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
DATA = HERE / "../../assets/fashion-mnist-mini/test-labels.idx.gz"
N, EPS = 200, 0.1
TWINS = {
    "steep-votes": ["mean-of-three", "plain", "second", "third"],
    "chosen-by-region": ["mean-of-three", "plain", "second"],
}
HELD = ["plain", "second", "third", "mean-of-three"]


def attack(fgmf, model, out, suite):
    if not (out / "attack.json").exists():
        subprocess.run(
            [fgmf, "attack", model, "--data", "fashion-mnist-mini", "--limit", str(N), "--suite", suite]
            + ["--eps", str(EPS), "--seed", "0", "--quiet", "--out", out],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return json.loads((out / "attack.json").read_text())


def points(out):
    return load_file(out / "adversarial.safetensors")["adversarial"]


def right(model, x, labels):
    """Whether the label alone has the largest score."""
    session = onnxruntime.InferenceSession(model)
    z = session.run(None, {session.get_inputs()[0].name: x})[0]
    own = np.take_along_axis(z, labels[:, None], 1)[:, 0]
    others = z.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, 1)
    return np.isfinite(z).all(1) & (own > others.max(1))


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    out, fgmf, nets = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    subprocess.run([sys.executable, HERE / "make.py", out / "models", *nets], check=True)
    files = {p.stem: p for p in (out / "models").glob("*.onnx")} | {
        "second": Path(nets[1]),
        "third": Path(nets[2]),
    }
    found = {}
    for twin in HELD:
        attack(fgmf, files[twin], out / twin, "adaptive")
        found[twin] = points(out / twin)
    rows = [
        "| defence | clean | PGD-20, served | standard | adaptive | twins' points too | gap | verdict | flags |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in sorted(files):
        if kind in HELD:
            continue
        record = attack(fgmf, files[kind], out / kind, "adaptive")
        served = attack(fgmf, files[kind], out / f"{kind}-served", "pgd-20")
        labels = np.array([e["label"] for e in record["examples"]])
        stands = np.array([e["robust"] for e in record["examples"]])
        for twin in TWINS.get(kind, ["plain"]):
            stands &= right(str(files[kind]), found[twin], labels)
        standard = [a for a in record["attacks"] if a["name"] in ("apgd-ce", "apgd-t", "fab-t")]
        left = 100 * min(a["robust_accuracy"] for a in standard)
        robust = record["overall"]["robust_accuracy"]
        low, high = record["overall"]["interval"]
        verdict = record["verdict"]
        rows.append(
            f"| {kind} | {100 * record['clean']['accuracy']:.1f} "
            f"| {100 * served['attacks'][0]['robust_accuracy']:.1f} | {left:.1f} "
            f"| {100 * robust:.1f} ({100 * low:.1f} to {100 * high:.1f}) | {100 * stands.mean():.1f} "
            f"| {100 * (robust - stands.mean()):+.1f} | {verdict['level']} "
            f"| {', '.join(f['id'] for f in verdict['flags'])} |"
        )
        print(rows[-1], flush=True)
    (out / "trial.md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
