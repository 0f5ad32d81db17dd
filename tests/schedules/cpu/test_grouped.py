"""Convolutions whose groups share vectors, against ONNX Runtime; and where they are chosen."""
from __future__ import annotations

import numpy as np
import pytest
import tvm_ffi
from convolution_checks import reference, run
from host_model import named
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schedule_checks import HOST
from tenfold.schedules.backend import LayerConstants, backend_of
from tenfold.schedules.cpu.conv2d.depthwise import DepthwiseTile, blocks_of_vectors, choose_depthwise, schedule_depthwise, shares_vectors
from tenfold.schedules.cpu.convolution import DepthwiseKernel, DirectKernel, choose_convolution
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tvm import te, tirx

SIZES = [size for size in (2, 4, 8) if size < HOST.lanes]


def grouped(kernel: DepthwiseKernel, weight: np.ndarray):
    """The function of a kernel with a bias behind it, and its packed weight."""
    convolution = kernel.convolution
    bound = kernel.bind(LayerConstants(weight))
    data = te.placeholder((convolution.batch, *convolution.size, convolution.channels), name="x")
    weights, bias = te.placeholder(bound.constants[0].shape, name="w"), te.placeholder((convolution.geometry.filters,), name="b")
    result = bound.compute(data, weights)
    out = te.compute(result.shape, lambda *i: result(*i) + bias[i[-1]], name="add")
    return te.create_prim_func([data, weights, bias, out]), bound.constants[0], tuple(int(size) for size in out.shape)


@given(size=st.sampled_from(SIZES), groups=st.integers(1, 13), batch=st.integers(1, 2), image=st.tuples(*[st.integers(3, 16)] * 2),
       kernel=st.tuples(*[st.sampled_from([1, 2, 3, 5])] * 2), stride=st.tuples(*[st.integers(1, 2)] * 2),
       dilation=st.tuples(*[st.integers(1, 3)] * 2), padding=st.tuples(*[st.integers(0, 4)] * 4), tile=st.none() | st.tuples(
           st.integers(1, 8), st.integers(1, 9), st.integers(0, 2), st.booleans()), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_any_geometry_and_tile(size, groups, batch, image, kernel, stride, dilation, padding, tile, seed):
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    assume(all(n + before + behind > r for n, before, behind, r in zip(image, padding[:2], padding[2:], reach, strict=True)))
    rng, channels = np.random.default_rng(seed), groups * size
    workload = ConvWorkload(ConvGeometry(channels, kernel, stride, padding, dilation, groups), image, channels, batch)
    chosen = choose_depthwise(workload, HOST)
    if tile is not None:
        pixels, rows, block, channels_outer = tile
        blocks = blocks_of_vectors(channels, HOST)
        chosen = DepthwiseTile(pixels, rows, blocks[block % len(blocks)], channels_outer)
    x, weight = rng.standard_normal((batch, *image, channels), "float32"), rng.standard_normal((channels, size, *kernel), "float32")
    bias = rng.standard_normal(channels, "float32")
    func, packed, shape = grouped(DepthwiseKernel(workload, HOST, chosen), weight)
    expected = reference(x, weight, workload.geometry) + bias
    np.testing.assert_allclose(run(schedule_depthwise(func, HOST), [x, packed, bias], shape), expected, rtol=1e-4, atol=1e-4)


def workload_of(channels: int, filters: int, groups: int, size: int = 14) -> ConvWorkload:
    return ConvWorkload(ConvGeometry(filters, (3, 3), padding=(1, 1, 1, 1), groups=groups), (size, size), channels, 1)


@pytest.mark.parametrize(("channels", "filters", "groups", "shared"), [
    (208, 208, 26, True), (128, 128, 32, True), (64, 64, 32, True), (128, 128, 8, False), (96, 96, 8, False), (64, 128, 16, False),
    (64, 64, 64, False)])
def test_groups_that_share_vectors(channels, filters, groups, shared):
    """They divide the lanes, and are smaller; as many filters as channels."""
    assert shares_vectors(workload_of(channels, filters, groups), named("zen4")) == shared


@pytest.mark.parametrize("name", ["zen3", "zen4"])
def test_a_vector_of_the_input_is_loaded_once_for_all_channels_of_its_groups(name):
    """Each product has a shuffle of it, and no lane is loaded by itself."""
    target, workload = named(name), workload_of(64, 64, 16)
    kernel = DepthwiseKernel(workload, target, choose_depthwise(workload, target))
    func, _, _ = grouped(kernel, np.zeros((64, 4, 3, 3), "float32"))
    loops = backend_of(target).lower_loops(schedule_depthwise(func, target).mod)
    shuffles = []
    tvm_ffi.structural_walk(loops["main"].body, (tirx.Shuffle, shuffles.append))
    orders = {tuple(int(index) for index in shuffle.indices) for shuffle in shuffles}
    assert orders == {tuple(lane // 4 * 4 + k for lane in range(target.lanes)) for k in range(4)}


def test_the_model_takes_them_where_few_lanes_would_work():
    """RegNet's groups of eight; the direct kernel has as many lanes to spare with groups of sixteen."""
    found = choose_convolution(workload_of(208, 208, 26), named("zen4"))
    assert isinstance(found, DepthwiseKernel) and found.name == "grouped"
    assert found.at(found.point) == found
    assert isinstance(choose_convolution(workload_of(256, 256, 16), named("zen4")), DirectKernel)
