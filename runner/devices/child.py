"""The program that an emulator runs: it loads compiled networks, and runs and times them, as lines on its standard input tell it to.

    features                       what the CPU can do, as flags of /proc/cpuinfo
    load FOLDER TIMED              a folder with model.so, weights.bin and a file `program`; TIMED: network or kernels
    run FOLDER INPUTS OUTPUTS      two files of raw arrays, each behind the other
    time FOLDER RUNS               milliseconds of single runs; 0 runs: a short burst
    count FOLDER                   one run between marks, for what counts instructions (`counted`); only the program in C++ does
    drop FOLDER

Every line is answered by one: ``ok`` and words, or ``error`` and a text; or ``python`` and a text, where a network can't be loaded without
TVM's runtime, which a program in another language may not have. Names have no spaces, and are of files in the working folder. The
file `program` has a line for each fact: ``threads N``, ``input DTYPE SIZE...``, ``output DTYPE SIZE...``, ``kernel NAME``. So a program in
another language needs no parser to take this one's place: `runtime/cpp/device.cc` does.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ...runtime.manifest import Port
from ...runtime.memory_plan import tensor_bytes
from ...support.errors import TenfoldError
from ...support.printable import one_line
from .cpuid import cpuid_flags
from .device import Program

PROGRAM = "program"


def write_program(program: Program, folder: Path) -> None:
    """Write the file `program` of a folder."""
    lines = [f"threads {program.threads}"]
    for kind, ports in (("input", program.inputs), ("output", program.outputs)):
        lines += [" ".join([kind, port.dtype, *map(str, port.shape)]) for port in ports]
    lines += [f"kernel {name}" for name in sorted(program.kernels)]
    (folder / PROGRAM).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_program(folder: Path) -> Program:
    """What `write_program` wrote. Inputs and outputs are called by their numbers."""
    facts: dict[str, list[list[str]]] = {"threads": [], "input": [], "output": [], "kernel": []}
    for line in (folder / PROGRAM).read_text(encoding="utf-8").splitlines():
        kind, *words = line.split(" ")
        facts[kind].append(words)
    ports = {
        kind: tuple(Port(f"{number}", tuple(map(int, sizes)), dtype) for number, (dtype, *sizes) in enumerate(facts[kind]))
        for kind in ("input", "output")
    }
    return Program(folder, ports["input"], ports["output"], int(facts["threads"][0][0]), frozenset(name for (name,) in facts["kernel"]))


class Bench:
    """What the lines ask for."""

    def __init__(self) -> None:
        self._device: Any = None
        self._programs: dict[str, tuple[int, Program]] = {}

    def answer(self, line: str) -> str:
        """The line that answers a line."""
        work: dict[str, Callable[..., Iterable[str]]] = {
            "features": self.features, "load": self.load, "run": self.run, "time": self.time, "drop": self.drop,
        }  # fmt: skip
        name, *words = line.split(" ")
        try:
            return " ".join(["ok", *work[name](*words)])
        except TenfoldError as error:
            return f"error {one_line(error)}"
        except Exception as error:  # whatever a line leads to, the next one can be taken
            return f"error {type(error).__name__}: {one_line(error)}"

    def features(self) -> Iterable[str]:
        """What the CPU can do."""
        return sorted(cpuid_flags())

    def load(self, folder: str, timed: str) -> Iterable[str]:
        """Load a network."""
        if self._device is None:
            from .here import Here  # what takes a second or two under emulation, and is not needed to tell features

            self._device = Here()
        program = read_program(Path(folder))
        self._programs[folder] = self._device.load(program, timed), program
        return ()

    def run(self, folder: str, inputs: str, outputs: str) -> Iterable[str]:
        """Run one on arrays of a file."""
        handle, program = self._programs[folder]
        feeds = dict(zip((port.name for port in program.inputs), read_arrays(Path(inputs), program.inputs), strict=True))
        write_arrays(Path(outputs), self._device.run(handle, feeds).values())
        return ()

    def time(self, folder: str, runs: str) -> Iterable[str]:
        """Time one."""
        return [f"{ms:.6g}" for ms in self._device.time(self._programs[folder][0], int(runs) or None)]

    def drop(self, folder: str) -> Iterable[str]:
        """Forget one."""
        self._device.drop(self._programs.pop(folder)[0])
        return ()


def write_arrays(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """Write raw arrays, one behind the other."""
    with open(path, "wb") as file:
        for array in arrays:
            file.write(np.ascontiguousarray(array).tobytes())


def read_arrays(path: Path, ports: Iterable[Port]) -> list[np.ndarray]:
    """The arrays that are written so. ValueError if the file has other bytes than they."""
    ports = list(ports)
    content, offset, arrays = path.read_bytes(), 0, []
    size = sum(tensor_bytes(port.dtype, port.shape) for port in ports)
    if size != len(content):
        raise ValueError(f"{path.name} has {len(content)} bytes, not {size}")
    for port in ports:
        arrays.append(np.ndarray(port.shape, port.dtype, content, offset).copy())
        offset += arrays[-1].nbytes
    return arrays


def serve(lines: Iterable[str], answers: TextIO) -> None:
    """Answer lines until they end."""
    bench = Bench()
    for line in lines:
        print(bench.answer(line.rstrip("\n")), file=answers, flush=True)


def main() -> None:
    """Answer standard input. What else is printed goes to standard error: an answer is one line, and nothing between."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
