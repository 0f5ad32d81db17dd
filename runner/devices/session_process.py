"""A session as the server of a device has it: a client, a process that works for it (`bench_session`), and a folder."""
from __future__ import annotations

import multiprocessing
import signal
import socket
import time
from contextlib import closing, suppress
from typing import Any

from ...support.files.temporary import TemporaryFolder
from . import bench_session
from .greeting import Greeting
from .wire import beat_of, message

LAST_WORDS = 4096  # bytes at most


class SessionProcess:
    """A client with its process and its folder.

    Parameters
    ----------
    greeting : Greeting
        Its connection; the process has it too, and speaks on it.
    silence, theirs : float
        Limits on silence, in seconds: the server's and the client's.
    others : list
        Connections of the server that the process must not keep open.
    """

    def __init__(self, greeting: Greeting, silence: float, theirs: float, others: list[Any]) -> None:
        self.address, self._connection, self._silence = greeting.address, greeting.connection, silence
        self._connection.setblocking(True)
        self._begin = time.monotonic()
        self._folder = TemporaryFolder()
        self.life, its = multiprocessing.Pipe(duplex=False)
        arguments = (self._connection, [*others, self.life], its, self._folder, (silence, theirs))
        self.process = multiprocessing.get_context("fork").Process(target=bench_session.start, args=arguments, daemon=True)
        try:
            self.process.start()
        except OSError:
            self._folder.remove()
            raise
        its.close()
        self._words = ""
        self._heard()

    def _heard(self) -> None:
        self.deadline = time.monotonic() + self._silence + beat_of(self._silence)

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self._begin

    def hear(self) -> bool:
        """Take a sign of life, or last words, of the process; whether there was one."""
        try:
            self._words = self.life.recv_bytes(LAST_WORDS).decode(errors="replace") or self._words
        except (OSError, EOFError):
            return False
        self._heard()
        return True

    def end(self, words: str = "") -> str:
        """End it, tell the client why and remove what is left of it. Returns why it has ended; empty if its client has ended it."""
        while self.life.poll() and self.hear():
            pass
        if words:
            self.process.kill()  # which a process that is stopped minds too
        self.process.join()
        words = words or self._words or _cause(self.process.exitcode)
        with closing(self._connection), closing(self.life), suppress(OSError):
            self._connection.setblocking(False)
            self._connection.sendall(message({"ended": words or "it has ended"}))
            self._connection.shutdown(socket.SHUT_WR)
            while self._connection.recv(1 << 16):  # the system drops what it has sent if something is left unread
                pass
        self._folder.remove()
        return words


def _cause(code: int | None) -> str:
    if not code:
        return ""
    return f"its process died of {signal.Signals(-code).name}" if code < 0 else f"its process failed ({code})"
