"""What runs a compiled network in this process: its library on the CPU, or its kernels on a GPU."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .cuda.machine import GpuMachine
from .loaded_network import Machine, Tensor
from .manifest import CUDA_LIBRARY, LIBRARY
from .weights import Contents


def open_machine(
    folder: Path, contents: Contents, inputs: Sequence[Tensor], threads: int, outputs: Sequence[Tensor], gpu: int | None = None,
    library: str = LIBRARY,
) -> Machine | GpuMachine:
    """Load the code of a network.

    Parameters
    ----------
    folder : Path
        With model.so or model.cuda.
    contents : Contents
        Of the file of weights there.
    inputs, outputs : sequence of (tuple of int, str)
        Shapes and dtypes.
    threads : int
        Of the CPU.
    gpu : int, optional
        By the driver's count. Default: the first that can run the code.
    library : str
        The file with the code for a CPU.

    Raises
    ------
    TenfoldError
        It can't be loaded, or this machine can't run it.
    """
    if (folder / CUDA_LIBRARY).exists():
        return GpuMachine(folder / CUDA_LIBRARY, contents, inputs, outputs, gpu)
    return Machine(folder / library, contents, inputs, threads, outputs)
