"""Which layers can lose filters, and the graph without those that are zero.

    Conv W, b -> Relu -> Conv W', b'     W with zero rows, b zero there     ->     Conv without the rows -> Relu -> Conv without the columns

`search.calibration.pruning` makes the rows zero; `passes.simplify.dead_channels` takes them out, and that is exact.
"""
from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnxscript import ir

from ..frontends.onnx.normalize import infer_shapes
from ..support.errors import Refusal
from .simplify.channel_region import Region, region_of
from .simplify.dead_channels import BLOCK, may_change
from .simplify.editing import operator
from .simplify.fixed_point import chosen, simplify_onnx

# What keeps a channel of zeros zero.
KEEPS_ZERO = frozenset(
    ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "HardSwish", "Tanh", "Softsign", "Mish", "Gelu", "Erf", "Abs", "Neg",
     "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReduceMean")
)


@dataclass(frozen=True)
class Readers:
    """The layers that read what a layer makes, by their names; nothing else does."""

    names: tuple[str, ...]


def prunable(model: onnx.ModelProto) -> dict[str, Readers | Refusal]:
    """Of every convolution the layers behind it, or why its filters have to stay.

    Parameters
    ----------
    model : onnx.ModelProto
        Normalised.
    """
    graph = ir.serde.deserialize_model(model).graph
    found: dict[str, Readers | Refusal] = {}
    for node in graph:
        if operator(node) == "Conv" and node.name:
            region = region_of(node.outputs[0])
            reason = "its channels are read as they are" if region is None or not region.readers else _reason(region)
            names = () if region is None else tuple(dict.fromkeys(str(reader.nodes[0].name) for reader in region.readers))
            found[node.name] = Readers(names) if reason is None else Refusal(reason)
    return found


def without_pruned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the channels that are zero. Values between the stages of chains, which have no shapes yet, get them."""
    graph_model = ir.serde.deserialize_model(model)
    infer_shapes(graph_model)
    return simplify_onnx(ir.serde.serialize_model(graph_model), chosen(only=("dead_channels",)))[0]


def block(filters: int) -> int:
    """What the number of filters that stay is a multiple of: `dead_channels` keeps whole blocks."""
    return next(size for size in (BLOCK, BLOCK // 2, BLOCK // 4, BLOCK // 8, 1) if filters % size == 0)


def _reason(region: Region) -> str | None:
    if len(region.makers) > 1:
        return "its channels are added to those of other layers: they could only go together"
    odd = sorted({str(operator(node)) for node in region.inner} - KEEPS_ZERO)
    if odd:
        return f"a channel of zeros is changed by {odd[0]} behind it"
    return None if may_change(region) else "its weight, or that of a layer behind it, is shared"
