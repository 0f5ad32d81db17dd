"""What the models say of a product of matrices, in the terms that kernels share."""
from __future__ import annotations

from math import ceil

from ....targets.gpu_model import GpuModel
from ...terms import milliseconds, tail, terms
from . import tensor_tile, tile
from .choice import Tile
from .tile import GemmShape, GemmTile


def product_terms(shape: GemmShape, chosen: Tile, model: GpuModel) -> dict[str, float]:
    """Return the terms; registers and sums are those of a thread."""
    blocks = ceil(shape.rows / chosen.rows) * ceil(shape.filters / chosen.filters) * shape.groups * chosen.splits
    steps = ceil(ceil(shape.terms / chosen.splits) / chosen.depth)
    macs = shape.rows * shape.filters * shape.terms * shape.groups
    issued = blocks * steps * chosen.rows * chosen.filters * chosen.depth
    if isinstance(chosen, GemmTile):
        cycles, rate, weight_bytes = tile.cycles(chosen, shape, model), model.fma_per_cycle, 4
        loads = chosen.thread_rows / 4 + chosen.thread_filters / 4  # vectors of 16 bytes
        shared = 16 * chosen.threads * chosen.depth * loads
        fma = chosen.thread_rows * chosen.thread_filters
    else:
        cycles, rate = tensor_tile.cycles(chosen, shape, model), tensor_tile.rate(model, chosen.precision)
        weight_bytes = chosen.weight_bytes
        patches, weights = chosen.warp_rows // 8, chosen.warp_filters // 16 * weight_bytes // 2
        loads, fma = patches + weights, patches * weights
        shared = chosen.warps * (chosen.depth // tensor_tile.TERMS) * loads * 16 * tile.WARP
    copied = blocks * steps * chosen.depth * (4 * chosen.rows + weight_bytes * chosen.filters)
    results = 4 * shape.rows * shape.filters * shape.groups
    partial = results * (2 * chosen.splits + 1) if chosen.splits > 1 else 0
    held = resident(chosen, model)
    places = model.sms * max(1, held)
    return terms(
        milliseconds(cycles, model.clock_ghz), compute_ms=milliseconds(issued / rate / model.sms, model.clock_ghz), macs=macs,
        excess=issued / macs, l1_bytes=blocks * steps * shared, l2_bytes=copied + results,
        memory_bytes=shape.groups * (4 * shape.rows * shape.terms + weight_bytes * shape.terms * shape.filters) + results,
        accumulators=chosen.thread_rows * chosen.thread_filters, registers=chosen.registers, inner_fma=fma, inner_loads=loads,
        inner_steps=steps * chosen.depth, tasks=blocks, tail=tail(blocks, places), task_bytes=chosen.shared_bytes,
        cores=min(model.sms, blocks), threads=chosen.threads, resident=held, launches=1 + (chosen.splits > 1),
        prefetch=chosen.stages - 1, packing_bytes=partial, kernels=1,
    )


def resident(chosen: Tile, model: GpuModel) -> int:
    """Return how many blocks a multiprocessor holds at a time."""
    return tensor_tile.resident(chosen, model) if isinstance(chosen, tensor_tile.TensorTile) else tile.resident(chosen, model)
