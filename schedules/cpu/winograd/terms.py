"""What the model says of a convolution by Winograd's algorithm, in the terms that kernels share."""
from __future__ import annotations

from math import ceil, prod

from ....targets import CpuTarget
from ...shapes import ConvShape
from ...terms import milliseconds, tail, terms
from ...winograd_algebra import BY_OUTPUTS
from ..conv2d.cost import L1_SHARE
from .cost import Blocking, arithmetic_cycles, tile_count, winograd_cycles, with_whole_blocks


def winograd_terms(shape: ConvShape, blocking: Blocking, target: CpuTarget) -> dict[str, float]:
    """Return the terms; `shape` has one group."""
    cpu, cores = target.model, target.cores if blocking.parallel else 1
    macs = shape.batch * shape.pixels * shape.taps * shape.channels * shape.filters
    shape = with_whole_blocks(shape, blocking, target)
    block = blocking.vectors * target.lanes
    group = blocking.blocks * block
    positions = BY_OUTPUTS[blocking.outputs].products ** 2
    tile_blocks = ceil(tile_count(shape, blocking.outputs) / blocking.tiles)
    filters = group if blocking.shared else shape.filters
    tasks = tile_blocks * (shape.filters // filters)
    passes = positions * tile_blocks * (blocking.tiles // blocking.pixels) * (shape.filters // block)
    weights = 4 * positions * shape.channels * shape.filters
    inputs, products = 4 * positions * shape.channels * blocking.tiles, 4 * positions * blocking.tiles * group
    image = 4 * shape.batch * shape.pixels * (shape.channels * prod(shape.stride) + shape.filters)
    streamed = 4 * shape.channels * block > L1_SHARE * target.l1_bytes
    return terms(
        milliseconds(winograd_cycles(shape, blocking, target), cpu.clock_ghz),
        compute_ms=milliseconds(arithmetic_cycles(shape, blocking, target) / cores, cpu.clock_ghz),
        macs=macs, excess=passes * shape.channels * blocking.pixels * block / macs,
        l1_bytes=4 * passes * shape.channels * (blocking.pixels + block),
        l2_bytes=passes * 4 * shape.channels * (block * streamed + blocking.pixels) + 2 * tile_blocks * products * (shape.filters // group),
        l3_bytes=tasks * weights * filters // shape.filters + (tasks * inputs if blocking.shared else 0) + image,
        memory_bytes=weights + image, accumulators=blocking.pixels * blocking.vectors,
        registers=blocking.pixels * blocking.vectors + blocking.vectors + 1, inner_fma=blocking.pixels * blocking.vectors,
        inner_loads=blocking.pixels + blocking.vectors, inner_steps=shape.channels, tasks=tasks, tail=tail(tasks, cores),
        task_bytes=inputs + products, cores=min(cores, tasks), launches=(1 + blocking.shared) * blocking.parallel,
        packing_bytes=2 * tile_blocks * (inputs + products * (shape.filters // group)), kernels=1,
    )
