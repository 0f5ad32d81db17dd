"""What the model says of a chain, in the terms that kernels share."""
from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from ....targets import CpuTarget
from ...shapes import ConvWorkload
from ...terms import milliseconds, tail, terms
from .compute import Cut, Ends
from .cost import Work
from .stage import ChainStage


def chain_terms(links: Sequence[ConvWorkload], stages: Sequence[ChainStage], cut: Cut, ends: Ends, target: CpuTarget) -> dict[str, float]:
    """Return the terms of convolutions in one kernel."""
    work, cpu, lanes = Work(links, stages, ends, target), target.model, target.lanes
    load = work.load(cut)
    tasks = load.tasks * links[0].batch * work.blocks
    macs = [link.batch * prod(link.output) * link.geometry.filters * (link.channels // link.geometry.groups) * prod(link.geometry.kernel)
            for link in links]
    widest = max(range(len(links)), key=macs.__getitem__)
    stage, link = stages[widest], links[widest]
    vectors = max(1, stage.vectors)
    rows = sum(count * row for count, row in zip(load.rows, work.per_row, strict=True)) / work.blocks
    once = sum(row * each.output[0] for row, each in zip(work.per_row, links, strict=True)) * links[0].batch
    taps = prod(stage.geometry.kernel)
    weights = sum(each.weight_bytes for each in links)
    image = 4 * (prod(links[0].size) * links[0].channels + prod(links[-1].output) * links[-1].geometry.filters) * links[0].batch
    steps = taps if stage.depthwise else taps * (link.channels // stage.geometry.groups)
    issued = tasks * rows / once if once else 1.0
    return terms(
        milliseconds(work.cost(cut), cpu.clock_ghz), compute_ms=milliseconds(once / target.cores, cpu.clock_ghz), macs=sum(macs),
        excess=issued * ceil(link.output[1] / stage.pixels) * stage.pixels / link.output[1],
        l1_bytes=4 * lanes * sum(macs) / lanes * (1 / stage.pixels + 1 / (vectors * lanes)),
        l2_bytes=tasks * cut.strips * (2 * load.plane_bytes + weights / work.blocks), l3_bytes=tasks * weights / work.blocks + image,
        memory_bytes=weights + image, accumulators=stage.pixels * vectors, registers=stage.pixels * vectors + vectors + 1,
        inner_fma=stage.pixels * vectors, inner_loads=stage.pixels + vectors, inner_steps=steps, tasks=tasks,
        tail=tail(tasks, target.cores), task_bytes=load.plane_bytes, cores=min(target.cores, tasks), launches=1,
        packing_bytes=0 if ends.in_place else image * (ends.source_nchw + ends.result_nchw) / 2, kernels=1,
    )
