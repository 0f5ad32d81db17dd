"""The tile model: registers hold the tile, tasks cover the output, and the choice beats its neighbours by its own price."""
from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.cpu.conv2d.cost import choose_tile, cycles, fits_registers, from_memory, step_cycles
from tenfold.schedules.shapes import ConvGeometry, ConvShape

AVX2, AVX512 = named("zen3"), named("zen4")

shapes = st.builds(
    ConvShape, batch=st.sampled_from([1, 2, 64]), groups=st.sampled_from([1, 2, 4]),
    channels=st.integers(1, 600), filters=st.integers(1, 600),
    output=st.tuples(st.integers(1, 120), st.integers(1, 120)), kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)))


@given(shape=shapes, target=st.sampled_from([AVX2, AVX512]))
@settings(deadline=None, max_examples=150)
def test_tile_is_valid_for_every_shape(shape, target):
    tile = choose_tile(shape, target)
    assert fits_registers(tile.pixels, tile.vectors, target)
    assert tile.flat or tile.pixels <= shape.output[1]
    assert 1 <= tile.rows <= (ceil(shape.pixels / tile.pixels) if tile.flat else shape.output[0])


@given(shape=shapes, target=st.sampled_from([AVX2, AVX512]))
@settings(deadline=None, max_examples=100)
def test_predicted_time_is_no_less_than_the_arithmetic(shape, target):
    tile = choose_tile(shape, target)
    macs = shape.batch * shape.groups * shape.pixels * shape.taps * shape.channels * shape.filters
    assert cycles(shape, tile.pixels, tile.vectors, tile.flat, target) >= macs / (2 * target.lanes)


@pytest.mark.parametrize(
    ("pixels", "vectors", "holds"), [(6, 2, True), (3, 3, True), (4, 3, False), (7, 2, False), (3, 4, False), (14, 1, False)]
)
def test_sixteen_registers(pixels, vectors, holds):
    assert fits_registers(pixels, vectors, AVX2) is holds


@pytest.mark.parametrize(
    ("pixels", "vectors", "holds"),
    [(14, 2, True), (9, 3, True), (6, 4, True), (29, 1, True), (30, 1, False), (15, 2, False), (7, 4, False)],
)
def test_thirty_two_registers(pixels, vectors, holds):
    assert fits_registers(pixels, vectors, AVX512) is holds


def test_odd_sizes_waste_little():
    """49 pixels of a 7 x 7 image: eight tiles of a row each would waste nothing on AVX-512, tiles of four across rows 6 % on AVX2."""
    for target in (AVX2, AVX512):
        shape = ConvShape(1, 1, 512, 512, (7, 7), (3, 3))
        tile = choose_tile(shape, target)
        tiles = ceil(49 / tile.pixels) if tile.flat else 7 * ceil(7 / tile.pixels)
        assert tiles * tile.pixels <= 49 * 1.1


def test_rows_of_padding_cost_nothing_in_tiles_of_one_row():
    padded = ConvGeometry(128, (5, 5), padding=(2, 2, 2, 2)).shape(1, 15, 15, 96)
    assert padded.rows_on_image == pytest.approx((2 * (3 + 4) + 11 * 5) / 75)
    whole = replace(padded, rows_on_image=1.0)
    assert cycles(padded, 5, 2, False, AVX2) < 0.95 * cycles(whole, 5, 2, False, AVX2)
    assert cycles(padded, 5, 2, True, AVX2) == cycles(whole, 5, 2, True, AVX2)


def test_weights_from_l2_bound_a_tile_of_many_vectors():
    large, small = ConvShape(1, 1, 512, 512, (28, 28), (3, 3)), ConvShape(1, 1, 3, 64, (28, 28), (3, 3))
    assert step_cycles(large, 2, 4, AVX2) > step_cycles(small, 2, 4, AVX2)


def test_every_core_gets_work_and_tiny_layers_stay_on_one():
    shape = ConvShape(1, 1, 64, 64, (56, 56), (3, 3))
    tile = choose_tile(shape, AVX2)
    lines = ceil(56 * 56 / tile.pixels) if tile.flat else 56
    tasks = ceil(64 / (tile.vectors * AVX2.lanes)) * ceil(lines / tile.rows)
    assert tile.parallel and tasks >= 4 * AVX2.cores
    assert not choose_tile(ConvShape(1, 1, 16, 10, (1, 1)), AVX2).parallel


@pytest.mark.parametrize(("channels", "filters", "size", "asks"), [
    (512, 2048, 7, True),     # 4 MB of weights, 49 pixels
    (1024, 256, 14, True),
    (512, 128, 28, False),    # read in a twentieth of the time that they are worked with
    (64, 64, 56, False),
    (2048, 1000, 1, False),   # no second pass over a block
])
def test_weights_that_take_long_to_read_are_asked_for_before(channels, filters, size, asks):
    shape = ConvShape(1, 1, channels, filters, (size, size))
    tile = choose_tile(shape, AVX512)
    assert tile.prefetch is asks
    if asks:
        assert tile.rows == ceil(shape.pixels / tile.pixels) and not tile.weights_inner


@pytest.mark.parametrize(("channels", "filters", "size", "stride", "inner"), [
    (64, 256, 56, 1, True),     # 64 KB of weights, 4 MB of images
    (64, 64, 56, 1, False),     # one block has all filters
    (256, 1024, 14, 1, False),  # 1 MB of weights does not stay in L2
    (128, 512, 7, 2, False),    # weights are more than the images that would be read once
])
def test_where_weights_stay_in_the_cache_images_come_and_go_once(channels, filters, size, stride, inner):
    shape = ConvShape(1, 1, channels, filters, (size, size), stride=(stride, stride))
    tile = choose_tile(shape, AVX512)
    assert tile.weights_inner is inner
    if inner:  # all filters, and lines enough for every core
        assert not tile.prefetch and ceil(size * size / tile.pixels / tile.rows) >= AVX512.cores


def test_later_blocks_are_read_beside_the_work():
    """And the first ones before it. What is not asked for is all read before."""
    shape = ConvShape(1, 1, 512, 2048, (7, 7))
    tile = choose_tile(shape, AVX512)
    reading = 4 * 512 * 2048 / AVX512.model.memory_bytes_per_cycle
    before = from_memory(1e6, shape, replace(tile, prefetch=False), AVX512)
    assert before == 1e6 + reading
    assert max(1e6, reading) < from_memory(1e6, shape, tile, AVX512) < before


def test_many_pixels_that_share_sets_of_the_l1_cache_cost_more():
    near, far = (ConvShape(1, 1, channels, 256, (14, 14)) for channels in (1040, 1024))
    assert step_cycles(near, 14, 2, AVX512) < step_cycles(far, 14, 2, AVX512)
    assert step_cycles(near, 4, 2, AVX512) == step_cycles(far, 4, 2, AVX512)
