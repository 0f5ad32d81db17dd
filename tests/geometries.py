"""Random convolutions, and what they are by NumPy."""
from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from tenfold.schedules.shapes import ConvGeometry


@st.composite
def layers(draw):
    """A geometry, and the shape of its input, NHWC."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 4]))
    channels, filters = groups * draw(st.integers(1, 20)), groups * draw(st.integers(1, 40))
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (5, 5), (2, 3), (1, 4)]))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    spans = [(k - 1) * d + 1 - before - behind for k, d, before, behind in zip(kernel, dilation, padding[:2], padding[2:], strict=True)]
    size = tuple(draw(st.integers(max(1, span), max(1, span) + 9)) for span in spans)
    geometry = ConvGeometry(filters, kernel, draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), padding, dilation, groups)
    return geometry, (draw(st.integers(1, 2)), *size, channels)


def convolved(x: np.ndarray, weight: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """A convolution, NHWC by OIHW, in the type of its data."""
    batch, height, width, channels = x.shape
    top, left, bottom, right = geometry.padding
    image = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    out_h, out_w = geometry.output(height, width)
    (stride_h, stride_w), (dilation_h, dilation_w) = geometry.stride, geometry.dilation
    result = np.zeros((batch, out_h, out_w, geometry.filters), x.dtype)
    per_group, own = geometry.filters // geometry.groups, channels // geometry.groups
    for group in range(geometry.groups):
        filters, inputs = slice(group * per_group, (group + 1) * per_group), slice(group * own, (group + 1) * own)
        for ky in range(geometry.kernel[0]):
            for kx in range(geometry.kernel[1]):
                seen = image[:, ky * dilation_h:, kx * dilation_w:, inputs][:, ::stride_h, ::stride_w][:, :out_h, :out_w]
                result[..., filters] += seen @ weight[filters, :, ky, kx].T.astype(x.dtype)
    return result
