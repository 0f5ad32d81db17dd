"""Rewrites before quantizing change no output."""
import numpy as np
import pytest
from quantize_checks import prepared, random_images, run
from simplify_checks import Builder, kinds


def same(model, *shape):
    made = prepared(model)
    x = random_images(shape)
    for ours, theirs in zip(run(made, x), run(model, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    return made


def test_a_pool_waits_for_the_relu():
    b = Builder(2, 3, 8, 8)
    y = b.add("MaxPool", b.conv("x", "c", 4, 3), name="p", kernel_shape=[2, 2], strides=[2, 2])
    assert kinds(same(b.model(b.add("Relu", y, name="r")), 2, 3, 8, 8)) == ["Conv", "Relu", "MaxPool"]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [17, 18])
def test_a_mean_over_the_image_is_a_pool(keepdims, opset):
    b = Builder(2, 3, 8, 8, opset=opset)
    y = b.conv("x", "c", 4, 3)
    axes = {"axes": [-1, 2]} if opset < 18 else {}
    y = b.add("ReduceMean", y, *([] if axes else [b.constant("axes", np.array([-1, 2]))]), name="m", keepdims=keepdims, **axes)
    made = same(b.model(y if keepdims else b.add("Gemm", y, b.normal("w", 4, 5), name="g")), 2, 3, 8, 8)
    assert kinds(made) == (["Conv", "GlobalAveragePool"] if keepdims else ["Conv", "GlobalAveragePool", "Flatten", "Gemm"])


def test_a_mean_over_other_axes_stays():
    b = Builder(2, 3, 8, 8)
    assert "ReduceMean" in kinds(same(b.model(b.add("ReduceMean", b.conv("x", "c", 4, 3), name="m", axes=[1, 2])), 2, 3, 8, 8))


def test_a_product_and_a_bias_are_one_layer():
    b = Builder(2, 6)
    y = b.add("Add", b.constant("c", np.arange(4, dtype="float32")), b.add("MatMul", "x", b.normal("w", 6, 4), name="dense"), name="add")
    made = same(b.model(b.add("Softmax", y, name="s")), 2, 6)
    assert kinds(made) == ["Gemm", "Softmax"] and made.graph.node[0].name == "dense"


def test_factors_of_dense_layers_are_multiplied_out():
    b = Builder(2, 6)
    y = b.add("Gemm", "x", b.normal("w", 4, 6), b.normal("c", 4), name="g", alpha=0.5, beta=3.0, transB=1)
    made = same(b.model(y), 2, 6)
    assert {attribute.name for attribute in made.graph.node[0].attribute} == {"transB"}


def test_layers_that_share_a_weight_get_one_each():
    b = Builder(2, 4, 8, 8)
    w = b.normal("w", 4, 4, 1, 1)
    y = b.add("Conv", b.add("Relu", b.add("Conv", "x", w, name="one"), name="r"), w, name="two")
    made = same(b.model(b.add("Add", y, "x", name="sum")), 2, 4, 8, 8)
    first, second = (node.input[1] for node in made.graph.node if node.op_type == "Conv")
    assert first != second
