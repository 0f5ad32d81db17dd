"""Average pools and the convolutions beside them: the cheaper order, or one convolution.

    Conv 1 x 1 -> AveragePool            ->   AveragePool -> Conv 1 x 1     both are linear, and the pool treats all channels alike
    Conv 3 x 3 -> AveragePool 2 x 2      ->   Conv 4 x 4, stride 2          16 products instead of 4 times 9
    AveragePool -> Conv                  ->   Conv                          where that is cheaper, which is rare

The pool must count the zeros of its padding to be a convolution. Where it does not, it may still change places with a pointwise
convolution.
"""
from __future__ import annotations

import math

from onnxscript import ir

from .editing import elements, insert, is_float, operator, sizes, sole_producer, supplant
from .linear import Linear, channels, linear, spatial
from .runs import Runs
from .work import Work


class Pooling(Runs):
    """Put average pools before pointwise convolutions, or into convolutions."""

    name = "pooling"

    def wants(self, run: Linear) -> bool:
        """A pool, and a convolution."""
        return any(operator(node) == "AveragePool" for node in run.nodes)

    def at(self, node: ir.Node) -> str | None:
        """Rewrite the pool, or the run that ends with this node."""
        return _pool_first(node) or super().at(node)


def _pool_first(node: ir.Node) -> str | None:
    layer = sole_producer(node.inputs[0]) if operator(node) == "AveragePool" and is_float(node.outputs[0]) else None
    conv = linear(layer, False) if operator(layer) == "Conv" and layer is not None else None
    attributes = node.attributes
    if conv is None or layer is None or not conv.grid.pointwise or attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return None
    if conv.shifted and any(attributes.get_ints("pads", ())) and attributes.get_int("count_include_pad", 0):
        return None  # zeros would be averaged into the shift
    x, result = conv.source, node.outputs[0]
    shape = (*(sizes(x) or ())[:1], channels(x, False), *spatial(result, False))
    taps, pooled = math.prod(attributes.get_ints("kernel_shape", ())), math.prod(shape)
    before = conv.work + Work.pool(taps * elements(result), elements(conv.result) + elements(result))
    after = Work.pool(taps * pooled, elements(x) + pooled)
    moved = pooled + elements(result) + conv.grid.params
    after += Work.layer(elements(result) * (conv.grid.params // conv.grid.outputs), moved, conv.grid)
    if not after.pays_instead_of(before):
        return None
    value = insert(node, "AveragePool", [x], node.name or "pool", shape, **attributes)
    supplant(result, insert(node, "Conv", [value, *layer.inputs[1:]], layer.name or "conv", sizes(result) or (), **layer.attributes))
    return layer.name
