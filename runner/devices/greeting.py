"""A connection to a device of which it is not known yet what it wants: a client says so at once, anything else has a deadline."""
from __future__ import annotations

import socket
import time
from typing import Any

from .wire import HEAD, LONGEST_SILENCE, VALUE, Garbled, parse, parse_head

HANDSHAKE = 5.0  # seconds, within which a client must have said what it wants
LONGEST = 4096  # bytes of what it says


class Greeting:
    """A connection of which it is not known yet what it wants."""

    def __init__(self, connection: socket.socket, address: str) -> None:
        connection.setblocking(False)
        self.connection, self.address = connection, address
        self.deadline = time.monotonic() + HANDSHAKE
        self._content = b""

    def hear(self) -> dict[str, Any] | None:
        """What has been asked for, if that is complete: a limit on `silence`, and of a client that a tracker sends its match `key`.

        Raises
        ------
        Garbled, OSError
            It is no client, or it is gone.
        """
        wanted = HEAD.size
        if len(self._content) >= HEAD.size:
            wanted += parse_head(self._content[: HEAD.size])[1]
        part = self.connection.recv(wanted - len(self._content))
        self._content += part
        if not part:
            raise Garbled("it is gone")
        if len(self._content) < HEAD.size:
            return None
        kind, length = parse_head(self._content[: HEAD.size])
        if kind != VALUE or not 0 < length <= LONGEST:
            raise Garbled("this is no greeting")
        return _greeting(parse(self._content[HEAD.size :])) if len(self._content) == HEAD.size + length else None


def _greeting(value: Any) -> dict[str, Any]:
    silence = value.get("silence") if isinstance(value, dict) and value.get("do") == "greet" else None
    if not isinstance(silence, (int, float)) or not 0 < silence <= LONGEST_SILENCE or not isinstance(value.get("key", ""), str):
        raise Garbled("this is no greeting")
    return value
