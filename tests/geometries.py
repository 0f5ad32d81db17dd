"""Random convolutions."""
from __future__ import annotations

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
