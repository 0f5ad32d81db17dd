"""Small models that were read wrong or missed once, through the commands: listed with their layers, compiled, compressed, or refused."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_checks import Outcome, tenfold
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(7)


def values(*shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype("float32")


def write(path: Path, nodes: list, weights: dict, shape: list, opset: int = 17, outputs: tuple[str, ...] = ("y",)) -> Path:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def row_of_gemm(path: Path) -> Path:
    """A C with one value a row, as many rows as columns, and a batch norm behind it."""
    norm = {key: np.abs(values(24)) + np.float32(0.5) for key in "sbmv"}
    nodes = [helper.make_node("Gemm", ["x", "w", "c"], ["g"], "fc"), helper.make_node("BatchNormalization", ["g", *"sbmv"], ["y"])]
    return write(path, nodes, {"w": values(48, 24), "c": values(24, 1), **norm}, [24, 48])


def quantized_weight(path: Path) -> Path:
    nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"]), helper.make_node("Conv", ["x", "w"], ["y"], "c", pads=[1] * 4)]
    q = rng.integers(-127, 127, (32, 16, 3, 3)).astype("int8")
    return write(path, nodes, {"q": q, "s": np.float32(0.01), "z": np.int8(0)}, [1, 16, 12, 12], 13)


def standardised_weight(path: Path) -> Path:
    ones = np.ones(32, "float32")
    nodes = [
        helper.make_node("Reshape", ["w0", "r"], ["a"]),
        helper.make_node("BatchNormalization", ["a", "g", "b", "m", "v"], ["d", "rm", "rv"], training_mode=1),
        helper.make_node("Reshape", ["d", "s"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"], "c"),
    ]
    shapes = {"r": np.array([1, 32, -1]), "s": np.array([32, 16, 3, 3])}
    return write(path, nodes, {"w0": values(32, 16, 3, 3), "g": ones, "b": 0 * ones, "m": 0 * ones, "v": ones, **shapes}, [1, 16, 9, 9], 15)


def free_batch(path: Path) -> Path:
    return write(path, [helper.make_node("Conv", ["x", "w"], ["y"], "c")], {"w": values(32, 16, 3, 3)}, [-1, 16, 12, 12])


def computed_weight(path: Path) -> Path:
    """The weight of the second convolution comes from the first."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], "c", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["h"], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["k"]),
        helper.make_node("Conv", ["h", "k"], ["y"], "dynamic"),
    ]
    return write(path, nodes, {"w": values(32, 16, 3, 3), "shape": np.array([1, 32, 1, 1])}, [1, 16, 12, 12])


def suppressed(path: Path) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], "c", pads=[1] * 4),
        helper.make_node("Reshape", ["h", "r"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most"], ["y"], "nms"),
    ]
    weights = {"w": values(32, 16, 3, 3), "r": np.array([1, 32, -1]), "boxes": np.abs(values(1, 144, 4)), "most": np.array([3])}
    return write(path, nodes, weights, [1, 16, 12, 12])


MODELS = {
    "gemm_row": (row_of_gemm, [], "fc"),
    "dequantized": (quantized_weight, [], "c"),
    "standardised": (standardised_weight, [], "c"),
    "batch": (free_batch, ["--batch", "2"], "c"),
    "computed": (computed_weight, [], "c"),
    "cut": (suppressed, ["--outputs", "scores"], "c"),
}


def good(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.mark.quick(1)
@pytest.mark.parametrize("make, options, layer", MODELS.values(), ids=MODELS)
def test_listed_compiled_and_compressed(make, options, layer, tmp_path):
    model = make(tmp_path / "net.onnx")
    good(tenfold("inspect", model, *options, "--json", tmp_path / "layers.json"))
    layers = {one["name"]: one for one in json.loads((tmp_path / "layers.json").read_text())["layers"]}
    assert layers[layer]["macs"] > 0 and layers[layer]["methods"] and layers[layer]["reason"] is None
    if make is computed_weight:
        assert layers["dynamic"]["macs"] == 12 * 12 * 32 and "its weight is computed" in layers["dynamic"]["reason"]
    good(tenfold("compile", model, "-o", tmp_path / "dense", *options))
    good(tenfold("compress", model, "-o", tmp_path / "small", "--energy", "0.8", *options))
    plan = json.loads((tmp_path / "small" / "plan.json").read_text())
    assert list(plan["layers"]) == [layer]
    good(tenfold("compile", model, "--plan", tmp_path / "small" / "plan.json", "-o", tmp_path / "factored", *options))


def test_what_is_said_of_a_free_batch(tmp_path):
    outcome = good(tenfold("inspect", free_batch(tmp_path / "net.onnx")))
    (line,) = outcome.err.splitlines()
    assert line.endswith("net.onnx: the first size of input 'x' is dynamic: taken as 1 (--batch N sets another)")
    assert good(tenfold("inspect", tmp_path / "net.onnx", "--input-shape", "x=3,16,12,12")).err == ""


def test_the_real_mismatch_is_told(tmp_path):
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"], "m")]
    outcome = tenfold("inspect", write(tmp_path / "net.onnx", nodes, {"w": values(8, 4)}, [1, 7]))
    assert outcome.code == 2 and outcome.complaint is None
    assert "operator MatMul (node 'm') can't take inputs of shapes [1,7] and [8,4]" in outcome.err


def test_the_hint_names_where_to_cut(tmp_path):
    model = suppressed(tmp_path / "net.onnx")
    outcome = tenfold("inspect", model)
    assert outcome.code == 2 and outcome.complaint is None
    assert "NonMaxSuppression" in outcome.err and "--outputs" in outcome.err
    assert onnx.load(model).graph.node[-1].op_type == "NonMaxSuppression"
