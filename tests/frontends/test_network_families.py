"""Networks as people export them: each imports, and computes in TVM what ONNX Runtime computes on the file as it was."""
import numpy as np
from frontend_checks import assert_imported_right, graph, normal, operators
from tenfold.frontends import load
from tenfold.passes.inventory import inventory


def names(net):
    return [layer.name for layer in inventory(net.mod)]


def test_yolo_neck_with_head_that_computes_its_shapes():
    model = graph(
        "float[batch,3,h,w] image => float boxes, float scores",
        """
        c1 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (image, w1, b1)
        s1 = Sigmoid (c1)
        a1 = Mul (c1, s1)
        left, right = Split <axis = 1> (a1)
        c2 = Conv <pads = [1, 1, 1, 1]> (right, w2)
        s2 = Sigmoid (c2)
        a2 = Mul (c2, s2)
        r2 = Add (a2, right)
        cat1 = Concat <axis = 1> (left, right, r2)
        deep = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (cat1, w3)
        pool = MaxPool <kernel_shape = [5, 5], pads = [2, 2, 2, 2]> (deep)
        spp = Concat <axis = 1> (deep, pool)
        up = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (spp, , scales)
        cat2 = Concat <axis = 1> (up, cat1)
        head = Conv (cat2, w4, b4)
        shape = Shape (head)
        n = Gather <axis = 0> (shape, zero)
        n1 = Unsqueeze (n, axes0)
        target = Concat <axis = 0> (n1, seven, minus1)
        flat = Reshape (head, target)
        rows = Transpose <perm = [0, 2, 1]> (flat)
        boxes = Slice (rows, from0, to4, last)
        logits = Slice (rows, to4, end, last)
        scores = Sigmoid (logits)
        """,
        {
            "w1": normal(8, 3, 3, 3), "b1": normal(8), "w2": normal(4, 4, 3, 3), "w3": normal(6, 12, 3, 3), "w4": normal(7, 24, 1, 1),
            "b4": normal(7), "scales": np.array([1, 1, 2, 2], "float32"), "zero": np.array(0), "axes0": np.array([0]),
            "seven": np.array([7]), "minus1": np.array([-1]), "from0": np.array([0]), "to4": np.array([4]),
            "end": np.array([2**31 - 1]), "last": np.array([2]),
        },
    )  # fmt: skip
    net = load(model, input_shapes={"image": (2, 3, 16, 24)})
    assert [spec.shape for spec in net.outputs] == [(2, 96, 4), (2, 96, 3)]
    assert not {"Shape", "Gather", "Unsqueeze"} & {node.op_type for node in net.onnx.graph.node}
    assert_imported_right(net)


def test_ocr_network_of_dynamic_width():
    model = graph(
        "float[N,3,8,W] x => float text",
        """
        c1 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w1)
        n1 = BatchNormalization (c1, gamma, beta, mean, var)
        h1 = HardSwish (n1)
        d = Conv <group = 8, pads = [1, 1, 1, 1]> (h1, wd, bd)
        pooled = GlobalAveragePool (d)
        e1 = Conv (pooled, we1, be1)
        r1 = Relu (e1)
        e2 = Conv (r1, we2)
        gate = HardSigmoid <alpha = 0.2, beta = 0.5> (e2)
        se = Mul (d, gate)
        p = AveragePool <kernel_shape = [4, 2], strides = [4, 2]> (se)
        shape = Shape (p)
        n = Slice (shape, i0, i1)
        w = Slice (shape, i3, i4)
        target = Concat <axis = 0> (n, eight, w)
        seq = Reshape (p, target)
        steps = Transpose <perm = [0, 2, 1]> (seq)
        logits = MatMul (steps, wf)
        biased = Add (logits, bf)
        text = Softmax <axis = 2> (biased)
        """,
        {
            "w1": normal(8, 3, 3, 3), "gamma": normal(8), "beta": normal(8, seed=1), "mean": normal(8, seed=2), "var": np.abs(normal(8)),
            "wd": normal(8, 1, 3, 3), "bd": normal(8), "we1": normal(4, 8, 1, 1), "be1": normal(4), "we2": normal(8, 4, 1, 1),
            "wf": normal(8, 11), "bf": normal(11), "eight": np.array([8]), **{f"i{k}": np.array([k]) for k in (0, 1, 3, 4)},
        },
    )  # fmt: skip
    net = load(model, input_shapes={"x": (1, 3, 8, 40)})
    assert net.outputs[0].shape == (1, 10, 11)
    assert [layer.batch for layer in inventory(net.mod)][-1] == 10  # the rows of the dense layer
    assert_imported_right(net)


def test_segmentation_that_resizes_to_the_size_of_its_input():
    model = graph(
        "float[1,3,H,W] x => float mask",
        """
        c = Conv <strides = [4, 4], pads = [1, 1, 1, 1]> (x, w1, b1)
        r = Clip (c, zero, six)
        t = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]> (r, wt, bt)
        n = BatchNormalization (t, gamma, beta, mean, var)
        shape = Shape (x)
        hw = Slice (shape, i2, i4)
        nc = Constant <value_ints = [1, 5]> ()
        sizes = Concat <axis = 0> (nc, hw)
        mask = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (n, , , sizes)
        """,
        {
            "w1": normal(6, 3, 3, 3), "b1": normal(6), "wt": normal(6, 5, 3, 3), "bt": normal(5), "gamma": normal(5),
            "beta": normal(5, seed=1), "mean": normal(5, seed=2), "var": np.abs(normal(5)), "zero": np.float32(0), "six": np.float32(6),
            "i2": np.array([2]), "i4": np.array([4]),
        },
    )  # fmt: skip
    net = load(model, input_shapes={"x": (1, 3, 17, 22)})
    assert net.outputs[0].shape == (1, 5, 17, 22)
    assert {"relax.clip", "relax.image.resize2d"} <= set(operators(net))
    assert_imported_right(net)


def test_shuffle_network_of_an_old_opset():
    model = graph(
        "float[1,6,8,8] x => float y",
        """
        c = Conv <group = 2> (x, w1)
        n = BatchNormalization <epsilon = 0.001> (c, gamma, beta, mean, var)
        r = Relu (n)
        five = Reshape (r, split)
        mixed = Transpose <perm = [0, 2, 1, 3, 4]> (five)
        back = Reshape (mixed, join)
        d = Conv <group = 8, strides = [2, 2], pads = [1, 1, 1, 1]> (back, wd)
        short = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)
        cat = Concat <axis = 1> (d, short)
        drop, mask = Dropout <ratio = 0.3> (cat)
        pool = GlobalAveragePool (drop)
        flat = Flatten (pool)
        y = Gemm <transB = 1> (flat, wf, bf)
        """,
        {
            "w1": normal(8, 3, 1, 1), "gamma": normal(8), "beta": normal(8, seed=1), "mean": normal(8, seed=2), "var": np.abs(normal(8)),
            "split": np.array([1, 2, 4, 8, 8]), "join": np.array([1, 8, 8, 8]), "wd": normal(8, 1, 3, 3), "wf": normal(5, 14),
            "bf": normal(5),
        },
        opset=9,
    )  # fmt: skip
    assert_imported_right(load(model))


def test_caffe_network_with_lrn_and_ceiling_pools():
    model = graph(
        "float[1,3,21,21] x => float y",
        """
        c = Conv <strides = [2, 2]> (x, w1, b1)
        r = Relu (c)
        p1 = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (r)
        n = LRN <size = 5, alpha = 0.5, beta = 0.75, bias = 2.0> (p1)
        p2 = MaxPool <kernel_shape = [2, 2], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1> (n)
        a = AveragePool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1, count_include_pad = 1> (p2)
        flat = Flatten (a)
        z = Gemm (flat, wf, bf)
        y = Softmax <axis = 1> (z)
        """,
        {"w1": normal(6, 3, 3, 3), "b1": normal(6), "wf": normal(24, 4), "bf": normal(4)},
        opset=11,
    )
    net = load(model)
    assert "ceil_mode" not in {attribute.name for node in net.onnx.graph.node for attribute in node.attribute}
    assert_imported_right(net)


def test_tensorflow_export_with_same_pads_and_bias_adds():
    model = graph(
        "float[1,9,9,3] image => float y",
        """
        x = Transpose <perm = [0, 3, 1, 2]> (image)
        padded = Pad (x, pads)
        c = Conv <strides = [2, 2]> (padded, w1)
        biased = Add (c, bias)
        low = Clip (biased, zero)
        d = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (low, w2)
        scaled = Mul (d, scale)
        m = MaxPool <auto_pad = "SAME_LOWER", kernel_shape = [2, 2]> (scaled)
        mean = ReduceMean <axes = [2, 3], keepdims = 0> (m)
        y = MatMul (mean, wf)
        """,
        {
            "pads": np.array([0, 0, 0, 1, 0, 0, 1, 1]), "w1": normal(4, 3, 3, 3), "bias": normal(1, 4, 1, 1), "zero": np.float32(0),
            "w2": normal(5, 4, 3, 3), "scale": normal(5, 1, 1), "wf": normal(5, 2),
        },
    )  # fmt: skip
    net = load(model)
    ops = operators(net)
    assert "relax.nn.pad" not in ops and "relax.multiply" not in ops and "relax.nn.relu" in ops
    assert inventory(net.mod)[0].padding == (0, 1, 1, 1)
    assert_imported_right(net)


def test_layer_names_follow_the_nodes_and_reach_relax():
    model = graph(
        "float[1,3,8,8] x => float y",
        "a = Conv (x, stem_weight) b = Conv (a, stem_weight2) f = Flatten (b) y = MatMul (f, fc_kernel)",
        {"stem_weight": normal(4, 3, 3, 3), "stem_weight2": normal(4, 4, 3, 3), "fc_kernel": normal(64, 5)},
    )
    model.graph.node[1].name = "block.1/conv:2"
    net = load(model)
    assert [node.name for node in net.onnx.graph.node if node.op_type != "Flatten"] == ["stem", "block.1/conv:2", "fc"]
    assert names(net) == ["stem", "block.1/conv:2", "fc"]
    assert [param.name for param in net.mod["main"].params] == ["x"]
