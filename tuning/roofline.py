"""How near a task's latency is to what the machine could do at best: what is there already is not worth a trial.

The limit is the larger of two times: of all multiply-accumulates at the peak, and of all bytes that must be moved at least once, from the
cache that holds them. A 3 x 3 convolution counts by the fewest multiplications that a kernel of this package needs (Winograd's algorithm,
Lavin and Gray 2016, F(4 x 4, 3 x 3): a quarter).
"""
from __future__ import annotations

from ..schedules.shapes import ConvWorkload
from ..schedules.task import Task, TaskLayer
from ..targets import CpuTarget, GpuTarget, Target

WINOGRAD = 4.0  # multiply-accumulates by definition over those of F(4 x 4, 3 x 3)


def limit_ms(task: Task, target: Target) -> float:
    """Return the least milliseconds that a task could take; 0 where the machine is not described."""
    macs = sum(map(_least_macs, task.layers))
    if isinstance(target, CpuTarget):
        model = target.model
        per_cycle = model.fma_per_cycle * target.lanes * target.cores
        moved = task.bytes / _bytes_per_cycle(task.bytes, target)
        return max(macs / per_cycle, moved) / (model.clock_ghz * 1e6)
    if isinstance(target, GpuTarget):
        gpu = target.model
        return max(macs / (gpu.fma_per_cycle * gpu.sms), task.bytes / gpu.memory_bytes_per_cycle) / (gpu.clock_ghz * 1e6)
    return 0.0


def _least_macs(layer: TaskLayer) -> float:
    macs = Task((layer,)).macs
    workload = layer.workload
    by_winograd = isinstance(workload, ConvWorkload) and workload.geometry.kernel == (3, 3) and workload.geometry.stride == (1, 1) \
        and workload.geometry.upsample == (1, 1) and not workload.depthwise
    return macs / WINOGRAD if by_winograd else macs


def _bytes_per_cycle(size: int, target: CpuTarget) -> float:
    """Of the smallest cache that holds so many bytes, all cores together where each has its own."""
    model = target.model
    if size <= target.l2_bytes * target.cores:
        return model.l2_bytes_per_cycle * target.cores
    if size <= target.l3_bytes:
        return model.l3_bytes_per_cycle * target.cores
    return model.memory_bytes_per_cycle
