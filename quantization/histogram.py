"""How the values of a tensor are distributed, collected batch by batch: bins that become wider as larger values come."""
from __future__ import annotations

import math

import numpy as np

BINS = 4096  # on each side of 0. After a doubling half of them are left, eight to a step of 8 bits of one side.
MOST_VALUES = 1 << 20  # of one batch that are counted; minimum and maximum are those of all


class Histogram:
    """Counts of values, in bins of one width that meet at 0.

    The width is that of the first batch's largest value over `BINS`, and is doubled, and neighbouring bins are added up, whenever a larger
    value comes: the counts are what they would have been with the last width from the start. Zeros are counted apart, for every
    quantizer represents them exactly.

    Attributes
    ----------
    low, high : float
        The smallest and the largest value; 0 for none.
    zeros : int
        How many values are 0.
    """

    def __init__(self) -> None:
        self.low, self.high, self.zeros = math.inf, -math.inf, 0
        self._width = 0.0
        self._counts = np.zeros(2 * BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Add values of any shape. Of more than `MOST_VALUES`, only evenly spaced ones are counted.

        Raises
        ------
        ValueError
            There is a NaN or an infinity among them.
        """
        flat = np.ravel(values)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not math.isfinite(low) or not math.isfinite(high):
            raise ValueError("NaN or infinity")
        self.low, self.high = min(self.low, low), max(self.high, high)
        every = -(-flat.size // MOST_VALUES) | 1  # odd, so that it does not keep step with rows and channels
        counted = flat[::every].astype(np.float64)
        nonzero = counted[counted != 0]
        self.zeros += counted.size - nonzero.size
        largest = max(abs(low), abs(high))
        if largest == 0:
            return
        if self._width == 0:
            self._width = largest / BINS * (1 + 1e-9)  # so that the largest lies within
        while largest >= BINS * self._width:
            self._double()
        indices = np.floor(nonzero / self._width).astype(np.int64) + BINS
        self._counts += np.bincount(np.clip(indices, 0, 2 * BINS - 1), minlength=2 * BINS)

    def _double(self) -> None:
        merged = self._counts.reshape(-1, 2).sum(axis=1)
        self._counts = np.zeros_like(self._counts)
        self._counts[BINS // 2 : BINS // 2 + BINS] = merged
        self._width *= 2

    @property
    def width(self) -> float:
        """Of a bin; 0 as long as all values are 0."""
        return self._width

    def occupied(self) -> tuple[np.ndarray, np.ndarray]:
        """The middles of the bins that are not empty, rising, and their counts; without the zeros."""
        (where,) = np.nonzero(self._counts)
        return (where - BINS + 0.5) * self._width, self._counts[where]

    def magnitudes(self) -> np.ndarray:
        """Counts of absolute values, by bins from 0 on; without the zeros."""
        return self._counts[BINS:] + self._counts[BINS - 1 :: -1]

    def quantile(self, part: float) -> float:
        """The value that this part of all values is not above, to the width of a bin."""
        middles, counts = self.occupied()
        at = int(np.searchsorted(middles, 0.0))
        middles, counts = np.insert(middles, at, 0.0), np.insert(counts, at, self.zeros)
        total = np.cumsum(counts)
        return float(np.clip(middles[min(np.searchsorted(total, part * total[-1]), len(middles) - 1)], *self.range))

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value, and 0."""
        return min(self.low, 0.0), max(self.high, 0.0)
