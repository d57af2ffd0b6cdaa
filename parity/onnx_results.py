"""What the parity scripts share: running ONNX Runtime and writing results."""

import json

import numpy as np
import onnxruntime as ort


def run_onnx(path, x):
    """First output of the model for the single input `x`."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def numbers(array):
    """Flat list of the shortest decimals that give back the same f32 (at most 9 digits)."""
    return [float(str(v)) for v in np.asarray(array, dtype=np.float32).ravel()]


def write_json(path, record):
    """One field per line."""
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in record.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
