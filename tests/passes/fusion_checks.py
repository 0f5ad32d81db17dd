"""What tests of fusing share: a network of some nodes, the kernels that it becomes, and its comparison with the reference."""
from __future__ import annotations

import numpy as np
import onnx
import tvm
from onnx import helper, numpy_helper
from tenfold.frontends import load
from tenfold.passes.pipeline import build, lower
from tenfold.schedules.backend import backend_of
from tvm import relax


def network(nodes, shapes, shape, outputs=("y",), given=None):
    """A graph from `x` with random constants, and those that are given."""
    rng = np.random.default_rng(0)
    constants = [numpy_helper.from_array((rng.standard_normal(s) / np.sqrt(max(1, np.prod(s[1:])))).astype("float32"), k)
                 for k, s in shapes.items()]
    constants += [numpy_helper.from_array(array, k) for k, array in (given or {}).items()]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, shape)],
                              [helper.make_tensor_value_info(name, 1, None) for name in outputs], constants)
    return load(onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)))


def kernels(net, target):
    return [var.name_hint for var, function in lower(net.mod, backend_of(target), until="schedule").functions_items()
            if isinstance(function, tvm.tirx.PrimFunc)]


def check(net, target):
    rng = np.random.default_rng(1)
    inputs = {spec.name: rng.standard_normal(spec.shape, "float32") for spec in net.inputs}
    out = relax.VirtualMachine(build(net.mod, backend_of(target)), tvm.cpu())["main"](*[tvm.runtime.tensor(v) for v in inputs.values()])
    for ours, theirs in zip([out] if hasattr(out, "numpy") else list(out), net.reference(inputs), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4 * max(1, abs(theirs).max()))


def conv(name, inputs, output, **attributes):
    return helper.make_node("Conv", inputs, [output], name, **attributes)


def bottleneck(**changes):
    """Pointwise, ReLU, depthwise, ReLU, pointwise, residual; as in MobileNet v2."""
    nodes = [conv("expand", ["x", "w0", "b0"], "a"), helper.make_node("Relu", ["a"], ["ar"]),
             conv("depthwise", ["ar", "w1", "b1"], "b", group=96, pads=[1] * 4), helper.make_node("Relu", ["b"], ["br"]),
             conv("project", ["br", "w2"], "c"), helper.make_node("Add", ["c", "x"], ["y"])]
    shapes = {"w0": (96, 16, 1, 1), "b0": (96,), "w1": (96, 1, 3, 3), "b1": (96,), "w2": (16, 96, 1, 1)}
    return network(nodes, shapes, [1, 16, 14, 14], **changes)
