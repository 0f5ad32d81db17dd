"""What convolutions of rounded operands are: the sums in float64, and how far sums in float32 may be from them."""
from __future__ import annotations

import numpy as np
from tenfold.schedules.shapes import ConvGeometry


def expected(x: np.ndarray, weight: np.ndarray, geometry: ConvGeometry) -> tuple[np.ndarray, np.ndarray]:
    """A convolution, NHWC by OIHW, in float64 by NumPy, and the sums of the magnitudes of its products."""
    return _convolved(x, weight, geometry), _convolved(np.abs(x), np.abs(weight), geometry)


def bound_of(magnitudes: np.ndarray, products: int) -> np.ndarray:
    """The largest error of a float32 sum of so many exact products, in any order: (n - 1) u of the sum of their magnitudes (Higham, 4.2).

    One more for the store of the result, and denormals that count as 0.
    """
    return products * 2.0**-24 * magnitudes + products * 2.0**-126


def _convolved(x: np.ndarray, weight: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    batch, height, width, channels = x.shape
    top, left, bottom, right = geometry.padding
    image = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    out_h, out_w = geometry.output(height, width)
    (stride_h, stride_w), (dilation_h, dilation_w) = geometry.stride, geometry.dilation
    result = np.zeros((batch, out_h, out_w, geometry.filters))
    per_group, own = geometry.filters // geometry.groups, channels // geometry.groups
    for group in range(geometry.groups):
        filters, inputs = slice(group * per_group, (group + 1) * per_group), slice(group * own, (group + 1) * own)
        for ky in range(geometry.kernel[0]):
            for kx in range(geometry.kernel[1]):
                seen = image[:, ky * dilation_h:, kx * dilation_w:, inputs][:, ::stride_h, ::stride_w][:, :out_h, :out_w]
                result[..., filters] += seen @ weight[filters, :, ky, kx].T.astype(np.float64)
    return result
