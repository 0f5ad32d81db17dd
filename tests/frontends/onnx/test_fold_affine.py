"""Folding never changes what a graph computes, whatever the shapes are by which its constants broadcast."""
import numpy as np
import onnx
import onnxruntime
import pytest
from frontend_checks import assert_same, example, graph, normal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenfold.frontends import load

SIZES = (1, 3)  # rows, channels and pixels are of equal sizes often: a size then fits where the shape does not


def assert_unchanged(model: onnx.ModelProto) -> list[str]:
    """ONNX Runtime computes the same on the model as it is and normalised; the operators of the normalised one."""
    net = load(model)
    x = example(net)
    session = onnxruntime.InferenceSession(net.onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,), (want,) = session.run(None, x), net.reference(x)
    finite = np.isfinite(want)  # a division by the zeros of a Relu is not
    np.testing.assert_array_equal(np.isfinite(got), finite)
    assert_same([np.where(finite, got, 0)], [np.where(finite, want, 0)], ["y"], 1e-4)
    return [node.op_type for node in net.onnx.graph.node]


def broadcastable(draw, shape: list[int], grows: bool = False) -> list[int]:
    """A shape that broadcasts to `shape`; with `grows`, one to which it may broadcast too."""
    kept = [size if draw(st.booleans()) else 1 for size in shape]
    if grows and kept and draw(st.integers(0, 5)) == 0:
        axis = draw(st.integers(0, len(kept) - 1))
        kept[axis] = 3 if shape[axis] == 1 else kept[axis]
    return kept[draw(st.integers(0, len(kept))) :]


@st.composite
def networks(draw) -> onnx.ModelProto:
    """A layer, and up to three steps of arithmetic and batch norm behind it."""
    size = st.sampled_from(SIZES)
    kind = draw(st.sampled_from(["Conv", "ConvTranspose", "Gemm", "MatMul", "Relu"]))
    opset = draw(st.sampled_from([7, 9, 13, 17]))
    channels, weights, nodes = draw(size), {}, []

    def values(shape: list[int]) -> str:
        name = f"k{len(weights)}"
        weights[name] = normal(*shape, seed=len(weights)) if shape else np.float32(0.7)
        return name

    if kind in ("Conv", "ConvTranspose"):
        groups = draw(st.sampled_from([1, channels]))
        shape = [draw(size), channels, draw(size), draw(size)]
        out = [shape[0], channels, *shape[2:]]
        w = values([channels, channels // groups, 1, 1])
        bias = f", {values([channels])}" if draw(st.booleans()) else ""
        nodes.append(f"v0 = {kind} <group = {groups}> (x, {w}{bias})")
    elif kind == "Relu":
        shape = out = [draw(size) for _ in range(draw(st.integers(2, 4)))]
        nodes.append("v0 = Relu (x)")
    else:
        rows, inputs = draw(size), draw(size)
        out = [rows, channels]
        if kind == "MatMul":
            shape = [rows, inputs]
            nodes.append(f"v0 = MatMul (x, {values([inputs, channels])})")
        else:
            a, b = draw(st.integers(0, 1)), draw(st.integers(0, 1))
            shape = [inputs, rows] if a else [rows, inputs]
            w = values([channels, inputs] if b else [inputs, channels])
            c = f", {values(broadcastable(draw, out))}" if opset < 11 or draw(st.booleans()) else ""
            nodes.append(f"v0 = Gemm <transA = {a}, transB = {b}, alpha = 0.5, beta = 1.5> (x, {w}{c})")
    for i in range(draw(st.integers(1, 3))):
        step = draw(st.sampled_from(["BatchNormalization", "Add", "Sub", "Mul", "Div"]))
        if step == "BatchNormalization":
            parameters = [values([out[1]]) for _ in range(4)]
            weights[parameters[3]] = np.abs(weights[parameters[3]]) + np.float32(0.2)
            nodes.append(f"v{i + 1} = BatchNormalization (v{i}, {', '.join(parameters)})")
            continue
        shape_of_it = broadcastable(draw, out, grows=True)
        other = values(shape_of_it)
        weights[other] = weights[other] + np.copysign(np.float32(0.2), weights[other])
        pair = f"(v{i}, {other})" if draw(st.booleans()) else f"({other}, v{i})"
        nodes.append(f"v{i + 1} = {step} {pair}")
        out = list(np.broadcast_shapes(tuple(out), tuple(shape_of_it)))
    nodes.append(f"y = Identity (v{len(nodes) - 1})")
    return graph(f"float[{','.join(map(str, shape))}] x => float y", " ".join(nodes), weights, opset)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(model=networks())
def test_no_folding_changes_what_a_graph_computes(model):
    assert_unchanged(model)


@st.composite
def padded(draw) -> onnx.ModelProto:
    """A Pad in front of a convolution."""
    value = draw(st.sampled_from(["", ", zero", ", one"]))
    mode = draw(st.sampled_from(["constant", "reflect", "edge"]))
    channels_too = mode == "constant" and draw(st.integers(0, 3)) == 0
    pads = [draw(st.integers(0, 2)) if axis % 4 > 1 or channels_too else 0 for axis in range(8)]
    own = draw(st.sampled_from(["pads = [0, 1, 2, 0]", "auto_pad = \"SAME_UPPER\"", "auto_pad = \"VALID\"", "strides = [2, 2]"]))
    weights = {"p": np.array(pads), "zero": np.float32(0), "one": np.float32(1), "w": normal(3, 3 + pads[1] + pads[5], 3, 3)}
    nodes = f'a = Pad <mode = "{mode}"> (x, p{value}) y = Conv <{own}> (a, w)'
    return graph("float[1,3,5,6] x => float y", nodes, weights)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(model=padded())
def test_padding_that_joins_a_convolution_stays_the_same_padding(model):
    assert_unchanged(model)


NORM = "y = BatchNormalization (z, s, b, m, v)"


@pytest.mark.parametrize("c", [(3,), (1, 3), (3, 1), (3, 3), (1, 1), (1,), ()], ids=str)
@pytest.mark.parametrize(
    "layer, kept",
    [
        ("z = Gemm <beta = 2.0> (x, w, c)", ["Gemm"]),
        ("p = MatMul (x, w) z = Add (p, c)", ["MatMul", "Add"]),
        ("p = MatMul (x, w) z = Add (c, p)", ["MatMul", "Add"]),
    ],
)
def test_what_a_dense_layer_adds_may_be_of_any_shape(layer, kept, c):
    weights = {"w": normal(4, 3), "c": normal(*c) if c else np.float32(0.3)}
    weights |= {key: np.abs(normal(3, seed=i)) + np.float32(0.5) for i, key in enumerate("sbmv")}
    assert assert_unchanged(graph("float[3,4] x => float y", f"{layer} {NORM}", weights)) == kept


def test_what_would_not_be_finite_is_not_folded():
    weights = {"w": normal(3, 4, 1, 1) * np.float32(1e30), "tiny": np.float32(1e-30), "large": np.full((3, 1, 1), 1e30, "float32")}
    model = graph("float[1,4,2,2] x => float y", "a = Mul (x, tiny) z = Conv (a, w) y = Mul (z, large)", weights)
    assert assert_unchanged(model) == ["Mul", "Conv", "Mul"]


def test_division_by_zero_is_not_folded():
    weights = {"w": normal(3, 4, 1, 1), "d": np.zeros((3, 1, 1), "float32")}
    model = graph("float[1,4,2,2] x => float y", "z = Conv (x, w) y = Div (z, d)", weights)
    assert [node.op_type for node in load(model).onnx.graph.node] == ["Conv", "Div"]
