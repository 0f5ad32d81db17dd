"""Outputs that jump: an arg max, a mask, a rounding. Where the value behind them is a near tie, either side of the jump is right."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..support.errors import TenfoldError
from .tolerance import SPREAD

if TYPE_CHECKING:
    import onnx

    from ..frontends.reference import Reference

# The elements stay the same, and in the same order.
KEEPING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
# Element by element and never falling, some in steps.
RISING = ("Cast", "Round", "Floor", "Ceil", "Clip", "Relu", "QuantizeLinear", "DequantizeLinear")
QUANTIZING = ("QuantizeLinear", "QLinearConv", "QLinearMatMul")
# Of the elements of a quantized output, these may be one step off. (The root of the mean square is then a quarter of a step.)
SHARE = SPREAD**2
COMPARING = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")


class NearTies:
    """Judges the outputs of one network on one set of inputs.

    Parameters
    ----------
    reference : Reference
        Its inner values are what tells.
    feeds : dict of str to ndarray
    tolerance : float
        How far inner values may be apart, over the largest of them.
    """

    def __init__(self, reference: Reference, feeds: dict[str, np.ndarray], tolerance: float) -> None:
        self._reference, self._feeds, self._tolerance = reference, feeds, tolerance

    def explains(self, output: int, ours: np.ndarray, theirs: np.ndarray) -> bool:
        """Whether every element of `ours` is one that inner values within the tolerance can give."""
        try:
            name = self._reference.model.graph.output[output].name
            path, makers = [], {value: node for node in self._reference.model.graph.node for value in node.output}
            if self._is_quantized(makers, name):
                return _off_by_few_steps(ours, theirs)
            while name in makers and makers[name].op_type in KEEPING + RISING and len(makers[name].output) == 1:
                path.append(makers[name])
                name = makers[name].input[0]
            decide = self._decide(makers[name].op_type) if name in makers else None
            if decide is not None and all(node.op_type in (*KEEPING, "Cast") for node in path):
                return decide(makers[name], name, ours, theirs)
            steps = any(node.op_type not in (*KEEPING, "Clip", "Relu", "DequantizeLinear") for node in path)
            return steps and self._between(path[::-1], name, ours)
        except TenfoldError:  # inner values can't be had: nothing speaks for a tie
            return False

    def _is_quantized(self, makers: dict[str, onnx.NodeProto], name: str) -> bool:
        while name in makers and makers[name].op_type in KEEPING:
            name = makers[name].input[0]
        return name in makers and makers[name].op_type in QUANTIZING

    def _decide(self, op_type: str) -> Callable[..., bool] | None:
        if op_type in ("ArgMax", "ArgMin"):
            return self._arg_max
        if op_type == "TopK":
            return self._top_k
        return self._comparison if op_type in COMPARING else None

    def _value(self, name: str) -> np.ndarray:
        constants = {tensor.name: tensor for tensor in self._reference.model.graph.initializer}
        if name in constants:
            from onnx import numpy_helper

            return numpy_helper.to_array(constants[name]).astype(np.float64)
        return self._reference.values([name], self._feeds)[name].astype(np.float64)

    def _room(self, *values: np.ndarray) -> float:
        return self._tolerance * max((float(np.abs(v[np.isfinite(v)]).max(initial=0.0)) for v in values), default=0.0)

    def _arg_max(self, node: onnx.NodeProto, name: str, ours: np.ndarray, theirs: np.ndarray) -> bool:
        values, axis = self._value(node.input[0]), _attribute(node, "axis", 0)
        shape = list(values.shape)
        shape[axis] = 1
        return self._picks_alike(values, axis, ours.reshape(shape), theirs.reshape(shape))

    def _top_k(self, node: onnx.NodeProto, name: str, ours: np.ndarray, theirs: np.ndarray) -> bool:
        if name != node.output[1]:
            return False  # the values themselves: they have no jumps
        values, axis = self._value(node.input[0]), _attribute(node, "axis", -1)
        shape = list(values.shape)
        shape[axis] = -1
        ours, theirs = ours.reshape(shape), theirs.reshape(shape)
        distinct = (np.diff(np.sort(ours, axis=axis), axis=axis) != 0).all()
        return bool(distinct) and self._picks_alike(values, axis, ours, theirs)

    def _picks_alike(self, values: np.ndarray, axis: int, ours: np.ndarray, theirs: np.ndarray) -> bool:
        """Whether what both indices pick is the same but for twice the room: the one may have risen, the other fallen."""
        if ours.dtype.kind not in "iu" or ours.min(initial=0) < 0 or ours.max(initial=0) >= values.shape[axis]:
            return False
        picked, wanted = (np.take_along_axis(values, indices.astype(np.int64), axis) for indices in (ours, theirs))
        return bool((np.abs(picked - wanted) <= 2 * self._room(values)).all())

    def _comparison(self, node: onnx.NodeProto, name: str, ours: np.ndarray, theirs: np.ndarray) -> bool:
        left, right = self._value(node.input[0]), self._value(node.input[1])
        close = np.abs(left - right) <= 2 * self._room(left, right)
        return bool((close.reshape(ours.shape) | (ours == theirs)).all())

    def _between(self, path: list[onnx.NodeProto], name: str, ours: np.ndarray) -> bool:
        """Whether `ours` lies between what the rising operators on the path make of a little less and a little more."""
        from ..frontends.reference import evaluate_path

        value = self._reference.values([name], self._feeds)[name]
        if value.dtype.kind != "f":
            return False
        room = self._room(value.astype(np.float64))
        low, high = (evaluate_path(self._reference.model, path, (value + side).astype(value.dtype)) for side in (-room, room))
        mine = ours.astype(np.float64)
        return bool(((low.astype(np.float64) <= mine) & (mine <= high.astype(np.float64))).all())


def _off_by_few_steps(ours: np.ndarray, theirs: np.ndarray) -> bool:
    difference = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
    return bool(difference.max(initial=0) <= 1 and (difference > 0).mean() <= SHARE)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
