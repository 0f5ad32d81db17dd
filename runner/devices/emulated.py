"""A CPU under emulation: QEMU in user mode runs a small process that loads and runs what was compiled.

The process is the device program in C++ (`native`). Where the CPU has this machine's instruction set, it can also be this Python (`child`):
for a network that needs TVM's virtual machine, and where there is no C++ compiler.

What is right there is right on the CPU, as far as its instructions go. What it takes says nothing: an emulator is a hundred times slower,
and not evenly so.
"""
from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...runtime.requirements import lacking_flags
from ...support.errors import TenfoldError
from ...targets.architectures import this_architecture
from .device import NETWORK, Handle, Program
from .line_device import CHILD, LineDevice, NeedsPython
from .native import device_program, library_root

INSTALL = "install qemu-user (Debian, Ubuntu: apt install qemu-user)"
CPU = "max"  # all that the emulator has
X86 = "x86_64"
# Of encryption and of atomic accesses. CPUs have these and emulators may not; no code of a network uses them.
UNUSED = frozenset({"vaes", "vpclmulqdq", "uscat"})


class Emulated(LineDevice):
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

    def __init__(self, cpu: str = CPU, architecture: str = X86, python: bool = False) -> None:
        super().__init__(f"emulated:{cpu}")
        self.cpu, self.architecture = cpu, architecture
        self._python = python
        emulator = emulator_for(architecture)
        if emulator is None:
            raise TenfoldError(f"device {self.name}: there is no qemu-{architecture}: {INSTALL}, or give another --device")
        self.emulator = emulator
        self._other: Emulated | None = None  # the process that is this Python, for what needs it

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
        try:
            return super().load(program, timed)
        except NeedsPython:
            if not self._has_python:
                raise
        if self._other is None:
            self._other = Emulated(self.cpu, self.architecture, python=True)
        return -self._other.load(program, timed)  # what is loaded there has negative handles here

    def run(self, handle: Handle, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return super().run(handle, inputs) if self._other is None or handle > 0 else self._other.run(-handle, inputs)

    def time(self, handle: Handle, runs: int | None = None) -> list[float]:
        return super().time(handle, runs) if self._other is None or handle > 0 else self._other.time(-handle, runs)

    def drop(self, handle: Handle) -> None:
        if self._other is not None and handle < 0:
            self._other.drop(-handle)
        super().drop(handle)

    def close(self) -> None:
        if self._other is not None:
            self._other.close()
        super().close()


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
