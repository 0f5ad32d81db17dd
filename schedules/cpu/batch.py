"""How many pieces a batch is computed in: where what lies between the kernels of all images does not fit in the L3 cache."""
from __future__ import annotations

from ...targets import Target
from ..backend import BatchTraffic
from .chain.cost import FAR_BYTES_PER_CYCLE, SHARED_BYTES_PER_CYCLE
from .conv2d.cost import LAUNCH_CYCLES

L3_SHARE = 0.25  # of the L3 cache, which other programs use too, for a piece's tensors
WORTH = 2.0      # times what the pieces cost: what they have to save at least, by an estimate this coarse


def pieces(traffic: BatchTraffic, target: Target) -> int:
    """Return a divisor of the images, so that the tensors of a piece fit in the L3 cache; 1 where pieces don't pay."""
    images, weights, widest = traffic.images, traffic.weights, traffic.widest
    room = L3_SHARE * target.l3_bytes
    fitting = [size for size in range(1, images) if images % size == 0 and weights + size * widest <= room]
    if not fitting or weights + images * widest <= room:
        return 1
    count = images // max(fitting)
    saved = images * traffic.between * (1 / FAR_BYTES_PER_CYCLE - 1 / SHARED_BYTES_PER_CYCLE) / target.cores
    spent = (count - 1) * (weights / SHARED_BYTES_PER_CYCLE / target.cores + traffic.kernels * LAUNCH_CYCLES)
    return count if saved > WORTH * spent else 1
