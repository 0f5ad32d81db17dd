"""A device that is a process of its own on this machine: it speaks the lines of `child`. What crashes there takes nothing else along."""
from __future__ import annotations

import contextlib
import itertools
import select
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from ...runtime.manifest import LIBRARY, WEIGHTS
from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ...targets.detection import physical_cores
from .child import read_arrays, write_arrays, write_program
from .device import NETWORK, Closing, Handle, Program, arrays_in_order

CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"


class NeedsPython(TenfoldError):
    """The device program can't run a network; one with TVM's runtime can."""


class LineDevice(Closing, ABC):
    """A process that is asked line by line. It starts when it is first asked for anything, and again when it has ended.

    Parameters
    ----------
    name : str
        What ``--device`` calls it.
    limit : float, optional
        Seconds for an answer; a process that takes longer is ended.
    """

    is_real = False

    def __init__(self, name: str, limit: float | None = None) -> None:
        self.name, self._limit = name, limit
        self._programs: dict[Handle, tuple[str, Program]] = {}
        self._names = (f"p{number}" for number in itertools.count(1))
        self._unused: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._folder: TemporaryFolder | None = None
        self._errors: IO[bytes] | None = None
        self._closed = False

    @property
    def cores(self) -> int:
        return physical_cores()

    @abstractmethod
    def command(self) -> list[str]:
        """The process that speaks the lines of `child`.

        Raises
        ------
        TenfoldError
            There is none.
        """

    def load(self, program: Program, timed: str = NETWORK) -> Handle:
        # Threads beyond the cores of this machine would wait for each other without end.
        self._forget()
        program = Program(program.folder, program.inputs, program.outputs, min(program.threads, self.cores), program.kernels)
        name = next(self._names)
        folder = self._work() / name
        folder.mkdir()
        for file in (LIBRARY, WEIGHTS):
            shutil.copyfile(program.folder / file, folder / file)
        write_program(program, folder)
        self._programs[int(name[1:])] = name, program
        try:
            self._ask("load", name, timed)
        except BaseException:
            self._programs.pop(int(name[1:]), None)
            raise
        return int(name[1:])

    def run(self, handle: Handle, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        name, program = self._of(handle)
        feeds, results = (self._work() / each for each in ("inputs", "outputs"))
        write_arrays(feeds, arrays_in_order(program, inputs))
        self._ask("run", name, feeds.name, results.name)
        try:
            arrays = read_arrays(results, program.outputs)
        except ValueError as error:
            raise TenfoldError(f"device {self.name}: {error}") from None
        return {port.name: array for port, array in zip(program.outputs, arrays, strict=True)}

    def time(self, handle: Handle, runs: int | None = None) -> list[float]:
        return [float(word) for word in self._ask("time", self._of(handle)[0], str(runs or 0))]

    def drop(self, handle: Handle) -> None:
        if handle in self._programs:
            self._unused.append(self._programs.pop(handle)[0])  # a question may be on its way just now: with the next network

    def close(self) -> None:
        self._closed = True
        self._programs.clear()
        self._end()
        if self._folder is not None:
            self._folder.remove()
        if self._errors is not None:
            self._errors.close()
        self._folder = self._errors = None

    def _forget(self) -> None:
        """Let the process drop what was dropped here."""
        while self._unused:
            name = self._unused.pop()
            self._ask("drop", name)
            shutil.rmtree(self._work() / name, ignore_errors=True)

    def _of(self, handle: Handle) -> tuple[str, Program]:
        if handle not in self._programs:
            raise TenfoldError(f"device {self.name}: it has no network {handle}: it was dropped, or the device was closed")
        return self._programs[handle]

    def _work(self) -> Path:
        """The working folder of the process."""
        if self._folder is None:
            self._folder = TemporaryFolder()
        return self._folder.path

    def _ask(self, *words: str) -> list[str]:
        """Say a line to the process, and take the words of its answer."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(" ".join(words) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline() if self._answers(process.stdout) else None
        except OSError:
            answer = ""
        except BaseException:  # an interrupt: the answer is still to come, to a question that nobody will remember
            self._end()
            raise
        if answer is None:
            self._end()
            raise TenfoldError(f"device {self.name}: no answer within {self._limit:g} s")
        if not answer.endswith("\n"):
            raise TenfoldError(f"device {self.name}: its process ended: {self._last_words()}")
        kind, _, text = answer.rstrip("\n").partition(" ")
        if kind == "python":
            raise NeedsPython(f"device {self.name}: {text}")
        if kind != "ok":
            raise TenfoldError(f"device {self.name}: {text}")
        return text.split(" ") if text else []

    def _answers(self, answers: IO[str]) -> bool:
        """Wait for an answer, as long as the limit allows."""
        return self._limit is None or bool(select.select([answers], [], [], self._limit)[0])

    def _started(self) -> subprocess.Popen[str]:
        if self._closed:
            raise TenfoldError(f"device {self.name}: it was closed")
        if self._process is None:
            if self._errors is not None:
                self._errors.close()
            self._errors = tempfile.TemporaryFile()
            try:
                self._process = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    cwd=self._work(),
                    start_new_session=True,  # an interrupt at the keyboard is for this process: it ends the other
                )
            except OSError as error:
                raise TenfoldError(f"device {self.name}: {self.command()[0]} can't be started: {error.strerror}") from None
        return self._process

    def _last_words(self) -> str:
        code = self._end()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"it died of {signal.Signals(-code).name}"
        assert self._errors is not None
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {code}"

    def _end(self) -> int | None:
        """End the process, if it has not ended. Its exit code, if it had one of its own."""
        process, self._process = self._process, None
        self._programs.clear()
        self._unused.clear()
        if process is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            code = process.wait(0.5)  # it ends with its input, if it is not at work
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return code
