"""A device that computes its times from what it is given, and a small classifier with layers that can be factored."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tenfold.passes.inventory import inventory

QUICK = ("svd", "spatial_svd", "channel_svd", "tucker2")  # methods that factor in no time
CONV, PER_MAC, REST = 2e-4, 1e-6, 0.005  # milliseconds


@dataclass
class ModelDevice:
    """Every layer takes a little, and the more the more MACs; counts what it is asked for."""

    asked: list = field(default_factory=list)
    interrupt_at: int | None = None

    def kernels(self, mod):
        self.asked.append(mod)
        if len(self.asked) == self.interrupt_at:
            raise KeyboardInterrupt
        ms = sum(CONV + PER_MAC * layer.macs for layer in inventory(mod))
        return lambda: ms

    def network(self, mod):
        ms = REST + sum(CONV + PER_MAC * layer.macs for layer in inventory(mod))
        return lambda: ms


def classifier(seed: int = 0) -> onnx.ModelProto:
    """Two 3 x 3 convolutions, a pool, dense: x (1, 4, 8, 8) -> scores (1, 6); weights of falling spectra."""
    rng = np.random.default_rng(seed)

    def weight(*shape):
        rows, columns = shape[0], int(np.prod(shape[1:]))
        left, _, right = np.linalg.svd(rng.standard_normal((rows, columns)), full_matrices=False)
        return (left * 0.6 ** np.arange(len(right)) @ right).reshape(shape).astype("float32") * 3

    constants = {"w1": weight(32, 4, 3, 3), "w2": weight(32, 32, 3, 3)}
    constants |= {"b1": rng.standard_normal(32).astype("float32") / 4, "b2": rng.standard_normal(32).astype("float32") / 4}
    readout = rng.standard_normal((6, 512)).astype("float32") / 8
    constants["w3"] = readout - readout.mean(axis=1, keepdims=True)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["scores"], name="fc", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 8, 8])]
    outputs = [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 6])]
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def images(count: int, seed: int = 1) -> np.ndarray:
    """What the classifier takes."""
    return np.random.default_rng(seed).standard_normal((count, 4, 8, 8)).astype("float32")


def labels(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What the classifier says, with one in ten changed: it is right on 90 %."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = np.array([session.run(None, {"x": image[None]})[0].argmax() for image in x])
    answers[::10] = (answers[::10] + 1) % 6
    return answers
