"""ONNX operators (opset 13 and later) as functions of PyTorch.

Each entry of `OPERATORS` is made once for each node, from its attributes and those of its inputs that are constant (NumPy arrays, None
for the others), and returns the function that runs it, or None for a form that it lacks.
"""
from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Attributes = dict[str, Any]
Constants = list[np.ndarray | None]
Maker = Callable[[Attributes, Constants], Callable[..., Any] | None]


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Images and kernels with the channels innermost; anything else as it is."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _same(function: Callable[..., Any]) -> Maker:
    return lambda attributes, constants: function


def _ints(constants: Constants, index: int) -> list[int] | None:
    array = _constant(constants, index)
    return None if array is None else [int(v) for v in np.ravel(array)]


def _constant(constants: Constants, index: int) -> np.ndarray | None:
    return constants[index] if index < len(constants) else None


def _split_pads(pads: Sequence[int] | None, spatial: int) -> tuple[list[int], list[int] | None]:
    """ONNX pads (begins, then ends) -> (symmetric padding, None), or (zeros, the argument for F.pad)."""
    begins, ends = (list(pads[:spatial]), list(pads[spatial:])) if pads else ([0] * spatial, [0] * spatial)
    if begins == ends:
        return begins, None
    return [0] * spatial, [size for pair in reversed(list(zip(begins, ends, strict=True))) for size in pair]


def _conv(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    if constants[1] is None or constants[1].ndim not in (3, 4, 5) or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    spatial = constants[1].ndim - 2
    function = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    padding, extra = _split_pads(attributes.get("pads"), spatial)
    stride, dilation = attributes.get("strides", [1] * spatial), attributes.get("dilations", [1] * spatial)
    groups = attributes.get("group", 1)

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return function(x if extra is None else F.pad(x, extra), weight, bias, stride, padding, dilation, groups)

    return run


def _conv_transpose(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    padding, extra = _split_pads(attributes.get("pads"), 2)
    automatic = attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in attributes
    if constants[1] is None or constants[1].ndim != 4 or extra or automatic:
        return None
    stride, dilation = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    output_padding, groups = attributes.get("output_padding", [0, 0]), attributes.get("group", 1)
    return lambda x, weight, bias=None: F.conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation)


def _max_pool(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    kernel = attributes["kernel_shape"]
    if len(kernel) != 2 or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    padding, extra = _split_pads(attributes.get("pads"), 2)
    if extra is None and any(2 * p > k for p, k in zip(padding, kernel, strict=True)):  # torch allows half a window
        padding, extra = [0, 0], [padding[1], padding[1], padding[0], padding[0]]
    stride, dilation, ceil = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1]), bool(attributes.get("ceil_mode", 0))

    def run(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x if extra is None else F.pad(x, extra, value=-torch.inf), kernel, stride, padding, dilation, ceil)

    return run


def _average_pool(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    kernel = attributes["kernel_shape"]
    padding, extra = _split_pads(attributes.get("pads"), 2)
    if len(kernel) != 2 or extra or attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or "dilations" in attributes:
        return None
    stride, ceil = attributes.get("strides", [1, 1]), bool(attributes.get("ceil_mode", 0))
    count = bool(attributes.get("count_include_pad", 0))
    return lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil, count)


def _gemm(attributes: Attributes, constants: Constants) -> Callable[..., Any]:
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    flip_a, flip_b = attributes.get("transA", 0), attributes.get("transB", 0)

    def run(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        a, b = a.t() if flip_a else a, b.t() if flip_b else b
        return alpha * (a @ b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)

    return run


def _reshape(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    shape = _ints(constants, 1)
    if shape is None or (attributes.get("allowzero", 0) and 0 in shape):
        return None
    return lambda x, _: x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _flatten(attributes: Attributes, constants: Constants) -> Callable[..., Any]:
    axis = attributes.get("axis", 1)
    return lambda x: x.reshape(int(np.prod(x.shape[:axis])), -1)


def _axes(function: Callable[[torch.Tensor, list[int]], torch.Tensor]) -> Maker:
    def make(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
        axes = _ints(constants, 1) or attributes.get("axes")
        return None if axes is None else lambda x, *_: function(x, axes)

    return make


def _unsqueeze(x: torch.Tensor, axes: list[int]) -> torch.Tensor:
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _reduce(function: Callable[..., torch.Tensor]) -> Maker:
    def make(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
        axes, keep = _ints(constants, 1) or attributes.get("axes"), bool(attributes.get("keepdims", 1))
        return None if axes is None else lambda x, *_: function(x, axes, keep)

    return make


def _split(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    sizes, axis = _ints(constants, 1), attributes.get("axis", 0)
    return None if sizes is None else lambda x, *_: torch.split(x, sizes, axis)


def _slice(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    starts, ends, axes, steps = (_ints(constants, i) for i in range(1, 5))
    if starts is None or ends is None or min(steps or [1]) < 1:
        return None
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)

    def run(x: torch.Tensor, *_: Any) -> torch.Tensor:
        index = [slice(None)] * x.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            index[axis] = slice(start, end, step)
        return x[tuple(index)]

    return run


def _gather(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    """Gather with constant indices, such as a permutation of channels."""
    indices, axis = constants[1], attributes.get("axis", 0)
    if indices is None or indices.ndim > 1:
        return None
    if indices.ndim == 0:
        return lambda x, _: x.select(axis, int(indices))
    return lambda x, given: x.index_select(axis, torch.where(given < 0, given + x.shape[axis], given))


def _pad(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    pads = _ints(constants, 1)
    given = _constant(constants, 2)
    value = 0.0 if given is None else float(given)
    if pads is None or attributes.get("mode", b"constant") != b"constant" or len(constants) > 3:
        return None
    pairs = list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True))
    flat = [size for pair in reversed(pairs) for size in pair]
    return lambda x, *_: F.pad(x, flat, value=value)


def _clip(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    low, high = (None if array is None else float(array) for array in (_constant(constants, 1), _constant(constants, 2)))
    return (lambda x, *_: x) if low is None and high is None else lambda x, *_: torch.clamp(x, low, high)


def _resize(attributes: Attributes, constants: Constants) -> Callable[..., Any] | None:
    """Only what F.interpolate computes: whole factors of nearest neighbours, and bilinear."""
    mode, where = attributes.get("mode", b"nearest"), attributes.get("coordinate_transformation_mode", b"half_pixel")
    given = [constants[i] if i < len(constants) else None for i in (2, 3)]
    scales, sizes = (np.ravel(array) if array is not None and array.size else None for array in given)
    if (scales is None and sizes is None) or attributes.get("antialias", 0) or "axes" in attributes:
        return None
    if mode == b"linear" and where in (b"half_pixel", b"pytorch_half_pixel", b"align_corners"):
        options = {"mode": "bilinear", "align_corners": where == b"align_corners"}
    elif mode == b"nearest" and where == b"asymmetric" and attributes.get("nearest_mode") == b"floor":
        options = {"mode": "nearest"}
    elif mode == b"nearest" and scales is not None and np.array_equal(scales, np.round(scales)):
        options = {"mode": "nearest"}  # every rounding gives the same neighbour
    else:
        return None

    def run(x: torch.Tensor, *_: Any) -> torch.Tensor:
        if sizes is not None:
            return F.interpolate(x, size=[int(v) for v in sizes[2:]], **options)
        assert scales is not None
        size = [int(s * v) for s, v in zip(scales[2:], x.shape[2:], strict=True)]
        return F.interpolate(x, size=size, **options)

    return run


def _attribute(function: Callable[..., Any], **defaults: Any) -> Maker:
    """An operator of one input whose attributes are the arguments of a torch function."""

    def make(attributes: Attributes, constants: Constants) -> Callable[..., Any]:
        values = [attributes.get(name, default) for name, default in defaults.items()]
        return lambda x: function(x, *values)

    return make


OPERATORS: dict[str, Maker] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _same(lambda x: F.adaptive_avg_pool2d(x, 1)),
    "GlobalMaxPool": _same(lambda x: F.adaptive_max_pool2d(x, 1)),
    "Gemm": _gemm,
    "MatMul": _same(torch.matmul),
    "Add": _same(operator.add),
    "Sub": _same(operator.sub),
    "Mul": _same(operator.mul),
    "Div": _same(operator.truediv),
    "Pow": _same(torch.pow),
    "Sqrt": _same(torch.sqrt),
    "Exp": _same(torch.exp),
    "Erf": _same(torch.erf),
    "Relu": _same(F.relu),
    "Sigmoid": _same(torch.sigmoid),
    "Tanh": _same(torch.tanh),
    "Softplus": _same(F.softplus),
    "PRelu": _same(lambda x, slope: torch.where(x < 0, x * slope, x)),
    "HardSwish": _same(F.hardswish),
    "HardSigmoid": _attribute(lambda x, a, b: torch.clamp(a * x + b, 0, 1), alpha=0.2, beta=0.5),
    "LeakyRelu": _attribute(F.leaky_relu, alpha=0.01),
    "Elu": _attribute(F.elu, alpha=1.0),
    "Clip": _clip,
    "Softmax": _attribute(torch.softmax, axis=-1),
    "LogSoftmax": _attribute(torch.log_softmax, axis=-1),
    "LRN": _attribute(lambda x, n, a, b, k: F.local_response_norm(x, n, a, b, k), size=5, alpha=1e-4, beta=0.75, bias=1.0),
    "BatchNormalization": lambda a, _: lambda x, w, b, mean, var: F.batch_norm(x, mean, var, w, b, eps=a.get("epsilon", 1e-5)),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _attribute(lambda x, order: x.permute(order or tuple(range(x.ndim))[::-1]), perm=None),
    "Squeeze": _axes(lambda x, axes: x.squeeze(tuple(axes))),
    "Unsqueeze": _axes(_unsqueeze),
    "Concat": lambda a, _: lambda *parts: torch.cat(parts, a["axis"]),
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _resize,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Identity": _same(lambda x: x),
    "Dropout": _same(lambda x, *_: x),
}
