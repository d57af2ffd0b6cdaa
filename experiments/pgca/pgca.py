"""PGCA by least squares beside its parts, its default and a fixed mean; and how well its agreement knows bad maps. Standard library only.

    python experiments/pgca/pgca.py OUT evaluate --model fgmf-0=MODEL.onnx [--model ...] [-n 500] [--attack pgd] [ENTRY ...]
    python experiments/pgca/pgca.py OUT table    --model fgmf-0=MODEL.onnx ... [--against default] [ENTRY ...] > table.md
    python experiments/pgca/pgca.py OUT calibrate --model ... [-n 1000] [least-squares default ...]
    python experiments/pgca/pgca.py OUT promise  --model ... [-n 1000] [--tau 0,0.2] [--alpha 0.1] [--delta 0.05] > promise.md

Entries are in `entries.json`: `fixed-mean` has the maps of `least-squares` with equal weights. The figure is LeRF minus MoRF under
ROAD's imputation. Every command can be given again after a kill and makes what is missing. `table` pairs two entries image by
image, the row's entry with the first and with `--against`. The interval of "all models" is that of the mean over images of the
models' mean difference (95%, normal); it does not cover the choice of models, whose differences stand beside it.
`promise` reads what `calibrate` wrote: the area under the ROC curve of the agreement for good maps against bad ones (LeRF minus
MoRF below tau), and over random halves how many maps a threshold from one half shows of the other, and in how many splits more
than alpha of these are bad (half of the images are few: an estimate of a rate that delta bounds for whole populations).
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")) / "release" / "fgmf"
METRIC = "lerf-minus-morf"
KNOWS = ["least-squares", "default"]
START = 0.2


def known():
    return json.loads((HERE / "entries.json").read_text())


def chosen(options, usual=None):
    return options.entries or usual or list(known())


def own(entry):
    found = known()[entry]
    return found["id"], json.dumps({found["id"]: found["settings"]} if found["settings"] else {})


def fgmf(options, *words, may=(0,)):
    done = subprocess.run([options.binary, *map(str, words), "--quiet"], stdout=subprocess.DEVNULL)
    if done.returncode not in may:
        raise SystemExit(f"fgmf {words[0]} ended with {done.returncode}")


def place(options, name, entry):
    return options.out / f"evaluate-{options.split}-{options.limit}-{options.attack}" / name / entry


def evaluate(options):
    for name, path in options.model:
        for entry in chosen(options):
            at = place(options, name, entry)
            if (at / "evaluation.json").exists():
                continue
            at.mkdir(parents=True, exist_ok=True)
            method, settings = own(entry)
            words = ["--data", options.data, "--split", options.split, "-n", options.limit, "--explainers", method, "--metrics", METRIC]
            fgmf(options, "evaluate", path, *words, "--settings", settings, "--attack", options.attack, "--out", at)
            print(name, entry, flush=True)


def values(options, name, entry):
    """By input: a figure an image, None where no map was found."""
    record = place(options, name, entry) / "evaluation.json"
    if not record.exists():
        return {}
    return {row["input"]: row["values"] for row in json.loads(record.read_text())["rows"] if row["figure"] == METRIC}


def interval(numbers):
    half = 1.96 * statistics.stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else math.inf
    return statistics.fmean(numbers), half


def shown(numbers, sign=""):
    mean, half = interval(numbers)
    return f"{mean:{sign}.4f} ± {half:.4f}"


def differences(first, other):
    return [None if a is None or b is None else a - b for a, b in zip(first, other, strict=True)]


def table(options):
    entries = chosen(options)
    names = [name for name, _ in options.model]
    found = {(name, entry): values(options, name, entry) for name in names for entry in entries}
    inputs = list(dict.fromkeys(kind for by in found.values() for kind in by))
    for kind in inputs:
        print(f"\n### {kind}, {options.split}, n = {options.limit}\n")
        for against in dict.fromkeys([entries[0], options.against]):
            if against not in entries:
                continue
            heads = [c for name in names for c in (name, f"`{against}` less it")]
            print(f"| entry | {' | '.join(heads)} | `{against}` less it, all models |")
            print("| --- |" + " --- |" * (len(heads) + 1))
            for entry in entries:
                cells, rows = [f"`{entry}`"], []
                for name in names:
                    row, base = found[name, entry].get(kind), found[name, against].get(kind)
                    cells.append(shown([v for v in row if v is not None]) if row else "–")
                    apart = differences(base, row) if row and base and entry != against else None
                    cells.append(shown([d for d in apart if d is not None], "+") if apart else "–")
                    rows += [apart] if apart else []
                whole = [[d for d in image if d is not None] for image in zip(*rows)]
                cells.append(shown([statistics.fmean(image) for image in whole if image], "+") if len(rows) > 1 else "–")
                print("| " + " | ".join(cells) + " |")
            print()


def calibration(options, name, entry):
    return options.out / f"calibrate-{options.split}-{options.limit}" / name / f"{entry}.json"


def calibrate(options):
    for name, path in options.model:
        for entry in chosen(options, KNOWS):
            at = calibration(options, name, entry)
            if at.exists():
                continue
            at.parent.mkdir(parents=True, exist_ok=True)
            method, settings = own(entry)
            words = ["--data", options.data, "--split", options.split, "-n", options.limit, "--method", method, "--settings", settings]
            # 1: nothing can be promised. The pairs are there none the less, and serve every tau.
            fgmf(options, "calibrate", path, *words, "--out", at, may=(0, 1))
            print(name, entry, flush=True)


def at_most(k, m, p):
    """P(Bin(m, p) <= k)."""
    log = lambda i: math.lgamma(m + 1) - math.lgamma(i + 1) - math.lgamma(m - i + 1) + i * math.log(p) + (m - i) * math.log1p(-p)  # noqa: E731
    return min(1.0, math.fsum(math.exp(log(i)) for i in range(k + 1)))


def learned(pairs, options, n):
    """The threshold of `fgmf calibrate`: (score, whether bad) pairs of n images."""
    pairs = sorted(pairs, reverse=True)
    first = max(math.ceil(START * n), math.ceil(math.log(options.delta) / math.log1p(-options.alpha)))
    found = None
    for m in range(len(pairs) + 1):
        if 0 < m < len(pairs) and pairs[m][0] == pairs[m - 1][0]:
            continue
        if m < first:
            continue
        if at_most(sum(bad for _, bad in pairs[:m]), m, options.alpha) > options.delta:
            break
        found = pairs[m][0] if m < len(pairs) else -math.inf
    return found


def area(pairs):
    """Area under the ROC curve: how often a good map has the larger score."""
    good, bad = ([s for s, b in pairs if b == which] for which in (False, True))
    wins = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
    return wins / (len(good) * len(bad)) if good and bad else math.nan


def promise(options):
    print("| model | entry | tau | bad maps | area under ROC | shown of fresh images | bad among shown | promise made | promise broken |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, _ in options.model:
        for entry in chosen(options, KNOWS):
            at = calibration(options, name, entry)
            record = json.loads(at.read_text()) if at.exists() else {"pairs": []}
            for tau in options.tau if record["pairs"] else []:
                pairs = [p and (p["agreement"], p["figure"] < tau) for p in record["pairs"]]
                there = [p for p in pairs if p]
                draw, made, broken, shares, bads = random.Random(0), 0, 0, [], []
                for _ in range(options.splits):
                    draw.shuffle(pairs)
                    half = len(pairs) // 2
                    threshold = learned([p for p in pairs[:half] if p], options, half)
                    if threshold is None:
                        shares.append(0.0)
                        continue
                    made += 1
                    fresh = [bad for score, bad in filter(None, pairs[half:]) if score > threshold]
                    shares.append(len(fresh) / (len(pairs) - half))
                    bads.append(statistics.fmean(fresh) if fresh else 0.0)
                    broken += bads[-1] > options.alpha
                cells = [
                    name, f"`{entry}`", f"{tau:g}", f"{100 * sum(b for _, b in there) / max(len(there), 1):.1f}%", f"{area(there):.3f}",
                    f"{100 * statistics.fmean(shares):.1f}%", f"{100 * statistics.fmean(bads):.1f}%" if bads else "–",
                    f"{made} of {options.splits}", f"{broken} of {options.splits}",
                ]
                print("| " + " | ".join(cells) + " |")


def named(text):
    name, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError("NAME=MODEL.onnx")
    return name, path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("command", choices=["evaluate", "table", "calibrate", "promise"])
    parser.add_argument("entries", nargs="*")
    parser.add_argument("--model", type=named, action="append", required=True, help="NAME=MODEL.onnx, as often as there are models")
    parser.add_argument("--data", default="fashion-mnist-mini")
    parser.add_argument("--split", default="test")
    parser.add_argument("-n", "--limit", type=int, default=500)
    parser.add_argument("--attack", default="pgd")
    parser.add_argument("--against", default="default")
    parser.add_argument("--tau", type=lambda t: [float(v) for v in t.split(",")], default=[0.0, 0.2])
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--delta", type=float, default=0.05)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--binary", default=BINARY)
    options = parser.parse_intermixed_args()
    unknown = set(options.entries) - set(known())
    if unknown:
        parser.error(f"no entry {', '.join(sorted(unknown))}; there are {', '.join(known())}")
    {"evaluate": evaluate, "table": table, "calibrate": calibrate, "promise": promise}[options.command](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
