"""Small quantised networks in the QDQ form, with ONNX Runtime's values, for tests of the importer.

    python parity/quantised.py

`qdq_values` is quantising and dequantising alone: with zero points, a scale a channel, ties, and
pooling of integers in between. `qdq_cnn` is a small network as ONNX Runtime's static quantisation
writes it: weights of int8 with a scale a channel, biases of int32, activations of uint8. `qlinear`
is the same network with operators of integers, which is refused.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx_results import numbers, write_json
from onnxruntime import quantization as quant

FOLDER = Path(__file__).parent.parent / "crates/fgmf-net/tests/fixtures/onnx"
rng = np.random.default_rng(0)
node = helper.make_node


def values(path, x):
    """Logits without fusions, which compute on integers."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def record(name, x):
    path = FOLDER / f"{name}.onnx"
    write_json(
        path.with_suffix(".json"),
        {
            "origin": {
                "script": "parity/quantised.py",
                "onnx": onnx.__version__,
                "onnxruntime": ort.__version__,
            },
            "input_shape": list(x.shape),
            "input": numbers(x),
            "logits": numbers(values(path, x)),
        },
    )


def model(name, nodes, arrays, image, classes):
    value = helper.make_tensor_value_info
    arrays = [numpy_helper.from_array(v, k) for k, v in arrays.items()]
    graph = helper.make_graph(
        nodes,
        name,
        [value("x", TensorProto.FLOAT, ["n", *image])],
        [value("logits", TensorProto.FLOAT, ["n", classes])],
        arrays,
    )
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


f32 = np.float32
branches = []


def branch(name, *inside):
    branches.append(f"{name}_flat")
    return [*inside, node("Flatten", [f"{name}_y"], [f"{name}_flat"])]


nodes = [
    *branch(
        "a",
        node("QuantizeLinear", ["x", "a_s", "a_z"], ["a_q"]),
        node("DequantizeLinear", ["a_q", "a_s", "a_z"], ["a_y"]),
    ),
    *branch(
        "b",
        node("QuantizeLinear", ["x", "b_s", "b_z"], ["b_q"]),
        node("DequantizeLinear", ["b_q", "b_s", "b_z"], ["b_y"]),
    ),
    *branch(
        "c",
        node("QuantizeLinear", ["x", "c_s", "c_z"], ["c_q"], axis=1),
        node("DequantizeLinear", ["c_q", "c_s", "c_z"], ["c_y"], axis=1),
    ),
    *branch(
        "d",
        node("QuantizeLinear", ["x", "d_s", "d_z"], ["d_q"]),
        node("MaxPool", ["d_q"], ["d_p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("DequantizeLinear", ["d_p", "d_s", "d_z"], ["d_y"]),
    ),
    # Without a zero point: uint8 from 0 on.
    *branch(
        "e",
        node("QuantizeLinear", ["x", "e_s"], ["e_q"]),
        node("DequantizeLinear", ["e_q", "e_s"], ["e_y"]),
    ),
    node("Concat", branches, ["logits"], axis=1),
]
arrays = {
    # Powers of two, so that halves between two numbers are met exactly.
    "a_s": np.array(2.0**-5, f32),
    "a_z": np.array(13, np.uint8),
    "b_s": np.array(0.0031, f32),
    "b_z": np.array(-3, np.int8),
    "c_s": np.array([0.0625, 0.0047], f32),
    "c_z": np.array([0, 0], np.int8),
    "d_s": np.array(0.01, f32),
    "d_z": np.array(7, np.uint8),
    "e_s": np.array(0.0017, f32),
}
made = model("qdq_values", nodes, arrays, [2, 2, 4], 4 * 16 + 4)
onnx.save(made, FOLDER / "qdq_values.onnx")
x = rng.integers(-64, 129, (4, 2, 2, 4)).astype(f32) / 64
record("qdq_values", x)


def weights(*shape):
    return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(f32)


made = model(
    "qdq_cnn",
    [
        node("Conv", ["x", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], strides=[2, 2]),
        node("Relu", ["c2"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["logits"], transB=1),
    ],
    {
        "w1": weights(4, 2, 3, 3),
        "b1": weights(4, 4)[:, 0],
        "w2": weights(4, 4, 3, 3),
        "b2": weights(4, 4)[:, 0],
        "w3": weights(5, 4) * 4,
        "b3": weights(5, 4)[:, 0],
    },
    [2, 8, 8],
    5,
)
images = rng.random((16, 2, 8, 8)).astype(f32).round(3)


class Images(quant.CalibrationDataReader):
    def __init__(self):
        self.rest = iter([{"x": images}])

    def get_next(self):
        return next(self.rest, None)


for name, form in [("qdq_cnn", quant.QuantFormat.QDQ), ("qlinear", quant.QuantFormat.QOperator)]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        onnx.save(made, path)
        quant.quantize_static(
            str(path),
            str(FOLDER / f"{name}.onnx"),
            Images(),
            quant_format=form,
            per_channel=True,
            activation_type=quant.QuantType.QUInt8,
            weight_type=quant.QuantType.QInt8,
        )
record("qdq_cnn", images[:4])
