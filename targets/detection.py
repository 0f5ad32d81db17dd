"""What the CPU of this machine is, from Linux: flags, physical cores that this process may use, caches."""
from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")

# LLVM's name of an instruction set -> its flag in /proc/cpuinfo. Only what code generation for float32 networks may emit.
FLAG_OF_FEATURE = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "popcnt": "popcnt",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "lzcnt": "abm",
    "movbe": "movbe",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512dq": "avx512dq",
    "avx512cd": "avx512cd",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512ifma": "avx512ifma",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
    "gfni": "gfni",
    "vaes": "vaes",
    "vpclmulqdq": "vpclmulqdq",
    # Of few CPUs, before and after those of the presets.
    "fma4": "fma4",
    "xop": "xop",
    "tbm": "tbm",
    "avx10.2": "avx10_2",
    **dict.fromkeys(("egpr", "ndd", "ccmp", "nf", "cf", "zu", "ppx", "push2pop2"), "apx"),
}


@dataclass(frozen=True)
class CpuId:
    """What a CPU says it is: its vendor, such as ``AuthenticAMD``, and its family and model."""

    vendor: str
    family: int
    model: int


def flags_of(features: Iterable[str]) -> tuple[str, ...]:
    """Those of LLVM's `features` that matter for a compiled network, as flags of /proc/cpuinfo, in a fixed order."""
    features = set(features)
    return tuple(dict.fromkeys(flag for feature, flag in FLAG_OF_FEATURE.items() if feature in features))


def vector_unit(flags: Iterable[str]) -> tuple[int, int]:
    """(bits, registers) of the vector registers that code for a CPU with `flags` can use.

    AVX-512 counts only with the parts that every AVX-512 CPU since Skylake has (F, BW, VL, DQ): without them LLVM splits vectors.
    """
    flags = set(flags)
    if flags >= {"avx512f", "avx512bw", "avx512vl", "avx512dq"}:
        return 512, 32
    if flags >= {"avx2", "fma"}:
        return 256, 16
    return 128, 16


def cpu_flags() -> frozenset[str]:
    """The flags of this machine's CPU; empty where there is no /proc/cpuinfo or it is no x86."""
    return frozenset(_cpuinfo().get("flags", "").split())


def cpu_model() -> str:
    """The CPU's name for a human, such as ``AMD EPYC 9654``."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_id() -> CpuId | None:
    """Which CPU this is; None where /proc/cpuinfo does not tell."""
    told = _cpuinfo()
    family, model = told.get("cpu family", ""), told.get("model", "")
    return CpuId(told.get("vendor_id", ""), int(family), int(model)) if family.isdecimal() and model.isdecimal() else None


def _cpuinfo() -> dict[str, str]:
    """What /proc/cpuinfo says of the first CPU."""
    first = _read(CPUINFO).partition("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def physical_cores() -> int:
    """Physical cores that this process may use: within its CPU affinity and its cgroup's quota, at least 1.

    Hyper-threads of one core count once: a second thread on a core that already does nothing but multiply-adds gains nothing.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = {_read(SYSTEM / f"cpu{cpu}" / "topology" / "thread_siblings_list").strip() for cpu in allowed}
    if "" in siblings:  # no topology in this container
        import psutil

        cores = min(psutil.cpu_count(logical=False) or len(allowed), len(allowed))
    else:
        cores = len(siblings)
    quota = _cgroup_quota()
    # Rounded down: threads beyond the quota are stopped in the middle of a kernel, and the others wait for them.
    return max(1, cores if quota is None else min(cores, int(quota)))


def caches() -> tuple[int, int, int]:
    """Bytes of the L1 data cache, L2 and L3 of the first CPU that this process may use; 0 where unknown."""
    cpu = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    sizes = {1: 0, 2: 0, 3: 0}
    for index in sorted((SYSTEM / f"cpu{cpu}" / "cache").glob("index*")):
        level, kind, size = (_read(index / name).strip() for name in ("level", "type", "size"))
        if kind in ("Data", "Unified") and level.isdigit() and int(level) in sizes:
            sizes[int(level)] = _bytes(size)
    return sizes[1], sizes[2], sizes[3]


def _bytes(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    digits = text.rstrip("KMG")
    return int(digits) * units.get(text[-1:], 1) if digits.isdigit() else 0


def _cgroup_quota() -> float | None:
    """CPUs that the cgroups of this process allow, or None for no limit. The tightest of all levels counts."""
    limits = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") if not controllers else Path("/sys/fs/cgroup") / "cpu"
        folder = root / path.lstrip("/")
        for level in (folder, *folder.parents):
            limits.append(_quota(level))
            if level == root:
                break
    return min((limit for limit in limits if limit is not None), default=None)


def _quota(folder: Path) -> float | None:
    both = _read(folder / "cpu.max").split() or [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(both) == 2 and all(part.isdigit() for part in both) and int(both[1]):
        return int(both[0]) / int(both[1])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
