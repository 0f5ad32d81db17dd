"""A batch in pieces: the same results, or no pieces where an operator may mix images."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tenfold.codegen.batch_split import count_pieces, with_batch
from tenfold.frontends import load
from tenfold.passes.inventory import inventory
from tenfold.runner.bench.profile import profile
from tenfold.support.errors import TenfoldError

BATCH = 6


def model(nodes, shape, constants=None, results=None):
    """An ONNX model x -> y, or more `results`, of nodes as (operator, inputs, outputs, attributes)."""
    made = [helper.make_node(op, ins, outs, name=f"n{i}", **attrs) for i, (op, ins, outs, attrs) in enumerate(nodes)]
    weights = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    outputs = [helper.make_empty_tensor_value_info(name) for name in results or ["y"]]
    graph = helper.make_graph(made, "net", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)], outputs, weights)
    net = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnx.shape_inference.infer_shapes(net)


def random_weights(rng, **shapes):
    return {name: rng.standard_normal(shape).astype("float32") / 4 for name, shape in shapes.items()}


def network(seed, batch, channels, filters, size, kernel, stride):
    """Residual, pooled and joined branches, flattened into a dense layer, softmax; a second output from the middle."""
    pad, rng = [kernel // 2] * 4, np.random.default_rng(seed)
    constants = random_weights(rng, w=(filters, channels, kernel, kernel), b=(filters,), u=(filters, filters, 1, 1), r=(3, 1, 1))
    nodes = [
        ("Conv", ["x", "w", "b"], ["c"], {"pads": pad, "strides": [stride, stride]}), ("Relu", ["c"], ["d"], {}),
        ("Conv", ["d", "u"], ["e"], {}), ("Add", ["d", "e"], ["f"], {}),
        ("MaxPool", ["f"], ["p"], {"kernel_shape": [2, 2], "strides": [1, 1]}),
        ("AveragePool", ["e"], ["q"], {"kernel_shape": [2, 2], "strides": [1, 1]}),
        ("Concat", ["p", "q"], ["j"], {"axis": 1}), ("Flatten", ["j"], ["g"], {}), ("MatMul", ["g", "m"], ["h"], {}),
        ("Softmax", ["h"], ["y"], {"axis": -1}), ("GlobalAveragePool", ["f"], ["z"], {}),
    ]
    out = (size + 2 * (kernel // 2) - kernel) // stride + 1
    constants["m"] = rng.standard_normal((2 * filters * (out - 1) ** 2, 5)).astype("float32") / 8
    del constants["r"]
    return model(nodes, [batch, channels, size, size], constants, ["y", "z"])


def reference(net, x):
    return onnxruntime.InferenceSession(net.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), st.sampled_from([2, 3, 6]), st.integers(1, 5), st.sampled_from([3, 8, 16]), st.integers(5, 9),
       st.sampled_from([1, 3]), st.sampled_from([1, 2]))
def test_the_same_results_in_pieces(tmp_path_factory, seed, pieces, channels, filters, size, kernel, stride):
    net = network(seed, BATCH, channels, filters, size, kernel, stride)
    path = tmp_path_factory.mktemp("pieces") / "net.onnx"
    onnx.save(net, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenfold.codegen.batch_split.count_pieces", lambda mod, target: pieces)
        compiled = tenfold.compile(path)
    assert compiled.manifest.pieces in (pieces, 1) and compiled.inputs[0].shape[0] == BATCH
    x = np.random.default_rng(seed + 1).standard_normal((BATCH, channels, size, size)).astype("float32")
    for ours, expected in zip(compiled({"x": x}), reference(net, x), strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


@pytest.fixture
def in_pieces(tmp_path, monkeypatch):
    """Convolutions alone: a straight line of kernels, in three pieces."""
    rng = np.random.default_rng(0)
    constants = random_weights(rng, w=(16, 3, 3, 3), u=(8, 16, 1, 1))
    nodes = [("Conv", ["x", "w"], ["c"], {}), ("Relu", ["c"], ["d"], {}), ("Conv", ["d", "u"], ["y"], {})]
    net = model(nodes, [BATCH, 3, 12, 12], constants)
    onnx.save(net, tmp_path / "net.onnx")
    monkeypatch.setattr("tenfold.codegen.batch_split.count_pieces", lambda mod, target: 3)
    tenfold.compile(tmp_path / "net.onnx", output=tmp_path / "net")
    compiled = tenfold.load(tmp_path / "net")
    assert compiled.manifest.pieces == 3
    return net, compiled


def test_every_piece_is_computed_and_looked_at(in_pieces):
    net, compiled = in_pieces
    x = np.random.default_rng(1).standard_normal((BATCH, 3, 12, 12)).astype("float32")
    np.testing.assert_allclose(compiled(x), reference(net, x)[0], atol=1e-5)
    for image in range(BATCH):
        bad = x.copy()
        bad[image, 2, 11, 11] = np.nan
        with pytest.raises(TenfoldError, match="NaN"):
            compiled(bad)
    np.testing.assert_allclose(compiled(x), reference(net, x)[0], atol=1e-5)


def test_a_profile_adds_up_the_pieces(in_pieces):
    _, compiled = in_pieces
    x = np.zeros((BATCH, 3, 12, 12), "float32")
    measured = profile(compiled, {"x": x}, runs=3)
    facts = compiled.manifest.kernels
    assert len(measured.kernels) == len(facts) and 3 * sum(fact["macs"] for fact in facts) == compiled.manifest.macs
    for fact, kernel in zip(facts, measured.kernels, strict=True):
        assert kernel.output[0] == BATCH // 3
        if fact["macs"]:
            assert kernel.gflops == pytest.approx(2 * 3 * fact["macs"] / kernel.ms / 1e6)


SQUARE = {"s": np.array([3, 2, 4, 4], "int64"), "w": np.ones((4, 4), "float32")}
MIXING = {
    "softmax over images": [("Softmax", ["x"], ["y"], {"axis": 0})],
    "a mean over images": [("ReduceMean", ["x"], ["y"], {"axes": [0], "keepdims": 1})],
    "a mean over everything": [("ReduceMean", ["x"], ["y"], {"keepdims": 1})],
    "images joined": [("Concat", ["x", "x"], ["y"], {"axis": 0})],
    "images as channels": [("Transpose", ["x"], ["y"], {"perm": [1, 0, 2, 3]})],
    "images split": [("Reshape", ["x", "s"], ["y"], {})],
    "images times images": [("Transpose", ["x"], ["t"], {"perm": [0, 1, 3, 2]}), ("MatMul", ["x", "t"], ["y"], {})],
    "parts of images": [("Split", ["x"], ["y", "z"], {"axis": 0})],
    "a row for each image": [("Add", ["x", "r"], ["y"], {})],
}


@pytest.mark.parametrize("name", MIXING)
def test_no_pieces_where_images_may_be_mixed(tmp_path, name):
    constants = {**SQUARE, "r": np.arange(BATCH, dtype="float32").reshape(-1, 1, 1, 1)}
    used = {each for _, ins, _, _ in MIXING[name] for each in ins}
    onnx.save(model(MIXING[name], [BATCH, 1, 4, 4], {k: v for k, v in constants.items() if k in used}), tmp_path / "net.onnx")
    assert with_batch(load(tmp_path / "net.onnx").mod, 2) is None


def test_a_piece_keeps_the_names_of_its_layers(tmp_path):
    onnx.save(network(0, BATCH, 3, 8, 8, 3, 1), tmp_path / "net.onnx")
    mod = load(tmp_path / "net.onnx").mod
    piece = inventory(with_batch(mod, 2))
    assert [replace(layer, batch=BATCH) for layer in piece] == inventory(mod) and {layer.batch for layer in piece} == {2}


def wide(tmp_path, batch, filters, size):
    """Two pointwise convolutions."""
    constants = random_weights(np.random.default_rng(0), w=(filters, filters, 1, 1), u=(filters, filters, 1, 1))
    net = model([("Conv", ["x", "w"], ["c"], {}), ("Conv", ["c", "u"], ["y"], {})], [batch, filters, size, size], constants)
    onnx.save(net, tmp_path / "net.onnx")
    return load(tmp_path / "net.onnx").mod


def test_pieces_that_fit_the_cache(tmp_path):
    target = named("zen4")  # of its 32 MiB of L3 a quarter
    assert count_pieces(wide(tmp_path, 16, 128, 64), target) == 16  # 2 MiB in, 2 MiB out, and weights besides
    assert count_pieces(wide(tmp_path, 16, 64, 64), target) == 8
    assert count_pieces(wide(tmp_path, 16, 16, 32), target) == 1  # all of it fits
    assert count_pieces(wide(tmp_path, 1, 128, 256), target) == 1
    assert count_pieces(wide(tmp_path, 7, 128, 64), target) == 7
    assert count_pieces(wide(tmp_path, 4, 1024, 16), target) == 1  # the weights take the room
    assert count_pieces(wide(tmp_path, 16, 128, 64), replace(target, l3_bytes=0)) == 1
