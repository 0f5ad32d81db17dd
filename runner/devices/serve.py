"""The device's side of a session: ``tenfold serve`` runs what another machine compiled, and times it.

Each session has a process and a folder of its own (`session_process`): code that crashes or hangs ends its session, not the server. The
server itself waits for nobody: connections that say nothing have a deadline, and sessions a limit on silence.
"""
from __future__ import annotations

import ipaddress
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress

from ...support.errors import TenfoldError
from ...targets.detection import cpu_model
from ...targets.light_import import import_tvm
from .greeting import Greeting
from .registration import STALE, Entry, Registration
from .session_process import SessionProcess
from .wire import SILENCE, Garbled, check_silence, message

GREETINGS = 64  # connections that may be about to say what they want

Say = Callable[[str], None]


class Server:
    """Listens, and serves one session at a time.

    Parameters
    ----------
    listener : socket
    silence : float
        Seconds without a sign of life of the client, or of a session's process, after which the session ends.
    say : callable
        Takes a line on what happens.
    entry : Entry, optional
        What it registers as with a tracker.
    """

    def __init__(self, listener: socket.socket, silence: float, say: Say, entry: Entry | None = None) -> None:
        self._listener, self._silence, self._say = listener, silence, say
        self._greetings: list[Greeting] = []
        self._session: SessionProcess | None = None
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        port = listener.getsockname()[1]
        self._registration = None if entry is None else Registration(entry, port, self._selector, say)

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
            if self._registration is not None:
                self._registration.close()
            self._selector.close()

    def _patience(self) -> float | None:
        deadlines = [each.deadline for each in self._greetings]
        deadlines += [each.deadline for each in (self._session, self._registration) if each is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _expire(self) -> None:
        now = time.monotonic()
        for greeting in [each for each in self._greetings if each.deadline <= now]:
            self._forget(greeting)
            greeting.connection.close()
        if self._session is not None and self._session.deadline <= now:
            self._end(f"its process gave no sign of life for {self._silence:g} s")
        if self._registration is not None and self._registration.deadline <= now:
            self._registration.on_time()

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
            refusal = self._refusal(wanted.get("key"))
            if refusal is None:
                self._begin(greeting, wanted["silence"], wanted.get("key"))
                return
            greeting.connection.sendall(message(refusal))
        except BlockingIOError:
            return
        except (Garbled, OSError):
            if greeting in self._greetings:
                self._forget(greeting)
        greeting.connection.close()

    def _refusal(self, match_key: str | None) -> dict[str, str] | None:
        """Why a client is not served now."""
        if self._session is not None:
            return {"busy": f"with {self._session.address}, for {self._session.age:.0f} s"}
        if match_key is not None and (self._registration is None or not self._registration.accepts(match_key)):
            return {"stale": STALE}
        return None

    def _begin(self, greeting: Greeting, theirs: float, match_key: str | None) -> None:
        others = [self._listener, self._selector, *(each.connection for each in self._greetings)]
        if self._registration is not None:
            self._registration.begin(greeting.address, match_key)
            others += filter(None, [self._registration.socket])
        try:
            self._session = session = SessionProcess(greeting, self._silence, theirs, others)
        except (OSError, TenfoldError) as error:
            if self._registration is not None:
                self._registration.end()
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
        if self._registration is not None:
            self._registration.end()


def serve(host: str, port: int, say: Say, silence: float | None = None, entry: Entry | None = None) -> None:
    """Serve sessions, one at a time, until interrupted.

    Parameters
    ----------
    host, port
        Where to listen; port 0 lets the system choose.
    say : callable
        Takes a line on what happens.
    silence : float, optional
        Seconds without a sign of life of a client after which its session ends. Default: 60.
    entry : Entry, optional
        What it registers as with a tracker.

    Raises
    ------
    TenfoldError
        The address can't be listened on, or clients that the tracker sends would not reach it.
    """
    silence = SILENCE if silence is None else silence
    check_silence(silence)
    import_tvm()
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise TenfoldError(f"can't listen on {host}:{port}: {error}; choose another --host or --port") from None
    with closing(listener):
        if entry is not None:
            _check_reach(host, listener, entry)
        server = Server(listener, silence, say, entry)
        say(f"serving {cpu_model()} on {host}:{listener.getsockname()[1]}, one session at a time")
        server.run()


def _check_reach(host: str, listener: socket.socket, entry: Entry) -> None:
    """Raise TenfoldError where only this machine could follow a tracker that is on another one."""
    tracker, own = (ipaddress.ip_address(address[0].partition("%")[0]) for address in (entry.resolve()[1], listener.getsockname()))
    if own.is_loopback and not tracker.is_loopback and entry.advertise is None:
        what = "clients of a tracker on another machine do not reach it: give --host 0.0.0.0, or --advertise HOST"
        raise TenfoldError(f"--host {host}: {what}")
