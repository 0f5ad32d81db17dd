"""What a function of a network launches on the GPU."""
from __future__ import annotations

from dataclasses import dataclass

Extents = tuple[int, int, int]  # x, y, z


@dataclass(frozen=True)
class Launch:
    """One kernel on the GPU.

    Attributes
    ----------
    kernel : str
        The entry of the source.
    grid, block : tuple of int
        Blocks of the grid, and threads of a block, in x, y and z.
    shared_bytes : int
        Dynamic shared memory of a block.
    arguments : tuple of int
        For each pointer that the kernel takes, its position among the operands of the function, and behind these among its buffers.
    writes : tuple of int
        The positions of those that it writes.
    """

    kernel: str
    grid: Extents
    block: Extents
    shared_bytes: int
    arguments: tuple[int, ...]
    writes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Routine:
    """A function of a network.

    Attributes
    ----------
    launches : tuple of Launch
        In order.
    scratch : tuple of int
        Bytes of buffers that the kernels of the function pass to each other; nobody reads them afterwards.
    """

    launches: tuple[Launch, ...]
    scratch: tuple[int, ...] = ()
