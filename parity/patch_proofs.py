"""Masks, proofs against patches and defended answers, from the definitions in arXiv 2108.09135.

Written from the paper's text (section 3 and algorithms 1 and 2), with sets of hidden pixels and
every pair of masks asked about; no early end, nothing reused. Weights are whole numbers and images
multiples of a quarter, so that every logit is exact in single precision.

Before anything is written, each claim is checked in the way it is meant: of each image that is
proved, every place of the patches is tried with random contents.

Usage: python parity/patch_proofs.py
(standard library only)
"""

import itertools
import json
import random
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "crates" / "fgmf" / "tests" / "fixtures" / "patch_proofs.json"
SIDE, HIDDEN, CLASSES = 6, 10, 3


def network(draw):
    def matrix(rows, columns):
        return [[draw.randint(-3, 3) for _ in range(columns)] for _ in range(rows)]

    return {
        "first": matrix(HIDDEN, SIDE * SIDE),
        "first_bias": [draw.randint(-4, 4) for _ in range(HIDDEN)],
        "second": matrix(CLASSES, HIDDEN),
        "second_bias": [draw.randint(-4, 4) for _ in range(CLASSES)],
    }


def answer(net, x):
    """The class with the largest logit; None where two are equal."""
    layer = zip(net["first"], net["first_bias"])
    hidden = [max(0.0, b + sum(w * v for w, v in zip(row, x))) for row, b in layer]
    layer = zip(net["second"], net["second_bias"])
    logits = [b + sum(w * v for w, v in zip(row, hidden)) for row, b in layer]
    top = max(logits)
    return logits.index(top) if logits.count(top) == 1 else None


def pixels(rectangle):
    top, left, height, width = rectangle
    return {r * SIDE + c for r in range(top, top + height) for c in range(left, left + width)}


def rectangles(patch, per_axis):
    starts, sizes = [], []
    for p in patch:
        stride = -(-(SIDE - p + 1) // per_axis)
        size = min(p + stride - 1, SIDE)
        at = list(range(0, SIDE - size + 1, stride))
        if at[-1] != SIDE - size:
            at.append(SIDE - size)
        starts.append(at)
        sizes.append(size)
    return [[top, left, *sizes] for top in starts[0] for left in starts[1]]


def places(patch):
    return [
        pixels([top, left, *patch])
        for top in range(SIDE - patch[0] + 1)
        for left in range(SIDE - patch[1] + 1)
    ]


def masked(x, hidden, fill):
    return [fill if i in hidden else v for i, v in enumerate(x)]


def two_masks(net, x, masks, fill):
    return [[answer(net, masked(x, a | b, fill)) for b in masks] for a in masks]


def defended(table):
    """Algorithm 1 on the answers to each pair of masks, and whether the first round disagrees."""
    singles = [table[i][i] for i in range(len(table))]
    order = lambda k: CLASSES if k is None else k
    counts = Counter(singles)
    majority = min(counts, key=lambda k: (-counts[k], order(k)))
    for i, k in enumerate(singles):
        if k != majority and all(other == k for other in table[i]):
            return k, True
    return majority, len(counts) > 1


def case(draw, net, patch, count, per_axis, fill, n):
    parts = rectangles(patch, per_axis)
    unions = list(itertools.combinations(parts, min(count, len(parts))))
    masks = [set().union(*(pixels(r) for r in union)) for union in unions]
    for chosen in itertools.product(places(patch), repeat=count):
        assert any(set().union(*chosen) <= m for m in masks)
    images = []
    while len(images) < n:
        x = [draw.choice([0, 0.25, 0.5, 0.75, 1]) for _ in range(SIDE * SIDE)]
        label = answer(net, x)
        if label is None:
            continue
        table = two_masks(net, x, masks, fill)
        singles = [table[i][i] for i in range(len(masks))]
        right = all(k == label for row in table for k in row)
        detected = all(k == label for k in singles)
        # Most random images lead to nothing proved: keep them from crowding out the others.
        if not detected and sum(i["proof"] == "not-proved" for i in images) >= n // 3:
            continue
        if detected and not right and sum(i["proof"] == "proved-detected" for i in images) >= n // 3:
            continue
        patched = []
        all_places = places(patch)
        for spots in itertools.product(all_places, repeat=count):
            if count > 1 and draw.random() > 0.05:
                continue
            z = list(x)
            for i in set().union(*spots):
                z[i] = draw.choice([0, 1])
            k, alarm = defended(two_masks(net, z, masks, fill))
            assert not right or k == label
            assert not detected or alarm or k == label
            if draw.random() < 3 / len(all_places) or (k != label and len(patched) < 6):
                patched.append({"pixels": z, "defended": k, "alarm": alarm})
        k, alarm = defended(table)
        proof = "proved-right" if right else "proved-detected" if detected else "not-proved"
        images.append(
            {
                "pixels": x,
                "label": label,
                "proof": proof,
                "defended": k,
                "alarm": alarm,
                "patched": patched[:6],
            }
        )
    return {
        "patch": patch,
        "patches": count,
        "masks_per_axis": per_axis,
        "fill": fill,
        "masks": [list(union) for union in unions],
        "images": images,
    }


def main():
    draw = random.Random(17)
    net = network(draw)
    cases = [
        case(draw, net, [2, 2], 1, 2, 0.5, 12),
        case(draw, net, [1, 3], 1, 3, 0.0, 12),
        case(draw, net, [2, 1], 1, 5, 1.0, 12),
        case(draw, net, [1, 1], 2, 2, 0.5, 9),
    ]
    for c in cases:
        print(c["patch"], c["patches"], len(c["masks"]), Counter(i["proof"] for i in c["images"]))
    origin = {"script": "parity/patch_proofs.py", "libraries": "standard library only"}
    record = {"origin": origin, "side": SIDE, "network": net, "cases": cases}
    OUT.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
