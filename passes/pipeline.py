"""Lowering as a list: what happens to an imported network, phase by phase, until it is a shared library.

    fold               constants, identities, dead code
    fold permutations  permutations of channels go into weights where they can
    channels last      NHWC for every spatial operator
    composites         operators that importers write as several become one; resizing gets its kernels
    quantized          layers between a dequantize and a quantize become kernels of bytes; between kernels lie bytes
    bfloat16           layers whose operands are rounded, where the target can and it pays; between kernels lies bfloat16
    fuse chains        convolutions, or fully connected layers, that follow each other become one kernel; concatenations are set apart
    legalize           operators -> TE, with packed weights
    fold constants     what is computed of constants alone
    fuse               element-wise consumers join the kernel of their producer; parts of concatenated images are written in place
    schedule           one rule for each function
    math               exp, tanh and their like as the target computes them: on a CPU, as polynomials over whole vectors
    lower              memory plan, virtual machine code, LLVM
"""
from __future__ import annotations

from collections.abc import Callable, Iterator

import tvm
from tvm import relax, tirx

from ..schedules.backend import Backend
from ..schedules.driver import ApplySchedules
from ..support.errors import TenfoldError
from .bfloat16.round_layers import RoundLayers
from .channels_last import ChannelsLast
from .fold_permutations import FoldPermutations
from .fuse_chains import FuseChains
from .fuse_dense import FuseDense
from .int8.byte_layers import ByteLayers
from .int8.readers import JoinReaders
from .int8.stay_in_bytes import StayInBytes
from .legalize import legalize
from .local_response_norm import local_response_norm
from .mark_concat import MarkConcat
from .place_parts import PlaceParts
from .resize import Resize
from .silu import JoinSilu

Phase = tuple[str, Callable[[tvm.IRModule], tvm.IRModule]]
Watch = Callable[[str, tvm.IRModule], None]


def phases(backend: Backend) -> Iterator[Phase]:
    """Go through the phases in order.

    Parameters
    ----------
    backend : Backend
        Of the target to compile for.

    Yields
    ------
    str, callable
        The name of a phase, and the phase itself.
    """
    yield "fold", tvm.transform.Sequential([relax.transform.DecomposeOpsForInference(), relax.transform.CanonicalizeBindings()])
    yield "fold_permutations", FoldPermutations()
    yield "channels_last", ChannelsLast()
    yield "composites", lambda mod: Resize(backend)(JoinSilu()(local_response_norm(mod, backend)))
    on_bytes = [StayInBytes(backend.byte_dtype), ByteLayers(backend), JoinReaders()]
    yield "quantized", tvm.transform.Sequential(on_bytes if backend.on_bytes else [ByteLayers(backend)])  # which says why it has none
    if backend.rounds_operands:
        yield "bfloat16", tvm.transform.Sequential([RoundLayers(backend), JoinReaders()])
    mark_concat = [MarkConcat()] if backend.any_address else []
    yield "fuse_chains", tvm.transform.Sequential([FuseDense(backend), FuseChains(backend), *mark_concat])
    yield "legalize", lambda mod: relax.transform.FuseTIR()(legalize(relax.backend.DispatchSortScan()(mod), backend))
    yield "fold_constants", relax.transform.FoldConstant()
    yield "fuse", tvm.transform.Sequential([
        relax.transform.DeadCodeElimination(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        # Here, because a scheduled reshape no longer looks like one: it becomes a view, and needs no kernel.
        relax.transform.RewriteDataflowReshape(),
        relax.transform.DeadCodeElimination(),
        PlaceParts(),
    ])
    yield "schedule", ApplySchedules(backend.rules, backend.target)
    yield "math", backend.lower_math
    yield "lower", tvm.transform.Sequential([
        relax.transform.ToNonDataflow(),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        relax.transform.StaticPlanBlockMemory(),
        relax.transform.LowerAllocTensor(),
        relax.transform.KillAfterLastUse(),
        relax.transform.LowerRuntimeBuiltin(),
        relax.transform.ComputePrimValue(),
        relax.transform.VMShapeLower(),
        relax.transform.AttachGlobalSymbol(),
    ])


def lower(mod: tvm.IRModule, backend: Backend, until: str | None = None, watch: Watch | None = None) -> tvm.IRModule:
    """Run the phases.

    Parameters
    ----------
    mod : tvm.IRModule
        An imported network: one function `main`, weights as constants.
    backend : Backend
        Of the target to compile for; its choices note what kernels were built from.
    until : str, optional
        Stop after the phase of this name, to look at what it made.
    watch : callable, optional
        Called after each phase with its name and what it made.

    Raises
    ------
    TenfoldError
        A kernel can't be built from what is wanted. The target has no kernels for an operator.
    """
    _check_operators(mod, backend)
    with backend.target.tvm_target(), backend.choices.as_raised():
        for name, phase in phases(backend):
            mod = phase(mod)
            if watch is not None:
                watch(name, mod)
            if name == until:
                break
    return mod


def _check_operators(mod: tvm.IRModule, backend: Backend) -> None:
    """Refuse what the target can't compute, before the work that takes long."""
    def check(binding: relax.VarBinding) -> None:
        name = str(getattr(getattr(binding.value, "op", None), "name", ""))
        if name in backend.lacks:
            missing.append(f"operator {name.removeprefix('relax.')} (the node that makes {str(binding.var.name)!r}) has no kernel "
                           f"for target {backend.target.name}: cut the network before it, or compile for a CPU")

        shape = getattr(getattr(binding.var.ty, "shape", None), "values", None) or ()
        if any(isinstance(size, tirx.IntImm) and int(size.value) == 0 for size in shape):
            missing.append(f"operator {name.removeprefix('relax.')} (the node that makes {str(binding.var.name)!r}) gives a tensor without "
                           f"elements, which target {backend.target.name} has no kernels for: cut the network before it")

    missing: list[str] = []
    if backend.lacks:
        for function in (func for _, func in mod.functions_items() if isinstance(func, relax.Function)):
            for block in getattr(function.body, "blocks", ()):
                for binding in block.bindings:
                    check(binding)
    if missing:
        raise TenfoldError(missing[0])


def build(mod: tvm.IRModule, backend: Backend) -> relax.VMExecutable:
    """Compile a network to an executable of the Relax virtual machine."""
    return tvm.compile(lower(mod, backend), target=backend.target.tvm_target(), relax_pipeline=None)
