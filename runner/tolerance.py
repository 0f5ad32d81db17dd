"""How far a right network may be from its reference, by the types of its values."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..support.errors import TenfoldError
from ..targets.target import BFLOAT16, FLOAT32
from ..targets.target import FLOAT16 as WEIGHTS
from .verify import TOLERANCE, Errors

if TYPE_CHECKING:
    from ..frontends.reference import Precision

# Values that are rounded after each of some 64 layers: 8 = sqrt(64) times half a unit in the last place. An engine may round there, or not.
FLOAT16 = 8 * 2.0**-11
# Operands of products on tensor cores have as many digits. Each product has two, whose errors are independent: sqrt(2) times as much.
OPERANDS = 2**0.5 * FLOAT16
# The same of 8 digits. Errors of roundings are spread evenly, up to that: their root mean square is 1 / sqrt(3) of it. So is that of sums.
BFLOAT16_OPERANDS = 2**0.5 * 8 * 2.0**-8
EVEN = 3**-0.5
# A sum that lies near the middle between two steps may go to either of them. Few do: what is off everywhere by a part of a step is wrong.
SPREAD = 0.25


@dataclass(frozen=True)
class Tolerance:
    """Of the outputs.

    Attributes
    ----------
    value : float
        The largest difference over the largest element of the output.
    reason : str
        Why it is that.
    rms : float or None
        The largest root of the mean square of the differences, likewise; None: no bound of its own.
    """

    value: float
    reason: str
    rms: float | None = None

    def accepts(self, errors: Errors) -> bool:
        """Whether no error is larger; one that is NaN counts as larger."""
        return bool(errors.relative <= self.value and (self.rms is None or errors.rms <= self.rms))

    @classmethod
    def of(cls, precision: Precision, asked: float | None = None, operands: str = FLOAT32) -> Tolerance:
        """For a model of this precision, or what the user asked for.

        Parameters
        ----------
        precision : Precision
            Of the model's values.
        asked : float, optional
        operands : str
            The precision of the target, see `targets.Target.precision`.

        Raises
        ------
        TenfoldError
            A tolerance that is not above 0 and below 1.
        """
        if asked is not None:
            if isinstance(asked, bool) or not isinstance(asked, (int, float)) or not 0 < asked < 1:
                raise TenfoldError(f"tolerance must be a number above 0 and below 1, not {asked!r}")
            return cls(float(asked), "as asked")
        value, reason = (FLOAT16, "float16 values") if precision.dtype == "float16" else (TOLERANCE, "float32 values")
        if operands == BFLOAT16 and not precision.bits:
            return cls(BFLOAT16_OPERANDS, f"operands of products rounded to {operands}", BFLOAT16_OPERANDS * EVEN)
        if operands == WEIGHTS:
            value, reason = FLOAT16, f"weights rounded to {operands}"  # one of the two operands
        elif operands != FLOAT32:
            value, reason = OPERANDS, f"operands of products rounded to {operands}"
        step = 2.0 / (2**precision.bits - 1) if precision.bits else 0.0
        if step > value:
            return cls(step, f"one step of its {precision.bits}-bit values", step * SPREAD)
        return cls(value, reason)
