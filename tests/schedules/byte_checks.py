"""What layers of bytes sum to, which the tests of all backends share."""
from __future__ import annotations

import numpy as np
from geometries import convolved
from tenfold.schedules.shapes import ConvGeometry


def expected(x: np.ndarray, weight: np.ndarray, zero: int, geometry: ConvGeometry) -> np.ndarray:
    """The sums in 64 bits, by NumPy."""
    return convolved(x.astype(np.int64) - zero, weight, geometry)
