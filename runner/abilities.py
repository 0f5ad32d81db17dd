"""What this machine can do for a target: compile for it, run it, emulate it."""
from __future__ import annotations

from dataclasses import dataclass

from ..codegen.cuda.nvcc import finds_nvcc
from ..codegen.toolchain import compiles_for
from ..runtime.requirements import lacking
from ..targets import CpuTarget, Target
from ..targets.architectures import X86_64
from .build import describe_target
from .devices.emulated import emulator_for

MOST_EMULATED_BITS = 256  # of x86: QEMU has no AVX-512


@dataclass(frozen=True)
class Ability:
    """Whether this machine can compile for a target, run it, and emulate it."""

    compile: bool
    run: bool
    emulate: bool


def ability(target: Target) -> Ability:
    """Say what this machine can do for a target."""
    runs = lacking(describe_target(target)) is None
    if not isinstance(target, CpuTarget):
        return Ability(finds_nvcc(), runs, compiles_for(None))
    wide = target.architecture is X86_64 and target.vector_bits > MOST_EMULATED_BITS
    emulates = emulator_for(target.architecture.name) is not None and not wide
    return Ability(compiles_for(target.architecture), runs, emulates)
