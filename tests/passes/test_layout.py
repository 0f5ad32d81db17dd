"""The arithmetic of layouts, against NumPy."""

from math import prod

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tenfold.passes.layout import NHWC, Layout, Move, compose, identity, move, relabel, replaced, reshaped, widened, without

SIZES = st.sampled_from((1, 1, 2, 3, 4, 6))
SHAPES = st.lists(SIZES, min_size=1, max_size=5).map(tuple)


def numbered(shape):
    return np.arange(prod(shape)).reshape(shape)


def lying(array, layout):
    """The stored array, by the definition of a layout."""
    if layout.sizes:
        last = array.ndim - 1
        split = array.reshape(*array.shape[:-1], *layout.sizes)
        array = split.transpose(*range(last), *(last + i for i in layout.scramble)).reshape(array.shape)
    return array.transpose(layout.order)


@st.composite
def shape_and_order(draw):
    shape = draw(SHAPES)
    return shape, tuple(draw(st.permutations(range(len(shape)))))


@st.composite
def same_elements(draw):
    """Two shapes of the same number of elements: cut into factors, then merge them in two ways, axes of size 1 thrown in."""
    factors = draw(st.lists(st.sampled_from((2, 2, 3, 4, 5)), min_size=1, max_size=5))

    def merged():
        axes = [1]
        for factor in factors:
            if draw(st.booleans()) and len(axes) < 5:
                axes.append(factor)
            else:
                axes[-1] *= factor
        if draw(st.booleans()):
            axes.insert(draw(st.integers(0, len(axes))), 1)
        return tuple(axes)

    source, target = merged(), merged()
    if draw(st.booleans()):  # and a pair such as (6, 4) -> (4, 6), with no common parts
        source, target = (*source, 6, 4), (*target, 4, 6)
    return source, target, tuple(draw(st.permutations(range(len(source)))))


@given(shape_and_order(), st.randoms())
def test_move_leads_from_one_order_to_another(given_order, random):
    shape, order = given_order
    wanted = list(order)
    random.shuffle(wanted)
    array, source, target = numbered(shape), Layout(order), Layout(tuple(wanted))
    how = move(shape, source, target)
    np.testing.assert_array_equal(how(lying(array, source)), lying(array, target))
    if how.free:
        np.testing.assert_array_equal(lying(array, source).ravel(), lying(array, target).ravel())


def test_move_into_and_out_of_a_scrambled_axis():
    array = numbered((2, 24))
    scrambled = Layout((0, 1), (2, 3, 4), (1, 2, 0))
    np.testing.assert_array_equal(move((2, 24), identity(2), scrambled)(array), lying(array, scrambled))
    np.testing.assert_array_equal(move((2, 24), scrambled, identity(2))(lying(array, scrambled)), array)
    np.testing.assert_array_equal(move((2, 24), scrambled, Layout((1, 0)))(lying(array, scrambled)), array.T)


def test_move_between_two_scrambles_is_refused():
    with pytest.raises(ValueError, match="no single permute"):
        move((24,), Layout((0,), (2, 12), (1, 0)), Layout((0,), (4, 6), (1, 0)))


def test_only_axes_of_size_one_make_a_move_free():
    assert move((2, 1, 5, 5), identity(4), NHWC).free
    assert move((2, 8, 1, 1), identity(4), NHWC).free
    assert not move((1, 8, 1, 2), identity(4), NHWC).free


@given(shape_and_order(), st.randoms())
def test_relabel_is_a_transpose_that_moves_nothing(given_order, random):
    shape, order = given_order
    axes = list(range(len(shape)))
    random.shuffle(axes)
    array = numbered(shape)
    np.testing.assert_array_equal(lying(array.transpose(axes), relabel(Layout(order), axes)), lying(array, Layout(order)))


def test_relabel_refuses_a_scrambled_axis():
    with pytest.raises(ValueError, match="scrambled"):
        relabel(Layout((0, 1), (2, 3), (1, 0)), (1, 0))


@given(shape_and_order(), st.data())
def test_without_is_an_order_after_a_reduction(given_order, data):
    shape, order = given_order
    axes = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True))
    array = numbered(shape)
    places = tuple(Layout(order).position(axis) for axis in axes)
    np.testing.assert_array_equal(lying(array.sum(tuple(axes)), without(Layout(order), axes)), lying(array, Layout(order)).sum(places))


@given(shape_and_order(), st.data())
def test_replaced_is_an_order_after_take(given_order, data):
    shape, order = given_order
    axis = data.draw(st.integers(0, len(shape) - 1))
    indices = data.draw(st.sampled_from((np.array(0), np.zeros(2, int), np.zeros((1, 3), int))))
    array, layout = numbered(shape), Layout(order)
    taken = np.take(lying(array, layout), indices, layout.position(axis))
    np.testing.assert_array_equal(lying(np.take(array, indices, axis), replaced(layout, axis, indices.ndim)), taken)


@given(shape_and_order(), st.integers(0, 2))
def test_widened_has_axes_of_size_one_in_front(given_order, more):
    shape, order = given_order
    array, layout = numbered(shape), Layout(order)
    np.testing.assert_array_equal(lying(array[(None,) * more], widened(layout, more)), lying(array, layout)[(None,) * more])


@given(same_elements())
def test_reshaped_holds_what_reshape_does(case):
    shape, target, order = case
    array = numbered(shape)
    how, layout = reshaped(shape, Layout(order), target)
    np.testing.assert_array_equal(how(lying(array, Layout(order))), lying(array.reshape(target), layout))


@given(same_elements())
def test_reshape_of_what_lies_plainly_moves_nothing(case):
    shape, target, _ = case
    how, layout = reshaped(shape, identity(len(shape)), target)
    assert how.free and not layout.sizes


@pytest.mark.parametrize(
    "shape, layout, target, expected",
    [
        ((2, 8, 1, 1), NHWC, (2, 8), identity(2)),
        ((1, 8), identity(2), (1, 8, 1, 1), NHWC),  # a gate made of a dense layer
        ((2, 8, 3, 5), NHWC, (2, 2, 4, 3, 5), Layout((0, 3, 4, 1, 2))),  # split channels
        ((2, 8, 3, 5), NHWC, (2, 8, 15), Layout((0, 2, 1))),  # tokens
        ((2, 8, 3, 5), NHWC, (2, 120), Layout((0, 1), (8, 3, 5), (1, 2, 0))),  # flatten
        ((2, 8, 3, 5), NHWC, (2, 1, 8, 3, 5), Layout((0, 1, 3, 4, 2))),  # expand_dims
        ((1, 1, 8, 3, 5), Layout((0, 1, 3, 4, 2)), (1, 8, 3, 5), NHWC),  # squeeze
    ],
)
def test_reshapes_of_channels_last_that_move_nothing(shape, layout, target, expected):
    how, result = reshaped(shape, layout, target)
    assert how.free
    assert result == expected


def test_channel_shuffle_stays_channels_last():
    shuffled = relabel(reshaped((1, 8, 3, 5), NHWC, (1, 2, 4, 3, 5))[1], (0, 2, 1, 3, 4))
    how, layout = reshaped((1, 4, 2, 3, 5), shuffled, (1, 8, 3, 5))
    assert how == Move((1, 3, 5, 2, 4), (0, 1, 2, 4, 3), (1, 3, 5, 8))
    assert layout == NHWC


@given(same_elements(), st.randoms())
def test_composed_moves_are_one_move(case, random):
    shape, target, order = case
    first, layout = reshaped(shape, Layout(order), target)
    assume(not layout.sizes)
    wanted = list(range(len(target)))
    random.shuffle(wanted)
    second = move(target, layout, Layout(tuple(wanted)))
    stored = lying(numbered(shape), Layout(order))
    both = compose(first, second)
    if both is not None:
        np.testing.assert_array_equal(both(stored), second(first(stored)))


def test_moves_that_split_differently_are_not_composed():
    assert compose(Move((2, 6), (1, 0), (4, 3)), Move((4, 3), (1, 0), (3, 4))) is None
    assert compose(Move((2, 3, 4), (1, 0, 2), (6, 4)), Move((6, 4), (1, 0), (24,))) == Move((2, 3, 4), (2, 1, 0), (24,))
