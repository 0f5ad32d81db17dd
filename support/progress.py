"""How long work tells what it is doing: one callable, the same for every function that takes a `progress`."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol


class Progress(Protocol):
    """Called when a step begins, and as it goes on."""

    def __call__(self, step: str, done: int | None = None, total: int | None = None) -> None:
        """Say what is being done.

        Parameters
        ----------
        step : str
            A few words that complete "while ...", such as ``compiling``.
        done, total : int, optional
            How much of the step is done, of how much, where that is known. `done` begins at 0.
        """


def reporter(progress: Callable[..., None] | None) -> Progress:
    """What a caller gave as `progress`, to be called as a Progress.

    Parameters
    ----------
    progress : callable or None
        A Progress, or a callable of one string: then counts become part of the text. None: nobody listens.
    """
    if progress is None:
        return _silent
    return progress if _takes_counts(progress) else _in_words(progress)


def in_words(step: str, done: int | None = None, total: int | None = None) -> str:
    """A step and its counts as text.

    Parameters
    ----------
    step : str
        What is done.
    done, total : int or None
        How much of how much; without both the step stands alone.
    """
    return step if done is None or total is None else f"{step}: {done} of {total}"


def _silent(step: str, done: int | None = None, total: int | None = None) -> None:
    """Nobody listens."""


def _in_words(progress: Callable[[str], None]) -> Progress:
    def say(step: str, done: int | None = None, total: int | None = None) -> None:
        progress(in_words(step, done, total))

    return say


def _takes_counts(progress: Callable[..., Any]) -> bool:
    try:
        inspect.signature(progress).bind("", 0, 0)
    except (TypeError, ValueError):  # of other arguments; a built-in without a signature
        return False
    return True
