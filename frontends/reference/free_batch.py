"""An ONNX graph for images one by one (or N by N) -> the same graph for any number of images at once.

    image[1, 3, 32, 32], Reshape(x, [1, 2304])   ->   image[images, 3, 32, 32], Reshape(x, [-1, 2304])

Calibration and evaluation run thousands of images; in batches they take a half to a fifth of the time.
"""
from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ...support.errors import TenfoldError
from ...support.input_set import Images, by_name
from .graph_activations import GraphActivations

TOLERANCE = 1e-3  # of the largest output: between runs of different batches only rounding differs
AXIS = "images"


def free_batch(model: onnx.ModelProto, images: Images) -> onnx.ModelProto:
    """Free the first axis of the network's inputs, where that leaves what the network computes as it is.

    Parameters
    ----------
    model
        Normalised. Not modified.
    images
        At least two batches of them prove that the freed graph computes what the given one does.

    Returns
    -------
    onnx.ModelProto
        With the same nodes and weights. The model itself where its batch can't be freed.

    Raises
    ------
    TenfoldError
        The images do not fit its inputs, or these have not the same batch.
    """
    arrays = by_name(images, [value.name for value in model.graph.input])
    sizes = {value.name: _check(value, arrays[value.name]) for value in model.graph.input}
    size = next(iter(sizes.values()))
    for name, other in sizes.items():
        if other != size:
            first = next(iter(sizes))
            raise TenfoldError(f"calibration runs image by image: input {name!r} has a first size of {other}, {first!r} of {size}")
    freed = _freed(model, size)
    try:
        return freed if _same(model, freed, images[: 2 * size]) else model
    except TenfoldError:  # ONNX Runtime refuses the freed graph
        return model


def _check(value: onnx.ValueInfoProto, images: np.ndarray) -> int:
    """The batch of the network; TenfoldError unless the images fit the input ``value``."""
    tensor = value.type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if not shape:
        raise TenfoldError(f"calibration runs image by image: the input {value.name!r} is a single number")
    if images.ndim != len(shape) or list(images.shape[1:]) != shape[1:]:
        wanted = ", ".join(map(str, ["N", *shape[1:]]))
        raise TenfoldError(f"the images are of shape {list(images.shape)}, the input {value.name!r} is [{wanted}]")
    if images.dtype != dtype:
        raise TenfoldError(f"the images are {images.dtype}, the input {value.name!r} is {dtype}")
    if not len(images):
        raise TenfoldError("there are no images")
    return shape[0]


def _freed(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*model.graph.value_info, *model.graph.input)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        target = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        dims = shapes.get(node.input[0])
        if target is None or not dims or dims[0].dim_value != size:
            continue
        shape = numpy_helper.to_array(target).copy()
        if len(shape) and shape[0] == size and not (shape[1:] < 0).any():
            shape[0] = -1
            tensor = numpy_helper.from_array(shape, f"{target.name}.{AXIS}.{node.output[0]}")
            graph.initializer.append(tensor)
            node.input[1] = tensor.name
    del graph.value_info[:]  # of the old batch
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == size:
            dims[0].dim_param = AXIS
    return freed


def _same(model: onnx.ModelProto, freed: onnx.ModelProto, images: Images) -> bool:
    """Whether both graphs give the same outputs for ``images``."""
    names = [value.name for value in model.graph.output]
    size = len(images)
    together = next(GraphActivations(freed, names).batches(images, size))
    apart = list(GraphActivations(model, names).batches(images, size))
    for name in names:
        expected = np.concatenate([values[name] for values in apart])
        if together[name].shape != expected.shape:
            return False
        if np.abs(together[name] - expected).max() > TOLERANCE * max(np.abs(expected).max(), 1e-30):
            return False
    return True
