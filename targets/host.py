"""The target of this machine. LLVM names the CPU; the flags that the kernel shows decide what it may use."""
from __future__ import annotations

import platform
from collections.abc import Collection
from dataclasses import replace

from ..support.errors import TenfoldError
from . import detection
from .architectures import ARCHITECTURES, X86_64, Architecture, this_architecture
from .cpu_model import for_registers
from .json_target import default_model
from .llvm import cpu_features, system_cpu
from .measured_model import measured_model
from .registry import preset_of
from .target import Target

# Bytes that no CPU has more of for each of its cores: a virtual machine of a few cores shows the whole cache, which others use too.
L3_OF_A_CORE = 16 << 20

LEVELS = {  # psABI levels of x86-64, highest first, by the flag that tells them apart
    "x86-64-v4": ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd"),
    "x86-64-v3": ("avx2", "fma", "bmi2", "movbe"),
    "x86-64-v2": ("sse4_2", "popcnt", "ssse3"),
    "x86-64": (),
}


def choose(mcpu: str, claimed: Collection[str], flags: Collection[str], architecture: Architecture = X86_64) -> tuple[str, list[str]]:
    """The `mcpu` and `mattr` to compile with on a CPU that LLVM calls `mcpu`.

    A virtual machine may hide instruction sets of the CPU whose family and model it shows, and LLVM goes by these.

    Parameters
    ----------
    mcpu : str
        LLVM's name of the CPU.
    claimed : collection of str
        LLVM's features of that CPU.
    flags : collection of str
        What /proc/cpuinfo says it can do.
    architecture : Architecture, optional
    """
    if mcpu in ("", "generic", architecture.default_cpu):  # LLVM does not know this CPU
        if architecture is X86_64:
            return next(level for level, needed in LEVELS.items() if set(needed) <= set(flags)), []
        return architecture.default_cpu, []
    absent = [feature for feature, flag in architecture.flags.items() if feature in claimed and flag not in flags]
    return mcpu, [f"-{feature}" for feature in absent]


def detect_host() -> Target:
    """Describe this machine as a target (imports TVM, whose LLVM knows the CPUs' names).

    Its model is that of the preset for its family and model, or its part. Caches, cores and features are what this machine shows.

    Raises
    ------
    TenfoldError
        If this is not an x86-64 or AArch64 machine with /proc/cpuinfo.
    """
    flags = detection.cpu_flags()
    architecture = next((each for each in ARCHITECTURES if each.name == this_architecture()), None)
    if architecture is None or not flags:
        machine = f"{platform.system()} {platform.machine()}"
        titles = " and ".join(each.title for each in ARCHITECTURES)
        raise TenfoldError(f"can't detect this machine ({machine}): Tenfold compiles for {titles} under Linux; give --target NAME")
    cpu = detection.cpu_id()
    preset = None if cpu is None else preset_of(cpu, flags)
    # Of an Arm CPU the preset knows better: where there are large and small cores, LLVM may name the one that it happens to run on.
    name = system_cpu() if architecture is X86_64 or preset is None else preset.tvm["mcpu"]
    mcpu, mattr = choose(name, cpu_features({**architecture.llvm, "mcpu": name or architecture.default_cpu}), flags, architecture)
    cores = detection.physical_cores()
    tvm = {**architecture.llvm, "mcpu": mcpu, **({"mattr": mattr} if mattr else {}), "num-cores": cores}
    features = architecture.flags_of(cpu_features(tvm))
    bits, registers = architecture.vectors(features)
    l1, l2, l3 = detection.caches()
    if not l1 and preset is not None:  # boards often don't show their caches
        l1, l2, l3 = preset.l1_bytes, preset.l2_bytes, preset.l3_bytes
    l3 = min(l3, cores * L3_OF_A_CORE)
    target = Target("host", tvm, bits, registers, cores, l1, l2, l3, features=features, description=detection.cpu_model())
    model = preset.model if preset is not None else measured_model(replace(target, model=default_model(architecture)))
    return replace(target, model=for_registers(model, registers) if architecture is X86_64 else model)
