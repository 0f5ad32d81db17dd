"""Operators one by one: each output of one model is one operator applied to the input, compared with ONNX Runtime."""
import numpy as np
import pytest
from frontend_checks import assert_imported_right, graph, normal, operators
from tenfold.errors import TenfoldError
from tenfold.frontends import load

X = "float[1,4,9,10] x"


def check(expressions: list[str], weights=None, inputs: str = X, opset: int = 17):
    """Compare a model that has one float output for each expression."""
    outputs = [f"y{i}" for i in range(len(expressions))]
    nodes = " ".join(f"{output} = {expression}" for output, expression in zip(outputs, expressions, strict=True))
    net = load(graph(f"{inputs} => {', '.join(f'float {output}' for output in outputs)}", nodes, weights, opset))
    assert_imported_right(net, tolerance=2e-5)
    return net


def test_element_wise():
    unary = ["Sigmoid", "HardSwish", "HardSigmoid <alpha = 0.1, beta = 0.6>", "HardSigmoid", "LeakyRelu", "Elu", "Softplus"]
    unary += ["Celu <alpha = 2.0>", "Softmax <axis = 1>", "LogSoftmax"]
    binary = [f"{op} (x, c)" for op in ("Sub", "Div", "Min", "Max", "Sum", "PRelu")]
    others = ["Clip (x, low, high)", "Clip (x, low)", "Clip (x, , high)", "Clip (x, zero)", "Mean (x, c, x)"]
    weights = {"c": np.abs(normal(4, 1, 1)), "low": np.float32(-0.3), "high": np.float32(0.4), "zero": np.float32(0)}
    check([f"{op} (x)" for op in unary] + binary + others, weights)


def test_smooth_activations_of_late_opsets():
    check(["Gelu (x)", 'Gelu <approximate = "tanh"> (x)', "Swish <alpha = 1.5> (x)", "Mish (x)"], opset=24)


def test_clip_and_softmax_before_they_changed():
    net = check(["Clip <min = 0.0, max = 6.0> (x)", "Clip <min = -0.5> (x)", "Softmax <axis = 2> (x)", "Softmax (x)"], opset=6)
    assert operators(net)[0] == "relax.clip"


def test_convolution_geometry():
    check(
        [
            "Conv <strides = [2, 3], pads = [1, 0, 2, 1]> (x, w, b)",
            "Conv <dilations = [2, 1], pads = [0, 2, 1, 0]> (x, w)",
            "Conv <group = 2> (x, wg)",
            'Conv <auto_pad = "SAME_UPPER", strides = [2, 3]> (x, w)',
            'Conv <auto_pad = "SAME_LOWER", strides = [2, 3]> (x, w)',
            'Conv <auto_pad = "VALID"> (x, w)',
            "ConvTranspose <strides = [2, 3], pads = [1, 0, 1, 2], output_padding = [1, 0], group = 2> (x, wt, b)",
            'ConvTranspose <auto_pad = "SAME_UPPER", strides = [2, 3]> (x, wt2)',
            'ConvTranspose <auto_pad = "SAME_LOWER", strides = [2, 3]> (x, wt2)',
        ],
        {
            "w": normal(6, 4, 3, 4), "b": normal(6), "wg": normal(6, 2, 3, 3), "wt": normal(4, 3, 3, 4), "wt2": normal(4, 5, 3, 4)
        },
    )  # fmt: skip


def test_convolutions_over_one_and_three_dimensions():
    weights = {"w": normal(6, 4, 3), "b": normal(6), "wt": normal(4, 3, 3)}
    check(["Conv <pads = [1, 2], strides = [2]> (x, w, b)", "ConvTranspose <strides = [2]> (x, wt)"], weights, "float[1,4,10] x")
    check(["Conv <pads = [1, 1, 1, 0, 0, 0]> (x, w)"], {"w": normal(2, 3, 2, 2, 2)}, "float[1,3,4,5,6] x")


@pytest.mark.parametrize("kernel, stride", [([3, 2], [2, 2]), ([3, 3], [3, 2])], ids=str)
def test_pools(kernel, stride):
    geometry = f"kernel_shape = {kernel}, strides = {stride}"
    expressions = []
    for pads in ([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]):
        for ceil in (0, 1):
            expressions.append(f"MaxPool <{geometry}, pads = {pads}, ceil_mode = {ceil}> (x)")
            for include in (0, 1):
                options = f"{geometry}, pads = {pads}, ceil_mode = {ceil}, count_include_pad = {include}"
                expressions.append(f"AveragePool <{options}> (x)")
    expressions += [f'MaxPool <{geometry}, auto_pad = "{mode}"> (x)' for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")]
    expressions += [f'AveragePool <{geometry}, auto_pad = "{mode}"> (x)' for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")]
    check(expressions)


def test_other_spatial_operators():
    check(
        [
            "MaxPool <kernel_shape = [3, 3], dilations = [2, 2]> (x)",
            "GlobalAveragePool (x)",
            "GlobalMaxPool (x)",
            "LRN <size = 3, alpha = 0.5> (x)",
            "InstanceNormalization (x, s, b)",
            "BatchNormalization (x, s, b, b, v)",
            "DepthToSpace <blocksize = 2> (x)",
            'DepthToSpace <blocksize = 2, mode = "CRD"> (x)',
            "Pad (x, pads)",
            "Pad (x, pads, value)",
            'Pad <mode = "reflect"> (x, pads)',
            'Pad <mode = "edge"> (x, pads)',
        ],
        {
            "s": normal(4), "b": normal(4, seed=1), "v": np.abs(normal(4)), "pads": np.array([0, 0, 1, 2, 0, 0, 2, 1]),
            "value": np.float32(2.5),
        },
    )  # fmt: skip


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization(opset):
    count = 2 if opset == 18 else 4  # scale and bias for each group, later for each channel
    check(["GroupNormalization <num_groups = 2> (x, s, b)"], {"s": normal(count), "b": normal(count, seed=1)}, opset=opset)


def test_shapes_and_indices():
    check(
        [
            "Reshape (x, shape)",
            "Flatten (x)",
            "Flatten <axis = 2> (x)",
            "Flatten <axis = -1> (x)",
            "Transpose <perm = [0, 2, 3, 1]> (x)",
            "Squeeze (x, zero)",
            "Unsqueeze (x, ends)",
            "Slice (x, from, to, along, step)",
            "Gather <axis = 1> (x, picks)",
            "Gather <axis = 2> (x, pick)",
            "Concat <axis = 1> (x, c, x)",
            "Expand (c, wide)",
            "Tile (x, repeats)",
            "SpaceToDepth <blocksize = 2> (even)",
            "ReduceMean <axes = [2, 3], keepdims = 0> (x)",
            "ReduceMax <axes = [1], keepdims = 1> (x)",
            "ReduceSum (x, ends)",
            "ReduceL2 <axes = [-1]> (x)",
        ],
        {
            "shape": np.array([0, 2, -1, 10]), "zero": np.array([0]), "ends": np.array([1, -1]), "from": np.array([1, -2]),
            "to": np.array([100, -9]), "along": np.array([1, 3]), "step": np.array([2, -1]), "picks": np.array([0, 2, -1]),
            "pick": np.array(1), "c": normal(1, 2, 9, 10), "wide": np.array([3, 1, 1, 1]), "repeats": np.array([1, 2, 1, 2]),
            "even": normal(1, 4, 4, 4),
        },
    )  # fmt: skip


def test_split_of_every_opset():
    texts = {11: "Split <axis = 1, split = [1, 3]> (x)", 17: "Split <axis = 1> (x, parts)", 18: "Split <axis = 1, num_outputs = 2> (x)"}
    for opset, text in texts.items():
        weights = {"parts": np.array([1, 3])} if opset == 17 else None
        assert_imported_right(load(graph(f"{X} => float a, float b", f"a, b = {text}", weights, opset)))


def test_dense_layers():
    weights = {"w": normal(6, 5), "wt": normal(5, 6), "b": normal(6), "column": normal(3, 1)}
    check(
        [
            "Gemm (x, wt, b)",
            "Gemm <transB = 1> (x, w, b)",
            "Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)",
            "Gemm (x, wt)",
            "Gemm <beta = 0.5> (x, wt, column)",
            "MatMul (x, wt)",
            "Gemm <transA = 1> (x, three)",
        ],
        weights | {"three": normal(3, 4)},
        "float[3,5] x",
    )
    weights |= {"batch": normal(2, 5, 4), "left": normal(4, 3)}
    check(["MatMul (x, wt)", "MatMul (x, batch)", "MatMul (left, x)"], weights, "float[2,3,5] x")


@pytest.mark.parametrize(
    "text, message",
    [
        ("y = LSTM <hidden_size = 3> (x, w, r)", r"operator LSTM \(node 'bad'\) can't be imported"),
        ("y = MaxPool <kernel_shape = [2, 2]> (x) z = Shrink (y)", None),
        ("y, i = MaxPool <kernel_shape = [2, 2]> (x)", r"operator MaxPool \(node 'bad'\): only 1 of its 2 outputs"),
        ("y = Pad (x, pads)", r"operator Pad \(node 'bad'\): negative pads"),
        ("y = ConvTranspose <output_shape = [20, 21], strides = [2, 2]> (x, wt)", r"operator ConvTranspose \(node 'bad'\): output_shape"),
        ("y = custom.Scale (x)", r"operator custom.Scale \(node 'bad'\) can't be imported"),
    ],
    ids=lambda value: value.split("(")[0] if value else None,
)
def test_what_cannot_be_imported_is_named(text, message):
    weights = {"w": normal(1, 12, 4), "r": normal(1, 12, 3), "pads": np.array([0, 0, -1, 0, 0, 0, 0, 0]), "wt": normal(4, 2, 3, 3)}
    indices = ", int64[1,4,8,9] i" if " i =" in text else ""
    model = graph(f"float[1,4,9,10] x => float[1,4,8,9] y{indices}", text, weights)
    model.opset_import.add(domain="custom", version=1)
    model.graph.node[0].name = "bad"
    if "LSTM" in text:
        model = graph("float[2,1,4] x => float y", text, weights)
        model.graph.node[0].name = "bad"
    if message is None:
        load(model).mod  # noqa: B018
        return
    with pytest.raises(TenfoldError, match=message) as caught:
        load(model).mod  # noqa: B018
    assert "\n" not in str(caught.value)
