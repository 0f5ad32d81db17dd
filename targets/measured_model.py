"""The model of a CPU that no preset describes: measured in less than a second, and kept in the user's cache.

What can't be measured so fast keeps its default: the cost of threads, and what a core has in registers, lines and pages.
"""
from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..support.cache_folder import cache_folder
from ..support.errors import TenfoldError
from .cpu_model import FIGURES, CpuModel
from .cpu_target import CpuTarget
from .light_import import import_tvm
from .toml_target import checked_model

FOLDER = "cpu_models"       # in the cache
STEPS = 20_000              # of a loop of multiply-adds: about 20 us
ACCUMULATORS = 12           # that hide the latency of a multiply-add, in 16 registers
STREAM_VECTORS = 8          # accumulators of a loop that only reads
SECONDS = 0.03              # for each figure, the best of all runs in that time
COPIED_BYTES = 64 << 20     # by all cores together: more than caches hold
MOST_THREADS = 16
# Of what a loop that does nothing else reads from a cache: where kernels do both, on the machine that the defaults come from (Zen 4).
BESIDE_WORK = {"l2": 0.68, "l3": 0.95}
ROUND_TRIPS = {"l2": 0.8, "l3": 0.5, "memory": 5 / 7}  # of the former, likewise


def measured_model(target: CpuTarget) -> CpuModel:
    """The model of this machine, measured at the first call and read from the cache at later ones.

    Parameters
    ----------
    target : CpuTarget
        This machine. Its description names the CPU, by which the figures are kept; its model has the defaults.
    """
    path = cache_folder() / FOLDER / (re.sub(r"[^\w-]+", "-", f"{target.description}-{target.vector_bits}") + ".json")
    kept = _read(path, target)
    if kept is not None:
        return kept
    try:
        model = checked_model(_sound(measure(target)), target.model)
    except (RuntimeError, MemoryError, OSError):  # the compiler or the machine refuses
        return target.model
    _write(path, target, model)
    return model


def _read(path: Path, target: CpuTarget) -> CpuModel | None:
    """What a file says; None if it is not there, is of another CPU, or no such file."""
    try:
        table = json.loads(path.read_bytes())
        return checked_model(table["model"], target.model) if table["cpu"] == target.description else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, TenfoldError):
        return None


def _write(path: Path, target: CpuTarget, model: CpuModel) -> None:
    """Keep a model, if that can be."""
    from ..support.files.whole import whole_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps({"cpu": target.description, "model": asdict(model)}, indent=1) + "\n")
    except (OSError, TenfoldError):
        pass


def _sound(figures: dict[str, float]) -> dict[str, float]:
    """Those in the range that they can have: a machine that is disturbed measures anything."""
    return {name: value for name, value in figures.items()
            if FIGURES[name].metadata["least"] <= value <= FIGURES[name].metadata["most"]}


def measure(target: CpuTarget) -> dict[str, float]:
    """Clock, multiply-adds in a cycle, and bytes in a cycle of L2, L3 and memory, as fields of `CpuModel`.

    The clock follows from a chain of multiply-adds that wait for each other, whose latency is taken to be the default.
    """
    waiting = _best(_multiply_adds(target, 1)) / STEPS
    clock = target.model.fma_latency / waiting
    found = {"clock_ghz": clock, "fma_per_cycle": STEPS * ACCUMULATORS / _best(_multiply_adds(target, ACCUMULATORS)) / clock}
    beyond = target.l1_bytes
    for level, size in (("l2", target.l2_bytes), ("l3", min(target.l3_bytes, 8 * COPIED_BYTES))):
        if size >= 4 * beyond > 0:  # half of it is clearly larger than the cache before
            found[f"{level}_bytes_per_cycle"] = BESIDE_WORK[level] * (size // 2) / _best(_stream(target, size // 2)) / clock
        beyond = max(beyond, size)
    found["memory_bytes_per_cycle"] = _copied_bytes_per_ns(target) / clock
    for level, share in ROUND_TRIPS.items():
        if f"{level}_bytes_per_cycle" in found:
            found[f"{level}_round_trip_bytes_per_cycle"] = share * found[f"{level}_bytes_per_cycle"]
    return found


def _best(run: Callable[[], Any]) -> float:
    """Nanoseconds of the fastest run."""
    run()
    end, best = time.perf_counter() + SECONDS, float("inf")
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        run()
        best = min(best, time.perf_counter_ns() - start)
    return max(best, 1.0)


def _multiply_adds(target: CpuTarget, accumulators: int) -> Callable[[], Any]:
    """A loop over chains of multiply-adds.

    for step: for a in unrolled(accumulators): acc[a] = acc[a] * x + x
    """
    tvm = import_tvm()
    from tvm import te, tirx

    x = te.placeholder((target.lanes,), name="x")
    step = te.reduce_axis((0, STEPS), name="step")
    multiply_add = te.comm_reducer(lambda acc, value: acc * value + value, lambda dtype: tirx.const(0, dtype))
    spin = te.compute((accumulators, target.lanes), lambda a, lane: multiply_add(x[lane], axis=step), name="spin")
    kernel = _compiled(target, [x, spin])
    data = tvm.runtime.tensor(np.full(target.lanes, 0.5, "float32"))
    out = tvm.runtime.tensor(np.zeros((accumulators, target.lanes), "float32"))
    return lambda: kernel(data, out)


def _stream(target: CpuTarget, size: int) -> Callable[[], Any]:
    """A loop that reads so many bytes, in vectors side by side.

    for step: for v in unrolled(vectors): acc[v] = acc[v] + x[step, v]
    """
    tvm = import_tvm()
    from tvm import te

    steps = size // (4 * STREAM_VECTORS * target.lanes)
    x = te.placeholder((steps, STREAM_VECTORS, target.lanes), name="x")
    step = te.reduce_axis((0, steps), name="step")
    total = te.compute((STREAM_VECTORS, target.lanes), lambda v, lane: te.sum(x[step, v, lane], axis=step), name="total")
    kernel = _compiled(target, [x, total])
    data = tvm.runtime.tensor(np.zeros((steps, STREAM_VECTORS, target.lanes), "float32"))
    out = tvm.runtime.tensor(np.zeros((STREAM_VECTORS, target.lanes), "float32"))
    return lambda: kernel(data, out)


def _compiled(target: CpuTarget, arguments: list[Any]) -> Any:
    """The function of a reduction over (accumulator, lane), its accumulators in registers."""
    tvm = import_tvm()
    from tvm import s_tir, te

    schedule = s_tir.Schedule(te.create_prim_func(arguments))
    block = schedule.get_sblock(arguments[-1].op.name)
    local = schedule.cache_write(block, 0, "local")
    accumulator, lane, reduction = schedule.get_loops(block)
    schedule.reorder(reduction, accumulator, lane)
    schedule.unroll(accumulator)
    schedule.vectorize(lane)
    init = schedule.decompose_reduction(block, reduction)
    for part in (init, local):
        *_, outer, inner = schedule.get_loops(part)
        schedule.unroll(outer)
        schedule.vectorize(inner)
    return tvm.compile(schedule.mod, target=target.tvm_target())["main"]


def _copied_bytes_per_ns(target: CpuTarget) -> float:
    """That all cores read and write in memory while each copies an array of its own."""
    threads = min(target.cores, MOST_THREADS)
    pairs = [(np.ones(COPIED_BYTES // 8 // threads, "float32"), np.ones(COPIED_BYTES // 8 // threads, "float32")) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        spent = _best(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)))
    return COPIED_BYTES / spent
