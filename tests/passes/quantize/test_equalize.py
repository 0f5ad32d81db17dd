"""Equalization: the outputs stay, and the ranges of the weights of a channel in both layers become alike."""
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quantize_checks import prepared, random_images, run
from simplify_checks import Builder
from tenfold.passes.quantize.equalize import equalize


def uneven(b: Builder) -> None:
    """Weights whose channels differ by factors of up to 50 or so."""
    for number, tensor in enumerate(b.constants):
        array = numpy_helper.to_array(tensor)
        if array.ndim > 1:
            factors = np.exp(b.rng.normal(0, 1.5, (len(array), *[1] * (array.ndim - 1))))
            b.constants[number] = numpy_helper.from_array((array * factors).astype("float32"), tensor.name)


def equalized(b: Builder, output: str, shape) -> tuple[dict[str, np.ndarray], int]:
    uneven(b)
    model = prepared(b.model(output))
    made, pairs = equalize(model)
    onnx.checker.check_model(made, full_check=True)
    x = random_images(shape)
    for ours, theirs in zip(run(made, x), run(model, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}, pairs


def largest(weight: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))


def test_two_convolutions_have_like_ranges_then():
    b = Builder(2, 3, 8, 8)
    weights, pairs = equalized(b, b.conv(b.add("Relu", b.conv("x", "a", 6, 3), name="r"), "b", 4, 6), (2, 3, 8, 8))
    assert pairs == 1
    np.testing.assert_allclose(largest(weights["a.weight"], 0), largest(weights["b.weight"], 1), rtol=1e-3)


def test_a_depthwise_convolution_between_two_others():
    b = Builder(2, 3, 8, 8)
    y = b.add("Relu", b.conv("x", "a", 6, 3), name="r1")
    y = b.add("Relu", b.conv(y, "d", 6, 6, group=6), name="r2")
    weights, pairs = equalized(b, b.conv(y, "p", 5, 6, (1, 1)), (2, 3, 8, 8))
    assert pairs == 2
    own = largest(weights["d.weight"], 0)
    np.testing.assert_allclose(largest(weights["a.weight"], 0), own, rtol=2e-2)
    np.testing.assert_allclose(largest(weights["p.weight"], 1), own, rtol=2e-2)


def test_through_groups_pools_and_flattening_to_a_dense_layer():
    b = Builder(2, 4, 8, 8)
    y = b.add("LeakyRelu", b.conv("x", "a", 8, 4, bias=False), name="r1", alpha=0.1)
    y = b.add("MaxPool", y, name="p1", kernel_shape=[2, 2])
    y = b.add("Relu", b.conv(y, "g", 6, 8, group=2), name="r2")
    y = b.add("AveragePool", y, name="p2", kernel_shape=[2, 2])
    y = b.add("Gemm", b.add("Flatten", y, name="f"), b.normal("fc", 6 * 4, 7), name="fc")
    weights, pairs = equalized(b, b.add("Gemm", b.add("Relu", y, name="r3"), b.normal("last", 5, 7), name="last", transB=1), (2, 4, 8, 8))
    assert pairs == 3
    channels = np.abs(weights["fc"]).reshape(6, 4, 7).max(axis=(1, 2))
    np.testing.assert_allclose(largest(weights["g.weight"], 0), channels, rtol=2e-2)
    np.testing.assert_allclose(largest(weights["fc"], 1), largest(weights["last"], 1), rtol=2e-2)


@pytest.mark.parametrize("between", ["Sigmoid", "Clip", "branch", "output"])
def test_what_does_not_scale_and_what_others_read_stays(between):
    b = Builder(2, 4, 8, 8)
    first = b.conv("x", "a", 4, 4, pads=[1] * 4)
    if between == "Sigmoid":
        middle = b.add("Sigmoid", first, name="m")
    elif between == "Clip":
        middle = b.add("Clip", first, b.constant("low", np.float32(0)), b.constant("high", np.float32(6)), name="m")
    else:
        middle = b.add("Relu", first, name="m")
    last = b.conv(middle, "b", 4, 4, pads=[1] * 4)
    model = prepared(b.model(b.add("Add", last, middle, name="sum")) if between != "output" else b.model(last, middle))
    made, pairs = equalize(model)
    assert pairs == 0 and made == model


def test_channels_without_weights_stay():
    b = Builder(2, 3, 8, 8)
    y = b.conv(b.add("Relu", b.conv("x", "a", 6, 3), name="r"), "b", 4, 6)
    for number, tensor in enumerate(b.constants):
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name == "a.weight":
            array[1] = 0
        if tensor.name == "b.weight":
            array[:, 2] = 0
        b.constants[number] = numpy_helper.from_array(array, tensor.name)
    model = prepared_as_it_is(b.model(y))
    made, _ = equalize(model)
    before, after = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (model, made))
    assert (after["a.weight"][1] == 0).all() and np.isfinite(after["b.weight"]).all()
    np.testing.assert_array_equal(after["a.weight"][2], before["a.weight"][2])


def prepared_as_it_is(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without exact rewrites, which remove dead channels."""
    from tenfold.passes.quantize.prepare import prepare

    return prepare(model)
