"""Check the ONNX files our own writer made, and record what ONNX Runtime says.

For every `<name>.onnx` in DIR: run the full ONNX checker, run ONNX Runtime on
`<name>.input.json` ({"input_shape": [...], "input": [...]}), and write
`<name>.json` with the logits. If the input file also holds our "logits", print
the largest difference. The exit code is 1 if any model fails.

Usage: python parity/zoo_onnxruntime.py DIR
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from onnx_results import numbers, run_onnx, write_json


def check(path):
    """Check and run one model; returns the line to print."""
    onnx.checker.check_model(str(path), full_check=True)
    given = json.loads(path.with_suffix(".input.json").read_text())
    x = np.array(given["input"], dtype=np.float32).reshape(given["input_shape"])
    logits = run_onnx(path, x)
    opsets = {o.domain or "ai.onnx": o.version for o in onnx.load(path).opset_import}
    origin = {
        "script": "parity/zoo_onnxruntime.py",
        "onnx": onnx.__version__,
        "onnxruntime": ort.__version__,
        "opset": opsets["ai.onnx"],
    }
    write_json(path.with_suffix(".json"), {"origin": origin, "logits": numbers(logits)})
    line = f"{path.stem}: ok, output {list(logits.shape)}"
    if "logits" in given:
        ours = np.array(given["logits"], dtype=np.float32)
        if ours.size != logits.size:
            raise ValueError(f"we have {ours.size} logits, ONNX Runtime {logits.size}")
        line += f", max abs difference {np.abs(ours - logits.ravel()).max():.3e}"
    return line


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    paths = sorted(Path(sys.argv[1]).glob("*.onnx"))
    if not paths:
        sys.exit("no *.onnx file found")
    failed = 0
    for path in paths:
        try:
            print(check(path))
        except Exception as error:  # report every model, then fail
            failed += 1
            print(f"{path.stem}: FAILED: {error}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
