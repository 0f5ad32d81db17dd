"""The register tile of a convolution: an analytical model over its shape and the target, no table of constants.

The inner loop adds one input channel of one kernel position to a tile of `pixels` x `vectors` accumulators: it loads
`vectors` weight vectors, broadcasts `pixels` inputs, and issues `pixels * vectors` multiply-adds. The model prices
such a step, counts the steps, and takes the cheapest tile that the registers hold.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, gcd, prod

from ....targets import CpuTarget
from ...shapes import ConvShape
from ..common import TASKS_PER_CORE

LOAD_COST = 0.3           # cycles that a load takes from multiply-adds in shared issue slots: 6 x 2 measured 4 % faster than 4 x 2
ODD_COST = 0.5            # cycles of a step of three vectors: 3 x 3 measured 7 to 10 % behind 6 x 2, whose arithmetic is the same
POINTER_CYCLES = 25       # one pixel of a flat tile: a division and a remainder, and a pointer of its own in every loop
RAGGED_PRICE = 1.05       # times the work where filters don't fill the last block: its last vector has code of its own, behind a branch
STORE_CYCLES = 1          # epilogue of one accumulator: bias, activation, store
ROW_CYCLES = 1            # loop control of one kernel position, mostly unrolled
L1_SHARE = 0.5            # of the L1 cache for the weights of a tile; inputs and accumulators take the rest
L2_SHARE = 0.25           # of the L2 cache for the outputs of a task, and for its inputs where the next one takes them again
L2_WEIGHTS_SHARE = 0.5    # likewise, for the weights that are read again for every line
IMAGES_SHARE = 0.5        # of the bytes of the images: more weights than that are not worth being read by every core
EXPOSED_SHARE = 0.2       # of the time to read weights that prefetching does not hide
LEAST_READ_SHARE = 0.05   # of the work: weights that take longer to read are asked for before
FEWEST_PASSES = 4         # over a block of weights, while the next is asked for line by line


@dataclass(frozen=True)
class Tile:
    """What one task computes, and in which order.

    Parameters
    ----------
    pixels, vectors : int
        Accumulators of the register tile: output pixels x vectors of output channels.
    flat : bool
        A tile runs over the image's pixels in a line, across the ends of rows, with one pointer for each pixel;
        otherwise over pixels of one row, with one pointer for all.
    rows : int
        Of a task: rows of the image, or register tiles where `flat`.
    weights_inner : bool
        A task has all blocks of output channels for its lines, one line after the other: right where all weights stay in L2. Input,
        output and what is added to it then come and go once, whole pixels side by side; but each core reads all weights.
    parallel : bool
        The work is worth waking the other threads for.
    prefetch : bool
        Weights come from memory, and a task has all lines: while it works on one block, it asks for the next.
    """

    pixels: int
    vectors: int
    flat: bool
    rows: int
    weights_inner: bool
    parallel: bool = True
    prefetch: bool = False


def fits_registers(pixels: int, vectors: int, target: CpuTarget, channels: int | None = None) -> bool:
    """Whether accumulators, weights and broadcasts fit: a tile that spills costs two to three times.

    One register stays free: LLVM spills exact fits in some surroundings. Where a multiply-add can't broadcast from memory or take a lane,
    as in AVX2, a broadcast needs a register, and with a single weight vector LLVM keeps all broadcasts of a step. Where it takes lanes and
    the image has no more channels than a vector, LLVM loads all channels of each pixel at once: every pixel has a register. Of a core that
    works in order the weights of the next step are loaded ahead, too.

    Parameters
    ----------
    pixels, vectors : int
        Of the tile.
    target : CpuTarget
    channels : int, optional
        Of the image. Default: many.
    """
    accumulators = pixels * vectors
    if target.model.in_order and accumulators + 2 * vectors + 1 >= target.vector_registers:
        return False
    if target.model.lane_operand and channels is not None and channels <= target.lanes:
        return accumulators + vectors + pixels < target.vector_registers
    if vectors == 1 and not (target.model.memory_operand or target.model.lane_operand):
        return 2 * accumulators + 2 <= target.vector_registers
    return accumulators + vectors + 1 < target.vector_registers


def step_cycles(shape: ConvShape, pixels: int, vectors: int, target: CpuTarget) -> float:
    """Cycles to add one input channel at one kernel position to the whole tile.

    Weights that don't fit in L1 stream from L2 for every tile, which bounds tiles of few pixels and many vectors. Pixels that share sets
    of L1 drive each other out, which bounds those of many.
    """
    cpu = target.model
    weight_bytes = 4 * vectors * target.lanes
    streamed = shape.taps * shape.channels * weight_bytes > L1_SHARE * target.l1_bytes
    bound = max(pixels * vectors / cpu.fma_per_cycle, (pixels + vectors) / cpu.loads_per_cycle, cpu.fma_latency,
                weight_bytes / cpu.l2_bytes_per_cycle if streamed else 0)
    ways = max(1, target.l1_bytes // cpu.way_bytes - vectors)  # a line of each weight vector needs one, too
    crowded = LOAD_COST * pixels if pixels * gcd(shape.pixel_bytes, cpu.way_bytes) > ways * cpu.way_bytes else 0
    return bound + LOAD_COST * (pixels + vectors) + ODD_COST * (vectors == 3) + crowded


def line_tiles(shape: ConvShape, pixels: int, flat: bool) -> tuple[tuple[int, int], ...]:
    """Register tiles of a line, as (how many, pixels): a flat line is one tile, a row ends in a tile of the pixels that are left."""
    if flat:
        return ((1, pixels),)
    whole, left = divmod(shape.output[1], pixels)
    return ((whole, pixels), (int(left > 0), left))


def lines(shape: ConvShape, pixels: int, flat: bool) -> int:
    """Rows of one image, or flat tiles."""
    return ceil(shape.pixels / pixels) if flat else shape.output[0]


def line_cycles(shape: ConvShape, pixels: int, vectors: int, flat: bool, target: CpuTarget) -> float:
    """Predicted cycles of one line for one block of output channels."""
    steps = shape.taps * shape.channels * (1 if flat else shape.rows_on_image)  # within one row, padding is passed over
    total = 0.0
    for count, width in line_tiles(shape, pixels, flat):
        tile = steps * step_cycles(shape, width, vectors, target) + width * vectors * STORE_CYCLES + shape.taps * ROW_CYCLES
        total += count * (tile + (width * POINTER_CYCLES if flat and not one_pointer(shape) else 0))
    return total


def cycles(shape: ConvShape, pixels: int, vectors: int, flat: bool, target: CpuTarget) -> float:
    """Predicted cycles of the whole convolution on one core."""
    block = vectors * target.lanes
    work = shape.batch * shape.groups * lines(shape, pixels, flat) * line_cycles(shape, pixels, vectors, flat, target)
    return ceil(shape.filters / block) * work * (RAGGED_PRICE if shape.filters % block else 1.0)


def one_pointer(shape: ConvShape) -> bool:
    """Pixels that follow each other in the image also do in memory: flat tiles cost nothing extra."""
    return shape.kernel == (1, 1) and shape.stride == (1, 1)


def widest(shape: ConvShape, flat: bool, target: CpuTarget) -> int:
    """Most pixels that a tile can have: of one row, or with a pointer each."""
    if not flat:
        return shape.output[1]
    return shape.pixels if one_pointer(shape) else target.model.pointer_registers


def task_rows(count: int, line_bytes: int, cycles_each: float, other_tasks: int, target: CpuTarget) -> int:
    """Lines (rows, or flat tiles) of a task: what L2 holds of them, and still enough tasks for every core, evenly.

    Among the candidates the time of the busiest core decides: its lines of computing, and a constant for each task.
    """
    def busiest(rows: int) -> float:
        tasks = other_tasks * ceil(count / rows)
        return ceil(tasks / target.cores) * (rows * cycles_each + target.model.task_cycles)

    most = max(1, min(count, int(L2_SHARE * target.l2_bytes / line_bytes)))
    enough = [rows for rows in range(1, most + 1) if other_tasks * ceil(count / rows) >= target.cores * TASKS_PER_CORE]
    return min(enough or [1], key=busiest)


def choose_tile(shape: ConvShape, target: CpuTarget, fits: Callable[[int, int], bool] | None = None) -> Tile:
    """The cheapest tile for a convolution on a target.

    Parameters
    ----------
    shape : ConvShape
        ConvGeometry of the convolution.
    target : CpuTarget
        Gives lanes, registers, caches and cores.
    fits : callable, optional
        Whether the registers hold so many pixels and vectors. Default: `fits_registers`.
    """
    fits = fits or partial(fits_registers, target=target, channels=shape.channels)
    most = max(1, ceil(shape.filters / target.lanes))
    candidates = [
        (cycles(shape, pixels, vectors, flat, target), flat, -pixels, vectors)
        for vectors in range(1, min(4, most) + 1)
        for pixels in range(1, min(target.vector_registers, shape.pixels) + 1)
        for flat in ((True,) if one_pointer(shape) else (False, True))
        if fits(pixels, vectors) and pixels <= widest(shape, flat, target)
    ]
    work, flat, pixels, vectors = min(candidates)
    pixels = -pixels
    count, cycles_each = lines(shape, pixels, flat), line_cycles(shape, pixels, vectors, flat, target)
    passes = count * sum(tiles for tiles, _ in line_tiles(shape, pixels, flat))
    block = vectors * target.lanes
    blocks = ceil(shape.filters / block)
    weights = 4 * shape.groups * shape.taps * shape.channels * blocks * block
    slow = weights / target.model.memory_bytes_per_cycle > LEAST_READ_SHARE * work / target.cores
    weights_inner = shape.groups * blocks > 1 and _read_by_every_core(weights, shape, target)
    prefetch = slow and not weights_inner and shape.batch * shape.groups * blocks >= target.cores and passes >= FEWEST_PASSES
    line_bytes = 4 * block * (pixels if flat else shape.output[1])
    if prefetch:
        rows = count
    elif weights_inner:
        each = shape.groups * blocks
        rows = task_rows(count, each * line_bytes, each * cycles_each, shape.batch, target)
    else:
        rows = task_rows(count, line_bytes, cycles_each, shape.batch * shape.groups * blocks, target)
    parallel = work * (1 - 1 / target.cores) > target.model.launch_cycles
    return Tile(pixels, vectors, flat, rows, weights_inner, parallel, prefetch)


def _read_by_every_core(weights: int, shape: ConvShape, target: CpuTarget) -> bool:
    """Whether every core had better read all weights, of so many bytes, than the images once for every block."""
    images = 4 * shape.batch * shape.groups * shape.pixels * (shape.channels * prod(shape.stride) + shape.filters)
    return weights <= min(L2_WEIGHTS_SHARE * target.l2_bytes, IMAGES_SHARE * images)


def weight_bytes(shape: ConvShape) -> int:
    """Of all weights, without the padding of blocks."""
    return 4 * shape.groups * shape.taps * shape.channels * shape.filters


def from_memory(work: float, shape: ConvShape, tile: Tile, target: CpuTarget) -> float:
    """Cycles of all cores to do `work`, of a core, with weights that come from memory: before it, or those of later blocks beside it."""
    reading = weight_bytes(shape) / target.model.memory_bytes_per_cycle
    blocks = shape.batch * shape.groups * ceil(shape.filters / (tile.vectors * target.lanes))
    later = reading * max(0.0, 1 - target.cores / blocks) * tile.prefetch
    return reading - later + beside(work, later)


def beside(work: float, reading: float) -> float:
    """Cycles to work while what is needed next is read from memory."""
    return max(work, reading) + EXPOSED_SHARE * min(work, reading)
