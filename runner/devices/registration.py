"""A device's entry at a tracker, kept alive beside its sessions.

    no connection --> connecting --> greeted --> told of itself --> put, while it is free --> a beat every two seconds
          ^                                                                                         |
          +-------------------------- anything that goes wrong, after a pause ----------------------+

It waits for nothing: the server's loop calls it when its connection is ready, and when something is due. `runtime/cpp/registration.h`
does the same.
"""
from __future__ import annotations

import os
import secrets
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ...support.errors import TenfoldError
from .address import Place
from .tracker import KIND, MAGIC, PENDING_KEYS, PUT, SUCCESS, UPDATE_INFO, Inbox, encode
from .wire import Garbled, Lost

BEAT = 2.0  # seconds between two signs of life
LIMIT = 10.0  # seconds for the tracker to answer
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds until the next attempt
UNUSED = 3  # beats after which a match key that a client has, and does not use, is given up
STALE = "it waits for another client, or it is another device than the tracker says"


@dataclass(frozen=True)
class Entry:
    """What a device registers as.

    Attributes
    ----------
    place : Place
    advertise : str or None
        The address that clients are given. None: the one from which the tracker sees the device.
    """

    place: Place
    advertise: str | None = None

    def resolve(self) -> tuple[int, Any]:
        """The family and the address of the tracker; TenfoldError where its name is unknown."""
        try:
            found = socket.getaddrinfo(self.place.host, self.place.port, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError) as error:
            raise TenfoldError(f"--tracker {self.place.tracker}: {getattr(error, 'strerror', None) or error}") from None
        return found[0], found[4]


class Registration:
    """The entry, and the connection that it lasts as long as.

    Parameters
    ----------
    entry : Entry
    port : int
        Of the device.
    selector : BaseSelector
        Of the server's loop.
    say : callable
        Takes a line on what happens.

    Attributes
    ----------
    socket : socket or None
        The connection.
    deadline : float
        When `on_time` is to be called, on the monotonic clock.
    """

    def __init__(self, entry: Entry, port: int, selector: selectors.BaseSelector, say: Callable[[str], None]) -> None:
        self._entry, self._port, self._selector, self._say = entry, port, selector, say
        self._family, self._address = entry.resolve()
        self.socket: socket.socket | None = None
        self.deadline = 0.0
        self._inbox = Inbox()
        self._awaited = ""  # what the tracker is to do now
        self._steps: deque[str] = deque()  # what comes next
        self._pause = FIRST_PAUSE
        self._is_said: bool | None = None  # what was said last: whether it is registered
        self._beat = 0
        self._user: str | None = None
        self._match_key: str | None = None
        self._is_put = False  # whether the match key is at the tracker, or with a client that has it from there
        self._unused = 0

    def accepts(self, match_key: str) -> bool:
        """Whether a client that is given this device now has this match key."""
        return match_key == self._match_key

    def begin(self, user: str, match_key: str | None) -> None:
        """Note that a session begins. A client that did not come through the tracker takes a device that the tracker still has as free."""
        self._user, self._match_key = user, None
        if match_key is None and self._is_put:
            self._drop(0.0)  # the only way to take an entry back
            self.on_time()
        self._is_put = False
        self._hurry("info")

    def end(self) -> None:
        """Note that it has ended."""
        self._user = None
        self._hurry("info", "put")

    def on_ready(self) -> None:
        """Read what has come, and do what follows."""
        assert self.socket is not None
        try:
            if self._awaited == "connection":
                self._connected(self.socket)
                return
            part = self.socket.recv(1 << 16)
            if not part:
                raise Lost("it has ended the connection")
            for answer in self._inbox.add(part):
                self._answered(answer)
            if self._awaited == "greeting" and self._inbox.greeted:
                self._steps.extend(["info", "put"])
                self._next()
        except BlockingIOError:
            pass
        except (Lost, OSError) as error:
            self._lost(error)

    def on_time(self) -> None:
        """Do what is due: an attempt, a beat, or the end of one's patience."""
        try:
            if self.socket is None:
                self._connect()
            elif self._awaited:
                raise Lost(f"no answer for {LIMIT:g} s")
            else:
                self._steps.extend(["info", "keys"])
                self._next()
        except (Lost, OSError) as error:
            self._lost(error)

    def close(self) -> None:
        """End the entry."""
        self._drop(float("inf"))

    def _connect(self) -> None:
        self._inbox, self._awaited, self.deadline = Inbox(), "connection", time.monotonic() + LIMIT
        self.socket = socket.socket(self._family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self._selector.register(self.socket, selectors.EVENT_WRITE, self.on_ready)
        with suppress(BlockingIOError):
            self.socket.connect(self._address)

    def _connected(self, connection: socket.socket) -> None:
        error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        try:
            connection.getpeername()
        except OSError:  # not yet: the event was another connection's
            return
        self._selector.modify(connection, selectors.EVENT_READ, self.on_ready)
        self._await("greeting", MAGIC)

    def _await(self, what: str, content: bytes) -> None:
        assert self.socket is not None
        self._awaited, self.deadline = what, time.monotonic() + LIMIT
        self.socket.sendall(content)  # never more than the system takes at once: the last answer has come

    def _answered(self, answer: Any) -> None:
        awaited, self._awaited = self._awaited, ""
        if awaited == "keys" and isinstance(answer, list):
            self._unused = 0 if self._match_key in answer else self._unused + 1
            if self._unused >= UNUSED:
                self._is_put = False
                self._steps.append("put")
        elif awaited not in ("info", "put") or answer != SUCCESS:
            raise Garbled("what it sends is no answer of a tracker")
        elif awaited == "info" and self._is_said is not True:
            self._is_said, self._pause = True, FIRST_PAUSE
            self._say(f"registered with the tracker {self._entry.place.tracker} as {self._entry.place.key}")
        self._next()

    def _hurry(self, *steps: str) -> None:
        """Do more, at once if nothing is awaited."""
        if self.socket is None or not self._inbox.greeted:
            return  # it is all said when there is a connection
        self._steps.extend(steps)
        if not self._awaited:
            try:
                self._next()
            except OSError as error:
                self._lost(error)

    def _next(self) -> None:
        """Do the next step that makes sense; without one, wait for a beat."""
        while self._steps:
            step = self._steps.popleft()
            if step == "info":
                self._tell()
                return
            if step == "put" and self._user is None and not self._is_put:
                self._put()
                return
            if step == "keys" and self._is_put:
                self._await(step, encode([PENDING_KEYS]))
                return
        self.deadline = time.monotonic() + BEAT

    def _tell(self) -> None:
        self._beat += 1
        about = {"beat": self._beat, "user": self._user}
        info = {"key": KIND + self._entry.place.key, "addr": [self._entry.advertise, self._port], "tenfold": about}
        self._await("info", encode([UPDATE_INFO, info]))

    def _put(self) -> None:
        key = self._entry.place.key
        self._match_key, self._is_put, self._unused = f"{key}:{secrets.token_hex(8)}", True, 0
        self._await("put", encode([PUT, key, [self._port, self._match_key], self._entry.advertise]))

    def _lost(self, error: Exception) -> None:
        if self._is_said is not False:
            self._is_said = False
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._say(f"the tracker {self._entry.place.tracker} does not answer: {why}: registering as soon as it does")
        self._drop(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _drop(self, pause: float) -> None:
        """End the connection, and with it the entry."""
        self._awaited, self._is_put, self.deadline = "", False, time.monotonic() + pause
        self._steps.clear()
        if self.socket is not None:
            with suppress(KeyError):  # an interrupt came before it was there
                self._selector.unregister(self.socket)
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)  # also where the process of a session still has it
            self.socket.close()
        self.socket = None
