"""Pooling against its definition in NumPy, over random geometry."""
from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schedule_checks import AVX512, HOST, assembly, blocks, fused, kernel, noise, run, scheduled
from tvm import relax
from tvm.relax import op

few = settings(max_examples=14, deadline=None, derandomize=True)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def windows(x, kernel, stride, padding, ceil_mode):
    """For each result: the valid elements of its window, (elements, channels), and how many there are with padding."""
    top, left, bottom, right = padding
    padded = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)], constant_values=np.nan)
    rounded = ceil if ceil_mode else int
    height, width = (rounded((size - k) / s) + 1 for size, k, s in zip(padded.shape[1:3], kernel, stride, strict=True))
    for n in range(x.shape[0]):
        for y in range(height):
            for z in range(width):
                window = padded[n, y * stride[0]:y * stride[0] + kernel[0], z * stride[1]:z * stride[1] + kernel[1]].reshape(-1, x.shape[3])
                yield (n, y, z), window[~np.isnan(window[:, 0])], len(window)


def expected(x, shape, kind, *geometry, include=False):
    result = np.full(shape, np.nan)
    for at, valid, count in windows(x, *geometry):
        result[at] = valid.max(0) if kind == "max" else valid.astype("float64").sum(0) / (count if include else len(valid))
    return result


@st.composite
def geometries(draw):
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in (*kernel, *kernel))
    size = tuple(draw(st.integers(k, 14)) for k in kernel)
    shape = (draw(st.integers(1, 2)), *size, draw(st.sampled_from([1, 3, 8, 17, 40, 64, 100, 116])))
    return shape, kernel, draw(pairs), padding, draw(st.booleans())


@few
@given(geometries())
def test_max_pool(geometry):
    shape, *geometry = geometry
    x = noise(*shape)
    kernel_size, stride, padding, ceil_mode = geometry
    assume(all(valid.size for _, valid, _ in windows(x, *geometry)))
    result = run(lambda x: op.nn.max_pool2d(x, kernel_size, stride, padding, ceil_mode=ceil_mode, layout="NHWC"), x)
    np.testing.assert_array_equal(result, expected(x, result.shape, "max", *geometry))


@few
@given(geometries(), st.booleans())
def test_average_pool(geometry, include):
    shape, *geometry = geometry
    x = noise(*shape)
    kernel_size, stride, padding, ceil_mode = geometry
    assume(all(valid.size for _, valid, _ in windows(x, *geometry)))

    def pool(x):
        return op.nn.avg_pool2d(x, kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=include, layout="NHWC")

    result = run(pool, x)
    np.testing.assert_allclose(result, expected(x, result.shape, "average", *geometry, include=include), rtol=1e-5, atol=1e-6)


def test_neighbours_join_the_loop_nest():
    x, bias = noise(1, 9, 9, 24), noise(24, seed=1)

    def body(x, bias):
        return op.nn.relu(op.add(op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1), layout="NHWC"), bias))

    result = run(body, x, bias)
    pooled = expected(x, result.shape, "max", (3, 3), (2, 2), (1, 1, 1, 1), False).astype("float32")
    np.testing.assert_array_equal(result, np.maximum(pooled + bias, 0))
    assert len(blocks(scheduled(fused(body, [x.shape, bias.shape])))) == 3  # start, update, store


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3)])
def test_adaptive_average_pool(size):
    x = noise(2, 8, 8, 24)
    result = run(lambda x: op.nn.adaptive_avg_pool2d(x, size, layout="NHWC"), x)
    reference = np.empty((2, *size, 24))
    for i in range(size[0]):
        for j in range(size[1]):
            rows, columns = (slice(k * 8 // n, ceil((k + 1) * 8 / n)) for k, n in zip((i, j), size, strict=True))
            reference[:, i, j] = x[:, rows, columns].mean((1, 2), dtype="float64")
    np.testing.assert_allclose(result, reference, rtol=1e-5, atol=1e-6)


def test_dilated_pool():
    x = noise(1, 9, 9, 16)
    result = run(lambda x: op.nn.max_pool2d(x, (2, 3), dilation=(3, 2), layout="NHWC"), x)
    reference = np.max([x[:, i:i + 6, j:j + 5] for i in (0, 3) for j in (0, 2, 4)], axis=0)
    np.testing.assert_array_equal(result, reference)


def test_local_response_normalisation():
    """As the importer writes it: the mean of squares over neighbouring channels, as a 3-D pool of an image with one channel."""
    x = noise(1, 6, 6, 20)

    def squares(x):
        image = op.reshape(op.multiply(x, x), (1, 1, 6, 6, 20))
        return op.nn.avg_pool3d(image, (1, 1, 5), padding=(0, 0, 2, 0, 0, 2), count_include_pad=True)

    def body(x):
        base = op.add(op.multiply(op.reshape(squares(x), (1, 6, 6, 20)), relax.const(1e-2)), relax.const(1.0))
        return op.divide(x, op.power(base, relax.const(0.75)))

    padded = np.pad(x.astype("float64") ** 2, [(0, 0), (0, 0), (0, 0), (2, 2)])
    mean = sum(padded[..., i:i + 20] for i in range(5)) / 5
    np.testing.assert_allclose(run(body, x), x / (1 + 1e-2 * mean) ** 0.75, rtol=1e-6, atol=1e-7)


def pool_112(x):
    return op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1), layout="NHWC")


def test_loops():
    mod = scheduled(fused(pool_112, [(1, 112, 112, 64)]))
    script = kernel(mod)
    assert "T.parallel" in script and "T.vectorized" in script and "T.unroll" in script
    assert "pad_temp" not in blocks(mod)  # no padded copy of the image


def test_accumulators_stay_in_registers():
    """The window's inner loop has vector maxima, and no store but that of the result."""
    code = assembly(scheduled(fused(pool_112, [(1, 112, 112, 32)])), HOST)
    assert code.count("vmaxps") >= 9


def test_avx512():
    assert "zmm" in assembly(scheduled(fused(pool_112, [(1, 112, 112, 64)]), AVX512), AVX512)
