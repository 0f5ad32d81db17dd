"""The backend of CPUs: x86 with AVX2 or AVX-512, and Arm with NEON."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import tvm

from ...targets import CpuTarget
from ...targets.target import BFLOAT16
from ..backend import Backend, BatchTraffic, BoundKernel, Kernel, Run
from ..interpolation import Interpolation
from ..shapes import ConvWorkload, DenseWorkload, ResponseNorm
from ..tir.bound_loops import BoundLoops, lower_blocks
from ..tir.dot_products import DotProducts
from ..tir.lane_groups import LaneGroups
from ..tir.transpose_tiles import TransposeTiles
from ..tir.vector_math import VectorMath
from . import RULES
from .batch import pieces
from .bfloat16.kernel import choose_half_convolution, choose_half_dense
from .chain.compute import Ends
from .convolution import choose_convolution
from .convolution_run import ConvolutionRun
from .fully_connected import choose_dense, choose_dense_run
from .int8.depthwise import choose_byte_depthwise
from .int8.isa import dot_of, pair_dot_of
from .int8.kernel import choose_byte_convolution, choose_byte_dense, quicker_in_float32
from .reduction.response_norm import LONGEST, response_norm
from .resize import choose_resize


class CpuBackend(Backend[CpuTarget]):
    """Kernels for CPUs."""

    rules = RULES
    any_address = True

    def convolution(self, workload: ConvWorkload) -> Kernel | None:
        return self.choices.apply(choose_convolution(workload, self.target))

    def dense(self, workload: DenseWorkload) -> Kernel | None:
        return self.choices.apply(choose_dense(workload, self.target))

    @property
    def on_bytes(self) -> bool:
        return dot_of(self.target) is not None

    @property
    def byte_dtype(self) -> str:
        dot = dot_of(self.target)
        return "int8" if dot is not None and dot.signed else "uint8"

    def byte_convolution(self, workload: ConvWorkload) -> Kernel | None:
        choose = choose_byte_depthwise if workload.depthwise else choose_byte_convolution
        kernel = choose(workload, self.target)
        return None if kernel is None else self.choices.apply(kernel)

    def quicker_in_float32(self, workload: ConvWorkload) -> bool:
        return quicker_in_float32(workload, self.target)

    def byte_dense(self, workload: DenseWorkload) -> Kernel | None:
        kernel = choose_byte_dense(workload, self.target)
        return None if kernel is None else self.choices.apply(kernel)

    @property
    def rounds_operands(self) -> bool:
        return self.target.precision == BFLOAT16 and pair_dot_of(self.target) is not None

    def half_convolution(self, workload: ConvWorkload) -> Kernel | None:
        kernel = choose_half_convolution(workload, self.target)
        return None if kernel is None else self.choices.apply(kernel)

    def half_dense(self, workload: DenseWorkload) -> Kernel | None:
        kernel = choose_half_dense(workload, self.target)
        return None if kernel is None else self.choices.apply(kernel)

    def run(self, workloads: Sequence[ConvWorkload], source_nchw: bool, result_nchw: bool) -> Run:
        return ConvolutionRun(tuple(workloads), self.target, Ends(source_nchw, result_nchw))

    def dense_run(self, run: Sequence[DenseWorkload], averaged: tuple[int, int] | None = None) -> Kernel | None:
        return self.choices.apply(choose_dense_run(run, self.target, averaged))

    def response_norm(self, shape: tuple[int, ...], norm: ResponseNorm) -> BoundKernel | None:
        if norm.before + norm.behind >= LONGEST:
            return None
        return BoundKernel([], partial(response_norm, norm=norm, target=self.target))

    def resize(self, shape: Sequence[int], size: tuple[int, int], how: Interpolation, to_nchw: bool) -> BoundKernel | None:
        return choose_resize(shape, size, how, to_nchw, self.target)

    def batch_pieces(self, traffic: BatchTraffic) -> int:
        return pieces(traffic, self.target)

    def lower_math(self, mod: tvm.IRModule) -> tvm.IRModule:
        return VectorMath()(mod)

    def lower_loops(self, mod: tvm.IRModule) -> tvm.IRModule:
        products = DotProducts(dot_of(self.target), pair_dot_of(self.target))
        return tvm.transform.Sequential([BoundLoops(), products, LaneGroups(), TransposeTiles()])(lower_blocks(mod))


BACKEND = CpuBackend
