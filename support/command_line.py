"""The command that is being carried out, for results to say by what they were made."""
from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

_words: ContextVar[tuple[str, ...]] = ContextVar("words", default=())


@contextlib.contextmanager
def carrying_out(words: Sequence[str]) -> Iterator[None]:
    """While the block lasts, `command_line` tells of this command, given by its words."""
    token = _words.set(tuple(words))
    try:
        yield
    finally:
        _words.reset(token)


def command_line() -> str | None:
    """The command as a shell takes it; None where Python code calls, not a command."""
    return shlex.join(_words.get()) or None
