"""Small ONNX files for tests of the command line, on 1x28x28 images of 10 classes.

    python parity/small_files.py

`detector.onnx` gives boxes [n, 4] first and probabilities [n, 10] second. `free_size.onnx` leaves
height and width of its images free. `quantised.onnx` rounds its images to 8 bits.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

FOLDER = Path(__file__).parent.parent / "crates/fgmf-cli/tests/fixtures"
rng = np.random.default_rng(0)


def stored(name, *shape):
    values = (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
    return numpy_helper.from_array(values, name)


def write(name, nodes, arrays, image, outputs):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value("image", TensorProto.FLOAT, image)],
        [value(o, TensorProto.FLOAT, ["n", k]) for o, k in outputs],
        arrays,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    checker.check_model(model, full_check=True)
    save(model, FOLDER / f"{name}.onnx")


node = helper.make_node
write(
    "detector",
    [
        node("AveragePool", ["image"], ["p"], kernel_shape=[7, 7], strides=[7, 7]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "wb"], ["boxes"]),
        node("Gemm", ["f", "wc"], ["raw"]),
        node("Softmax", ["raw"], ["prob"]),
    ],
    [stored("wb", 16, 4), stored("wc", 16, 10)],
    ["n", 1, 28, 28],
    [("boxes", 4), ("prob", 10)],
)
write(
    "free_size",
    [
        node("Conv", ["image", "w"], ["c"], kernel_shape=[3, 3], strides=[2, 2]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "wc"], ["logits"]),
    ],
    [stored("w", 8, 1, 3, 3), stored("wc", 8, 10)],
    ["n", 1, "h", "w"],
    [("logits", 10)],
)
write(
    "quantised",
    [
        node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("AveragePool", ["d"], ["p"], kernel_shape=[7, 7], strides=[7, 7]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "wc"], ["logits"]),
    ],
    [
        numpy_helper.from_array(np.array(1 / 255, np.float32), "s"),
        numpy_helper.from_array(np.array(0, np.uint8), "z"),
        stored("wc", 16, 10),
    ],
    ["n", 1, 28, 28],
    [("logits", 10)],
)
