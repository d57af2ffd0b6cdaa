"""Peak memory under --memory (standard library only); results are in docs/results/memory.md.

    python experiments/explanations/memory.py limits FGMF [ROW ...] > table.md
    python experiments/explanations/memory.py growth FGMF MODEL.onnx [METHOD ...] > table.md

`limits` trains three networks for a moment, and then, for each of them, asks `fgmf` what the least
limit is and runs it with that limit: training, an attack, every method, every metric. It exits 1 if
a run took more. A ROW is the beginning of a row's name, such as `metric mprt` or `vit-tiny train`.

`growth` runs `fgmf evaluate` with the cheapest metric (entropy) at several limits and numbers of
images, one process a row and column. Without METHOD it runs all methods that need no attention.

The peak is the resident size of the process: program, model and data are part of every figure.
"""
import os
import re
import sys
import tempfile

ATTENTION = ["attention-rollout", "transformer-attribution"]
NETWORKS = "cnn-small preact-resnet18 vit-tiny".split()
# Fewer steps take as much memory.
SHORT = {
    "attacked-stability": '{"attacked-stability": {"steps": 1, "queries": 2}}',
    "smooth-mprt": '{"smooth-mprt": {"stages": 2, "samples": 2}}',
}
RUNS = [(64, "--cap", 16), (1000, "--cap", 16), (64, "--cap", 256), (1000, "--cap", 256), (1000, "--memory", 40), (1000, "--memory", 48), (1000, "--memory", 64)]
DATA = ["--data", "fashion-mnist-mini", "--quiet"]


def run(words):
    """Exit code, peak in MiB, and what was said."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as out:
        to = [(os.POSIX_SPAWN_DUP2, said.fileno(), 1), (os.POSIX_SPAWN_DUP2, said.fileno(), 2)]
        words = [word.replace("OUT", out) for word in words]
        child = os.posix_spawn(words[0], words, os.environ, file_actions=to)
        _, status, used = os.wait4(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), used.ru_maxrss / 1024, said.read().decode()


def names(program, model, flag):
    """All explainers or metrics, as a refusal lists them."""
    _, _, said = run([program, "evaluate", model, *DATA, f"--{flag}", "?", "--out", "OUT"])
    return [name for name in re.search(r"possible values: (.*)]", said)[1].split(", ") if name != "all"]


def evaluate(program, model, method, metric, *more):
    short = ["--settings", SHORT[metric]] if metric in SHORT else []
    return [program, "evaluate", model, *DATA, "--explainers", method, "--metrics", metric, *short, *more, "--out", "OUT"]


def rows(program, network, model):
    """Name and command of every row of a network."""
    yield "train pgd-at", [program, "train", *DATA, "--arch", network, "--objective", "pgd-at", "--limit", "128", "--epochs", "1", "--out", "OUT"]
    yield "attack quick", [program, "attack", model, *DATA, "--limit", "64", "--eps", "0.01", "--suite", "quick", "--out", "OUT"]
    for method in names(program, model, "explainers"):
        yield f"method {method}", evaluate(program, model, method, "entropy", "-n", "4", "--attack", "none")
    for metric in names(program, model, "metrics"):
        yield f"metric {metric}", evaluate(program, model, "saliency", metric, "-n", "4", "--attack", "none")


def limits(program, wanted):
    broken = False
    print("| network | run | limit | peak |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as models:
        for network in NETWORKS:
            folder = f"{models}/{network}"
            run([program, "train", *DATA, "--arch", network, "--objective", "standard", "--limit", "64", "--epochs", "1", "--out", folder])
            for name, words in rows(program, network, f"{folder}/model.onnx"):
                if wanted and not any(f"{network} {name}".startswith(row) or name.startswith(row) for row in wanted):
                    continue
                _, _, said = run([*words, "--memory", "1"])
                found = re.search(r"at least (\d+) MiB", said)
                if not found:
                    print(f"| {network} | `{name}` | refused: {said.strip().splitlines()[0]} | |", flush=True)
                    continue
                # The size of a process is not the same each time: what is named may rise by a little.
                for _ in range(4):
                    least = int(found[1]) + 2
                    code, used, said = run([*words, "--memory", str(least)])
                    found = re.search(r"at least (\d+) MiB", said)
                    if not found:
                        break
                if code == 2 and "MiB" not in said:
                    print(f"| {network} | `{name}` | refused: {said.strip().splitlines()[0]} | |", flush=True)
                    continue
                if code != 0:
                    sys.exit(f"{name}: exit {code}: {said}")
                broken |= used > least
                print(f"| {network} | `{name}` | {least} MiB | {used:.0f} MiB{' **over**' if used > least else ''} |", flush=True)
    sys.exit(broken)


def growth(program, model, methods):
    print("| method |" + "".join(f" {flag[2:]} {value}, n = {n} |" for n, flag, value in RUNS) + "\n| --- |" + " --- |" * len(RUNS))
    for method in methods or [name for name in names(program, model, "explainers") if name not in ATTENTION]:
        cells = []
        for n, flag, value in RUNS:
            code, used, said = run(evaluate(program, model, method, "entropy", "-n", str(n), flag, str(value), "--attack", "none"))
            cells.append(f" {used:.0f} MiB |" if code == 0 else sys.exit(f"no limit named: {said}"))
        print(f"| `{method}` |" + "".join(cells), flush=True)


if __name__ == "__main__":
    what, program, *rest = sys.argv[1:]
    program = os.path.abspath(program)
    limits(program, rest) if what == "limits" else growth(program, rest[0], rest[1:])
