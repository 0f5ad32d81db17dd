"""ONNX Resize and Upsample -> relax.image.resize2d where that computes the same, else two gathers or interpolation matrices.

TVM scales coordinates by ``in / out``, ONNX by the scale given; the two part where ``in * scale`` is no whole number. Antialiased
and cropped resizing TVM does not have at all. Every resize is separable and linear in the image, so that, with A and B
the one-dimensional operators that ONNX Runtime computes from unit vectors:

    Resize(x) = A x B^T        (a gather of rows and columns where mode is nearest)
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper
from tvm import ir, relax

from ..errors import TenfoldError

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


def resize(bb: relax.BlockBuilder, inputs: list[relax.Expr], attrs: dict[str, Any]) -> relax.Expr | None:
    """Convert a Resize of any opset from 10 on; volumes (5-D) and sequences (3-D) are left to TVM."""
    data = inputs[0]
    if data.ty.ndim != 4:
        return None
    if len(inputs) == 2:  # opset 10: (x, scales), coordinates as Upsample had them
        return _scaled(bb, data, _value(inputs[1]), {"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor", **attrs})
    roi, scales, sizes = (_value(inputs[i]) for i in (1, 2, 3))
    return _scaled(bb, data, scales, attrs, sizes, roi)


def upsample(bb: relax.BlockBuilder, inputs: list[relax.Expr], attrs: dict[str, Any]) -> relax.Expr | None:
    """Convert an Upsample (opset 7 to 9) of an image."""
    scales = attrs["scales"] if "scales" in attrs else _value(inputs[1])
    mode = attrs.get("mode", b"nearest")
    options = {"mode": mode, "coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
    return _scaled(bb, inputs[0], np.asarray(scales), options) if inputs[0].ty.ndim == 4 else None


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
    if attrs.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise TenfoldError("keep_aspect_ratio_policy is not supported; give the size itself")
    given = [int(axis) % 4 for axis in attrs.get("axes", range(4))]
    axes = [_Axis(size, size, None, (0.0, 1.0)) for size in shape]
    for i, axis in enumerate(given):
        out = int(sizes[i]) if sizes is not None else int(np.float32(shape[axis]) * np.float32(scales[i]))
        crop = (float(roi[i]), float(roi[i + len(given)])) if roi is not None and len(roi) == 2 * len(given) else (0.0, 1.0)
        axes[axis] = _Axis(shape[axis], out, None if sizes is not None else float(scales[i]), crop)
    if any(axis.out != axis.size for axis in axes[:2]):
        raise TenfoldError("only the two image axes of NCHW can be resized")
    mode = attrs.get("mode", b"nearest").decode()
    coordinates = attrs.get("coordinate_transformation_mode", b"half_pixel").decode()
    exact = all(axis.whole and axis.out > 1 for axis in axes[2:]) and coordinates in COORDINATES and not attrs.get("antialias", 0)
    # Where a nearest neighbour is nearly a tie, TVM's rounding decides otherwise than ONNX Runtime's; doubling has no ties.
    if mode == "nearest" and any(axis.out % axis.size for axis in axes[2:]):
        exact = False
    if not exact:
        return _separable(bb, data, axes, attrs)
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


def _separable(bb: relax.BlockBuilder, data: relax.Expr, axes: list[_Axis], attrs: dict[str, Any]) -> relax.Expr:
    """The resize as one constant operator on each image axis."""
    for i in (2, 3):
        matrix = _operator(axes[i], attrs)
        if np.array_equal(matrix, np.eye(axes[i].size)):
            continue
        picks = np.count_nonzero(matrix, axis=1) == 1
        if np.all(picks) and np.all(matrix.max(axis=1) == 1):
            data = bb.emit(relax.op.take(data, relax.const(matrix.argmax(axis=1).astype("int64")), axis=i, mode="clip"))
        elif i == 2:  # four axes on the constant: a dense layer has two
            data = bb.emit(relax.op.matmul(relax.const(matrix[None, None]), data))
        else:
            data = bb.emit(relax.op.matmul(data, relax.const(np.ascontiguousarray(matrix.T)[None, None])))
    return data


def _operator(axis: _Axis, attrs: dict[str, Any]) -> np.ndarray:
    """The (out, in) matrix of the resize along one axis: ONNX Runtime's Resize applied to the unit vectors."""
    import onnxruntime

    if attrs.get("extrapolation_value", 0.0) and attrs.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise TenfoldError("an extrapolation_value other than 0 is not supported")
    keep = ("mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias")
    options = {key: attrs[key] for key in keep if key in attrs}
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
