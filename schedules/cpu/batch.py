"""How many pieces a batch is computed in: where what lies between the kernels of all images does not fit in the L3 cache."""
from __future__ import annotations

from ...targets import CpuTarget
from ..backend import BatchTraffic

L3_SHARE = 0.25    # of the L3 cache, which other programs use too, for a piece's tensors
LEAST_SAVED = 2.0  # times what the pieces cost: by an estimate this coarse, less may be none


def pieces(traffic: BatchTraffic, target: CpuTarget) -> int:
    """Return a divisor of the images, so that the tensors of a piece fit in the L3 cache; 1 where pieces don't pay."""
    images, weights, widest = traffic.images, traffic.weights, traffic.widest
    room = L3_SHARE * target.l3_bytes
    fitting = [size for size in range(1, images) if images % size == 0 and weights + size * widest <= room]
    if not fitting or weights + images * widest <= room:
        return 1
    count = images // max(fitting)
    cpu = target.model
    saved = images * traffic.between * (1 / cpu.memory_round_trip_bytes_per_cycle - 1 / cpu.l3_round_trip_bytes_per_cycle) / target.cores
    spent = (count - 1) * (weights / cpu.l3_round_trip_bytes_per_cycle / target.cores + traffic.kernels * cpu.launch_cycles)
    return count if saved > LEAST_SAVED * spent else 1
