"""Grad-CAM and attention rollout of small transformers, without any of our code and without a
layer rule: layers and grids are written out here by hand.

Values come from ONNX's reference evaluator in double precision, gradients from central
differences. Writes crates/fgmf/tests/fixtures/tokens/maps.json beside the models.
"""

import json
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_erf import Erf
from onnx.utils import Extractor

FOLDER = Path(__file__).parent.parent / "crates/fgmf/tests/fixtures/tokens"
NORM = "/n.1/LayerNormalization_output_0"  # input of the last attention
RESIDUAL = "/Add_2_output_0"  # what goes around it
ATTENTION = ["/a.0/Softmax_output_0", "/a.1/Softmax_output_0"]
# Model, rows and columns of patches, tokens in front of them (a class token and registers).
CASES = [("vit_reg", (3, 3), 4), ("lin2x8", (2, 8), 1), ("lin2x5", (2, 5), 1)]


# The evaluator's own rounds to single precision.
Erf._run = lambda _, x: (np.vectorize(math.erf, otypes=[np.float64])(x),)


def image(shape):
    i = np.arange(np.prod(shape))
    return (i * 29 % 97 / 96).reshape(1, *shape)


def in_double(model):
    """Every number of the model in double precision."""
    for t in model.graph.initializer:
        if t.data_type == TensorProto.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))
    for node in model.graph.node:
        for a in node.attribute:
            if node.op_type == "Constant" and a.t.data_type == TensorProto.FLOAT:
                a.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(a.t).astype(np.float64)))
            if node.op_type == "Cast" and a.name == "to" and a.i == TensorProto.FLOAT:
                a.i = TensorProto.DOUBLE
    for v in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        if v.type.tensor_type.elem_type == TensorProto.FLOAT:
            v.type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


def with_outputs(model, names):
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, None))
    return ReferenceEvaluator(model)


def bilinear(grid, to):
    """Half-pixel centres, held inside."""
    out = np.asarray(grid, dtype=np.float64)
    for axis in range(2):
        n, m = out.shape[axis], to[axis]
        at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, n - 1)
        share = (at - low).reshape([-1, 1] if axis == 0 else [1, -1])
        out = out.take(low, axis) * (1 - share) + out.take(high, axis) * share
    return out


def stretched(grid, to):
    m = bilinear(grid, to)
    return ((m - m.min()) / (m.max() - m.min())).ravel().tolist()


def main():
    record = {}
    for name, grid, prefix in CASES:
        model = in_double(onnx.shape_inference.infer_shapes(onnx.load(FOLDER / f"{name}.onnx")))
        dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        x = image(dims)
        run = with_outputs(onnx.ModelProto.FromString(model.SerializeToString()),
                           [NORM, RESIDUAL, *ATTENTION])
        logits, norm, residual, *attention = run.run(None, {"image": x})
        target = int(logits[0].argmax())
        # The rest of the network, from the norm on; it reads the shapes of one image.
        rest = Extractor(model)
        rest = ReferenceEvaluator(rest.extract_model([NORM, RESIDUAL], ["logits"]))
        score = lambda a: rest.run(None, {NORM: a, RESIDUAL: residual})[0][0, target]
        step, gradient = 1e-5, np.zeros_like(norm)
        for i in np.ndindex(norm.shape):
            up, down = norm.copy(), norm.copy()
            up[i] += step
            down[i] -= step
            gradient[i] = (score(up) - score(down)) / (2 * step)
        patches = slice(prefix, prefix + grid[0] * grid[1])
        weights = gradient[0, patches].mean(axis=0)
        cam = np.maximum(0, norm[0, patches] @ weights).reshape(grid)
        flow = np.eye(norm.shape[1])
        for a in attention:
            mixed = a[0].mean(axis=0) + np.eye(len(flow))
            flow = mixed / mixed.sum(axis=1, keepdims=True) @ flow
        # The answer is read from token 0, the class token.
        record[name] = {
            "grid": grid,
            "prefix": prefix,
            "target": target,
            "logits": logits[0].tolist(),
            "grad-cam": stretched(cam, dims[1:]),
            "attention-rollout": stretched(flow[0, patches].reshape(grid), dims[1:]),
        }
        print(name, logits.dtype, norm.dtype, score(norm) - logits[0, target])
    (FOLDER / "maps.json").write_text(json.dumps(record, indent=1) + "\n")


main()
