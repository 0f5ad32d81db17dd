"""Softmax and normalisation over any axes against NumPy in double precision; and the loops that were promised."""
from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_checks import HOST, assembly, blocks, fused, kernel, noise, run, scheduled
from tvm.relax import op

few = settings(max_examples=12, deadline=None, derandomize=True)
lengths = st.sampled_from([1, 2, 5, 8, 10, 17, 40, 97])
ROOT = 1e-5


@few
@given(st.tuples(lengths, lengths, lengths), st.integers(0, 2))
def test_softmax(shape, axis):
    x = noise(*shape)  # rounding x - max costs a relative error of its size in units of 6e-8
    np.testing.assert_allclose(run(lambda x: op.nn.softmax(x, axis), x), scipy.special.softmax(x.astype("float64"), axis), rtol=2e-6)


@few
@given(st.tuples(lengths, lengths, lengths), st.integers(0, 2))
def test_log_softmax(shape, axis):
    x = 5 * noise(*shape)
    result = run(lambda x: op.nn.log_softmax(x, axis), x)
    np.testing.assert_allclose(result, scipy.special.log_softmax(x.astype("float64"), axis), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1000), (1, 1009), (1, 200_003), (3136, 10)])
def test_long_and_short_rows(shape):
    x = noise(*shape)
    result = run(lambda x: op.nn.softmax(x, -1), x)
    np.testing.assert_allclose(result, scipy.special.softmax(x.astype("float64"), -1), rtol=2e-6)


def test_softmax_does_not_overflow():
    x = np.array([[1000, 1000, -1000, 999]], "float32")
    result = run(lambda x: op.nn.softmax(x, -1), x)
    np.testing.assert_allclose(result, scipy.special.softmax(x.astype("float64"), -1), rtol=2e-6, atol=1e-30)


def normalised(x, axes):
    x = x.astype("float64")
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + ROOT)


@pytest.mark.parametrize("length", [32, 97, 768])
def test_layer_norm(length):
    x, scale, shift = noise(3, 20, length), noise(length, seed=1), noise(length, seed=2)
    result = run(lambda x, g, b: op.nn.layer_norm(x, g, b, [-1], ROOT), x, scale, shift)
    np.testing.assert_allclose(result, normalised(x, -1) * scale + shift, rtol=1e-5, atol=1e-5)


@few
@given(st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 4, 16])), st.integers(0, 2))
def test_layer_norm_over_an_axis_before_the_last_ones(shape, axis):
    x, scale, shift = 3 * noise(*shape), noise(shape[axis], seed=1), noise(shape[axis], seed=2)
    result = run(lambda x, g, b: op.nn.layer_norm(x, g, b, [axis], ROOT), x, scale, shift)
    form = [-1 if a == axis else 1 for a in range(4)]
    np.testing.assert_allclose(result, normalised(x, axis) * scale.reshape(form) + shift.reshape(form), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape, channel", [((2, 20, 9, 9), 1), ((2, 9, 9, 24), 3), ((1, 112, 112, 8), 3), ((1, 4, 64, 64), 1)])
def test_instance_norm(shape, channel):
    x, scale, shift = noise(*shape), noise(shape[channel], seed=1), noise(shape[channel], seed=2)
    axes = [a for a in range(1, 4) if a != channel]
    result = run(lambda x, g, b: op.nn.instance_norm(x, g, b, channel, axes, ROOT), x, scale, shift)
    along = [-1 if a == channel else 1 for a in range(4)]
    expected = normalised(x, tuple(axes)) * scale.reshape(along) + shift.reshape(along)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channel", [1, 3])
def test_group_norm(channel):
    shape = (3, 24, 5, 5) if channel == 1 else (3, 5, 5, 24)
    x, scale, shift = noise(*shape), noise(24, seed=1), noise(24, seed=2)
    axes = [a for a in range(1, 4) if a != channel]
    result = run(lambda x, g, b: op.nn.group_norm(x, g, b, 4, channel, axes, ROOT), x, scale, shift)
    nchw = np.moveaxis(x, channel, 1)
    expected = normalised(nchw.reshape(3, 4, 6, 5, 5), (2, 3, 4)).reshape(3, 24, 5, 5)
    expected = np.moveaxis(expected, 1, channel) * scale.reshape([-1 if a == channel else 1 for a in range(4)])
    expected = expected + shift.reshape([-1 if a == channel else 1 for a in range(4)])
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_everything_happens_within_one_loop_over_rows():
    mod = scheduled(fused(lambda x: op.nn.softmax(x, -1), [(8, 196, 196)]))
    assert kernel(mod).count("T.parallel") == 1
    assert "expf" not in assembly(mod, HOST)


def test_channels_are_the_vectors_of_a_softmax_over_rows():
    mod = scheduled(fused(lambda x: op.nn.softmax(x, 1), [(1, 64, 56, 56)]))
    assert kernel(mod).count("T.parallel") == 1
    assert not any(name.endswith(("_lanes", "_tasks")) for name in blocks(mod))


def test_few_columns_behind_one_another_fill_vectors():
    """The attention of MobileViT normalises 144 channels that lie before 256 x 4 pixels."""
    norm = lambda x, g, b: op.nn.layer_norm(x, g, b, [0])  # noqa: E731
    mod = scheduled(fused(norm, [(144, 256, 4), (144,), (144,)]))
    assert kernel(mod).count("T.parallel") == 1
    assert min(int(length) for length in re.findall(r"T.vectorized\((?:T.int64\()?(\d+)", kernel(mod))) >= HOST.lanes


def test_one_long_row_is_shared_by_all_cores():
    """Each block in a loop nest of its own, the two reductions in parts."""
    mod = scheduled(fused(lambda x: op.nn.softmax(x, -1), [(1, 1_000_000)]))
    assert kernel(mod).count("T.parallel") == 4
