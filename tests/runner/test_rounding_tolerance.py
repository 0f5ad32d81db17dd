"""A tolerance measured in the reference: for networks that a rounding changes more than most."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import tenfold
from onnx import TensorProto, helper, numpy_helper
from tenfold.frontends.reference import Reference
from tenfold.frontends.reference.rounded import with_rounded_operands
from tenfold.runner.rounding_tolerance import rounding_tolerance
from tenfold.runner.tolerance import BFLOAT16_OPERANDS
from tenfold.runner.verify import compare_arrays
from tenfold.schedules.cpu.bfloat16.numbers import from_bfloat16, to_bfloat16
from tenfold.schedules.cpu.int8.isa import pair_dot_of
from tenfold.targets import resolve

ROWS, CHANNELS = 64, 256
LAYERS = ("a", "b", "c")


def sharp(factor: float, changed: int | None = None) -> onnx.ModelProto:
    """Three layers, and the softmax of their sums times a factor; of one layer a filter may be missing."""
    rng, nodes, constants, source = np.random.default_rng(0), [], [numpy_helper.from_array(np.float32(factor), "k")], "x"
    for number, name in enumerate(LAYERS):
        weight = rng.standard_normal((CHANNELS, CHANNELS), "float32") / 16
        weight[:, 7] *= number != changed
        constants.append(numpy_helper.from_array(weight, f"w{name}"))
        nodes.append(helper.make_node("MatMul", [source, f"w{name}"], [name], name))
        source = f"{name}r"
        nodes.append(helper.make_node("Relu", [name], [source]))
    nodes += [helper.make_node("Mul", [source, "k"], ["s"]), helper.make_node("Softmax", ["s"], ["y"], axis=-1)]
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, CHANNELS])] for name in "xy"]
    graph = helper.make_graph(nodes, "sharp", *ports, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


FEEDS = {"x": np.random.default_rng(1).standard_normal((ROWS, CHANNELS), "float32")}


def test_operands_are_rounded_and_nothing_else():
    model = sharp(1.0)
    before = model.SerializeToString()
    weights = [from_bfloat16(to_bfloat16(numpy_helper.to_array(tensor))).astype("float64") for tensor in model.graph.initializer[1:]]
    for weights_only in (False, True):
        [found] = Reference.of_onnx(with_rounded_operands(model, "bfloat16", weights_only))(FEEDS)
        value = FEEDS["x"].astype("float64")
        for weight in weights:
            value = np.maximum((value if weights_only else from_bfloat16(to_bfloat16(value)).astype("float64")) @ weight, 0)
        wanted = np.exp(value - value.max(-1, keepdims=True))
        # A value that float32 rounds to the other neighbour moves a sum by one product's rounding.
        np.testing.assert_allclose(found, wanted / wanted.sum(-1, keepdims=True), rtol=1e-2 if weights_only is False else 1e-4)
    assert model.SerializeToString() == before


def test_it_follows_the_network_and_finds_what_is_wrong():
    found = {factor: rounding_tolerance(Reference.of_onnx(sharp(factor)), [FEEDS], "bfloat16") for factor in (1.0, 60.0)}
    assert found[1.0].value < BFLOAT16_OPERANDS / 4 and BFLOAT16_OPERANDS < found[60.0].value < 0.25
    assert rounding_tolerance(Reference.of_onnx(sharp(1.0)), [FEEDS], "float16").value < found[1.0].value / 4
    assert rounding_tolerance(Reference.of_onnx(sharp(1.0)), [FEEDS], "tf32") is None
    [right] = Reference.of_onnx(sharp(60.0))(FEEDS)
    for layer in range(len(LAYERS) - 1):  # of the last, a missing filter may be one that the softmax lets be nothing
        [wrong] = Reference.of_onnx(sharp(60.0, layer))(FEEDS)
        assert not found[60.0].accepts(compare_arrays(wrong, right))


@pytest.mark.skipif(pair_dot_of(resolve("host")) is None, reason="no instructions for bfloat16")
def test_such_a_network_compiles(tmp_path):
    manifest = tenfold.compile(sharp(60.0), output=tmp_path / "out", precision="bfloat16").manifest
    check = manifest.verification
    assert check["max_rel_error"] <= check["tolerance"]
    if check["max_rel_error"] > BFLOAT16_OPERANDS:
        assert check["tolerance_reason"].startswith("4 times what rounding the operands")
