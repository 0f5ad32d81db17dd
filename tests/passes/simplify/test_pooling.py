"""Average pools beside convolutions, averages of whole images, enlarged images, and space to depth."""
import numpy as np
import pytest
from frontend_checks import graph, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from simplify_checks import Builder, attribute, kinds, simplified


def test_the_transition_of_a_densenet_pools_first():
    b = Builder(1, 16, 8, 8)
    y = b.add("AveragePool", b.conv("x", "point", 8, 16, (1, 1)), name="pool", kernel_shape=[2, 2], strides=[2, 2])
    small, found = simplified(b.model(y))
    assert kinds(small) == ["AveragePool", "Conv"] and found.after.macs * 4 == found.before.macs
    assert small.graph.node[1].name == "point"


def test_a_pool_that_averages_zeros_into_a_bias_stays():
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    for bias, count, changed in ((True, 1, False), (True, 0, True), (False, 1, True)):
        b = Builder(1, 16, 8, 8)
        y = b.add("AveragePool", b.conv("x", "point", 8, 16, (1, 1), bias=bias), name="pool", count_include_pad=count, **pool)
        assert bool(simplified(b.model(y))[1].merges) == changed


def test_a_pool_goes_into_the_convolution_before_it_where_that_is_cheaper():
    b = Builder(1, 16, 8, 8)
    y = b.add("AveragePool", b.conv("x", "conv", 8, 16, pads=[1] * 4), name="pool", kernel_shape=[2, 2], strides=[2, 2])
    small, _ = simplified(b.model(y))
    assert kinds(small) == ["Conv"] and attribute(small.graph.node[0], "kernel_shape") == [4, 4]
    assert attribute(small.graph.node[0], "strides") == [2, 2]


def test_a_pool_before_a_convolution_stays():
    """Twice as many rows and columns would be multiplied."""
    b = Builder(1, 16, 8, 8)
    y = b.conv(b.add("AveragePool", "x", name="pool", kernel_shape=[2, 2], strides=[2, 2]), "conv", 8, 16)
    assert not simplified(b.model(y))[1].merges


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 3]), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]), st.integers(0, 1), st.booleans(), st.booleans(),
       st.booleans(), st.sampled_from([1, 2]))
def test_random_pools(side, window, stride, pad, count, bias, pool_first, group):
    b = Builder(1, 8, 9, 8)
    pool = {"kernel_shape": [window] * 2, "strides": [stride] * 2, "pads": [min(pad, window - 1)] * 4, "count_include_pad": int(count)}
    y = b.add("AveragePool", "x", name="pool", **pool) if pool_first else "x"
    y = b.conv(y, "conv", 16, 8, (side, side), bias, group, pads=[side // 2] * 4)
    y = y if pool_first else b.add("AveragePool", y, name="pool", **pool)
    simplified(b.model(y))


@pytest.mark.parametrize("mean", ["GlobalAveragePool(c)", "ReduceMean<axes=[2,3]>(c)", "ReduceMean<axes=[-1,-2], keepdims=0>(c)"])
@pytest.mark.parametrize(("kernel", "geometry"), [
    ((1, 1), "group=1"), ((3, 3), "pads=[1,1,1,1]"), ((3, 2), "pads=[0,1,2,0], dilations=[2,1]"),
])
def test_a_convolution_before_a_global_average_works_on_the_average(mean, kernel, geometry):
    weights = {"w": normal(12, 6, *kernel), "b": normal(12)}
    small, found = simplified(graph("float[2,6,9,8] x => float y", f"c = Conv<{geometry}>(x, w, b) y = {mean}", weights))
    assert [merge.rewrite for merge in found.merges] == ["global_average"] and kinds(small)[:2][1] == "Conv"
    assert found.after.macs == 2 * 12 * 6 * kernel[0] * kernel[1]


def test_other_means_stay():
    weights = {"w": normal(12, 6, 1, 1)}
    for nodes in ("c = Conv(x, w) y = ReduceMean<axes=[1]>(c)", "c = Conv(x, w) y = ReduceMean<axes=[2]>(c)",
                  "c = Conv<strides=[2,2]>(x, w) y = GlobalAveragePool(c)", "c = Conv(x, w) r = Relu(c) y = GlobalAveragePool(r)"):
        assert not simplified(graph("float[1,6,9,8] x => float y", nodes, weights))[1].merges, nodes


def test_a_depthwise_layer_before_a_global_average_stays():
    """Its products are as many as the additions of the pool would be."""
    weights = {"w": normal(6, 1, 3, 3)}
    assert not simplified(graph("float[1,6,9,8] x => float y", "c = Conv<group=6>(x, w) y = GlobalAveragePool(c)", weights))[1].merges


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("place", ["asymmetric", "half_pixel", "align_corners"])
def test_a_pointwise_layer_works_before_an_image_is_enlarged(mode, place):
    weights = {"w": normal(5, 6, 1, 1), "b": normal(5), "s": np.array([1, 1, 2, 3], "float32")}
    nodes = f'r = Resize<mode="{mode}", coordinate_transformation_mode="{place}">(x, , s) y = Conv(r, w, b)'
    small, found = simplified(graph("float[1,6,5,4] x => float y", nodes, weights))
    assert kinds(small) == ["Conv", "Resize"] and found.before.macs == 6 * found.after.macs


def test_an_image_that_is_cropped_and_filled_up_stays():
    """What is filled in is no mean of pixels."""
    weights = {"w": normal(5, 6, 1, 1), "b": normal(5), "s": np.array([1, 1, 2, 2], "float32")}
    weights["roi"] = np.array([0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5], "float32")
    nodes = ('r = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=3.0>(x, roi, s) '
             "y = Conv(r, w, b)")
    assert not simplified(graph("float[1,6,5,4] x => float y", nodes, weights))[1].merges


def test_a_reduced_image_is_convolved_where_it_is_small():
    weights = {"w": normal(5, 6, 1, 1), "s": np.array([1, 1, 0.5, 0.5], "float32")}
    assert not simplified(graph("float[1,6,8,8] x => float y", 'r = Resize<mode="linear">(x, , s) y = Conv(r, w)', weights))[1].merges


def focus(axes_at_once: bool) -> tuple[str, dict[str, np.ndarray]]:
    """YOLOv5's Focus as torch exports it: four pixels of each 2 x 2, in the order 00, 10, 01, 11."""
    weights = {"end": np.array([2**31 - 1], "int64"), "ends": np.array([2**31 - 1] * 2, "int64"), "two": np.array([2], "int64")}
    weights |= {"twos": np.array([2, 2], "int64"), "rows": np.array([2], "int64"), "columns": np.array([3], "int64")}
    weights |= {"both": np.array([2, 3], "int64"), "w": normal(8, 12, 3, 3), "b": normal(8)}
    text = ""
    for number, (row, column) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        weights[f"r{number}"], weights[f"c{number}"] = np.array([row], "int64"), np.array([column], "int64")
        weights[f"p{number}"] = np.array([row, column], "int64")
        if axes_at_once:
            text += f"s{number} = Slice(x, p{number}, ends, both, twos) "
        else:
            text += f"h{number} = Slice(x, r{number}, end, rows, two) s{number} = Slice(h{number}, c{number}, end, columns, two) "
    return text + "d = Concat<axis=1>(s0, s1, s2, s3) y = Conv<pads=[1,1,1,1]>(d, w, b)", weights


@pytest.mark.parametrize("axes_at_once", [True, False])
def test_the_focus_of_yolov5_becomes_a_convolution_of_6_x_6(axes_at_once):
    nodes, weights = focus(axes_at_once)
    small, found = simplified(graph("float[1,3,16,12] x => float y", nodes, weights))
    assert kinds(small) == ["Conv"] and attribute(small.graph.node[0], "kernel_shape") == [6, 6]
    assert attribute(small.graph.node[0], "pads") == [2, 2, 2, 2] and found.after.macs == found.before.macs


def test_slices_of_other_pixels_in_another_order():
    """Twice the same one; and fewer than there are, which would be multiplied by zeros."""
    nodes, weights = focus(True)
    weights["p3"] = np.array([0, 1], "int64")
    simplified(graph("float[1,3,16,12] x => float y", nodes, weights), without=["common"])
    weights["w"] = normal(8, 6, 3, 3)
    _, found = simplified(graph("float[1,3,16,12] x => float y", nodes.replace("s0, s1, s2, s3", "s0, s1"), weights))
    assert not found.merges


@pytest.mark.parametrize("order", [[0, 1, 3, 5, 2, 4], [0, 3, 5, 1, 2, 4]])
def test_reshapes_and_a_transposition(order):
    """Pixels become channels in the order of torch's PixelUnshuffle, and of SpaceToDepth."""
    weights = {"six": np.array([1, 3, 8, 2, 6, 2], "int64"), "four": np.array([1, 12, 8, 6], "int64"), "w": normal(8, 12, 3, 3)}
    nodes = f"a = Reshape(x, six) t = Transpose<perm={order}>(a) d = Reshape(t, four) y = Conv(d, w)"
    small, _ = simplified(graph("float[1,3,16,12] x => float y", nodes, weights))
    assert kinds(small) == ["Conv"]


def test_space_to_depth():
    nodes = "d = SpaceToDepth<blocksize=4>(x) y = Conv(d, w)"
    small, _ = simplified(graph("float[1,3,16,12] x => float y", nodes, {"w": normal(5, 48, 1, 1)}))
    assert kinds(small) == ["Conv"] and attribute(small.graph.node[0], "strides") == [4, 4]


def test_a_window_that_is_no_larger_than_the_padding_is_cut_first():
    """5 x 5 on 2 x 2 pixels: no pool may begin in its padding alone, but the outer taps meet nothing else, and go."""
    weights = {"w": normal(64, 6, 5, 5)}
    nodes = "c = Conv<pads=[2,2,2,2]>(x, w) y = GlobalAveragePool(c)"
    found = simplified(graph("float[1,6,2,2] x => float y", nodes, weights))[1]
    assert [merge.rewrite for merge in found.merges] == ["padding", "global_average"]
