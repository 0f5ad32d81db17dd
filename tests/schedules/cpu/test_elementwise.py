"""Element-wise and injective functions against NumPy, over random shapes; and the loops that were promised."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_checks import AVX512, assembly, blocks, fused, kernel, noise, run, scheduled
from tenfold.schedules.cpu.common import vector_tile
from tvm import relax
from tvm.relax import op

few = settings(max_examples=10, deadline=None, derandomize=True)
channels = st.sampled_from([1, 2, 3, 8, 17, 40, 100, 131])
images = st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 20), channels)


def const(value):
    return relax.const(np.float32(value))


@few
@given(images)
def test_bias_and_activation(shape):
    x, bias = noise(*shape), noise(shape[-1], seed=1)
    np.testing.assert_array_equal(run(lambda x, b: op.nn.relu(op.add(x, b)), x, bias), np.maximum(x + bias, 0))


@few
@given(images, st.booleans())
def test_gate_of_a_channel(shape, nhwc):
    """Squeeze and excitation: sigmoid of a channel times the image, in either layout."""
    gate_shape = (shape[0], 1, 1, shape[3]) if nhwc else (shape[0], shape[1], 1, 1)
    x, gate = noise(*shape), noise(*gate_shape, seed=1)
    result = run(lambda x, g: op.multiply(x, op.sigmoid(g)), x, gate)
    np.testing.assert_allclose(result, x / (1 + np.exp(-gate.astype("float64"))), rtol=1e-6, atol=1e-7)


def test_activations():
    x = 3 * noise(2, 9, 7, 24)
    double = x.astype("float64")
    hardswish = run(lambda x: op.multiply(x, op.divide(op.clip(op.add(x, const(3)), 0, 6), const(6))), x)
    np.testing.assert_allclose(hardswish, double * np.clip(double + 3, 0, 6) / 6, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(run(op.nn.silu, x), double / (1 + np.exp(-double)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(run(lambda x: op.nn.leakyrelu(x, 0.1), x), np.where(x > 0, x, x * np.float32(0.1)), rtol=1e-6)


@few
@given(st.lists(st.sampled_from([1, 3, 8, 16, 17, 61, 160]), min_size=2, max_size=4), st.integers(0, 2))
def test_concatenation(lengths, axis):
    shapes = [tuple(n if i == axis else d for i, d in enumerate((4, 5, 6))) for n in lengths]
    inputs = [noise(*shape, seed=i) for i, shape in enumerate(shapes)]
    result = run(lambda *x: op.nn.relu(op.concat([op.nn.relu(x[0]), *x[1:]], axis)), *inputs)
    np.testing.assert_array_equal(result, np.maximum(np.concatenate(inputs, axis), 0))


@few
@given(st.permutations(range(4)), st.tuples(*[st.sampled_from([1, 2, 7, 8, 24])] * 4))
def test_permutes(order, shape):
    x = noise(*shape)
    np.testing.assert_array_equal(run(lambda x: op.nn.relu(op.permute_dims(x, list(order))), x), np.maximum(x.transpose(order), 0))


@pytest.mark.parametrize("shape, order", [((1, 14, 14, 64), (0, 3, 1, 2)), ((1, 64, 14, 14), (0, 2, 3, 1)), ((1, 3, 50, 50), (0, 2, 3, 1))])
def test_layout_permutes(shape, order):
    x = noise(*shape)
    np.testing.assert_array_equal(run(lambda x: op.permute_dims(x, order), x), x.transpose(order))


@few
@given(images, st.tuples(*[st.integers(0, 2)] * 6))
def test_padding(shape, widths):
    pads = [(0, 0), widths[:2], widths[2:4], widths[4:]]
    x = noise(*shape)
    np.testing.assert_array_equal(run(lambda x: op.nn.pad(x, [w for pair in pads for w in pair], pad_value=0.5), x),
                                  np.pad(x, pads, constant_values=0.5))


def test_slices_splits_and_reshapes():
    x = noise(2, 10, 9, 24)
    np.testing.assert_array_equal(run(lambda x: op.strided_slice(x, [1, 3], [1, 3], [9, 22], [2, 3]), x), x[:, 1:9:2, :, 3:22:3])
    np.testing.assert_array_equal(run(lambda x: relax.TupleGetItem(op.split(x, 3, 3), 1), x), x[..., 8:16])
    np.testing.assert_array_equal(run(lambda x: op.nn.relu(op.reshape(x, (20, 216))), x), np.maximum(x.reshape(20, 216), 0))
    np.testing.assert_array_equal(run(lambda x: op.flip(x, 3), x), x[..., ::-1])


def test_channel_shuffle():
    x = noise(1, 6, 6, 20)

    def shuffle(x):
        return op.reshape(op.permute_dims(op.reshape(x, (1, 6, 6, 2, 10)), [0, 1, 2, 4, 3]), (1, 6, 6, 20))

    np.testing.assert_array_equal(run(shuffle, x), x.reshape(1, 6, 6, 2, 10).swapaxes(3, 4).reshape(1, 6, 6, 20))


@pytest.mark.parametrize("shape, layout", [((1, 5, 6, 8), "NHWC"), ((1, 8, 5, 6), "NCHW"), ((1, 5, 6, 3), "NHWC")])
def test_nearest_resize(shape, layout):
    x = noise(*shape)
    height, width = (layout.index("H"), layout.index("W"))

    def resize(x):
        return op.image.resize2d(x, (10, 18), layout=layout, method="nearest_neighbor", coordinate_transformation_mode="asymmetric",
                                 rounding_method="floor")

    np.testing.assert_array_equal(run(resize, x), x.repeat(2, height).repeat(3, width))


def test_linear_resize():
    """Twice the size, half a pixel off: weights are 1/4 and 3/4."""
    x = noise(1, 6, 1, 8)
    result = run(lambda x: op.image.resize2d(x, (12, 1), layout="NHWC", method="linear"), x)
    before, after = np.concatenate([x[:, :1], x[:, :-1]], 1), np.concatenate([x[:, 1:], x[:, -1:]], 1)
    expected = np.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], 2).reshape(1, 12, 1, 8)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_gathers():
    x, rows = noise(30, 24), np.array([3, 29, 0, 3], "int64")
    np.testing.assert_array_equal(run(lambda x, i: op.take(x, i, 0), x, rows), x[rows])
    np.testing.assert_array_equal(run(lambda x, i: op.take(x, i, 1), x, np.array([5, 1, 23], "int64")), x[:, [5, 1, 23]])


def test_integers_and_booleans():
    x, y = noise(50), noise(50, seed=1)
    a, b = np.arange(-20, 30, dtype="int64"), np.arange(1, 51, dtype="int64")
    np.testing.assert_array_equal(run(lambda a, b: op.floor_divide(op.add(a, b), b), a, b), (a + b) // b)
    both = run(lambda x, y: op.logical_and(op.greater(x, y), op.logical_not(op.less(x, const(0)))), x, y)
    np.testing.assert_array_equal(both, (x > y) & ~(x < 0))
    np.testing.assert_array_equal(run(lambda x, y: op.where(op.greater(x, y), x, y), x, y), np.maximum(x, y))
    np.testing.assert_array_equal(run(lambda x: op.astype(op.multiply(x, const(10)), "int32"), x), (x * 10).astype("int32"))


@pytest.mark.parametrize("length", [1, 7, 1009, 100_003])
def test_prime_lengths(length):
    x = noise(length)
    np.testing.assert_array_equal(run(op.nn.relu, x), np.maximum(x, 0))


def test_scalars():
    assert run(op.add, np.float32(2) * np.ones((), "float32"), np.ones((), "float32")) == 3


def test_large_work_is_parallel_and_vectorised():
    mod = scheduled(fused(lambda x, b: op.nn.relu(op.add(x, b)), [(1, 56, 56, 256), (256,)]))
    assert "T.parallel" in kernel(mod) and "T.vectorized" in kernel(mod)
    assert len(blocks(mod)) == 1  # the sum never goes through memory


def test_small_work_is_serial():
    script = kernel(scheduled(fused(op.nn.relu, [(1, 7, 7, 64)])))
    assert "T.parallel" not in script and "T.vectorized" in script


def test_expensive_gate_is_computed_once_for_a_channel():
    mod = scheduled(fused(lambda x, g: op.multiply(x, op.sigmoid(g)), [(1, 56, 56, 64), (1, 1, 1, 64)]))
    assert len(blocks(mod)) == 2


def test_cheap_broadcast_is_inlined():
    mod = scheduled(fused(lambda x, g: op.multiply(x, op.add(g, const(1))), [(1, 56, 56, 64), (1, 1, 1, 64)]))
    assert len(blocks(mod)) == 1


@pytest.mark.parametrize("lengths", [(64, 32, 32), (61, 35, 32)])
def test_concatenation_has_a_loop_for_each_operand(lengths):
    mod = scheduled(fused(lambda *x: op.concat(list(x), 3), [(1, 8, 8, n) for n in lengths]))
    assert sum(name.endswith("_partition") for name in blocks(mod)) == len(lengths)


def test_results_that_nobody_reads_are_not_computed():
    mod = fused(lambda x: relax.TupleGetItem(op.split(x, 3, 3), 1), [(1, 8, 8, 24)])
    assert len(blocks(mod)) == 3
    assert len(blocks(scheduled(mod))) == 1


def test_vectors_are_as_wide_as_the_target():
    assert "zmm" in assembly(scheduled(fused(op.nn.relu, [(64, 64)]), AVX512), AVX512)


@pytest.mark.parametrize("extent, expected", [(256, 32), (40, 8), (100, 20), (17, 17), (14, 14), (3, None), (1, None), (131, None)])
def test_vector_tile(extent, expected):
    """Whole vectors of eight, else the divisor that wastes fewest lanes, up to 32."""
    assert vector_tile(extent, lanes=8, most_vectors=4) == expected
