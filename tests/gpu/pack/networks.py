"""Whole networks for any batch, with weights that take little room."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from arm.networks import EXAMPLES, mobilenet_v2
from networks import resnet18, write_module
from onnx import numpy_helper

ENERGY = 0.85  # as examples/compile.py has it
LEVELS = np.array([-1.51, -0.4528, 0.4528, 1.51])  # the four values that stand for a normal distribution best (Lloyd, Max)
FILTERS, CHANNELS = 17, 13  # that differ, over and over: no tile has so many, so one at another place shows. All compress well


def four_valued(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with weights of four values a tensor, of the size that they have, and few filters and channels that differ."""
    for index, tensor in enumerate(model.graph.initializer):
        if len(tensor.dims) < 2 or tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        rng, weight = np.random.default_rng(index), numpy_helper.to_array(tensor)
        levels = (LEVELS + rng.uniform(-0.01, 0.01, 4)) * float(weight.std())
        filters, channels = (np.arange(count) % period for count, period in zip(weight.shape, (FILTERS, CHANNELS), strict=False))
        choice = rng.integers(0, 4, (FILTERS, CHANNELS, *weight.shape[2:]))[np.ix_(filters, channels)]
        tensor.CopyFrom(numpy_helper.from_array(levels.astype(np.float32)[choice], tensor.name))
    return model


def with_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A network that was exported for one image, for several."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            _, *rest = numpy_helper.to_array(tensor).tolist()
            tensor.CopyFrom(numpy_helper.from_array(np.array([batch, *rest], np.int64), tensor.name))
    return model


def _normal_form(path: Path) -> onnx.ModelProto:
    from tenfold.frontends import load

    return load(path).onnx


def _bundled(name: str, cache: Path) -> onnx.ModelProto:
    return _normal_form(EXAMPLES / f"{name}.onnx")


def _factored(name: str, cache: Path) -> onnx.ModelProto:
    import tenfold

    if not (cache / name / "model.onnx").exists():
        tenfold.compress(EXAMPLES / f"{name}.onnx", cache / name, tenfold.Recipe(energy=ENERGY))
    return _normal_form(cache / name / "model.onnx")


def _made(name: str, make: Callable[[], object], cache: Path) -> onnx.ModelProto:
    path = cache / f"{name}.onnx"
    if not path.exists():
        write_module(make, path)
    return four_valued(_normal_form(path))


NETWORKS: dict[str, Callable[[Path], onnx.ModelProto]] = {
    "bundled, dense": partial(_bundled, "cifar10_jin_baseline"),
    "bundled, factored": partial(_factored, "cifar10_jin_baseline"),
    "small VGG": lambda cache: four_valued(_bundled("cifar10_vgg", cache)),
    "ResNet-18": partial(_made, "resnet18", resnet18),
    "MobileNet-v2": partial(_made, "mobilenet_v2", mobilenet_v2),
}
