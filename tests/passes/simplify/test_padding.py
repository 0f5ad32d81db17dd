"""Taps of convolutions that only meet padding."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simplify_checks import Builder, attribute, simplified


def taps(model) -> list[int]:
    """Rows and columns of the only kernel."""
    [node] = model.graph.node
    return next(list(each.dims[2:]) for each in model.graph.initializer if each.name == node.input[1])


def test_a_dilation_beyond_the_image_leaves_one_tap():
    b = Builder(1, 16, 14, 14)
    small, found = simplified(b.model(b.conv("x", "atrous", 32, 16, pads=[24] * 4, dilations=[24, 24])))
    [node] = small.graph.node
    assert node.name == "atrous" and attribute(node, "kernel_shape") == [1, 1] and attribute(node, "pads") == [0] * 4
    assert attribute(node, "dilations") == [1, 1]
    assert [merge.rewrite for merge in found.merges] == ["padding"]
    assert (found.after.macs, found.after.params) == (14 * 14 * 16 * 32, 16 * 32 + 32)


def test_each_axis_by_itself():
    """Two outer rows of taps see 14 - 12 rows of the image; all but the middle column are beyond its ends."""
    b = Builder(2, 16, 14, 10)
    small, _ = simplified(b.model(b.conv("x", "atrous", 8, 16, pads=[12] * 4, dilations=[12, 12], group=2)))
    [node] = small.graph.node
    assert attribute(node, "kernel_shape") == [3, 1] and attribute(node, "pads") == [12, 0, 12, 0]
    assert attribute(node, "dilations") == [12, 1]


def test_one_end_alone():
    """The image lies below the first row of taps for every output."""
    b = Builder(1, 8, 6, 9)
    small, _ = simplified(b.model(b.conv("x", "conv", 8, 8, pads=[2, 1, 0, 1], strides=[9, 1])))
    assert attribute(small.graph.node[0], "kernel_shape") == [1, 3] and attribute(small.graph.node[0], "pads") == [0, 1, 0, 1]


def test_outputs_that_begin_behind_the_first_pixel_keep_their_taps():
    """Without the first tap, the padding would be negative."""
    b = Builder(1, 8, 20, 20)
    y = b.conv("x", "conv", 8, 8, pads=[5, 5, 0, 0], dilations=[9, 9], strides=[30, 30])
    assert not simplified(b.model(y))[1].merges


@pytest.mark.parametrize("dilation", [1, 5, 13])
def test_taps_that_meet_the_image_stay(dilation):
    b = Builder(1, 8, 14, 14)
    y = b.conv("x", "conv", 8, 8, pads=[dilation] * 4, dilations=[dilation] * 2)
    assert not simplified(b.model(y))[1].merges


def _met(size: int, outputs: int, stride: int, place: int) -> bool:
    return any(0 <= place + stride * number < size for number in range(outputs))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_grids(data):
    """The outputs stay; the kernel keeps exactly what lies between taps that meet the image, unless padding would become negative."""
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    size, kernel = [draw(1, 9), draw(1, 9)], [draw(1, 4), draw(1, 4)]
    dilation, stride = [draw(1, 6), draw(1, 6)], [draw(1, 3), draw(1, 3)]
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    begin = [draw(0, r) for r in reach]
    end = [draw(max(0, r + 1 - s - b), r) for r, s, b in zip(reach, size, begin, strict=True)]
    b = Builder(1, 4, *size)
    y = b.conv("x", "conv", 6, 4, tuple(kernel), group=draw(1, 2), pads=[*begin, *end], dilations=dilation, strides=stride)
    small, found = simplified(b.model(y))
    wanted = []
    for axis in range(2):
        outputs = (size[axis] + begin[axis] + end[axis] - reach[axis] - 1) // stride[axis] + 1
        places = [tap * dilation[axis] - begin[axis] for tap in range(kernel[axis])]
        met = [place for place in places if _met(size[axis], outputs, stride[axis], place)] or places
        # Less padding than none can't be had: neither before the image, nor behind it.
        fits = met[0] <= 0 and (size[axis] - met[-1] - 1) // stride[axis] + 1 <= outputs
        wanted.append((met[-1] - met[0]) // dilation[axis] + 1 if fits else -1)
    if -1 not in wanted:
        assert taps(small) == wanted
    assert bool(found.merges) == (taps(small) != kernel)


def test_a_kernel_that_meets_nothing_stays():
    b = Builder(1, 8, 2, 2)
    y = b.conv("x", "conv", 8, 8, pads=[9, 9, 0, 0], strides=[20, 20])
    small, found = simplified(b.model(y))
    assert not found.merges and taps(small) == [3, 3]
