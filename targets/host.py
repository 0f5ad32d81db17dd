"""The target of this machine. LLVM names the CPU; the flags that the kernel shows decide what it may use."""
from __future__ import annotations

import platform
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from ..support.errors import TenfoldError
from . import detection
from .architectures import ARCHITECTURES, X86_64, Architecture, this_architecture
from .cpu_model import CpuModel, for_registers
from .cpu_registry import preset_of
from .cpu_target import CpuTarget
from .detection import CpuId
from .json_target import default_model
from .llvm import cpu_features, system_cpu
from .measured_model import measured_model

# Bytes that no CPU has more of for each of its cores: a virtual machine of a few cores shows the whole cache, which others use too.
L3_OF_A_CORE = 16 << 20
KNOWN = frozenset(each.name for each in ARCHITECTURES)

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


@dataclass(frozen=True)
class Facts:
    """What a machine shows of itself, enough to make a target of it without being there.

    Attributes
    ----------
    architecture : str
        As in a manifest.
    flags : frozenset of str
        As in /proc/cpuinfo.
    cpu : CpuId or None
        None where it does not tell.
    cores : int
        Physical cores that may be used.
    caches : tuple of int
        Bytes of L1, L2 and L3; 0 where unknown.
    description : str
        The CPU's name for people.
    """

    architecture: str
    flags: frozenset[str]
    cpu: CpuId | None
    cores: int
    caches: tuple[int, int, int]
    description: str

    @classmethod
    def of_this_machine(cls) -> Facts:
        """Look at this machine."""
        return cls(
            this_architecture(), detection.cpu_flags(), detection.cpu_id(), detection.physical_cores(), detection.caches(),
            detection.cpu_model(),
        )  # fmt: skip

    @classmethod
    def read(cls, told: Any) -> Facts:
        """Take them from a machine that tells of itself, such as ``tenfold-device``.

        Parameters
        ----------
        told : dict
            ``architecture``, ``vendor`` (empty: unknown), ``family``, ``model``, ``description``, ``cores``, ``caches``, ``flags``.

        Raises
        ------
        TenfoldError
            Something is missing, or of another type.
        """
        try:
            flags, l1_l2_l3 = list(told["flags"]), tuple(told["caches"])
            words = [told[name] for name in ("architecture", "vendor", "description")] + flags
            numbers = [told[name] for name in ("family", "model", "cores")] + list(l1_l2_l3)
            if not all(isinstance(word, str) for word in words) or len(l1_l2_l3) != 3 or told["cores"] < 1:
                raise ValueError
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError
            cpu = CpuId(told["vendor"], told["family"], told["model"]) if told["vendor"] else None
            return cls(told["architecture"], frozenset(flags), cpu, told["cores"], l1_l2_l3, told["description"])
        except (KeyError, TypeError, ValueError):
            raise TenfoldError("what it says of its CPU makes no sense") from None


def target_of(facts: Facts, name: str, system_cpu: str = "") -> CpuTarget:
    """Make a target of what a machine shows (imports TVM, whose LLVM knows the CPUs' names).

    Its model is that of the preset for its family and model, or its part; else the default one. Caches, cores and features are what the
    machine shows.

    Parameters
    ----------
    facts : Facts
    name : str
        What the target is called.
    system_cpu : str, optional
        What LLVM on that machine calls its CPU. Without it the preset's name counts, or the level of x86-64 that the flags amount to.

    Raises
    ------
    TenfoldError
        Tenfold does not compile for it.
    """
    architecture = next((each for each in ARCHITECTURES if each.name == facts.architecture), None)
    if architecture is None or not facts.flags:
        titles = " and ".join(each.title for each in ARCHITECTURES)
        machine = f"{platform.system()} {facts.architecture}"
        raise TenfoldError(f"can't detect this machine ({machine}): Tenfold compiles for {titles} under Linux; give --target NAME")
    preset = _preset_of(facts)
    # Of an Arm CPU the preset knows better: where there are large and small cores, LLVM may name the one that it happens to run on.
    known = preset.tvm["mcpu"] if preset is not None and (architecture is not X86_64 or not system_cpu) else system_cpu
    mcpu, mattr = choose(known, cpu_features({**architecture.llvm, "mcpu": known or architecture.default_cpu}), facts.flags, architecture)
    tvm = {**architecture.llvm, "mcpu": mcpu, **({"mattr": mattr} if mattr else {}), "num-cores": facts.cores}
    features = architecture.flags_of(cpu_features(tvm))
    bits, registers = architecture.vectors(features)
    l1, l2, l3 = facts.caches
    if not l1 and preset is not None:  # boards often don't show their caches
        l1, l2, l3 = preset.l1_bytes, preset.l2_bytes, preset.l3_bytes
    l3 = min(l3, facts.cores * L3_OF_A_CORE)
    target = CpuTarget(
        name=name, tvm=tvm, cores=facts.cores, features=features, description=facts.description,
        vector_bits=bits, vector_registers=registers, l1_bytes=l1, l2_bytes=l2, l3_bytes=l3,
    )  # fmt: skip
    return _with_model(target, default_model(architecture) if preset is None else preset.model)


def detect_host() -> CpuTarget:
    """Describe this machine as a target; see `target_of`. Where no preset describes its CPU, its model is measured.

    Raises
    ------
    TenfoldError
        If this is not an x86-64 or AArch64 machine with /proc/cpuinfo.
    """
    facts = Facts.of_this_machine()
    target = target_of(facts, "host", system_cpu() if facts.architecture in KNOWN and facts.flags else "")
    return target if _preset_of(facts) is not None else _with_model(target, measured_model(target))


def _preset_of(facts: Facts) -> CpuTarget | None:
    return None if facts.cpu is None else preset_of(facts.cpu, facts.flags)


def _with_model(target: CpuTarget, model: CpuModel) -> CpuTarget:
    return replace(target, model=for_registers(model, target.vector_registers) if target.architecture is X86_64 else model)
