"""Convolutions on a GPU against PyTorch: every kernel, random shapes, random points of their spaces."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from cuda_checks import ORDERS, TARGET, noise, relu, run_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.backend import Kernel, LayerConstants
from tenfold.schedules.cuda.convolution import choose_convolution
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from torch.nn import functional


def expected(x: np.ndarray, weight: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """PyTorch's, of the image with zeros between its pixels and around it; NHWC."""
    (up_h, up_w), (top, left, bottom, right) = geometry.upsample, geometry.padding
    batch, height, width, channels = x.shape
    spread = np.zeros((batch, (height - 1) * up_h + 1, (width - 1) * up_w + 1, channels))
    spread[:, ::up_h, ::up_w] = x
    image = functional.pad(torch.tensor(spread).permute(0, 3, 1, 2), (left, right, top, bottom))  # crops where it is negative
    filters = torch.tensor(weight, dtype=torch.float64)
    found = functional.conv2d(image, filters, None, geometry.stride, 0, geometry.dilation, geometry.groups)
    return found.permute(0, 2, 3, 1).numpy()


def check(workload: ConvWorkload, choose=lambda kernel: kernel, order="forward") -> None:
    geometry = workload.geometry
    terms = workload.channels // geometry.groups * geometry.kernel[0] * geometry.kernel[1]
    weight = noise(geometry.filters, workload.channels // geometry.groups, *geometry.kernel, scale=terms**-0.5)
    x = noise(workload.batch, *workload.size, workload.channels, seed=1)
    kernel: Kernel = choose(choose_convolution(workload, TARGET))
    found = run_kernel(kernel, [LayerConstants(weight)], x, [relu], order)
    np.testing.assert_allclose(found, np.maximum(expected(x, weight, geometry), 0), rtol=1e-4, atol=1e-5, err_msg=str(kernel.point))


@st.composite
def workloads(draw):
    """Small convolutions of every kind."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    upsample = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (1, 3)]))
    padding = draw(st.tuples(*[st.integers(-1, 3)] * 4))
    kind = draw(st.sampled_from(["one", "one", "depthwise", "multiplied", "groups"]))
    own, each = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 16, 17])), draw(st.sampled_from([1, 3, 4, 6, 16, 32, 33]))
    groups = {"one": 1, "groups": draw(st.integers(2, 4))}.get(kind, draw(st.sampled_from([2, 3, 8, 20])))
    channels = groups if kind in ("depthwise", "multiplied") else groups * own
    filters = {"depthwise": groups, "multiplied": groups * draw(st.integers(2, 4))}.get(kind, groups * each)
    geometry = ConvGeometry(filters, kernel, draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), padding, dilation, groups, upsample)
    workload = ConvWorkload(geometry, draw(st.tuples(st.integers(1, 13), st.integers(1, 13))), channels, draw(st.integers(1, 3)))
    spread, spans = workload.spread, [(kernel[axis] - 1) * dilation[axis] + 1 for axis in (0, 1)]
    fits = all(spread[axis] + padding[axis] + padding[axis + 2] >= spans[axis] for axis in (0, 1))
    inside = all(spread[axis] + min(padding[axis], 0) + min(padding[axis + 2], 0) >= 1 for axis in (0, 1))
    return workload if fits and inside else ConvWorkload(ConvGeometry(filters, (1, 1), groups=groups), (3, 5), channels, 1)


@settings(max_examples=4, deadline=None)
@given(workloads())
def test_convolutions_are_those_of_pytorch(workload):
    check(workload)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(workloads(), st.data())
def test_every_point_of_the_space_is_the_same_convolution(workload, data):
    def choose(kernel: Kernel) -> Kernel:
        points = list(kernel.space())
        return kernel.at(points[data.draw(st.integers(0, len(points) - 1))])

    check(workload, choose, data.draw(st.sampled_from(ORDERS)))


@pytest.mark.quick(1)
@pytest.mark.parametrize("workload", [
    ConvWorkload(ConvGeometry(1, (3, 3), padding=(1, 1, 1, 1)), (6, 7), 9, 1),
    ConvWorkload(ConvGeometry(24, (3, 3)), (3, 3), 8, 1),
    ConvWorkload(ConvGeometry(1, (2, 2)), (2, 2), 12, 1),
    ConvWorkload(ConvGeometry(1, (1, 1), groups=1), (1, 1), 1, 1),
    ConvWorkload(ConvGeometry(10, (1, 1)), (1, 1), 36, 3),
], ids=str)  # fmt: skip
def test_a_single_row_or_filter_is_stored_once(workload):
    """Their axes have one position, which all threads of a block would take for theirs."""
    check(workload)
    check(workload, lambda kernel: kernel.at(next(point for point in kernel.space() if point["algorithm"] == "gemm")))


@pytest.mark.parametrize("splits", [2, 3, 8])
def test_the_parts_of_the_terms_are_added_up(splits):
    workload = ConvWorkload(ConvGeometry(20, (3, 3), padding=(1, 1, 1, 1)), (5, 5), 32, 1)
    check(workload, lambda kernel: kernel.at(next(point for point in kernel.space() if point.get("splits") == splits)))
