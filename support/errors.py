"""What a user is told: mistakes as one-line errors, and refusals as values that carry their reason."""
from __future__ import annotations

from dataclasses import dataclass


class TenfoldError(Exception):
    """A user's mistake. The message is one line: the file, layer or option, what is wrong, and what to do."""


class VerificationError(TenfoldError):
    """A compiled network differs from its reference by more than the tolerance."""


class TenfoldWarning(UserWarning):
    """What a user should know, though nothing is refused: one line, as of `TenfoldError`."""


@dataclass(frozen=True)
class Refusal:
    """Why something that was asked about is not done, for example a layer that factoring would not make cheaper."""

    reason: str
