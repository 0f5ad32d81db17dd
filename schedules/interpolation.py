"""Resizing along one axis as constants: each pixel of the result is a sum of neighbours: the first of them, and a weight for each.

The formulas are those of TVM's `resize2d`: ONNX's for a scale of out / in.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interpolation:
    """How an axis is resized.

    Attributes
    ----------
    method : str
        ``linear`` or ``cubic``.
    coordinates : str
        From a position in the result to one in the image: ``half_pixel``, ``pytorch_half_pixel``, ``align_corners`` or ``asymmetric``.
    alpha : float
        Of the cubic spline.
    exclude : bool
        Neighbours outside the image count for nothing; otherwise the pixel at the border stands for them.
    """

    method: str
    coordinates: str
    alpha: float = -0.75
    exclude: bool = False

    def taps(self, size: int, out: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first neighbour of each pixel of the result, (out,) int32, and the weights, (out, neighbours) float32."""
        return banded(self.matrix(size, out))

    def matrix(self, size: int, out: int) -> np.ndarray:
        """Return the weights of all pixels, (out, size)."""
        at = self._positions(size, out)
        first = np.floor(at)
        part = (at - first)[:, None]
        if self.method == "linear":
            offsets, weights = np.arange(2), np.concatenate([1 - part, part], 1)
        else:
            offsets, weights = np.arange(-1, 3), self._spline(part)
        neighbours = first[:, None].astype(int) + offsets
        if self.exclude:
            weights = np.where((neighbours >= 0) & (neighbours < size), weights, 0)
            weights = weights / weights.sum(1, keepdims=True)
        matrix = np.zeros((out, size))
        np.add.at(matrix, (np.arange(out)[:, None], neighbours.clip(0, size - 1)), weights)
        return matrix

    def _positions(self, size: int, out: int) -> np.ndarray:
        x = np.arange(out, dtype=float)
        if self.coordinates == "align_corners":
            return x * (size - 1) / (out - 1)
        return x * size / out if self.coordinates == "asymmetric" else (x + 0.5) * size / out - 0.5

    def _spline(self, t: np.ndarray) -> np.ndarray:
        a = self.alpha
        return np.concatenate([a * (t**3 - 2 * t**2 + t), (a + 2) * t**3 - (a + 3) * t**2 + 1,
                               -(a + 2) * t**3 + (2 * a + 3) * t**2 - a * t, a * (t**2 - t**3)], 1)


def banded(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the columns that are used out of each row: the first of them, int32, and the same number of weights for all rows, float32."""
    used = matrix != 0
    begins, ends = used.argmax(1), matrix.shape[1] - used[:, ::-1].argmax(1)
    count = int((ends - begins).max())
    begins = np.minimum(begins, matrix.shape[1] - count)
    weights = np.take_along_axis(matrix, begins[:, None] + np.arange(count), 1)
    return begins.astype("int32"), weights.astype("float32")
