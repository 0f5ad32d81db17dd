"""What a command has at hand while it works: a voice for its progress, and how it is told that something ended it."""
from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from ..support.printable import one_line
from .capture import Capture
from .display import Display, Nothing, display

NOTHING_KEPT = "nothing was written"


class Work:
    """The work of one command.

    Attributes
    ----------
    quiet, verbose : bool
        What was asked for.
    step : str
        What is being done, to complete "while ...".
    kept : str
        What a user has of it who stops it now.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False, captured: bool = True) -> None:
        self.quiet, self.verbose = quiet, verbose
        self._captured = captured and not verbose
        self.step = "starting"
        self.kept = NOTHING_KEPT
        self._display: Display = Nothing(sys.stderr)
        self._capture: Capture | None = None

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Show progress and warnings, and, unless verbose, nothing that foreign code prints."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.showwarning = self._warn
            stderr = sys.stderr
            if self._captured:
                self._capture = stack.enter_context(Capture())
                stderr = self._capture.stderr
            self._display = stack.enter_context(display(stderr, self.quiet, self.verbose))
            try:
                yield
            finally:
                self._capture = None
        self._display = Nothing(sys.stderr)

    def say(self, step: str, done: int | None = None, total: int | None = None) -> None:
        """The Progress of the command."""
        if step != self.step and self._capture is not None:
            self._capture.note(step)
        self.step = step
        self._display(step, done, total)

    def table(self, table: Any) -> None:
        """Show a table on a terminal, in the place of the one before."""
        self._display.table(table)

    def remark(self, text: str) -> None:
        """A line on standard error, unless that is to be quiet."""
        if not self.quiet:
            self._display.line(f"tenfold: {one_line(text)}")

    def _warn(self, message: Warning | str, *_: object, **__: object) -> None:
        self.remark(f"warning: {message}")
