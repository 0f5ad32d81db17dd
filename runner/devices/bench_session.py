"""The process of one session on a device: it loads what a client sends, runs and times it, and answers. See `serve`, which starts it."""
from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ...runtime.manifest import Port
from ...runtime.requirements import check_target
from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ...targets import detect_host
from ...targets.cuda_driver import gpus
from .child import read_arrays
from .device import NETWORK, Program
from .here import Here
from .session import this_version
from .wire import Closed, Garbled, Lost, Wire, beat_of, pieces

WAITING = 16  # messages that may wait while the bench is at work


class Bench:
    """What one session asks of the device: its answers, and the modules that it has loaded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._device = Here()
        self._programs: dict[int, Program] = {}
        self._results: list[np.ndarray] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """``{"do": NAME, "drop": [MODULE, ...], ...}`` -> ``{"value": ...}`` or ``{"error": MESSAGE}``."""
        work: dict[str, Callable[..., Any]] = {
            "describe": self.describe, "check": self.check, "load": self.load, "run": self.run, "time": self.time,
        }  # fmt: skip
        try:
            options = dict(request)
            for module in options.pop("drop", ()):
                self._programs.pop(module, None)
                self._device.drop(module)
            return {"value": work[options.pop("do")](**options)}
        except TenfoldError as error:
            return {"error": str(error)}
        except Exception as error:  # whatever a request leads to, the session can go on
            return {"error": f"{type(error).__name__}: {error}"}

    def describe(self) -> dict[str, Any]:
        """What compiles for this device: its version of Tenfold, and its target, or why that is not known; its GPUs."""
        about = {"version": this_version(), "gpus": [f"{gpu.name} ({gpu.arch})" for gpu in gpus()]}
        try:
            return {**about, "target": asdict(detect_host()), "reason": None}
        except TenfoldError as error:
            return {**about, "target": None, "reason": str(error)}

    def check(self, target: dict[str, Any]) -> None:
        """Whether code for a target (as in a manifest) runs here."""
        check_target(f"target {target['name']}", target)

    def load(
        self,
        folder: str,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        kernels: list[str],
        threads: int,
        part: str = NETWORK,
    ) -> int:
        """Load a module from the session's folder; what it is called from now on."""
        place = within(self._folder, folder)
        ports = [tuple(Port(each["name"], tuple(each["shape"]), each["dtype"]) for each in listed) for listed in (inputs, outputs)]
        program = Program(place, ports[0], ports[1], threads, frozenset(kernels))
        module = self._device.load(program, part)
        for name in program.files:
            (place / name).unlink()  # both are mapped, or on the GPU
        self._programs[module] = program
        return module

    def run(self, module: int, inputs: list[str]) -> None:
        """Run a module on arrays in files of the session's folder, which go. The results are taken by `results`."""
        paths = [within(self._folder, name) for name in inputs]
        try:
            ports = self._programs[module].inputs
            feeds = {port.name: read_arrays(path, [port])[0] for port, path in zip(ports, paths, strict=True)}
        finally:
            for path in paths:
                path.unlink(missing_ok=True)
        self._results = list(self._device.run(module, feeds).values())

    def results(self) -> list[np.ndarray]:
        """What the last run returned, once."""
        results, self._results = self._results, []
        return results

    def time(self, module: int, runs: int | None = None) -> list[float]:
        """Milliseconds of single runs."""
        return self._device.time(module, runs)


class BenchSession:
    """A bench at the end of a wire.

    Parameters
    ----------
    wire : Wire
        To the client.
    server : Connection
        Takes signs of life, which are empty, and last words.
    folder : TemporaryFolder
        For what is sent. The server removes it; where there is none any more, it is removed here.
    """

    def __init__(self, wire: Wire, server: Connection, folder: TemporaryFolder) -> None:
        self._wire, self._server, self._folder = wire, server, folder
        self._bench = Bench(folder.path)
        self._messages: queue.Queue[Any] = queue.Queue(WAITING)
        self._working = threading.Event()

    def run(self, every: float) -> NoReturn:
        """Answer, and give a sign of life every so many seconds, until the client ends the session or is silent."""
        self._wire.beat(every, self._working)
        for work in (lambda: self._sign(every), self._read):
            threading.Thread(target=work, daemon=True).start()
        try:
            while True:
                request = self._next(dict)
                self._working.set()
                answer = self._store(**request) if request.get("do") == "store" else self._bench.answer(request)
                self._working.clear()
                self._wire.send(answer)
                for array in self._bench.results():
                    for piece in pieces(np.ascontiguousarray(array).tobytes()):
                        self._wire.send_piece(piece)
        except Lost as error:
            self._end(error)

    def _next(self, kind: type) -> Any:
        message = self._messages.get()
        if not isinstance(message, kind):
            raise Garbled("what it sends is no request")
        return message

    def _read(self) -> None:
        """Take messages, also while the bench is at work: a client that is gone is not worked for."""
        try:
            while True:
                self._messages.put(self._wire.receive())
        except Lost as error:
            self._end(error)

    def _store(self, name: str, size: int, **_: Any) -> dict[str, Any]:
        """Write the pieces of a file that follow. All are taken, also of one that can't be written."""
        answer: dict[str, Any] = {"value": None}
        try:
            path = within(self._folder.path, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb", buffering=0) as file:
                while size > 0:
                    size -= len(piece := self._next(bytes))
                    file.write(piece)
        except (OSError, TenfoldError) as error:
            answer = {"error": f"{name}: can't be written: {getattr(error, 'strerror', None) or error}"}
        while size > 0:
            size -= len(self._next(bytes))
        return answer

    def _sign(self, every: float) -> None:
        waiter = threading.Event()
        while True:
            try:
                self._server.send_bytes(b"")
            except OSError:  # the server is gone
                shutil.rmtree(self._folder.whole, ignore_errors=True)
                os._exit(1)
            waiter.wait(every)

    def _end(self, error: Lost) -> NoReturn:
        """What the bench is at work on dies with the process: the client does not wait for it any more."""
        with contextlib.suppress(OSError):
            self._server.send_bytes(b"" if isinstance(error, Closed) else f"the client: {error}".encode())
        os._exit(0)


def within(folder: Path, name: str) -> Path:
    """A path in the session's folder. Raises TenfoldError for one that leads out of it."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise TenfoldError(f"{name}: this is not in the session's folder")
    return path


def start(
    connection: socket.socket, others: list[Any], server: Connection, folder: TemporaryFolder, limits: tuple[float, float]
) -> NoReturn:
    """The process: `others` are connections of its parent that it must not keep open, `limits` the server's and the client's on silence."""
    for each in others:
        each.close()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    wire = Wire(connection, limits[0])
    with contextlib.suppress(Lost):  # seen again below
        wire.send({"silence": limits[0]})
    BenchSession(wire, server, folder).run(beat_of(*limits))
