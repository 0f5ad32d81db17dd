"""What layers of bytes sum to, which the tests of all backends share."""
from __future__ import annotations

import numpy as np
from tenfold.schedules.shapes import ConvGeometry


def expected(x: np.ndarray, weight: np.ndarray, zero: int, geometry: ConvGeometry) -> np.ndarray:
    """The sums in 64 bits, by NumPy."""
    batch, height, width, channels = x.shape
    top, left, bottom, right = geometry.padding
    image = np.zeros((batch, height + top + bottom, width + left + right, channels), np.int64)
    image[:, top:top + height, left:left + width] = x.astype(np.int64) - zero
    out_h, out_w = geometry.output(height, width)
    (stride_h, stride_w), (dilation_h, dilation_w) = geometry.stride, geometry.dilation
    result = np.zeros((batch, out_h, out_w, geometry.filters), np.int64)
    per_group, own = geometry.filters // geometry.groups, channels // geometry.groups
    for group in range(geometry.groups):
        filters, inputs = slice(group * per_group, (group + 1) * per_group), slice(group * own, (group + 1) * own)
        for ky in range(geometry.kernel[0]):
            for kx in range(geometry.kernel[1]):
                seen = image[:, ky * dilation_h:, kx * dilation_w:, inputs][:, ::stride_h, ::stride_w][:, :out_h, :out_w]
                result[..., filters] += seen @ weight[filters, :, ky, kx].T.astype(np.int64)
    return result
