"""Groups too small for a vector are merged: the zeros of a block-diagonal kernel cost less than lanes without work."""
from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from ....targets import CpuTarget
from ...shapes import ConvGeometry
from .cost import choose_tile, cycles

MOST_CYCLES_MERGED = 0.95  # of the cycles as they were: less is gained for sure
STORED_CYCLES = 6          # of one vector of the output: written, and read by what follows, idle lanes too


def divisors(geometry: ConvGeometry, lanes: int) -> list[int]:
    """Numbers of groups that can become one: together they have no more filters than the widest register tile."""
    groups = geometry.groups
    return [m for m in range(1, groups + 1) if groups % m == 0 and (m == 1 or m * geometry.filters // groups <= 4 * lanes)]


def mergeable(geometry: ConvGeometry, channels: int, batch: int, size: tuple[int, int], target: CpuTarget) -> int:
    """How many groups to merge into one: 1 where that does not pay."""
    def price(merged: int) -> float:
        shape = replace(geometry, groups=geometry.groups // merged).shape(batch, *size, channels)
        tile = choose_tile(shape, target)
        stored = shape.groups * ceil(shape.filters / target.lanes) * shape.pixels * batch
        if shape.filters % (tile.vectors * target.lanes):  # parts of vectors are stored in pieces
            stored *= 2
        return cycles(shape, tile.pixels, tile.vectors, tile.flat, target) + STORED_CYCLES * stored

    if geometry.groups == 1 or geometry.groups == channels == geometry.filters:
        return 1
    best = min(divisors(geometry, target.lanes), key=price)
    return best if price(best) <= MOST_CYCLES_MERGED * price(1) else 1


def block_diagonal(weight: np.ndarray, groups: int, merged: int) -> np.ndarray:
    """(F, C / groups, KH, KW) -> (F, merged * C / groups, KH, KW): each filter sees its own group's channels, zeros for the others."""
    filters, channels = weight.shape[:2]
    result = np.zeros((filters, merged * channels, *weight.shape[2:]), weight.dtype)
    for f in range(filters):
        first = f // (filters // groups) % merged * channels
        result[f, first : first + channels] = weight[f]
    return result
