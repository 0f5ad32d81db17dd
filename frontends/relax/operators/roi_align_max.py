"""RoiAlign in mode max, as ONNX defines it: TVM takes the largest interpolated value, ONNX the largest weighted corner."""
from __future__ import annotations

from tvm import te, tirx


def roi_align_max(
    x: te.Tensor, rois: te.Tensor, images: te.Tensor, size: tuple[int, int], scale: float, ratio: int, half: bool
) -> te.Tensor:
    """The largest ``weight * corner`` over the corners of all sampled points of a bin.

    Parameters
    ----------
    x : (images, channels, height, width)
    rois : (rois, 4)
        Left, top, right, bottom.
    images : (rois,)
        The image of each region, within bounds.
    size : (int, int)
        Bins in height and width.
    scale : float
        From the coordinates of the regions to those of `x`.
    ratio : int
        Points in each direction of a bin; 0: as many as a bin has pixels, rounded up.
    half : bool
        Coordinates are those of pixel centres.
    """
    _, channels, height, width = x.shape
    dtype = rois.dtype
    half_pixel = 0.5 if half else 0.0

    def bins(roi: tirx.PrimExpr, axis: int) -> tuple[tirx.PrimExpr, tirx.PrimExpr]:
        start, end = (rois[roi, column] * scale - half_pixel for column in (axis, axis + 2))
        length = end - start if half else te.max(end - start, tirx.const(1.0, dtype))
        return start, length / tirx.const(size[1 - axis], dtype)

    def points(length: tirx.PrimExpr) -> tirx.PrimExpr:
        return tirx.const(ratio, "int32") if ratio else te.ceil(length).astype("int32")

    def corners(position: tirx.PrimExpr, extent: tirx.PrimExpr) -> list[tuple[tirx.PrimExpr, tirx.PrimExpr]]:
        """Index and weight of the two pixels about a position."""
        last = extent - 1
        inside = te.min(te.max(position, tirx.const(0.0, dtype)), last.astype(dtype))
        low = te.floor(inside).astype("int32")
        upper = inside - low.astype(dtype)
        high = te.min(low + 1, last.astype("int32"))
        return [(low, tirx.const(1.0, dtype) - upper), (high, upper)]

    def outside(position: tirx.PrimExpr, extent: tirx.PrimExpr) -> tirx.PrimExpr:
        return tirx.any(position < tirx.const(-1.0, dtype), position > extent.astype(dtype))

    def bin_(roi: tirx.Var, channel: tirx.Var, row: tirx.Var, column: tirx.Var) -> tirx.PrimExpr:
        (left, wide), (top, high) = bins(roi, 0), bins(roi, 1)
        rows, columns = points(high), points(wide)
        i, j = te.reduce_axis((0, rows), "i"), te.reduce_axis((0, columns), "j")
        y = top + (row.astype(dtype) + (i.astype(dtype) + 0.5) / rows.astype(dtype)) * high
        z = left + (column.astype(dtype) + (j.astype(dtype) + 0.5) / columns.astype(dtype)) * wide
        products = [
            wy * wz * x[images[roi], channel, at_y, at_z] for at_y, wy in corners(y, height) for at_z, wz in corners(z, width)
        ]
        best = te.max(te.max(products[0], products[1]), te.max(products[2], products[3]))
        value = tirx.if_then_else(tirx.any(outside(y, height), outside(z, width)), tirx.const(0.0, x.dtype), best)
        return te.max(value, axis=[i, j])

    return te.compute((rois.shape[0], channels, *size), bin_, name="roi_align_max")
