"""What the model says of matrices times a vector, in the terms that kernels share.

The model looks at the stream of weights alone, out of the L3 cache: what `matvec.choose_streams` compares.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from ....targets import CpuTarget
from ...terms import milliseconds, tail, terms
from .matvec import STREAM_COST, Streams, number_bytes


def matvec_terms(layers: Sequence[tuple[int, int]], streams: Sequence[Streams], target: CpuTarget) -> dict[str, float]:
    """Return the terms of layers that follow each other in one kernel.

    Parameters
    ----------
    layers : sequence of (int, int)
        Inputs and outputs of each.
    streams : sequence of Streams
        Of each.
    target : CpuTarget
    """
    cpu, total, read, macs, each_bytes = target.model, 0.0, 0, 0, number_bytes(target)
    launched = any(each.parallel for each in streams)
    widest = max(range(len(layers)), key=lambda i: layers[i][0] * layers[i][1])
    for (channels, filters), each in zip(layers, streams, strict=True):
        cores = target.cores if each.parallel else 1
        groups, width = _groups(filters, each, target), each.count * each.vectors * target.lanes
        total += ceil(groups / cores) * each_bytes * width * channels * stream_cost(each.count) / cpu.l3_bytes_per_cycle
        read += each_bytes * groups * width * channels
        macs += channels * filters
    total += launched * (cpu.launch_cycles + cpu.barrier_cycles * (len(layers) - 1))
    (channels, filters), each = layers[widest], streams[widest]
    cores, groups, width = target.cores if each.parallel else 1, _groups(filters, each, target), each.count * each.vectors
    return terms(
        milliseconds(total, cpu.clock_ghz), macs=macs, excess=read / each_bytes / macs,
        compute_ms=milliseconds(read / each_bytes / target.lanes / cpu.fma_per_cycle / cores, cpu.clock_ghz),
        l1_bytes=read, l2_bytes=read, l3_bytes=read, memory_bytes=read, accumulators=width,
        registers=width + 1, inner_fma=width, inner_loads=width + 1, inner_steps=channels, tasks=groups, tail=tail(groups, cores),
        task_bytes=4 * channels, cores=min(cores, groups), launches=launched, kernels=1,
    )


def stream_cost(count: int) -> float:
    """Return the time of a byte with so many streams a core; more than were measured are as good as those."""
    return STREAM_COST[min(count, max(STREAM_COST))]


def _groups(filters: int, streams: Streams, target: CpuTarget) -> int:
    blocks = ceil(filters / (streams.vectors * target.lanes))
    return ceil(blocks / streams.count)
