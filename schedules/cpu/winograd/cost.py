"""Winograd or direct, F(4x4) or F(2x2), and the blocking: an analytical model in cycles, beside that of `tiles.py`, no table of shapes.

A task works on `tiles` tiles. Their inputs are transformed, (m + 2)^2 matrix products follow, and the results are transformed back.
The model prices the arithmetic with the register tiles of `tiles.py`, the transforms by the vector, and what leaves the L2 cache by the
byte. Weights are (m + 2)^2 / 9 times larger than the direct convolution's: where an image has few tiles, that takes most time.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from math import ceil, prod, sqrt

from ....targets import CpuTarget
from ...shapes import ConvShape
from ...winograd_algebra import BY_OUTPUTS
from ..conv2d.cost import (
    STORE_CYCLES,
    beside,
    choose_tile,
    cycles,
    fits_registers,
    from_memory,
    step_cycles,
)

INPUT_CYCLES = 10           # of one position of a tile, one vector of channels: load, test for padding, transform, store
OUTPUT_CYCLES = 10          # likewise, of products: load, transform back, epilogue, store
LOOP_CYCLES = 40            # around the accumulators of a register tile: their zeros, and the end of the pipeline
L3_SHARE = 0.5              # of the L3 cache for weights, which are read from there after the first task
L2_SHARE = 0.75             # of the L2 cache for what a task keeps there
TASK_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

ERROR = {2: 5e-8, 4: 2.5e-7}  # see `error_bound`; measured: 3.5e-8 and 1.7e-7, the largest of several seeds
ERROR_OFFSET = 4              # in square roots of channels: the error of the transforms, which does not grow with them
MOST_ERROR = 2.5e-5           # of one layer: a quarter of what a whole compiled network may be off


@dataclass(frozen=True)
class Blocking:
    """What one task computes, and in which order.

    Parameters
    ----------
    outputs : int
        m of F(m x m, 3 x 3).
    pixels, vectors : int
        The register tile of the products: tiles of the image x vectors of output channels.
    tiles : int
        Tiles of a task, a multiple of `pixels`.
    blocks : int
        Blocks of `vectors` vectors whose products a task keeps at the same time.
    shared : bool
        All inputs are transformed first, for all tasks, and a task has `blocks` blocks of output channels; otherwise a task
        transforms its own inputs and has all output channels.
    parallel : bool
        The work is worth waking the other threads for.
    """

    outputs: int
    pixels: int
    vectors: int
    tiles: int
    blocks: int
    shared: bool
    parallel: bool = True

    def describe(self) -> list[int]:
        """The same as integers, in order."""
        return [int(v) for v in astuple(self)]


def error_bound(outputs: int, channels: int) -> float:
    """The largest error of F(m x m, 3 x 3) against float64 to expect, as a part of the largest output.

    For normally distributed weights, and inputs normally distributed or their positive part, as the tests measure it: sums of `channels`
    rounded products, whose errors grow as the square root of their number, behind transforms that magnify them.
    """
    return ERROR[outputs] * (sqrt(channels) + ERROR_OFFSET)


def phases(size: int, dilation: int, outputs: int) -> tuple[int, int]:
    """Along one axis: the images that every `dilation`-th pixel makes, of which the result has some, and the tiles of each."""
    return min(size, dilation), ceil(ceil(size / dilation) / outputs)


def tile_count(shape: ConvShape, outputs: int) -> int:
    """Tiles of all images."""
    each = (phases(size, dilation, outputs) for size, dilation in zip(shape.output, shape.dilation, strict=True))
    return shape.batch * prod(count * tiles for count, tiles in each)


def with_whole_blocks(shape: ConvShape, blocking: Blocking, target: CpuTarget) -> ConvShape:
    """The convolution with as many filters as its last block has room for."""
    block = blocking.vectors * target.lanes
    return shape if shape.filters % block == 0 else replace(shape, filters=ceil(shape.filters / block) * block)


def winograd_cycles(shape: ConvShape, blocking: Blocking, target: CpuTarget) -> float:
    """Predicted cycles from the first core's start to the last one's end."""
    shape = with_whole_blocks(shape, blocking, target)
    cores, cpu = target.cores if blocking.parallel else 1, target.model
    transform = _transform_cycles(shape, blocking, target)
    task = _products_cycles(shape, blocking, cores, target) + cpu.task_cycles
    task += _moved_bytes(shape, blocking, target) / cpu.l3_bytes_per_cycle
    tile_blocks = ceil(tile_count(shape, blocking.outputs) / blocking.tiles)
    if blocking.shared:
        tasks = tile_blocks * (shape.filters // _task_filters(shape, blocking, target))
        first = tile_blocks * (transform + _input_bytes(shape, blocking) / cpu.l3_bytes_per_cycle) / cores
        total = first + ceil(tasks / cores) * task
    else:
        total = ceil(tile_blocks / cores) * (transform + task)
    launches = (1 + blocking.shared) * cpu.launch_cycles if blocking.parallel else 0
    return beside(total, _weight_bytes(shape, blocking, shape.filters) / cpu.memory_bytes_per_cycle) + launches


def arithmetic_cycles(shape: ConvShape, blocking: Blocking, target: CpuTarget) -> float:
    """Cycles of one core for the transforms and products of all tasks, weights at hand."""
    shape = with_whole_blocks(shape, blocking, target)
    alone = _products_cycles(shape, replace(blocking, shared=False), 1, target, reading=False)
    return ceil(tile_count(shape, blocking.outputs) / blocking.tiles) * (_transform_cycles(shape, blocking, target) + alone)


def _transform_cycles(shape: ConvShape, b: Blocking, target: CpuTarget) -> float:
    """To transform the inputs of a task's tiles."""
    return _positions(b) * b.tiles * ceil(shape.channels / target.lanes) * INPUT_CYCLES


def _products_cycles(shape: ConvShape, b: Blocking, cores: int, target: CpuTarget, reading: bool = True) -> float:
    """A task's matrix products, while its weights are read where `reading`, and the transform back."""
    filters = _task_filters(shape, b, target)
    one = ConvShape(1, 1, shape.channels, shape.filters, (1, b.tiles))
    register_tile = shape.channels * step_cycles(one, b.pixels, b.vectors, target) + b.pixels * b.vectors * STORE_CYCLES + LOOP_CYCLES
    products = _positions(b) * (filters // (b.vectors * target.lanes)) * (b.tiles // b.pixels) * register_tile
    kept = _weight_bytes(shape, b, shape.filters) <= L3_SHARE * target.l3_bytes
    rate = target.model.l3_bytes_per_cycle if kept else target.model.memory_bytes_per_cycle / cores
    weights = _weight_bytes(shape, b, filters) / rate
    back = _positions(b) * b.tiles * (filters // target.lanes) * OUTPUT_CYCLES
    return beside(products, weights * reading) + back


def _moved_bytes(shape: ConvShape, b: Blocking, target: CpuTarget) -> float:
    """What a task moves between L2 and L3, weights aside."""
    group = b.blocks * b.vectors * target.lanes
    groups = _task_filters(shape, b, target) // group
    inputs, products = _input_bytes(shape, b), 4 * _positions(b) * b.tiles * group
    moved = inputs if b.shared else 0
    if not b.shared and inputs + products > L2_SHARE * target.l2_bytes:
        moved += inputs * (1 + groups)
    if products > L2_SHARE * target.l2_bytes:
        moved += 2 * products * groups
    return moved


def _positions(b: Blocking) -> int:
    return BY_OUTPUTS[b.outputs].products ** 2


def _task_filters(shape: ConvShape, b: Blocking, target: CpuTarget) -> int:
    return b.blocks * b.vectors * target.lanes if b.shared else shape.filters


def _input_bytes(shape: ConvShape, b: Blocking) -> int:
    return 4 * _positions(b) * shape.channels * b.tiles


def _weight_bytes(shape: ConvShape, b: Blocking, filters: int) -> int:
    return 4 * _positions(b) * shape.channels * filters


def direct_cycles(shape: ConvShape, target: CpuTarget) -> float:
    """The same for the direct convolution."""
    tile = choose_tile(shape, target)
    work = cycles(shape, tile.pixels, tile.vectors, tile.flat, target)
    return from_memory(work / target.cores + target.model.launch_cycles if tile.parallel else work, shape, tile, target)


@lru_cache(maxsize=256)
def choose_winograd(shape: ConvShape, target: CpuTarget) -> Blocking | None:
    """The cheapest blocking of the forms that are exact enough; None where the direct convolution is predicted to be faster."""
    found = min(blockings(shape, target), key=lambda b: winograd_cycles(shape, b, target), default=None)
    if found is None or winograd_cycles(shape, found, target) >= direct_cycles(shape, target):
        return None
    return found


def blockings(shape: ConvShape, target: CpuTarget) -> Iterator[Blocking]:
    """Go through every blocking worth a price; there is none for a convolution or target that Winograd's algorithm is not for."""
    if target.plain_weights:
        return
    if shape.kernel != (3, 3) or shape.stride != (1, 1) or shape.groups != 1:
        return
    vectors = range(1, min(4, ceil(shape.filters / target.lanes)) + 1)
    for outputs in BY_OUTPUTS:
        if error_bound(outputs, shape.channels) > MOST_ERROR:
            continue
        count = tile_count(shape, outputs)
        for v in vectors:
            blocks = ceil(shape.filters / (v * target.lanes))
            groups = [b for b in range(1, blocks + 1) if blocks % b == 0]
            for pixels in range(1, min(target.vector_registers, count) + 1):
                if not fits_registers(pixels, v, target):
                    continue
                sizes = {ceil(ceil(count / n) / pixels) * pixels for n in TASK_COUNTS}
                for tiles in sorted(sizes):
                    yield from (Blocking(outputs, pixels, v, tiles, b, shared) for b in groups for shared in (False, True))
