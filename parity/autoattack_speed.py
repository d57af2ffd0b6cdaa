"""AutoAttack's standard suite, FGMF and the reference side by side on the same CPU, model, images and number of threads.

    python parity/autoattack_speed.py                       # 1,000 test images, two threads, three batch sizes of the reference
    python parity/autoattack_speed.py --reps 5 --json OUT   # more repetitions; everything that was measured to a file

The model is the adversarially trained cnn-tiny of the test fixtures, the images are the embedded Fashion-MNIST test images,
Linf, eps 0.1. Runs alternate: ours, the reference at its first batch size, ours, the reference at its second, and so on; later
repetitions use its fastest batch size only. Our time is that of the whole process `fgmf attack --suite standard`: starting,
reading the model, all attacks, the masking verdict (which the reference does not have), writing the record. The reference's is
that of `run_standard_evaluation` alone, in a process that is warm. The ratio is the reference's median over ours: above 1 we
are faster. Ends with 1 if robust accuracies differ by more than half a point.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from autoattack import AutoAttack

from autoattack_reference import COMMIT
from bench import REST, ROOT, built, machine, quartiles
from zoo_torch import Zoo, images

MODEL = ROOT / "crates" / "fgmf" / "tests" / "fixtures" / "autoattack" / "adversarial.onnx"


class Log:
    """Takes the reference's messages; keeps the seconds after which each attack was done."""

    def __init__(self):
        self.done = {}

    def log(self, text):
        found = re.search(r"robust accuracy after (\S+): .* \(total time ([0-9.]+) s\)", text)
        if found:
            self.done[found[1].lower()] = float(found[2])

    def by_attack(self):
        ends = list(self.done.items())
        return {name: end - before for (name, end), (_, before) in zip(ends, [("", 0.0), *ends])}


def reference(net, x, y, eps, batch):
    """One run of the reference."""
    suite = AutoAttack(net, norm="Linf", eps=eps, seed=0, verbose=True, version="standard", device="cpu")
    log = suite.logger = suite.apgd.logger = suite.apgd_targeted.logger = Log()
    start = time.perf_counter()
    points = suite.run_standard_evaluation(x, y, bs=batch)
    seconds = time.perf_counter() - start
    with torch.inference_mode():
        robust = int((net(points).argmax(1) == y).sum())
    return {"side": f"reference, batch {batch}", "seconds": seconds, "robust": robust, "attacks": log.by_attack()}


def ours(program, model, eps, limit, threads):
    """One run of ours, a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--data fashion-mnist-mini --suite standard --norm linf --eps {eps} --limit {limit} --seed 0 --threads {threads} --quiet --out"
        start = time.perf_counter()
        subprocess.run([program, "attack", model, *flags.split(), folder], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        record = json.loads(Path(folder, "attack.json").read_text())
    attacks = {row["name"]: row["seconds"] for row in record["attacks"]}
    return {"side": "fgmf", "seconds": seconds, "robust": sum(e["robust"] for e in record["examples"]), "attacks": attacks}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", default="250,500,1000", help="batch sizes tried with the reference (its own default is 250)")
    parser.add_argument("--reps", type=int, default=3, help="repetitions at the reference's fastest batch size")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    program = built("fgmf", "-p", "fgmf-cli")
    net, (x, y) = Zoo(a.model), images(a.limit)
    runs = []

    def run(measure, *arguments):
        time.sleep(REST)
        runs.append(measure(*arguments))
        r = runs[-1]
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in r["attacks"].items())
        print(f"{r['side']}: {r['seconds']:.1f} s, {r['robust']} of {a.limit} stand ({parts})", flush=True)
        return r

    def pair(batch):
        mine = run(ours, program, a.model, a.eps, a.limit, a.threads)
        return mine, run(reference, net, x, y, a.eps, batch)

    reference(net, x[:16], y[:16], a.eps, 16)  # warms PyTorch up
    first = {batch: pair(batch) for batch in map(int, a.batches.split(","))}
    best = min(first, key=lambda batch: first[batch][1]["seconds"])
    pairs = [first[best], *(pair(best) for _ in range(a.reps - 1))]
    mine = statistics.median(r["seconds"] for r in runs if r["side"] == "fgmf")
    theirs = statistics.median(t["seconds"] for _, t in pairs)
    ratios = [t["seconds"] / m["seconds"] for m, t in pairs]
    spread = quartiles(ratios) if len(ratios) > 1 else ratios * 3
    print(f"reference at batch {best}: {theirs:.1f} s, ours: {mine:.1f} s, ratio {theirs / mine:.2f}", end=" ")
    print(f"(quartiles of neighbouring runs {spread[0]:.2f} to {spread[2]:.2f}; target 2.5, aim 4)")
    if a.json:
        setup = {"machine": machine(), "torch": version("torch"), "auto-attack": COMMIT, "threads": a.threads, "eps": a.eps, "n": a.limit}
        result = {"best_batch": best, "reference_s": theirs, "fgmf_s": mine, "ratio": theirs / mine, "paired_quartiles": spread}
        a.json.write_text(json.dumps(setup | result | {"runs": runs}, indent=1) + "\n")
    standing = [r["robust"] for r in runs]
    sys.exit(1 if max(standing) - min(standing) > 0.005 * a.limit else 0)


if __name__ == "__main__":
    main()
