"""What is seen of training: a bar with the time left on a terminal, plain lines elsewhere."""
from __future__ import annotations

import sys
import time
from math import isnan
from typing import Protocol, TextIO

from .curves import Row

LINE_SECONDS = 30.0  # between two plain lines
RECENT = 50  # steps whose mean loss is shown


class Display(Protocol):
    """Told how training goes."""

    def begin(self, steps: int, done: int) -> None:
        """Training begins, or goes on behind `done` of `steps` steps."""

    def step(self, done: int, loss: float) -> None:
        """A step is done."""

    def tested(self, row: Row) -> None:
        """A test is done."""

    def end(self) -> None:
        """Nothing follows."""


class Silent:
    """Shows nothing: for the other processes of a group, and for tests."""

    def begin(self, steps: int, done: int) -> None:
        """Nothing."""

    def step(self, done: int, loss: float) -> None:
        """Nothing."""

    def tested(self, row: Row) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Lines:
    """A line at every test, and every half minute between."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.steps = self.first = self.done = 0
        self.start = self.last = 0.0
        self.losses: list[float] = []

    def begin(self, steps: int, done: int) -> None:
        """Say where a run goes on."""
        self.steps, self.first, self.done = steps, done, done
        self.start = self.last = time.monotonic()
        if done:
            self._say(f"goes on behind step {done}/{steps}")

    def step(self, done: int, loss: float) -> None:
        """Say so, if the last line is long ago."""
        self.done, self.losses = done, [*self.losses[-RECENT + 1 :], loss]
        if time.monotonic() - self.last >= LINE_SECONDS:
            self._say(f"step {done}/{self.steps} loss {sum(self.losses) / len(self.losses):.4f}{self._left()}")

    def tested(self, row: Row) -> None:
        """Say what the test gave."""
        self._say(f"step {row.step}/{self.steps} {test_words(row)}{self._left()}")

    def end(self) -> None:
        """Nothing."""

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        print(text, file=self.stream, flush=True)

    def _left(self) -> str:
        if self.done <= self.first or self.done >= self.steps:
            return ""
        pace = (time.monotonic() - self.start) / (self.done - self.first)
        return f", {1 / pace:.1f} steps/s, {duration(pace * (self.steps - self.done))} left"


class Bar:
    """A bar, redrawn in place, and above it a line for every test."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn(True))
        self.progress = Progress(*columns, console=Console(stderr=True), speed_estimate_period=300)
        self.losses: list[float] = []

    def begin(self, steps: int, done: int) -> None:
        """Draw it."""
        self.progress.start()
        self.task = self.progress.add_task("", total=steps, completed=done)

    def step(self, done: int, loss: float) -> None:
        """Move it on."""
        self.losses = [*self.losses[-RECENT + 1 :], loss]
        self.progress.update(self.task, completed=done, description=f"loss {sum(self.losses) / len(self.losses):.4f}")

    def tested(self, row: Row) -> None:
        """Write a line."""
        self.progress.print(f"step {row.step} {test_words(row)}", highlight=False)

    def end(self) -> None:
        """Leave it as it is."""
        self.progress.stop()


def display_on(stream: TextIO | None = None) -> Display:
    """A bar if `stream`, standard error by default, is a terminal, and lines if not."""
    stream = sys.stderr if stream is None else stream
    return Bar() if stream.isatty() else Lines(stream)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as short as can be: 0:42, 7:05, 1:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def test_words(row: Row) -> str:
    """A row in words."""
    accuracies = ("", "") if isnan(row.test_accuracy) else (f" accuracy {row.train_accuracy:.2%}", f" accuracy {row.test_accuracy:.2%}")
    return f"(epoch {row.epoch:.1f}) loss {row.train_loss:.4f}{accuracies[0]}; test loss {row.test_loss:.4f}{accuracies[1]}"
