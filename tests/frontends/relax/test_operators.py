"""Operators one by one: each output of one model is one operator applied to the input, compared with ONNX Runtime."""
import numpy as np
import pytest
from frontend_checks import assert_imported_right, assert_same, example, graph, normal, operators, run_relax
from tenfold.frontends import load
from tenfold.passes.inventory import inventory
from tenfold.support.errors import TenfoldError

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
        ("y = LSTM <hidden_size = 3> (x, w, r, , lengths)", r"operator LSTM \(node 'bad'\): sequences of different lengths"),
        ("y = ReverseSequence <batch_axis = 1, time_axis = 0> (x, ones)", r"operator ReverseSequence \(node 'bad'\) can't be imported"),
        ("y = MaxPool <kernel_shape = [2, 2]> (x) z = Shrink (y)", None),
        ("y, i = MaxPool <kernel_shape = [2, 2], storage_order = 1> (x)", r"operator MaxPool \(node 'bad'\): indices of a pool by columns"),
        ("y = Pad (x, pads)", r"operator Pad \(node 'bad'\): negative pads leave nothing"),
        ("y = custom.Scale (x)", r"operator custom.Scale \(node 'bad'\) can't be imported"),
    ],
    ids=lambda value: value.split("(")[0] if value else None,
)
def test_what_cannot_be_imported_is_named(text, message):
    weights = {"w": normal(1, 12, 4), "r": normal(1, 12, 3), "pads": np.array([0, 0, -4, 0, 0, 0, -5, 0])}
    weights |= {"lengths": np.array([1], "int32"), "ones": np.ones(4, "int64")}
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


def test_bounds_of_clip_that_contradict_or_are_not_numbers():
    """The upper one is applied last; what is not a number is no bound, as in ONNX Runtime."""
    weights = {"one": np.float32(1), "minus": np.float32(-1), "nan": np.float32(np.nan)}
    check(["Clip (x, one, minus)", "Clip (x, nan, one)", "Clip (x, minus, nan)", "Clip (x, nan, nan)"], weights)


@pytest.mark.quick(3)
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_regions_of_interest(mode, coordinates, ratio):
    options = f'mode = "{mode}", coordinate_transformation_mode = "{coordinates}", output_height = 3, output_width = 2'
    text = f"RoiAlign <{options}, sampling_ratio = {ratio}, spatial_scale = 0.8> (x, rois, images)"
    weights = {"rois": np.array([[0.5, 0.7, 6, 5], [1, 1, 3, 7], [-3, -2, 20, 4]], "float32"), "images": np.array([0, 1, 0])}
    check([text], weights, "float[2,3,8,9] x", opset=16)


def test_pools_with_indices_and_their_inverse():
    options = "kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 1, 1], dilations = [1, 2]"
    nodes = f"y, i = MaxPool <{options}> (x) z, unused = MaxPool <kernel_shape = [2, 2]> (x)"
    nodes += " u, j = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) v = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (u, j)"
    net = load(graph("float[2,3,8,10] x => float y, int64 i, float z, float v", nodes))
    assert_imported_right(net)
    assert "relax.nn.max_pool2d" in operators(net)  # where nothing reads the indices


def test_negative_pads_cut():
    weights = {"both": np.array([0, 0, -2, 3, 0, 0, 1, -1]), "all": np.array([0, -1, -2, 0, 0, 0, -1, -4])}
    check(["Pad (x, both)", "Pad (x, all)", 'Pad <mode = "reflect"> (x, both)', 'Pad <mode = "edge"> (x, both)'], weights)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("shape", [[18, 20], [17, 19], [20, 21]], ids=str)
def test_transposed_convolution_of_a_given_shape(auto_pad, shape):
    weights = {"w": normal(4, 2, 3, 3), "b": normal(2)}
    check([f'ConvTranspose <output_shape = {shape}, strides = [2, 2], auto_pad = "{auto_pad}"> (x, w, b)'], weights)


def test_whole_numbers_to_a_power():
    model = graph("int32[4] x, int64[4] k => int32 a, int32 b", "a = Pow (x, three) b = Pow (x, k)", {"three": np.int32(3)})
    net = load(model)
    x = {"x": np.array([-3, 0, 2, 7], "int32"), "k": np.array([2, 3, 10, 1])}
    assert_same(run_relax(net.mod, list(x.values())), net.reference(x), ["a", "b"], 0)


def test_integer_convolutions_are_layers():
    """Written out in float32: what is in their weights can be listed and factored."""
    weights = {
        "w": np.random.default_rng(0).integers(-127, 127, (8, 4, 3, 3)).astype("int8"), "ws": np.abs(normal(8)) / 100,
        "wz": np.zeros(8, "int8"), "xs": np.float32(0.02), "xz": np.uint8(128), "ys": np.float32(0.05), "yz": np.uint8(100),
        "b": np.arange(8, dtype="int32") * 100,
    }  # fmt: skip
    text = """
        q = QuantizeLinear (x, xs, xz)
        r = QLinearConv <pads = [1, 1, 1, 1]> (q, xs, xz, w, ws, wz, ys, yz, b)
        y = DequantizeLinear (r, ys, yz)
    """
    model = graph(f"{X} => float y", text, weights)
    model.graph.node[1].name = "first"
    net = load(model)
    assert [layer.name for layer in inventory(net.mod)] == ["first"]
    x = example(net)
    got, want = run_relax(net.mod, list(x.values()))[0], net.reference(x)[0]
    assert np.abs(got - want).max() <= 0.0501  # one step of the output


def test_what_finds_rows_in_the_data_says_where_to_cut():
    nodes = "b = Relu (boxes) s = Sigmoid (scores) y = NonMaxSuppression (b, s, most)"
    model = graph("float[1,6,4] boxes, float[1,2,6] scores => int64 y", nodes, {"most": np.array([3])})
    message = r"NonMaxSuppression .* gives as many rows as it finds in the data: cut .* \(--outputs 'b' --outputs 's'\)$"
    with pytest.raises(TenfoldError, match=message):
        load(model)
