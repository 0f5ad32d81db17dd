"""Groups too small for a vector are merged: the zeros of a block-diagonal kernel cost less than lanes without work."""
from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from ...targets import Target
from .conv2d import Geometry
from .tiles import choose_tile, cycles

GAIN = 0.95         # of the cycles as they were, at most
STORED_CYCLES = 6   # of one vector of the output: written, and read by what follows, idle lanes too


def merge_groups(geometry: Geometry, weight: np.ndarray, batch: int, size: tuple[int, int], target: Target) -> tuple[Geometry, np.ndarray]:
    """The same convolution with fewer groups, where the tile model predicts that it is faster.

    Parameters
    ----------
    geometry : Geometry
    weight : ndarray
        (F, C / groups, KH, KW).
    batch : int
    size : tuple of int
        Height and width of the input.
    target : Target

    Returns
    -------
    Geometry, ndarray
        As given, or with G of every m * G groups left, and zeros in the weight.
    """
    groups, channels = geometry.groups, geometry.groups * weight.shape[1]

    def price(merged: int) -> float:
        shape = replace(geometry, groups=groups // merged).shape(batch, *size, channels)
        tile = choose_tile(shape, target)
        stored = shape.groups * ceil(shape.filters / target.lanes) * shape.pixels * batch
        return cycles(shape, tile.pixels, tile.vectors, tile.flat, target) + STORED_CYCLES * stored

    divisors = [m for m in range(2, groups + 1) if groups % m == 0 and m * geometry.filters // groups <= 4 * target.lanes]
    best = min(divisors, key=price, default=None)
    if best is None or price(best) > GAIN * price(1):
        return geometry, weight
    return replace(geometry, groups=groups // best), block_diagonal(weight, groups, best)


def block_diagonal(weight: np.ndarray, groups: int, merged: int) -> np.ndarray:
    """(F, C / groups, KH, KW) -> (F, merged * C / groups, KH, KW): each filter sees its own group's channels, zeros for the others."""
    filters, channels = weight.shape[:2]
    result = np.zeros((filters, merged * channels, *weight.shape[2:]), weight.dtype)
    for f in range(filters):
        first = f // (filters // groups) % merged * channels
        result[f, first : first + channels] = weight[f]
    return result
