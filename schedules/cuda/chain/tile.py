"""The tile of a chain on a GPU, and its choice by a model."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import ceil, prod

from ....targets.gpu_model import RESERVED, GpuModel
from ..common import VECTOR
from .compute import CHANNELS, ChainStage, ChainTile, Part, parts, pixels_of, rounds

ROWS = COLUMNS = (1, 2, 3, 4, 6, 7, 8, 12, 14, 16)
THREADS = (32, 64, 96, 128, 192, 256)
STAGE_CYCLES = 400.0  # of a stage: barriers, and the first loads. An estimate
START_CYCLES = 1500.0  # to begin a block. An estimate
LINE = 128  # bytes of shared memory that an SM reads in a cycle


def _pixels(part: Part, stage: ChainStage, tile: ChainTile) -> int | None:
    return pixels_of(part.size, stage.geometry.filters, tile.threads, stage.depthwise)


def shared_bytes(stages: Sequence[ChainStage], tile: ChainTile) -> int:
    """Shared memory of a block: the planes, what is copied of the image at a time, and of weights."""
    plan = parts(stages, tile)
    planes = [4 * prod(part.size) * stage.geometry.filters for part, stage in zip(plan[1:], stages[:-1], strict=False)]
    image = 4 * prod(plan[0].size) * min(CHANNELS, stages[0].channels)
    weights = max((4 * min(CHANNELS, stage.depth) * stage.geometry.filters for stage in stages if not stage.depthwise), default=0)
    return sum(planes) + image + weights


def allowed(stages: Sequence[ChainStage], tile: ChainTile, model: GpuModel) -> bool:
    """Whether a tile can be built."""
    even = all(_pixels(part, stage, tile) for part, stage in zip(parts(stages, tile)[1:], stages, strict=True))
    return even and shared_bytes(stages, tile) <= model.shared_block_bytes


def tiles(stages: Sequence[ChainStage], model: GpuModel) -> Iterator[ChainTile]:
    """Go through the tiles that can be built."""
    every = (ChainTile(*values) for values in product(ROWS, COLUMNS, THREADS))
    return (tile for tile in every if allowed(stages, tile, model))


def resident(stages: Sequence[ChainStage], tile: ChainTile, model: GpuModel) -> int:
    """How many blocks an SM holds at a time."""
    return min(model.blocks, model.threads // tile.threads, model.shared_bytes // (shared_bytes(stages, tile) + RESERVED))


def cycles(stages: Sequence[ChainStage], batch: int, tile: ChainTile, model: GpuModel) -> float:
    """Cycles that a chain takes by the model.

    Each stage of a block takes as long as the slowest of its multiply-adds, its reads from shared memory, and the copies of its weights
    and of the image from the second cache, which are copied again for each round of the threads that reads them. Blocks run in waves of as
    many as fit on the GPU.
    """
    height, width = stages[-1].size
    blocks = batch * ceil(height / tile.rows) * ceil(width / tile.columns)
    plan, share = parts(stages, tile), model.l2_bytes_per_cycle / model.sms
    held = resident(stages, tile, model)
    if held < 1:
        return float("inf")
    busy, waiting = 0.0, START_CYCLES
    for index, (stage, part) in enumerate(zip(stages, plan[1:], strict=True)):
        own = _pixels(part, stage, tile)
        assert own is not None
        results = prod(part.size) * stage.geometry.filters
        terms = stage.taps * stage.depth
        products = results * terms / model.fma_per_cycle
        # Vectors of 16 bytes: of a dense stage, those of a thread's pixels for four terms, and of its filters for each.
        loads = results * terms / VECTOR * (2 if stage.depthwise else (1 / VECTOR + 1 / own))
        busy += max(products, 16 * loads / LINE, copied_bytes(stages, index, tile) / share)
        waiting += STAGE_CYCLES
    full, rest = divmod(blocks, model.sms * held)
    last = ceil(rest / model.sms)
    return full * max(held * busy, busy + waiting) + (max(last * busy, busy + waiting) if rest else 0.0)


def copied_bytes(stages: Sequence[ChainStage], index: int, tile: ChainTile) -> int:
    """Bytes that a block copies for a stage: its weights, and for the first one the image, in each round that reads them."""
    stage, plan = stages[index], parts(stages, tile)
    own = _pixels(plan[index + 1], stage, tile)
    assert own is not None
    passes, groups = rounds(plan[index + 1].size, stage.geometry.filters, tile.threads, own)
    weights = stage.taps * stage.depth * stage.geometry.filters * groups
    image = prod(plan[0].size) * stage.channels * passes * groups if index == 0 else 0
    return 4 * (weights + image)


@lru_cache(maxsize=1024)
def choose_chain(stages: tuple[ChainStage, ...], batch: int, model: GpuModel) -> ChainTile | None:
    """The tile that takes least by the model; None where none can be built."""
    return min(tiles(stages, model), key=lambda tile: (cycles(stages, batch, tile, model), tile.threads), default=None)
