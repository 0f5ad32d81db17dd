"""The stand-in for NVIDIA's driver (`standin.cc`), with kernels that the emulator of CUDA C runs."""
from __future__ import annotations

import ctypes
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tenfold.runner.devices.cuda.program import CudaProgram
from tenfold.runtime.cuda.code_file import CudaCode
from tenfold.runtime.cuda.launches import Launch
from tenfold.runtime.manifest import CUDA_LIBRARY, WEIGHTS, Manifest
from tenfold.runtime.memory_plan import tensor_bytes
from tenfold.runtime.weights import Contents, map_weights

SOURCE = Path(__file__).with_name("standin.cc")
LAUNCHER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(ctypes.c_uint64), ctypes.c_int)
GIB = 1 << 30


@dataclass(frozen=True)
class Counts:
    """What the driver has given out and not got back."""

    blocks: int
    bytes: int
    modules: int
    streams: int
    events: int
    graphs: int
    executables: int
    contexts: int
    current: int

    @property
    def all(self) -> int:
        return sum(getattr(self, each.name) for each in fields(self))


def build(folder: Path) -> Path:
    """Compile the stand-in."""
    library = folder / "libcuda.so.1"
    subprocess.run(["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", SOURCE, "-o", library], check=True)
    return library


class StandIn:
    """A driver with GPUs as a test wants them."""

    def __init__(self, library: Path) -> None:
        self.path = library
        self._library = ctypes.CDLL(str(library))
        self._library.standin_gpu.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_uint64]
        self._library.standin_pending.argtypes = [ctypes.c_void_p]
        self._library.standin_reset()
        self._sizes: dict[str, tuple[CudaProgram, list[int]]] = {}
        self._launcher = LAUNCHER(self._launch)
        self._library.standin_launcher(self._launcher)
        self.launched: list[str] = []

    def gpu(self, name: str = "Stand-in", capability: tuple[int, int] = (8, 0), memory: int = GIB) -> None:
        self._library.standin_gpu(name.encode(), *capability, memory)

    def version(self, number: int) -> None:
        self._library.standin_version(number)

    def fail(self, function: str, status: int, skip: int = 0) -> None:
        """Let a function fail, behind so many calls; ``kernel`` is a kernel that runs."""
        self._library.standin_fail(function.encode(), status, skip)

    def heal(self) -> None:
        self._library.standin_heal()

    def pending(self, stream: int) -> int:
        """What was put into a stream and has not run."""
        return int(self._library.standin_pending(stream))

    @property
    def counts(self) -> Counts:
        numbers = (ctypes.c_int64 * len(fields(Counts)))()
        self._library.standin_counts(numbers)
        return Counts(*numbers)

    def knows(self, folder: Path, leave_out: str = "") -> None:
        """Let it run the kernels of an artifact; one may be left out of what the machine code is said to have."""
        code, contents, manifest = CudaCode.read(folder / CUDA_LIBRARY), map_weights(folder / WEIGHTS), Manifest.read(folder / "manifest.json")
        program = CudaProgram(code.source)
        tensors = _tensor_bytes(contents, manifest)
        for step in contents.steps:
            routine = code.routines[step.kernel]
            operands = [*(tensors[each.position] for each in step.operands), *routine.scratch]
            for launch in routine.launches:
                self._sizes[launch.kernel] = program, [operands[position] for position in launch.arguments]
                if launch.kernel != leave_out:
                    self._library.standin_kernel(launch.kernel.encode(), len(launch.arguments))

    def _launch(self, kernel: bytes, sizes: ctypes.Array[ctypes.c_uint], arguments: ctypes.Array[ctypes.c_uint64], count: int) -> int:
        name = kernel.decode()
        self.launched.append(name)
        program, operands = self._sizes[name]
        arrays = [np.ctypeslib.as_array((ctypes.c_uint8 * operands[i]).from_address(arguments[i])) for i in range(count)]
        numbers = [int(sizes[i]) for i in range(7)]
        launch = Launch(name, tuple(numbers[:3]), tuple(numbers[3:6]), numbers[6], tuple(range(count)))  # type: ignore[arg-type]
        try:
            program.launch(launch, arrays)
        except Exception as error:  # an exception can't cross the library
            print(error)
            return 719
        return 0


def _tensor_bytes(contents: Contents, manifest: Manifest) -> list[int]:
    """Of each tensor, by the positions that operands name."""
    ports = [tensor_bytes(port.dtype, port.shape) for port in (*manifest.inputs, *manifest.outputs)]
    return [*ports, *(weight.nbytes for weight in contents.weights), *(tensor_bytes(place.dtype, place.shape) for place in contents.places)]
