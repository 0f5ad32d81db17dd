"""A connection between a device and who times on it: whole messages, and signs of life, so that neither side waits for one that is gone."""
from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from ...support.errors import TenfoldError

MARK = b"10fd"  # begins every message: what is none is seen at its first bytes
HEAD = struct.Struct("<4sBI")  # the mark, the kind, the bytes that follow
ALIVE, VALUE, BYTES = range(3)  # kinds: a sign of life, JSON, a piece of a file
PIECE = 1 << 16  # bytes of a file in one message: also a slow line takes so many within the limit on silence
LONGEST = 16 << 20
PROTOCOL = 1  # of what is said in a session; `runtime/cpp/wire.h` has the same, and speaks the same
SILENCE = 60.0  # seconds without a sign of life after which a client counts as gone
SHORTEST_SILENCE, LONGEST_SILENCE = 0.5, 86400.0
BEATS = 4  # signs of life within the time that is the limit
SLOWEST_BEAT = 5.0  # seconds


class Lost(Exception):
    """The other side has ended the connection, or it is silent, or it sends what is no message; says which, in a few words."""


class Closed(Lost):
    """It has ended the connection."""


class Garbled(Lost):
    """It sends what is no message."""


class Wire:
    """One side of a connection. It may be read by one thread, and written by several.

    Parameters
    ----------
    connection : socket
        The wire's from now on.
    silence : float
        Seconds of silence after which the other side counts as gone.
    """

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._socket = connection
        self._writing = threading.Lock()
        self._closed = threading.Event()
        keep_alive(connection, silence)
        self.limit(silence)

    def limit(self, silence: float) -> None:
        """Set the seconds of silence after which the other side counts as gone."""
        self.silence = silence
        self._socket.settimeout(silence)

    def send(self, value: Any) -> None:
        """Send a value, as JSON. Raises Lost."""
        self._send(VALUE, json.dumps(value).encode())

    def send_piece(self, piece: bytes) -> None:
        """Send bytes, `PIECE` at most. Raises Lost."""
        self._send(BYTES, piece)

    def receive(self) -> Any:
        """The next value, or bytes where the other side has sent a piece of a file.

        Raises
        ------
        Lost
            Nothing has come for so long that the other side counts as gone, or it has said so, or what came is no message.
        """
        while True:
            kind, length = parse_head(self._receive(HEAD.size))
            content = self._receive(length)
            if kind == BYTES:
                return content
            if kind == VALUE:
                return parse(content)

    def beat(self, every: float, only_if: threading.Event | None = None) -> None:
        """Give a sign of life every so many seconds from now on, in a thread of its own; where `only_if` is given, while that is set."""

        def run() -> None:
            while not self._closed.wait(every):
                if only_if is None or only_if.is_set():
                    self._sign()

        threading.Thread(target=run, daemon=True).start()

    def close(self) -> None:
        """End the connection. May be called again, by the thread that reads."""
        self._end()
        self._socket.close()

    def _end(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def _sign(self) -> None:
        if self._writing.acquire(blocking=False):  # while a message is on its way, that is a sign
            try:
                self._socket.sendall(HEAD.pack(MARK, ALIVE, 0))
            except OSError:  # a part of it may be on its way; whoever reads will see the end
                self._end()
            finally:
                self._writing.release()

    def _send(self, kind: int, content: bytes) -> None:
        with self._writing:
            try:
                self._socket.sendall(HEAD.pack(MARK, kind, len(content)))
                self._socket.sendall(content)
            except OSError as error:
                raise self._lost(error) from None

    def _receive(self, count: int) -> bytes:
        content = bytearray()
        while len(content) < count:
            try:
                part = self._socket.recv(min(count - len(content), PIECE))
            except OSError as error:
                raise self._lost(error) from None
            if not part:
                raise Closed("it has ended the connection")
            content += part
        return bytes(content)

    def _lost(self, error: OSError) -> Lost:
        if isinstance(error, TimeoutError):
            return Lost(f"no sign of life for {self.silence:g} s")
        return Closed(error.strerror or str(error) or type(error).__name__)


def pieces(content: bytes) -> Iterator[bytes]:
    """Bytes as they are sent."""
    view = memoryview(content)
    for start in range(0, len(view), PIECE):
        yield bytes(view[start : start + PIECE])


def check_silence(silence: float) -> None:
    """Raise TenfoldError if this is no limit on silence."""
    if not SHORTEST_SILENCE <= silence <= LONGEST_SILENCE:
        raise TenfoldError(f"--silence {silence:g}: give seconds, from {SHORTEST_SILENCE:g} to {LONGEST_SILENCE:g}")


def parse_head(head: bytes) -> tuple[int, int]:
    """Kind and length of a message. Raises Garbled."""
    mark, kind, length = HEAD.unpack(head)
    if mark != MARK or kind not in (ALIVE, VALUE, BYTES) or length > LONGEST:
        raise Garbled("what it sends is no message")
    return kind, length


def parse(content: bytes) -> Any:
    """A value that came. Raises Garbled."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Garbled("what it sends is no message") from None


def message(value: Any) -> bytes:
    """A whole message with a value, for who has a socket only."""
    content = json.dumps(value).encode()
    return HEAD.pack(MARK, VALUE, len(content)) + content


def beat_of(*silences: float) -> float:
    """Seconds between two signs of life that do for each of these limits on silence."""
    return min(SLOWEST_BEAT, *(silence / BEATS for silence in silences))


def keep_alive(connection: socket.socket, silence: float) -> None:
    """Let the system, too, find out that the other machine is gone, and send small messages at once."""
    seconds = max(1, round(silence / BEATS))
    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, BEATS),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(silence * 1000))),  # of what is sent and not acknowledged
    ]
    for option in options:
        connection.setsockopt(*option)
