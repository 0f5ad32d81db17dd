"""CUDA C without a GPU: kernels run on the CPU, one thread of a block after the other, with every access checked."""
from .counts import Counts, SiteCounts
from .errors import EmulationError
from .program import CudaProgram, sampled_blocks

__all__ = ["Counts", "CudaProgram", "EmulationError", "SiteCounts", "sampled_blocks"]
