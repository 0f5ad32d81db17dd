"""What a rewrite saves: a model of the time of nodes that holds for any target, so that a network has the same layers everywhere.

Plans name layers: if the target chose which are merged, a plan for one machine would not fit the network of another. So only what pays on
every machine is done: never more multiply-adds, and less time by the model.
"""
from __future__ import annotations

from dataclasses import dataclass

from .kernel import Grid

# In multiply-adds. A core with two units of vectors does 16 to 32 of them a cycle, moves 8 numbers between its L2 cache and registers, and
# needs hundreds to thousands of cycles to start a kernel.
MOVED = 4  # a number read or written
POOLED = 2  # a number that a pool adds up: one load, where a convolution shares it between filters
START = 5000  # a kernel
WINOGRAD = 0.5  # of a 3 x 3 convolution with stride 1: F(2 x 2) needs 4/9 of the products, and transforms
WINOGRAD_CHANNELS = 32  # from which on, in and out, transforms are a small part of it


@dataclass(frozen=True)
class Work:
    """What some nodes do.

    Attributes
    ----------
    macs : int
        Multiply-adds of convolutions and dense layers.
    time : float
        By the model, in multiply-adds.
    """

    macs: int = 0
    time: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.macs + other.macs, self.time + other.time)

    @classmethod
    def layer(cls, macs: int, moved: int, grid: Grid) -> Work:
        """Of a convolution or dense layer.

        Parameters
        ----------
        macs, moved : int
            Multiply-adds; numbers read and written.
        grid : Grid
        """
        plain = grid.kernel == (3, 3) and grid.stride == grid.dilation == (1, 1) and grid.groups == 1
        plain = plain and min(grid.inputs, grid.outputs) >= WINOGRAD_CHANNELS
        return cls(macs, macs * (WINOGRAD if plain else 1.0) + MOVED * moved + START)

    @classmethod
    def pool(cls, added: int, moved: int) -> Work:
        """Of a pool that adds up so many numbers."""
        return cls(0, POOLED * added + MOVED * moved + START)

    @classmethod
    def elementwise(cls, moved: int) -> Work:
        """Of an operator that reads and writes so many numbers, and does little with them."""
        return cls(0, MOVED * moved + START)

    def pays_instead_of(self, other: Work) -> bool:
        """Whether this is cheaper than `other`: no more multiply-adds, and less time."""
        return self.macs <= other.macs and self.time < other.time
