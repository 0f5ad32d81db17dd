"""Resizing by interpolation: the same as ONNX Runtime's, and one kernel with what stands behind it."""
from __future__ import annotations

import numpy as np
import pytest
from fusion_checks import check, conv, kernels, network
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tenfold.schedules.interpolation import Interpolation, banded
from tenfold.targets import resolve

HOST = resolve("host")
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def resized(size, out, mode="linear", coordinates="half_pixel", channels=21, behind=(), outputs=("y",), batch=1, **options):
    """A pointwise convolution and a resize, channels-last between them; `behind` stands between it and the output."""
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, **options}
    nodes = [conv("head", ["x", "w0"], "a"),
             helper.make_node("Resize", ["a", "", "", "sizes"], ["r" if behind else "y"], **attributes), *behind]
    return network(nodes, {"w0": (channels, 8, 1, 1)}, [batch, 8, *size], outputs, {"sizes": np.array([batch, channels, *out])})


@pytest.mark.quick(4)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_an_output_is_written_channels_first_by_the_kernel(mode, coordinates, target):
    net = resized((7, 14), (56, 112), mode, coordinates)
    assert sum("resize" in name for name in kernels(net, target)) == 1
    assert not any("transpose" in name and "resize" not in name for name in kernels(net, target)[1:])
    check(net, target)


@pytest.mark.parametrize("changes", [{"cubic_coeff_a": -0.5}, {"exclude_outside": 1}, {"batch": 3}])
def test_options(changes, target):
    check(resized((5, 6), (20, 24), "cubic", **changes), target)


def test_element_wise_operators_join(target):
    steps = [helper.make_node("Relu", ["r"], ["rr"]), helper.make_node("Sigmoid", ["rr"], ["s"]),
             helper.make_node("MaxPool", ["s"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]
    net = resized((8, 8), (16, 16), behind=steps, channels=32)
    assert any("resize" in name and "relu" in name and "sigmoid" in name for name in kernels(net, target))
    check(net, target)


def test_a_resized_image_that_others_read_too(target):
    net = resized((8, 8), (16, 16), behind=[helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[2, 2], strides=[2, 2])],
                  outputs=("y", "r"))
    check(net, target)


def test_rows_without_a_vector_length_are_transposed_by_a_kernel_of_their_own(target):
    net = resized((5, 5), (13, 31))
    assert any(name.startswith("transpose") for name in kernels(net, target))
    check(net, target)


@pytest.mark.slow
@given(size=st.tuples(st.integers(2, 20), st.integers(2, 20)), out=st.tuples(st.integers(2, 50), st.integers(2, 50)),
       mode=st.sampled_from(["linear", "cubic"]), coordinates=st.sampled_from(COORDINATES), channels=st.integers(1, 40))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_any_shape(size, out, mode, coordinates, channels):
    check(resized(size, out, mode, coordinates, channels), HOST)


@given(size=st.integers(1, 30), out=st.integers(2, 60), method=st.sampled_from(["linear", "cubic"]),
       coordinates=st.sampled_from(COORDINATES), exclude=st.booleans())
@settings(deadline=None, max_examples=100)
def test_weights_are_a_band_of_the_matrix_and_add_up_to_one(size, out, method, coordinates, exclude):
    matrix = Interpolation(method, coordinates, exclude=exclude).matrix(size, out)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
    begins, weights = banded(matrix)
    rebuilt = np.zeros_like(matrix)
    for row, begin, taps in zip(rebuilt, begins, weights, strict=True):
        row[begin : begin + len(taps)] = taps
    np.testing.assert_allclose(rebuilt, matrix, atol=1e-6)
