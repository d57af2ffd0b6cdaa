"""Peak memory of `fgmf evaluate` (standard library only): python experiments/explanations/memory.py FGMF MODEL.onnx > table.md

Explains images of the embedded test set with the cheapest metric (entropy) and reads the peak resident size of each process, at two numbers
of images and two caps. The program itself, the model and the images of the data set are part of every figure.
"""
import os
import sys
import tempfile

METHODS = ["saliency", "integrated-gradients", "lrp-epsilon", "grad-cam-pp", "score-cam", "occlusion", "pgca", "kernel-shap"]
RUNS = [(100, 16), (1000, 16), (100, 1024), (1000, 1024)]


def peak(program, model, method, n, cap):
    with tempfile.TemporaryDirectory() as out:
        words = [program, "evaluate", model, "--data", "fashion-mnist-mini", "-n", str(n), "--cap", str(cap), "--explainers", method,
                 "--metrics", "entropy", "--attack", "none", "--quiet", "--out", out]
        child = os.posix_spawn(program, words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
        _, status, used = os.wait4(child, 0)
    if status != 0:
        sys.exit(f"{' '.join(words)} failed")
    return used.ru_maxrss / 1024


def main():
    program, model = os.path.abspath(sys.argv[1]), sys.argv[2]
    print("| method |" + "".join(f" n = {n}, cap {cap} |" for n, cap in RUNS) + "\n| --- |" + " --- |" * len(RUNS))
    for method in METHODS:
        print(f"| `{method}` |" + "".join(f" {peak(program, model, method, n, cap):.0f} MiB |" for n, cap in RUNS), flush=True)


if __name__ == "__main__":
    main()
