"""float16, bfloat16 and quantized layers are computed in float32; inputs and outputs keep their types."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend_checks import example, graph, normal, run_relax
from onnx import numpy_helper
from tenfold.frontends import load
from tenfold.frontends.reference.session import session_run
from tenfold.passes.inventory import inventory
from tenfold.support.errors import TenfoldError

W, V = normal(16, 8, 3, 3) / 8, normal(8, 16, 3, 3, seed=1) / 12


def half(weight: np.ndarray) -> np.ndarray:
    return weight.astype("float16")


def operators_of(net) -> list[str]:
    return [node.op_type for node in net.onnx.graph.node]


def test_a_float16_network_is_one_of_float32_between_casts():
    model = graph("float16[1,8,9,9] x => float16 y", "c = Conv (x, w) r = Relu (c) y = Conv (r, v)", {"w": half(W), "v": half(V)})
    net = load(model)
    assert operators_of(net) == ["Cast", "Conv", "Relu", "Conv", "Cast"]
    assert [(spec.name, spec.dtype) for spec in (*net.inputs, *net.outputs)] == [("x", "float16"), ("y", "float16")]
    assert [layer.reason for layer in inventory(net.mod)] == [None, None]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in net.onnx.graph.initializer}
    np.testing.assert_array_equal(weights["w"], half(W).astype("float32"))
    x = example(net)
    (got,), (want,) = run_relax(net.mod, [x["x"]]), net.reference(x)
    assert got.dtype == want.dtype == np.float16
    # Computed in float32 by both, and rounded at the end: some elements to the other side.
    np.testing.assert_allclose(got, want, rtol=2.0**-10, atol=2.0**-10 * np.abs(want).max())


def test_a_cast_to_float16_rounds_there():
    net = load(graph("float[1,8,9,9] x => float y", "h = Cast <to = 10> (x) a = Add (h, h) y = Cast <to = 1> (a)"))
    x = example(net)["x"]
    (got,) = run_relax(net.mod, [x])
    np.testing.assert_array_equal(got, (half(x) + half(x)).astype("float32"))
    assert np.abs(got - 2 * x).max() > 1e-5


def test_a_sum_that_the_file_casts_from_float16_is_rounded():
    net = load(graph("float16[4] x => float y, float16 z", "z = Mul (x, x) y = Cast <to = 1> (z)"))
    x = half(normal(4) * 10)
    y, z = run_relax(net.mod, [x])
    np.testing.assert_array_equal(y, (x * x).astype("float32"))
    np.testing.assert_array_equal(z, x * x)


def test_constants_and_fills_of_float16():
    """The text of a model gives them by their bits: these are 0.5 and 2."""
    text = """
        k = Constant <value = float16 {14336}> ()  f = ConstantOfShape <value = float16[1] {16384}> (s)
        a = Mul (x, k)  y = Add (a, f)
    """
    net = load(graph("float16[4] x => float16 y", text, {"s": np.array([4])}))
    x = half(np.array([1, 2, 3, 4]))
    np.testing.assert_array_equal(run_relax(net.mod, [x])[0], half(np.array([2.5, 3, 3.5, 4])))


def test_bfloat16_inside_is_float32_of_the_same_weights():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    model = graph("float[1,8,9,9] x => float y", "a = Cast <to = 16> (x) c = Conv (a, w) y = Cast <to = 1> (c)")
    weight = W.astype(ml_dtypes.bfloat16)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    net = load(model)
    x = example(net)
    plain = session_run(graph("float[1,8,9,9] x => float y", "y = Conv (x, w)", {"w": weight.astype("float32")}))
    np.testing.assert_allclose(run_relax(net.mod, [x["x"]])[0], plain(x)[0], rtol=0, atol=1e-5)
    assert inventory(net.mod)[0].reason is None


@pytest.mark.parametrize("signature", ["bfloat16[4] x => float y", "float[4] x => bfloat16 y"])
def test_bfloat16_at_the_door_is_refused(signature):
    port = "x" if signature.startswith("b") else "y"
    kinds = {"x": 1, "y": 16}[port]
    with pytest.raises(TenfoldError, match=f"{port!r} is bfloat16, which NumPy does not have"):
        load(graph(signature, f"y = Cast <to = {kinds}> (x)"))


def test_float64_stays_what_it_is():
    text, weights = "c = Conv (x, w, b) f = Flatten (c) y = Gemm (f, m, b)", {"w": W, "b": normal(16), "m": normal(784, 16)}
    net = load(graph("double[1,8,9,9] x => double y", text, {name: value.astype("float64") for name, value in weights.items()}))
    x = example(net)
    (got,), (want,) = run_relax(net.mod, [x["x"]]), net.reference(x)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


# Quantized.

STEP = {"xs": np.float32(0.031), "xz": np.uint8(121), "ys": np.float32(0.23), "yz": np.uint8(99)}
RNG = np.random.default_rng(5)
INT8, UINT8 = RNG.integers(-127, 128, (16, 8, 3, 3)).astype("int8"), RNG.integers(0, 256, (16, 8, 3, 3)).astype("uint8")
PER_FILTER = (RNG.random(16) / 100 + 0.004).astype("float32")
BIAS = RNG.integers(-900, 900, 16).astype("int32")
DENSE = RNG.integers(-127, 128, (24, 12)).astype("int8")

QUANTIZED = {
    "conv, a scale for each filter": (
        "uint8[1,8,9,9] x => uint8 y", "y = QLinearConv <pads = [1, 1, 1, 1]> (x, xs, xz, w, ws, wz, ys, yz, b)",
        {**STEP, "w": INT8, "ws": PER_FILTER, "wz": np.zeros(16, "int8"), "b": BIAS},
    ),
    "conv, unsigned": (
        "uint8[1,8,9,9] x => uint8 y", "y = QLinearConv <strides = [2, 2]> (x, xs, xz, w, ws, wz, ys, yz)",
        {**STEP, "w": UINT8, "ws": np.float32(0.011), "wz": np.uint8(128)},
    ),
    "dense": (
        "uint8[6,24] x => uint8 y", "y = QLinearMatMul (x, xs, xz, w, ws, wz, ys, yz)",
        {**STEP, "w": DENSE, "ws": (RNG.random(12) / 100 + 0.004).astype("float32"), "wz": np.zeros(12, "int8")},
    ),
    "whole numbers, conv": (
        "uint8[1,8,9,9] x => int32 y", "y = ConvInteger <pads = [1, 1, 1, 1]> (x, w, xz)", {"xz": STEP["xz"], "w": UINT8},
    ),
    "whole numbers, conv, centred": (
        "uint8[1,8,9,9] x => int32 y", "y = ConvInteger (x, w, xz, wz)", {"xz": STEP["xz"], "w": INT8, "wz": np.int8(3)},
    ),
    "whole numbers, dense": (
        "uint8[6,24] x => int32 y", "y = MatMulInteger (x, w, xz, wz)", {"xz": STEP["xz"], "w": DENSE, "wz": np.arange(12, dtype="int8")},
    ),
    "pairs, signed, on an axis": (
        "float[1,8,9,9] x => float y",
        "q = QuantizeLinear <axis = 1> (x, s, z) d = DequantizeLinear <axis = 1> (q, s, z) y = Conv (d, w)",
        {"s": np.float32([0.5, 0.25, 0.1, 0.03, 1, 2, 0.01, 0.007]), "z": np.int8([0, 1, -1, 5, -5, 100, -128, 127]), "w": W},
    ),
}


@pytest.mark.parametrize("case", QUANTIZED)
def test_quantized_layers(case):
    signature, text, weights = QUANTIZED[case]
    net = load(graph(signature, text, weights))
    assert len(inventory(net.mod)) == 1 and inventory(net.mod)[0].reason is None
    rng = np.random.default_rng(1)
    spec = net.inputs[0]
    x = rng.integers(0, 256, spec.shape).astype("uint8") if spec.dtype == "uint8" else 4 * normal(*spec.shape)
    (got,), (want,) = run_relax(net.mod, [x]), net.reference({"x": x})
    assert got.dtype == want.dtype and got.shape == want.shape
    difference = np.abs(got.astype("float64") - want)
    if "QLinear" in text:  # whose reference scales whole sums: some that tie go to the other side
        assert difference.max() <= 1 and (difference > 0).mean() < 0.005
    else:
        assert difference.max() <= (0 if want.dtype == np.int32 else 1e-5 * np.abs(want).max())


def test_ties_go_to_even_and_what_is_beyond_saturates():
    net = load(graph("float[12] x => uint8 y", "y = QuantizeLinear (x, s, z)", {"s": np.float32(0.5), "z": np.uint8(3)}))
    x = np.array([0.25, 0.75, 1.25, -0.25, -0.75, 1e9, -1e9, 126, 126.25, -1.5, -1.75, 0], "float32")
    want = np.clip(np.rint(x / 0.5) + 3, 0, 255).astype("uint8")
    np.testing.assert_array_equal(run_relax(net.mod, [x])[0], want)
    np.testing.assert_array_equal(net.reference({"x": x})[0], want)


def test_dynamic_quantization_goes_around_no_integers():
    text = "q, s, z = DynamicQuantizeLinear (x) i = ConvInteger (q, w, z) f = Cast <to = 1> (i) y = Mul (f, s)"
    net = load(graph("float[1,8,9,9] x => float y", text, {"w": INT8}))
    assert operators_of(net)[-3:] == ["Conv", "Round", "Mul"]
    x = example(net)
    np.testing.assert_allclose(run_relax(net.mod, [x["x"]])[0], net.reference(x)[0], rtol=1e-5)


def test_onnx_runtimes_own_quantized_operators_are_refused_with_what_to_do():
    model = graph("uint8[4] x => uint8 y", "y = Identity (x)")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    model.graph.node[0].CopyFrom(onnx.helper.make_node("QLinearSigmoid", ["x", "s", "z", "s", "z"], ["y"], "q", domain="com.microsoft"))
    model.graph.initializer.extend([numpy_helper.from_array(np.float32(1), "s"), numpy_helper.from_array(np.uint8(0), "z")])
    with pytest.raises(TenfoldError, match=r"com.microsoft.QLinearSigmoid \(node 'q'\).*QuantFormat.QDQ"):
        load(model)
