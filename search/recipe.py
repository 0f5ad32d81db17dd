"""What is done to every layer alike, where no budget says how much."""
from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from ..factorization import method_name
from ..factorization.registry import AUTO
from ..support.errors import TenfoldError


@dataclass(frozen=True)
class Recipe:
    """One method and one part of the energy for all layers. MACs alone decide: nothing is timed, and accuracy is not looked at.

    Parameters
    ----------
    method : str
        A name in ``METHODS``, however it is spelled, or ``auto``: for each layer the method whose chain needs the fewest MACs.
    energy : float
        In (0, 1]: the part of each weight's squared Frobenius norm that is kept. A layer that would not get cheaper stays as it is.

    Raises
    ------
    TenfoldError
        An unknown method, or an energy out of range.
    """

    method: str = AUTO
    energy: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", _checked_method(self.method))
        if isinstance(self.energy, bool) or not isinstance(self.energy, (int, float)):
            raise TenfoldError(f"--energy {self.energy!r} is no number: it must be above 0 and at most 1")
        if not isfinite(self.energy) or not 0 < self.energy <= 1:
            raise TenfoldError(f"--energy {self.energy:g} is out of range: it must be above 0 and at most 1")

    def __str__(self) -> str:
        return f"{self.method}, {self.energy:.0%} of the energy"


def _checked_method(method: str) -> str:
    if not isinstance(method, str):
        raise TenfoldError(f"--method {method!r} is no name of a method")
    try:
        return AUTO if method.strip().lower() == AUTO else method_name(method)
    except TenfoldError as error:
        raise TenfoldError(f"--method: {error}") from None
