"""What is right is accepted, also where the reference can't tell; what is wrong is refused, however small its outputs are."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper, parser
from tenfold.frontends.reference import Precision, Reference
from tenfold.runner.judgement import FARTHEST, judge
from tenfold.runner.tolerance import Tolerance
from tenfold.runner.verify import TOLERANCE
from tenfold.support.errors import TenfoldError, VerificationError

X = np.random.default_rng(0).standard_normal((1, 8, 6, 6)).astype("float32")
WEIGHT = (np.random.default_rng(1).standard_normal((8, 8, 1, 1)) / 3).astype("float32")


def network(nodes: str, outputs: str = "float[1,8,6,6] y", inputs: str = "float[1,8,6,6] x", opset: int = 17, **weights) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {nodes} }}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


class Off(Reference):
    """An engine whose outputs are off by `error`, in turns up and down."""

    error = 0.0

    def __call__(self, inputs):
        results = super().__call__(inputs)
        return [value + (self.error * (-1.0) ** np.arange(value.size).reshape(value.shape)).astype(value.dtype) for value in results]


def off(model: onnx.ModelProto, error: float) -> Reference:
    reference = Off.of_onnx(model)
    reference.error = error
    return reference


def judged(model, ours, error=0.0, feeds=None, tolerance=None):
    """`ours`: the outputs of the network on trial; the reference is off by `error`."""
    reference = off(model, error)
    tolerance = tolerance or Tolerance.of(reference.precision)
    return judge(lambda inputs: ours, reference, [feeds or {"x": X}], [value.name for value in model.graph.output], tolerance)


def layer(bias: float) -> np.ndarray:
    """The convolution in float64."""
    return np.einsum("fc,nchw->nfhw", WEIGHT[:, :, 0, 0].astype("float64"), X.astype("float64")) + bias


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


SIGMOID = {"nodes": "c = Conv (x, w, b) y = Sigmoid (c)", "w": WEIGHT, "b": np.full(8, -9, "float32")}


def test_a_right_network_is_accepted_where_the_reference_is_not_exact_enough():
    right, error = sigmoid(layer(-9)).astype("float32"), 1e-7
    assert error / right.max() > TOLERANCE / 4
    found = judged(network(**SIGMOID), [right], 1e-2 * float(right.max()))
    (note,) = found.notes
    assert "output 'y'" in note and "onnxruntime itself is" in note and "Sigmoid" in note and "float64" in note
    assert found.errors.relative < TOLERANCE


@pytest.mark.parametrize("error", [0.0, 1e-2])
@pytest.mark.parametrize("bias", [-8.99, -9.01])
def test_a_wrong_one_is_refused_though_its_outputs_are_as_small(bias, error):
    right, wrong = (sigmoid(layer(b)).astype("float32") for b in (-9, bias))
    assert np.abs(wrong - right).max() < 1e-3
    with pytest.raises(VerificationError, match=r"output 'y' of the compiled network differs from onnxruntime by \d.*at \[0, \d"):
        judged(network(**SIGMOID), [wrong], error * float(right.max()))


@pytest.mark.parametrize("scale", [1e-4, 1e-12])
def test_scaling_hides_no_wrong_bias(scale):
    model = network("c = Conv (x, w, b) y = Mul (c, k)", w=WEIGHT, b=np.ones(8, "float32"), k=np.float32(scale))
    assert not judged(model, [(layer(1) * scale).astype("float32")]).notes
    with pytest.raises(VerificationError, match="differs"):
        judged(model, [(layer(1.001) * scale).astype("float32")])


def test_a_network_nearer_to_float64_than_the_reference_is_right():
    """Large numbers that cancel: no engine in float32 is within the tolerance, this one is nearer than the other."""
    identity, large = np.eye(8, dtype="float32")[:, :, None, None], np.float32(3e4)
    model = network("a = Add (x, k) c = Conv (a, w) y = Sub (c, k)", w=identity, k=large)
    exact = X.astype("float64")
    reference = Reference.of_onnx(model)
    its = np.abs(reference({"x": X})[0] - exact).max() / np.abs(exact).max()
    assert TOLERANCE < its < FARTHEST
    nearer = (exact + 0.8 * its * np.abs(exact).max() * (-1.0) ** np.arange(X.size).reshape(X.shape)).astype("float32")
    assert "onnx.reference in float64" in judged(model, [nearer]).notes[0]
    farther = (exact + 1.2 * its * np.abs(exact).max() * (-1.0) ** np.arange(X.size).reshape(X.shape)).astype("float32")
    with pytest.raises(VerificationError):
        judged(model, [farther])


def test_the_message_says_where_and_what():
    model = network("c = Conv (x, w) y = Relu (c)", w=WEIGHT)
    wrong = np.maximum(layer(0), 0).astype("float32")
    wrong[0, 3, 1, 2] = 77
    with pytest.raises(VerificationError, match=r"output 'y' of .* 1.0e-04, float32 values\): at \[0, 3, 1, 2\] it is 77, not [\d.e-]+$"):
        judged(model, [wrong])


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_what_is_not_finite_is_wrong(special):
    wrong = layer(0).astype("float32")
    wrong[0, 0, 0, 0] = special
    with pytest.raises(VerificationError, match=r"at \[0, 0, 0, 0\] it is (nan|inf)"):
        judged(network("y = Conv (x, w)", w=WEIGHT), [wrong])


# Whole numbers: where the values behind them nearly tie, either is right.

SCORES = np.random.default_rng(3).standard_normal((1, 8, 6, 6)).astype("float32")
SCORES[0, 3, 2, 2] = SCORES[0, :, 2, 2].max() * (1 + 2e-7)  # the largest, by a hair
SECOND = int(np.argsort(SCORES[0, :, 2, 2])[-2])


@pytest.mark.parametrize("keep", [0, 1])
def test_an_arg_max_may_take_the_other_of_two_that_tie(keep):
    model = network(f"a = ArgMax <axis = 1, keepdims = {keep}> (x) y = Cast <to = 6> (a)", "int32[1,6,6] y")
    ours = SCORES.argmax(axis=1, keepdims=bool(keep)).astype("int32")
    assert judged(model, [ours], feeds={"x": SCORES}).notes == ()
    ours[..., 2, 2] = SECOND
    assert "near tie" in judged(model, [ours], feeds={"x": SCORES}).notes[0]
    for wrong in (int(np.argsort(SCORES[0, :, 2, 2])[0]), 8, -1):
        ours[..., 2, 2] = wrong
        with pytest.raises(VerificationError, match=rf"in 2.8e-02 of its elements: at \[.*2, 2\] it is {wrong}, not 3"):
            judged(model, [ours], feeds={"x": SCORES})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_arg_max_of_values_within_the_tolerance_is_right(seed):
    rng = np.random.default_rng(seed)
    x = np.round(rng.standard_normal((1, 8, 6, 6)), 1).astype("float32")  # many ties
    near = x + rng.uniform(-1, 1, x.shape) * TOLERANCE * np.abs(x).max()
    model = network("y = ArgMax <axis = 1, keepdims = 0> (x)", "int64[1,6,6] y")
    judged(model, [near.argmax(axis=1)], feeds={"x": x})
    far = x + rng.uniform(-1, 1, x.shape) * 0.5
    apart = np.take_along_axis(x, far.argmax(axis=1)[:, None], 1)[:, 0] < x.max(axis=1) - 1e-3
    if apart.any():
        with pytest.raises(VerificationError):
            judged(model, [far.argmax(axis=1)], feeds={"x": x})


def test_top_k_may_change_the_order_of_what_ties_but_not_repeat_it():
    x = np.array([[5, 4, 4.00001, 1, 0]], "float32")
    model = network("v, y = TopK <axis = 1> (x, k)", "float[1,3] v, int64[1,3] y", "float[1,5] x", k=np.array([3]))
    values = np.array([[5, 4.00001, 4]], "float32")
    judged(model, [values, np.array([[0, 1, 2]])], feeds={"x": x})
    for wrong in ([[0, 2, 2]], [[0, 3, 1]], [[2, 0, 1]]):
        with pytest.raises(VerificationError, match="output 'y'"):
            judged(model, [values, np.array(wrong)], feeds={"x": x})


def test_a_mask_may_differ_where_both_sides_are_equal():
    x = SCORES.copy()
    x[0, 0, 0, 0] = 0.5 + 1e-6
    model = network("y = Greater (x, half)", "bool[1,8,6,6] y", half=np.float32(0.5))
    ours = x > 0.5
    ours[0, 0, 0, 0] = False
    assert judged(model, [ours], feeds={"x": x}).notes
    ours[0, 3, 2, 2] = ~ours[0, 3, 2, 2]
    with pytest.raises(VerificationError):
        judged(model, [ours], feeds={"x": x})


def test_pixels_may_be_rounded_to_either_side():
    x = np.linspace(0, 1, 288, dtype="float32").reshape(1, 8, 6, 6)
    x[0, 0, 0, 1] = 100.5 / 255
    model = network(
        "a = Mul (x, k) b = Clip (a, low, k) c = Round (b) y = Cast <to = 2> (c)", "uint8[1,8,6,6] y", k=np.float32(255), low=np.float32(0)
    )
    right = np.clip(np.round(x * np.float32(255)), 0, 255).astype("uint8")
    for value, fine in ((100, True), (101, True), (99, False), (102, False)):
        ours = right.copy()
        ours[0, 0, 0, 1] = value
        if fine:
            judged(model, [ours], feeds={"x": x})
        else:
            with pytest.raises(VerificationError):
                judged(model, [ours], feeds={"x": x})
    ours = right.copy()
    ours[0, 4, 3, 3] += 1
    with pytest.raises(VerificationError):
        judged(model, [ours], feeds={"x": x})


def test_whole_numbers_that_no_value_decides_on_must_be_equal():
    model = network("y = Add (x, one)", "int64[4] y", "int64[4] x", one=np.array([1]))
    x = np.arange(4)
    judged(model, [x + 1], feeds={"x": x})
    with pytest.raises(VerificationError):
        judged(model, [x + 2], feeds={"x": x})


# What tolerance counts.


def test_quantized_values_may_be_one_step_off_here_and_there_only():
    model = network(
        "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)", s=np.float32(0.05), z=np.uint8(128),
    )
    reference = Reference.of_onnx(model)
    assert reference.precision == Precision("float32", 8)
    right = reference({"x": X})[0]
    ours = right.copy()
    ours[0, 0, 0, 0] += 0.05
    tolerance = Tolerance(0.05 / float(np.abs(right).max()) * 1.01, "one step", 0.05 / float(np.abs(right).max()) / 4)
    judged(model, [ours], tolerance=tolerance)
    with pytest.raises(VerificationError, match="in the mean"):
        judged(model, [right + np.float32(0.05)], tolerance=tolerance)


@pytest.mark.parametrize("opset", [13, 17, 19, 21])
def test_a_value_between_two_steps_may_go_to_either(opset):
    """Also where a step is more than the tolerance, since the largest value has few of them."""
    model = network("q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)", opset=opset, s=np.float32(0.5), z=np.uint8(128))
    x = np.full(X.shape, 1.25, np.float32)
    assert judged(model, [np.full(X.shape, 1.5, np.float32)], feeds={"x": x}, tolerance=Tolerance(0.01, "one step", 0.01)).notes
    with pytest.raises(VerificationError):
        judged(model, [np.full(X.shape, 2, np.float32)], feeds={"x": x}, tolerance=Tolerance(0.01, "one step", 0.01))


@pytest.mark.parametrize("operator", ["QuantizeLinear (x, s, z)", "QLinearConv (q, s, z, w, s, z, s, z)"])
def test_a_quantized_output_may_be_one_step_off_here_and_there_only(operator):
    kind = "float" if "Quantize" in operator else "uint8"
    port, weight = operator[operator.index("(") + 1], np.eye(8, dtype="uint8")[:, :, None, None]
    model = network(f"y = {operator}", "uint8[1,8,6,6] y", f"{kind}[1,8,6,6] {port}", s=np.float32(0.05), z=np.uint8(0), w=weight)
    feeds = {port: np.abs(X * 40).astype(kind.replace("float", "float32"))}
    (right,) = Reference.of_onnx(model)(feeds)
    right = np.clip(right, 1, 254)
    (ours,) = Reference.of_onnx(model)(feeds)
    ours[0, 0, 0, :3] = np.where(ours[0, 0, 0, :3] > 0, ours[0, 0, 0, :3] - 1, 1)
    assert judged(model, [ours], feeds=feeds).notes
    for wrong in (right.astype("int64") + 1, np.where(np.arange(288).reshape(right.shape) == 5, right.astype("int64") ^ 2, right)):
        with pytest.raises(VerificationError):
            judged(model, [wrong.astype("uint8")], feeds=feeds)


@pytest.mark.parametrize(
    ("precision", "value", "reason"),
    [
        (Precision("float32"), TOLERANCE, "float32"),
        (Precision("float64"), TOLERANCE, "float32"),
        (Precision("bfloat16"), TOLERANCE, "float32"),
        (Precision("float16"), 2.0**-8, "float16"),
        (Precision("float32", 8), 2 / 255, "8-bit"),
        (Precision("float32", 16), TOLERANCE, "float32"),
        (Precision("float16", 8), 2 / 255, "8-bit"),
    ],
)
def test_tolerance_by_type(precision, value, reason):
    found = Tolerance.of(precision)
    assert found.value == pytest.approx(value) and reason in found.reason
    assert Tolerance.of(precision, 0.5) == Tolerance(0.5, "as asked")


@pytest.mark.parametrize("wrong", [0, 1, -1.0, np.nan, "1e-3", True])
def test_a_tolerance_that_is_none(wrong):
    with pytest.raises(TenfoldError, match="tolerance must be a number above 0 and below 1"):
        Tolerance.of(Precision(), wrong)


def test_precision_is_that_of_the_coarsest_value():
    def of(**options):
        return Reference.of_onnx(network(**options)).precision

    assert of(nodes="y = Relu (x)") == Precision()
    assert of(nodes="h = Cast <to = 10> (x) y = Cast <to = 1> (h)") == Precision("float16")
    assert of(nodes="w = DequantizeLinear (q, s) y = Conv (x, w)", q=np.ones((8, 8, 1, 1), "int8"), s=np.float32(1)) == Precision()
    quantized = helper.make_tensor("z", onnx.TensorProto.UINT16, [], [0])
    model = network("q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)", opset=21, s=np.float32(1))
    model.graph.initializer.append(quantized)
    assert Reference.of_onnx(model).precision.bits == 16
