"""What the model says of a chain, in the terms that kernels share."""
from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from ....targets.gpu_model import GpuModel
from ...terms import milliseconds, tail, terms
from ..common import VECTOR
from .compute import ChainStage, ChainTile, parts, pixels_of
from .tile import copied_bytes, cycles, resident, shared_bytes


def chain_terms(stages: Sequence[ChainStage], batch: int, tile: ChainTile, model: GpuModel) -> dict[str, float]:
    """Return the terms of convolutions in one kernel."""
    height, width = stages[-1].size
    blocks = batch * ceil(height / tile.rows) * ceil(width / tile.columns)
    plan, held = parts(stages, tile), resident(stages, tile, model)
    own = [pixels_of(part.size, stage.geometry.filters, tile.threads, stage.depthwise) or 1
           for part, stage in zip(plan[1:], stages, strict=True)]
    depths = [stage.taps * stage.depth for stage in stages]
    macs = [batch * prod(stage.size) * stage.geometry.filters * depth for stage, depth in zip(stages, depths, strict=True)]
    issued = [blocks * prod(part.size) * stage.geometry.filters * depth
              for part, stage, depth in zip(plan[1:], stages, depths, strict=True)]
    widest = max(range(len(stages)), key=macs.__getitem__)
    loads = [each / VECTOR * (2 if stage.depthwise else 1 / VECTOR + 1 / pixels)
             for each, stage, pixels in zip(issued, stages, own, strict=True)]
    copied = blocks * sum(copied_bytes(stages, index, tile) for index in range(len(stages)))
    weights = 4 * sum(stage.geometry.filters * depth for stage, depth in zip(stages, depths, strict=True))
    results = 4 * batch * height * width * stages[-1].geometry.filters
    sums = own[widest] * VECTOR
    return terms(
        milliseconds(cycles(stages, batch, tile, model), model.clock_ghz),
        compute_ms=milliseconds(sum(issued) / model.fma_per_cycle / model.sms, model.clock_ghz), macs=sum(macs),
        excess=sum(issued) / sum(macs), l1_bytes=16 * sum(loads), l2_bytes=copied + results, memory_bytes=weights + results,
        accumulators=sums, registers=sums + own[widest] + VECTOR, inner_fma=sums, inner_loads=own[widest] / VECTOR + 1,
        inner_steps=depths[widest], tasks=blocks, tail=tail(blocks, model.sms * max(1, held)), task_bytes=shared_bytes(stages, tile),
        cores=min(model.sms, blocks), threads=tile.threads, resident=held, launches=1, kernels=1,
    )
