"""Blocks to depth and back, padding, regions of interest, max-pooling with indices."""
from __future__ import annotations

import functools
import itertools

import numpy as np
from tvm import relax

from ....support.errors import TenfoldError
from .common import Attributes, Converter, Inputs, dtype_of, shape_of, text, value_of
from .roi_align_max import roi_align_max
from .wider import WIDER_FLOATS, computed_in

op = relax.op


def _depth_to_space(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    """DCR: the block is the outer part of the channels. CRD: it is the inner one."""
    (n, c, h, w), b = shape_of(inputs[0]), int(attrs["blocksize"])
    depth = c // (b * b)
    crd = text(attrs, "mode", "DCR") == "CRD"
    x = op.reshape(inputs[0], (n, depth, b, b, h, w) if crd else (n, b, b, depth, h, w))
    return op.reshape(op.permute_dims(x, [0, 1, 4, 2, 5, 3] if crd else [0, 3, 4, 1, 5, 2]), (n, depth, h * b, w * b))


def _space_to_depth(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    """The inverse of DepthToSpace in the same mode; `mode` exists from opset 28 on."""
    (n, c, h, w), b = shape_of(inputs[0]), int(attrs["blocksize"])
    x = op.reshape(inputs[0], (n, c, h // b, b, w // b, b))
    order = [0, 1, 3, 5, 2, 4] if text(attrs, "mode", "DCR") == "CRD" else [0, 3, 5, 1, 2, 4]
    return op.reshape(op.permute_dims(x, order), (n, c * b * b, h // b, w // b))


def _pad(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Zero or constant padding; the other modes are TVM's. Negative pads cut the input first: TVM would read out of bounds."""
    pads = attrs.get("pads") if "pads" in attrs else value_of(inputs[1])
    if pads is None:
        return None
    pads = [int(pad) for pad in pads]
    rank = inputs[0].ty.ndim
    given = value_of(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else range(rank)
    if given is None:
        return None
    axes = [int(axis) % rank for axis in given]
    if min(pads, default=0) < 0:
        pads = _cut(bb, inputs, attrs, pads, axes)
    fill = attrs.get("value", 0.0) if "pads" in attrs else (0.0 if inputs[2] is None else value_of(inputs[2]))
    if text(attrs, "mode", "constant") != "constant" or fill is None:
        return None
    widths = [0] * 2 * rank
    for i, axis in enumerate(axes):
        widths[2 * axis], widths[2 * axis + 1] = pads[i], pads[i + len(axes)]
    return op.nn.pad(inputs[0], widths, pad_mode="constant", pad_value=float(np.asarray(fill).item()))


def _cut(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes, pads: list[int], axes: list[int]) -> list[int]:
    """Slice the data by the negative pads, in `inputs`; returns the others, which TVM's converter finds too."""
    shape = shape_of(inputs[0])
    begin = [max(0, -pad) for pad in pads[: len(axes)]]
    end = [shape[axis] + min(0, pad) for axis, pad in zip(axes, pads[len(axes) :], strict=True)]
    if any(first >= last for first, last in zip(begin, end, strict=True)):
        raise TenfoldError("negative pads leave nothing of the input")
    inputs[0] = bb.emit(op.strided_slice(inputs[0], axes, begin, end))
    pads = [max(0, pad) for pad in pads]
    if "pads" in attrs:
        attrs["pads"] = pads
    else:
        inputs[1] = relax.const(np.asarray(pads), "int64")
    return pads


def _roi_align(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr:
    """Coordinates are shifted by half a pixel after they are scaled; the default, half_pixel, came with opset 16.

    Indices of images are clipped, so that the kernel need not trust them.
    """
    x, rois, images = inputs
    scale, half = attrs.get("spatial_scale", 1.0), text(attrs, "coordinate_transformation_mode", "half_pixel") == "half_pixel"
    ratio, size = int(attrs.get("sampling_ratio", 0)), (int(attrs.get("output_height", 1)), int(attrs.get("output_width", 1)))
    dtype, count = dtype_of(rois), shape_of(x)[0]
    images = op.astype(op.clip(op.astype(images, "int64"), 0, count - 1), dtype)
    if text(attrs, "mode", "avg") == "max":
        images = bb.emit(op.astype(images, "int32"))
        return bb.emit_te(lambda x, rois, images: roi_align_max(x, rois, images, size, scale, ratio, half), x, rois, images)
    if half:
        rois = op.subtract(rois, relax.const(0.5 / scale, dtype))
    boxes = bb.emit(op.concat([op.expand_dims(images, 1), rois], axis=1))
    options = {"pooled_size": size, "spatial_scale": scale, "sample_ratio": ratio, "aligned": half, "layout": "NCHW", "mode": "avg"}
    return op.vision.roi_align(x, boxes, **options)


def _max_pool(bb: relax.BlockBuilder, inputs: Inputs, attrs: Attributes) -> relax.Expr | None:
    """Convert MaxPool with indices: the least index in the window at which the largest value stands. Without indices, TVM's."""
    if attrs["tvm_custom"]["num_outputs"] < 2:
        return None
    x, kernel = inputs[0], [int(size) for size in attrs["kernel_shape"]]
    dims, dtype = len(kernel), dtype_of(x)
    if text(attrs, "auto_pad", "NOTSET") not in ("NOTSET", "") or attrs.get("ceil_mode", 0) or attrs.get("storage_order", 0):
        raise TenfoldError("indices of a pool by columns, or whose pads are not explicit, are not supported")
    (images, channels, *size), ones = shape_of(x), [1] * dims
    pads, strides, dilations = (
        [int(v) for v in attrs.get(key, default)] for key, default in (("pads", [0, 0] * dims), ("strides", ones), ("dilations", ones))
    )
    out = [(s + pads[i] + pads[i + dims] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i, s in enumerate(size)]
    lowest = float(np.finfo(dtype).min) if dtype.startswith("float") else int(np.iinfo(dtype).min)
    widths = [0, 0, 0, 0, *(pads[side * dims + i] for i in range(dims) for side in (0, 1))]
    padded = bb.emit(op.nn.pad(x, widths, pad_value=lowest)) if any(pads) else x
    values, places, beyond = [], [], relax.const(int(np.prod(size)), "int64")
    for offset in itertools.product(*map(range, kernel)):
        begin = [o * d for o, d in zip(offset, dilations, strict=True)]
        end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, out, strides, strict=True)]
        values.append(bb.emit(op.strided_slice(padded, list(range(2, 2 + dims)), begin, end, strides)))
        places.append(relax.const(_places(begin, out, strides, pads[:dims], size), "int64"))
    best = functools.reduce(lambda a, b: bb.emit(op.maximum(a, b)), values)
    found = [bb.emit(op.where(op.equal(v, best), place, beyond)) for v, place in zip(values, places, strict=True)]
    index = functools.reduce(lambda a, b: bb.emit(op.minimum(a, b)), found)
    planes = np.arange(images * channels).reshape(images, channels, *ones) * int(np.prod(size))
    return relax.Tuple([best, bb.emit(op.add(index, relax.const(planes, "int64")))])


def _places(begin: list[int], out: list[int], strides: list[int], pads: list[int], size: list[int]) -> np.ndarray:
    """Element of its plane that each output reads at one position of the window; one past the plane where that is padding."""
    axes = np.meshgrid(*(np.arange(n) * s + b - p for n, s, b, p in zip(out, strides, begin, pads, strict=True)), indexing="ij")
    inside = functools.reduce(np.logical_and, [(axis >= 0) & (axis < n) for axis, n in zip(axes, size, strict=True)])
    flat = np.ravel_multi_index([np.clip(axis, 0, n - 1) for axis, n in zip(axes, size, strict=True)], size)
    return np.where(inside, flat, np.prod(size)).astype("int64")[None, None]


SPATIAL: dict[str, Converter] = {
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Pad": _pad,
    "RoiAlign": computed_in(WIDER_FLOATS, _roi_align),
    "MaxPool": _max_pool,
}
