"""A pointwise convolution behind an enlarged image -> before it, where the image is small.

    Resize 2 x -> Conv 1 x 1     ->   Conv 1 x 1 -> Resize 2 x     a quarter of the multiply-adds

Each pixel of an enlarged image is a mean of some of the small one, the same for all channels, with weights whose sum is 1: so the bias
passes too.
"""
from __future__ import annotations

from onnxscript import ir

from ...frontends.onnx.initializers import is_constant
from .editing import elements, insert, is_float, operator, sizes, sole_producer, supplant
from .linear import linear
from .rewrite import Rewrite
from .work import Work


class Upsampling(Rewrite):
    """Convolve before an image is enlarged."""

    name = "upsampling"

    def at(self, node: ir.Node) -> str | None:
        """Rewrite a pointwise convolution and the Resize before it."""
        conv = linear(node, False) if operator(node) == "Conv" else None
        resize = sole_producer(node.inputs[0]) if conv is not None else None
        if conv is None or resize is None or operator(resize) != "Resize" or not conv.grid.pointwise or not is_float(resize.inputs[0]):
            return None
        x, result = resize.inputs[0], node.outputs[0]
        before, after = sizes(x) or (), sizes(result) or ()
        mode = resize.attributes.get_string("coordinate_transformation_mode", "")
        if mode == "tf_crop_and_resize" or not _images_only(resize, len(before)):
            return None
        shape = (before[0], conv.grid.outputs, *before[2:])
        small = elements(result)
        for old, new in zip(before[2:], after[2:], strict=True):
            small = small // new * old
        work = Work.layer(small * (conv.grid.params // conv.grid.outputs), elements(x) + small + conv.grid.params, conv.grid)
        work += Work.elementwise(small + elements(result))
        if not work.pays_instead_of(conv.work + Work.elementwise(elements(x) + elements(conv.source))):
            return None
        name = node.name
        value = insert(node, "Conv", [x, *node.inputs[1:]], name or "conv", shape, **node.attributes)
        supplant(result, insert(node, "Resize", [value, *resize.inputs[1:]], resize.name or "resize", after, **resize.attributes))
        return name


def _images_only(resize: ir.Node, rank: int) -> bool:
    """Whether a Resize changes neither the images nor the channels, and is told so by scales, which fit any number of channels."""
    scales = resize.inputs[2] if len(resize.inputs) > 2 else None
    if scales is None or not is_constant(scales) or len(resize.inputs) > 3 or "axes" in resize.attributes:
        return False
    numbers = scales.const_value.numpy()
    return len(numbers) == rank and not (numbers[:2] != 1).any()
