"""A convolution before a global average -> the average first, and the convolution of that, which has one pixel.

    Conv 1 x 1 -> GlobalAveragePool     ->   GlobalAveragePool -> Conv 1 x 1
    Conv k x k -> GlobalAveragePool     ->   AveragePool -> Conv k x k

The mean over all places of ``sum over taps t of W[t] x[place + t]`` is ``sum over taps of W[t] (mean of x[. + t])``. The means for all
taps are what an average pool makes whose window is as large as the output of the convolution: k x k of them. The bias is its own mean. A
mean over the spatial axes (ReduceMean) is a global average too.
"""
from __future__ import annotations

from onnxscript import ir

from ...frontends.onnx.initializers import is_constant
from .editing import add_integers, elements, insert, is_float, operator, sizes, sole_producer, supplant
from .linear import linear, spatial
from .rewrite import Rewrite
from .work import Work


class GlobalAverage(Rewrite):
    """Average before convolutions."""

    name = "global_average"

    def at(self, node: ir.Node) -> str | None:
        """Rewrite a global average and the convolution before it."""
        x = node.inputs[0] if is_global_average(node) else None
        layer = sole_producer(x)
        conv = linear(layer, False) if operator(layer) == "Conv" and layer is not None else None
        if conv is None or layer is None or x is None or any(step != 1 for step in conv.grid.stride):
            return None
        grid, window, source, result = conv.grid, spatial(x, False), conv.source, node.outputs[0]
        if any(p >= w for p, w in zip(grid.begin + grid.end, window * 2, strict=True)):
            return None  # a pool's window must be larger than its padding
        images, inputs = (sizes(source) or ())[:2]
        means, taps = (images, inputs, *grid.kernel), grid.params // grid.outputs
        pooled = images * inputs
        for size in grid.kernel:
            pooled *= size
        outputs, places = images * grid.outputs, elements(x) // (images * grid.outputs)
        before = conv.work + Work.pool(elements(x), elements(x) + outputs)
        after = Work.pool(pooled * places, elements(source) + pooled) + Work.layer(outputs * taps, pooled + outputs + grid.params, grid)
        if not after.pays_instead_of(before):
            return None
        name = f"{layer.name}.average"
        if grid.pointwise:
            value = insert(node, "GlobalAveragePool", [source], name, means)
        else:
            value = insert(node, "AveragePool", [source], name, means, kernel_shape=list(window), strides=list(grid.dilation),
                           pads=[*grid.begin, *grid.end], count_include_pad=1)
        shape = (images, grid.outputs, *(1,) * len(window))
        geometry = {"kernel_shape": list(grid.kernel), "group": grid.groups}
        value = insert(node, "Conv", [value, *layer.inputs[1:]], layer.name or "conv", shape, **geometry)
        if sizes(result) != shape:
            target = add_integers(f"{name}.shape", sizes(result) or (), node.graph)
            value = insert(node, "Reshape", [value, target], f"{layer.name}.reshape", sizes(result) or ())
        supplant(result, value)
        return layer.name


def is_global_average(node: ir.Node) -> bool:
    """Whether a node averages over all spatial axes, and no others."""
    kind = operator(node)
    if kind not in ("GlobalAveragePool", "ReduceMean") or not is_float(node.outputs[0]) or not is_float(node.inputs[0]):
        return False
    rank = len(sizes(node.inputs[0]) or ())
    if kind == "GlobalAveragePool" or rank < 3:
        return rank >= 3
    axes = list(node.attributes.get_ints("axes", ()))
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        if not is_constant(node.inputs[1]):
            return False
        axes = node.inputs[1].const_value.numpy().tolist()
    return sorted(axis % rank for axis in axes) == list(range(2, rank))
