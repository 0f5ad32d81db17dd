"""Where a compiled network begins to differ from its reference: the first layer whose value is wrong."""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..support import interrupts
from ..support.files.temporary import TemporaryFolder
from .data import random_inputs
from .verify import TOLERANCE, compare_arrays

if TYPE_CHECKING:
    import onnx
    import tvm

    from ..schedules.space import Point
    from ..targets import Target
    from .build import Variant
    from .devices.device import Device

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
PREFIX = "value of "


def first_difference(variant: Variant, target: Target, device: Device, tuned: Mapping[str, Point],
                     tolerance: float = TOLERANCE) -> str:
    """In words, to follow a message: from which layer on the compiled network differs. Empty where that can't be told.

    The network is compiled once more for the device with the values of its layers as further outputs, and these are compared with what
    ONNX Runtime computes for the same layers: before the bias, which Relax adds in an operator of its own.
    """
    try:
        return f"; {_first_difference(variant, target, device, tuned, tolerance)}"
    except Exception as error:  # whatever goes wrong here, the message that it was to complete is what counts
        if interrupts.disguised(error):
            raise
        return ""


def _first_difference(variant: Variant, target: Target, device: Device, tuned: Mapping[str, Point], tolerance: float) -> str:
    from ..frontends.reference import onnxruntime_reference
    from .build import build_library, program_of

    exposed, candidates = expose_onnx(variant.onnx)
    mod, names = expose_relax(variant.mod, candidates)
    feeds = random_inputs(variant.network.inputs)
    with TemporaryFolder() as folder:
        handle = device.load(program_of(mod, build_library(mod, target, folder, tuned=tuned), folder, target.cores))
        ours = list(device.run(handle, feeds).values())[: len(names)]
        device.drop(handle)
    outputs = len(variant.onnx.graph.output)
    theirs = dict(zip(candidates, onnxruntime_reference(exposed)(feeds)[outputs:], strict=True))
    right = None
    for name, value in zip(names, ours, strict=True):
        difference = compare_arrays(value, theirs[name]).relative if value.shape == theirs[name].shape else np.inf
        if not difference <= tolerance:
            before = f"; {right!r} before it is right" if right else ""
            return f"from layer {name!r} on (its value differs by {difference:.1e}{before})"
        right = name
    return f"after layer {right!r}, the last one: every layer by itself is right" if right else "it has no layers to look into"


def expose_onnx(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """`model` with the value of each layer, without its bias, as a further output.

    Returns
    -------
    onnx.ModelProto, list of str
        The names of the layers, in the order of the further outputs.
    """
    import onnx

    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    dtypes = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    names = []
    for node in model.graph.node:
        if node.op_type in LAYERS and len(node.input) > 1 and node.input[1] in dtypes:
            twin = exposed.graph.node.add()
            twin.CopyFrom(node)
            twin.name = twin.output[0] = PREFIX + node.name
            del twin.input[2:]
            exposed.graph.output.append(onnx.helper.make_tensor_value_info(twin.output[0], dtypes[node.input[1]], None))
            names.append(node.name)
    return exposed, names


def expose_relax(mod: tvm.IRModule, wanted: list[str]) -> tuple[tvm.IRModule, list[str]]:
    """`mod` with the variables that are named in `wanted` returned before its own result.

    Returns
    -------
    tvm.IRModule, list of str
        The names that there are, in the order in which they are returned.
    """
    from tvm import relax

    flat = relax.transform.ToNonDataflow()(mod)  # inner values of a dataflow block can't be returned
    function, names = flat["main"], set(wanted)
    variables = {b.var.name: b.var for block in function.body.blocks for b in block.bindings if b.var.name in names}
    result = relax.Tuple([*variables.values(), function.body.body])
    body = relax.BlockBuilder(flat).normalize(relax.SeqExpr(function.body.blocks, result))
    main = relax.Function(function.params, body, attrs=function.attrs, is_pure=function.is_pure)
    flat.update_func(flat.get_global_var("main"), main)
    return relax.transform.ConvertToDataflow(min_size=1)(relax.transform.Normalize()(flat)), list(variables)
