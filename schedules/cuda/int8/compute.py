"""What sums of bytes are too large by, since their inputs are `zero` too large, as TE.

    sum of (x - zero) * w    =    sum of x * w  -  zero * sum of w        over what lies on the image

A product of matrices has bytes 0 on the padding, so that the second sum has only the taps on the image: on the borders fewer. It is the
same for all pixels between the borders, which have one row and one column of the table together.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import ir, te, tirx

from ...shapes import ConvWorkload


class Borders:
    """Along one axis of an output: where all taps lie on the image, and which do elsewhere.

    Attributes
    ----------
    taps : ndarray of bool
        For each place of the table, and each position of the kernel, whether it lies on the image.
    """

    def __init__(self, convolution: ConvWorkload, axis: int):
        geometry = convolution.geometry
        steps = np.arange(convolution.output[axis])[:, None] * geometry.stride[axis]
        at = steps + np.arange(geometry.kernel[axis]) * geometry.dilation[axis] - geometry.padding[axis]
        taps = (at >= 0) & (at < convolution.size[axis])
        whole = np.flatnonzero(taps.all(axis=1))
        self.first, self.last = (int(whole[0]), int(whole[-1])) if len(whole) else (0, 0)
        self.taps = np.delete(taps, np.s_[self.first + 1:self.last + 1], axis=0)

    def place(self, position: ir.Expr) -> ir.Expr:
        """The place of a pixel in the table."""
        if len(self.taps) == 1:
            return tirx.const(0, str(position.ty.dtype))
        if self.last == self.first:
            return position
        return position - tirx.max(tirx.min(position, self.last) - self.first, 0)


def corrections(convolution: ConvWorkload, weight: np.ndarray, zero: int) -> tuple[np.ndarray, Callable[..., te.Tensor]]:
    """Return what is added to the sums, and the function that does.

    Parameters
    ----------
    convolution : ConvWorkload
    weight : ndarray of int8
        (F, C / groups, KH, KW).
    zero : int
        The byte that stands for 0.

    Returns
    -------
    ndarray of int32
        (places along the height, along the width, F).
    callable
        From the sums (N, OH, OW, F) and this table to the corrected sums.
    """
    high, wide = Borders(convolution, 0), Borders(convolution, 1)
    by_tap = weight.astype(np.int64).sum(axis=1)
    table = -zero * np.einsum("yk,xl,fkl->yxf", high.taps.astype(np.int64), wide.taps.astype(np.int64), by_tap)

    def corrected(sums: te.Tensor, added: te.Tensor) -> te.Tensor:
        return te.compute(sums.shape, lambda n, y, x, f: sums[n, y, x, f] + added[high.place(y), wide.place(x), f], name="corrected")

    return table.astype(np.int32), corrected


def row_corrections(weight: np.ndarray, zero: int) -> tuple[np.ndarray, Callable[..., te.Tensor]]:
    """The same of a fully connected layer: its weight (F, C), the table (F,), sums (..., F)."""
    def corrected(sums: te.Tensor, added: te.Tensor) -> te.Tensor:
        return te.compute(sums.shape, lambda *i: sums(*i) + added[i[-1]], name="corrected")

    return (-zero * weight.astype(np.int64).sum(axis=1)).astype(np.int32), corrected
