"""What no ONNX model may be: refused in one line that names the file, the place and the reason, before any library sees it."""
import numpy as np
import onnx
import pytest
from frontend_checks import graph, normal
from onnx import TensorProto, helper, numpy_helper
from tenfold.frontends import load
from tenfold.frontends.onnx.tensors import bytes_of, check_tensor
from tenfold.support.errors import TenfoldError


def conv(**attributes) -> onnx.ModelProto:
    model = graph("float[1,3,8,8] x => float y", "c = Conv (x, w) y = Relu (c)", {"w": normal(4, 3, 3, 3)})
    model.graph.node[0].name = "first"
    model.graph.node[0].attribute.extend(helper.make_attribute(*item) for item in attributes.items())
    return model


def refused(pattern: str, model: onnx.ModelProto) -> None:
    with pytest.raises(TenfoldError, match=pattern) as caught:
        load(model)
    assert "\n" not in str(caught.value)


def with_weight(change) -> onnx.ModelProto:
    model = conv()
    change(model.graph.initializer[0])
    return model


@pytest.mark.parametrize(
    "pattern, change",
    [
        (r"tensor 'w': float\[4,3,3,3\] needs 432 bytes, the file has 427", lambda w: setattr(w, "raw_data", w.raw_data[:-5])),
        (r"needs 432 bytes, the file has 436", lambda w: setattr(w, "raw_data", w.raw_data + b"abcd")),
        (r"tensor 'w': double\[4,3,3,3\] needs 864 bytes", lambda w: setattr(w, "data_type", TensorProto.DOUBLE)),
        (r"element type 0 is none of ONNX", lambda w: setattr(w, "data_type", 0)),
        (r"element type 77 is none of ONNX", lambda w: setattr(w, "data_type", 77)),
        (r"strings can't be given as raw bytes", lambda w: setattr(w, "data_type", TensorProto.STRING)),
        (r"has a negative size: float\[-4,3,3,3\]", lambda w: w.dims.__setitem__(0, -4)),
        (r"larger than 2 GiB", lambda w: w.dims.__setitem__(0, 2**40)),
        (r"gives its values twice, as raw bytes and as float_data", lambda w: w.float_data.append(1)),
        (r"needs 108 values, the file has 0", lambda w: w.ClearField("raw_data")),
        (r"keeps its values in float_data, the file has them in int64_data", lambda w: (w.ClearField("raw_data"), w.int64_data.append(1))),
        (r"is one segment of a tensor", lambda w: w.segment.SetInParent()),
    ],
)
def test_tensors(pattern, change):
    refused(pattern, with_weight(change))


def test_tensors_are_checked_wherever_they_are():
    bad = numpy_helper.from_array(normal(4), "bad")
    bad.raw_data = bad.raw_data[:-1]
    model = conv()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], "k", value=bad))
    refused(r"attribute 'value' of operator Constant \(node 'k'\): float\[4\] needs 16 bytes, the file has 15", model)
    inner = helper.make_graph([helper.make_node("Relu", ["c"], ["z"])], "g", [], [helper.make_tensor_value_info("z", 1, None)], [bad])
    branch = graph("float[1] c, bool b => float y", "y = Relu (c)")
    branch.graph.node[0].CopyFrom(helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner))
    refused(r"tensor 'bad': float\[4\] needs 16 bytes", branch)
    sparse = conv()
    sparse.graph.sparse_initializer.add().CopyFrom(helper.make_sparse_tensor(bad, numpy_helper.from_array(np.int64([0, 1, 2, 3])), [9]))
    refused(r"sparse tensor 'bad', values: float\[4\] needs 16 bytes", sparse)
    constant = helper.make_node("Constant", [], ["b"], "k", value=bad)
    function = helper.make_function("f", "F", ["a"], ["b"], [constant], [helper.make_opsetid("", 17)])
    calling = conv()
    calling.functions.append(function)
    refused(r"attribute 'value' of operator Constant \(node 'k'\)", calling)


@pytest.mark.parametrize("dtype", sorted(set(helper.get_all_tensor_dtypes()) - {TensorProto.STRING}))
def test_right_tensors_of_every_type_pass(dtype):
    tensor = TensorProto(data_type=dtype, dims=[3, 5], name="t")
    tensor.raw_data = bytes(bytes_of(dtype, 15))
    check_tensor(tensor, "t")
    tensor.raw_data += b"\0"
    with pytest.raises(TenfoldError, match="needs"):
        check_tensor(tensor, "t")
    typed = helper.make_tensor("t", dtype, [3, 5], np.zeros(15)) if dtype not in (27, 28) else None
    if typed is not None:
        check_tensor(typed, "t")


def test_sparse_tensors():
    values = numpy_helper.from_array(normal(2), "s")
    for places, dims in (([0, 9], [9]), ([3, 1], [9]), ([-1, 2], [9]), ([0, 1, 2], [9]), ([0, 1], [-9]), ([0, 1], [2**40])):
        model = conv()
        model.graph.sparse_initializer.add().CopyFrom(helper.make_sparse_tensor(values, numpy_helper.from_array(np.int64(places)), dims))
        refused("sparse tensor 's'", model)


@pytest.mark.parametrize(
    "pattern, model",
    [
        (r"operator Conv \(node 'first'\): attribute 'group' is FLOAT, and must be INT", conv(group=1.0)),
        (r"attribute 'strides' is INT, and must be INTS", conv(strides=2)),
        (r"attribute 'auto_pad' is INTS, and must be STRING", conv(auto_pad=[1])),
        (r"attribute 'strides' is \[0, 1\], and must be 1 or more", conv(strides=[0, 1])),
        (r"attribute 'dilations' is \[1, -1\], and must be 1 or more", conv(dilations=[1, -1])),
        (r"attribute 'group' is \[0\], and must be 1 or more", conv(group=0)),
        (r"attributes strides, pads speak of different numbers of dimensions", conv(strides=[1], pads=[0, 0, 0, 0])),
        (r"attributes pads speak of different numbers", conv(pads=[0, 0, 0])),
        (r"attribute 'pads' is .*, which no image can have", conv(pads=[0, 0, 0, 2**40])),
    ],
)
def test_attributes(pattern, model):
    refused(pattern, model)


def test_attributes_whose_type_and_value_disagree():
    for change in (lambda a: setattr(a, "type", 1), lambda a: setattr(a, "type", 0), lambda a: setattr(a, "f", 1.0)):
        model = conv(group=1)
        change(model.graph.node[0].attribute[0])
        refused("attribute 'group'", model)
    model = conv(group=1)
    model.graph.node[0].attribute.add().CopyFrom(model.graph.node[0].attribute[0])
    refused(r"operator Conv \(node 'first'\) has an attribute twice", model)
    refused(r"operator Cast .* lacks attribute 'to'", graph("float[1] x => float y", "y = Cast (x)"))


def test_attributes_of_a_caller():
    model = conv(group=1)
    model.graph.node[0].attribute[0].ref_attr_name = "g"
    refused("attribute 'group' refers to 'g', no parameter of its function", model)
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    model = graph("float[1,3] x => float y", "y = Relu (x)")
    model.opset_import.append(helper.make_opsetid("f", 1))
    model.functions.append(helper.make_function("f", "F", ["a"], ["b"], [leaky], [helper.make_opsetid("", 17)], ["slope"]))
    model.graph.node[0].CopyFrom(helper.make_node("F", ["x"], ["y"], domain="f", slope=0.5))
    assert load(model).onnx.graph.node[0].attribute[0].f == 0.5


def test_inputs_and_outputs():
    cases = {("x",): "lacks input W", ("x", ""): "lacks input W", (): "lacks input X"}
    cases["x", "w", "w", "w"] = "has 4 inputs; it takes 2 to 3"
    for inputs, pattern in cases.items():
        model = conv()
        model.graph.node[0].input[:] = inputs
        refused(rf"operator Conv \(node 'first'\) {pattern}", model)
    model = conv()
    model.graph.node[0].output.append("extra")
    refused("has 2 outputs; it makes 1", model)
    model = conv()
    model.graph.node[0].domain = "elsewhere"
    refused(r"operator elsewhere.Conv \(node 'first'\): the model does not import that domain", model)


def test_names():
    model = conv()
    model.graph.initializer.append(model.graph.initializer[0])
    refused("there are two tensors of the name 'w'", model)
    model = conv()
    model.graph.output.append(model.graph.output[0])
    refused("two outputs have the same name", model)
    model = conv()
    model.graph.input[0].type.tensor_type.elem_type = 0
    refused("input 'x' has no element type", model)


def functions(bodies: dict[str, list[str]]) -> onnx.ModelProto:
    """F0 is called; each function calls others in a row."""
    model = graph("float[1,3] x => float y", "y = Relu (x)")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    model.opset_import.append(opsets[1])
    model.graph.node[0].CopyFrom(helper.make_node("F0", ["x"], ["y"], domain="f"))
    for name, calls in bodies.items():
        values = [f"v{i}" for i in range(len(calls) + 1)]
        steps = zip(calls, values, values[1:], strict=False)
        nodes = [helper.make_node(call, [a], [b], domain="f" if call in bodies else "") for call, a, b in steps]
        model.functions.append(helper.make_function("f", name, ["v0"], [values[-1]], nodes, opsets))
    return model


def test_functions_that_call_themselves():
    refused("function 'F0' calls itself", functions({"F0": ["F0"]}))
    refused("function 'F0' calls itself", functions({"F0": ["F1"], "F1": ["Relu", "F2"], "F2": ["F0"]}))
    long_chain = {f"F{i}": [f"F{(i + 1) % 3000}"] for i in range(3000)}
    refused("function 'F0' calls itself", functions(long_chain))


def test_functions_that_double():
    doubling = {f"F{i}": [f"F{i + 1}"] * 2 for i in range(60)}
    words = "has more than 10.15 nodes, once the functions in it are written out; the most that is read is 20,000"
    refused(words, functions({**doubling, "F60": ["Relu"]}))
    refused("has more than 10.15 nodes", functions({**doubling, "F60": []}))  # empty ones are work too
    assert load(functions({"F0": ["F1"] * 3, "F1": ["Relu", "F2"], "F2": ["Neg"] * 2})).outputs[0].shape == (1, 3)


def test_thousands_of_calls_take_seconds():
    doubling = {f"F{i}": [f"F{i + 1}"] * 2 for i in range(10)}
    net = load(functions({**doubling, "F10": ["Relu", "Neg"]}))
    assert [node.op_type for node in net.onnx.graph.node] == ["Relu", "Neg"] * 1024
