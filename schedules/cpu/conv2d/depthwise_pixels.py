"""The register tile of a depthwise convolution, by itself or in a chain."""
from __future__ import annotations

from math import ceil

from ....targets import CpuTarget
from ...shapes import ConvWorkload

DEPTHWISE_PIXELS = (8, 7, 6, 5)   # accumulators: enough to hide the multiply-add's latency, few enough for registers
FEWEST_PIXELS = 4                 # where they are too many: 128 channels, 1 x 5, measured 15 % faster than with 8 in 16 registers


def depthwise_pixels(link: ConvWorkload, target: CpuTarget) -> int:
    """Of its register tile: those that leave the fewest idle at the end of a row.

    LLVM keeps the inputs that several columns of the kernel read, and the weights of a kernel row: they need registers too.
    """
    width, columns = link.output[1], link.geometry.kernel[1]
    kept = 1 if columns == 1 else columns
    fitting = [p for p in DEPTHWISE_PIXELS if p + p * (columns > 1) + kept < target.vector_registers]
    narrow = [FEWEST_PIXELS] if len(fitting) < len(DEPTHWISE_PIXELS) else []
    return min(fitting + narrow, key=lambda p: ceil(width / p) * p)
