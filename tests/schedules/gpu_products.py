"""Convolutions as products of matrices on a GPU that is emulated: what tests of both kinds of kernels share."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import tvm
from convolution_checks import reference
from tenfold.codegen.cuda.source import generate
from tenfold.runner.devices.cuda import CudaProgram
from tenfold.runner.devices.cuda.counts import Counts
from tenfold.runtime.cuda.launches import Routine
from tenfold.schedules.backend import backend_of
from tenfold.schedules.cuda.gemm.choice import Tile, pack_product
from tenfold.schedules.cuda.gemm.compute import gemm_convolution
from tenfold.schedules.cuda.gemm.schedule import schedule_gemm
from tenfold.schedules.cuda.gemm.tensor_schedule import schedule_tensor
from tenfold.schedules.cuda.gemm.tile import GemmTile
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.targets import GpuTarget
from tvm import te, tirx


@dataclass(frozen=True)
class Product:
    """A convolution with bias and ReLU as CUDA C, and random operands."""

    convolution: ConvWorkload
    source: str
    routine: Routine
    data: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    packed: np.ndarray

    def run(self, folder, source=None, *, data=None, checks=True, **options) -> tuple[np.ndarray, list[Counts]]:
        """The result, and what was counted of each launch."""
        program = CudaProgram(source or self.source, folder, checks=checks)
        out = np.full((self.convolution.batch, *self.convolution.output, self.convolution.geometry.filters), np.nan, np.float32)
        scratch = [np.full(size // 4, np.nan, np.float32) for size in self.routine.scratch]
        operands = [self.data if data is None else data, self.packed, self.bias, out, *scratch]
        return out, [program.launch(launch, operands, **options) for launch in self.routine.launches]

    def expected(self, round_data=np.array, round_weight=np.array) -> np.ndarray:
        """ONNX Runtime's result, of operands that are rounded before."""
        return np.maximum(reference(round_data(self.data), round_weight(self.weight), self.convolution.geometry) + self.bias, 0)


def product(convolution: ConvWorkload, tile: Tile, target: GpuTarget, tensorize: bool = True, relu: bool = True) -> Product:
    """Generate the code of a convolution with a tile."""
    geometry, rng = convolution.geometry, np.random.default_rng(0)
    shape = (geometry.filters, convolution.channels // geometry.groups, *geometry.kernel)
    weight = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    data = rng.standard_normal((convolution.batch, *convolution.size, convolution.channels)).astype(np.float32)
    bias = rng.standard_normal(geometry.filters).astype(np.float32)
    packed = pack_product(weight, geometry.groups, tile)
    x, w, b = (te.placeholder(array.shape, str(array.dtype), name) for array, name in ((data, "x"), (packed, "w"), (bias, "b")))
    sums = gemm_convolution(x, w, geometry, tile)
    biased = te.compute(sums.shape, lambda *i: sums(*i) + b[i[-1]], "bias")
    result = te.compute(sums.shape, lambda *i: tirx.max(biased(*i), tirx.const(0, "float32")), "relu") if relu else biased
    function = te.create_prim_func([x, w, b, result])
    schedule = schedule_gemm(function, target) if isinstance(tile, GemmTile) else schedule_tensor(function, target, tensorize)
    assert schedule is not None
    kernel = schedule.mod["main"].with_attr("global_symbol", "product")
    source, routines = generate([(tvm.ir.GlobalVar("product"), kernel)], backend_of(target))
    return Product(convolution, source, routines["product"], data, weight, bias, packed)


def some_convolution(seed: int) -> ConvWorkload:
    """A convolution with whatever a convolution may have."""
    rng = np.random.default_rng(seed)

    def one(*values):
        return values[rng.integers(len(values))]

    kernel = one((1, 1), (3, 3), (3, 1), (1, 5), (2, 3))
    dilation = one((1, 1), (1, 1), (2, 1))
    upsample = one((1, 1), (1, 1), (1, 1), (2, 2))
    padding = tuple(int(rng.integers(0, 1 + size // 2 + 1)) for size in (*kernel, *kernel))
    groups, own = one((1, 10), (1, 40), (1, 64), (1, 33), (2, 16), (3, 32))
    geometry = ConvGeometry(groups * own, kernel, one((1, 1), (1, 1), (2, 2), (1, 2)), padding, dilation, groups, upsample)
    return ConvWorkload(geometry, (int(rng.integers(5, 12)), int(rng.integers(5, 12))), groups * one(3, 4, 8, 16, 20), one(1, 1, 2))


def seeds(quick: int, slow: int, every: int) -> list:
    """Seeds of random cases: the first ones are run always, some more with the slow tests, the others with the long ones."""
    marked = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, slow)]
    return [*range(quick), *marked, *(pytest.param(seed, marks=[pytest.mark.slow, pytest.mark.long]) for seed in range(slow, every))]
