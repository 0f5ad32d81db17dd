"""A network in float64: ONNX's reference implementation, with what is slow in it done by whole arrays.

ONNX Runtime has no convolution in float64. Here each of a convolution's taps is a product of matrices, and a value is dropped after its
last use, so that a batch of large images fits into memory.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy.special import erf
from tenfold.frontends.reference.retype import cast_like, retyped

Arrays = dict[str, np.ndarray]


def outputs_in_float64(model: onnx.ModelProto, inputs: Arrays) -> list[np.ndarray]:
    """The outputs of a model, every value of which is computed in float64."""
    whole = retyped(model, TensorProto.DOUBLE)
    evaluator: Any = ReferenceEvaluator(whole, new_ops=NEW)
    values: dict[str, Any] = {"": None, **evaluator.rt_inits_}
    values |= {name: cast_like(value, np.dtype("float64")) for name, value in inputs.items()}
    wanted = [output.name for output in model.graph.output]
    uses: dict[str, int] = {}
    for number, node in enumerate(model.graph.node):
        uses |= dict.fromkeys(node.input, number)
    for number, node in enumerate(evaluator.rt_nodes_):
        for name, value in zip(node.output, node.run(*[values[name] for name in node.input]), strict=False):
            values[name] = value
        for name in set(node.input) - {""} - set(wanted):
            if uses[name] == number:
                del values[name]
    return [values[name] for name in wanted]


def _taps(x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int], fill: float,
          ceil: bool = False) -> Iterator[tuple[int, int, np.ndarray]]:
    """For each place of a kernel the pixels that it meets, an image of the output's size.

    Parameters
    ----------
    x : ndarray
        (batch, channels, height, width).
    kernel, strides, pads, dilations : sequence of int
        As of ONNX.
    fill : float
        What lies outside.
    ceil : bool
        Whether a last window may reach beyond the padding.
    """
    extra = [strides[i] - 1 if ceil else 0 for i in range(2)]
    out = [(x.shape[2 + i] + pads[i] + pads[2 + i] + extra[i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in range(2)]
    padded = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2] + extra[0]), (pads[1], pads[3] + extra[1])), constant_values=fill)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows, columns = i * dilations[0], j * dilations[1]
            yield i, j, padded[:, :, rows:rows + (out[0] - 1) * strides[0] + 1:strides[0],
                               columns:columns + (out[1] - 1) * strides[1] + 1:strides[1]]


class Conv(OpRun):
    """A sum over the taps: of products with the weights, groups side by side."""

    def _run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, auto_pad: Any = None, dilations: Any = None,  # noqa: PLR0913
             group: int | None = None, kernel_shape: Any = None, pads: Any = None, strides: Any = None) -> tuple[np.ndarray]:
        groups, filters = group or 1, w.shape[0]
        total: Any = 0.0
        for i, j, tap in _taps(x, w.shape[2:], strides or (1, 1), pads or (0,) * 4, dilations or (1, 1), 0.0):
            batch, channels, height, width = tap.shape
            if groups == channels == filters:
                total = total + tap * w[:, 0, i, j][:, None, None]
            else:
                rows = tap.reshape(batch, groups, channels // groups, height * width)
                total = total + (w[:, :, i, j].reshape(groups, filters // groups, -1) @ rows).reshape(batch, filters, height, width)
        return (total if b is None else total + b[:, None, None],)


class MaxPool(OpRun):
    """The largest of the taps."""

    def _run(self, x: np.ndarray, auto_pad: Any = None, ceil_mode: int | None = None, dilations: Any = None,  # noqa: PLR0913
             kernel_shape: Any = None, pads: Any = None, storage_order: Any = None, strides: Any = None) -> tuple[np.ndarray]:
        taps = _taps(x, kernel_shape, strides or (1, 1), pads or (0,) * 4, dilations or (1, 1), -np.inf, bool(ceil_mode))
        return (np.maximum.reduce([tap for _, _, tap in taps]),)


class AveragePool(OpRun):
    """The mean of the taps, with the padding's zeros or without them."""

    def _run(self, x: np.ndarray, auto_pad: Any = None, ceil_mode: int | None = None, count_include_pad: int | None = None,  # noqa: PLR0913
             dilations: Any = None, kernel_shape: Any = None, pads: Any = None, strides: Any = None) -> tuple[np.ndarray]:
        pads, strides, dilations = pads or (0,) * 4, strides or (1, 1), dilations or (1, 1)
        # What counts: pixels, and zeros of the padding where that is asked for; never what a last window meets beyond it.
        inside = np.pad(np.ones(x.shape[2:]), ((pads[0], pads[2]), (pads[1], pads[3])), constant_values=float(bool(count_include_pad)))
        taps = _taps(x, kernel_shape, strides, pads, dilations, 0.0, bool(ceil_mode))
        counts = _taps(inside[None, None], kernel_shape, strides, (0,) * 4, dilations, 0.0, bool(ceil_mode))
        return (sum(tap for _, _, tap in taps) / sum(tap for _, _, tap in counts),)


class Resize(OpRun):
    """Images to other sizes: nearest neighbours below, or linear, without anti-aliasing."""

    def _run(self, x: np.ndarray, roi: Any = None, scales: Any = None, sizes: Any = None, mode: Any = None,  # noqa: PLR0913
             coordinate_transformation_mode: Any = None, nearest_mode: Any = None, **others: Any) -> tuple[np.ndarray]:
        shape = sizes if sizes is not None and len(sizes) else np.floor(np.array(x.shape) * scales)
        half = 0.5 if coordinate_transformation_mode == "half_pixel" else 0.0
        if half == 0.0 and coordinate_transformation_mode != "asymmetric" or mode == "nearest" and nearest_mode != "floor":
            raise NotImplementedError(f"{coordinate_transformation_mode} {mode} {nearest_mode}")
        for axis in (2, 3):
            before, after = x.shape[axis], int(shape[axis])
            at = (np.arange(after) + half) * before / after - half
            low = np.floor(at).astype(int)
            if mode == "nearest":
                x = np.take(x, low, axis)
                continue
            share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
            left, right = (np.take(x, np.clip(low + step, 0, before - 1), axis) for step in (0, 1))
            x = left * (1 - share) + right * share
        return (x,)


class Erf(OpRun):
    """SciPy's."""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (erf(x),)


NEW = [Conv, MaxPool, AveragePool, Resize, Erf]
