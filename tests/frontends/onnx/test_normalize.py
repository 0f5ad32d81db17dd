"""Normalisation: what it folds, what it leaves, and that the graph still computes what it did."""
import numpy as np
import onnx
import onnxruntime
import pytest
from frontend_checks import assert_same, example, graph, normal
from tenfold.frontends import load
from tenfold.support.errors import TenfoldError

NORM = {"gamma": normal(6), "beta": normal(6, seed=1), "mean": normal(6, seed=2), "var": np.abs(normal(6, seed=3)) + 0.1}
BATCH_NORM = "y = BatchNormalization <epsilon = 0.01> (z, gamma, beta, mean, var)"


def normalised(model: onnx.ModelProto, input_shapes=None) -> onnx.ModelProto:
    """The normalised model: valid, and equal to the given one in ONNX Runtime."""
    net = load(model, input_shapes=input_shapes)
    onnx.checker.check_model(net.onnx, full_check=True)
    x = example(net)
    session = onnxruntime.InferenceSession(net.onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    assert_same(session.run(None, x), net.reference(x), [spec.name for spec in net.outputs])
    return net.onnx


def types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    "layer, weight",
    [
        ("Conv (x, w)", normal(6, 4, 3, 3)),
        ("Conv (x, w, b)", normal(6, 4, 3, 3)),
        ("Conv <group = 2> (x, w, b)", normal(6, 2, 3, 3)),
        ("ConvTranspose (x, w)", normal(4, 6, 3, 3)),
        ("ConvTranspose <group = 2> (x, w, b)", normal(4, 3, 3, 3)),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.shape),
)
def test_batch_norm_folds_into_the_convolution_before_it(layer, weight):
    model = graph("float[1,4,8,8] x => float y", f"z = {layer} {BATCH_NORM}", {"w": weight, "b": normal(6), **NORM})
    assert types(normalised(model)) == [layer.split()[0]]


@pytest.mark.parametrize(
    "layer, kept",
    [
        ("z = Gemm (x, w, b)", ["Gemm"]),
        ("z = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, wt, b)", ["Gemm"]),
        ("z = Gemm (x, w)", ["Gemm"]),
        ("z = MatMul (x, w)", ["MatMul", "Add"]),
        ("m = MatMul (x, w) z = Add (m, b)", ["MatMul", "Add"]),
        ("m = MatMul (x, w) z = Add (b, m)", ["MatMul", "Add"]),
    ],
)
def test_batch_norm_folds_into_the_dense_layer_before_it(layer, kept):
    model = graph("float[3,5] x => float y", f"{layer} {BATCH_NORM}", {"w": normal(5, 6), "wt": normal(6, 5), "b": normal(6), **NORM})
    assert types(normalised(model)) == kept


@pytest.mark.parametrize(
    "nodes",
    [
        "z = Relu (x)",
        "c = Conv (x, w) z = Relu (c)",
        "c = Conv (x, w) z = Identity (c) other = Relu (c)",  # something else reads the convolution
    ],
)
def test_batch_norm_with_no_layer_of_its_own_becomes_mul_and_add(nodes):
    outputs = "float y, float other" if "other" in nodes else "float y"
    model = graph(f"float[1,6,4,4] x => {outputs}", f"{nodes} {BATCH_NORM}", {"w": normal(6, 6, 1, 1), **NORM})
    result = types(normalised(model))
    assert "BatchNormalization" not in result and result.count("Mul") == result.count("Add") == 1


def test_a_weight_that_two_layers_share_is_folded_for_one_only():
    model = graph(
        "float[1,6,4,4] x => float y, float other",
        f"z = Conv (x, w) {BATCH_NORM} other = Conv (x, w)",
        {"w": normal(6, 6, 1, 1), **NORM},
    )
    assert types(normalised(model)) == ["Conv", "Conv"]


def test_arithmetic_per_channel_folds_and_other_arithmetic_stays():
    weights = {"w": normal(6, 4, 1, 1), "c": normal(6, 1, 1), "row": normal(4), "s": np.float32(1.5), "one": normal(1)}
    fold = graph("float[1,4,4,4] x => float y", "z = Conv (x, w) a = Mul (c, z) b = Sub (a, one) d = Div (b, s) y = Add (d, c)", weights)
    assert types(normalised(fold)) == ["Conv"]
    stay = graph("float[1,4,4,4] x => float y", "z = Conv (x, w) a = Mul (z, row) y = Div (s, a)", weights)
    assert types(normalised(stay)) == ["Conv", "Mul", "Div"]


def test_batch_norm_in_training_mode_is_refused():
    nodes = "z = Conv (x, w) y, m, v = BatchNormalization <training_mode = 1> (z, gamma, beta, mean, var)"
    model = graph("float[1,4,8,8] x => float y", nodes, {"w": normal(6, 4, 3, 3), **NORM})
    model.graph.node[1].name = "bn"
    with pytest.raises(TenfoldError, match=r"\(node 'bn'\) is a batch norm in training mode"):
        load(model)


def test_dropout_and_identity_are_gone():
    nodes = "a = Identity (x) b, mask = Dropout (a) c = Relu (b) y = Identity (c)"
    assert types(normalised(graph("float[1,4] x => float y", nodes))) == ["Relu"]


def test_dropout_in_training_mode_is_refused():
    weights = {"half": np.float32(0.5), "none": np.float32(0), "yes": np.array(True), "no": np.array(False)}
    for nodes in ("y = Dropout (x, half, no)", "y = Dropout (x, none, yes)", "y = Dropout (x, half)"):
        normalised(graph("float[1,4] x => float y", f"{nodes}", weights))
    with pytest.raises(TenfoldError, match=r"operator Dropout \(node 'd'\) is in training mode"):
        load(graph("float[1,4] x => float y", "[d] y = Dropout (x, half, yes)", weights))
    with pytest.raises(TenfoldError, match=r"operator Dropout \(node 'd'\) is in training mode"):
        load(graph("float[1,4] x, bool training => float y", "[d] y = Dropout (x, half, training)", weights))


@pytest.mark.parametrize("nodes", ["a = Relu (x) b = Identity (a)", "t = Relu (x) a = Identity (t) b = Identity (t)"])
def test_two_outputs_of_one_value_keep_their_names(nodes):
    result = normalised(graph("float[1,4] x => float a, float b", nodes))
    assert [value.name for value in result.graph.output] == ["a", "b"] and "Relu" in types(result)


def test_zero_padding_joins_the_convolution():
    model = graph(
        "float[1,4,6,6] x => float y",
        "p = Pad (x, pads) y = Conv <pads = [1, 0, 0, 1]> (p, w)",
        {"pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "w": normal(5, 4, 3, 3)},
    )
    result = normalised(model)
    assert types(result) == ["Conv"]
    assert list(onnx.helper.get_node_attr_value(result.graph.node[0], "pads")) == [2, 2, 0, 2]


def test_weights_made_by_nodes_become_initializers():
    model = graph(
        "float[1,4,6,6] x => float y",
        """
        w = ConstantOfShape <value = float[1] {0.5}> (shape)
        t = Transpose <perm = [1, 0, 2, 3]> (half)
        full = Cast <to = 1> (t)
        a = Conv (x, w)
        y = Conv (a, full)
        """,
        {"shape": np.array([5, 4, 1, 1]), "half": normal(5, 3, 1, 1).astype("float16")},
    )
    result = normalised(model)
    assert types(result) == ["Conv", "Conv"]
    assert {tensor.name for tensor in result.graph.initializer} == {"w", "full"}


def test_names_of_layers():
    model = graph(
        "float[1,4,6,6] conv1 => float y",
        """
        a = Conv (conv1, conv1_w_0)
        b = Conv (a, conv1_kernel)
        c = Conv (b, val_7)
        d = Conv (c, twin_w)
        e = Conv (d, twin_w)
        y = Conv (e, lv2_weight)
        """,
        {name: normal(4, 4, 1, 1, seed=i) for i, name in enumerate(["conv1_w_0", "conv1_kernel", "val_7", "twin_w", "lv2_weight"])},
    )
    assert [node.name for node in normalised(model).graph.node] == ["conv1_2", "conv1_3", "conv_3", "twin", "twin_2", "lv2_2"]


def test_layers_from_torch_export_are_named_after_their_modules():
    text = '["node_Conv_7"] a = Conv (x, "stem.0.weight") ["node_MatMul_9"] y = MatMul (a, val_3)'
    model = graph("float[1,4,6,6] x => float y", text, {"stem.0.weight": normal(5, 4, 1, 1), "val_3": normal(6, 2)})
    for node, scopes in zip(model.graph.node, (["", "stem", "stem.1", "conv2d"], ["", "head", "linear"]), strict=True):
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=str(scopes))
    assert [node.name for node in normalised(model).graph.node] == ["stem.0", "head"]


def test_initializers_that_are_also_inputs_are_weights():
    model = graph("float[1,4,6,6] x => float y", "y = Conv (x, w)", {"w": normal(5, 4, 3, 3)})
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [5, 4, 3, 3]))
    assert [spec.name for spec in load(model).inputs] == ["x"]
    assert types(normalised(model)) == ["Conv"]


def test_traces_of_the_exporting_machine_are_dropped_and_metadata_kept():
    model = graph("float[1,4] x => float y", "y = Relu (x)")
    model.graph.node[0].doc_string = "/home/someone/train.py:12"
    model.metadata_props.add(key="classes", value="cat,dog")
    result = load(model).onnx
    assert b"/home/someone" not in result.SerializeToString()
    assert [(entry.key, entry.value) for entry in result.metadata_props] == [("classes", "cat,dog")]
