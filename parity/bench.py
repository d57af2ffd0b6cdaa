"""FGMF and PyTorch side by side on the same CPU, the same networks and the same numbers.

    python parity/bench.py                                  # every row
    python parity/bench.py --rows conv-fwd,cnn --json OUT   # rows by the start of their name; all times to a file
    python parity/bench.py --isa avx2                       # both sides without AVX-512
    python parity/bench.py --memory                         # peak memory instead of time
    python parity/bench.py --check                          # only compare the results of both sides

Our side is a process of its own (`crates/fgmf/examples/side_by_side.rs`) that waits while PyTorch works here, and the other
way round: repetitions alternate, so what disturbs one side disturbs the other. A ratio is PyTorch's median over ours:
above 1 we are faster. PyTorch's figure is that of its fastest candidate (memory layouts; for PGD also two ways to write it).
"""

import argparse
import gc
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LAYERS = ("64x32", "128x16", "256x8", "512x4")
# Rows of a group are judged by the geometric mean of their ratios: (rows, target, aim).
GROUPS = [
    *[([f"conv-{kind}-{s}" for s in LAYERS], *goal) for kind, *goal in (("fwd", 1.5, 2.2), ("dx", 1.4, 2.0), ("dw", 1.2, 1.6))],
    (["cnn-small-dx"], 2.0, 3.0),
    (["resnet18-dx"], 1.6, 2.2),
    (["vit-tiny-dx"], 1.2, 1.8),
    (["cnn-small-train"], 1.5, 2.2),
    (["resnet18-train"], 1.3, 1.8),
    (["pgd20-cnn-tiny"], 3.0, 6.0),
    (["ig50-cnn-small"], 2.0, 3.0),
    (["pgca-cnn-small"], 3.0, 4.0),
]
REST = 0.01  # seconds between the sides, for the worker threads of the one to stop spinning
SHORT = 100  # ms; below, an unmeasured repetition comes first, which the caches left by the other side slow down


class Server:
    """Our side; answers one line to one line."""

    def __init__(self, program, threads):
        command = [program, "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"ended with {self.process.wait()}"}
        if "error" in answer:
            sys.exit(f"{' '.join(map(str, words))}: {answer['error']}")
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def built(name, *cargo):
    """A program under target/release, built if it is not there."""
    program = TARGET / "release" / name
    if not program.exists():
        if subprocess.run(["cargo", "build", "--release", "--locked", *cargo], cwd=ROOT, check=False).returncode:
            sys.exit(f"cargo could not build {name}")
    return program


def robust_model():
    """A cnn-tiny whose examples mostly stand PGD-20, trained once and kept under target/bench."""
    folder = TARGET / "bench" / "cnn-tiny"
    if not (folder / "model.onnx").exists():
        flags = "--data fashion-mnist-mini --arch cnn-tiny --objective pgd-at --eps 0.1 --epochs 10 --seed 0 --out".split()
        subprocess.run([built("fgmf", "-p", "fgmf-cli"), "train", *flags, folder], check=True, stdout=sys.stderr)
    return folder / "model.onnx"


def prepared(server, row, options):
    server.ask("prepare", row, *([options.pgd_model or robust_model()] if row.startswith("pgd20") else []))


def timed(f):
    """The wall time of each call in ms."""

    def run():
        start = time.perf_counter()
        f()
        return (time.perf_counter() - start) * 1e3

    return run


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive")


def measure(row, server, candidates, reps):
    """Times of all sides, interleaved."""
    sides = {"fgmf": lambda: server.ask("run")["ms"], **{name: timed(f) for name, f in candidates.items()}}
    typical = {}
    for name, run in sides.items():
        time.sleep(REST)
        started, seen = time.perf_counter(), []
        while len(seen) < 2 or (len(seen) < 10 and time.perf_counter() - started < 1):
            seen.append(run())
        typical[name] = statistics.median(seen)
    if max(typical["fgmf"], min(v for n, v in typical.items() if n != "fgmf")) > 1000:
        reps = max(5, reps // 3)
    times = {name: [] for name in sides}
    for i in range(reps):
        for name, run in list(sides.items())[:: 1 if i % 2 else -1]:
            time.sleep(REST)
            if typical[name] < SHORT:
                run()
            times[name].append(run())
    best = min(candidates, key=lambda name: statistics.median(times[name]))
    ours, theirs = times["fgmf"], times[best]
    return {
        "row": row,
        "reps": reps,
        "fgmf_ms": statistics.median(ours),
        "torch_ms": statistics.median(theirs),
        "torch_candidate": best,
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "paired_quartiles": quartiles([t / o for t, o in zip(theirs, ours)]),
        "times_ms": times,
    }


def check(row, candidate, arrays):
    """How far the results of both sides are apart, and how far they may be.

    The third quartile of |ours - theirs| / |ours|, one for each image (channel of a weight), in training one for each array.
    Not the largest: an activation that is zero up to rounding may fall on either side of a kink, which changes the gradient
    of that image, and in training of all weights before it, by up to a few percent; a map that sums 50 gradients meets many kinks. PGD: the difference in the share of
    broken examples, because the random starts differ.
    """
    found = {name: t.detach() for name, t in candidate().items()}
    if row.startswith("pgd20"):
        ours, theirs = arrays["result"], found["result"]
        print(f"{row}: broken of {len(ours)}: {int(ours.sum())} here, {int(theirs.sum())} by PyTorch", file=sys.stderr)
        return abs(ours.mean() - theirs.mean()).item(), 0.02
    training = row.endswith("-train")
    pairs = [(arrays[name], t) for name, t in found.items()] if training else zip(arrays["result"], found["result"])
    apart = [((ours - theirs).norm() / ours.norm()).item() for ours, theirs in pairs]
    return quartiles(apart)[2], 1e-2 if training else 1e-3 if row.startswith(("pgca", "ig50")) else 1e-4


def memory(row, program, names, options):
    """Peak resident size of each side in fresh processes, and its growth over the state after `prepare`, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        with Server(program, options.threads) as server:
            prepared(server, row, options)
            shapes = server.ask("write", folder)
        with Server(program, options.threads) as server:
            prepared(server, row, options)
            before = server.ask("peak")
            for _ in range(3):
                server.ask("run")
            ours = before | {"peak_mib": server.ask("peak")["peak_mib"]}
        Path(folder, "shapes.json").write_text(json.dumps(shapes))
        child = [sys.executable, __file__, "--threads", str(options.threads), "--torch-memory", row, folder]
        answer = lambda name: subprocess.run([*child, name], check=True, stdout=subprocess.PIPE).stdout
        theirs = {name: json.loads(answer(name)) for name in names}
    best = min(theirs, key=lambda n: theirs[n]["peak_mib"])
    record = {"row": row, "torch_candidate": best}
    for side, m in (("fgmf", ours), ("torch", theirs[best])):
        record |= {f"{side}_peak_mib": m["peak_mib"], f"{side}_growth_mib": m["peak_mib"] - m["rss_mib"]}
    return record


def torch_memory(row, folder, name):
    """The same of one of PyTorch's candidates, in this process."""
    import bench_torch

    def status(field):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

    shapes = json.loads(Path(folder, "shapes.json").read_text())
    run = bench_torch.candidates(row)[name](bench_torch.read(Path(folder), shapes, results=False))
    start = status("VmRSS")
    for _ in range(3):
        run()
    return {"peak_mib": status("VmHWM"), "rss_mib": start}


def show(records):
    """The table of times."""
    print(f"{'row':<18}{'PyTorch ms':>12}  {'its best':<27}{'FGMF ms':>10}{'ratio':>8}  {'quartiles':<14}{'target':>7}{'aim':>6}")
    by_row = {r["row"]: r for r in records}
    for rows, target, aim in GROUPS:
        present = [by_row[row] for row in rows if row in by_row]
        for r in present:
            low, _, high = r["paired_quartiles"]
            goal = f"{target:>7}{aim:>6}" if len(rows) == 1 else ""
            figures = f"{r['fgmf_ms']:>10.2f}{r['ratio']:>8.2f}  {f'{low:.2f} to {high:.2f}':<14}{goal}"
            print(f"{r['row']:<18}{r['torch_ms']:>12.2f}  {r['torch_candidate']:<27}{figures}")
        if len(rows) > 1 and len(present) == len(rows):
            mean = math.exp(statistics.fmean(math.log(r["ratio"]) for r in present))
            print(f"{rows[0].rsplit('-', 1)[0] + ' (mean)':<18}{'':>51}{mean:>8.2f}  {'':<14}{target:>7}{aim:>6}")


def show_memory(records):
    print(f"{'row':<18}{'PyTorch peak':>14}{'growth':>9}{'FGMF peak':>12}{'growth':>9}   MiB; PyTorch's smallest candidate")
    for r in records:
        figures = [r[f"{side}_{what}_mib"] for side in ("torch", "fgmf") for what in ("peak", "growth")]
        print(f"{r['row']:<18}{figures[0]:>14.0f}{figures[1]:>9.0f}{figures[2]:>12.0f}{figures[3]:>9.0f}   {r['torch_candidate']}")


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor())
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform()}


def save(options, records):
    """What is measured so far, so that a run that is ended early leaves its finished rows."""
    if options.json:
        setup = {"machine": machine(), "torch": version("torch"), "threads": options.threads, "isa": options.isa}
        options.json.write_text(json.dumps(setup | {"rows": records}, indent=1) + "\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="starts of row names, separated by commas")
    parser.add_argument("--reps", type=int, default=15, help="repetitions of each side; a third for rows above a second")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", choices=["avx2"], help="largest instruction set of both sides")
    parser.add_argument("--memory", action="store_true", help="measure peak memory, not time")
    parser.add_argument("--check", action="store_true", help="only compare the results of both sides")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--pgd-model", type=Path, help="cnn-tiny for 1x28x28 (ONNX) to attack; trained if not given")
    parser.add_argument("--torch-memory", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.isa == "avx2":  # before PyTorch is imported
        os.environ |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "FGMF_ISA": "avx2"}
    import torch

    import bench_torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.torch_memory:
        return print(json.dumps(torch_memory(*options.torch_memory)))
    program = built("examples/side_by_side", "-p", "fgmf", "--example", "side_by_side")
    starts = tuple(options.rows.split(","))
    records, failed = [], False
    for row in (row for rows, *_ in GROUPS for row in rows if row.startswith(starts)):
        if options.memory:
            print(f"{row} ...", file=sys.stderr)
            records.append(memory(row, program, bench_torch.candidates(row), options))
            continue
        with Server(program, options.threads) as server, tempfile.TemporaryDirectory() as folder:
            prepared(server, row, options)
            arrays = bench_torch.read(Path(folder), server.ask("write", folder))
            candidates = {name: make(arrays) for name, make in bench_torch.candidates(row).items()}
            apart, limit = max(check(row, f, arrays) for f in candidates.values())
            print(f"{row}: results apart by {apart:.1e}, at most {limit:.0e} expected", file=sys.stderr)
            failed |= not apart <= limit
            if options.check:
                continue
            gc.collect()
            gc.disable()
            records.append(measure(row, server, candidates, options.reps) | {"apart": apart})
            gc.enable()
            save(options, records)
    if records:
        (show_memory if options.memory else show)(records)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
