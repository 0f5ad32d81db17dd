"""Signals that stop a command, remembered: inside TVM an interrupt becomes a RuntimeError, as if something had failed."""
from __future__ import annotations

import signal
from typing import Any, NoReturn

caught: list[int] = []


def listen() -> None:
    """SIGINT and SIGTERM unwind the stack from now on, so that nothing half-written is left."""
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def stop(signum: int, frame: Any) -> NoReturn:
    """The handler of both."""
    caught.append(signum)
    raise KeyboardInterrupt


def disguised(error: Exception) -> bool:
    """Whether an exception is an interrupt that went through TVM."""
    return bool(caught) or "KeyboardInterrupt" in str(error)


def exit_code() -> int:
    """What a shell expects of a command that was stopped: 130 after Ctrl-C."""
    return 128 + (caught[0] if caught else signal.SIGINT)
