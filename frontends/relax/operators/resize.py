"""ONNX Resize and Upsample -> relax.image.resize2d where that computes the same, else gathers or interpolation matrices.

TVM scales coordinates by ``in / out``, ONNX by the scale given; the two part where ``in * scale`` is no whole number. Antialiased
and cropped resizing TVM does not have at all. Every resize is separable and linear in the image, over any number of axes, so that, with
A and B the one-dimensional operators that ONNX Runtime computes from unit vectors:

    Resize(x) = A x B^T        (a gather of rows and columns where mode is nearest)

Where ONNX Runtime and the specification differ (align_corners with a length that is no whole number), it is as in ONNX Runtime.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper
from tvm import ir, relax

from ....support.errors import TenfoldError
from .common import const

MODES = {"nearest": "nearest_neighbor", "linear": "linear", "cubic": "cubic"}
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")


@dataclass(frozen=True)
class _Axis:
    size: int
    out: int
    scale: float | None  # as given, or None where the size was given
    roi: tuple[float, float]

    @property
    def whole(self) -> bool:
        """Whether in / out is the scale."""
        return self.scale is None or abs(self.size * self.scale - self.out) < 1e-5


def resize(bb: relax.BlockBuilder, inputs: list[relax.Expr], attrs: dict[str, Any]) -> relax.Expr:
    """Convert a Resize of any opset from 10 on.

    Parameters
    ----------
    bb : relax.BlockBuilder
        Where bindings go.
    inputs : Inputs
        Of the node.
    attrs : dict
        Its attributes.
    """
    data = inputs[0]
    if len(inputs) == 2:  # opset 10: (x, scales), coordinates as Upsample had them
        return _scaled(bb, data, _value(inputs[1]), {"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor", **attrs})
    roi, scales, sizes = (_value(inputs[i]) for i in (1, 2, 3))
    return _scaled(bb, data, scales, attrs, sizes, roi)


def upsample(bb: relax.BlockBuilder, inputs: list[relax.Expr], attrs: dict[str, Any]) -> relax.Expr:
    """Convert an Upsample (opset 7 to 9).

    Parameters
    ----------
    bb : relax.BlockBuilder
        Where bindings go.
    inputs : Inputs
        Of the node.
    attrs : dict
        Its attributes.
    """
    scales = attrs["scales"] if "scales" in attrs else _value(inputs[1])
    mode = attrs.get("mode", b"nearest")
    options = {"mode": mode, "coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
    return _scaled(bb, inputs[0], np.asarray(scales), options)


def _value(expr: relax.Expr | None) -> np.ndarray | None:
    if expr is None:
        return None
    if isinstance(expr, relax.ShapeExpr):
        return np.array([int(size) for size in expr.values])
    if not isinstance(expr, ir.GenericConst):
        raise TenfoldError("scales and sizes computed from the data are not supported")
    array = expr.value.numpy()
    return array if array.size else None


def _scaled(
    bb: relax.BlockBuilder,
    data: relax.Expr,
    scales: np.ndarray | None,
    attrs: dict[str, Any],
    sizes: np.ndarray | None = None,
    roi: np.ndarray | None = None,
) -> relax.Expr:
    shape = [int(size) for size in data.ty.shape.values]
    axes = _axes(shape, scales, attrs, sizes, roi)
    if data.ty.dtype.dtype not in ("float32", "float64", "float16") and attrs.get("mode", b"nearest") != b"nearest":
        raise TenfoldError(f"interpolation of {data.ty.dtype.dtype} is not supported: cast its input to float32")
    moved = [i for i, axis in enumerate(axes) if axis.out != axis.size or axis.roi != (0.0, 1.0)]
    if len(shape) != 4 or any(i < 2 for i in moved) or not _as_tvm(axes[2:], attrs):
        return _separable(bb, data, axes, attrs)
    mode = attrs.get("mode", b"nearest").decode()
    coordinates = attrs.get("coordinate_transformation_mode", b"half_pixel").decode()
    return relax.op.image.resize2d(
        data,
        size=relax.ShapeExpr([axis.out for axis in axes[2:]]),
        roi=[0.0] * 4,
        layout="NCHW",
        method=MODES[mode],
        coordinate_transformation_mode=coordinates,
        rounding_method=attrs.get("nearest_mode", b"round_prefer_floor").decode(),
        cubic_alpha=attrs.get("cubic_coeff_a", -0.75),
        cubic_exclude=attrs.get("exclude_outside", 0),
    )


def _axes(
    shape: list[int], scales: np.ndarray | None, attrs: dict[str, Any], sizes: np.ndarray | None, roi: np.ndarray | None
) -> list[_Axis]:
    """What happens to each axis. A policy that keeps the aspect ratio makes one scale of the sizes."""
    given = [int(axis) % len(shape) for axis in attrs.get("axes", range(len(shape)))]
    policy = attrs.get("keep_aspect_ratio_policy", b"stretch")
    if sizes is not None and policy != b"stretch":
        ratios = [float(size) / shape[axis] for size, axis in zip(sizes, given, strict=True)]
        ratio = min(ratios) if policy == b"not_larger" else max(ratios)
        if any(int(ratio * shape[axis] + 0.5) != int(np.float32(shape[axis]) * np.float32(ratio)) for axis in given):
            raise TenfoldError("keep_aspect_ratio_policy with a size that is rounded up is not supported; give the size itself")
        sizes, scales = None, np.array([ratio] * len(given))
    axes = [_Axis(size, size, None, (0.0, 1.0)) for size in shape]
    cropped = roi if attrs.get("coordinate_transformation_mode") == b"tf_crop_and_resize" else None
    for i, axis in enumerate(given):
        crop = (0.0, 1.0) if cropped is None else (float(cropped[i]), float(cropped[i + len(given)]))
        if sizes is not None:
            axes[axis] = _Axis(shape[axis], int(sizes[i]), None, crop)
        elif scales is not None:
            axes[axis] = _Axis(shape[axis], int(np.float32(shape[axis]) * np.float32(scales[i])), float(scales[i]), crop)
    return axes


def _as_tvm(axes: list[_Axis], attrs: dict[str, Any]) -> bool:
    """Whether TVM's resize of an image computes the same."""
    if attrs.get("coordinate_transformation_mode", b"half_pixel").decode() not in COORDINATES or attrs.get("antialias", 0):
        return False
    # Where a nearest neighbour is nearly a tie, TVM's rounding decides otherwise than ONNX Runtime's; doubling has no ties.
    if attrs.get("mode", b"nearest") == b"nearest" and any(axis.out % axis.size for axis in axes):
        return False
    return all(axis.whole and axis.out > 1 for axis in axes)


def _separable(bb: relax.BlockBuilder, data: relax.Expr, axes: list[_Axis], attrs: dict[str, Any]) -> relax.Expr:
    """The resize as one constant operator on each axis; what lies outside of a crop is set last."""
    dtype = data.ty.dtype.dtype
    outside = np.zeros((1,) * len(axes), bool)
    for i, axis in enumerate(axes):
        matrix = _operator(axis, attrs)
        beyond = np.isnan(matrix).any(axis=1)
        outside = outside | beyond.reshape([-1 if j == i else 1 for j in range(len(axes))])
        matrix = np.where(beyond[:, None], np.eye(1, axis.size, dtype="float32"), matrix)
        if np.array_equal(matrix, np.eye(axis.size)):
            continue
        picks = np.count_nonzero(matrix, axis=1) == 1
        if np.all(picks) and np.all(matrix.max(axis=1) == 1):
            data = bb.emit(relax.op.take(data, relax.const(matrix.argmax(axis=1), "int64"), axis=i, mode="clip"))
        else:
            data = _along(bb, data, matrix.astype(dtype), i)
    if not outside.any():
        return data
    return bb.emit(relax.op.where(relax.const(outside), relax.const(float(attrs.get("extrapolation_value", 0.0)), dtype), data))


def _along(bb: relax.BlockBuilder, data: relax.Expr, matrix: np.ndarray, axis: int) -> relax.Expr:
    """A matrix times one axis. As a constant it has more axes than two: a dense layer has two."""
    shape = [int(size) for size in data.ty.shape.values]
    if len(shape) > 2 and axis == len(shape) - 1:
        lead = (1,) * (len(shape) - 2)
        return bb.emit(relax.op.matmul(data, const(np.ascontiguousarray(matrix.T).reshape(*lead, *matrix.T.shape))))
    if len(shape) > 2 and axis == len(shape) - 2:
        return bb.emit(relax.op.matmul(const(matrix.reshape((1,) * axis + matrix.shape)), data))
    before, after = shape[:axis], shape[axis + 1 :]
    flat = bb.emit(relax.op.reshape(data, (int(np.prod(before)), shape[axis], int(np.prod(after)))))
    product = bb.emit(relax.op.matmul(const(matrix[None]), flat))
    return bb.emit(relax.op.reshape(product, (*before, matrix.shape[0], *after)))


def _operator(axis: _Axis, attrs: dict[str, Any]) -> np.ndarray:
    """The (out, in) matrix of the resize along one axis: ONNX Runtime's Resize applied to the unit vectors. NaN: outside of a crop."""
    if axis.out == axis.size and axis.roi == (0.0, 1.0) and axis.scale in (None, 1.0):
        return np.eye(axis.size, dtype="float32")
    import onnxruntime

    keep = ("mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias")
    options = {key: attrs[key] for key in keep if key in attrs} | {"extrapolation_value": float("nan")}
    if axis.scale is not None:
        names, target = ["scales"], np.array([1, 1, axis.scale, 1], "float32")
    else:
        names, target = ["", "sizes"], np.array([1, 1, axis.out, axis.size])
    node = helper.make_node("Resize", ["x", "roi", *names], ["y"], **options)
    roi = np.array([0, 0, axis.roi[0], 0, 1, 1, axis.roi[1], 1], "float32")
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, axis.size, axis.size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(target, names[-1]), onnx.numpy_helper.from_array(roi, "roi")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(axis.size, dtype="float32")[None, None]})[0][0, 0]
