"""Devices for tests: ``tenfold serve`` and ``tenfold-device``, each in a process of its own on this machine."""
from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tenfold.runner.devices.native import SERVER, device_program
from tenfold.targets.architectures import this_architecture

SECONDS = 60  # that anything may take on a machine that does other things too
COMMAND = "from tenfold.cli import main; main()"


class Server:
    """`tenfold serve`, and the lines that it prints.

    Parameters
    ----------
    *options : str
        Of the command.
    folder : Path, optional
        For temporary files.
    patch : str
        Python that is run before the command: what makes it slow, or impatient.
    """

    def __init__(self, *options: str, folder: Path | None = None, patch: str = "") -> None:
        environment = os.environ | ({} if folder is None else {"TMPDIR": str(folder)})
        command = [*self.command(patch), "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [self._lines.put(line.rstrip()) for line in self.process.stdout], daemon=True).start()
        self.greeting = self.line()
        self.address = self.greeting.split(" on ")[1].split(",")[0]

    def command(self, patch: str) -> list[str]:
        """What is run, without options."""
        return [sys.executable, "-c", f"{patch}\n{COMMAND}", "serve"]

    def line(self) -> str:
        """The next line that it prints."""
        return self._lines.get(timeout=SECONDS)

    def forget(self) -> None:
        """Forget the lines that nobody has asked for."""
        while not self._lines.empty():
            self._lines.get()

    def session(self) -> int:
        """The process of its session."""
        (child,) = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        return int(child)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)


class DeviceServer(Server):
    """`tenfold-device`: the server in C++, where its program is."""

    program: list[str] = []

    def command(self, patch: str) -> list[str]:
        return self.program


@contextmanager
def ended_after(server: Server) -> Iterator[Server]:
    """A server that is killed when the block ends."""
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(SECONDS)


def device_server(*options: str, folder: Path | None = None, program: list[str] | None = None) -> DeviceServer:
    """Start `tenfold-device`, by default that of this machine; skip the test where there is no C++ compiler."""
    if program is None:
        if shutil.which(os.environ.get("CXX") or "g++") is None:
            pytest.skip("there is no C++ compiler")
        program = [str(device_program(this_architecture(), kind=SERVER))]
    return type("Started", (DeviceServer,), {"program": program})(*options, folder=folder)
