"""Where each intermediate tensor lies in one arena: tensors that are never alive together share bytes.

The largest tensor first, each at the lowest place where no tensor lies that is alive at the same time (Pisarchyk and Lee, Efficient Memory
Management for Deep Neural Net Inference, 2020, "greedy by size for offset calculation": within a few percent of the lower bound on
convolutional networks). `StaticPlanBlockMemory` gives out whole storages instead, which wastes what a small tensor leaves of a large one.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

ALIGNMENT = 64  # of every tensor: a cache line, and a whole vector


@dataclass(frozen=True)
class Place:
    """A tensor in the arena: ``offset`` bytes from its start."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def end(self) -> int:
        """Byte behind its last one."""
        return self.offset + tensor_bytes(self.dtype, self.shape)


@dataclass(frozen=True)
class Destination:
    """An output that is written straight into an array of the caller's: the one at ``position`` among the outputs."""

    dtype: str
    shape: tuple[int, ...]
    position: int


@dataclass(frozen=True)
class Operand:
    """What a kernel reads or writes: the tensor at ``position`` among the parameters of ``main``, in this shape."""

    position: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One call of a kernel by its name."""

    kernel: str
    operands: tuple[Operand, ...]


def plan_places(tensors: Sequence[tuple[str, tuple[int, ...]]], lifetimes: Sequence[tuple[int, int]]) -> tuple[Place, ...]:
    """Give each tensor its place.

    Parameters
    ----------
    tensors : sequence of (str, tuple of int)
        Dtype and shape.
    lifetimes : sequence of (int, int)
        The first and last step at which each is used, both included.
    """
    placed: dict[int, Place] = {}
    for index in sorted(range(len(tensors)), key=lambda i: (-tensor_bytes(*tensors[i]), lifetimes[i])):
        first, last = lifetimes[index]
        rivals = sorted(
            (place.offset, place.end) for other, place in placed.items() if lifetimes[other][0] <= last and first <= lifetimes[other][1]
        )
        size, offset = tensor_bytes(*tensors[index]), 0
        for begin, end in rivals:
            if offset + size <= begin:
                break
            offset = max(offset, aligned(end))
        placed[index] = Place(*tensors[index], offset)
    return tuple(placed[index] for index in range(len(tensors)))


def arena_bytes(places: Sequence[Place]) -> int:
    """The size of the arena."""
    return max((place.end for place in places), default=0)


def tensor_bytes(dtype: str | np.dtype, shape: Sequence[int]) -> int:
    """Bytes of a tensor."""
    return prod(shape) * np.dtype(dtype).itemsize


def aligned(offset: int) -> int:
    """Round an offset up to the alignment of tensors."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
