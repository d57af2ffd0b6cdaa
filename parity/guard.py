"""Records what must not change while the code is restructured, and checks a build against it.

    python parity/guard.py record --binary PATH --tree DIR --commit ID parity/guard.json
    python parity/guard.py check --binary PATH --tree DIR parity/guard.json --except attack/alone

PATH is a release build of `fgmf`. DIR holds its sources, whose fixtures are used and whose examples
cargo builds (in the folder that CARGO_TARGET_DIR names, if it is set). `--quick` makes only the
rows of the quick level, `--only` those under the given names. The commands are in `guard_rows.py`.

A row is the SHA-256 of one result: a model, the record of an attack, the maps of an explainer, the
figures of a metric, what a kernel writes. Times, versions and file names are left out. Beside
OUT.json, the folder OUT.d gets the text of rows that are not large. Where it is there, a check says
which fields differ, otherwise in which part of a record they are.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import zip_longest
from pathlib import Path

from guard_rows import Plan, prepare

ISA = "avx2"  # of the kernels; results depend on it
FEATURES = ("avx2", "avx512f", "fma")  # of the processor; the tensor library chooses among them
STRIPPED = {"build", "command", "commit", "file", "machine", "seconds", "version"}  # fields left out
KEPT = 300_000  # characters of the longest text that is kept
SHOWN = 5  # differences of a row that are shown


@dataclass
class Row:
    """One result."""

    digest: str
    level: str
    command: str
    parts: dict = None  # digests of the fields of a record
    text: str = None  # what the digest is of, if it is text

    def fields(self):
        parts = {"parts": self.parts} if self.parts else {}
        return {"digest": self.digest, "level": self.level, "command": self.command} | parts


def stripped(value):
    if isinstance(value, dict):
        return {k: stripped(v) for k, v in value.items() if k not in STRIPPED}
    return [stripped(v) for v in value] if isinstance(value, list) else value


def read(path):
    return stripped(json.loads(path.read_text()))


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(data):
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


# What a step leaves behind, by name: bytes, text, or a value for JSON.


def of_training(folder):
    model = (folder / "model.onnx").read_bytes()
    return {"model.onnx": model, "run.json": read(folder / "run.json")}


def of_attack(folder):
    images = "adversarial.safetensors"
    return {"attack.json": read(folder / "attack.json"), images: (folder / images).read_bytes()}


def of_explanation(folder):
    """The record, the maps of each method, and a digest of each picture."""
    pictures = (f"{p.relative_to(folder)} {digest(p.read_bytes())}" for p in folder.rglob("*.png"))
    out = {"gallery.json": read(folder / "gallery.json"), "pictures": "\n".join(sorted(pictures))}
    for path in sorted((folder / "maps").glob("*.json")):
        method = path.name.split(".")[1]
        out.setdefault(f"maps/{method}", {})[path.name] = read(path)
    return out


def of_evaluation(folder):
    """Figures and tests by metric or explainer, as the folder's name says, and the rest."""
    record = read(folder / "evaluation.json")
    metric = {row["figure"]: row["metric"] for row in record["rows"]}
    out = {}
    for row in (*record.pop("rows"), *record.pop("input_tests")):
        by_metric = folder.parent.name == "metrics"
        name = metric[row["figure"]] if by_metric else row["explainer"]
        out.setdefault(name, []).append(row)
    return out | {"evaluation.json": record}


def of_demo(folder):
    names = [f"{name}/model.onnx" for name in ("fgmf", "standard")]
    models = {name: (folder / name).read_bytes() for name in names}
    return models | {"report.json": read(folder / "report.json")}


def of_example(output):
    """Lines of digests by their first word."""
    groups = {}
    for line in output.splitlines():
        groups.setdefault(line.split()[0], []).append(line)
    return {name: "\n".join(lines) for name, lines in groups.items()}


READERS = {
    "train": of_training,
    "attack": of_attack,
    "explain": of_explanation,
    "evaluate": of_evaluation,
    "demo": of_demo,
}


class Runner:
    """Runs the steps of a plan in a folder, each once."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.steps, self.outputs = Plan(ISA).steps, {}
        prepare(options.tree, folder)

    def invocation(self, step):
        """Words of the command, and where it runs."""
        if step.example:
            package, name, *arguments = step.words
            cargo = ["cargo", "run", "--quiet", "--locked", "--release", "-p", package]
            models = [str(self.folder / a) for a in arguments]
            return [*cargo, "--example", name, "--", *models], self.options.tree
        threads = ["--threads", str(self.options.threads)] if self.options.threads else []
        return [str(self.options.binary), "--quiet", *threads, *step.words], self.folder

    def output(self, step):
        """Standard output; `RuntimeError` if the command ends in another way than it should."""
        if step.name not in self.outputs:
            for name in step.needs:
                self.output(self.steps[name])
            words, place = self.invocation(step)
            environment = os.environ | {"FGMF_ISA": ISA} | step.environment
            ended = subprocess.run(
                words, cwd=place, env=environment, capture_output=True, text=True, check=False
            )
            if ended.returncode != step.status:
                said = ended.stderr[-2000:]
                raise RuntimeError(f"{step.command}: exit {ended.returncode}\n{said}")
            self.outputs[step.name] = ended.stdout
        return self.outputs[step.name]

    def rows(self, step):
        before, output = seconds(), self.output(step)
        if step.example:
            results = of_example(output)
        elif step.words[0] == "info":
            results = {"stdout": output}
        else:
            results = READERS[step.words[0]](self.folder / step.name)
        rows = {f"{step.name}/{name}": row_of(step, name, v) for name, v in results.items()}
        print(f"{seconds() - before:7.1f} s  {step.name}", file=sys.stderr, flush=True)
        return rows


def row_of(step, name, value):
    if isinstance(value, bytes):
        return Row(digest(value), step.level, step.command)
    text = value if isinstance(value, str) else canonical(value)
    parts = None
    if name.endswith(".json"):
        parts = {k: digest(canonical(v))[:6] for k, v in sorted(value.items())}
    return Row(digest(text), step.level, step.command, parts, text)


def seconds():
    """Processor time of all commands so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def under(name, places):
    """Whether a row or step lies at or below one of these names, or fits a pattern."""
    return any(f"{name}/".startswith(f"{p.rstrip('/')}/") or fnmatch(name, p) for p in places)


def asked_for(options, name, level):
    if (options.quick and level == "full") or under(name, options.skip):
        return False
    return not options.only or under(name, options.only)


def chosen(options, runner):
    """Steps that make rows asked for."""
    for step in runner.steps.values():
        inside = any(place.startswith(f"{step.name}/") for place in options.only)
        wanted = inside and not (options.quick and step.full)
        if wanted or asked_for(options, step.name, step.level):
            yield step


def features():
    path = Path("/proc/cpuinfo")
    words = path.read_text().split() if path.exists() else []
    return " ".join(f for f in FEATURES if f in words)


def load(path):
    """What a record says about itself, and its rows."""
    record = json.loads(path.read_text())
    return record["about"], {name: Row(**row) for name, row in record["rows"].items()}


def record(options, runner):
    """Writes rows and texts; of an older record, rows that are not asked for stay."""
    part = options.only or options.skip
    rows = load(options.record)[1] if part and options.record.exists() else {}
    texts = options.record.with_suffix(".d")
    for step in chosen(options, runner):
        rows = {n: row for n, row in rows.items() if not n.startswith(f"{step.name}/")}
        for name, row in runner.rows(step).items():
            rows[name] = row
            if row.text is not None and len(row.text) <= KEPT:
                (texts / name).parent.mkdir(parents=True, exist_ok=True)
                (texts / name).write_text(row.text)
    about = {"commit": options.commit, "isa": ISA, "processor": features()}
    lines = [f"{json.dumps(n)}: {json.dumps(row.fields())}" for n, row in sorted(rows.items())]
    body = ",\n".join(lines)
    options.record.write_text(f'{{"about": {json.dumps(about)},\n"rows": {{\n{body}\n}}}}\n')
    return False


def differences(old, new, path=""):
    """Paths at which two JSON values differ, with both."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list):
        for i, (a, b) in enumerate(zip_longest(old, new)):
            yield from differences(a, b, f"{path}[{i}]")
    elif old != new:
        yield f"{path}: {brief(old)} -> {brief(new)}"


def brief(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def places(old, new, kept):
    """Where a row differs, as far as is known."""
    if new.text is not None and kept.exists() and digest(kept.read_text()) == old.digest:
        before, after = kept.read_text(), new.text
        if before[0] in "{[":
            return list(differences(json.loads(before), json.loads(after)))
        pairs = zip_longest(before.splitlines(), after.splitlines())
        return [f"{a} -> {b}" for a, b in pairs if a != b]
    old, new = old.parts or {}, new.parts or {}
    return [f"in {k}" for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]


def state(old, new):
    if old is None or new is None:
        return "new" if old is None else "missing"
    return "same" if old.digest == new.digest else "differs"


def check(options, runner):
    """Prints every row; whether one differs or is missing that may not."""
    about, known = load(options.record)
    if about["processor"] != features():
        had = about["processor"]
        print(f"recorded on a processor with {had}, here {features()}: results may differ")
    made = {}
    for step in chosen(options, runner):
        try:
            made |= runner.rows(step)
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            print(f"{step.name}: {error}", file=sys.stderr, flush=True)
    rows = known | made
    counts = dict.fromkeys(("same", "differs", "missing", "new", "excepted"), 0)
    for name in sorted(n for n, row in rows.items() if asked_for(options, n, row.level)):
        old, new = known.get(name), made.get(name)
        found = state(old, new)
        may = found in ("differs", "missing") and under(name, options.excepted)
        counts["excepted" if may else found] += 1
        print(f"{found:8}{name}{' (excepted)' if may else ''}")
        if found == "differs":
            lines = places(old, new, options.record.with_suffix(".d") / name)
            more = len(lines) - SHOWN
            for line in [*lines[:SHOWN], *([f"and {more} more"] if more > 0 else [])]:
                print(f"        {line}")
    print(", ".join(f"{n} {kind}" for kind, n in counts.items()))
    return counts["differs"] + counts["missing"] > 0


def arguments():
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    actions = parser.add_subparsers(dest="action", required=True)
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("record", type=Path, metavar="RECORD.json")
    both.add_argument("--binary", type=Path, required=True, help="release build of fgmf")
    both.add_argument("--tree", type=Path, required=True, help="its sources")
    both.add_argument("--quick", action="store_true", help="only rows of the quick level")
    names = {"nargs": "+", "default": [], "metavar": "NAME"}
    both.add_argument("--only", **names, help="only rows at or below these names")
    both.add_argument("--skip", **names, help="no rows at or below these names")
    both.add_argument("--threads", type=int, help="of the binary; results do not depend on it")
    both.add_argument("--keep", type=Path, metavar="DIR", help="leave all results in a new folder")
    recording = actions.add_parser("record", parents=[both])
    recording.add_argument("--commit", required=True, help="that the binary was built from")
    checking = actions.add_parser("check", parents=[both])
    help = "rows that may differ or be missing"
    checking.add_argument("--except", **names, dest="excepted", help=help)
    options = parser.parse_args()
    options.binary, options.tree = options.binary.resolve(), options.tree.resolve()
    return options


def run(options, folder):
    runner = Runner(options, folder)
    failed = {"record": record, "check": check}[options.action](options, runner)
    print(f"{seconds():7.1f} s of processor time in all", file=sys.stderr)
    return failed


def main():
    options = arguments()
    if options.keep:
        options.keep.mkdir(parents=True)
        sys.exit(run(options, options.keep.resolve()))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(run(options, Path(folder)))


if __name__ == "__main__":
    main()
