"""Sizes of inputs: which are dynamic, how they are fixed, and what is said of it."""
import warnings

import numpy as np
import onnx
import pytest
from frontend_checks import assert_imported_right, graph, normal
from onnx import helper
from tenfold.frontends import load
from tenfold.support.errors import TenfoldError, TenfoldWarning


def dimensions(model: onnx.ModelProto, *shapes: tuple) -> onnx.ModelProto:
    """The model with these declared input shapes: int, str for a symbol, None for a dimension that says nothing."""
    for value, shape in zip(model.graph.input, shapes, strict=True):
        value.type.tensor_type.ClearField("shape")
        value.type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shape))
    return model


def conv(*shape) -> onnx.ModelProto:
    nodes = "c = Conv <pads = [1, 1, 1, 1]> (x, w) y = Relu (c)"
    return dimensions(graph("float[1,3,8,8] x => float y", nodes, {"w": normal(4, 3, 3, 3)}), shape)


def two(*shapes) -> onnx.ModelProto:
    return dimensions(graph("float[1] x, float[1] other => float y, float z", "y = Relu (x) z = Relu (other)"), *shapes)


def shapes(model, **reading) -> list[tuple[int, ...]]:
    net = load(model, **reading)
    return [spec.shape for spec in (*net.inputs, *net.outputs)]


def refused(pattern: str, model, **reading) -> None:
    with pytest.raises(TenfoldError, match=pattern) as caught:
        load(model, **reading)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("free", [-1, 0, None, "batch", "N"])
class TestAFreeBatch:
    def test_is_1_with_one_line_that_says_so(self, free):
        with pytest.warns(TenfoldWarning, match=r"g: the first size of input 'x' is dynamic: taken as 1 \(--batch N") as caught:
            assert shapes(conv(free, 3, 8, 8)) == [(1, 3, 8, 8), (1, 4, 8, 8)]
        assert len(caught) == 1

    def test_is_what_the_caller_says(self, free):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert shapes(conv(free, 3, 8, 8), batch=3) == [(3, 3, 8, 8), (3, 4, 8, 8)]
            assert shapes(conv(free, 3, 8, 8), input_shapes={"x": (5, 3, 8, 8)}) == [(5, 3, 8, 8), (5, 4, 8, 8)]

    def test_other_sizes_are_not_guessed(self, free):
        refused(r"input 'x' has a dynamic size: dimension 2 of \[.*\]; fix it with --input-shape x=1,3,224,8", conv(free, 3, -1, 8))
        assert shapes(conv(free, 3, -1, None), input_shapes={"x": (2, 3, 9, 7)}) == [(2, 3, 9, 7), (2, 4, 9, 7)]


def test_a_network_of_fixed_sizes_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shapes(conv(2, 3, 8, 8))[0] == (2, 3, 8, 8)
        assert shapes(conv(2, 3, 8, 8), batch=2)[0] == (2, 3, 8, 8)


def test_one_batch_for_all_inputs_whose_first_size_is_free():
    with pytest.warns(TenfoldWarning, match="the first size of inputs 'x', 'other' is dynamic"):
        assert shapes(two(("a", 5), (-1, 6)))[:2] == [(1, 5), (1, 6)]
    assert shapes(two(("a", 5), (None, 6)), batch=4)[:2] == [(4, 5), (4, 6)]
    assert shapes(two(("a", 5), (7, 6)), batch=4)[:2] == [(4, 5), (7, 6)]


def test_a_symbol_is_one_size_wherever_it_stands():
    assert shapes(two(("n", 5), (6, "n")), batch=4)[:2] == [(4, 5), (6, 4)]
    assert shapes(two(("n", "n"), (6, "n")), batch=4)[:2] == [(4, 4), (6, 4)]
    assert shapes(two(("n", 5), ("n", 6)), input_shapes={"other": (3, 6)})[:2] == [(3, 5), (3, 6)]
    given = {"x": (2, 5), "other": (3, 6)}
    pattern = r"input 'other': dimension 0 is 'n' in the model, which .* make 2: it can't be 3 in the shape 3,6"
    refused(pattern, two(("n", 5), ("n", 6)), input_shapes=given)
    assert shapes(two((-1, 5), (-1, 6)), input_shapes=given)[:2] == [(2, 5), (3, 6)]


def test_a_batch_that_is_not_possible():
    pattern = r"a batch of 4 is not possible: the sizes are fixed \(x=1,3,8,8\); export the network with a dynamic batch"
    refused(pattern, conv(1, 3, 8, 8), batch=4)
    refused(r"a batch of 4 is not possible", conv("n", 3, 8, 8), batch=4, input_shapes={"x": (2, 3, 8, 8)})


@pytest.mark.parametrize("declared", [-1, 0, None, "other_symbol", 7])
def test_what_the_file_says_of_other_values_does_not_count(declared):
    model = conv(-1, 3, 8, 8)
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [declared, 4, -1, 8]))
    model.graph.value_info.append(helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [declared, 4, 8, -1]))
    net = load(model, batch=2)
    assert net.outputs[0].shape == (2, 4, 8, 8)
    assert_imported_right(net)


FLAT = {"w": normal(4, 3, 1, 1), "one": np.array([1, -1]), "v": normal(4 * 4, 5), "all": np.array([-1, 16])}


def test_a_batch_of_1_that_the_network_has_built_in():
    mixing = "c = Conv (x, w) f = Reshape (c, one) [fc] y = MatMul (f, v)"
    model = graph("float[n,3,2,2] x => float y", mixing, FLAT)
    assert shapes(model, batch=1)[1] == (1, 5)
    pattern = r"operator MatMul \(node 'fc'\) can't take inputs of shapes \[1,64\] and \[16,5\]: .*; with x=4,3,2,2, other sizes may fit"
    refused(pattern, model, batch=4)
    silent = graph("float[n,3,2,2] x => float y", "c = Conv (x, w) y = Reshape (c, one)", FLAT)
    with pytest.warns(TenfoldWarning, match=r"output 'y' is of shape \[1,64\] for a batch of 4: .* use --batch 1"):
        load(silent, batch=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(graph("float[n,3,2,2] x => float y", "c = Conv (x, w) f = Reshape (c, all) y = MatMul (f, v)", FLAT), batch=4)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
def test_shapes_computed_from_a_dynamic_batch(opset):
    squeeze = "n1 = Unsqueeze <axes = [0]> (n)" if opset < 13 else "n1 = Unsqueeze (n, axes)"
    nodes = f"""
    c = Conv (x, w) s = Shape (c) n = Gather <axis = 0> (s, zero) {squeeze} to = Concat <axis = 0> (n1, minus)
    f = Reshape (c, to) [fc] y = Gemm (f, v, b)
    """
    weights = {"w": normal(4, 3, 1, 1), "zero": np.array(0), "minus": np.array([-1]), "v": normal(16, 5), "b": normal(5)}
    weights |= {"axes": np.array([0])} if opset >= 13 else {}
    net = load(graph("float[n,3,2,2] x => float y", nodes, weights, opset), batch=3)
    assert [node.op_type for node in net.onnx.graph.node] == ["Conv", "Reshape", "Gemm"] and net.outputs[0].shape == (3, 5)
    assert_imported_right(net)
