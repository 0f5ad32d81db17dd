"""NaN and infinity are found wherever they are in an input, and large numbers are neither."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import tenfold
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tenfold.support.errors import TenfoldError

SMALL, ODD, LARGE = 1, 12_293, 1_000_003  # numbers: the last are looked at by all threads
KINDS = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int32": TensorProto.INT32}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Makes a network that negates so many numbers; each is compiled once."""
    made = {}

    def make(size, dtype="float32", threads=2):
        if (size, dtype) not in made:
            path = tmp_path_factory.mktemp("negative") / "negative.onnx"
            values = [helper.make_tensor_value_info(name, KINDS[dtype], [size]) for name in "xy"]
            graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"], "negative")], "g", values[:1], values[1:])
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
            made[size, dtype] = tenfold.compile(path, threads=threads)
        return made[size, dtype]

    return make


def refused(net, x):
    with pytest.raises(TenfoldError, match="input 'x' holds NaN or infinity"):
        net(x)
    return True


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("size", [SMALL, ODD, LARGE])
def test_every_number_is_looked_at(network, size, dtype):
    net = network(size, dtype)
    x = np.random.default_rng(0).standard_normal(size).astype(dtype)
    np.testing.assert_array_equal(net(x), -x)
    for at in {0, size // 3, size // 2 - 1, size // 2, size - 1} - {-1}:
        for value in (np.nan, np.inf, -np.inf):
            kept, x[at] = x[at], value
            assert refused(net, x)
            x[at] = kept
    np.testing.assert_array_equal(net(x), -x)


@given(at=st.integers(0, ODD - 1), bits=st.integers(1, 2**23 - 1), sign=st.booleans())
def test_every_nan_is_one(network, at, bits, sign):
    x = np.zeros(ODD, "float32")
    x.view("uint32")[at] = 0x7F800000 | bits | sign << 31
    assert refused(network(ODD), x)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("size", [ODD, LARGE])
def test_the_largest_and_the_smallest_numbers_are_finite(network, size, dtype):
    net, limits = network(size, dtype), np.finfo(dtype)
    for value in (limits.max, limits.min, limits.tiny, 0.0):
        x = np.full(size, value, dtype)
        np.testing.assert_array_equal(net(x), -x)
    x = np.full(size, limits.max, dtype)
    x[0], x[-1] = np.inf, -np.inf  # they cancel in no sum
    assert refused(net, x)


def test_whole_numbers_are_not_looked_at(network):
    x = np.full(ODD, 0x7F800000, "int32")
    np.testing.assert_array_equal(network(ODD, "int32")(x), -x)


def test_which_of_several_inputs_it_is_is_said(tmp_path):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [5]) for name in "abcy"]
    nodes = [helper.make_node("Add", ["a", "b"], ["s"], "first"), helper.make_node("Mul", ["s", "c"], ["y"], "second")]
    graph = helper.make_graph(nodes, "g", values[:3], values[3:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "three.onnx")
    net = tenfold.compile(tmp_path / "three.onnx")
    inputs = {name: np.arange(5, dtype="float32") for name in "abc"}
    for name in "abc":
        bad = {**inputs, name: np.array([0, 1, np.inf, 3, 4], "float32")}
        with pytest.raises(TenfoldError, match=f"input '{name}' holds NaN or infinity"):
            net(bad)
    np.testing.assert_array_equal(net(inputs), [0, 2, 8, 18, 32])
