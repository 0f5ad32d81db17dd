"""The backend of NVIDIA's GPUs."""
from __future__ import annotations

from collections.abc import Sequence

import tvm

from ...targets import GpuTarget
from ..backend import Backend, BatchTraffic, Kernel, Run
from ..shapes import ConvWorkload, DenseWorkload
from . import RULES
from .convolution import choose_convolution
from .convolution_run import ConvolutionRun
from .fully_connected import choose_dense
from .int8.kernel import choose_byte_convolution, choose_byte_dense

# TVM computes them by launches in loops, or of sizes that are not known before.
LACKS = frozenset(f"relax.{name}" for name in (
    "sort", "argsort", "topk", "cumsum", "cumprod", "scatter_elements", "scatter_nd", "nonzero", "unique", "index_put", "bucketize"))


class CudaBackend(Backend[GpuTarget]):
    """Kernels for GPUs."""

    rules = RULES
    lacks = LACKS

    def convolution(self, workload: ConvWorkload) -> Kernel | None:
        return self.choices.apply(choose_convolution(workload, self.target))

    def dense(self, workload: DenseWorkload) -> Kernel | None:
        return self.choices.apply(choose_dense(workload, self.target))

    @property
    def on_bytes(self) -> bool:
        return self.target.model.byte_fma_per_cycle > 0

    def byte_convolution(self, workload: ConvWorkload) -> Kernel | None:
        kernel = choose_byte_convolution(workload, self.target) if self.on_bytes else None
        return None if kernel is None else self.choices.apply(kernel)

    def byte_dense(self, workload: DenseWorkload) -> Kernel | None:
        kernel = choose_byte_dense(workload, self.target) if self.on_bytes else None
        return None if kernel is None else self.choices.apply(kernel)

    def run(self, workloads: Sequence[ConvWorkload], source_nchw: bool, result_nchw: bool) -> Run:
        return ConvolutionRun(tuple(workloads), self.target)

    def batch_pieces(self, traffic: BatchTraffic) -> int:
        return 1

    def lower_loops(self, mod: tvm.IRModule) -> tvm.IRModule:
        return mod


BACKEND = CudaBackend
