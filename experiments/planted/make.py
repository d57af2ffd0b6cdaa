#!/usr/bin/env python3
"""Writes planted defences of many kinds as ONNX files, for a trial of the adaptive suite.

Usage: make.py OUT STANDARD.onnx SECOND.onnx THIRD.onnx

The networks are three of cnn-tiny, trained in the standard way with different seeds. Each defence
is built around them from common ONNX operators, without a name or a mark that an evaluator could
know. None makes the network more robust: its twin stands beside it in the table of `TWINS`, and
decides alike on all images or on most of them.

Needs the packages `onnx` and `numpy`.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 10


class Graph:
    """A graph in the making: operators are methods, values are names."""

    def __init__(self):
        self.nodes, self.parameters, self.count = [], [], 0

    def name(self):
        self.count += 1
        return f"v{self.count}"

    def constant(self, array, dtype=np.float32):
        name = self.name()
        self.parameters.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def op(self, kind, *inputs, **attributes):
        out = self.name()
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def number(self, v):
        return self.constant(np.float32(v))

    def add(self, a, b):
        return self.op("Add", a, b if isinstance(b, str) else self.number(b))

    def sub(self, a, b):
        return self.op("Sub", a, b if isinstance(b, str) else self.number(b))

    def mul(self, a, b):
        return self.op("Mul", a, b if isinstance(b, str) else self.number(b))

    def clip(self, a, low=0.0, high=1.0):
        return self.op("Clip", a, self.number(low), self.number(high))

    def axes(self, *axes):
        return self.constant(list(axes), np.int64)

    def sum(self, a, axis, keep=1):
        return self.op("ReduceSum", a, self.axes(axis), keepdims=keep)

    def unsqueeze(self, a, axis):
        return self.op("Unsqueeze", a, self.axes(axis))

    def brightness(self, image):
        """Mean of the image, [n, 1]."""
        return self.op("Flatten", self.op("GlobalAveragePool", image), axis=1)

    def step(self, a, slope=1e3):
        """A steep ramp at 0 in the place of a step."""
        return self.clip(self.add(self.mul(a, slope), 0.5))

    def fold(self, a):
        """|2 t - 1|: the tent map."""
        return self.op("Abs", self.sub(self.mul(a, 2.0), 1.0))

    def gate(self, a, on, off):
        """a on + (1 - a) off."""
        return self.add(off, self.mul(a, self.sub(on, off)))

    def first(self, z):
        """Indicator of the largest score, and its lead over the next."""
        two, where = self.name(), self.name()
        most = self.constant([2], np.int64)
        self.nodes.append(helper.make_node("TopK", [z, most], [two, where], axis=-1))
        cut = lambda a, b: self.op(
            "Slice", two, self.constant([a], np.int64), self.constant([b], np.int64), self.axes(1)
        )
        top, next_ = cut(0, 1), cut(1, 2)
        indicator = self.clip(self.add(self.mul(self.sub(z, top), 1e5), 1.0))
        return indicator, self.sub(top, next_)

    def network(self, path, image, before_logits=None):
        """A copy of a network of ours; gives its logits."""
        base = onnx.load(path).graph
        tag = self.name()
        names = {"": "", base.input[0].name: image}
        for p in base.initializer:
            names[p.name] = f"{tag}.{p.name}"
            copy = onnx.TensorProto()
            copy.CopyFrom(p)
            copy.name = names[p.name]
            self.parameters.append(copy)
        out = None
        for node in base.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = ""
            inputs = [names[i] for i in node.input]
            if before_logits and node.output[0] == base.output[0].name:
                inputs[0] = before_logits(inputs[0])
            names[node.output[0]] = f"{tag}.{node.output[0]}"
            out = names[node.output[0]]
            del copy.input[:], copy.output[:]
            copy.input.extend(inputs)
            copy.output.append(out)
            self.nodes.append(copy)
        return out

    def save(self, path, image, out):
        n, k = "batch", CLASSES
        self.nodes.append(helper.make_node("Identity", [out], ["scores"]))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(image, TensorProto.FLOAT, [n, 1, 28, 28])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [n, k])],
            self.parameters,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        model.ir_version = 9
        onnx.checker.check_model(model)
        onnx.save(model, path)


def served(g, z, turned):
    """The same class with another lead: `turned` of the true one."""
    indicator, lead = g.first(z)
    return g.mul(indicator, turned(lead, indicator))


def hyperbola(g, lead):
    """Grows to 1 at a lead of 0.1 and falls from there: the surer, the smaller."""
    rising = g.mul(lead, 10.0)
    falling = g.op("Reciprocal", g.add(lead, 0.9))
    # min(a, b) = a - relu(a - b)
    return g.sub(rising, g.op("Relu", g.sub(rising, falling)))


def turned_by_class(g, x, nets):
    """Leads are turned round for even classes and true for odd ones."""
    even = g.constant([[1.0, 0.0] * 5])
    def turned(lead, indicator):
        weight = g.sum(g.mul(indicator, even), 1)
        return g.gate(weight, hyperbola(g, lead), lead)
    return served(g, g.network(nets[0], x), turned)


def turned_by_region(g, x, nets):
    """Leads are turned round for bright images and true for dark ones."""
    bright = g.step(g.sub(g.brightness(x), 0.25))
    return served(
        g, g.network(nets[0], x), lambda lead, _: g.gate(bright, hyperbola(g, lead), lead)
    )


def turned_softly(g, x, nets):
    """lead · exp(-lead / 2): smooth, turned where the lead is above 2."""
    return served(
        g,
        g.network(nets[0], x),
        lambda lead, _: g.mul(lead, g.op("Exp", g.mul(lead, -0.5))),
    )


def turned_to_and_fro(g, x, nets):
    """The served lead goes up and down as the true one falls."""
    def turned(lead, _):
        wave = g.mul(lead, 0.05)
        for _ in range(6):
            wave = g.fold(wave)
        return g.add(g.mul(wave, 0.5), 0.1)
    return served(g, g.network(nets[0], x), turned)


def ranks(g, x, nets):
    """A score is the number of classes that it is above: a constant almost everywhere."""
    z = g.network(nets[0], x)
    above = g.sub(g.unsqueeze(z, 2), g.unsqueeze(z, 1))
    return g.sum(g.step(above, 1e5), 2, keep=0)


def treads(g, x, nets):
    """Scores on a staircase whose treads slope down."""
    z = g.network(nets[0], x)
    steps = g.constant(np.arange(-40, 40)[None, None, :] * 0.25)
    up = g.sum(g.step(g.sub(g.unsqueeze(z, 2), steps), 400.0), 2, keep=0)
    return g.sub(g.mul(up, 0.25), g.mul(z, 0.2))


def sharp(g, z):
    return g.op("Softmax", g.mul(z, 200.0), axis=1)


def steep_votes(g, x, nets):
    """Three networks vote; each vote is all or nothing."""
    total = None
    for weight, net in zip([1.0, 1.01, 1.02], nets):
        vote = g.mul(sharp(g, g.network(net, x)), weight)
        total = vote if total is None else g.add(total, vote)
    return total


def shifted_votes(g, x, nets):
    """One network votes on the image and on four shifted copies."""
    total = None
    for weight, (dy, dx) in zip([1.3, 1, 1.01, 1.02, 1.03], [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]):
        pads = [0, 0, max(dy, 0), max(dx, 0), 0, 0, max(-dy, 0), max(-dx, 0)]
        moved = g.op("Pad", x, g.constant(pads, np.int64)) if any(pads) else x
        moved = g.op(
            "Slice",
            moved,
            g.constant([max(-dy, 0), max(-dx, 0)], np.int64),
            g.constant([28 + max(-dy, 0), 28 + max(-dx, 0)], np.int64),
            g.axes(2, 3),
        )
        vote = g.mul(sharp(g, g.network(nets[0], moved)), weight)
        total = vote if total is None else g.add(total, vote)
    return total


def quantised(g, x):
    """Eight levels by steep ramps."""
    total = None
    for k in range(7):
        ramp = g.step(g.sub(x, (k + 0.5) / 7), 1e3)
        total = ramp if total is None else g.add(total, ramp)
    return g.mul(total, 1 / 7)


def ramps(g, x, nets):
    """An input quantiser without a rounding."""
    return g.network(nets[0], quantised(g, x))


def shattered(g, x, nets):
    """A small chaotic chain is added to the image."""
    chain = x
    for _ in range(8):
        chain = g.fold(chain)
    return g.network(nets[0], g.add(x, g.mul(g.sub(chain, 0.5), 0.03)))


def saturated_states(g, x, nets):
    """The last states climb steep stairs: between two steps they are constant."""
    def stairs(h):
        steps = g.constant((np.arange(24)[None, None, :] + 0.5) * 0.5)
        up = g.sum(g.step(g.sub(g.unsqueeze(h, 2), steps), 1e3), 2, keep=0)
        return g.mul(up, 0.5)
    return g.network(nets[0], x, before_logits=stairs)


def detector(g, x, nets):
    """Scores saturate on images that are less smooth than clean ones."""
    blurred = g.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    rough = g.brightness(g.op("Abs", g.sub(x, blurred)))
    alarm = g.step(g.sub(rough, 0.055), 200.0)
    z = g.network(nets[0], x)
    z = g.mul(z, g.add(g.mul(alarm, 40.0), 1.0))
    return g.op("Log", g.add(g.op("Softmax", z, axis=1), 1e-6))


def chosen_by_region(g, x, nets):
    """One of two networks answers, by a hash of the brightness; its score is all or nothing."""
    choice = g.mul(g.brightness(x), 1.0)
    for _ in range(7):
        choice = g.fold(choice)
    choice = g.step(g.sub(choice, 0.5), 1e3)
    return g.gate(choice, sharp(g, g.network(nets[0], x)), sharp(g, g.network(nets[1], x)))


def both_ends(g, x, nets):
    """Ramps in front and ranks behind."""
    z = g.network(nets[0], quantised(g, x))
    above = g.sub(g.unsqueeze(z, 2), g.unsqueeze(z, 1))
    return g.sum(g.step(above, 1e5), 2, keep=0)


def plain(g, x, nets):
    return g.network(nets[0], x)


def mean_of_three(g, x, nets):
    """The votes without their steepness."""
    total = None
    for net in nets:
        p = g.op("Softmax", g.network(net, x), axis=1)
        total = p if total is None else g.add(total, p)
    return g.op("Log", total)


KINDS = [
    turned_by_class,
    turned_by_region,
    turned_softly,
    turned_to_and_fro,
    ranks,
    treads,
    steep_votes,
    shifted_votes,
    ramps,
    shattered,
    saturated_states,
    detector,
    chosen_by_region,
    both_ends,
    plain,
    mean_of_three,
]


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    out, nets = Path(sys.argv[1]), sys.argv[2:]
    out.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        g = Graph()
        g.save(out / f"{kind.__name__.replace('_', '-')}.onnx", "image", kind(g, "image", nets))


if __name__ == "__main__":
    main()
