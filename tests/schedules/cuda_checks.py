"""Kernels for GPUs, run by the emulator with every access checked: what the tests of schedules share."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tvm
from tenfold.codegen.cuda.source import generate
from tenfold.codegen.external_memory import Memory, externalize_memory
from tenfold.passes.pipeline import lower
from tenfold.runner.devices.cuda import Counts, CudaProgram
from tenfold.runtime.cuda.launches import Routine
from tenfold.runtime.memory_plan import arena_bytes, tensor_bytes
from tenfold.schedules.backend import Kernel, LayerConstants, backend_of
from tenfold.schedules.cuda import RULES
from tenfold.schedules.driver import ApplySchedules
from tenfold.support.errors import TenfoldError
from tenfold.targets import GpuTarget, resolve
from tvm import relax, te, tirx

TARGET = resolve("sm_80")
ORDERS = ("forward", "backward", 1)


@dataclass
class Emulated:
    """Generated code in the emulator.

    Attributes
    ----------
    source : str
        CUDA C.
    routines : dict of str to Routine
        The launches of each function.
    counting : bool
        Whether memory transactions are counted.
    counts : dict of str to Counts
        Of each kernel that ran, where they are.
    """

    source: str
    routines: dict[str, Routine]
    checks: bool = True
    counting: bool = False
    counts: dict[str, Counts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.program = CudaProgram(self.source, checks=self.checks)

    def call(self, name: str, operands: Sequence[np.ndarray], order: str | int = "forward", blocks: int | None = None) -> None:
        """Launch the kernels of a function; what they write is written in place.

        Parameters
        ----------
        name : str
        operands : sequence of ndarray
        order : str or int
            Of a block's threads.
        blocks : int, optional
            At most so many blocks of each launch, spread over the grid.
        """
        routine = self.routines[name]
        scratch = [np.full(size, 0xFF, "uint8") for size in routine.scratch]
        for launch in routine.launches:
            count = int(np.prod(launch.grid))
            chosen = None if blocks is None or count <= blocks else sorted({round(i) for i in np.linspace(0, count - 1, blocks)})
            given = [*operands, *scratch]
            self.counts[launch.kernel] = self.program.launch(launch, given, order=order, counting=self.counting, blocks=chosen)


def emulated(func: tirx.PrimFunc, checks: bool = True, counting: bool = False, target: GpuTarget = TARGET) -> Emulated:
    """A scheduled function as code for GPUs, named ``main``."""
    code = generate([(tvm.ir.GlobalVar("main"), func.with_attr("global_symbol", "main"))], backend_of(target))
    return Emulated(*code, checks=checks, counting=counting)


def scheduled(func: tirx.PrimFunc, target: GpuTarget = TARGET) -> tirx.PrimFunc:
    """A function as the rules schedule it; an error where none takes it."""
    return ApplySchedules(RULES, target, strict=True)(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}))["main"]


def function_of(kernel: Kernel, layers: Sequence[LayerConstants], shape: Sequence[int], steps: Sequence = (),
                dtype: str = "float32", target: GpuTarget = TARGET) -> tuple[tirx.PrimFunc, list]:
    """The scheduled function of a kernel, and its constants.

    Parameters
    ----------
    kernel : Kernel
    layers : sequence of LayerConstants
    shape : sequence of int
        Of the data.
    steps : sequence of callable
        From the result to what follows it, as TE.
    dtype : str
        Of the data.
    target : GpuTarget
    """
    bound = kernel.bind(*layers)
    x = te.placeholder(tuple(shape), dtype, "x")
    constants = [te.placeholder(value.shape, str(value.dtype), f"w{i}") for i, value in enumerate(bound.constants)]
    y = bound.compute(x, *constants)
    for step in steps:
        y = step(y)
    return scheduled(te.create_prim_func([x, *constants, y]), target), bound.constants


def run_kernel(kernel: Kernel, layers: Sequence[LayerConstants], x: np.ndarray, steps: Sequence = (),
               order: str | int = "forward", target: GpuTarget = TARGET) -> np.ndarray:
    """What a kernel computes from `x`; the parameters are those of `function_of`."""
    func, constants = function_of(kernel, layers, x.shape, steps, str(x.dtype), target)
    kind = np.dtype(str(func.params[-1].dtype))
    out = np.full([int(size) for size in func.params[-1].shape], np.nan if kind.kind == "f" else 77, kind)
    emulated(func, target=target).call("main", [np.ascontiguousarray(x), *constants, out], order)
    return out


def relu(y: te.Tensor) -> te.Tensor:
    """max(y, 0)."""
    return te.compute(y.shape, lambda *i: tirx.max(y(*i), tirx.const(0, "float32")), "relu")


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normally distributed float32."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype("float32")


@dataclass
class EmulatedNetwork:
    """A Relax module, compiled for GPUs, in the emulator."""

    memory: Memory
    code: Emulated

    def __call__(self, *inputs: np.ndarray, order: str | int = "forward") -> list[np.ndarray]:
        memory = self.memory
        arena = np.full(arena_bytes(memory.places) + 64, 0xFF, "uint8")
        outputs = [np.frombuffer(b"\xff" * tensor_bytes(each.dtype, each.shape), each.dtype).reshape(each.shape).copy()
                   for each in memory.destinations]
        places = [arena[place.offset : place.offset + tensor_bytes(place.dtype, place.shape)].view(place.dtype) for place in memory.places]
        tensors = [*(np.array(x, order="C") for x in inputs), *outputs, *map(np.array, memory.weights), *places]
        for step in memory.steps:
            self.code.call(step.kernel, [tensors[operand.position] for operand in step.operands], order)
        ordered = sorted(zip(memory.destinations, outputs, strict=True), key=lambda item: item[0].position)
        return [output for _, output in ordered]

    @property
    def launches(self) -> list[str]:
        """The kernels that are launched, in order."""
        return [launch.kernel for step in self.memory.steps for launch in self.code.routines[step.kernel].launches]


def module(body: Callable[..., relax.Expr], *inputs: np.ndarray, names: Sequence[str] = ()) -> tvm.IRModule:
    """The Relax module of `body(x0, x1, ...)`, with parameters for some arrays."""
    called = [*names, *(f"x{number}" for number in range(len(names), len(inputs)))]
    params = [relax.Var(name, relax.TensorType(x.shape, str(x.dtype))) for name, x in zip(called, inputs, strict=True)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(body(*params))
        builder.emit_func_output(result)
    return builder.get()


def network(mod: tvm.IRModule, checks: bool = True, counting: bool = False) -> EmulatedNetwork:
    """Compile a Relax module for GPUs, and load it in the emulator.

    Parameters
    ----------
    mod : IRModule
        As it is imported.
    checks, counting : bool
        Of `Emulated`.
    """
    backend = backend_of(TARGET)
    external, memory = externalize_memory(lower(mod, backend))
    if not memory.steps:
        raise TenfoldError("the network is no fixed order of kernels")  # as `codegen.cuda.code` says
    functions = [(var, func) for var, func in external.functions_items() if isinstance(func, tirx.PrimFunc)]
    kernels = sorted(functions, key=lambda each: each[0].name_hint)
    return EmulatedNetwork(memory, Emulated(*generate(kernels, backend), checks=checks, counting=counting))
