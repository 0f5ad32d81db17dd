"""ONNX's own reference implementation of its operators, in NumPy, within a bound of time: some of its operators are loops in Python."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx

from ...support.errors import TenfoldError
from ..quiet import quiet

MOST_SECONDS = 60.0  # for one set of inputs
MACS_PER_SECOND = 5e8  # of its convolutions, which copy each window first, on a slow core
OLDEST_OPSET = 7  # before it operators broadcast as their attributes say, which is not looked at
# Of these every version is read as today's; before opset 13 they mean something else.
CHANGED, CHANGED_IN = ("Softmax", "LogSoftmax", "Hardmax", "Resize", "Upsample"), 13
# The evaluator has quantizers of these versions only. Those of before mean the same, as do all operators that keep values or rise.
QUANTIZERS, QUANTIZERS_OPSET = ("QuantizeLinear", "DequantizeLinear"), 19
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class TooSlow(TenfoldError):
    """It would take more than `MOST_SECONDS`."""


def evaluator_run(model: onnx.ModelProto, seconds: float = MOST_SECONDS) -> Callable[..., list[np.ndarray]]:
    """A function of inputs by name, and of the names of outputs (all of them by default).

    Raises
    ------
    TenfoldError
        The model is of an opset whose operators would be taken for newer ones.
    TooSlow
        When called: the next operator would not be done in time, or the last one was not.
    """
    from onnx.reference import ReferenceEvaluator

    _check_opset(model)
    evaluator: Any = None

    def run(inputs: dict[str, np.ndarray], names: Sequence[str] | None = None) -> list[np.ndarray]:
        nonlocal evaluator
        if evaluator is None:
            evaluator = ReferenceEvaluator(model)
            clock = _Clock(seconds)
            for node in evaluator.rt_nodes_:
                node.run = clock.watched(node)
            evaluator.clock = clock
        evaluator.clock.start()
        with quiet(), np.errstate(all="ignore"):
            return [np.asarray(value) for value in evaluator.run(None if names is None else list(names), inputs)]

    return run


def _check_opset(model: onnx.ModelProto) -> None:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), CHANGED_IN)
    changed = [node.op_type for node in model.graph.node if node.op_type in CHANGED] if opset < CHANGED_IN else []
    if opset < OLDEST_OPSET or changed:
        raise TenfoldError(f"it reads {changed[0] if changed else 'the operators'} of opset {opset} as newer ones")


class _Clock:
    def __init__(self, seconds: float) -> None:
        self.seconds, self.end = seconds, 0.0

    def start(self) -> None:
        self.end = time.monotonic() + self.seconds

    def watched(self, node: Any) -> Callable[..., Any]:
        """The `run` of a node, refused where the time left is not enough."""
        work = node.run

        def run(*inputs: Any, **options: Any) -> Any:
            need = _macs(node.op_type, inputs) / MACS_PER_SECOND
            if time.monotonic() + need > self.end:
                raise TooSlow(f"it takes more than {self.seconds:.0f} s")
            return work(*inputs, **options)

        return run


def _macs(op_type: str, inputs: Sequence[Any]) -> int:
    """Multiply-adds of a layer, a stride of 1 assumed; 0 for every other operator."""
    if op_type not in LAYERS:
        return 0
    x, weight = inputs[0].shape, inputs[1].shape
    if op_type == "Conv":
        return x[0] * prod(x[2:]) * prod(weight)
    return x[0] * prod(x[2:]) * prod(weight) if op_type == "ConvTranspose" else prod(x) * weight[-1]


def evaluate_path(model: onnx.ModelProto, path: Sequence[onnx.NodeProto], value: np.ndarray) -> np.ndarray:
    """Run nodes of a model that follow each other on a value.

    Parameters
    ----------
    model : onnx.ModelProto
        Whose constants the nodes read.
    path : sequence of onnx.NodeProto
        Each reads what the one before makes.
    value : ndarray
        First input of the first node.

    Raises
    ------
    TenfoldError
        One can't be evaluated.
    """
    begin, end = path[0].input[0], path[-1].output[0]
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    if any(node.op_type in QUANTIZERS for node in path):
        for opset in part.opset_import:
            opset.version = opset.version if opset.domain else max(opset.version, QUANTIZERS_OPSET)
    read = {name for node in path for name in node.input}
    part.graph.node.extend(node for node in model.graph.node if node.op_type == "Constant" and node.output[0] in read)
    part.graph.node.extend(path)
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read and tensor.name != begin)
    part.graph.input.append(onnx.ValueInfoProto(name=begin))
    part.graph.output.append(onnx.ValueInfoProto(name=end))
    try:
        return evaluator_run(part)({begin: value})[0]
    except Exception as error:
        raise TenfoldError(f"{end!r} can't be evaluated: {error}") from error
