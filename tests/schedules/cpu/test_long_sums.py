"""Long sums in parts: how long the parts are, and what that does to the rounding errors of kernels on the host."""
from __future__ import annotations

import numpy as np
import pytest
from convolution_checks import run
from hypothesis import given
from hypothesis import strategies as st
from tenfold.schedules.cpu.conv2d.compute import dense, pack_weights
from tenfold.schedules.cpu.conv2d.cost import Tile
from tenfold.schedules.cpu.conv2d.schedule import schedule_conv2d
from tenfold.schedules.cpu.dense.matvec import Streams, matvec, pack_matrix, schedule_matvec
from tenfold.schedules.cpu.long_sums import LONGEST_SUM, part_of
from tenfold.targets import resolve
from tvm import te

HOST = resolve("host")
CHANNELS = 2048
LIMIT = 5e-7


@given(st.integers(1, 4096))
def test_parts_are_equal_and_no_longer_than_they_may_be(length):
    part = part_of(length)
    assert length % part == 0
    assert part == length or LONGEST_SUM / 2 <= part <= LONGEST_SUM


def test_the_longest_parts_are_taken():
    found = {length: part_of(length) for length in (256, 480, 512, 960, 1044, 1280)}
    assert found == {256: 256, 480: 480, 512: 512, 960: 240, 1044: 174, 1280: 256}
    assert part_of(2 * 257) == 2 * 257  # a part would have two products


def pointwise(data, weight, filters, prefetch):
    tile = Tile(4, 2, flat=True, rows=1, weights_inner=False, parallel=False, prefetch=prefetch)
    packed = pack_weights(weight[:, :, None, None], 1, tile, HOST.lanes)
    weights = te.placeholder(packed.shape, name="w")
    return schedule_conv2d(te.create_prim_func([data, weights, dense(data, weights, filters, tile)]), HOST), packed


def of_one_image(data, weight, filters, prefetch):
    streams = Streams(2, 2, False)
    packed = pack_matrix(weight, streams, HOST.lanes)
    weights = te.placeholder(packed.shape, name="w")
    return schedule_matvec(te.create_prim_func([data, weights, matvec(data, weights, filters, streams)]), HOST), packed


@pytest.mark.parametrize(("kernel", "pixels", "filters", "prefetch"), [
    (pointwise, 9, 64, False), (pointwise, 9, 64, True), (pointwise, 9, 40, False), (of_one_image, 1, 128, False),
    (of_one_image, 1, 77, False)])
def test_a_long_sum_is_nearly_as_exact_as_a_short_one(kernel, pixels, filters, prefetch):
    """Whole blocks and others. In one accumulator the errors are 7e-7 to 9e-7, in parts 3e-7 to 4e-7."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((pixels, CHANNELS), "float32")
    weight = rng.standard_normal((filters, CHANNELS), "float32")
    schedule, packed = kernel(te.placeholder(x.shape, name="x"), weight, filters, prefetch)
    exact = x.astype("float64") @ weight.astype("float64").T
    error = run(schedule, [x, packed], exact.shape) - exact
    assert np.sqrt(np.mean(error**2) / np.mean(exact**2)) < LIMIT
