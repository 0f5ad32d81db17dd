"""Depthwise kernels against ONNX Runtime, over random geometry, and what their loops become."""
from __future__ import annotations

import numpy as np
import pytest
import tvm
import tvm_ffi
from convolution_checks import reference, run
from host_model import named
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tenfold.schedules.cpu.conv2d.depthwise import (
    DepthwiseTile,
    blocks_of_vectors,
    choose_depthwise,
    depthwise,
    pack_depthwise,
    schedule_depthwise,
)
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.schedules.tir.bound_loops import BoundLoops, lower_blocks
from tenfold.targets import resolve
from tvm import te, tirx

HOST = resolve("host")


def with_epilogue(result: te.Tensor, bias: te.Tensor) -> te.Tensor:
    added = te.compute(result.shape, lambda *i: result(*i) + bias[i[-1]], name="add")
    return te.compute(result.shape, lambda *i: tirx.max(added(*i), tirx.const(0, "float32")), name="relu")


def depthwise_result(x, weight, bias, geometry, tile):
    """Of the kernel with a bias and a ReLU behind it, on this machine."""
    packed = pack_depthwise(weight, HOST.lanes)
    data, weights, biases = (te.placeholder(a.shape, name=n) for a, n in ((x, "x"), (packed, "w"), (bias, "b")))
    out = with_epilogue(depthwise(data, weights, geometry, tile), biases)
    schedule = schedule_depthwise(te.create_prim_func([data, weights, biases, out]), HOST)
    return run(schedule, [x, packed, bias], tuple(int(size) for size in out.shape))


@given(batch=st.integers(1, 2), channels=st.sampled_from([1, 3, 8, 17, 24, 40, 64, 90]), size=st.tuples(*[st.integers(5, 20)] * 2),
       kernel=st.tuples(*[st.sampled_from([1, 2, 3, 5, 7])] * 2), stride=st.tuples(*[st.integers(1, 3)] * 2),
       dilation=st.tuples(*[st.integers(1, 4)] * 2), padding=st.tuples(*[st.integers(0, 6)] * 4), tile=st.none() | st.tuples(
           st.integers(1, 8), st.integers(1, 9), st.integers(0, 2), st.booleans()), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_depthwise(batch, channels, size, kernel, stride, dilation, padding, tile, seed):
    """The model's tile, and any other."""
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    assume(all(n + before + behind > r for n, before, behind, r in zip(size, padding[:2], padding[2:], reach, strict=True)))
    rng = np.random.default_rng(seed)
    geometry = ConvGeometry(channels, kernel, stride, padding, dilation, channels)
    x, weight = rng.standard_normal((batch, *size, channels), "float32"), rng.standard_normal((channels, 1, *kernel), "float32")
    bias = rng.standard_normal(channels, "float32")
    chosen = choose_depthwise(ConvWorkload(geometry, size, channels, batch), HOST)
    if tile is not None:
        pixels, rows, block, channels_outer = tile
        blocks = blocks_of_vectors(channels, HOST)
        chosen = DepthwiseTile(pixels, rows, blocks[block % len(blocks)], channels_outer)
    expected = np.maximum(reference(x, weight, geometry) + bias, 0)
    np.testing.assert_allclose(depthwise_result(x, weight, bias, geometry, chosen), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.quick(2)
@pytest.mark.parametrize(("kernel", "size", "stride"), [(31, 14, 1), (31, 40, 1), (13, 9, 1), (9, 14, 1), (11, 15, 2)])
def test_large_depthwise_kernels(kernel, size, stride):
    rng = np.random.default_rng(kernel)
    geometry = ConvGeometry(24, (kernel, kernel), (stride, stride), (kernel // 2,) * 4, (1, 1), 24)
    x, weight = rng.standard_normal((1, size, size, 24), "float32"), rng.standard_normal((24, 1, kernel, kernel), "float32")
    bias, tile = rng.standard_normal(24, "float32"), choose_depthwise(ConvWorkload(geometry, (size, size), 24, 1), HOST)
    expected = np.maximum(reference(x, weight, geometry) + bias, 0)
    np.testing.assert_allclose(depthwise_result(x, weight, bias, geometry, tile), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("channels", "vectors"), [(48, [16]), (40, [16, 8])])
@pytest.mark.parametrize("channels_outer", [False, True])
def test_depthwise_tiles_have_no_branch(channels, vectors, channels_outer):
    """Of a row that begins and ends with padding it is known which products a tile needs. The last vector has the lanes that are left."""
    target = named("zen4")
    geometry, tile = ConvGeometry(channels, (3, 3), padding=(1, 1, 1, 1), groups=channels), DepthwiseTile(6, 5, 3, channels_outer)
    data, weights, bias = te.placeholder((1, 20, 20, channels)), te.placeholder((3, 3, 48)), te.placeholder((channels,))
    func = te.create_prim_func([data, weights, bias, with_epilogue(depthwise(data, weights, geometry, tile), bias)])
    mod = BoundLoops()(lower_blocks(schedule_depthwise(func, target).mod))
    mod = tvm.transform.Sequential([tirx.transform.VectorizeLoop(), tirx.transform.UnrollLoop(), tirx.transform.StmtSimplify()])(mod)
    found = []
    tvm_ffi.structural_walk(mod["main"].body, (tirx.IfThenElse, found.append))
    assert not found
    lengths = set()
    tvm_ffi.structural_walk(mod["main"].body, (tirx.BufferStore, lambda store: lengths.add(int(store.value.ty.dtype.lanes))))
    assert sorted(lengths, reverse=True) == vectors


@pytest.mark.parametrize(("channels", "kernel", "size", "outer"), [
    (144, 3, 56, True), (128, 3, 128, False), (90, 3, 14, False), (960, 5, 14, True),
])
def test_channels_are_outermost_where_their_lines_stay_near(channels, kernel, size, outer):
    """128 channels are 512 bytes: every eighth set of L1. 90 don't fill cache lines."""
    geometry = ConvGeometry(channels, (kernel, kernel), padding=(kernel // 2,) * 4, groups=channels)
    assert choose_depthwise(ConvWorkload(geometry, (size, size), channels, 1), named("zen4")).channels_outer == outer
