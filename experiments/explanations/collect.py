"""Tables of run.sh (standard library only).

    python experiments/explanations/collect.py OUT [METHOD [PART ...]] > tables.md

Reads OUT/<part>/<net>/<method>/evaluation.json. METHOD is what the others are compared with
(default pgca-published). PART is claims, stability or grid (default all).

Means have 95% intervals (normal approximation). Paired tests are Wilcoxon's signed-rank test
(normal approximation with ties, as `fgmf evaluate` computes it). Holm corrects them over the rows
of a table.
"""
import json
import math
import pathlib
import sys

OUT = pathlib.Path(sys.argv[1])
PGCA = sys.argv[2] if len(sys.argv) > 2 else "pgca-published"


def read(part):
    """{net: {method: {(figure, input): values}}}, and what was evaluated."""
    found, about = {}, {}
    for path in sorted(OUT.glob(f"{part}/*/*/evaluation.json")):
        record = json.loads(path.read_text())
        rows = {(r["figure"], r["input"]): r for r in record["rows"]}
        found.setdefault(path.parts[-3], {})[path.parts[-2]] = rows
        about[path.parts[-3]] = record
    return found, about


def summary(values):
    known = [v for v in values if v is not None]
    n = len(known)
    if n == 0:
        return 0, 0.0, 0.0
    mean = sum(known) / n
    variance = sum((v - mean) ** 2 for v in known) / max(n - 1, 1)
    return n, mean, 1.96 * math.sqrt(variance / n)


def cell(values, digits=3):
    n, mean, half = summary(values)
    return "–" if n == 0 else f"{mean:.{digits}f} ± {half:.{digits}f}"


def wilcoxon(differences):
    sizes = sorted((abs(d), d > 0) for d in differences if d != 0)
    n = len(sizes)
    if n == 0:
        return 1.0
    plus, ties, i = 0.0, 0.0, 0
    while i < n:
        j = i
        while j < n and sizes[j][0] == sizes[i][0]:
            j += 1
        plus += (i + 0.5 * (j - i + 1)) * sum(1 for k in range(i, j) if sizes[k][1])
        ties += (j - i) ** 3 - (j - i)
        i = j
    total = n * (n + 1) / 2
    deviation = math.sqrt(n * (n + 1) * (2 * n + 1) / 24 - ties / 48)
    z = (min(plus, total - plus) - 0.5 * total) / deviation
    return min(1.0, math.erfc(-z / math.sqrt(2)))


def holm(p):
    order, least, out = sorted(range(len(p)), key=p.__getitem__), 0.0, [0.0] * len(p)
    for done, i in enumerate(order):
        least = min(1.0, max(least, p[i] * (len(p) - done)))
        out[i] = least
    return out


def paired(a, b):
    return [x - y for x, y in zip(a, b) if x is not None and y is not None]


def faithfulness():
    """LeRF minus MoRF of every method, and PGCA less each."""
    nets, about = read("claims")
    for net, methods in nets.items():
        inputs = [i["name"] for i in about[net]["inputs"]]
        n = about[net]["data"]["n"]
        print(f"\n### {net}: LeRF minus MoRF, n = {n}\n")
        heads = "".join(f" {i} | {PGCA} less it, {i} | p |" for i in inputs)
        print(f"| method |{heads}\n| --- |{' --- | --- | --- |' * len(inputs)}")
        figure = "lerf-minus-morf"
        values = {m: [rows[figure, i]["values"] for i in inputs] for m, rows in methods.items()}
        names = sorted(values, key=lambda m: -summary(values[m][0])[1])
        if PGCA not in values:
            continue
        others = [m for m in names if m != PGCA]
        tests = [holm([wilcoxon(paired(values[PGCA][k], values[m][k])) for m in others]) for k in range(len(inputs))]
        for m in names:
            line = f"| `{m}` |"
            for k in range(len(inputs)):
                line += f" {cell(values[m][k])} |"
                line += " | |" if m == PGCA else f" {cell(paired(values[PGCA][k], values[m][k]))} | {tests[k][others.index(m)]:.1e} |"
            print(line)


def stability():
    nets, about = read("stability")
    figures = ["attacked-top-k", "attacked-tolerant-top-k", "attacked-spearman", "attacked-ssim"]
    if not about:
        return
    threat = next(iter(about.values()))["threat"]
    print(f"\n### Attacked stability, {threat['norm']} eps {threat['eps']}\n")
    print("| net | method | attacker | n |" + "".join(f" {f} |" for f in figures) + "\n| --- | --- | --- | --- |" + " --- |" * len(figures))
    for net, methods in nets.items():
        for m, rows in methods.items():
            method, attacker = m.split("@") if "@" in m else (m, "all")
            n = len(rows[figures[0], "clean"]["values"])
            print(f"| {net} | `{method}` | {attacker} | {n} |" + "".join(f" {cell(rows[f, 'clean']['values'])} |" for f in figures))
    print()
    worst = {}
    for net, methods in nets.items():
        for m, rows in methods.items():
            values = rows["attacked-top-k", "clean"]["values"]
            kept = worst.setdefault((net, m.split("@")[0]), values)
            worst[net, m.split("@")[0]] = [min(a, b) for a, b in zip(kept, values)]
    if ("fgmf-0", PGCA) in worst and ("standard-0", "grad-cam-pp") in worst:
        print("Top-k overlap, worst attacker of each image:\n\n| net | method | overlap |\n| --- | --- | --- |")
        for (net, m), values in worst.items():
            print(f"| {net} | `{m}` | {cell(values)} |")
        a, b = worst["fgmf-0", PGCA], worst["standard-0", "grad-cam-pp"]
        excess = [x - 2 * y for x, y in zip(a, b)]
        ratio = summary(a)[1] / summary(b)[1]
        print(f"\n{PGCA} on fgmf-0 over Grad-CAM++ on standard-0: {ratio:.2f}; {PGCA} less twice Grad-CAM++, per image: {cell(excess)}")


def means(rows, figure, inputs):
    return [summary(rows[figure, i]["values"]) if (figure, i) in rows else (0, 0.0, 0.0) for i in inputs]


def grid():
    """Every figure of every method, and which come first."""
    for part in ["grid", "slow"]:
        nets, about = read(part)
        for net, methods in nets.items():
            directions = {f: r["better"] for rows in methods.values() for (f, _), r in rows.items()}
            inputs = [i["name"] for i in about[net]["inputs"]]
            # What the attack alone did to the maps comes with every part.
            figures = [f for f in directions if part == "grid" or not f.startswith("shift-")]
            print(f"\n## {net}, n = {about[net]['data']['n']}, {' / '.join(inputs)}\n")
            print(f"| figure | better |{''.join(f' first three, {i} |' for i in inputs)}\n| --- | --- |{' --- |' * len(inputs)}")
            for f in figures:
                sign = 1 if directions[f] == "lower" else -1
                firsts = []
                for k in range(len(inputs)):
                    known = [(sign * means(rows, f, inputs)[k][1], m) for m, rows in methods.items() if means(rows, f, inputs)[k][0]]
                    firsts.append(", ".join(f"`{m}`" for _, m in sorted(known)[:3]) or "–")
                print(f"| {f} | {directions[f]} | {' | '.join(firsts)} |")
            for start in range(0, len(figures), 6):
                some = figures[start:start + 6]
                print("\n| method |" + "".join(f" {f} ({directions[f]}) |" for f in some) + "\n| --- |" + " --- |" * len(some))
                for m, rows in methods.items():
                    both = (" / ".join("–" if n == 0 else f"{mean:.3g}" for n, mean, _ in means(rows, f, inputs)) for f in some)
                    print(f"| `{m}` |" + "".join(f" {cells} |" for cells in both))


if __name__ == "__main__":
    for part in sys.argv[3:] or ["claims", "stability", "grid"]:
        {"claims": faithfulness, "stability": stability, "grid": grid}[part]()
