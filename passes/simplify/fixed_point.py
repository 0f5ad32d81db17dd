"""All rewrites, one after the other, until none of them finds anything any more; and what that saved."""
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx
from onnx_ir.passes import common as passes
from onnxscript import ir

from ...frontends.onnx.layer_names import name_layers
from ...frontends.onnx.normalize import infer_shapes
from ...support.errors import TenfoldError
from .affine import Affine
from .branches import Branches
from .chains import Chains
from .common import Common
from .dead_channels import DeadChannels
from .global_average import GlobalAverage
from .padding import Padding
from .pooling import Pooling
from .rewrite import Rewrite
from .space_to_depth import SpaceToDepth
from .totals import Totals
from .upsampling import Upsampling

MOST_ROUNDS = 100  # of all rewrites: each makes the network smaller, so that there is an end


@dataclass(frozen=True)
class Merge:
    """One thing that a rewrite did.

    Attributes
    ----------
    rewrite : str
        Its name.
    into : str
        The layer or value that is left.
    nodes, macs, params : int
        What the network has less. Nodes or parameters may be fewer than 0.
    """

    rewrite: str
    into: str
    nodes: int
    macs: int
    params: int


@dataclass(frozen=True)
class Simplified:
    """What became of a network.

    Attributes
    ----------
    before, after : Totals
    merges : tuple of Merge
        In the order in which they were done; none: there was nothing to do.
    """

    before: Totals
    after: Totals
    merges: tuple[Merge, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"before": asdict(self.before), "after": asdict(self.after), "merges": [asdict(merge) for merge in self.merges]}


REWRITES: tuple[type[Rewrite], ...] = (
    Common, Affine, Padding, Branches, Pooling, GlobalAverage, Upsampling, SpaceToDepth, Chains, DeadChannels,
)


def rewrite_names() -> tuple[str, ...]:
    """The names of all rewrites."""
    return tuple(rewrite.name for rewrite in REWRITES)


def chosen(only: Collection[str] | None = None, without: Collection[str] = ()) -> tuple[Rewrite, ...]:
    """The rewrites that are wanted.

    Parameters
    ----------
    only : collection of str, optional
        Default: all.
    without : collection of str
        Those to leave out.

    Raises
    ------
    TenfoldError
        A name that is none.
    """
    for name in (*(only or ()), *without):
        if name not in rewrite_names():
            raise TenfoldError(f"there is no rewrite {name!r}: they are {', '.join(rewrite_names())}")
    return tuple(rewrite() for rewrite in REWRITES if (only is None or rewrite.name in only) and rewrite.name not in without)


def simplify_onnx(model: onnx.ModelProto, rewrites: Sequence[Rewrite] | None = None) -> tuple[onnx.ModelProto, Simplified]:
    """Rewrite a normalised graph until nothing is left to do.

    Parameters
    ----------
    model : onnx.ModelProto
        From `frontends`. Not modified.
    rewrites : sequence of Rewrite, optional
        Default: all.

    Returns
    -------
    onnx.ModelProto, Simplified
        The model itself where there was nothing to do.
    """
    graph_model = ir.serde.deserialize_model(model)
    graph = graph_model.graph
    start = before = Totals.of(graph)
    merges: list[Merge] = []
    for _ in range(MOST_ROUNDS):
        found = len(merges)
        for rewrite in chosen() if rewrites is None else rewrites:
            rewrite.begin(graph)
            for node in list(graph):
                while node.graph is graph and (into := rewrite.at(node)) is not None:
                    after = Totals.of(graph)
                    merges.append(Merge(rewrite.name, into, *(before - after)))
                    before = after
        if len(merges) == found:
            break
    if not merges:
        return model, Simplified(start, start, ())
    passes.RemoveUnusedNodesPass()(graph_model)
    name_layers(graph_model)
    passes.NameFixPass()(graph_model)
    infer_shapes(graph_model)
    return ir.serde.serialize_model(graph_model), Simplified(start, Totals.of(graph), tuple(merges))
