"""This side of a session with a device that runs ``tenfold serve``: what is compiled here is sent there, run and timed."""
from __future__ import annotations

import json
import socket
import struct
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import TenfoldError
from ..targets import Target
from ..targets.light_import import import_tvm
from .manifest import FORMAT

ENTRY = "tenfold.session"
PORT = 9190
PATIENCE = 10.0  # seconds for a device to answer a greeting
GREETING = b"client:greeting"  # no key that a server has


def this_version() -> str:
    """What both sides must have the same of."""
    return f"{metadata.version('tenfold')}, format {FORMAT}"


class Session:
    """A device that is connected.

    Parameters
    ----------
    address : str
        ``HOST`` or ``HOST:PORT``.

    Raises
    ------
    TenfoldError
        Nothing answers there, it is no device that serves, it serves another session, or its Tenfold is another one.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        host, port = _parse(address)
        self._greet(host, port)
        import_tvm()
        from tvm import rpc

        try:
            self._rpc = rpc.connect(host, port)
            self._entry = self._rpc.get_function(ENTRY)
        except (RuntimeError, AttributeError) as error:
            raise TenfoldError(f"device {address}: no session: {_last_line(error)}; start tenfold serve there") from None
        about = self.ask("describe")
        if about["version"] != this_version():
            self.close()
            raise TenfoldError(f"device {address}: it has Tenfold {about['version']}, this is {this_version()}: install the same on both")
        self._target, self._reason = about["target"], about["reason"]

    @property
    def target(self) -> Target:
        """The device as a target, as it sees itself.

        Raises
        ------
        TenfoldError
            It can't tell.
        """
        if self._target is None:
            raise TenfoldError(f"device {self.address}: {self._reason}")
        return Target(**{**self._target, "name": self.address, "features": tuple(self._target["features"])})

    def ask(self, work: str, **options: Any) -> Any:
        """What the device answers, see `serve.Bench`.

        Raises
        ------
        TenfoldError
            The device says what is wrong, or the session has ended.
        """
        if self._entry is None:
            raise TenfoldError(f"device {self.address}: the session has ended")
        try:
            answer = json.loads(self._entry(json.dumps({"do": work, **options})))
        except (RuntimeError, OSError) as error:
            raise TenfoldError(f"device {self.address}: the session has ended: {_last_line(error)}") from None
        if "error" in answer:
            raise TenfoldError(f"device {self.address}: {answer['error']}")
        return answer["value"]

    def send(self, file: Path, name: str) -> None:
        """Put a file into the session's folder under a name.

        Raises
        ------
        TenfoldError
            The session has ended.
        """
        try:
            self._rpc.upload(bytearray(file.read_bytes()), name)
        except RuntimeError as error:
            raise TenfoldError(f"device {self.address}: the session has ended: {_last_line(error)}") from None

    def close(self) -> None:
        """End the session; the device is free for another."""
        self._rpc = self._entry = None

    def _greet(self, host: str, port: int) -> None:
        """See that a server is there and free: TVM's client waits without end for one that does not answer."""
        from tvm.rpc import base

        try:
            with socket.create_connection((host, port), PATIENCE) as connection:
                connection.sendall(struct.pack("<ii", base.RPC_MAGIC, len(GREETING)) + GREETING)
                (code,) = struct.unpack("<i", base.recvall(connection, 4))
        except OSError as error:
            what = error.strerror or str(error) or type(error).__name__
            hint = "is tenfold serve running there, and open to this machine (--host)?"
            raise TenfoldError(f"device {self.address}: {what}: {hint}") from None
        if code == base.RPC_CODE_DUPLICATE:
            raise TenfoldError(f"device {self.address}: it serves another session: try again when that has ended")
        if code != base.RPC_CODE_MISMATCH:
            raise TenfoldError(f"device {self.address}: what answers there is not tenfold serve")


def _parse(address: str) -> tuple[str, int]:
    """``board:9190`` -> ``("board", 9190)``."""
    host, port = address, str(PORT)
    if address.count(":") == 1 or "]:" in address:
        host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise TenfoldError(f"--device {address}: write it as HOST:PORT, for example board:{PORT}")
    return host, int(port)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
