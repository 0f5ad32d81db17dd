"""How much the outputs of a network change by a rounding, measured in the reference.

Networks that end in exponentials of large sums change more than a bound for all networks allows.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..support.errors import TenfoldError
from ..targets.target import CPU_PRECISIONS, FLOAT16
from .tolerance import Tolerance
from .verify import Errors, compare_outputs

if TYPE_CHECKING:
    from ..frontends.reference import Reference

# Times what is measured. A kernel rounds residuals, too. The root of the mean square is what tells a wrong network. The largest of
# thousands of errors behind an exponential is a matter of chance: of a detector it was 2.3 times that of the reference, the root 1.5 times.
MEAN, LARGEST = 2.0, 4.0
MOST = 0.25    # of the largest output: a network that rounding changes by more can't be told from a wrong one


def rounding_tolerance(reference: Reference, inputs: Iterable[dict[str, np.ndarray]], precision: str) -> Tolerance | None:
    """Return a tolerance from what rounding the operands of all products changes in the reference.

    Parameters
    ----------
    reference : Reference
    inputs : iterable of dict
        What the network is judged on.
    precision : str
        Of the target.

    Returns
    -------
    Tolerance or None
        None for a precision that rounds nothing on a CPU, a model that the engine can't run so, or one that the rounding changes too much.
    """
    if precision not in CPU_PRECISIONS:
        return None
    from ..frontends.reference import Reference
    from ..frontends.reference.rounded import with_rounded_operands

    errors = Errors()
    try:
        rounded = Reference.of_onnx(with_rounded_operands(reference.model, precision, weights_only=precision == FLOAT16))
        for feeds in inputs:
            for found in compare_outputs(list(map(np.asarray, rounded(feeds))), list(map(np.asarray, reference(feeds)))):
                errors |= found
    except TenfoldError:
        return None
    value = LARGEST * errors.relative
    if not 0 < value <= MOST:
        return None
    changes = f"what rounding the operands of all products to {precision} changes in {rounded.name}"
    return Tolerance(value, f"{LARGEST:.0f} times {changes}, {MEAN:.0f} in the mean", MEAN * errors.rms)
