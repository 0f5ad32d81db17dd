"""Fully connected layers on a GPU against NumPy: vector products and products of matrices, every point of their spaces."""
from __future__ import annotations

import numpy as np
import pytest
from cuda_checks import ORDERS, TARGET, noise, relu, run_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.backend import Kernel, LayerConstants
from tenfold.schedules.cuda.fully_connected import choose_dense
from tenfold.schedules.shapes import DenseWorkload


def check(layer: DenseWorkload, choose=lambda kernel: kernel, order="forward") -> Kernel:
    weight, x = noise(layer.filters, layer.channels, scale=layer.channels**-0.5), noise(layer.rows, layer.channels, seed=1)
    kernel = choose(choose_dense(layer, TARGET))
    found = run_kernel(kernel, [LayerConstants(weight)], x, [relu], order)
    np.testing.assert_allclose(found, np.maximum(x @ weight.T, 0), rtol=1e-4, atol=1e-5, err_msg=str(kernel.point))
    return kernel


@pytest.mark.quick(2)
@pytest.mark.parametrize("layer, algorithm", [
    (DenseWorkload(1, 512, 10), "matvec"), (DenseWorkload(1, 33, 1), "matvec"), (DenseWorkload(3, 130, 5), "matvec"),
    (DenseWorkload(40, 96, 24), "gemm"), (DenseWorkload(17, 5, 3), "gemm"),
], ids=str)  # fmt: skip
def test_layers_of_one_and_of_many_rows(layer, algorithm):
    assert check(layer).point["algorithm"] == algorithm


def test_a_single_result_is_stored_once():
    """With one filter all warps of a block would take it for theirs."""
    layer = DenseWorkload(6, 40, 1)
    check(layer, lambda kernel: kernel.at(next(point for point in kernel.space() if point["algorithm"] == "matvec")))
    check(layer, lambda kernel: kernel.at(next(point for point in kernel.space() if point["algorithm"] == "gemm")))
    assert {point["warps"] for point in choose_dense(layer, TARGET).space() if point["algorithm"] == "matvec"} == {1}


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 70), st.data())
def test_every_point_of_the_space_is_the_same_layer(rows, channels, filters, data):
    def choose(kernel: Kernel) -> Kernel:
        points = list(kernel.space())
        return kernel.at(points[data.draw(st.integers(0, len(points) - 1))])

    check(DenseWorkload(rows, channels, filters), choose, data.draw(st.sampled_from(ORDERS)))
