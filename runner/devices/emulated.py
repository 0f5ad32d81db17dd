"""A CPU under emulation: QEMU in user mode runs a small process that loads and runs what was compiled.

The process is the device program in C++ (`native`). Where the CPU has this machine's instruction set, it can also be this Python (`child`):
for a network that needs TVM's virtual machine, and where there is no C++ compiler.

What is right there is right on the CPU, as far as its instructions go. What it takes says nothing: an emulator is a hundred times slower,
and not evenly so.
"""
from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...runtime.manifest import LIBRARY, WEIGHTS
from ...runtime.requirements import lacking_flags
from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ...targets.architectures import this_architecture
from ...targets.detection import physical_cores
from .child import read_arrays, write_arrays, write_program
from .device import NETWORK, Closing, Handle, Program, arrays_in_order
from .native import device_program, library_root

CPU = "max"  # all that the emulator has
X86 = "x86_64"
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"
# Of encryption and of atomic accesses. CPUs have these and emulators may not; no code of a network uses them.
UNUSED = frozenset({"vaes", "vpclmulqdq", "uscat"})


class NeedsPython(TenfoldError):
    """The device program can't run a network; one with TVM's runtime can."""


class Emulated(Closing):
    """A CPU that QEMU emulates. Its process starts when it is first asked for anything.

    Parameters
    ----------
    cpu : str
        The emulator's name of the CPU (``qemu-x86_64 -cpu help`` lists them).
    architecture : str
        As in a manifest.
    python : bool
        Whether the process is this Python, and not the device program.

    Raises
    ------
    TenfoldError
        The emulator is not installed, or has no such CPU.
    """

    is_real = False

    def __init__(self, cpu: str = CPU, architecture: str = X86, python: bool = False) -> None:
        self.name = f"emulated:{cpu}"
        self.cpu, self.architecture = cpu, architecture
        self._python = python
        emulator = emulator_for(architecture)
        if emulator is None:
            raise TenfoldError(f"device {self.name}: there is no qemu-{architecture}: install qemu-user, or give another --device")
        self.emulator = emulator
        self._programs: dict[Handle, tuple[str, Program]] = {}
        self._other: Emulated | None = None  # the process that is this Python, for what needs it
        self._there: dict[Handle, Handle] = {}  # what is loaded in the other, by its handle here
        self._names = (f"p{number}" for number in itertools.count(1))
        self._unused: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._folder: TemporaryFolder | None = None
        self._errors: IO[bytes] | None = None
        self._closed = False

    @property
    def cores(self) -> int:
        return physical_cores()

    @property
    def _has_python(self) -> bool:
        """Whether the process can be this Python too."""
        return self.architecture == this_architecture()

    def describe(self) -> str:
        return f"emulated qemu-{self.architecture} {version_of(self.emulator)} -cpu {self.cpu}"

    def command(self) -> list[str]:
        """The process that speaks the lines of `child`, under emulation.

        Raises
        ------
        TenfoldError
            There is none for the architecture.
        """
        emulator = [self.emulator, "-cpu", self.cpu]
        if not self._python:
            try:
                program, root = device_program(self.architecture), library_root(self.architecture)
                return [*emulator, *(() if root is None else ("-L", str(root))), str(program)]
            except TenfoldError:
                if not self._has_python:
                    raise
        return [*emulator, sys.executable, "-c", CHILD.format(module=f"{__package__}.child"), json.dumps(sys.path)]

    def check(self, target: Mapping[str, Any]) -> str | None:
        if target["architecture"] != self.architecture:
            return f"{target['name']} is {target['architecture']}, {self.describe()} is {self.architecture}"
        try:
            self.command()
        except TenfoldError as error:
            return str(error)
        return lacking_flags(target, {*self._ask("features"), *UNUSED}, self.describe())

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
        handle = int(name[1:])
        try:
            self._ask("load", name, timed)
            self._programs[handle] = name, program
        except NeedsPython:
            if not self._has_python:
                raise
            if self._other is None:
                self._other = Emulated(self.cpu, self.architecture, python=True)
            self._there[handle] = self._other.load(program, timed)
        return handle

    def run(self, handle: Handle, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._other is not None and handle in self._there:
            return self._other.run(self._there[handle], inputs)
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
        if self._other is not None and handle in self._there:
            return self._other.time(self._there[handle], runs)
        return [float(word) for word in self._ask("time", self._of(handle)[0], str(runs or 0))]

    def drop(self, handle: Handle) -> None:
        if self._other is not None and handle in self._there:
            self._other.drop(self._there.pop(handle))
        if handle in self._programs:
            self._unused.append(self._programs.pop(handle)[0])  # a question may be on its way just now: with the next network

    def close(self) -> None:
        self._closed = True
        self._programs.clear()
        self._there.clear()
        self._end()
        if self._other is not None:
            self._other.close()
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
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        except BaseException:  # an interrupt: the answer is still to come, to a question that nobody will remember
            self._end()
            raise
        if not answer.endswith("\n"):
            raise TenfoldError(f"device {self.name}: its process ended: {self._last_words()}")
        kind, _, text = answer.rstrip("\n").partition(" ")
        if kind == "python":
            raise NeedsPython(f"device {self.name}: {text}")
        if kind != "ok":
            raise TenfoldError(f"device {self.name}: {text}")
        return text.split(" ") if text else []

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
                raise TenfoldError(f"device {self.name}: {self.emulator} can't be started: {error.strerror}") from None
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


def emulator_for(architecture: str) -> str | None:
    """The path of an emulator that is installed."""
    return shutil.which(f"qemu-{architecture}") or shutil.which(f"qemu-{architecture}-static")


@functools.lru_cache(maxsize=16)
def version_of(emulator: str) -> str:
    """The version of an emulator, such as ``8.2.2``; ``?`` where it does not say."""
    try:
        said = subprocess.run([emulator, "--version"], capture_output=True, text=True, timeout=60, errors="replace").stdout
    except (OSError, subprocess.SubprocessError):
        return "?"
    found = re.search(r"version (\d[\w.]*)", said)
    return found.group(1).rstrip(".") if found else "?"


@functools.lru_cache(maxsize=16)
def cpus_of(emulator: str) -> frozenset[str]:
    """The names of the CPUs that an emulator has."""
    try:
        said = subprocess.run([emulator, "-cpu", "help"], capture_output=True, text=True, timeout=60, errors="replace").stdout
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    return frozenset(word for line in said.splitlines() if line.startswith(" ") or line.startswith("x86 ") for word in line.split()[:2])
