"""`tenfold-device`, the server in C++, and sessions with it: what tests of it share."""
from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from device_checks import SECONDS, Server, device_server, ended_after
from tenfold.runner.devices.session import Session

BEGIN, END = "session with 127.0.0.1", "session ended"
SHORT = "--silence", "1.5"


def serving(*options: str, folder: Path | None = None, program: list[str] | None = None) -> AbstractContextManager[Server]:
    return ended_after(device_server(*options, folder=folder, program=program))


def connect(server: Server) -> socket.socket:
    host, port = server.address.split(":")
    return socket.create_connection((host, int(port)), SECONDS)


def is_free(server: Server) -> None:
    """A session begins and ends."""
    Session(server.address).close()
    assert [server.line(), server.line()] == [BEGIN, END]


@contextmanager
def session_on(server: Server, silence: float = 12.0) -> Iterator[Session]:
    session = Session(server.address, silence)
    assert server.line() == BEGIN
    try:
        yield session
    finally:
        session.close()
