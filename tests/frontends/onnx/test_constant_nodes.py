"""No node that depends on no input stays in the graph: weights behind quantization, standardisation, splits are weights."""
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from frontend_checks import assert_same, example, graph, normal
from onnx import helper, numpy_helper
from tenfold.frontends import load
from tenfold.frontends.onnx import constant_nodes, normalize
from tenfold.passes.inventory import inventory
from tenfold.support.errors import TenfoldError, TenfoldWarning

SCALES, ZEROS = np.abs(normal(6)) * np.float32(0.01) + np.float32(0.01), np.arange(6)
INT8 = (normal(6, 4, 3, 3) * 40).round().clip(-128, 127)


def assert_plain(model: onnx.ModelProto, kept: list[str], tolerance: float = 1e-5) -> None:
    """Only these operators are left, all layers can be factored, and ONNX Runtime computes the same."""
    net = load(model)
    assert [node.op_type for node in net.onnx.graph.node] == kept
    x = example(net)
    session = onnxruntime.InferenceSession(net.onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    assert_same(session.run(None, x), net.reference(x), [spec.name for spec in net.outputs], tolerance)
    assert [layer.reason for layer in inventory(net.mod)] == [None] * (kept.count("Conv") + kept.count("Gemm"))


def quantized(nodes: str, opset: int, weights: dict[str, np.ndarray], shape: str = "1,4,6,6", domain: str = "") -> onnx.ModelProto:
    model = graph(f"float[{shape}] x => float y", nodes, weights, opset)
    for node in model.graph.node:
        if domain and node.op_type.endswith("Linear"):
            node.domain = domain
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


@pytest.mark.parametrize("opset", [10, 13, 19, 21])
@pytest.mark.parametrize(
    "q, zero",
    [(INT8.astype("int8"), np.int8(3)), ((INT8 + 128).astype("uint8"), np.uint8(128)), (INT8.astype("int8"), None)],
    ids=["int8", "uint8", "no zero point"],
)
def test_a_weight_quantized_as_a_whole(opset, q, zero):
    weights = {"q": q, "s": np.float32(0.02)} | ({} if zero is None else {"z": zero})
    nodes = f"w = DequantizeLinear (q, s{'' if zero is None else ', z'}) y = Conv (x, w)"
    assert_plain(quantized(nodes, opset, weights), ["Conv"])


@pytest.mark.parametrize("opset", [13, 19, 21])
@pytest.mark.parametrize("axis, scales", [(0, SCALES), (-4, SCALES), (1, SCALES[:4])])
def test_a_weight_quantized_by_channel(opset, axis, scales):
    weights = {"q": INT8.astype("int8"), "s": scales, "z": ZEROS[: len(scales)].astype("int8")}
    assert_plain(quantized(f"w = DequantizeLinear <axis = {axis}> (q, s, z) y = Conv (x, w)", opset, weights), ["Conv"])


def test_the_default_axis_is_1():
    weights = {"q": INT8[:4].astype("int8"), "s": SCALES[:4]}
    assert_plain(quantized("w = DequantizeLinear (q, s) y = Conv (x, w)", 13, weights), ["Conv"])


@pytest.mark.parametrize("axis, block", [(0, 3), (1, 2), (0, 4)])  # the last block of four is cut short
def test_a_weight_quantized_in_blocks(axis, block):
    q = (normal(6, 4) * 40).round().clip(-128, 127).astype("int8")
    shape = [-(-6 // block), 4] if axis == 0 else [6, -(-4 // block)]
    weights = {"q": q, "s": np.abs(normal(*shape)) * np.float32(0.02)}
    nodes = f"w = DequantizeLinear <axis = {axis}, block_size = {block}> (q, s) y = Gemm (x, w)"
    net = load(quantized(nodes, 21, weights, "2,6"))
    (weight,) = (numpy_helper.to_array(tensor) for tensor in net.onnx.graph.initializer)
    np.testing.assert_allclose(weight, q * weights["s"].repeat(block, axis).take(range(q.shape[axis]), axis), rtol=1e-6)
    assert [layer.reason for layer in inventory(net.mod)] == [None]


@pytest.mark.parametrize("kind", ["int4", "uint4"])
def test_a_weight_of_four_bits(kind):
    low = -8 if kind == "int4" else 0
    q = np.random.default_rng(0).integers(low, low + 16, (6, 5)).astype(getattr(ml_dtypes, kind))
    net = load(quantized("w = DequantizeLinear <axis = 1> (q, s) y = Gemm (x, w)", 21, {"q": q, "s": SCALES[:5]}, "2,6"))
    (weight,) = (numpy_helper.to_array(tensor) for tensor in net.onnx.graph.initializer)
    np.testing.assert_allclose(weight, q.astype("float32") * SCALES[:5], rtol=1e-6)  # ONNX Runtime multiplies in eight bits here


@pytest.mark.parametrize("opset, domain", [(13, ""), (13, "com.microsoft"), (17, "com.microsoft")])
def test_quantized_and_back(opset, domain):
    nodes = "q = QuantizeLinear <axis = 0> (f, s, z) w = DequantizeLinear <axis = 0> (q, s, z) t = Transpose (w) y = Gemm (x, t)"
    weights = {"f": normal(6, 4), "s": SCALES * 3, "z": ZEROS.astype("int8")}
    assert_plain(quantized(nodes, opset, weights, "2,4", domain), ["Gemm"])


def test_quantizing_saturates_and_rounds_half_to_even():
    f, expected = np.float32([[-1e9, -1.25, -0.25, 0.25, 0.75, 1.25, 1e9]]), [0, 8, 10, 10, 12, 12, 255]
    nodes = "q = QuantizeLinear (f, s, z) y = Cast <to = 6> (q) z2 = Relu (x)"
    net = load(graph("float[1] x => int32 y, float z2", nodes, {"f": f, "s": np.float32(0.5), "z": np.uint8(10)}, 13))
    (y,) = [numpy_helper.to_array(tensor) for tensor in net.onnx.graph.initializer]
    assert y.tolist() == [expected]


@pytest.mark.parametrize("opset, outputs", [(9, "d, m2, v2, m3, v3"), (13, "d, m2, v2, m3, v3"), (14, "d, m2, v2"), (15, "d, m2, v2")])
def test_a_weight_that_is_standardised_by_a_batch_norm(opset, outputs):
    mode = " <training_mode = 1, epsilon = 0.001>" if opset > 13 else " <epsilon = 0.001>"
    nodes = f"a = Reshape (w0, flat) {outputs} = BatchNormalization{mode} (a, g, b, m, v) w = Reshape (d, full) y = Conv (x, w)"
    weights = {"w0": normal(6, 4, 3, 3), "flat": np.array([1, 6, -1]), "full": np.array([6, 4, 3, 3]), "g": SCALES * 50, "b": normal(6)}
    weights |= {"m": np.zeros(6, "float32"), "v": np.ones(6, "float32")}
    assert_plain(graph("float[1,4,6,6] x => float y", nodes, weights, opset), ["Conv"], 1e-4)


@pytest.mark.parametrize("opset", [9, 13])
def test_a_batch_norm_of_a_constant_in_inference_mode_uses_its_own_statistics(opset):
    nodes = "w = BatchNormalization (w0, g, b, m, v) y = Conv (x, w)"
    weights = {"w0": normal(6, 4, 3, 3), **{key: np.abs(normal(4, seed=i)) + np.float32(0.1) for i, key in enumerate("gbmv")}}
    assert_plain(graph("float[1,4,6,6] x => float y", nodes, weights, opset), ["Conv"])


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_a_weight_that_is_standardised_by_arithmetic(opset):
    """As of BiT: (w - mean) / sqrt(variance + epsilon), the mean over all but the first axis."""
    mean = "ReduceMean <axes = [1, 2, 3]> ({})" if opset < 18 else "ReduceMean ({}, axes)"
    nodes = f"""
    m = {mean.format('w0')} c = Sub (w0, m) c2 = Mul (c, c) v = {mean.format('c2')} ve = Add (v, eps) sd = Sqrt (ve)
    w1 = Div (c, sd) sh = Shape (w0) w = Reshape (w1, sh) y = Conv (x, w)
    """
    weights = {"w0": normal(6, 4, 3, 3), "eps": np.float32(1e-5)} | ({"axes": np.array([1, 2, 3])} if opset >= 18 else {})
    assert_plain(graph("float[1,4,6,6] x => float y", nodes, weights, opset), ["Conv"])


@pytest.mark.parametrize("opset, outputs", [(9, "y, a, b, c, d"), (13, "y, a, b, c, d"), (15, "y, a, b")])
def test_a_batch_norm_of_the_data_in_training_mode_is_refused(opset, outputs):
    mode = " <training_mode = 1>" if opset > 13 else ""
    weights = {key: np.abs(normal(4, seed=i)) for i, key in enumerate("gnmv")}
    model = graph("float[1,4,6,6] x => float y", f"[bn] {outputs} = BatchNormalization{mode} (x, g, n, m, v)", weights, opset)
    with pytest.raises(TenfoldError, match=r"\(node 'bn'\) is a batch norm in training mode"):
        load(model)


def test_nodes_of_several_outputs():
    model = graph(
        "float[1,4,6,6] x => float y, float z",
        "a, b = Split <axis = 0> (w, parts) y = Conv (x, a) i, j = TopK <axis = 0> (row, one) k = Mul (x, i) z = Conv (k, b)",
        {"w": normal(6, 4, 3, 3), "parts": np.array([2, 4]), "row": normal(5), "one": np.array([1])},
    )
    assert_plain(model, ["Conv", "Mul", "Conv"])


def test_what_the_folder_of_onnxscript_chokes_on(monkeypatch):
    """It stops at the first node that surprises it; what comes after is folded all the same."""

    def surprised(*args, **options):
        raise RuntimeError("Error during constant folding")

    monkeypatch.setattr(normalize, "fold_constants", surprised)
    nodes = """
    w = Transpose <perm = [1, 0, 2, 3]> (wt) c = Conv (x, w) sh = Shape (c) n = Gather <axis = 0> (sh, zero) n1 = Unsqueeze (n, zeros)
    to = Concat <axis = 0> (n1, minus) y = Reshape (c, to)
    """
    weights = {"wt": normal(4, 6, 1, 1), "zero": np.array(0), "zeros": np.array([0]), "minus": np.array([-1])}
    assert_plain(graph("float[2,4,3,3] x => float y", nodes, weights), ["Conv", "Reshape"])


def test_a_constant_output():
    net = load(graph("float[2] x => float y, float k", "y = Relu (x) k = Neg (c)", {"c": normal(3)}))
    x = example(net)
    session = onnxruntime.InferenceSession(net.onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    assert_same(session.run(None, x), net.reference(x), ["y", "k"])


def test_what_can_not_be_computed_beforehand_is_told(monkeypatch):
    for engine in ("_in_reference", "_in_onnxruntime"):
        monkeypatch.setattr(constant_nodes, engine, lambda node, model: None)
    monkeypatch.setattr(constant_nodes, "OWN", {})
    nodes = "[dq] w = DequantizeLinear (q, s) y = Conv (x, w)"
    with pytest.warns(TenfoldWarning, match=r"operator DequantizeLinear \(node 'dq'\) depends on no input, but could not be computed"):
        load(quantized(nodes, 13, {"q": INT8.astype("int8"), "s": np.float32(0.1)}))


def test_random_numbers_are_not_a_constant():
    model = graph("float[2,3] x => float y", "r = RandomNormalLike (c) y = Add (x, r)", {"c": normal(2, 3)})
    assert [node.op_type for node in load(model).onnx.graph.node] == ["RandomNormalLike", "Add"]
