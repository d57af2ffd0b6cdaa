"""What served maps give to attackers by scores, and in which form they give little. Standard library only.

    python experiments/leakage/leakage.py OUT run   --model standard=MODEL.onnx@0.1 [--model ...] [--limit 200] [--budget 1000] [ENTRY ...]
    python experiments/leakage/leakage.py OUT table --model standard=MODEL.onnx@0.1 ... [ENTRY ...] > table.md
    python experiments/leakage/leakage.py OUT members --model ... [--members 1000] [ENTRY ...] > members.md

The number behind `@` is the radius (Linf) of the attacks on that model. Entries are in `entries.json`: what is served, and in which
forms of `forms.json`: every side with every number of bits and every sign. `mask` is left out for models without a mask layer. Every
command can be given again after a kill and makes what is missing. `table` prints a line a form: bits served, faithfulness (LeRF minus
MoRF under ROAD) over that of the whole map, and queries with maps over queries by scores alone, for each attack and for all together,
of the images that fall to either (an image that stands counts with the budget). Brackets are paired bootstrap 95% intervals over
images. `least` is the smallest ratio of a single attack. `over image` is the ratio of all attacks to those that take the image itself
for its map, which needs no server; `least over image` is the smallest of a single attack. A form passes if all attacks together need
at least 0.95 of the queries by scores alone, and the map keeps at least 0.85 of its faithfulness; it passes for sure if both intervals
are above these.

`members` asks whether an image was trained on can be told from what is served: by the probability of the answer, and by the
sparseness and the entropy of its map, whole and as `default` in `forms.json` serves it. A figure is the area under the ROC curve of
training images against test images (0.5: nothing is told; below it small values are members), with Hanley and McNeil's 95% interval.
Threshold attacks on single figures are weak attackers: what they do not find may be there. The training part of `--data` must be among
what the model was trained on.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")) / "release" / "fgmf"
QUERIES, FAITHFUL = 0.95, 0.85


def known(name):
    return json.loads((HERE / name).read_text())


def chosen(options):
    return options.entries or list(known("entries.json"))


def place(options, name, entry):
    return options.out / f"{options.split}-{options.limit}-{options.budget}" / name / entry


def run(options):
    for name, path, eps in options.model:
        for entry in chosen(options):
            at, own = place(options, name, entry), known("entries.json")[entry]
            if (at / "leakage.json").exists() or (own["what"] == "mask" and not masked(options, path)):
                continue
            form = known("forms.json")[own["forms"]]
            words = ["--data", options.data, "--split", options.split, "--limit", options.limit, "--eps", eps]
            words += ["--queries-per-image", options.budget, "--served", own["what"], "--suite", options.suite]
            if own["what"] == "maps":
                words += ["--served-explainer", own["explainer"], "--served-settings", json.dumps(own["settings"])]
            words += [word for key, value in form.items() for word in (f"--map-{key}", value)]
            subprocess.run([options.binary, "attack", path, *map(str, words), "--out", at, "--quiet"], check=True, stdout=subprocess.DEVNULL)
            print(name, entry, flush=True)


def masked(options, path):
    shown = subprocess.run([options.binary, "info", path, "--json"], check=True, capture_output=True, text=True)
    return "sgam.mask" in shown.stdout


def shown(figure):
    if figure is None:
        return "–"
    value, (low, high) = figure
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def smallest(ratios):
    found = [r[0] for r in ratios if r]
    return f"{min(found):.2f}" if found else "–"


def share(p):
    low, high = p["interval"]
    return f"{100 * p['value']:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"


def passes(leak):
    kept, ratio = leak["kept"], leak["all"]["ratio"]
    if kept is None or ratio is None:
        return "–"
    if kept[0] < FAITHFUL or ratio[0] < QUERIES:
        return "no"
    return "for sure" if kept[1][0] >= FAITHFUL and ratio[1][0] >= QUERIES else "yes"


def table(options):
    for name, _, eps in options.model:
        for entry in chosen(options):
            at = place(options, name, entry) / "leakage.json"
            if not at.exists():
                continue
            record = json.loads(at.read_text())
            n, attacks = record["clean"]["count"], [row["attack"] for row in record["blind"]]
            print(f"\n### {name}, {entry}: eps {eps}, n = {n} of {record['data']['n']}, {record['budget']} queries, seed {record['seed']}\n")
            print("| without maps | success | mean queries | median |\n| --- | --- | --- | --- |")
            for title, rows in (("scores alone", record["blind"]), ("image for a map", record["by_image"])):
                for row in rows:
                    print(f"| {row['attack']}, {title} | {share(row['success'])} | {row['mean']:.0f} | {row['median']:.0f} |")
            print(f"\nFaithfulness of the whole map: {shown(record['faithfulness'])}.\n")
            print(f"| side | bits | sign | bits served | faithfulness kept | {' | '.join(attacks)} | all attacks | least | over image | least over image | passes |")
            print("| --- |" + " --- |" * (len(attacks) + 9))
            for form, leak in zip(record["forms"], record["leaks"], strict=True):
                own = form["parameters"]
                ratios, over = ([row[key]["ratio"] for row in leak["rows"]] for key in ("ratio", "over_image"))
                cells = [own["side"] or "full", own["bits"] or "exact", own["sign"], leak["bits_served"], shown(leak["kept"])]
                cells += [*map(shown, ratios), shown(leak["all"]["ratio"]), smallest(ratios), shown(leak["all_over_image"]["ratio"]), smallest(over), passes(leak)]
                print("| " + " | ".join(map(str, cells)) + " |")
            print()


def figures(options, name, path, split, method, settings):
    """By figure: a value an image."""
    key = "-".join(["members", split, str(options.members)])
    at = options.out / key / name / (method if method != "served-form" else f"{settings['inner']['id']}-served")
    words = ["--data", options.data, "--split", split]
    if method == "scores":
        if not (at / "predictions.json").exists():
            ask(options, "predict", path, *words, "-n", options.members, "--out", at)
        rows = json.loads((at / "predictions.json").read_text())["images"]
        return {"probability of the answer": [max(c["probability"] for c in row["top"]) for row in rows]}
    if not (at / "evaluation.json").exists():
        words += ["-n", options.members, "--explainers", method, "--metrics", "sparseness,entropy"]
        ask(options, "evaluate", path, *words, "--settings", json.dumps({method: settings} if settings else {}), "--out", at)
    rows = json.loads((at / "evaluation.json").read_text())["rows"]
    return {row["figure"]: [v for v in row["values"] if v is not None] for row in rows if row["input"] == "clean"}


def ask(options, *words):
    subprocess.run([options.binary, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)


def area(members, others):
    """Of the ROC curve, with its interval."""
    ranked = sorted([(v, 1) for v in members] + [(v, 0) for v in others])
    at, above = 0, 0.0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        above += sum(kind for _, kind in ranked[at:end]) * (at + 1 + end) / 2
        at = end
    m, n = len(members), len(others)
    a = (above - m * (m + 1) / 2) / (m * n)
    spread = a * (1 - a) + (m - 1) * (a / (2 - a) - a * a) + (n - 1) * (2 * a * a / (1 + a) - a * a)
    half = 1.96 * math.sqrt(max(0.0, spread) / (m * n))
    return a, (a - half, a + half)


def members(options):
    served = {k: json.loads(v) if k != "sign" else v for k, v in known("forms.json")["default"].items()}
    print("| model | served | figure | area under the ROC curve |\n| --- | --- | --- | --- |")
    for name, path, _ in options.model:
        asked = [("scores", "scores", {})]
        for entry in chosen(options):
            own = known("entries.json")[entry]
            if own["what"] != "maps":
                continue
            inner = {"id": own["explainer"], "parameters": own["settings"]}
            asked.append((f"{entry}, whole", own["explainer"], own["settings"]))
            asked.append((f"{entry}, default form", "served-form", served | {"inner": inner}))
        for title, method, settings in asked:
            own, others = (figures(options, name, path, split, method, settings) for split in ("train", "test"))
            for figure, values in own.items():
                found, (low, high) = area(values, others[figure])
                print(f"| {name} | {title} | {figure} | {found:.3f} [{low:.3f}, {high:.3f}] |", flush=True)


def model(text):
    name, _, rest = text.partition("=")
    path, at, eps = rest.rpartition("@")
    if not (name and at and path):
        raise argparse.ArgumentTypeError(f"expected NAME=MODEL.onnx@EPS, found {text}")
    return name, path, float(eps)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("command", choices=["run", "table", "members"])
    parser.add_argument("entries", nargs="*")
    parser.add_argument("--model", type=model, action="append", required=True)
    parser.add_argument("--data", default="fashion-mnist-mini")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--suite", default="square,nes,evolution")
    parser.add_argument("--binary", type=Path, default=BINARY)
    options = parser.parse_intermixed_args()
    if unknown := [e for e in options.entries if e not in known("entries.json")]:
        raise SystemExit(f"expected entries of entries.json, found {', '.join(unknown)}")
    {"run": run, "table": table, "members": members}[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
