"""The first engine that can run a model as it was given is its reference; what engines can't run, another one can."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend_checks import graph, normal
from onnx import TensorProto, numpy_helper
from tenfold.frontends.reference import Reference, evaluate_path
from tenfold.frontends.reference import evaluator as evaluators
from tenfold.frontends.reference.double import tail_of
from tenfold.frontends.reference.padding import with_explicit_pads
from tenfold.frontends.reference.retype import retyped
from tenfold.frontends.reference.session import session_run
from tenfold.support.errors import TenfoldError

X = normal(1, 4, 9, 10)


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize(("dilation", "stride"), [(2, 1), (3, 2), (2, 3)])
def test_padding_that_onnx_runtime_does_not_know(lower, dilation, stride, capfd):
    F = pytest.importorskip("torch").nn.functional
    import torch

    weight, kind = normal(5, 4, 3, 2), "SAME_LOWER" if lower else "SAME_UPPER"
    text = f'y = Conv <auto_pad = "{kind}", dilations = [{dilation}, {dilation}], strides = [{stride}, {stride}]> (x, w)'
    reference = Reference.of_onnx(graph("float[1,4,9,10] x => float y", text, {"w": weight}))
    (y,) = reference({"x": X})
    assert reference.name == "onnxruntime, with explicit pads"
    pads = []
    for size, kernel in ((10, 2), (9, 3)):  # as torch wants them: the last axis first
        total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
        pads += [total - total // 2, total // 2] if lower else [total // 2, total - total // 2]
    expected = F.conv2d(F.pad(torch.from_numpy(X), pads), torch.from_numpy(weight), stride=stride, dilation=dilation).numpy()
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_explicit_pads_of_pools_and_unknown_sizes():
    model = graph("float[1,4,9,10] x => float y", 'y = MaxPool <auto_pad = "SAME_LOWER", kernel_shape = [4, 4], strides = [2, 2]> (x)')
    (expected,) = session_run(model)({"x": X})
    np.testing.assert_array_equal(session_run(with_explicit_pads(model, {"x": X.shape}))({"x": X})[0], expected)
    asked = graph("float[1,4,h,w] x => float y", 'y = MaxPool <auto_pad = "SAME_LOWER", kernel_shape = [4, 4]> (x)')
    assert with_explicit_pads(asked, {}).graph.node == asked.graph.node


def test_float64_goes_to_onnx_reference():
    model = graph("double[1,4,9,10] x => double y", "y = Conv (x, w)", {"w": normal(5, 4, 3, 3).astype("float64")})
    reference = Reference.of_onnx(model)
    (y,) = reference({"x": X.astype("float64")})
    assert reference.name == "onnx.reference" and y.dtype == np.float64
    np.testing.assert_allclose(session_run(retyped(model, TensorProto.FLOAT))({"x": X})[0], y, rtol=0, atol=1e-5)


def test_what_onnx_reference_is_too_slow_for_runs_in_float32(monkeypatch):
    monkeypatch.setattr(evaluators, "MACS_PER_SECOND", 1.0)
    model = graph("double[1,4,9,10] x => double y", "y = Conv (x, w)", {"w": normal(5, 4, 3, 3).astype("float64")})
    reference = Reference.of_onnx(model)
    (y,) = reference({"x": X.astype("float64")})
    assert reference.name == "onnxruntime, in float32" and y.dtype == np.float64


def test_bfloat16_runs_in_float32():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    model = graph("float[1,4,9,10] x => float y", "a = Cast <to = 16> (x) b = Conv (a, w) y = Cast <to = 1> (b)", {})
    weight = normal(5, 4, 3, 3).astype(ml_dtypes.bfloat16)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    reference = Reference.of_onnx(model)
    (y,) = reference({"x": X})
    assert reference.name == "onnxruntime, in float32" and y.dtype == np.float32
    plain = graph("float[1,4,9,10] x => float y", "y = Conv (x, w)", {"w": weight.astype("float32")})
    np.testing.assert_allclose(y, session_run(plain)({"x": X})[0], rtol=0, atol=1e-6)


def test_when_no_engine_runs_the_model_each_says_why(monkeypatch, capfd):
    monkeypatch.setattr(evaluators, "MACS_PER_SECOND", 1.0)
    text = 'y = Conv <auto_pad = "SAME_LOWER", dilations = [2, 2], kernel_shape = [5, 5]> (x, w)'
    reference = Reference.of_onnx(graph("float[1,4,9,10] x => float y", text, {"w": normal(5, 4, 3, 3)}))
    with pytest.raises(TenfoldError, match="no reference can run .*onnxruntime: .*explicit pads: .*onnx.reference: it takes more than"):
        reference({"x": X})
    assert capfd.readouterr() == ("", "")


def test_an_input_that_the_model_has_not_is_refused():
    """onnx.reference would take it for a new value of the weight."""
    reference = Reference.of_onnx(graph("double[1,4,9,10] x => double y", "y = Conv (x, w)", {"w": normal(5, 4, 3, 3).astype("float64")}))
    with pytest.raises(TenfoldError, match="no input 'w'"):
        reference({"x": X.astype("float64"), "w": normal(5, 4, 3, 3).astype("float64")})


@pytest.mark.parametrize(("opset", "text"), [(6, "y = Relu (x)"), (11, "y = Softmax <axis = 1> (x)")])
def test_operators_that_onnx_reference_takes_for_newer_ones(opset, text):
    with pytest.raises(TenfoldError, match=f"of opset {opset} as newer ones"):
        evaluators.evaluator_run(graph("float[1,4,9,10] x => float y", text, opset=opset))


MODEL = graph(
    "float[1,4,9,10] x => float y, float z",
    """
    c = Conv (x, w) r = Relu (c) g = GlobalAveragePool (r)
    k = Constant <value_float = 2.0> () s = Mul (g, k) y = Sigmoid (s) z = Tanh (c)
    """,
    {"w": normal(5, 4, 3, 3)},
)


def test_the_tail_is_what_light_operators_compute_at_the_end():
    tail, begins = tail_of(MODEL)
    assert [node.op_type for node in tail.graph.node] == ["Constant", "Mul", "Sigmoid", "Tanh"] and begins == ["c", "g"]
    reference = Reference.of_onnx(MODEL)
    name, (y, z) = reference.tail_in_float64({"x": X})
    whole, (exact_y, exact_z) = reference.in_float64({"x": X})
    assert "Sigmoid" in name and "float64" in name and "float64" in whole
    assert y.dtype == z.dtype == exact_y.dtype == np.float64
    (near_y, near_z) = reference({"x": X})
    for close, values in ((1e-6, (y, exact_y, near_y)), (1e-5, (z, exact_z, near_z))):
        for value in values[1:]:
            np.testing.assert_allclose(value, values[0], rtol=0, atol=close)


def test_a_model_that_ends_in_a_layer_has_no_tail():
    reference = Reference.of_onnx(graph("float[1,4,9,10] x => float y", "y = Conv (x, w)", {"w": normal(5, 4, 3, 3)}))
    with pytest.raises(TenfoldError, match="nothing follows"):
        reference.tail_in_float64({"x": X})


def test_inner_values_by_name():
    values = Reference.of_onnx(MODEL).values(["x", "r", "c"], {"x": X})
    np.testing.assert_array_equal(values["x"], X)
    np.testing.assert_array_equal(values["r"], np.maximum(values["c"], 0))


def test_retyping_goes_through_constants_casts_and_branches():
    text = """
        k = Constant <value_float = 0.5> ()  h = Cast <to = 10> (x)  i = Cast <to = 7> (h)  f = Cast <to = 1> (i)  a = Mul (f, k)
        t = Constant <value = bool {1}> ()
        y = If (t) <then_branch = g1 () => (float u) { u = Identity (a) },
                    else_branch = g2 () => (float v) { v = Constant <value = float {1.0}> () }>
    """
    model = graph("float[4] x => float y", text)
    double = retyped(model, TensorProto.DOUBLE)
    x = np.array([1.2, 2.7, -3.9, 1e3])
    (y,) = evaluators.evaluator_run(double)({"x": x})
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, np.trunc(x) / 2)
    np.testing.assert_array_equal(session_run(double)({"x": x})[0], y)


def test_a_path_of_nodes_is_evaluated_with_its_constants():
    text = "h = Constant <value_float = 200.0> () l = Constant <value_float = 0.0> () c = Clip (x, l, h) y = Cast <to = 2> (c)"
    model = graph("float[4] x => uint8 y", text)
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    np.testing.assert_array_equal(evaluate_path(model, nodes, np.array([-1, 2.5, 300], "float32")), np.array([0, 2, 200], "uint8"))


def test_the_inside_of_a_file_is_read_as_the_file_was(tmp_path):
    """Weights beside the model, and both links to blobs, as a download cache lays them out."""
    from tenfold.frontends import load

    blobs, cache = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    cache.mkdir()
    model = graph("float[1,4,9,10] x => float y", "c = Conv (x, w) y = Sigmoid (c)", {"w": normal(5, 4, 3, 3)})
    onnx.save(model, blobs / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    for name in ("m.onnx", "w.bin"):
        (blobs / name).rename(blobs / f"{name}.blob")
        (cache / name).symlink_to(blobs / f"{name}.blob")
    net = load(cache / "m.onnx")
    np.testing.assert_allclose(net.run_reference.in_float64({"x": X})[1][0], net.reference({"x": X})[0], rtol=0, atol=1e-6)
