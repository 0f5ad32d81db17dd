"""The device's side of a session: ``tenfold serve`` runs what another machine compiled, and times it.

Each session has a process and a folder of its own (`bench_session`): code that crashes or hangs ends its session, not the server. The
server itself waits for nobody: connections that say nothing have a deadline, and sessions a limit on silence.
"""
from __future__ import annotations

import multiprocessing
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ...targets.detection import cpu_model
from ...targets.light_import import import_tvm
from . import bench_session
from .greeting import Greeting
from .wire import SILENCE, Garbled, beat_of, check_silence, message

GREETINGS = 64  # connections that may be about to say what they want
LAST_WORDS = 4096  # bytes at most

Say = Callable[[str], None]


class Session:
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


class Server:
    """Listens, and serves one session at a time.

    Parameters
    ----------
    listener : socket
    silence : float
        Seconds without a sign of life of the client, or of a session's process, after which the session ends.
    say : callable
        Takes a line on what happens.
    """

    def __init__(self, listener: socket.socket, silence: float, say: Say) -> None:
        self._listener, self._silence, self._say = listener, silence, say
        self._greetings: list[Greeting] = []
        self._session: Session | None = None
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def run(self) -> None:
        """Until interrupted."""
        try:
            while True:
                for key, _ in self._selector.select(self._patience()):
                    if key.fd in self._selector.get_map():  # one that was before it in the list may have ended it
                        key.data()
                self._expire()
        finally:
            if self._session is not None:
                self._session.end("tenfold serve was stopped")
            for greeting in self._greetings:
                greeting.connection.close()
            self._selector.close()

    def _patience(self) -> float | None:
        deadlines = [each.deadline for each in self._greetings] + ([self._session.deadline] if self._session else [])
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _expire(self) -> None:
        now = time.monotonic()
        for greeting in [each for each in self._greetings if each.deadline <= now]:
            self._forget(greeting)
            greeting.connection.close()
        if self._session is not None and self._session.deadline <= now:
            self._end(f"its process gave no sign of life for {self._silence:g} s")

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:  # it is gone already
            return
        if len(self._greetings) == GREETINGS:
            oldest = self._greetings[0]
            self._forget(oldest)
            oldest.connection.close()
        greeting = Greeting(connection, address[0])
        self._greetings.append(greeting)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(greeting))

    def _forget(self, greeting: Greeting) -> None:
        self._selector.unregister(greeting.connection)
        self._greetings.remove(greeting)

    def _hear(self, greeting: Greeting) -> None:
        try:
            wanted = greeting.hear()
            if wanted is None:
                return
            self._forget(greeting)
            if self._session is None:
                self._begin(greeting, wanted["silence"])
                return
            greeting.connection.sendall(message({"busy": f"with {self._session.address}, for {self._session.age:.0f} s"}))
        except BlockingIOError:
            return
        except (Garbled, OSError):
            if greeting in self._greetings:
                self._forget(greeting)
        greeting.connection.close()

    def _begin(self, greeting: Greeting, theirs: float) -> None:
        others = [self._listener, self._selector, *(each.connection for each in self._greetings)]
        try:
            self._session = session = Session(greeting, self._silence, theirs, others)
        except (OSError, TenfoldError) as error:
            self._say(f"no session with {greeting.address}: {error}")
            raise OSError from None
        self._say(f"session with {greeting.address}")
        self._selector.register(session.process.sentinel, selectors.EVENT_READ, self._end)
        self._selector.register(session.life, selectors.EVENT_READ, lambda: session.hear() or self._selector.unregister(session.life))

    def _end(self, words: str = "") -> None:
        session, self._session = self._session, None
        assert session is not None
        for each in (session.process.sentinel, session.life):
            with suppress(KeyError):  # its end may have been seen before
                self._selector.unregister(each)
        words = session.end(words)
        self._say(f"session ended{words and ': '}{words}")


def serve(host: str, port: int, say: Say, silence: float | None = None) -> None:
    """Serve sessions, one at a time, until interrupted.

    Parameters
    ----------
    host, port
        Where to listen; port 0 lets the system choose.
    say : callable
        Takes a line on what happens.
    silence : float, optional
        Seconds without a sign of life of a client after which its session ends. Default: 60.

    Raises
    ------
    TenfoldError
        The address can't be listened on.
    """
    silence = SILENCE if silence is None else silence
    check_silence(silence)
    import_tvm()
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise TenfoldError(f"can't listen on {host}:{port}: {error}; choose another --host or --port") from None
    with closing(listener):
        say(f"serving {cpu_model()} on {host}:{listener.getsockname()[1]}, one session at a time")
        Server(listener, silence, say).run()
