"""Values of ONNX Runtime for the models of `crates/fgmf-net/tests/it/onnx/composed`.

Usage, from the root of the repository:

    FGMF_DUMP=FOLDER cargo test --release -p fgmf-net composed_operators_have_the_values
    python parity/onnx_composed.py FOLDER

Writes `crates/fgmf-net/tests/fixtures/onnx/composed.json`: for each model the logits of the two
images of the test, in the types of the file.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "crates/fgmf-net/tests/fixtures/onnx/composed.json"


def images():
    """As in the test."""
    return np.array([(i * 29 + 7) % 97 / 41 - 1.13 for i in range(96)]).reshape(2, 2, 4, 6)


def run(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # As the file says it: no fusion that rounds otherwise.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    x = images().astype(kinds[given.type])
    rows = [session.run(["y"], {given.name: i[None]})[0] for i in x]
    return np.concatenate(rows).astype(np.float64).ravel()


def main():
    found = {}
    for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
        try:
            found[path.stem] = [float(f"{v:.8g}") for v in run(path)]
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises anything
            print(f"{path.stem}: {error}", file=sys.stderr)
    lines = [f'  "{name}": {json.dumps(v)}' for name, v in found.items()]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
