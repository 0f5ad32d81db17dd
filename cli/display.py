"""Progress as it is shown: a bar with the time left on a terminal, a line every few seconds elsewhere, or nothing."""
from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Any, Protocol, TextIO

from ..support.printable import printable
from ..support.progress import in_words

FIRST_LINE_AFTER, LINE_EVERY = 10.0, 5.0  # seconds before the first line, and between lines
REDRAWS_PER_SECOND = 4.0  # times a second that a bar is: what is being measured meanwhile should not notice


class Display(Protocol):
    """Is a Progress while it is entered."""

    def __enter__(self) -> Display: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None: ...

    def __call__(self, step: str, done: int | None = None, total: int | None = None) -> None: ...

    def line(self, text: str) -> None:
        """A line that stays."""

    def table(self, table: Any) -> None:
        """Show what takes the place of the table before; where lines are shown, nothing."""


def display(stderr: TextIO, quiet: bool, verbose: bool) -> Display:
    """What suits a stream. Verbose: a line for each step, since a bar and what tools print would run into each other."""
    if quiet:
        return Nothing(stderr)
    if verbose or not stderr.isatty():
        return Lines(stderr, each=verbose)
    return Bar(stderr)


class Nothing:
    """Shows no progress."""

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, step: str, done: int | None = None, total: int | None = None) -> None: ...

    def table(self, table: Any) -> None:
        """Show nothing."""

    def line(self, text: str) -> None:
        """A line that stays."""
        print(text, file=self._stderr, flush=True)


class Bar:
    """One line at the bottom of a terminal, which is gone when the work is done."""

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr
        self._progress: Any = None
        self._task: Any = None
        self._state: tuple[str, int | None, int | None] = "", None, None
        self._live: Any = None

    def __enter__(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.table import Column

        name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
        counts = TextColumn("{task.fields[counts]}", markup=False)
        columns = SpinnerColumn(), name, BarColumn(bar_width=20), counts, TimeElapsedColumn(), TimeRemainingColumn(compact=True)
        console = Console(file=self._stderr, markup=False, emoji=False, highlight=False)
        self._progress = Progress(
            *columns, console=console, transient=True, expand=True, refresh_per_second=REDRAWS_PER_SECOND,
            redirect_stdout=False, redirect_stderr=False,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._end_table()
        self._progress.stop()

    def __call__(self, step: str, done: int | None = None, total: int | None = None) -> None:
        counts = "" if done is None or total is None else f"{done} of {total}"
        if self._live is not None:
            if step == self._state[0]:
                return
            self._end_table()
        if self._task is None or not self._goes_on(step, done, total):
            before, self._task = self._task, self._progress.add_task(printable(step), total=total, counts=counts)
            if before is None:
                self._progress.start()
            else:
                self._progress.remove_task(before)
        self._state = step, done, total
        self._progress.update(self._task, description=printable(step), completed=done or 0, counts=counts)

    def table(self, table: Any) -> None:
        """Show a table in the place of the bar, until the next step begins."""
        from rich.live import Live

        if self._live is None:
            self._progress.stop()
            self._live = Live(
                console=self._progress.console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
        self._live.update(table, refresh=True)

    def _end_table(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._progress.start()

    def _goes_on(self, step: str, done: int | None, total: int | None) -> bool:
        """Whether this is the step before, or the next of as many: layer by layer, say. What time is left is known from those before."""
        last_step, last_done, last_total = self._state
        return total == last_total and (step == last_step if total is None else (done or 0) > (last_done or 0) or step == last_step)

    def line(self, text: str) -> None:
        """A line that stays, above the bar."""
        self._progress.console.print(text, soft_wrap=True)


class Lines(Nothing):
    """A line every few seconds, so that short work says nothing; with `each`, one for each step that begins too."""

    def __init__(self, stderr: TextIO, each: bool) -> None:
        super().__init__(stderr)
        self._each = each
        self._begin = time.monotonic()
        self._last = self._begin + FIRST_LINE_AFTER - LINE_EVERY
        self._step, self._text = "", ""
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Lines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, step: str, done: int | None = None, total: int | None = None) -> None:
        begun = step != self._step
        self._step, self._text = step, in_words(printable(step), done, total)
        self._show(begun and self._each)

    def _tick(self) -> None:
        while not self._ended.wait(LINE_EVERY):
            self._show(False)

    def _show(self, now: bool) -> None:
        moment = time.monotonic()
        with self._lock:
            if self._text and (now or moment - self._last >= LINE_EVERY):
                self._last = moment
                with contextlib.suppress(OSError):  # nobody reads them any more
                    self.line(f"tenfold: [{moment - self._begin:4.0f} s] {self._text}")
