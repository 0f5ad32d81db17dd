"""Lowering as a list: what happens to an imported network, phase by phase, until it is a shared library.

    fold               constants, identities, dead code
    fold permutations  permutations of channels go into weights where they can
    channels last      NHWC for every spatial operator
    composites         operators that importers write as several become one kernel
    fuse chains        convolutions, or fully connected layers, that follow each other become one kernel
    legalize           operators -> TE, with packed weights
    fold constants     what is computed of constants alone
    fuse               element-wise consumers join the kernel of their producer
    schedule           one rule for each function
    vector math        exp, tanh and their like as polynomials over whole vectors
    lower              memory plan, virtual machine code, LLVM
"""
from __future__ import annotations

from collections.abc import Callable, Iterator

import tvm
from tvm import relax

from ..schedules.backend import KernelChoices, backend_of
from ..schedules.driver import ApplySchedules
from ..schedules.tir.vector_math import VectorMath
from ..targets import Target
from .channels_last import ChannelsLast
from .fold_permutations import FoldPermutations
from .fuse_chains import FuseChains
from .fuse_dense import FuseDense
from .legalize import legalize
from .local_response_norm import local_response_norm

Phase = tuple[str, Callable[[tvm.IRModule], tvm.IRModule]]
Watch = Callable[[str, tvm.IRModule], None]


def phases(target: Target, choices: KernelChoices | None = None) -> Iterator[Phase]:
    """The phases in order, each with its name.

    Parameters
    ----------
    target : Target
        The device to compile for.
    choices : KernelChoices, optional
        What kernels are built from, where that is not the cost model's choice; notes what was taken.

    Yields
    ------
    str, callable
        The name of a phase, and the phase itself.
    """
    backend = backend_of(target, choices)
    yield "fold", tvm.transform.Sequential([relax.transform.DecomposeOpsForInference(), relax.transform.CanonicalizeBindings()])
    yield "fold_permutations", FoldPermutations()
    yield "channels_last", ChannelsLast()
    yield "composites", lambda mod: local_response_norm(mod, backend)
    yield "fuse_chains", tvm.transform.Sequential([FuseChains(backend), FuseDense(backend)])
    yield "legalize", lambda mod: legalize(relax.backend.DispatchSortScan()(mod), backend)
    yield "fold_constants", relax.transform.FoldConstant()
    yield "fuse", tvm.transform.Sequential([
        relax.transform.DeadCodeElimination(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        # Here, because a scheduled reshape no longer looks like one: it becomes a view, and needs no kernel.
        relax.transform.RewriteDataflowReshape(),
        relax.transform.DeadCodeElimination(),
    ])
    yield "schedule", ApplySchedules(backend.rules, target)
    yield "vector_math", VectorMath()
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


def lower(mod: tvm.IRModule, target: Target, until: str | None = None, watch: Watch | None = None,
          choices: KernelChoices | None = None) -> tvm.IRModule:
    """Run the phases.

    Parameters
    ----------
    mod : tvm.IRModule
        An imported network: one function `main`, weights as constants.
    target : Target
        The device to compile for.
    until : str, optional
        Stop after the phase of this name, to look at what it made.
    watch : callable, optional
        Called after each phase with its name and what it made.
    choices : KernelChoices, optional
        As for `phases`.
    """
    choices = KernelChoices() if choices is None else choices
    with target.tvm_target(), choices.as_raised():
        for name, phase in phases(target, choices):
            mod = phase(mod)
            if watch is not None:
                watch(name, mod)
            if name == until:
                break
    return mod


def build(mod: tvm.IRModule, target: Target) -> relax.VMExecutable:
    """Compile a network to an executable of the Relax virtual machine."""
    return tvm.compile(lower(mod, target), target=target.tvm_target(), relax_pipeline=None)
