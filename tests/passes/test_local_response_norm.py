"""Local response normalisation, as ONNX and torch write it, is found between channels-last operators; what only looks like it is not."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import tvm
from onnx import helper, numpy_helper
from tenfold.frontends import load
from tenfold.passes.pipeline import build, lower
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve
from tvm import relax

HOST = resolve("host")


def convolved(nodes: list[onnx.NodeProto], channels: int = 12, **values: np.ndarray):
    """A network: x (2, 5, 9, 7), a 1 x 1 convolution to `channels` called `a`, and `nodes`, to `y`."""
    weight = np.random.default_rng(0).standard_normal((channels, 5, 1, 1), "float32")
    constants = [numpy_helper.from_array(v, k) for k, v in {"w": weight, **values}.items()]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["a"], "a"), *nodes], "g", [helper.make_tensor_value_info("x", 1, [2, 5, 9, 7])],
        [helper.make_tensor_value_info("y", 1, None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return load(onnx.shape_inference.infer_shapes(model))


def kernels(net) -> list[str]:
    mod = lower(net.mod, backend_of(HOST), until="fuse")
    return [var.name_hint for var, func in mod.functions_items() if not isinstance(func, relax.Function)]


def check(net):
    inputs = {spec.name: np.random.default_rng(1).standard_normal(spec.shape, "float32") for spec in net.inputs}
    out = relax.VirtualMachine(build(net.mod, backend_of(HOST)), tvm.cpu())["main"](*[tvm.runtime.tensor(v) for v in inputs.values()])
    np.testing.assert_allclose(out.numpy(), net.reference(inputs)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(4, 9), (12, 1), (96, 5), (256, 3)])
def test_onnx(channels, size):
    net = convolved([helper.make_node("LRN", ["a"], ["y"], size=size, alpha=0.5, beta=0.75, bias=1.5)], channels)
    assert [name for name in kernels(net) if "transpose" not in name] == ["conv2d", "response_norm"]
    check(net)


def test_a_long_window_stays_a_pool():
    net = convolved([helper.make_node("LRN", ["a"], ["y"], size=17, alpha=0.5)])
    assert "response_norm" not in kernels(net)
    check(net)


def test_torch():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 24, 3), torch.nn.ReLU(), torch.nn.LocalResponseNorm(5, 0.3, 0.75, 2.0)).eval()
    net = load(module, example_inputs=(torch.randn(1, 3, 9, 9),))
    assert "response_norm" in kernels(net)
    check(net)


@pytest.mark.quick(2)
@pytest.mark.parametrize(("reach", "included", "factors", "divided", "found"), [
    ((1, 0, 0), 1, ("a", "a"), "a", True),
    ((1, 0, 0), 1, ("a", "a"), "b", False),   # not the operand of the squares
    ((1, 0, 0), 1, ("a", "b"), "a", False),   # no squares
    ((1, 0, 0), 0, ("a", "a"), "a", False),   # a mean over fewer at the borders
    ((0, 1, 0), 1, ("a", "a"), "a", False),   # across the pixels
])
def test_written_out(reach, included, factors, divided, found):
    """x / (1 + mean(x * x) / 2) ** 0.5, and what only looks like it."""
    shapes = {"shape": np.array([2, 1, 12, 9, 7]), "back": np.array([2, 12, 9, 7])}
    values = {**shapes, "one": np.array(1, "float32"), "half": np.array(0.5, "float32")}
    nodes = [
        helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Mul", [*factors], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["r"]),
        helper.make_node("AveragePool", ["r"], ["p"], kernel_shape=[1 + 2 * r for r in reach], pads=[*reach, *reach],
                         count_include_pad=included),
        helper.make_node("Reshape", ["p", "back"], ["q"]), helper.make_node("Mul", ["q", "half"], ["m"]),
        helper.make_node("Add", ["m", "one"], ["n"]), helper.make_node("Pow", ["n", "half"], ["o"]),
        helper.make_node("Div", [divided, "o"], ["y"])]
    net = convolved(nodes, **values)
    assert ("response_norm" in kernels(net)) == found
    check(net)
