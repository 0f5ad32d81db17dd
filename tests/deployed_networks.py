"""Small networks of the forms that are deployed: two inputs and two outputs, a segmenter, a detector; with images and what metrics need."""
from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 8  # pixels
CLASSES = 3


def falling(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """A weight whose singular values fall: a few ranks hold most of it."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    left, _, right = np.linalg.svd(rng.standard_normal((rows, columns)), full_matrices=False)
    return (left * 0.6 ** np.arange(len(right)) @ right).reshape(shape).astype("float32") * 3


def _model(name: str, nodes: list, weights: dict, inputs: dict, outputs: dict) -> onnx.ModelProto:
    values = [[helper.make_tensor_value_info(key, kind, shape) for key, (shape, kind) in ports.items()] for ports in (inputs, outputs)]
    graph = helper.make_graph(nodes, name, *values, [numpy_helper.from_array(array, key) for key, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _trunk(rng: np.random.Generator) -> tuple[list, dict]:
    """image (1, 4, 8, 8) -> r2 (1, 32, 8, 8); layers conv1 and conv2."""
    weights = {"w1": falling(rng, 32, 4, 3, 3), "w2": falling(rng, 32, 32, 3, 3)}
    weights |= {key: rng.standard_normal(32).astype("float32") / 4 for key in ("b1", "b2")}
    nodes = []
    for number, source in ((1, "image"), (2, "r1")):
        nodes.append(helper.make_node("Conv", [source, f"w{number}", f"b{number}"], [f"c{number}"], f"conv{number}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
    return nodes, weights


IMAGE = {"image": ([1, 4, SIZE, SIZE], TensorProto.FLOAT)}


def two_by_two(seed: int = 0) -> onnx.ModelProto:
    """image and info (1, 5) -> scores (1, 6) and box (1, 4): two outputs of both inputs."""
    rng = np.random.default_rng(seed)
    nodes, weights = _trunk(rng)
    weights |= {"w3": rng.standard_normal((6, 37)).astype("float32") / 3, "w4": rng.standard_normal((4, 37)).astype("float32") / 3}
    nodes += [
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Concat", ["f", "info"], ["both"], axis=1),
        helper.make_node("Gemm", ["both", "w3"], ["scores"], "classify", transB=1),
        helper.make_node("Gemm", ["both", "w4"], ["box"], "locate", transB=1),
    ]
    outputs = {"scores": ([1, 6], TensorProto.FLOAT), "box": ([1, 4], TensorProto.FLOAT)}
    return _model("two", nodes, weights, {**IMAGE, "info": ([1, 5], TensorProto.FLOAT)}, outputs)


def segmenter(seed: int = 0) -> onnx.ModelProto:
    """image -> masks (1, 3, 8, 8), logits of each pixel."""
    rng = np.random.default_rng(seed)
    nodes, weights = _trunk(rng)
    weights["w3"] = rng.standard_normal((CLASSES, 32, 1, 1)).astype("float32") / 4
    nodes.append(helper.make_node("Conv", ["r2", "w3"], ["masks"], "head"))
    return _model("segmenter", nodes, weights, IMAGE, {"masks": ([1, CLASSES, SIZE, SIZE], TensorProto.FLOAT)})


def detector(seed: int = 0) -> onnx.ModelProto:
    """image -> boxes (1, 16, 4) in pixels, around anchors, scores (1, 16, 3), probabilities, and labels (1, 16), whole numbers."""
    rng = np.random.default_rng(seed)
    nodes, weights = _trunk(rng)
    at = np.stack(np.meshgrid(*(np.arange(4) * 2.0,) * 2), axis=-1).reshape(16, 2)
    weights |= {
        "wb": rng.standard_normal((4, 32, 1, 1)).astype("float32") / 16,
        "ws": rng.standard_normal((CLASSES, 32, 1, 1)).astype("float32") / 4,
        "anchors": np.concatenate([at, at + 2], axis=1)[None].astype("float32"),
        "b_shape": np.array([1, 4, 16]), "s_shape": np.array([1, CLASSES, 16]),
    }
    nodes.append(helper.make_node("MaxPool", ["r2"], ["p"], kernel_shape=[2, 2], strides=[2, 2]))
    for key in "bs":
        nodes.append(helper.make_node("Conv", ["p", f"w{key}"], [f"h{key}"], f"head_{key}"))
        nodes.append(helper.make_node("Reshape", [f"h{key}", f"{key}_shape"], [f"f{key}"]))
        nodes.append(helper.make_node("Transpose", [f"f{key}"], [f"t{key}"], perm=[0, 2, 1]))
    nodes += [
        helper.make_node("Add", ["tb", "anchors"], ["boxes"]),
        helper.make_node("Softmax", ["ts"], ["scores"], axis=2),
        helper.make_node("ArgMax", ["ts"], ["labels"], axis=2, keepdims=0),
    ]
    outputs = {"boxes": ([1, 16, 4], TensorProto.FLOAT), "scores": ([1, 16, CLASSES], TensorProto.FLOAT)}
    return _model("detector", nodes, weights, IMAGE, {**outputs, "labels": ([1, 16], TensorProto.INT64)})


def arrays(model: onnx.ModelProto, count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Standard normal values for each input."""
    rng = np.random.default_rng(seed)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    return {name: rng.standard_normal((count, *shape[1:])).astype("float32") for name, shape in shapes.items()}


def answers(model: onnx.ModelProto, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime says, image by image."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = [session.run(None, {key: array[number : number + 1] for key, array in images.items()})
             for number in range(len(next(iter(images.values()))))]
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*found, strict=True), strict=True)}
