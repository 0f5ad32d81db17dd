"""A dozen small models that are right, each of another kind: what the fuzz tests damage."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32) / 4


def model(nodes: list, tensors: dict, opset: int = 17, dtype: int = TensorProto.FLOAT, functions: list = ()) -> onnx.ModelProto:
    """One input x of (1, 4, 8, 8), one output y of unknown shape."""
    made = [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()]
    ends = [helper.make_tensor_value_info(name, dtype, sizes) for name, sizes in (("x", (1, 4, 8, 8)), ("y", None))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], made)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("own", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


def plain() -> onnx.ModelProto:
    return model(
        [
            node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1], strides=[1, 1], kernel_shape=[3, 3]),
            node("Relu", ["c"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["p"], ["f"], axis=1),
            node("Gemm", ["f", "v", "d"], ["y"], "fc", transB=1, alpha=1.0),
        ],
        {"w": weights(4, 4, 3, 3), "b": weights(4), "v": weights(5, 64), "d": weights(5)},
    )


def depthwise() -> onnx.ModelProto:
    return model(
        [
            node("Conv", ["x", "w"], ["c"], "dw", group=4, dilations=[2, 2], auto_pad="SAME_UPPER"),
            node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], epsilon=1e-3),
            node("Clip", ["n", "lo", "hi"], ["k"]),
            node("GlobalAveragePool", ["k"], ["g"]),
            node("Mul", ["k", "g"], ["q"]),
            node("Conv", ["q", "u"], ["y"], "pw"),
        ],
        {"w": weights(4, 1, 3, 3), "s": weights(4), "b": weights(4), "m": weights(4), "v": weights(4) ** 2 + 1, "lo": np.float32(0),
         "hi": np.float32(6), "u": weights(8, 4, 1, 1)},
    )  # fmt: skip


def upsampling() -> onnx.ModelProto:
    return model(
        [
            node("ConvTranspose", ["x", "w"], ["c"], "up", strides=[2, 2], output_padding=[1, 1], pads=[1, 1, 1, 1]),
            node("Resize", ["c", "", "s"], ["r"], mode="linear", coordinate_transformation_mode="half_pixel"),
            node("Pad", ["r", "p", "z"], ["q"], mode="constant"),
            node("DepthToSpace", ["q"], ["d"], blocksize=2, mode="DCR"),
            node("Slice", ["d", "from", "to", "axes", "steps"], ["y"]),
        ],
        {"w": weights(4, 4, 3, 3), "s": np.float32([1, 1, 2, 2]), "p": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "z": np.float32(0),
         "from": np.int64([0]), "to": np.int64([20]), "axes": np.int64([2]), "steps": np.int64([2])},
    )  # fmt: skip


def shapes() -> onnx.ModelProto:
    return model(
        [
            node("Conv", ["x", "w"], ["c"], "conv"),
            node("Shape", ["c"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Unsqueeze", ["n", "axes"], ["u"]),
            node("Constant", [], ["minus"], value=numpy_helper.from_array(np.int64([-1]))),
            node("Concat", ["u", "minus"], ["t"], axis=0),
            node("Reshape", ["c", "t"], ["f"]),
            node("MatMul", ["f", "v"], ["a"], "fc"),
            node("Softmax", ["a"], ["y"], axis=-1),
        ],
        {"w": weights(4, 4, 3, 3), "zero": np.int64(0), "axes": np.int64([0]), "v": weights(144, 5)},
    )


def constants() -> onnx.ModelProto:
    return model(
        [
            node("ConstantOfShape", ["cs"], ["w"], value=numpy_helper.from_array(np.float32([0.5]))),
            node("Range", ["zero", "four", "one"], ["r"]),
            node("Cast", ["r"], ["b"], to=TensorProto.FLOAT),
            node("Conv", ["x", "w", "b"], ["c"], "conv"),
            node("Expand", ["k", "es"], ["e"]),
            node("Tile", ["e", "ts"], ["t"]),
            node("OneHot", ["hot", "depth", "onoff"], ["h"], axis=-1),
            node("ReduceSum", ["h"], ["hs"], keepdims=0),
            node("Add", ["c", "t"], ["a"]),
            node("Mul", ["a", "hs"], ["y"]),
        ],
        {"cs": np.int64([4, 4, 3, 3]), "zero": np.int64(0), "four": np.int64(4), "one": np.int64(1), "k": weights(1, 1),
         "es": np.int64([2, 3]), "ts": np.int64([3, 2]), "hot": np.int64([1, 0]), "depth": np.int64(3), "onoff": np.float32([0, 1])},
    )  # fmt: skip


def functions() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inner = helper.make_function("own", "Inner", ["a"], ["b"], [node("Sigmoid", ["a"], ["s"]), node("Mul", ["a", "s"], ["b"])], opsets)
    calls = [node("Inner", ["a"], ["m"], domain="own"), node("Inner", ["m"], ["b"], domain="own")]
    outer = helper.make_function("own", "Outer", ["a"], ["b"], calls, opsets)
    nodes = [node("Conv", ["x", "w"], ["c"], "conv"), node("Outer", ["c"], ["y"], domain="own")]
    return model(nodes, {"w": weights(4, 4, 3, 3)}, functions=[inner, outer])


def branches() -> onnx.ModelProto:
    graphs = []
    for name, scale in (("then", 2.0), ("else", 3.0)):
        value = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        tensor = numpy_helper.from_array(np.float32(scale), f"{name}_s")
        graphs.append(helper.make_graph([node("Mul", ["c", f"{name}_s"], [f"{name}_y"])], name, [], [value], [tensor]))
    nodes = [node("Conv", ["x", "w"], ["c"], "conv"), node("If", ["yes"], ["y"], then_branch=graphs[0], else_branch=graphs[1])]
    return model(nodes, {"w": weights(4, 4, 3, 3), "yes": np.bool_(True)})


def old() -> onnx.ModelProto:
    return model(
        [
            node("Conv", ["x", "w"], ["c"], "conv"),
            node("Upsample", ["c", "s"], ["u"], mode="nearest"),
            node("Clip", ["u"], ["k"], min=0.0, max=6.0),
            node("Pad", ["k"], ["p"], pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
            node("LRN", ["p"], ["l"], size=3),
            node("Dropout", ["l"], ["d"], ratio=0.5),
            node("Squeeze", ["d"], ["q"], axes=[0]),
            node("Unsqueeze", ["q"], ["y"], axes=[0]),
        ],
        {"w": weights(4, 4, 3, 3), "s": np.float32([1, 1, 2, 2])},
        opset=9,
    )


def quantised() -> onnx.ModelProto:
    integers = np.random.default_rng(0).integers(-100, 100, (4, 4, 3, 3)).astype(np.int8)
    return model(
        [
            node("DequantizeLinear", ["q", "s", "z"], ["w"]),
            node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
            node("Conv", ["xd", "w"], ["y"], "conv"),
        ],
        {"q": integers, "s": np.float32(0.01), "z": np.int8(0)},
    )


def half() -> onnx.ModelProto:
    nodes = [node("Conv", ["x", "w"], ["c"], "conv"), node("Relu", ["c"], ["y"])]
    return model(nodes, {"w": weights(4, 4, 3, 3).astype(np.float16)}, dtype=TensorProto.FLOAT16)


def sparse() -> onnx.ModelProto:
    built = model([node("Conv", ["x", "w"], ["c"], "conv"), node("Add", ["c", "s"], ["y"])], {"w": weights(4, 4, 3, 3)})
    values, places = numpy_helper.from_array(np.float32([1, 2]), "s"), numpy_helper.from_array(np.int64([1, 4]), "places")
    built.graph.sparse_initializer.add().CopyFrom(helper.make_sparse_tensor(values, places, [6]))
    return built


def detector() -> onnx.ModelProto:
    return model(
        [
            node("Conv", ["x", "w"], ["c"], "conv"),
            node("Split", ["c", "sizes"], ["a", "b"], axis=1),
            node("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]),
            node("Reshape", ["t", "form"], ["r"]),
            node("TopK", ["r", "k"], ["top", "places"], axis=1),
            node("Cast", ["places"], ["cast"], to=TensorProto.FLOAT),
            node("Concat", ["top", "cast"], ["both"], axis=1),
            node("ReduceMean", ["b"], ["m"], axes=[2, 3], keepdims=0),
            node("Einsum", ["m", "m"], ["e"], equation="ij,ik->ijk"),
            node("ReduceMax", ["e"], ["f"], axes=[1, 2], keepdims=1),
            node("Mul", ["both", "f"], ["y"]),
        ],
        {"w": weights(4, 4, 3, 3), "sizes": np.int64([2, 2]), "form": np.int64([1, 72, 1]), "k": np.int64([3])},
    )


SEEDS: dict[str, Callable[[], onnx.ModelProto]] = {
    made.__name__: made
    for made in (plain, depthwise, upsampling, shapes, constants, functions, branches, old, quantised, half, sparse, detector)
}
