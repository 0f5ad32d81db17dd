"""NaN and infinity are found wherever they are, and large numbers are neither."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import tenfold
from onnx import TensorProto, helper
from tenfold.errors import TenfoldError
from tenfold.runner.finite import FEW, LANES, MANY, TASKS, all_finite

STRIPE = TASKS * LANES


@pytest.mark.parametrize("size", [1, FEW, FEW + 1, 100_003])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_are_checked_to_their_last_number(size, value):
    array = np.ones(size, "float32")
    assert all_finite(array)
    for at in {0, size // 2, size - 1}:
        array[at] = value
        assert not all_finite(array)
        array[at] = 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("size", [2, FEW + 2])
def test_infinities_that_cancel_are_seen_and_large_numbers_are_none(dtype, size):
    array = np.full(size, np.finfo(dtype).max, dtype)
    assert all_finite(array) and all_finite(-array)
    array[0], array[-1] = np.inf, -np.inf
    assert not all_finite(array)


def test_what_can_only_be_finite_is_not_checked():
    assert all_finite(np.arange(3)) and all_finite(np.zeros(3, bool)) and all_finite(np.zeros((0, 4), "float32"))


@pytest.fixture(scope="module")
def relu(tmp_path_factory):
    """A network whose input is large enough for the kernel, and no multiple of what it takes at once."""
    path = tmp_path_factory.mktemp("relu") / "relu.onnx"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 5, MANY // 5 + 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return tenfold.compile(path)


def test_large_inputs_are_checked_by_a_kernel(relu):
    called = []
    kernel = relu._machine._partial_sums
    raw = np.ones(5 * (MANY // 5 + 3) + 1, "float32")
    for array in (raw[:-1], raw[1:]):
        assert all_finite(array, lambda *args: called.append(kernel(*args)))
        for at in (0, 1, STRIPE - 1, STRIPE, array.size // 2, array.size - array.size % STRIPE - 1, -1):
            for value in (np.nan, np.inf, -np.inf):
                array[at] = value
                assert not all_finite(array, kernel)
            array[at] = 1
    assert len(called) == 2
    array[:] = np.finfo("float32").max
    assert all_finite(array, kernel)
    array[0], array[-1] = np.inf, -np.inf
    assert not all_finite(array, kernel)


def test_a_network_refuses_one_bad_number_among_many(relu):
    x = np.random.default_rng(0).standard_normal(relu.inputs[0].shape).astype("float32")
    np.testing.assert_array_equal(relu(x), np.maximum(x, 0))
    x.reshape(-1)[-1] = np.nan
    with pytest.raises(TenfoldError, match="'x' holds NaN or infinity"):
        relu(x)


def test_networks_with_small_inputs_have_no_such_kernel(tiny_artifact):
    assert tenfold.load(tiny_artifact)._machine._partial_sums is None
