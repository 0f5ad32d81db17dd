"""The target of this machine. LLVM names the CPU; the flags that the kernel shows decide what it may use."""
from __future__ import annotations

import platform
from collections.abc import Collection
from dataclasses import replace

from ..support.errors import TenfoldError
from . import detection
from .cpu_model import CpuModel, for_registers
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


def choose(mcpu: str, claimed: Collection[str], flags: Collection[str]) -> tuple[str, list[str]]:
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
    """
    if mcpu in ("", "generic", "x86-64"):  # LLVM does not know this CPU
        return next(level for level, needed in LEVELS.items() if set(needed) <= set(flags)), []
    absent = [feature for feature, flag in detection.FLAG_OF_FEATURE.items() if feature in claimed and flag not in flags]
    return mcpu, [f"-{feature}" for feature in absent]


def detect_host() -> Target:
    """Describe this machine as a target (imports TVM, whose LLVM knows the CPUs' names).

    Its model is that of the preset for its family and model. Caches, cores and features are what this machine shows.

    Raises
    ------
    TenfoldError
        If this is not an x86-64 machine with /proc/cpuinfo.
    """
    flags = detection.cpu_flags()
    if platform.machine() not in ("x86_64", "AMD64") or not flags:
        machine = f"{platform.system()} {platform.machine()}"
        raise TenfoldError(f"can't detect this machine ({machine}): Tenfold compiles for x86-64 under Linux; give --target NAME")
    name = system_cpu()
    mcpu, mattr = choose(name, cpu_features({"kind": "llvm", "mcpu": name}), flags)
    cores = detection.physical_cores()
    tvm = {"kind": "llvm", "mcpu": mcpu, **({"mattr": mattr} if mattr else {}), "num-cores": cores}
    features = detection.flags_of(cpu_features(tvm))
    bits, registers = detection.vector_unit(features)
    l1, l2, l3 = detection.caches()
    l3 = min(l3, cores * L3_OF_A_CORE)
    target = Target("host", tvm, bits, registers, cores, l1, l2, l3, features=features, description=detection.cpu_model())
    return replace(target, model=for_registers(_model(target, flags), registers))


def _model(target: Target, flags: Collection[str]) -> CpuModel:
    """That of the preset for this CPU, or what is measured of one that no preset describes."""
    cpu = detection.cpu_id()
    preset = None if cpu is None else preset_of(cpu, flags)
    return preset.model if preset is not None else measured_model(target)
