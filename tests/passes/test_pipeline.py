"""Whole lowering: small networks through every phase, compiled, against ONNX Runtime; nothing is left unscheduled."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tenfold.frontends import load
from tenfold.passes.pipeline import build, lower
from tenfold.schedules.backend import backend_of
from tenfold.targets import resolve
from tvm import relax

HOST = resolve("host")


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    monkeypatch.setenv("TENFOLD_STRICT", "1")


def network(nodes, weights, shape):
    """A graph from `x` of a given shape to `y`."""
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, shape)], [helper.make_tensor_value_info("y", 1, None)],
                              [numpy_helper.from_array(v, k) for k, v in weights.items()])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    return load(model)


def check(net):
    rng = np.random.default_rng(0)
    inputs = {spec.name: rng.standard_normal(spec.shape, "float32") for spec in net.inputs}
    out = relax.VirtualMachine(build(net.mod, backend_of(HOST)), tvm.cpu())["main"](*[tvm.runtime.tensor(v) for v in inputs.values()])
    results = [out] if hasattr(out, "numpy") else list(out)
    for ours, theirs in zip(results, net.reference(inputs), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4 * max(1, abs(theirs).max()))


@st.composite
def transposed(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    strides = [draw(st.integers(1, 3)) for _ in range(2)]
    dilations = [draw(st.integers(1, 2)) for _ in range(2)]
    extra = [draw(st.integers(0, s - 1)) for s in strides]
    pads = [draw(st.integers(0, (k - 1) * d + (1 if k > 1 else 0))) for k, d in zip(kernel * 2, dilations * 2, strict=True)]
    return dict(groups=groups, kernel=kernel, strides=strides, dilations=dilations, extra=extra, pads=pads,
                channels=groups * draw(st.integers(1, 9)), filters=draw(st.integers(1, 9)),
                size=[draw(st.integers(4, 8)) for _ in range(2)])


@pytest.mark.slow
@given(case=transposed())
@settings(deadline=None, max_examples=12, derandomize=True)
def test_transposed_convolution(case):
    weight = np.random.default_rng(1).standard_normal((case["channels"], case["filters"], *case["kernel"]), "float32")
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", strides=case["strides"], dilations=case["dilations"],
                            output_padding=case["extra"], pads=case["pads"], group=case["groups"])
    sizes = [(n - 1) * s + (k - 1) * d + 1 + e - a - b for n, s, k, d, e, a, b in zip(
        case["size"], case["strides"], case["kernel"], case["dilations"], case["extra"], case["pads"][:2], case["pads"][2:], strict=True)]
    if min(sizes) > 0:
        check(network([node], {"w": weight}, [1, case["channels"], *case["size"]]))


def conv(name, x, w, y, **attributes):
    return helper.make_node("Conv", [x, w], [y], name, **attributes)


def weights(**shapes):
    rng = np.random.default_rng(2)
    return {name: rng.standard_normal(shape, "float32") / np.sqrt(np.prod(shape[1:])).astype("float32") for name, shape in shapes.items()}


def test_epilogues_join_the_convolution():
    """Bias, clip and a residual add leave one kernel for the convolution, and none for themselves."""
    nodes = [conv("a", "x", "wa", "a", pads=[1] * 4), helper.make_node("Clip", ["a", "low", "high"], ["c"]),
             conv("b", "c", "wb", "b", pads=[1] * 4), helper.make_node("Add", ["b", "c"], ["s"]), helper.make_node("Relu", ["s"], ["y"])]
    values = {**weights(wa=(16, 8, 3, 3), wb=(16, 16, 3, 3)), "low": np.float32(0), "high": np.float32(6)}
    net = network(nodes, {k: np.asarray(v) for k, v in values.items()}, [1, 8, 12, 10])
    mod = lower(net.mod, backend_of(HOST), until="fuse")
    names = [var.name_hint for var, func in mod.functions_items() if not isinstance(func, relax.Function)]
    assert sum("conv2d" in name for name in names) == 2
    assert not [name for name in names if "conv2d" not in name and "transpose" not in name]
    check(net)


def test_activations_that_read_the_result_twice():
    """x * sigmoid(x) and hard swish."""
    nodes = [conv("a", "x", "wa", "a"), helper.make_node("Sigmoid", ["a"], ["g"]), helper.make_node("Mul", ["a", "g"], ["s"]),
             conv("b", "s", "wb", "b", group=16, pads=[1] * 4), helper.make_node("HardSwish", ["b"], ["y"])]
    check(network(nodes, weights(wa=(16, 8, 1, 1), wb=(16, 1, 3, 3)), [1, 8, 12, 10]))


def test_feature_pyramid():
    """What the epilogue reads beside the convolution is an upsampled map."""
    scales = np.array([1, 1, 2, 2], "float32")
    nodes = [conv("a", "x", "wa", "a", strides=[2, 2], pads=[1] * 4),
             helper.make_node("Resize", ["a", "", "scales"], ["r"], mode="nearest", nearest_mode="floor",
                              coordinate_transformation_mode="asymmetric"),
             conv("b", "x", "wb", "b"), helper.make_node("Add", ["b", "r"], ["y"])]
    check(network(nodes, {**weights(wa=(24, 8, 3, 3), wb=(24, 8, 1, 1)), "scales": scales}, [1, 8, 12, 10]))


def test_squeeze_and_excite_of_a_pointwise_gate(target):
    """A gate of one pixel, broadcast over the map that it multiplies."""
    nodes = [conv("a", "x", "wa", "a", pads=[1] * 4), helper.make_node("GlobalAveragePool", ["a"], ["p"]), conv("b", "p", "wb", "b"),
             helper.make_node("Sigmoid", ["b"], ["g"]), helper.make_node("Mul", ["a", "g"], ["y"])]
    net = network(nodes, weights(wa=(20, 8, 3, 3), wb=(20, 20, 1, 1)), [1, 8, 40, 30])
    [gate] = [func for var, func in lower(net.mod, backend_of(target), until="schedule").functions_items() if "matvec" in var.name_hint]
    assert "T.parallel" in gate.script() and "T.vectorized" in gate.script()  # the map, too large for one thread
    check(net)


@pytest.mark.parametrize(("size", "kernel", "pads", "streamed"), [
    ((6, 5), (6, 5), 0, True), ((1, 1), (1, 1), 0, True), ((6, 5), (5, 5), 0, False), ((1, 1), (3, 3), 1, False)])
def test_kernel_that_covers_the_image(size, kernel, pads, streamed, target):
    """Such a convolution is a matrix times a vector, two of one pixel are a chain of these; one that slides, or is padded, is not."""
    nodes = [conv("a", "x", "wa", "a", pads=[pads] * 4), helper.make_node("Relu", ["a"], ["r"]), conv("b", "r", "wb", "y")]
    net = network(nodes, weights(wa=(21, 10, *kernel), wb=(9, 21, 1, 1)), [1, 10, *size])
    names = [var.name_hint for var, _ in lower(net.mod, backend_of(target), until="fuse").functions_items()]
    assert any("matvec" in name and ("relu" in name or "chain" in name) for name in names) == streamed
    check(net)


def test_identical_layers_are_compiled_once(target):
    pool = {"kernel_shape": [3, 3], "pads": [1] * 4}
    nodes = [helper.make_node("AveragePool", ["x"], ["i"], **pool), conv("a", "i", "wa", "a", pads=[1] * 4),
             helper.make_node("AveragePool", ["a"], ["p"], **pool), conv("b", "p", "wb", "b", pads=[1] * 4),
             helper.make_node("AveragePool", ["b"], ["y"], **pool)]
    net = network(nodes, weights(wa=(8, 8, 3, 3), wb=(8, 8, 3, 3)), [1, 8, 12, 10])
    lowered = lower(net.mod, backend_of(target), until="schedule")
    names = [var.name_hint for var, _ in lowered.functions_items()]
    assert sum(any(kind in name for kind in ("conv2d", "winograd", "grouped")) for name in names) == 1, names
    check(net)
