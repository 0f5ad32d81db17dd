"""The backend of NVIDIA's GPUs."""
from __future__ import annotations

import tvm

from ...targets import GpuTarget
from ..backend import Backend, BatchTraffic, Kernel
from ..shapes import ConvWorkload, DenseWorkload
from . import RULES
from .convolution import choose_convolution
from .fully_connected import choose_dense


class CudaBackend(Backend[GpuTarget]):
    """Kernels for GPUs."""

    rules = RULES

    def convolution(self, workload: ConvWorkload) -> Kernel | None:
        return self.choices.apply(choose_convolution(workload, self.target))

    def dense(self, workload: DenseWorkload) -> Kernel | None:
        return self.choices.apply(choose_dense(workload, self.target))

    def batch_pieces(self, traffic: BatchTraffic) -> int:
        return 1

    def lower_loops(self, mod: tvm.IRModule) -> tvm.IRModule:
        return mod


BACKEND = CudaBackend
