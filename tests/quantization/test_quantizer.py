"""Quantizers: what they lose inside their range and do outside it, and that they are ONNX's."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from tenfold.quantization import ACTIVATIONS, Quantizer

numbers = st.floats(-1e6, 1e6, width=32)
dtypes = st.sampled_from(ACTIVATIONS)


@given(numbers, numbers, dtypes, st.integers(0, 2**32 - 1))
def test_inside_the_range_half_a_step_is_lost_at_most(a, b, dtype, seed):
    quantizer = Quantizer.of_range(min(a, b), max(a, b), dtype)
    x = np.random.default_rng(seed).uniform(quantizer.low, quantizer.high, 100).astype("float32")
    rounding = 4 * np.finfo(np.float32).eps * max(-quantizer.low, quantizer.high)
    assert np.abs(quantizer.round_trip(x) - x).max() <= quantizer.scale / 2 + rounding


@given(numbers, numbers, dtypes)
def test_the_range_asked_for_is_represented_to_half_a_step(a, b, dtype):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    quantizer = Quantizer.of_range(low, high, dtype)
    room = quantizer.scale * 0.51 if high - low > 1e-30 else 2.0
    assert quantizer.low <= low + room and quantizer.high >= high - room


@given(numbers, numbers, dtypes)
def test_outside_it_saturates_and_zero_is_exact(a, b, dtype):
    quantizer = Quantizer.of_range(min(a, b), max(a, b), dtype)
    assert quantizer.round_trip(np.float32([0.0]))[0] == 0
    beyond = np.float32([quantizer.low - 5 * quantizer.scale, quantizer.high + 5 * quantizer.scale, -3e38, 3e38])
    assert quantizer.quantize(beyond).tolist() == [*quantizer.bounds, *quantizer.bounds]


@pytest.mark.parametrize("dtype", ACTIVATIONS)
def test_a_range_without_negative_numbers_makes_saturation_a_relu(dtype):
    quantizer = Quantizer.of_range(0.5, 3.0, dtype)
    assert quantizer.zero_point == np.iinfo(dtype).min and quantizer.low == 0
    assert (quantizer.round_trip(np.float32([-1e9, -1.0, -1e-9])) == 0).all()


@pytest.mark.parametrize("low, high", [(0, 0), (1e-45, 0), (-1e-44, 1e-44)])
def test_where_all_is_zero_there_is_a_step_all_the_same(low, high):
    assert Quantizer.of_range(low, high).scale == 1 and Quantizer.of_range(low, high).round_trip(np.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ACTIVATIONS)
def test_it_does_what_onnx_says(dtype):
    quantizer = Quantizer.of_range(-1.3, 2.9, dtype)
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.INT8
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    zero = helper.make_tensor("z", kind, [], [quantizer.zero_point])
    constants = [helper.make_tensor("s", TensorProto.FLOAT, [], [quantizer.scale]), zero]
    outputs = [helper.make_tensor_value_info("q", kind, [None]), helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    x = np.random.default_rng(0).normal(0, 2, 1000).astype("float32")
    q, y = ReferenceEvaluator(model).run(None, {"x": x})
    assert (quantizer.quantize(x) == q).all() and quantizer.quantize(x).dtype == q.dtype
    np.testing.assert_allclose(quantizer.dequantize(q), y, rtol=1e-6)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="dtype 'int4' is none of uint8, int8"):
        Quantizer.of_range(0, 1, "int4")
    with pytest.raises(ValueError, match="not finite"):
        Quantizer.of_range(0, np.inf)
