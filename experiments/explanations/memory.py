"""Peak memory of explaining (standard library only); results are in docs/results/memory.md.

    python experiments/explanations/memory.py FGMF MODEL.onnx [METHOD ...] > table.md

Runs `fgmf evaluate` with the cheapest metric (entropy) on images of the embedded test set, one
process a row and column, and reads the peak resident size. The program, the model and the images of
the data set are part of every figure. Without METHOD it runs all methods that need no attention.
"""
import os
import sys
import tempfile

METHODS = """saliency gradient-x-input guided-backprop integrated-gradients gradient-shap deep-lift deep-shap lrp-epsilon lrp-alpha-beta
    grad-cam grad-cam-pp layer-cam score-cam occlusion rise kernel-shap pgca smooth-grad square-grad var-grad contrast""".split()
RUNS = [(64, "--cap", 16), (1000, "--cap", 16), (64, "--cap", 256), (1000, "--cap", 256), (1000, "--memory", 40), (1000, "--memory", 48), (1000, "--memory", 64)]


def peak(program, model, method, n, flag, value):
    with tempfile.TemporaryDirectory() as out:
        words = [program, "evaluate", model, "--data", "fashion-mnist-mini", "-n", str(n), flag, str(value), "--explainers", method,
                 "--metrics", "entropy", "--attack", "none", "--quiet", "--out", out]
        child = os.posix_spawn(program, words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
        _, status, used = os.wait4(child, 0)
    if status != 0:
        sys.exit(f"{' '.join(words)} failed")
    return used.ru_maxrss / 1024


def main():
    program, model = os.path.abspath(sys.argv[1]), sys.argv[2]
    print("| method |" + "".join(f" {flag[2:]} {value}, n = {n} |" for n, flag, value in RUNS) + "\n| --- |" + " --- |" * len(RUNS))
    for method in sys.argv[3:] or METHODS:
        print(f"| `{method}` |" + "".join(f" {peak(program, model, method, *run):.0f} MiB |" for run in RUNS), flush=True)


if __name__ == "__main__":
    main()
