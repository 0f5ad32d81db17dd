"""What the models of a machine say of a kernel: its estimate, and the quantities behind it, by the same names for all kernels.

On a CPU a task is what a thread takes at a time, and a vector is a register's. On a GPU a task is a block of threads, and a vector is what
one thread computes: a warp's instruction does it for all its threads. All bytes are of the whole kernel, in all tasks together.
"""
from __future__ import annotations

from collections.abc import Mapping
from math import ceil, inf
from types import MappingProxyType

TERMS: Mapping[str, str] = MappingProxyType({
    "ms": "time of the kernel by the model, in milliseconds; left out where the model has no price for the point",
    "compute_ms": "of that, what arithmetic alone takes on all cores, evenly dealt out",
    "macs": "multiply-adds of the layers",
    "excess": "multiply-adds that are issued, idle lanes and what is computed twice included, by those of the layers",
    "l1_bytes": "read from the first cache; on a GPU from shared memory",
    "l2_bytes": "moved between the first cache, or shared memory, and the second one",
    "l3_bytes": "moved between the second cache and the one behind it",
    "memory_bytes": "read from memory and written there, each tensor once",
    "accumulators": "registers with sums",
    "registers": "registers in use: sums, operands and addresses, as far as the model counts them",
    "inner_fma": "multiply-adds in a step of the innermost loop",
    "inner_loads": "loads and broadcasts in such a step",
    "inner_steps": "steps of that loop for one set of sums",
    "tasks": "tasks, of the loop that has the most work",
    "tail": "tasks of the busiest core by those of an even share: 1 where all have as many",
    "task_bytes": "of what a task reads and writes, weights aside",
    "cores": "cores that work; on a GPU multiprocessors",
    "threads": "threads of a block; 0 on a CPU",
    "resident": "blocks that a multiprocessor holds at a time; 0 on a CPU",
    "launches": "loops that are handed to threads, or kernels of a GPU",
    "prefetch": "1 where weights are asked for ahead, or steps of so many are copied ahead",
    "packing_bytes": "moved for copies in another form: padded, transposed or transformed inputs, partial sums",
    "kernels": "kernels that the layers are computed in",
})


def terms(ms: float | None = None, **values: float) -> dict[str, float]:
    """Return terms by name; all that are not given are 0.

    Parameters
    ----------
    ms : float, optional
        The estimate. It is left out where it is None or infinite.
    **values : float
        Of the other names in `TERMS`.
    """
    unknown = values.keys() - TERMS.keys()
    assert not unknown, f"no such terms: {', '.join(sorted(unknown))}"
    found = {name: float(values.get(name, 0.0)) for name in TERMS if name != "ms"}
    return found if ms is None or ms == inf else {"ms": float(ms), **found}


def milliseconds(cycles: float, clock_ghz: float) -> float:
    """Return cycles of a clock as milliseconds."""
    return cycles / (clock_ghz * 1e6)


def tail(tasks: int, cores: int) -> float:
    """Return by how much the busiest core has more tasks than an even share."""
    return ceil(tasks / cores) * cores / max(1, tasks)


def together(parts: list[Mapping[str, float]], ms: float | None) -> dict[str, float]:
    """Return the terms of kernels that run one after the other: sums of times, bytes and counts, and of the rest the largest.

    Parameters
    ----------
    parts : list of mapping
        The terms of each kernel.
    ms : float, optional
        The estimate of all.
    """
    if not parts:
        return terms(ms)
    added = {"compute_ms", "macs", "l1_bytes", "l2_bytes", "l3_bytes", "memory_bytes", "tasks", "launches", "packing_bytes", "kernels"}
    values = {name: (sum if name in added else max)(part[name] for part in parts) for name in TERMS if name != "ms"}
    return terms(ms, **values)
