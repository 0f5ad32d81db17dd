"""A GPU under emulation: the CUDA C of a network runs on the CPU, each thread a fiber, each access checked.

What is found right here is right as far as CUDA C says what it does: results, bounds, barriers, races. Times, and what the hardware does
beside the language, are not emulated.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...codegen.toolchain import compiles_for
from ...runtime.cuda.code_file import CudaCode
from ...runtime.cuda.launches import Launch, Routine
from ...runtime.manifest import CUDA_LIBRARY, KERNELS_EMULATED, WEIGHTS
from ...runtime.memory_plan import arena_bytes
from ...runtime.weights import Contents, map_weights, view
from ...support.errors import TenfoldError
from ...targets.detection import physical_cores
from ...targets.gpu_target import CUDA
from .cuda.program import CudaProgram
from .device import NETWORK, Handle, Keeping, Program, arrays_in_order

MOST_CHECKED = 1 << 20  # threads of a launch that are all run with checks; of more, a sample of blocks is
SAMPLE = 48  # blocks


@dataclass
class _Loaded:
    """A network, its two emulations (that without checks is made when it is needed), and the kernels whose sample has been checked."""

    program: Program
    code: CudaCode
    contents: Contents
    checked: CudaProgram
    runs: int = 0
    sampled: set[str] = field(default_factory=set)
    _fast: CudaProgram | None = None

    @property
    def fast(self) -> CudaProgram:
        if self._fast is None:
            self._fast = CudaProgram(self.code.source, checks=False)
        return self._fast


class EmulatedCuda(Keeping[_Loaded]):
    """A GPU that the CPU emulates."""

    name = f"emulated:{CUDA}"
    is_real = False

    @property
    def cores(self) -> int:
        return physical_cores()

    def describe(self) -> str:
        return KERNELS_EMULATED

    def check(self, target: Mapping[str, Any]) -> str | None:
        if target["architecture"] != CUDA:
            return f"{target['name']} is {target['architecture']}, {self.name} runs {CUDA}"
        return None if compiles_for(None) else "no C++ compiler was found, which the emulation needs"

    def load(self, program: Program, timed: str = NETWORK) -> Handle:
        code = CudaCode.read(program.folder / CUDA_LIBRARY)
        contents = map_weights(program.folder / WEIGHTS)
        return self._keep(_Loaded(program, code, contents, CudaProgram(code.source)))

    def run(self, handle: Handle, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        loaded = self._of(handle)
        arrays = [np.ascontiguousarray(array) for array in arrays_in_order(loaded.program, inputs)]
        for port, array in zip(loaded.program.inputs, arrays, strict=True):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise TenfoldError(f"input {port.name!r} holds NaN or infinity")
        outputs = [np.zeros(port.shape, port.dtype) for port in loaded.program.outputs]
        contents = loaded.contents
        arena = np.zeros(arena_bytes(contents.places) + 64, np.uint8)
        tensors = [*arrays, *outputs, *map(np.array, contents.weights), *(view(arena, place) for place in contents.places)]
        for step in contents.steps:
            if step.kernel not in loaded.code.routines:
                raise TenfoldError(f"device {self.name}: the network has no kernel {step.kernel!r}: compile it again")
            routine = loaded.code.routines[step.kernel]
            operands = [tensors[operand.position] for operand in step.operands]
            _run(loaded, routine, [*operands, *(np.zeros(size, np.uint8) for size in routine.scratch)])
        loaded.runs += 1
        return {port.name: result for port, result in zip(loaded.program.outputs, outputs, strict=True)}

    def time(self, handle: Handle, runs: int | None = None) -> list[float]:
        raise TenfoldError(f"device {self.name}: times under emulation say nothing of a GPU: give a device that has one")


def _run(loaded: _Loaded, routine: Routine, operands: Sequence[np.ndarray]) -> None:
    """Launch the kernels of a function. The order of a block's threads changes from run to run."""
    order = ("forward", "backward")[loaded.runs] if loaded.runs < 2 else loaded.runs
    for launch in routine.launches:
        blocks = _sample(launch)
        if blocks is None:
            loaded.checked.launch(launch, operands, order=order, outputs=launch.writes)
            continue
        if launch.kernel not in loaded.sampled:
            loaded.checked.launch(launch, [np.array(operand) for operand in operands], order=order, blocks=blocks, outputs=launch.writes)
            loaded.sampled.add(launch.kernel)
        loaded.fast.launch(launch, operands, order=order)


def _sample(launch: Launch) -> list[int] | None:
    """Some blocks of a large launch, the first and the last among them; None: all are few enough."""
    blocks, threads = (int(np.prod(extents)) for extents in (launch.grid, launch.block))
    if blocks * threads <= MOST_CHECKED or blocks <= SAMPLE:
        return None
    return sorted({round(position) for position in np.linspace(0, blocks - 1, SAMPLE)})
