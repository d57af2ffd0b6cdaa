"""Input gradients of networks that people use, beside PyTorch: time, memory, distance from double precision.

    python parity/real_models.py OUT.jsonl [--reps 9] [NAME ...]
    python parity/real_models.py OUT.jsonl --zoo            # every model of models.py, PyTorch in eager mode
    python parity/real_models.py OUT.jsonl --table          # the rows as Markdown

Eight images of 224 x 224, random weights as in `models.py`, exported by PyTorch's default exporter. Our side is
`crates/fgmf/examples/side_by_side.rs`, as in `bench.py`; repetitions of all sides alternate, and a ratio is PyTorch's best
median over ours. PyTorch's candidates: eager and `torch.compile`, contiguous and channels last. The distance of a gradient is
the relative L2 distance from PyTorch's in double precision, for each image; the median is printed. Memory is the peak of a
fresh process that makes three passes, PyTorch's in eager mode, of the better layout.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import REST, Server, built

NAMES = ["resnet50", "mobilenet_v3_large", "efficientnet_b0", "convnext_tiny", "vit_small_patch16_224", "swin_t"]
WAY = ("default", 18, "free")


def network(name):
    import torch

    import models

    if name == "vit_small_patch16_224":
        models.TIMM.append(name)
    model, side = models.build(name)
    for weight in model.parameters():
        weight.requires_grad_(False)
    torch.set_num_threads(2)
    return model, side


def gradient_of(model, x, labels):
    """A function that makes the gradient of the summed cross-entropy in the images."""
    import torch

    def run():
        image = x.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(image), labels, reduction="sum")
        return torch.autograd.grad(loss, image)[0]

    return run


def candidates(model, x, labels, compiled):
    import copy

    import torch

    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    wide = x.contiguous(memory_format=torch.channels_last)
    eager = {"eager": gradient_of(model, x, labels), "eager, channels last": gradient_of(last, wide, labels)}
    return eager | ({
        "compiled": gradient_of(torch.compile(model), x, labels),
        "compiled, channels last": gradient_of(torch.compile(last), wide, labels),
    } if compiled else {})


def arrays(server):
    """The images, the labels and our gradient."""
    import numpy as np
    import torch

    with tempfile.TemporaryDirectory() as folder:
        shapes = server.ask("write", folder)
        read = lambda n: torch.from_numpy(np.fromfile(Path(folder, f"{n}.f32"), "<f4").reshape(shapes[n]))  # noqa: E731
        return read("x"), read("labels").long(), read("result")


def distance(found, truth):
    apart = (found.double() - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    return apart.median().item()


def peak(name, layout):
    """PyTorch's peak in a fresh process, MiB."""
    command = [sys.executable, __file__, "-", "--peak", name, layout]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def torch_peak(name, layout):
    import torch

    model, side = network(name)
    x = torch.rand(8, 3, side, side)
    if layout == "last":
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    run = gradient_of(model, x, torch.arange(8))
    for _ in range(3):
        run()
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def measure(name, reps, compiled):
    import models
    import torch

    model, side = network(name)
    program = built("examples/side_by_side", "-p", "fgmf", "--example", "side_by_side")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        with torch.no_grad():
            models.export(model, side, WAY, path)
        with Server(program, 2) as server:
            server.ask("prepare", "model-dx", path)
            for _ in range(3):
                server.ask("run")
            ours_peak = server.ask("peak")["peak_mib"]
        with Server(program, 2) as server:
            server.ask("prepare", "model-dx", path)
            x, labels, ours = arrays(server)
            truth = gradient_of(model.double(), x.double(), labels)()
            model.float()
            apart = distance(ours, truth), distance(gradient_of(model, x, labels)(), truth)
            sides = {"fgmf": lambda: server.ask("run")["ms"]}
            for way, run in candidates(model, x, labels, compiled).items():
                run(), run()
                sides[way] = timed(run)
            times = {way: [] for way in sides}
            for i in range(reps):
                for way in list(sides)[:: 1 if i % 2 else -1]:
                    time.sleep(REST)
                    times[way].append(sides[way]())
    medians = {way: statistics.median(t) for way, t in times.items()}
    best = min((way for way in medians if way != "fgmf"), key=medians.get)
    return {
        "model": name, "ms": medians, "best": best, "ratio": medians[best] / medians["fgmf"], "times": times,
        "apart": apart[0], "torch_apart": apart[1],
        "peak_mib": ours_peak, "torch_peak_mib": min(peak(name, layout) for layout in ("contiguous", "last")),
    }


def timed(run):
    def once():
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3

    return once


def table(rows):
    print("| model | PyTorch, ms | its best | FGMF, ms | ratio | peak MiB, PyTorch | FGMF | distance, PyTorch | FGMF |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        times = f"{r['ms'][r['best']]:.0f} | {r['best']} | {r['ms']['fgmf']:.0f} | {r['ratio']:.2f}"
        print(f"| {r['model']} | {times} | {r['torch_peak_mib']:.0f} | {r['peak_mib']:.0f} | {r['torch_apart']:.1e} | {r['apart']:.1e} |")
    mean = math.exp(statistics.fmean(math.log(r["ratio"]) for r in rows))
    farther = statistics.median(r["apart"] / r["torch_apart"] for r in rows)
    smaller = sum(r["peak_mib"] <= r["torch_peak_mib"] for r in rows)
    print(f"\n{len(rows)} models. Geometric mean of the ratios: {mean:.2f}. Memory at most PyTorch's: {smaller}.")
    print(f"Median of our distance over PyTorch's: {farther:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--reps", type=int, default=9)
    parser.add_argument("--zoo", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        return print(torch_peak(*options.peak))
    rows = [json.loads(line) for line in options.record.read_text().splitlines()] if options.record.exists() else []
    if not options.table:
        import models

        for name in options.names or (models.NAMES if options.zoo else NAMES):
            if name in {r["model"] for r in rows}:
                continue
            try:
                row = measure(name, options.reps, not options.zoo)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - one model must not end a run of seventy
                row = {"model": name, "failed": str(error).splitlines()[-1][:200]}
            rows.append(row)
            options.record.open("a").write(json.dumps(row) + "\n")
            print(name, f"{row['ratio']:.2f}" if "ratio" in row else row["failed"], flush=True)
    for row in rows:
        if "failed" in row:
            print(f"{row['model']}: {row['failed']}")
    table([row for row in rows if "failed" not in row])


if __name__ == "__main__":
    main()
