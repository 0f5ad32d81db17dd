"""Batches that are put together from others."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.runtime.batches import Batches, find_batches, tails

SIZES = st.sets(st.integers(1, 40), min_size=1, max_size=5)


def batches_of(sizes):
    return Batches({batch: number for number, batch in enumerate(sorted(sizes))}, (None,))


@given(SIZES, st.integers(1, 300))
def test_a_batch_is_cut_into_those_that_there_are(sizes, count):
    pieces = batches_of(sizes).cut(count)
    filled = sum(pieces) - count
    assert set(pieces) <= sizes and 0 <= filled < min(sizes)
    assert pieces == sorted(pieces, reverse=True)
    if count in sizes:
        assert pieces == [count]
    if 1 in sizes:
        assert filled == 0


@pytest.mark.parametrize(
    ("sizes", "count", "pieces"),
    [({1, 4, 16}, 7, [4, 1, 1, 1]), ({1, 4, 16}, 40, [16, 16, 4, 4]), ({4, 16}, 3, [4]), ({4, 16}, 15, [16]), ({4, 16}, 9, [4, 4, 4])],
)
def test_examples_of_cuts(sizes, count, pieces):
    assert batches_of(sizes).cut(count) == pieces


@given(SIZES, st.integers(1, 90), st.integers(1, 3))
def test_every_image_has_its_own_outputs(sizes, count, rows):
    """Two inputs, one of them the same for all images, and two outputs, one with several rows for each image."""
    batches = Batches({batch: batch for batch in sorted(sizes)}, (None, (3,)))
    seen = []

    def run(batch, arrays):
        x, scale = arrays
        assert len(x) == batch and scale.shape == (3,)
        seen.append(batch)
        return [x * scale, np.repeat(x, rows, axis=0)]

    x, scale = np.arange(3 * count, dtype="f").reshape(count, 3), np.array([1, 2, 3], "f")
    product, repeated = batches.run([x, scale], count, run)
    np.testing.assert_array_equal(product, x * scale)
    np.testing.assert_array_equal(repeated, np.repeat(x, rows, axis=0))
    assert seen == batches.cut(count)


def test_sizes_that_differ_in_their_batch_are_found():
    forms = [(((n, 3, side, side), (1, 10)), ((n, 5), (2 * n, side))) for side in (8, 9) for n in (4, 1)]
    found = find_batches(forms)
    assert {key: each.members for key, each in found.items()} == {tails(forms[0][0]): {1: 1, 4: 0}, tails(forms[2][0]): {1: 3, 4: 2}}
    assert all(each.firsts == (None, (1,)) for each in found.values())
    batches = found[tails(forms[0][0])]
    assert batches.batch_of([np.zeros((7, 3, 8, 8)), np.zeros((1, 10))]) == 7
    for shapes in ([(7, 3, 8, 8), (2, 10)], [(0, 3, 8, 8), (1, 10)]):
        assert batches.batch_of([np.zeros(shape) for shape in shapes]) is None


@pytest.mark.parametrize(
    "outputs",
    [[(1, 5), (1, 5)], [(1, 5), (4, 6)], [(), ()], [(2, 5), (4, 5)], [(3,), (5,)]],
    ids=["not by image", "another width", "single numbers", "not in proportion", "no multiple"],
)
def test_sizes_whose_outputs_are_not_by_image_make_no_other_batch(outputs):
    assert find_batches([(((n, 3),), (output,)) for n, output in zip((1, 4), outputs, strict=True)]) == {}


def test_one_size_does_not_tell_what_its_batch_is():
    assert find_batches([(((4, 3),), ((4, 3),)), (((4, 5),), ((4, 5),))]) == {}
