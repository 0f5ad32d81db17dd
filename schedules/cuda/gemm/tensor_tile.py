"""The tile of a product of matrices on tensor cores, and its choice by a model.

The block and its steps are those of `tile.py`. A warp computes `warp_rows` x `warp_filters` of the block's results, and a lane of it
neighbouring rows and filters: a fourth of the rows, an eighth of the filters.

Terms are counted in words of 32 bits: one number, or four bytes. So a tile costs as much memory with either.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil

from ....targets.gpu_model import RESERVED, GpuModel
from ....targets.target import FP16, INT8, TF32
from .tile import COPY_CYCLES, COPY_INSTRUCTIONS, SCHEDULERS, START_CYCLES, STEP_CYCLES, STEP_INSTRUCTIONS, WARP, GemmShape, overlapped

TERMS = 16  # words, of a product that a warp computes at a time
BYTES = 4  # of a word
ROWS_OF_WARP, FILTERS_OF_WARP = 4, 8  # lanes side by side
LINE = 128  # bytes of shared memory that an SM reads in a cycle
OVERHEAD = 40  # registers of a thread beside sums, operands and where it copies from: addresses and counters
COPY_REGISTERS = 3  # for each vector of patches that a thread copies: where it lies, and where on the image. As compiled
MOST_SUMS, MOST_REGISTERS = 128, 224  # of a thread; what the estimate leaves out is less than the 31 registers that remain
ROWS, FILTERS, DEPTHS = (16, 32, 64, 128), (16, 32, 64, 128), (16, 32)
WARP_ROWS, WARP_FILTERS = (8, 16, 32, 64), (16, 32, 64, 128)
SPLITS, STAGES = (1, 2, 3, 4, 6, 8, 12, 16), (2, 3, 4)


@dataclass(frozen=True)
class TensorTile:
    """How a product is cut.

    Attributes
    ----------
    rows, filters, depth : int
        Of a block of threads; the depth in words.
    warp_rows, warp_filters : int
        Results of one warp.
    splits : int
        Parts of the terms.
    stages : int
        Steps in shared memory.
    precision : str
        ``"tf32"``, ``"fp16"`` or ``"int8"``: of the operands. Sums are float32, of bytes int32.
    """

    rows: int
    filters: int
    depth: int
    warp_rows: int
    warp_filters: int
    splits: int = 1
    stages: int = 2
    precision: str = TF32

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return self.rows // self.warp_rows * (self.filters // self.warp_filters)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return WARP * self.warps

    @property
    def thread_rows(self) -> int:
        """Rows of a lane."""
        return self.warp_rows // ROWS_OF_WARP

    @property
    def thread_filters(self) -> int:
        """Filters of a lane."""
        return self.warp_filters // FILTERS_OF_WARP

    @property
    def weight_bytes(self) -> int:
        """Of the weights that one word of a patch is multiplied by."""
        return 2 if self.precision == FP16 else BYTES

    @property
    def word_terms(self) -> int:
        """Terms of a word."""
        return BYTES if self.precision == INT8 else 1

    @property
    def row_padding(self) -> int:
        """Numbers behind each row of the patches: neighbouring rows then begin in different halves of the banks."""
        return TERMS if self.depth % (2 * TERMS) == 0 else 0

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        return self.stages * (4 * self.rows * (self.depth + self.row_padding) + self.weight_bytes * self.depth * self.filters)

    @property
    def registers(self) -> int:
        """Registers of a thread, about."""
        copies = self.rows * self.depth // (4 * self.threads)
        return self.thread_rows * self.thread_filters + 2 * self.thread_filters + COPY_REGISTERS * copies + OVERHEAD


def allowed(tile: TensorTile, shape: GemmShape, model: GpuModel) -> bool:
    """Whether a tile can be built. Where the result is a single row or filter, its axis says nothing of lanes: all would store it."""
    if shape.rows == 1 or shape.filters * shape.groups == 1:
        return False
    if tile.rows % tile.warp_rows or tile.filters % tile.warp_filters or not 1 <= tile.warps <= 8:
        return False
    if tile.thread_rows * tile.thread_filters > MOST_SUMS or tile.registers > MOST_REGISTERS or tile.warp_rows > tile.rows:
        return False
    if tile.shared_bytes > model.shared_block_bytes or (tile.stages > 2 and not model.async_copies):
        return False
    # Each thread copies whole vectors of both operands in each step.
    if (4 * tile.rows * tile.depth) % (16 * tile.threads) or (tile.weight_bytes * tile.depth * tile.filters) % (16 * tile.threads):
        return False
    if shape.groups > 1 and shape.filters % tile.filters:
        return False
    return tile.splits <= max(1, ceil(shape.terms / tile.depth) // 2)


def tiles(shape: GemmShape, model: GpuModel, precision: str) -> Iterator[TensorTile]:
    """Go through the tiles that can be built."""
    every = (TensorTile(*values, precision) for values in product(ROWS, FILTERS, DEPTHS, WARP_ROWS, WARP_FILTERS, SPLITS, STAGES))
    return (tile for tile in every if allowed(tile, shape, model))


def rate(model: GpuModel, precision: str) -> int:
    """Words that an SM's tensor cores multiply and add in a cycle."""
    return {TF32: model.tensor_fma_per_cycle, FP16: model.half_fma_per_cycle, INT8: model.byte_fma_per_cycle // BYTES}[precision]


def resident(tile: TensorTile, model: GpuModel) -> int:
    """How many blocks an SM holds at a time."""
    return min(
        model.blocks, model.threads // tile.threads, model.shared_bytes // (tile.shared_bytes + RESERVED),
        model.registers // (tile.threads * (-(-tile.registers // 8) * 8)),
    )  # fmt: skip


def cycles(tile: TensorTile, shape: GemmShape, model: GpuModel) -> float:
    """Cycles that a product takes by the model.

    As `tile.cycles`, with the instructions that round operands.
    """
    blocks = ceil(shape.rows / tile.rows) * ceil(shape.filters / tile.filters) * shape.groups * tile.splits
    held = resident(tile, model)
    if held < 1:
        return float("inf")
    steps = ceil(ceil(shape.terms / tile.splits) / tile.depth)
    products = tile.rows * tile.filters * tile.depth / rate(model, tile.precision)
    times = tile.warps * tile.depth // TERMS  # that a warp multiplies `TERMS` terms of all its results
    patches, weights = tile.warp_rows // 8, tile.warp_filters // 16 * tile.weight_bytes // 2
    shared = times * (patches + weights) * 16 * WARP / LINE
    step_bytes = tile.depth * (4 * tile.rows + tile.weight_bytes * tile.filters)
    rounded = {TF32: 4, FP16: 2, INT8: 0}[tile.precision]  # instructions for four words
    copies = tile.depth * (tile.rows / shape.together + tile.weight_bytes * tile.filters / 16)
    multiplied = times * (patches * (1 + rounded) + weights * (1 + patches))
    issued = (multiplied + COPY_INSTRUCTIONS * copies / WARP + STEP_INSTRUCTIONS * tile.warps) / SCHEDULERS
    copied = step_bytes * model.sms / model.l2_bytes_per_cycle
    full, rest = divmod(blocks, model.sms * held)
    total = 0.0
    for count, waves in ((held, full), (ceil(rest / model.sms), 1 if rest else 0)):
        step = max(count * overlapped(products, shared, issued, copied), STEP_CYCLES + products, COPY_CYCLES / (tile.stages - 1))
        total += waves * (steps * step + START_CYCLES)
    if tile.splits > 1:
        moved = 4 * shape.rows * shape.filters * shape.groups * (2 * tile.splits + 1)
        total += model.launch_cycles + moved / model.l2_bytes_per_cycle
    return total


@lru_cache(maxsize=4096)
def choose_tensor(shape: GemmShape, model: GpuModel, precision: str) -> TensorTile | None:
    """The tile that takes least by the model; None where none can be built."""
    found = list(tiles(shape, model, precision))
    return min(found, key=lambda tile: (cycles(tile, shape, model), tile.threads), default=None)
