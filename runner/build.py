"""The steps of compiling that others share: a network with a plan applied, its target, its library."""
from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..factorization.methods.prune import NAME as PRUNE
from ..runtime.cuda.code_file import CudaCode
from ..runtime.cuda.precision import precisions
from ..runtime.manifest import CUDA_LIBRARY, WEIGHTS, Port
from ..runtime.manifest_fields import MOST_THREADS
from ..runtime.memory_plan import arena_bytes
from ..runtime.weights import write_weights
from ..support.errors import TenfoldError
from ..support.progress import Progress, reporter
from ..targets import CpuTarget
from ..targets.light_import import import_tvm
from ..targets.target import FLOAT32, INT8
from .devices.device import Program

if TYPE_CHECKING:
    import onnx
    import tvm

    from ..factorization.plan import Plan
    from ..frontends import Network
    from ..frontends.reference import Reference
    from ..passes.kernel_calls import LayerWeights
    from ..schedules.backend import Backend, KernelChoices
    from ..schedules.space import Point
    from ..targets import Target


@dataclass
class Variant:
    """A network as it is compiled: with a plan applied, or as it came."""

    network: Network
    plan: Plan | None
    mod: tvm.IRModule
    onnx: onnx.ModelProto
    reference: Reference


def read_plan(plan: Plan | str | os.PathLike[str] | None) -> Plan | None:
    """A plan from whatever names one."""
    from ..factorization.plan import Plan

    return plan if plan is None or isinstance(plan, Plan) else Plan.read(plan)


def make_variant(network: Network, plan: Plan | None) -> Variant:
    """Apply a plan, if there is one, to the Relax module and to the ONNX graph that serves as its reference.

    Raises
    ------
    TenfoldError
        The plan is for another model, or has an unknown layer, method or rank.
    """
    if plan is None:
        return Variant(network, None, network.mod, network.onnx, network.run_reference)
    from ..frontends.reference import Reference
    from ..passes.factorize import Factorize
    from ..passes.factorize_onnx import factorize_onnx
    from ..passes.inventory import inventory, weights

    layers = inventory(network.mod)
    plan.check(layers, network.sha256)
    if any(choice.method == PRUNE for choice in plan.layers.values()):
        raise TenfoldError("the plan prunes, which changes other layers too: let compress --plan carry it out, and compile its model.onnx")
    if plan.precision:
        raise TenfoldError("the plan has layers in int8, whose steps come from data: let compress --plan carry it out, and compile its"
                           " model.onnx")
    chains = plan.chains(layers, weights(network.mod))
    graph = factorize_onnx(network.onnx, chains)
    reference = Reference.of_onnx(graph)
    return Variant(network, plan, Factorize(chains)(network.mod), graph, reference)


def with_threads(target: Target, threads: int | None) -> Target:
    """`target` with another number of cores."""
    if threads is None:
        return target
    if not 1 <= threads <= MOST_THREADS:
        raise TenfoldError(f"threads must be between 1 and {MOST_THREADS}, not {threads}")
    return target.with_cores(threads)


def describe_target(target: Target) -> dict[str, Any]:
    """What a manifest says of a target."""
    precision = {} if target.precision == FLOAT32 else {"precision": target.precision}
    return {"name": target.name, "tvm": target.tvm, "architecture": target.instruction_set, "features": list(target.features), **precision}


@dataclass(frozen=True)
class Built:
    """What was compiled.

    Attributes
    ----------
    unscheduled : tuple of str
        The functions that no schedule rule took; each was also the subject of a warning.
    memory : dict
        Bytes that the network takes while it runs, as in the manifest.
    kernels : tuple of dict
        The kernels in the order of their calls, as in the manifest.
    pieces : int
        That the batch is run in.
    choices : dict
        What each kernel was built from, by its workload.
    origins : dict
        Where that comes from: ``model``, ``wanted`` or ``record``.
    stale : dict
        Points of records that are not in the spaces of their kernels any more, by workload: why. The model chose instead.
    quantized : dict or None
        Which layers are computed in int8, and why others are not, as in the manifest; None where nothing is quantized.
    """

    unscheduled: tuple[str, ...]
    memory: dict[str, int]
    kernels: tuple[dict[str, Any], ...]
    pieces: int
    choices: dict[str, Point]
    origins: dict[str, str]
    stale: dict[str, str]
    quantized: dict[str, Any] | None


def build_library(mod: tvm.IRModule, target: Target, folder: Path, progress: Progress | None = None,
                  wanted: Mapping[str, Point] | None = None, tuned: Mapping[str, Point] | None = None,
                  packed: dict[str, list[Point]] | None = None) -> Built:
    """Compile a Relax module: code to model.so (of a GPU: model.cuda), weights to weights.bin.

    Parameters
    ----------
    mod : tvm.IRModule
    target : Target
    folder : Path
        Where both files go.
    progress : Progress, optional
    wanted : mapping of str to Point, optional
        What kernels are built from, by workload, where it is not the model's choice.
    tuned : mapping of str to Point, optional
        Likewise, of a tuner's records, where nothing is wanted. What can't be built any more is passed over.
    packed : dict of str to list of Point, optional
        How other sizes of the network have packed their weights (`KernelChoices.packed`); this one is added.

    Raises
    ------
    TenfoldError
        There is no compiler for the target, or it fails. A kernel can't be built from what is wanted.
    """
    import_tvm()
    from ..codegen.batch_split import count_pieces
    from ..codegen.code import check_tools, write_code
    from ..codegen.external_memory import externalize_memory
    from ..schedules.backend import backend_of
    from ..schedules.driver import UnscheduledWarning

    check_tools(target)  # before the work that takes long
    say = reporter(progress)
    backend = backend_of(target, _choices(wanted, tuned, packed))
    pieces = count_pieces(mod, backend)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnscheduledWarning)
        lowered, weights = _lowered(_piece(mod, pieces), backend, say)
        external, memory = externalize_memory(lowered)
        if pieces > 1 and not memory.steps:  # only a straight line of kernels is run piece by piece
            pieces, backend = 1, backend_of(target, _choices(wanted, tuned, packed))
            lowered, weights = _lowered(mod, backend, say)
            external, memory = externalize_memory(lowered)
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    workspaces = write_code(external, memory.steps, backend, folder, say)
    stored = write_weights(folder / WEIGHTS, memory.weights, memory.places, memory.destinations, memory.steps, pieces)
    # The message begins with the name of the function.
    unscheduled = tuple(str(w.message).split(" ", 1)[0] for w in caught if issubclass(w.category, UnscheduledWarning))
    taken = {"weights": stored, "activations": arena_bytes(memory.places), "workspaces": workspaces}
    kernels, choices = [asdict(call) for call in weights.calls(lowered)], backend.choices
    found: Mapping[str, str]
    if isinstance(target, CpuTarget):
        from ..schedules.cpu.kernel_precision import kernel_precision

        found = {kernel["function"]: kernel_precision(kernel["function"]) for kernel in kernels}
        if target.precision != FLOAT32 or set(found.values()) - {FLOAT32}:
            kernels = [{**kernel, "precision": found[kernel["function"]]} for kernel in kernels]
    elif set((found := precisions(CudaCode.read(folder / CUDA_LIBRARY))).values()) | {target.precision} != {FLOAT32}:
        kernels = [{**kernel, "precision": found[kernel["function"]]} for kernel in kernels]
    return Built(unscheduled, taken, tuple(kernels), pieces, choices.taken, choices.origins, choices.stale, _quantized(backend.computed_in))


def _quantized(computed_in: Mapping[str, str]) -> dict[str, Any] | None:
    """The layers of a quantized network by the type that they are computed in."""
    if not computed_in:
        return None
    reasons = {layer: why for layer, why in computed_in.items() if why != INT8}
    return {INT8: tuple(layer for layer in computed_in if layer not in reasons), FLOAT32: reasons}


def _choices(
    wanted: Mapping[str, Point] | None, tuned: Mapping[str, Point] | None, packed: dict[str, list[Point]] | None
) -> KernelChoices:
    from ..schedules.backend import KernelChoices

    others = {} if packed is None else packed
    forms = {layer: list(points) for layer, points in others.items()}
    return KernelChoices(wanted or {}, {} if tuned is None else tuned, forms=forms, packed=others)


def program_of(mod: tvm.IRModule, built: Built, folder: Path, threads: int) -> Program:
    """A module that was compiled into a folder."""
    main = mod["main"]
    inputs = tuple(_port(param.name, param.ty) for param in main.params)
    outputs = tuple(_port(f"output{number}", each) for number, each in enumerate(_leaves(main.ret_ty)))
    return Program(folder, inputs, outputs, threads, frozenset(kernel["function"] for kernel in built.kernels))


def _port(name: str, ty: Any) -> Port:
    return Port(name, tuple(int(size) for size in ty.shape.values), str(ty.dtype))


def _leaves(ty: Any) -> list[Any]:
    return [leaf for each in ty.fields for leaf in _leaves(each)] if hasattr(ty, "fields") else [ty]


def _piece(mod: tvm.IRModule, pieces: int) -> tvm.IRModule:
    """The network for one of several pieces of its batch."""
    from ..codegen.batch_split import with_batch

    return mod if pieces == 1 else with_batch(mod, int(mod["main"].params[0].ty.shape.values[0]) // pieces)


def _lowered(mod: tvm.IRModule, backend: Backend, say: Progress) -> tuple[tvm.IRModule, LayerWeights]:
    """The module as kernels and their calls, and which layers' weights these read."""
    from ..passes.kernel_calls import LayerWeights
    from ..passes.pipeline import lower, phases

    weights, names = LayerWeights(mod), [name for name, _ in phases(backend)]

    def watch(name: str, made: tvm.IRModule) -> None:
        say("compiling: choosing kernels", names.index(name) + 1, len(names))
        weights.watch(name, made)

    return lower(mod, backend, watch=watch), weights


def require_compiler() -> None:
    """Import the compiler, without torch; TenfoldError if this process has loaded TVM's runtime only."""
    if import_tvm().base._RUNTIME_ONLY:
        raise TenfoldError("TVM is without its compiler in this process (TVM_USE_RUNTIME_LIB is set, or libtvm_compiler can't be loaded)")
