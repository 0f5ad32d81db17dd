"""Runs of linear layers, nothing between them, become one layer: what the rewrites of `affine`, `chains` and `pooling` have in common."""
from __future__ import annotations

from abc import abstractmethod

from onnxscript import ir

from .emit import replace_by_layer
from .linear import Linear, layer_work, runs_to
from .rewrite import Rewrite
from .work import Work


class Runs(Rewrite):
    """Compose runs of linear layers."""

    @abstractmethod
    def wants(self, run: Linear) -> bool:
        """Whether this rewrite is for runs of these nodes."""

    def at(self, node: ir.Node) -> str | None:
        """Rewrite the run that ends with this node."""
        if len(node.outputs) != 1:
            return None
        for last in (False, True):
            best: tuple[Linear, Work] | None = None
            for run in runs_to(node, last):
                if len(run.nodes) < 2 or run.layer is None or not self.wants(run):
                    continue
                work = layer_work(run.grid, run.source, node.outputs[0], run.layer, run.shifted)
                if work.pays_instead_of(run.work) and (best is None or work.time - run.work.time < best[1].time - best[0].work.time):
                    best = run, work
            if best is not None and (name := _write(best[0])):
                return name
        return None


def _write(run: Linear) -> str | None:
    main = run.layer
    if main is None:
        return None
    name = main.name
    return name if replace_by_layer(run.result, run.source, run.kernel(), main, run.last) else None
