"""What corrections of several plans of one network share: plans that agree in their first layers have the same chains there."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...factorization import FactorChain

MOST_CHAINS = 512  # corrected chains that are kept
ANSWER_BYTES = 2**29  # bytes of the dense layers' answers that are kept


@dataclass
class KeptCorrections:
    """Of one network, with one set of images.

    Attributes
    ----------
    weightings : dict of str to ndarray
        What the correction `fisher` found out of layers.
    answers : dict of str to ndarray
        What dense layers answer where they are looked at.
    """

    weightings: dict[str, np.ndarray] = field(default_factory=dict)
    answers: dict[str, np.ndarray] = field(default_factory=dict)
    _chains: OrderedDict[tuple, tuple[FactorChain, Any]] = field(default_factory=OrderedDict)

    def prefix(self, kind: str, begun: Sequence[tuple[str, FactorChain]]) -> list[FactorChain]:
        """The corrected chains of the first layers, as far as an earlier plan had the same.

        Parameters
        ----------
        kind : str
            Of the correction.
        begun : sequence of (str, FactorChain)
            The layers of a plan in the order of the network, with their chains before the correction.
        """
        found = []
        for count in range(1, len(begun) + 1):
            kept = self._chains.get(_key(kind, begun[:count]))
            if kept is None:
                break
            found.append(kept[0])
        return found

    def keep(self, kind: str, begun: Sequence[tuple[str, FactorChain]], corrected: FactorChain) -> None:
        """Keep the chain of the last of these layers, as it is behind the others."""
        # The chains are kept too: as long as they are there, no other has their identity.
        self._chains[_key(kind, begun)] = corrected, [chain for _, chain in begun]
        if len(self._chains) > MOST_CHAINS:
            self._chains.popitem(last=False)

    def keep_answers(self, name: str, answers: np.ndarray) -> None:
        """Keep a dense layer's answers, if there is room."""
        if sum(array.nbytes for array in self.answers.values()) + answers.nbytes <= ANSWER_BYTES:
            self.answers[name] = answers


def _key(kind: str, begun: Sequence[tuple[str, FactorChain]]) -> tuple:
    return kind, *((name, id(chain)) for name, chain in begun)
