"""Training that has gone wrong is stopped, with a message that says how."""
from __future__ import annotations

from math import isfinite

from ...support.errors import TenfoldError

MEMORY = 0.95  # of the smoothed loss: about 20 steps
STEPS = 20  # before which a high loss says nothing
KNOWS = 0.5  # of the loss of equal scores: a network that begins below it was trained before
LEAST = 0.3  # of that loss: a trained network may begin with next to none, and yet must be free to vary


class Watch:
    """Looks at the loss of each step.

    Parameters
    ----------
    limit : float or None
        Times the loss that a network has which knows nothing. One that was trained before is held against the loss that it began with.
    """

    def __init__(self, limit: float | None):
        self.limit = limit
        self.state = {"sum": 0.0, "weight": 0.0, "first": 0.0, "blank": 0.0, "steps": 0.0}  # all of it floats, for the checkpoint

    @property
    def begins(self) -> bool:
        """Whether no loss was seen yet: then `see` needs the one of equal scores."""
        return self.state["steps"] == 0

    def see(self, loss: float, step: int, rate: float, blank: float = 0.0) -> None:
        """Take a loss in; TenfoldError if training has diverged.

        Parameters
        ----------
        loss : float
        step : int
            Its number, from 1 on.
        rate : float
            The learning rate.
        blank : float
            The loss that outputs of 0, equal scores for all classes, would have had; for the first step.
        """
        if not isfinite(loss):
            raise TenfoldError(f"training diverged: the loss of step {step} is {loss} (learning rate {rate:g}): try a lower one")
        state = self.state
        if self.begins:
            state["first"], state["blank"] = loss, blank
        state["sum"], state["weight"] = MEMORY * state["sum"] + loss, MEMORY * state["weight"] + 1
        state["steps"] += 1
        smooth, first, blank = state["sum"] / state["weight"], state["first"], state["blank"]
        knew = first < KNOWS * blank
        usual = max(first, LEAST * blank) if knew else max(first, blank)
        if self.limit is not None and state["steps"] >= STEPS and smooth > self.limit * usual:
            before = f"it began with {first:.3g}" if knew else f"an untrained network has {usual:.3g}"
            raise TenfoldError(
                f"training diverged: at step {step} the loss is {smooth:.3g}, {before} (learning rate {rate:g}): try a lower one"
            )
