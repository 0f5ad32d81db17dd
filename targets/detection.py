"""What the CPU of this machine is, from Linux: flags, physical cores that this process may use, caches."""
from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class CpuId:
    """What a CPU says it is.

    Attributes
    ----------
    vendor : str
        Such as ``AuthenticAMD``; of an Arm CPU the number of its implementer, such as ``0x41``.
    family, model : int
        Of an Arm CPU the family is 0, and the model its part number.
    """

    vendor: str
    family: int
    model: int


def cpu_flags() -> frozenset[str]:
    """The flags of this machine's CPU; empty where there is no /proc/cpuinfo."""
    told = _cpuinfo()
    return frozenset(told.get("flags", told.get("Features", "")).split())


def cpu_model() -> str:
    """The CPU's name for a human, such as ``AMD EPYC 9654``."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_id() -> CpuId | None:
    """Which CPU this is; None where /proc/cpuinfo does not tell."""
    told = _cpuinfo()
    if "CPU part" in told:
        with contextlib.suppress(ValueError):
            return CpuId(f"{int(told.get('CPU implementer', ''), 16):#x}", 0, int(told["CPU part"], 16))
        return None
    family, model = told.get("cpu family", ""), told.get("model", "")
    return CpuId(told.get("vendor_id", ""), int(family), int(model)) if family.isdecimal() and model.isdecimal() else None


def _cpuinfo() -> dict[str, str]:
    """What /proc/cpuinfo says of the first CPU that this process may use, of the large ones where there are large and small ones."""
    blocks = [{key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
              for block in _read(CPUINFO).split("\n\n")]
    wanted = str(min(large_cpus(_allowed())))
    return next((block for block in blocks if block.get("processor") == wanted), blocks[0])


def _allowed() -> set[int]:
    """The numbers of the CPUs that this process may use."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def large_cpus(cpus: Collection[int]) -> set[int]:
    """Those of `cpus` that are the fastest by what Linux says of their capacity; all, where it says nothing.

    A loop over all cores ends with the slowest: next to large cores, small ones make a network slower.
    """
    capacities = {cpu: _read(SYSTEM / f"cpu{cpu}" / "cpu_capacity").strip() for cpu in cpus}
    known = {cpu: int(capacity) for cpu, capacity in capacities.items() if capacity.isdecimal()}
    return {cpu for cpu, capacity in known.items() if capacity == max(known.values())} if len(known) == len(capacities) else set(cpus)


def physical_cores() -> int:
    """Physical cores that this process may use: within its CPU affinity and its cgroup's quota, at least 1.

    Hyper-threads of one core count once: a second thread on a core that already does nothing but multiply-adds gains nothing. Where there
    are large and small cores, the large ones count.
    """
    allowed = large_cpus(_allowed())
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
    cpu = min(large_cpus(_allowed()))
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
