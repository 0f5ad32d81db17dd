"""Norms, softmax, reductions and poolings on a GPU against NumPy: any axes and layouts; norms are one kernel."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from cuda_checks import emulated, module, network, noise, scheduled
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax, te

op = relax.op
REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod}


def check(body, inputs, expected, kernels=None, order="forward"):
    compiled = network(module(body, *inputs))
    [found] = compiled(*inputs, order=order)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
    assert kernels is None or len(compiled.launches) == kernels


@pytest.mark.parametrize("shape, axis", [((1, 1000), -1), ((6, 10), 1), ((1, 21, 5, 7), 1), ((2, 3, 40), 2), ((1, 17), -1)])
def test_a_softmax_is_one_kernel(shape, axis):
    x = noise(*shape, scale=3)
    terms = shape[axis]
    check(lambda v: op.nn.softmax(v, axis), [x], torch.softmax(torch.tensor(x), axis).numpy(), 1 if terms >= 16 else None)


@pytest.mark.parametrize("shape", [(49, 96), (1, 33), (4, 3, 64)])
def test_a_layer_norm_is_one_kernel(shape):
    x, scale, bias = noise(*shape), noise(shape[-1], seed=1), noise(shape[-1], seed=2)
    expected = torch.nn.functional.layer_norm(torch.tensor(x), shape[-1:], torch.tensor(scale), torch.tensor(bias)).numpy()
    check(lambda *v: op.nn.layer_norm(*v, [-1]), [x, scale, bias], expected, 1)


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_a_group_norm_is_one_kernel(groups):
    x, scale, bias = noise(2, 16, 5, 6), noise(16, seed=1), noise(16, seed=2)
    expected = torch.nn.functional.group_norm(torch.tensor(x), groups, torch.tensor(scale), torch.tensor(bias)).numpy()
    check(lambda *v: op.nn.group_norm(*v, groups, 1, [2, 3]), [x, scale, bias], expected, 1)


@pytest.mark.parametrize("shape, axis", [((1, 1000), 1), ((2, 40, 30), 1), ((3, 64, 32), 1), ((50,), 0)])
def test_the_first_of_the_largest_is_found(shape, axis):
    x = np.round(noise(*shape)).astype("float32")  # many are as large
    check(lambda v: op.argmax(v, axis), [x], x.argmax(axis))


def test_the_average_of_an_image_is_shared_by_threads():
    x = noise(1, 7, 7, 64)
    compiled = network(module(lambda v: op.mean(v, [1, 2]), x))
    np.testing.assert_allclose(compiled(x)[0], x.mean((1, 2)), rtol=1e-4, atol=1e-6)
    [launch] = compiled.code.routines["mean"].launches
    assert launch.block[0] * launch.block[1] > 32


@pytest.mark.quick(3)
@pytest.mark.parametrize("kind", [op.nn.max_pool2d, op.nn.avg_pool2d])
@pytest.mark.parametrize("channels", [6, 8])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_poolings(kind, channels, ceil_mode):
    x = noise(1, 9, 10, channels)
    window = torch.tensor(x).permute(0, 3, 1, 2)
    if kind is op.nn.max_pool2d:
        expected = torch.nn.functional.max_pool2d(window, 3, 2, 1, ceil_mode=ceil_mode)
    else:
        expected = torch.nn.functional.avg_pool2d(window, 3, 2, 1, ceil_mode=ceil_mode, count_include_pad=False)
    check(lambda v: kind(v, (3, 3), (2, 2), (1, 1), ceil_mode=ceil_mode, layout="NHWC"), [x], expected.permute(0, 2, 3, 1).numpy())


@pytest.mark.quick(3)
@pytest.mark.parametrize("shape, axes", [((21, 3), [0]), ((64, 33), [0]), ((2, 20, 37), [1]), ((5, 4, 3, 7), [0, 1]), ((16, 1, 31), [0])])
@pytest.mark.parametrize("name", ["max", "sum"])
def test_columns_that_no_warp_divides_are_left_out(shape, axes, name):
    x = noise(*shape)
    check(lambda v: getattr(op, name)(v, axes, keepdims=True), [x], REDUCTIONS[name](x, tuple(axes), keepdims=True), 1)


@pytest.mark.parametrize("terms, columns", [(64, 33), (70, 3), (65, 1), (100, 37), (64, 64)])
def test_columns_of_two_results_are_kernels_of_their_own(terms, columns):
    x, term = te.placeholder((terms, columns), "float32", "x"), te.reduce_axis((0, terms), "k")
    total = te.compute((columns,), lambda c: te.sum(x[term, c], term), "total")
    largest = te.compute((columns,), lambda c: te.max(x[term, c], term), "largest")
    code = emulated(scheduled(te.create_prim_func([x, total, largest])))
    found = [noise(terms, columns), np.full(columns, np.nan, "float32"), np.full(columns, np.nan, "float32")]
    code.call("main", found)
    np.testing.assert_allclose(found[1], found[0].sum(0), rtol=2e-4, atol=1e-5)
    np.testing.assert_array_equal(found[2], found[0].max(0))
    assert len(code.routines["main"].launches) == 2


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.sampled_from(sorted(REDUCTIONS)), st.data())
def test_reductions_over_any_axes(shape, name, data):
    while np.prod(shape) > 20000:
        shape = [size // 2 + 1 for size in shape]
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    x = noise(*shape, scale=0.9)
    expected = np.maximum(REDUCTIONS[name](x.astype("float64"), tuple(sorted(axes)), keepdims=True), 0)
    order = data.draw(st.sampled_from(["forward", 3]))
    check(lambda v: op.nn.relu(getattr(op, name)(v, sorted(axes), keepdims=True)), [x], expected, order=order)
