"""What the methods have in common whose factors are those of a CP."""
from __future__ import annotations

import numpy as np

from ...support.errors import Refusal
from ..layer import Layer
from ..method import ROUNDING, FactoredMethod


class Polyadic(FactoredMethod):
    """A kernel whose rows and columns are separated, by factors that no singular values give."""

    kind = "conv2d"

    def _refuse(self, layer: Layer) -> str | None:
        return "1 x 1 kernel: no rows and columns to separate, channel_svd applies" if layer.kernel == (1, 1) else None

    def _ranks_keeping(self, weight: np.ndarray, layer: Layer, energy: float) -> tuple[int, ...] | Refusal:
        """Find the ranks by bisection. Factoring is dear, and the error falls along the ladder as its bound does."""
        ladder = self.ladder(layer)

        def lost(ranks: tuple[int, ...]) -> float:
            return self.factorize(weight, layer, ranks).relative_error(weight) ** 2

        least = lost(ladder[-1])
        if least > 1 - energy + ROUNDING:
            return Refusal(f"{self.name} keeps {1 - least:.1%} of the squared norm at most where it saves MACs")
        low, high = 0, len(ladder) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if lost(ladder[middle]) <= 1 - energy + ROUNDING else (middle + 1, high)
        return ladder[low]
