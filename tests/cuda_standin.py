"""Fixtures of all tests: a stand-in for NVIDIA's driver (`cuda_standin.cc`), kernels run by the emulator of CUDA C, and networks for it."""
from __future__ import annotations

import ctypes
import gc
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from session_folder import made_once
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.runner.devices.cuda.program import CudaProgram
from tenfold.runtime.cuda.code_file import CudaCode
from tenfold.runtime.cuda.launches import Launch
from tenfold.runtime.cuda.machine import GpuMachine, Tensor
from tenfold.runtime.manifest import CUDA_LIBRARY, WEIGHTS, Manifest
from tenfold.runtime.memory_plan import tensor_bytes
from tenfold.runtime.weights import Contents, map_weights
from tenfold.targets import cuda_driver

SOURCE = Path(__file__).with_name("cuda_standin.cc")
_SIZES, _ADDRESSES = ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(ctypes.c_uint64)
LAUNCHER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_char_p, _SIZES, _ADDRESSES, ctypes.c_int)
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


def set_up_file(folder: Path, to: Path, *more: str, gpu: str = "gpu 8 0 1000000000") -> dict[str, str]:
    """The environment of a process in which the stand-in runs the kernels of an artifact; `more` are lines of its file, see there."""
    manifest, code, contents = Manifest.read(folder / "manifest.json"), CudaCode.read(folder / CUDA_LIBRARY), map_weights(folder / WEIGHTS)
    tensors = _tensor_bytes(contents, [(port.shape, port.dtype) for port in (*manifest.inputs, *manifest.outputs)])
    lines = [str(CudaProgram(code.source)._path), gpu, *more]
    for step in contents.steps:
        routine = code.routines[step.kernel]
        operands = [*(tensors[each.position] for each in step.operands), *routine.scratch]
        for launch in routine.launches:
            lines.append(" ".join(["kernel", launch.kernel, *(str(operands[position]) for position in launch.arguments)]))
    to.write_text("\n".join(lines) + "\n")
    return {"STANDIN": str(to)}


def build(library: Path) -> None:
    """Compile the stand-in."""
    subprocess.run(["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", SOURCE, "-o", library, "-ldl"], check=True)


class StandIn:
    """A driver with GPUs as a test wants them."""

    def __init__(self, library: Path) -> None:
        self.path = library
        self._library = ctypes.CDLL(str(library))
        self._library.standin_gpu.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_uint64]
        self._library.standin_pending.argtypes = [ctypes.c_void_p]
        self._library.standin_code.restype = ctypes.c_uint64
        self._library.standin_kernel.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_int]
        self._library.standin_reset()
        self._sizes: dict[tuple[int, str], tuple[CudaProgram, list[int]]] = {}
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
        manifest = Manifest.read(folder / "manifest.json")
        ports = [(port.shape, port.dtype) for port in (*manifest.inputs, *manifest.outputs)]
        self.learn(CudaCode.read(folder / CUDA_LIBRARY), map_weights(folder / WEIGHTS), ports, leave_out)

    def follow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let it run the kernels of whatever is loaded."""
        start = GpuMachine.__init__

        def begin(machine: GpuMachine, path: Path, contents: Contents, inputs: Any, outputs: Any, index: int | None = None) -> None:
            self.learn(CudaCode.read(path), contents, [*inputs, *outputs])
            start(machine, path, contents, inputs, outputs, index)

        monkeypatch.setattr(GpuMachine, "__init__", begin)

    def learn(self, code: CudaCode, contents: Contents, ports: Sequence[Tensor], leave_out: str = "") -> None:
        """Let it run the kernels of a code; `ports` are inputs and outputs."""
        program, number = CudaProgram(code.source), self._library.standin_code(code.fatbin)
        tensors = _tensor_bytes(contents, ports)
        for step in contents.steps:
            routine = code.routines[step.kernel]
            operands = [*(tensors[each.position] for each in step.operands), *routine.scratch]
            for launch in routine.launches:
                self._sizes[number, launch.kernel] = program, [operands[position] for position in launch.arguments]
                if launch.kernel != leave_out:
                    self._library.standin_kernel(number, launch.kernel.encode(), len(launch.arguments))

    def _launch(self, code: int, kernel: bytes, sizes: Any, arguments: Any, count: int) -> int:
        name = kernel.decode()
        self.launched.append(name)
        program, operands = self._sizes[code, name]
        arrays = [np.ctypeslib.as_array((ctypes.c_uint8 * operands[i]).from_address(arguments[i])) for i in range(count)]
        numbers = [int(sizes[i]) for i in range(7)]
        launch = Launch(name, tuple(numbers[:3]), tuple(numbers[3:6]), numbers[6], tuple(range(count)))  # type: ignore[arg-type]
        try:
            program.launch(launch, arrays)
        except Exception as error:  # an exception can't cross the library
            print(error)
            return 719
        return 0


def _tensor_bytes(contents: Contents, ports: Sequence[Tensor]) -> list[int]:
    """Of each tensor, by the positions that operands name."""
    sizes = [tensor_bytes(dtype, shape) for shape, dtype in ports]
    return [*sizes, *(weight.nbytes for weight in contents.weights), *(tensor_bytes(place.dtype, place.shape) for place in contents.places)]


@pytest.fixture(scope="session")
def standin_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "libcuda.so.1", build)


@pytest.fixture
def standin(standin_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The driver of this machine, without a GPU so far."""
    gc.collect()  # networks of earlier tests that wait for it: they would give their memory back to this one's driver
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(standin_library))
    cuda_driver.driver.cache_clear()
    yield StandIn(standin_library)
    gc.collect()
    cuda_driver.driver.cache_clear()


@pytest.fixture(scope="session")
def gpu_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_network` for GPUs, verified under emulation. Not to be changed: copy it."""
    return _compiled(tmp_path_factory, "gpu", 8)


@pytest.fixture(scope="session")
def other_gpu_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with other kernels."""
    return _compiled(tmp_path_factory, "other gpu", 12)


def _compiled(tmp_path_factory: pytest.TempPathFactory, name: str, features: int) -> Path:
    import onnx
    import tenfold
    from conftest import tiny_network

    if not finds_nvcc():
        pytest.skip("no nvcc of CUDA 13: pip install tenfold[cuda]")
    network = tmp_path_factory.mktemp("gpu") / "tiny.onnx"
    onnx.save(tiny_network(features), network)
    return made_once(tmp_path_factory, name, lambda folder: tenfold.compile(network, "cuda:sm_80", folder, device="emulated:cuda"))
