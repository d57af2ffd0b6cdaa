"""Six networks as PyTorch's default exporter writes them, without their weights, and ONNX Runtime's values.

    python parity/whole_models.py

Writes `crates/fgmf-net/tests/fixtures/onnx/whole/<name>.onnx` and `whole.json` there. The graphs are those of `models.py`
(operator set 18, batch free), without documentation, metadata and shapes of inner values. Their weights lie in a file beside
the model that nobody keeps: `weight` below says what is in it, and the test follows the same rule. The values are the logits
of one image, and slopes of its cross-entropy along four directions, by symmetric differences of the logits.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

import models
from onnx_results import numbers, run_onnx

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "crates/fgmf-net/tests/fixtures/onnx/whole"
# Variance that a window or a matrix gives to its output, of that of its input: so that the image still counts in the logits.
GAINS = {
    "resnet50": 1, "mobilenet_v3_large": 1.75, "efficientnet_b0": 2.25, "convnext_tiny": 1, "vit_tiny_patch16_224": 1, "swin_t": 1,
}
WAY = ("default", 18, "free")
WEIGHTS = "weights.bin"
SMALL = 64  # numbers that stay in the file
IMAGE, DIRECTION = 1 << 20, 1 << 21  # streams of their own
DIRECTIONS = 4
STEP = 1 / 512
LABEL = 3


def uniform(stream, count):
    """Numbers in [0, 1) with 24 bits: SplitMix64 of `stream << 32 | i`."""
    with np.errstate(over="ignore"):
        z = (np.uint64(stream) << np.uint64(32)) + np.arange(count, dtype=np.uint64)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


def weight(index, shape, name, gain):
    """Weight number `index` of the file: around 0 for a bias, around 1 for a scale, else with `gain`."""
    u = uniform(index, int(np.prod(shape)))
    if max(shape) == u.size:
        return (u - 0.5) * np.float32(0.5) if "bias" in name else u + np.float32(0.5)
    fan = np.float32(u.size // shape[0])
    return (u - np.float32(0.5)) * np.sqrt(np.float32(12 * gain) / fan)


def stripped(model):
    """Nothing but what is computed."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def filled(model, gain):
    """The weights, laid one behind the other; the model is told where they are. Integers and short arrays stay."""
    parts, at = [], 0
    for stored in model.graph.initializer:
        if stored.data_type != onnx.TensorProto.FLOAT or np.prod(stored.dims) <= SMALL:
            continue
        values = weight(len(parts), list(stored.dims), stored.name, gain)
        stored.ClearField("raw_data")
        stored.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", at), ("length", values.nbytes)):
            stored.external_data.add(key=key, value=str(value))
        parts.append(values.astype("<f4").tobytes())
        at += values.nbytes
    return b"".join(parts)


def cross_entropy(logits):
    z = logits.astype(np.float64).ravel()
    top = z.max()
    return float(top + np.log(np.exp(z - top).sum()) - z[LABEL])


def values(path, side):
    shape = (1, 3, side, side)
    x = uniform(IMAGE, 3 * side * side).reshape(shape)
    loss = lambda at: cross_entropy(run_onnx(path, at))  # noqa: E731
    slopes = []
    for i in range(DIRECTIONS):
        d = np.where(uniform(DIRECTION + i, x.size).reshape(shape) < 0.5, np.float32(-1), np.float32(1))
        at = lambda h: (loss(x + np.float32(h) * d) - loss(x - np.float32(h) * d)) / (2 * h)  # noqa: E731
        slopes.append((at(STEP), at(STEP / 2)))
    return {"logits": numbers(run_onnx(path, x)), "slopes": slopes}


def main():
    import torch

    OUT.mkdir(parents=True, exist_ok=True)
    record = {"origin": {"script": "whole_models.py", "torch": torch.__version__, "onnx": onnx.__version__}}
    for name, gain in GAINS.items():
        model, side = models.build(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            with torch.no_grad():
                models.export(model, side, WAY, path)
            graph = stripped(onnx.load(str(path)))
            Path(folder, WEIGHTS).write_bytes(filled(graph, gain))
            (OUT / f"{name}.onnx").write_bytes(graph.SerializeToString())
            path.write_bytes(graph.SerializeToString())
            record[name] = {"gain": gain} | values(path, side)
        z = np.array(record[name]["logits"])
        print(name, "logits", z.std(), np.abs(z).max(), "slopes", record[name]["slopes"], flush=True)
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in record.items()]
    (OUT / "whole.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
