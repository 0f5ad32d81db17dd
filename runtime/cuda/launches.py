"""How a function of the network runs on the GPU: one launch of a kernel after the other."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel.

    Attributes
    ----------
    kernel : str
        The entry of the CUDA source.
    grid, block : tuple of int
        Blocks, and threads of a block, along x, y and z.
    shared_bytes : int
        Dynamic shared memory of a block.
    arguments : tuple of int
        For each pointer that the kernel takes, the position of its operand among those of the function.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    arguments: tuple[int, ...]
