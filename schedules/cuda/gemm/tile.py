"""The tile of a product of matrices on a GPU, and its choice by a model.

    result (rows x filters) = patches (rows x terms) x weights (terms x filters)

A row is a pixel of the output, a term an element of its patch. A block of threads computes `rows` x `filters` results, and goes through
the terms in steps of `depth`: it copies both operands of a step to shared memory, while it multiplies those of a step before: `stages`
steps are in shared memory at a time. Where blocks are fewer than the GPU holds, the terms are cut into `splits` parts, each with blocks
of its own, and a second kernel adds them up.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil

from ....targets.gpu_model import RESERVED, GpuModel
from ..common import VECTOR

WARP = 32
PADDING = 4  # numbers behind each row of the patches: rows then begin in different banks
OVERHEAD = 24  # registers of a thread beside accumulators and operands: addresses and counters
MOST_REGISTERS = 255  # of a thread
SCHEDULERS = 4  # of an SM; each begins an instruction of a warp in a cycle
COPY_INSTRUCTIONS = 8  # for each copy that a thread begins: its address, and whether it is on the image. As compiled
STEP_INSTRUCTIONS = 30  # of a thread beside those: barriers, addresses, the loop. As compiled
COPY_CYCLES = 700.0  # from the begin of a copy to its end. An estimate
STEP_CYCLES = 60.0  # to change steps: a barrier, and the first loads from shared memory. An estimate
EXPOSED = 0.25  # of what an SM's units do side by side, the share of the shorter times that adds to the longest. An estimate
START_CYCLES = 1500.0  # to begin a block, and to store its results. An estimate
ROWS, FILTERS, DEPTHS = (16, 32, 64, 128), (16, 32, 64, 128), (8, 16, 32)
THREAD_ROWS, THREAD_FILTERS, SPLITS, STAGES = (1, 2, 4, 8), (4, 8), (1, 2, 3, 4, 6, 8, 12, 16), (2, 3, 4)


@dataclass(frozen=True)
class GemmTile:
    """How a product is cut.

    Attributes
    ----------
    rows, filters, depth : int
        Of a block of threads.
    thread_rows, thread_filters : int
        Results of one thread.
    splits : int
        Parts of the terms.
    stages : int
        Steps in shared memory.
    """

    rows: int
    filters: int
    depth: int
    thread_rows: int
    thread_filters: int
    splits: int = 1
    stages: int = 2

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.rows // self.thread_rows * (self.filters // self.thread_filters)

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        return 4 * self.stages * (self.rows * (self.depth + PADDING) + self.depth * self.filters)

    @property
    def registers(self) -> int:
        """Registers of a thread, about."""
        return self.thread_rows * self.thread_filters + VECTOR * self.thread_rows + self.thread_filters + OVERHEAD


@dataclass(frozen=True)
class GemmShape:
    """The size of a product: of each of `groups` products; `together` terms of a patch lie side by side, and are copied at once."""

    rows: int
    filters: int
    terms: int
    groups: int = 1
    together: int = VECTOR


def allowed(tile: GemmTile, shape: GemmShape, model: GpuModel) -> bool:
    """Whether a tile can be built."""
    if not 1 * WARP <= tile.threads <= 512 or tile.threads % WARP or tile.registers > MOST_REGISTERS:
        return False
    if tile.shared_bytes > model.shared_block_bytes or (tile.stages > 2 and not model.async_copies):
        return False
    # Each thread copies whole vectors of both operands in each step.
    if (tile.rows * tile.depth) % (VECTOR * tile.threads) or (tile.depth * tile.filters) % (VECTOR * tile.threads):
        return False
    if shape.groups > 1 and shape.filters % tile.filters:
        return False
    return tile.splits <= max(1, ceil(shape.terms / tile.depth) // 2)


def tiles(shape: GemmShape, model: GpuModel) -> Iterator[GemmTile]:
    """Go through the tiles that can be built."""
    every = (GemmTile(*values) for values in product(ROWS, FILTERS, DEPTHS, THREAD_ROWS, THREAD_FILTERS, SPLITS, STAGES))
    return (tile for tile in every if allowed(tile, shape, model))


def resident(tile: GemmTile, model: GpuModel) -> int:
    """How many blocks an SM holds at a time."""
    return min(
        model.blocks, model.threads // tile.threads, model.shared_bytes // (tile.shared_bytes + RESERVED),
        model.registers // (tile.threads * (-(-tile.registers // 8) * 8)),
    )  # fmt: skip


def overlapped(*times: float) -> float:
    """Cycles of units that work side by side."""
    return max(times) + EXPOSED * (sum(times) - max(times))


def cycles(tile: GemmTile, shape: GemmShape, model: GpuModel) -> float:
    """Cycles that a product takes by the model.

    A block's step takes little longer than the slowest of its multiply-adds, its reads from shared memory (16 bytes a thread at a time,
    128 bytes a cycle), its share of what the SM reads from the second cache, and its instructions' turns; and no step is done before its
    copies are. Blocks run in waves of as many as fit on the GPU.
    """
    blocks = ceil(shape.rows / tile.rows) * ceil(shape.filters / tile.filters) * shape.groups * tile.splits
    held = resident(tile, model)
    if held < 1:
        return float("inf")
    steps = ceil(ceil(shape.terms / tile.splits) / tile.depth)
    products = tile.rows * tile.filters * tile.depth / model.fma_per_cycle
    vectors = tile.threads * tile.depth * (tile.thread_rows / VECTOR + tile.thread_filters / VECTOR)
    shared = 16 * vectors / 128
    copied = 4 * tile.depth * (tile.rows + tile.filters) * model.sms / model.l2_bytes_per_cycle
    copies = tile.depth * (tile.rows / shape.together + tile.filters / VECTOR)
    instructions = tile.rows * tile.filters * tile.depth + vectors + COPY_INSTRUCTIONS * copies + STEP_INSTRUCTIONS * tile.threads
    issued = instructions / (WARP * SCHEDULERS)
    # Each vector of a thread's filters touches the sectors of the results once more.
    stored = 4 * tile.rows * tile.filters * tile.thread_filters / VECTOR * model.sms / model.l2_bytes_per_cycle
    full, rest = divmod(blocks, model.sms * held)
    # What an SM holds at once shares its units, and hides each other's waiting.
    total = 0.0
    for count, times in ((held, full), (ceil(rest / model.sms), 1 if rest else 0)):
        step = max(count * overlapped(products, shared, copied, issued), STEP_CYCLES + products, COPY_CYCLES / (tile.stages - 1))
        total += times * (steps * step + START_CYCLES + count * stored)
    if tile.splits > 1:
        moved = 4 * shape.rows * shape.filters * shape.groups * (2 * tile.splits + 1)
        total += model.launch_cycles + moved / model.l2_bytes_per_cycle
    return total


@lru_cache(maxsize=4096)
def choose_gemm(shape: GemmShape, model: GpuModel) -> GemmTile | None:
    """The tile that takes least by the model; None where none can be built."""
    found = list(tiles(shape, model))
    return min(found, key=lambda tile: (cycles(tile, shape, model), tile.threads), default=None)
