"""Transposed convolutions whose steps are as long as their kernel, against sums by NumPy; and their loops."""
from __future__ import annotations

import numpy as np
import pytest
from convolution_checks import run
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.backend import LayerConstants
from tenfold.schedules.cpu import RULES
from tenfold.schedules.cpu.convolution import BlockKernel, choose_convolution
from tenfold.schedules.driver import schedule_function
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.targets import resolve
from tvm import te, tirx

HOST = resolve("host")


def transposed(channels, filters, kernel, size, batch=1, stride=None):
    """As legalization makes it of one without padding."""
    height, width = kernel
    geometry = ConvGeometry(filters, kernel, padding=(height - 1, width - 1) * 2, upsample=stride or kernel)
    return ConvWorkload(geometry, size, channels, batch)


def function_of(kernel, weight, source):
    """The kernel with a bias and a ReLU behind it; its packed constants."""
    bound = kernel.bind(LayerConstants(weight))
    data, bias = te.placeholder(source, name="x"), te.placeholder((weight.shape[0],), name="b")
    constants = [te.placeholder(array.shape, name=f"c{i}") for i, array in enumerate(bound.constants)]
    result = bound.compute(data, *constants)
    added = te.compute(result.shape, lambda *i: result(*i) + bias[i[-1]], name="add")
    out = te.compute(result.shape, lambda *i: tirx.max(added(*i), tirx.const(0, "float32")), name="relu")
    return te.create_prim_func([data, *constants, bias, out]), bound.constants, tuple(int(size) for size in out.shape)


@given(batch=st.integers(1, 2), channels=st.integers(1, 40), filters=st.sampled_from([1, 3, 10, 16, 24]),
       kernel=st.tuples(*[st.integers(1, 3)] * 2), size=st.tuples(*[st.integers(1, 9)] * 2), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_each_pixel_becomes_a_block(batch, channels, filters, kernel, size, seed):
    rng = np.random.default_rng(seed)
    x, bias = rng.standard_normal((batch, *size, channels), "float32"), rng.standard_normal(filters, "float32")
    iohw = rng.standard_normal((channels, filters, *kernel), "float32")
    chosen = choose_convolution(transposed(channels, filters, kernel, size, batch), HOST)
    assert isinstance(chosen, BlockKernel) == (kernel != (1, 1))
    turned = np.ascontiguousarray(iohw.swapaxes(0, 1)[..., ::-1, ::-1])
    func, constants, shape = function_of(chosen, turned, x.shape)
    blocks = np.einsum("nhwc,cfij->nhiwjf", x.astype("float64"), iohw.astype("float64")).reshape(shape)
    found = run(schedule_function(func, RULES, HOST), [x, *constants, bias], shape)
    np.testing.assert_allclose(found, np.maximum(blocks + bias, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [(1, 2), (3, 3)])
def test_other_steps_are_no_blocks(stride):
    assert not isinstance(choose_convolution(transposed(24, 24, (2, 2), (9, 9), stride=stride), HOST), BlockKernel)


@pytest.mark.parametrize("filters", [1, 24])
def test_pixels_are_put_in_their_places_once(filters):
    """Two loop nests: the products, and their places with all that is done to them."""
    target = named("zen4")
    kernel = choose_convolution(transposed(24, filters, (2, 2), (160, 160)), target)
    func, *_ = function_of(kernel, np.zeros((filters, 24, 2, 2), "float32"), (1, 160, 160, 24))
    text = schedule_function(func, RULES, target).mod["main"].script()
    assert text.count("T.parallel") == 2
