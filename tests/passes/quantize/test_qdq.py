"""Where quantizers stand, that ONNX Runtime merges them to operators in integers, and what these compute."""
import numpy as np
import onnx
import pytest
from quantize_checks import kinds_of_readers, prepared, quantized, random_images, run, session
from simplify_checks import Builder


def residual(opset: int = 17) -> onnx.ModelProto:
    """A block as of ResNet between a convolution and a dense layer."""
    b = Builder(1, 3, 16, 16, opset=opset)
    x = b.add("Relu", b.conv("x", "stem", 8, 3, pads=[1] * 4), name="r0")
    x = b.add("MaxPool", x, name="pool", kernel_shape=[2, 2], strides=[2, 2])
    y = b.conv(b.add("Relu", b.conv(x, "one", 8, 8, pads=[1] * 4), name="r1"), "two", 8, 8, pads=[1] * 4)
    y = b.add("Relu", b.add("Add", y, x, name="sum"), name="r2")
    y = b.add("Flatten", b.add("GlobalAveragePool", y, name="mean"), name="flat")
    return b.model(b.add("Gemm", y, b.normal("fc.weight", 8, 10), b.normal("fc.bias", 10), name="fc"))


def test_quantizers_stand_around_layers_and_behind_relus():
    made, placement, *_ = quantized(prepared(residual()))
    assert kinds_of_readers(made) == [
        "Conv(DQ, DQ, DQ)", "Relu(Conv)", "MaxPool(DQ)", "Conv(DQ, DQ, DQ)", "Relu(Conv)", "Conv(DQ, DQ, DQ)", "Add(DQ, DQ)", "Relu(Add)",
        "GlobalAveragePool(DQ)", "Flatten(DQ)", "Gemm(DQ, DQ, DQ)",
    ]  # fmt: skip
    assert placement.operators == {"MaxPool": 1, "Add": 1, "GlobalAveragePool": 1, "Flatten": 1} and not placement.reasons


@pytest.mark.parametrize("per_channel", [True, False])
def test_onnx_runtime_merges_all_of_it(per_channel, tmp_path):
    """With activations of uint8: it leaves those of int8 as they are on x86-64."""
    made, *_ = quantized(prepared(residual()), per_channel=per_channel)
    session(made, True, str(tmp_path / "merged.onnx"))
    kinds = [node.op_type for node in onnx.load(tmp_path / "merged.onnx").graph.node]
    assert kinds.count("QLinearConv") == 3 and kinds.count("QGemm") == 1 and "QLinearAdd" in kinds and "QLinearGlobalAveragePool" in kinds
    assert not {"Conv", "Gemm", "Add", "Relu", "GlobalAveragePool"} & set(kinds) and kinds.count("QuantizeLinear") == 1
    x = random_images((1, 3, 16, 16), 5)
    (merged,), (plain,) = run(made, x, fused=True), run(made, x)
    assert np.abs(merged - plain).max() <= 0.02 * np.abs(plain).max()


def integer_convolution(x, quantizers, layer, weight, result):
    """What integers give, step by step: x NCHW, 3 x 3 with padding of 1."""
    source, made = quantizers[layer.input], quantizers[result]
    whole = source.quantize(x).astype(np.int64) - source.zero_point
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(whole, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
    sums = np.einsum("nchwyx,fcyx->nfhw", windows, weight.weight.astype(np.int64)) + weight.bias.astype(np.int64)[:, None, None]
    steps = (source.scale * weight.scales.astype(float) / made.scale)[:, None, None]
    return np.clip(np.rint(sums * steps) + made.zero_point, *made.bounds).astype(made.dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_it_computes_what_integers_give(dtype):
    """But for sums that lie in the middle between two steps."""
    b = Builder(1, 3, 12, 12)
    model = prepared(b.model(b.add("Relu", b.conv("x", "c", 16, 3, pads=[1] * 4), name="r")))
    made, placement, quantizers, weights, rounded = quantized(model, dtype=dtype)
    layer, result = placement.layers["c"], placement.results["c"]
    x = random_images((1, 3, 12, 12), 7) * 2  # beyond the calibrated range too
    expected = integer_convolution(x, quantizers, layer, weights["c"], result)
    for fused in (False, True):
        found = quantizers[result].quantize(run(made, x, fused)[0])
        apart = np.abs(found.astype(int) - expected.astype(int))
        assert apart.max() <= 1 and (apart > 0).mean() < 0.01
    assert expected.max() == np.iinfo(dtype).max and expected.min() == np.iinfo(dtype).min  # it saturates at both ends


def test_both_types_of_activations_give_the_same():
    model = prepared(residual())
    x = random_images((1, 3, 16, 16), 5)
    np.testing.assert_allclose(run(quantized(model, dtype="uint8")[0], x)[0], run(quantized(model, dtype="int8")[0], x)[0], rtol=1e-5)


def test_a_layer_that_is_kept_reads_floats_where_there_are_some():
    made, placement, *_ = quantized(prepared(residual()), keep=["stem", "two"])
    rows = kinds_of_readers(made)
    assert rows[:3] == ["Conv(x, x, x)", "Relu(Conv)", "MaxPool(Relu)"] and placement.reasons == {"stem": "as asked", "two": "as asked"}
    assert rows[5] == "Conv(DQ, x, x)"  # `one` gives rounded values only
    assert rows[6] == "Add(Conv, MaxPool)"  # nothing of it comes in integers


def test_concatenations_and_outputs():
    b = Builder(1, 3, 8, 8)
    x = b.conv("x", "stem", 4, 3, pads=[1] * 4)
    y = b.add("Concat", b.conv(x, "left", 4, 4, (1, 1)), b.add("Relu", b.conv(x, "right", 4, 4, (1, 1)), name="r"), name="cat", axis=1)
    model = prepared(b.model(b.conv(y, "head", 5, 8, (1, 1)), y))
    made, placement, quantizers, _, rounded = quantized(model)
    assert "Concat(DQ, DQ)" in kinds_of_readers(made)
    assert [value.name for value in made.graph.output] == [value.name for value in model.graph.output]
    x = random_images((1, 3, 8, 8))
    for output, ours, theirs in zip(made.graph.output, run(made, x), run(model, x), strict=True):
        assert output.name in placement.values
        assert np.abs(ours - theirs).max() < 0.06 * np.abs(theirs).max()
        np.testing.assert_allclose(quantizers[output.name].round_trip(ours), ours, rtol=1e-5, atol=1e-6)  # it is a whole number of steps


def test_operators_in_floats_between_layers():
    b = Builder(1, 3, 8, 8)
    y = b.add("Sigmoid", b.conv("x", "one", 4, 3), name="s")
    made, placement, *_ = quantized(prepared(b.model(b.conv(y, "two", 4, 4))))
    assert kinds_of_readers(made) == ["Conv(DQ, DQ, DQ)", "Sigmoid(DQ)", "Conv(DQ, DQ, DQ)"] and placement.operators == {}


@pytest.mark.parametrize("transposed", [0, 1])
def test_dense_layers_in_both_orders(transposed):
    b = Builder(3, 6)
    y = b.add("Gemm", "x", b.normal("w", *((4, 6) if transposed else (6, 4))), b.normal("c", 4), name="g", transB=transposed)
    y = b.add("MatMul", b.add("Relu", y, name="r"), b.normal("v", 4, 5), name="m")
    model = prepared(b.model(b.add("Softmax", y, name="s")))
    made, *_ = quantized(model)
    assert kinds_of_readers(made) == ["Gemm(DQ, DQ, DQ)", "Relu(Gemm)", "MatMul(DQ, DQ)", "Softmax(MatMul)"]
    x = random_images((3, 6))
    for fused in (False, True):
        np.testing.assert_allclose(run(made, x, fused)[0], run(model, x)[0], atol=0.03)


def test_grouped_depthwise_and_strided_convolutions_run_in_onnx_runtime():
    b = Builder(1, 4, 9, 9)
    y = b.add("Relu", b.conv("x", "g", 8, 4, group=2, strides=[2, 2], pads=[1] * 4), name="r")
    y = b.add("AveragePool", b.conv(y, "d", 8, 8, group=8, dilations=[2, 2]), name="p", kernel_shape=[1, 1])
    model = prepared(b.model(b.conv(y, "last", 3, 8, (1, 1), bias=False)))
    made, placement, *_ = quantized(model)
    x = random_images((1, 4, 9, 9))
    assert len(placement.layers) == len([node for node in model.graph.node if node.op_type == "Conv"])
    for fused in (False, True):
        np.testing.assert_allclose(run(made, x, fused)[0], run(model, x)[0], atol=0.05 * np.abs(run(model, x)[0]).max())


def test_layers_that_cannot_be_quantized_say_why():
    b = Builder(2, 6)
    y = b.add("Gemm", "x", b.normal("w", 2, 4), name="flipped", transA=1)
    y = b.add("MatMul", y, b.add("Transpose", y, name="t"), name="square")
    _, placement, *_ = quantized(prepared(b.model(b.add("MatMul", y, b.normal("v", 6, 3), name="m"))))
    assert placement.reasons == {"flipped": "it has alpha, beta or transA", "square": "its weight is no constant"}
    assert list(placement.layers) == ["m"]
