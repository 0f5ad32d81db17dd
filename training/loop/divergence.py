"""Training that has gone wrong is stopped, with a message that says how."""
from __future__ import annotations

from math import isfinite

from ...support.errors import TenfoldError

MEMORY = 0.95  # of the smoothed loss: about 20 steps
FIRST = 20  # steps whose smoothed loss stands for an untrained network, where nothing else is known


class Watch:
    """Looks at the loss of each step.

    Parameters
    ----------
    limit : float or None
        Times the loss of an untrained network.
    untrained : float or None
        That loss, if it is known.
    """

    def __init__(self, limit: float | None, untrained: float | None):
        self.limit, self.untrained = limit, untrained
        self.state = {"sum": 0.0, "weight": 0.0, "first": 0.0, "steps": 0.0}  # all of it floats, for the checkpoint

    def see(self, loss: float, step: int, rate: float) -> None:
        """Take a loss in; TenfoldError if training has diverged.

        Parameters
        ----------
        loss : float
        step : int
            Its number, from 1 on.
        rate : float
            The learning rate.
        """
        if not isfinite(loss):
            raise TenfoldError(f"training diverged: the loss of step {step} is {loss} (learning rate {rate:g}): try a lower one")
        state = self.state
        state["sum"], state["weight"] = MEMORY * state["sum"] + loss, MEMORY * state["weight"] + 1
        state["steps"] += 1
        smooth = state["sum"] / state["weight"]
        if state["steps"] <= FIRST:
            state["first"] = smooth
        if self.limit is None:
            return
        usual = max(state["first"] if self.untrained is None else 0.0, self.untrained or 0.0)
        if smooth > self.limit * usual and state["steps"] >= FIRST:
            raise TenfoldError(
                f"training diverged: at step {step} the loss is {smooth:.3g}, an untrained network has {usual:.3g} "
                f"(learning rate {rate:g}): try a lower one"
            )
