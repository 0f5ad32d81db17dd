"""The device's side of a session: ``tenfold serve`` runs what another machine compiled, and times it.

It speaks the protocol of TVM's RPC, which brings files and calls over, with one function more (`ENTRY`) that takes and returns JSON. Each
session has a process and a folder of its own: code that crashes ends its session, not the server.
"""
from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ..errors import TenfoldError
from ..files.temporary import TemporaryFolder
from ..targets import detect_host
from ..targets.cpu import cpu_model
from ..targets.light_import import import_tvm
from .artifact import check_cpu
from .bursts import Burst, load_burst
from .manifest import LIBRARY, WEIGHTS, Port
from .session import ENTRY, this_version

HANDSHAKE = 5.0  # seconds, within which a client must have said what it wants

Say = Callable[[str], None]


class Bench:
    """What one session asks of the device: its answers, and the modules that it has loaded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bursts: dict[int, Burst] = {}

    def answer(self, request: str) -> str:
        """A request in JSON, ``{"do": NAME, ...}`` -> its answer in JSON, ``{"value": ...}`` or ``{"error": MESSAGE}``."""
        options = json.loads(request)
        work = {"describe": self.describe, "check": self.check, "load": self.load, "time": self.time, "drop": self.drop}
        try:
            return json.dumps({"value": work[options.pop("do")](**options)})
        except TenfoldError as error:
            return json.dumps({"error": str(error)})

    def describe(self) -> dict[str, Any]:
        """What compiles for this device: its version of Tenfold, and its target, or why that is not known."""
        try:
            return {"version": this_version(), "target": asdict(detect_host()), "reason": None}
        except TenfoldError as error:
            return {"version": this_version(), "target": None, "reason": str(error)}

    def check(self, target: dict[str, Any]) -> None:
        """Whether code for a target (as in a manifest) runs here."""
        check_cpu(f"target {target['name']}", target)

    def load(self, folder: str, inputs: list[dict[str, Any]], kernels: list[str], threads: int, part: str) -> int:
        """Load a module from the session's folder; what it is called from now on."""
        place = self._folder / folder
        ports = [Port(each["name"], tuple(each["shape"]), each["dtype"]) for each in inputs]
        burst = load_burst(place, ports, frozenset(kernels), threads, part)
        for name in (LIBRARY, WEIGHTS):
            (place / name).unlink()  # both are mapped
        number = max(self._bursts, default=0) + 1
        self._bursts[number] = burst
        return number

    def time(self, module: int) -> float:
        """Milliseconds of a burst."""
        return self._bursts[module]()

    def drop(self, module: int) -> None:
        """Forget a module."""
        del self._bursts[module]


def serve(host: str, port: int, say: Say) -> None:
    """Serve sessions, one at a time, until interrupted.

    Parameters
    ----------
    host, port
        Where to listen; port 0 lets the system choose.
    say : callable
        Takes a line on what happens.

    Raises
    ------
    TenfoldError
        The address can't be listened on.
    """
    import_tvm()
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise TenfoldError(f"can't listen on {host}:{port}: {error}; choose another --host or --port") from None
    session: BaseProcess | None = None
    try:
        with closing(listener):
            say(f"serving {cpu_model()} on {host}:{listener.getsockname()[1]}, one session at a time")
            while True:
                ready = wait([listener, session.sentinel] if session else [listener])
                if session is not None and session.sentinel in ready:
                    session.join()
                    say(f"session ended{_cause(session.exitcode)}")
                    session = None
                if listener in ready:
                    session = _greet(listener, session, say) or session
    finally:
        if session is not None:
            session.terminate()
            session.join()


def _cause(code: int | None) -> str:
    if not code:
        return ""
    return f": its process died of {signal.Signals(-code).name}" if code < 0 else f": its process failed ({code})"


def _greet(listener: socket.socket, busy: BaseProcess | None, say: Say) -> BaseProcess | None:
    """Take a connection: the process of its session, if it becomes one."""
    from tvm.rpc import base

    connection, address = listener.accept()
    with closing(connection):
        connection.settimeout(HANDSHAKE)
        try:
            magic, length = struct.unpack("<ii", base.recvall(connection, 8))
            if magic != base.RPC_MAGIC or not 0 <= length < 1024:
                return None
            client = base.recvall(connection, length).decode(errors="replace").split()
            code = base.RPC_CODE_DUPLICATE if busy else base.RPC_CODE_SUCCESS if client[:1] == ["client:"] else base.RPC_CODE_MISMATCH
            connection.sendall(struct.pack("<i", code))
            if code != base.RPC_CODE_SUCCESS:
                return None
            key = b"server:"
            connection.sendall(struct.pack("<i", len(key)) + key)
        except OSError:
            return None
        connection.settimeout(None)
        say(f"session with {address[0]}")
        process = multiprocessing.get_context("fork").Process(target=_session, args=(connection, listener), daemon=True)
        process.start()
        return process


def _session(connection: socket.socket, listener: socket.socket) -> None:
    import tvm_ffi
    from tvm.rpc import _ffi_api

    listener.close()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    with TemporaryFolder() as folder:
        functions = {
            "tvm.rpc.server.workpath": lambda name: _inside(folder, name),
            "tvm.rpc.server.load_module": lambda name: tvm_ffi.load_module(_inside(folder, name)),  # for other clients of TVM's
            ENTRY: Bench(folder).answer,
        }
        for name, function in functions.items():
            tvm_ffi.register_global_func(name, function, override=True)
        _ffi_api.ServerLoop(os.dup(connection.fileno()))  # which closes it


def _inside(folder: Path, name: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return str(path)
