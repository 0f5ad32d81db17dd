"""The searches that there are, by name: what makes the proposals for a kernel."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ..schedules.space import Point
from ..support.errors import TenfoldError
from ..targets import Target
from .cost_model import CostModel
from .features import Tunable
from .propose import Proposer

TENFOLD, METASCHEDULE = "tenfold", "metaschedule"
ENGINES = (TENFOLD, METASCHEDULE)


class Proposals(Protocol):
    """Proposes points of one kernel's space, each once, and learns from what was measured."""

    def propose(self, count: int) -> list[Point]:
        """Return up to `count` points that were not proposed before; fewer, or none, when all have been."""

    def learn(self, point: Point, ms: float | None) -> None:
        """Take in a measurement, also of a point that was not proposed; None where it failed."""

    def give_back(self, points: Iterable[Point]) -> None:
        """Let points be proposed again that were not measured after all."""

    def expected_gain(self) -> float:
        """Return by how many milliseconds the next trial may make the best latency less."""


@dataclass(frozen=True)
class Engine:
    """A search.

    Attributes
    ----------
    name : str
        Of `ENGINES`.
    seed : int
        The same seed and measurements give the same proposals.
    teacher : CostModel, optional
        What was learned from other tasks; Tenfold's own search begins with it.

    Raises
    ------
    TenfoldError
        There is no such search, or it needs a package that is not installed.
    """

    name: str = TENFOLD
    seed: int = 0
    teacher: CostModel | None = None

    def __post_init__(self) -> None:
        check_engine(self.name)

    def proposals(self, kernel: Tunable, target: Target) -> Proposals:
        """Return what proposes points of a kernel."""
        if self.name == METASCHEDULE:
            from .metaschedule import EvolutionProposer

            return EvolutionProposer(kernel, target, self.seed)
        return Proposer(kernel, target, self.teacher, self.seed)


def check_engine(name: str) -> None:
    """Raise TenfoldError where there is no such search, or it needs a package that is not installed."""
    if name not in ENGINES:
        raise TenfoldError(f"--search {name}: there is no such search: give one of {', '.join(ENGINES)}")
    if name == METASCHEDULE:
        from .metaschedule import require_xgboost

        require_xgboost()
