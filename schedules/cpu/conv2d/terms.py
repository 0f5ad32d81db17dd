"""What the models say of a direct and of a depthwise convolution at any point: estimates with all knobs, in the terms that kernels share.

`cost.choose_tile` decides in steps: the register tile by its arithmetic, then the rows of a task among those that L2 holds, then the
rest by rules. A tuner needs one price for any combination, so these functions add up what the steps look at: the tasks of the busiest
core, what exceeds the share of a cache, weights that are read again. So the choice is near the least price, but not always the least.
"""
from __future__ import annotations

from math import ceil, prod

from ....targets import CpuTarget
from ...shapes import ConvShape, ConvWorkload
from ...terms import milliseconds, tail, terms
from ..chain.stage_options import depthwise_cycles, grouped_cycles
from .cost import (
    L1_SHARE,
    L2_SHARE,
    L2_WEIGHTS_SHARE,
    RAGGED_PRICE,
    Tile,
    cycles,
    from_memory,
    line_cycles,
    lines,
    weight_bytes,
)
from .depthwise import L2_SHARE as DEPTHWISE_L2_SHARE
from .depthwise import DepthwiseTile, vectors_of


def direct_terms(shape: ConvShape, tile: Tile, target: CpuTarget, padding: int = 0) -> dict[str, float]:
    """Return the terms of a direct convolution.

    Parameters
    ----------
    shape : ConvShape
        With the groups that it is computed in.
    tile : Tile
    target : CpuTarget
    padding : int
        Bytes of the copy of its input with zeros around it; 0 where there is none.
    """
    cpu, cores = target.model, target.cores if tile.parallel else 1
    block = tile.vectors * target.lanes
    blocks, count = ceil(shape.filters / block), lines(shape, tile.pixels, tile.flat)
    rows, per_line = min(tile.rows, count), shape.groups * blocks
    tasks = shape.batch * ceil(count / rows) * (1 if tile.weights_inner else per_line)
    inner = per_line if tile.weights_inner else 1  # blocks of filters of a task
    width = tile.pixels if tile.flat else shape.output[1]
    source_line, result_line = 4 * width * shape.channels * _read_of_source(shape), 4 * width * block
    task_bytes = rows * (inner * result_line + source_line * (shape.groups if tile.weights_inner else 1))
    moved = _moved(shape, tile, rows, blocks, target)
    # The busiest core: its tasks, each with what it moves beyond the nearest caches.
    line = line_cycles(shape, tile.pixels, tile.vectors, tile.flat, target) * (RAGGED_PRICE if shape.filters % block else 1.0)
    each = rows * inner * line + cpu.task_cycles + moved / tasks / cpu.l3_bytes_per_cycle
    too_large = max(0.0, rows * inner * result_line - L2_SHARE * target.l2_bytes)
    each += 2 * too_large / cpu.l2_round_trip_bytes_per_cycle
    busiest = ceil(tasks / cores) * each + 2 * padding / cpu.l2_round_trip_bytes_per_cycle / cores
    launches = tile.parallel * (1 + (padding > 0))
    total = from_memory(busiest + launches * cpu.launch_cycles, shape, tile, target)
    macs = shape.batch * shape.groups * shape.pixels * shape.taps * shape.channels * shape.filters
    passes = shape.batch * count * (1 if tile.flat else ceil(shape.output[1] / tile.pixels)) * per_line
    steps = shape.taps * shape.channels
    weights_of_block = 4 * steps * block
    streamed = weights_of_block > L1_SHARE * target.l1_bytes
    return terms(
        milliseconds(total, cpu.clock_ghz), macs=macs, excess=passes * steps * tile.pixels * block / macs,
        compute_ms=milliseconds(cycles(shape, tile.pixels, tile.vectors, tile.flat, target) / cores, cpu.clock_ghz),
        l1_bytes=4 * passes * steps * (tile.pixels + block),
        l2_bytes=passes * (weights_of_block * streamed + 4 * tile.pixels * shape.channels),
        l3_bytes=moved, memory_bytes=weight_bytes(shape) + _image_bytes(shape), accumulators=tile.pixels * tile.vectors,
        registers=tile.pixels * tile.vectors + tile.vectors + 1, inner_fma=tile.pixels * tile.vectors,
        inner_loads=tile.pixels + tile.vectors, inner_steps=steps, tasks=tasks, tail=tail(tasks, cores),
        task_bytes=task_bytes, cores=min(cores, tasks), launches=launches,
        prefetch=tile.prefetch, packing_bytes=2 * padding, kernels=1,
    )


def _moved(shape: ConvShape, tile: Tile, rows: int, blocks: int, target: CpuTarget) -> float:
    """Bytes from behind L2: weights that tasks read, and the images once for each time that a task begins them anew."""
    tasks_of_lines = shape.batch * ceil(lines(shape, tile.pixels, tile.flat) / rows)
    weights, images = weight_bytes(shape), _image_bytes(shape)
    if not tile.weights_inner:
        source = 4 * shape.batch * shape.groups * shape.pixels * shape.channels * _read_of_source(shape)
        return tasks_of_lines * weights + images + (blocks - 1) * source
    again = rows if weights > L2_WEIGHTS_SHARE * target.l2_bytes else 1  # each line reads them all
    return tasks_of_lines * again * weights + images


def _image_bytes(shape: ConvShape) -> int:
    """Of the source and the result."""
    return 4 * shape.batch * shape.groups * shape.pixels * (shape.channels * _read_of_source(shape) + shape.filters)


def _read_of_source(shape: ConvShape) -> int:
    """Pixels of the source for each of the result: steps that are longer than the kernel pass over some."""
    return prod(min(step, size) for step, size in zip(shape.stride, shape.kernel, strict=True))


def padded_bytes(link: ConvWorkload) -> int:
    """Of the copy of an input with zeros around it; 0 where it has no padding."""
    top, left, bottom, right = link.geometry.padding
    if not any(link.geometry.padding):
        return 0
    height, width = link.spread
    return 4 * link.batch * max(0, height + top + bottom) * max(0, width + left + right) * link.channels


def depthwise_terms(link: ConvWorkload, tile: DepthwiseTile, target: CpuTarget) -> dict[str, float]:
    """Return the terms of a depthwise convolution, or of one with groups that share vectors."""
    per_group = link.channels // link.geometry.groups
    cpu, (height, width), (kernel_h, kernel_w) = target.model, link.output, link.geometry.kernel
    lanes, taps, stride = target.lanes, kernel_h * kernel_w, link.geometry.stride[0]
    vectors = vectors_of(link.channels, target)
    blocks = vectors // tile.vectors
    tasks, tiles = link.batch * ceil(height / tile.rows) * blocks, ceil(width / tile.pixels)
    # Fewer pixels than hide the latency of a multiply-add wait for it.
    waiting = max(0.0, cpu.fma_latency - tile.pixels * 1.5 / cpu.loads_per_cycle) * taps * tiles * tile.vectors
    row = depthwise_cycles(link, tile.pixels, tile.vectors, target) + waiting
    if per_group > 1:
        row = grouped_cycles(link, tile.pixels, tile.vectors, target)
    columns = tiles * tile.pixels * link.geometry.stride[1] + kernel_w
    source = 4 * ((tile.rows - 1) * stride + kernel_h) * columns * tile.vectors * lanes
    too_large = max(0.0, source - DEPTHWISE_L2_SHARE * target.l2_bytes)
    copied = source if any(link.geometry.padding) else 0
    each = tile.rows * row + cpu.task_cycles + 2 * (too_large + copied) / cpu.l2_round_trip_bytes_per_cycle
    image = 4 * link.batch * link.channels * (prod(link.size) + height * width)
    macs = link.batch * height * width * link.channels * taps * per_group
    issued = link.batch * height * tiles * tile.pixels * taps * vectors * per_group
    total = ceil(tasks / target.cores) * each + cpu.launch_cycles
    return terms(
        milliseconds(total, cpu.clock_ghz), compute_ms=milliseconds(link.batch * height * row * blocks / target.cores, cpu.clock_ghz),
        macs=macs, excess=issued * target.lanes / macs, l1_bytes=4 * issued * target.lanes * 1.5, l2_bytes=tasks * source,
        l3_bytes=tasks * (source if too_large else 0) + image, memory_bytes=image + link.weight_bytes, accumulators=tile.pixels,
        registers=tile.pixels + tile.pixels * (kernel_w > 1) + (kernel_w if kernel_w > 1 else 1), inner_fma=tile.pixels * kernel_w,
        inner_loads=1.5 * tile.pixels * kernel_w, inner_steps=kernel_h, tasks=tasks, tail=tail(tasks, target.cores),
        task_bytes=source + 4 * tile.rows * width * tile.vectors * lanes, cores=min(target.cores, tasks), launches=1,
        packing_bytes=2 * tasks * copied, kernels=1,
    )
