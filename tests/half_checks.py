"""What convolutions of rounded operands are: the sums in float64, and how far sums in float32 may be from them."""
from __future__ import annotations

import numpy as np
from geometries import convolved
from tenfold.schedules.shapes import ConvGeometry


def expected(x: np.ndarray, weight: np.ndarray, geometry: ConvGeometry) -> tuple[np.ndarray, np.ndarray]:
    """A convolution, NHWC by OIHW, in float64 by NumPy, and the sums of the magnitudes of its products."""
    x = x.astype(np.float64)
    return convolved(x, weight, geometry), convolved(np.abs(x), np.abs(weight), geometry)


def bound_of(magnitudes: np.ndarray, products: int) -> np.ndarray:
    """The largest error of a float32 sum of so many exact products, in any order: (n - 1) u of the sum of their magnitudes (Higham, 4.2).

    One more for the store of the result, and denormals that count as 0.
    """
    return products * 2.0**-24 * magnitudes + products * 2.0**-126
