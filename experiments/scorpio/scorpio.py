"""SCOR-PIO 2.0 beside its rivals: trains, attacks, compares. Standard library only.

    python experiments/scorpio/scorpio.py OUT train  [--arch cnn-tiny] [--seeds 0,1,2] [--epochs 8] [ENTRY ...]
    python experiments/scorpio/scorpio.py OUT attack [--suite apgd-ce,apgd-t] [--limit 2000] ...
    python experiments/scorpio/scorpio.py OUT prove  [--limit 10000] ...
    python experiments/scorpio/scorpio.py OUT times  [--rounds 5] ...
    python experiments/scorpio/scorpio.py OUT table  [--against pgd-10] ... > table.md
    python experiments/scorpio/scorpio.py OUT maps   [--images 100] ... > maps.md

Entries are in `entries.json`; `scor-pio@36` is one with 36 epochs. Data: full Fashion-MNIST (`--data`, a folder of its IDX files). Every command can be given again
after a kill and makes what is missing. `attack` gives each model the same images; `--suite standard --limit 10000` is AutoAttack
on the whole test set. What it finds goes to `records/` beside this file, a bit an image, and there it is looked for first: models
need not be trained again on every machine. `table` reads records alone. `prove` adds what interval bounds prove to them. `times` trains every entry for one epoch in turn, over and over, so that what else the machine does meets all
alike; a ratio is that of medians. `table` pairs two entries image by image: the difference is the mean over seeds and images,
its interval that of the mean over images of the seeds' mean difference (95%, normal); it does not cover the choice of
seeds, whose differences stand beside it. `maps` lets the attacker of `attacked-stability` at the maps of each model, and
prints the share of the top tenth that is left, beside the accuracy that `attack` found.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")) / "release" / "fgmf"


def known():
    return json.loads((HERE / "entries.json").read_text())


def parts(options, entry):
    """An entry's name and epochs."""
    name, _, epochs = entry.partition("@")
    return name, int(epochs or options.epochs)


def settings(options, name, seed, epochs):
    own = {k: v for k, v in known()["entries"][name].items() if k != "passes"}
    return known()["common"] | {"data": options.data, "architecture": options.arch, "epochs": epochs, "seed": seed} | own


def folder(options, entry, seed):
    name, epochs = parts(options, entry)
    return options.out / options.arch / f"{name}-{epochs}" / str(seed)


def chosen(options):
    return options.entries or list(known()["entries"])


def fgmf(options, *words):
    threads = ["--threads", options.threads] if options.threads else []
    subprocess.run([options.binary, *map(str, words + tuple(threads)), "--quiet"], check=True, stdout=subprocess.DEVNULL)


def trained(options, name, epochs, seed, at):
    at.mkdir(parents=True, exist_ok=True)
    config = at / "config.json"
    config.write_text(json.dumps(settings(options, name, seed, epochs), indent=1) + "\n")
    fgmf(options, "train", "--config", config, "--out", at)


def train(options):
    for seed in options.seeds:
        for entry in chosen(options):
            if record_of(options, entry, seed).exists():
                continue
            trained(options, *parts(options, entry), seed, folder(options, entry, seed))
            print(entry, seed, "trained", flush=True)


def place(options, at):
    return at / f"{options.suite.replace(',', '+')}-{options.limit}"


def record_of(options, entry, seed):
    """Where the figures of one model under one suite are kept."""
    name, epochs = parts(options, entry)
    return options.records / options.arch / f"{name}-{epochs}-{seed}-{place(options, Path()).name}.json"


def bits(right):
    """A list of 0 and 1 in hexadecimal digits, the first image first."""
    padded = right + [0] * (-len(right) % 4)
    return "".join(f"{int(''.join(map(str, padded[i:i + 4])), 2):x}" for i in range(0, len(padded), 4))


def unbits(text, n):
    return [int(bit) for digit in text for bit in f"{int(digit, 16):04b}"][:n]


def keep(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = json.dumps(record, indent=1) + "\n"
    part = path.with_suffix(".part")
    part.write_text(whole)
    part.rename(path)


def record(options, entry, seed, attacked, at):
    """What is kept of an attack: settings, figures, and a bit an image."""
    name, epochs = parts(options, entry)
    last = json.loads((at / "log.jsonl").read_text().splitlines()[-1])
    # It comes last: what it breaks, gradients did not.
    alone = [a["broken"] for a in attacked["attacks"] if a["name"] == "square"]
    return {
        "settings": settings(options, name, seed, epochs) | {"data": "fashion-mnist"}, "suite": options.suite, "n": attacked["overall"]["n"],
        "build": attacked["build"], "clean": attacked["clean"]["accuracy"], "robust": attacked["overall"]["robust_accuracy"],
        "after": {a["name"]: a["robust_accuracy"] for a in attacked["attacks"]}, "verdict": attacked["verdict"]["level"],
        "flags": [flag["id"] for flag in attacked["verdict"]["flags"]], "square alone": sum(alone),
        "linearity": dict(last["parts"]).get("linearity"), "right": bits([int(e["robust"]) for e in attacked["examples"]]),
    }


def attack(options):
    for seed in options.seeds:
        for entry in chosen(options):
            at, kept = folder(options, entry, seed), record_of(options, entry, seed)
            to = place(options, at)
            if not (at / "model.onnx").exists() or kept.exists():
                continue
            if not (to / "attack.json").exists():
                words = ("--data", options.data, "--suite", options.suite, "--eps", "0.1", "--limit", options.limit, "--out", to)
                fgmf(options, "attack", at / "model.onnx", *words)
            keep(kept, record(options, entry, seed, json.loads((to / "attack.json").read_text()), at))
            print(entry, seed, json.loads(kept.read_text())["robust"], flush=True)


def prove(options):
    """Adds the share that interval bounds prove, and a bit an image, to records."""
    for seed in options.seeds:
        for entry in chosen(options):
            at, kept = folder(options, entry, seed), record_of(options, entry, seed)
            if not (at / "model.onnx").exists() or not kept.exists():
                continue
            whole, to = json.loads(kept.read_text()), at / f"proof-{options.limit}"
            if "proved" in whole:
                continue
            if not (to / "certify.json").exists():
                words = ("--data", options.data, "--threat", "linf", "--suite", "quick", "--eps", "0.1", "--limit", options.limit, "--out", to)
                fgmf(options, "certify", at / "model.onnx", *words)
            proof = [int(image["proof"] == "proved-right") for image in json.loads((to / "certify.json").read_text())["images"]]
            fallen = [i for i, (p, r) in enumerate(zip(proof, unbits(whole["right"], whole["n"]), strict=True)) if p and not r]
            assert not fallen, f"proved and broken: {fallen}"
            keep(kept, whole | {"proved": statistics.fmean(proof), "proof": bits(proof)})
            print(entry, seed, f"{statistics.fmean(proof):.4f} proved", flush=True)


def times(options):
    """One epoch each, in turn."""
    path = options.out / options.arch / "times.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text()) if path.exists() else {}
    for turn in range(options.rounds):
        for entry in chosen(options)[:: 1 if turn % 2 else -1]:
            if len(kept.get(entry, [])) > turn:
                continue
            at = options.out / "times" / entry
            trained(options, entry, 1, 0, at)
            log = [json.loads(line) for line in (at / "log.jsonl").read_text().splitlines()]
            kept.setdefault(entry, []).append(log[0]["seconds"])
            shutil.rmtree(at)
            path.write_text(json.dumps(kept, indent=1) + "\n")
            print(entry, f"{log[0]['seconds']:.1f} s", flush=True)


def results(options, entry):
    """By seed: the record, with what was right under attack as a list of 0 and 1."""
    found = {}
    for seed in options.seeds:
        kept = record_of(options, entry, seed)
        if kept.exists():
            whole = json.loads(kept.read_text())
            found[seed] = whole | {"right": unbits(whole["right"], whole["n"])}
    return found


def paired(a, b):
    """Mean difference in points, half its interval, and each seed's difference."""
    seeds = sorted(set(a) & set(b))
    each = [[100 * (x - y) for x, y in zip(a[s]["right"], b[s]["right"], strict=True)] for s in seeds]
    means = [statistics.fmean(row) for row in zip(*each)]
    half = 1.96 * statistics.stdev(means) / math.sqrt(len(means))
    return statistics.fmean(means), half, [statistics.fmean(row) for row in each]


def table(options):
    path = options.out / options.arch / "times.json"
    clock = {k: statistics.median(v) for k, v in json.loads(path.read_text()).items()} if path.exists() else {}
    time_of = lambda entry: clock[parts(options, entry)[0]] * parts(options, entry)[1]  # noqa: E731
    base = results(options, options.against)
    print(f"| training | passes of a visit | time, of {options.against}'s | clean | attacked, each seed | mean | less {options.against}'s | each seed | proved | Square alone | linearity | verdict |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for entry in chosen(options):
        found = results(options, entry)
        if not found:
            continue
        share = lambda v: f"{100 * v:.1f}"  # noqa: E731
        right = {s: statistics.fmean(r["right"]) for s, r in found.items()}
        timed = {parts(options, e)[0] for e in (entry, options.against)} <= set(clock)
        time = f"{100 * time_of(entry) / time_of(options.against):.0f}%" if timed else "–"
        apart, seeds = "–", "–"
        if entry != options.against and set(found) & set(base):
            mean, half, each = paired(found, base)
            apart, seeds = f"{mean:+.2f} ± {half:.2f}", " / ".join(f"{d:+.2f}" for d in each)
        proofs = [r["proved"] for r in found.values() if "proved" in r]
        bends = [r["linearity"] for r in found.values() if r["linearity"] is not None]
        cells = [
            f"`{entry}`", f"{known()['entries'][parts(options, entry)[0]]['passes']}", time, share(statistics.fmean(r["clean"] for r in found.values())),
            " / ".join(share(v) for v in right.values()), f"**{share(statistics.fmean(right.values()))}**", apart, seeds,
            share(statistics.fmean(proofs)) if proofs else "–", " / ".join(str(r["square alone"]) for r in found.values()),
            f"{statistics.fmean(bends):.2f}" if bends else "–", ", ".join(sorted({r["verdict"] for r in found.values()})),
        ]
        print("| " + " | ".join(cells) + " |")


EXPLAINERS = ["integrated-gradients", "grad-cam-pp", "pgca"]


def maps(options):
    """Top tenth left under the attacker of maps."""
    print("| training | attacked accuracy | " + " | ".join(EXPLAINERS) + " |")
    print("| --- | --- |" + " --- |" * len(EXPLAINERS))
    for entry in chosen(options):
        left = {e: [] for e in EXPLAINERS}
        for seed in options.seeds:
            at = folder(options, entry, seed)
            to = at / f"maps-{options.images}"
            if not (at / "model.onnx").exists():
                continue
            if not (to / "evaluation.json").exists():
                words = ["--data", options.data, "--limit", options.images, "--attack", "none", "--eps", "0.1", "--out", to]
                words += ["--explainers", ",".join(EXPLAINERS), "--metrics", "attacked-stability"]
                fgmf(options, "evaluate", at / "model.onnx", *words)
            for row in json.loads((to / "evaluation.json").read_text())["rows"]:
                if row["figure"] == "attacked-top-k" and row["input"] == "clean":
                    left[row["explainer"]].append(row["values"])
        if not left[EXPLAINERS[0]]:
            continue
        cells = []
        for of in EXPLAINERS:
            each = [statistics.fmean(row) for row in zip(*left[of], strict=True)]
            half = 1.96 * statistics.stdev(each) / math.sqrt(len(each))
            cells.append(f"{statistics.fmean(each):.3f} ± {half:.3f}")
        robust = [statistics.fmean(r["right"]) for r in results(options, entry).values()]
        accuracy = f"{100 * statistics.fmean(robust):.1f}" if robust else "–"
        print(f"| `{entry}` | {accuracy} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("command", choices=["train", "attack", "prove", "times", "table", "maps"])
    parser.add_argument("entries", nargs="*")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--arch", default="cnn-tiny")
    parser.add_argument("--seeds", type=lambda t: [int(s) for s in t.split(",")], default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--suite", default="apgd-ce,apgd-t")
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--against", default="pgd-10")
    parser.add_argument("--binary", default=BINARY)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--records", type=Path, default=HERE / "records")
    options = parser.parse_intermixed_args()
    {"train": train, "attack": attack, "prove": prove, "times": times, "table": table, "maps": maps}[options.command](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
