"""What every rewrite is: something that looks at a node, and replaces what ends there by what computes the same and costs less."""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from onnxscript import ir


class Rewrite(ABC):
    """An exact rewrite of the graph.

    Attributes
    ----------
    name : str
        As ``--only`` and ``--without`` have it.
    """

    name: ClassVar[str]

    @abstractmethod
    def at(self, node: ir.Node) -> str | None:
        """Rewrite what ends with this node, in place.

        Returns
        -------
        str or None
            What it was merged into: the name of a layer or value. None: nothing was changed, because there is nothing to rewrite here, it
            would not be exact, or it would not be cheaper.
        """

    def begin(self, graph: ir.Graph) -> None:  # noqa: B027 - most need nothing
        """Look at the graph, before its nodes are gone through in order."""
