"""The machine's float32 peak: multiply-adds on registers alone, in the same process and on the same threads as what it is compared with.

    for thread in parallel(threads):
        for step in range(STEPS):
            for a in unrolled(ACCUMULATORS):          # in registers throughout
                for lane in vectorized(lanes):
                    acc[a, lane] = acc[a, lane] * x[lane] + x[lane]
"""
from __future__ import annotations

import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime import forks
from ...support.errors import TenfoldError
from ...targets.detection import physical_cores

if TYPE_CHECKING:
    from ...targets import CpuTarget

STEPS = 1_000_000
ACCUMULATORS = 12  # more than latency times rate of the multiply-add units, fewer than the registers
SECONDS = 0.5
BIG_CORES = 1  # ThreadGroup::kBig, the only affinity mode that takes a number of threads


class _Caller:
    """The thread that calls kernels on TVM's pool: there is such a pool for each thread that calls, and a forked child's is dead."""

    settles = None

    def __init__(self) -> None:
        self.renew()
        forks.know(self)

    def renew(self) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.threads = 0  # that its pool has; not started


_caller = _Caller()


def host_peak(threads: int) -> float | None:
    """`measure_peak` of this machine; None where TVM has no compiler to make the kernel with."""
    from ...targets import detect_host
    from ..build import require_compiler

    try:
        require_compiler()
    except (TenfoldError, ImportError):
        return None
    return measure_peak(detect_host(), threads)


def measure_peak(target: CpuTarget, threads: int, seconds: float = SECONDS) -> float:
    """GFLOP/s of all threads together: the best of several goes within `seconds`.

    Parameters
    ----------
    target : CpuTarget
        A CPU that this machine can run code for; its vectors are used.
    threads : int
    """
    return _caller.thread.submit(_measure, target, threads, seconds).result()


def _measure(target: CpuTarget, threads: int, seconds: float) -> float:
    import tvm

    _use_threads(threads)
    kernel = peak_kernel(target, threads)["main"]
    x = tvm.runtime.tensor(np.full((target.lanes,), 0.5, "float32"))
    out = tvm.runtime.tensor(np.zeros((threads, ACCUMULATORS, target.lanes), "float32"))
    kernel(x, out)
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        kernel(x, out)
        best = min(best, time.perf_counter() - begin)
    return 2 * out.shape[0] * STEPS * ACCUMULATORS * target.lanes / best / 1e9


def _use_threads(threads: int) -> None:
    """Let the kernel, which runs on TVM's own pool, have `threads` threads.

    TVM starts its pool with the first kernel and can only shrink it afterwards, so it is started with a thread for every core, and
    restricted. Threads are not pinned: TVM would pin them, and for good the calling thread too, to the first CPUs of the machine,
    whatever else runs there and whatever CPUs this process was given.
    """
    from ...runtime.loaded_network import ffi

    if _caller.threads == threads:
        return
    if not _caller.threads:
        os.environ["TVM_NUM_THREADS"] = str(max(threads, physical_cores()))
        os.environ.setdefault("TVM_BIND_THREADS", "0")
    ffi().get_global_func("runtime.config_threadpool")(BIG_CORES, threads)
    actual = ffi().get_global_func("runtime.NumThreads")()
    if actual != threads:
        warnings.warn(f"TVM's thread pool was started with {actual} threads before; {threads} were asked for", RuntimeWarning, stacklevel=3)
    _caller.threads = threads


def peak_kernel(target: CpuTarget, threads: int) -> Any:
    """The loop nest above, compiled: ``main(x, out)``."""
    import tvm
    from tvm import s_tir, te, tirx

    lanes = target.lanes
    x = te.placeholder((lanes,), name="x")
    step = te.reduce_axis((0, STEPS), name="step")
    multiply_add = te.comm_reducer(lambda acc, value: acc * value + value, lambda dtype: tirx.const(0, dtype))
    # All accumulators get the same numbers: LLVM does not find out, and leaves twelve chains of multiply-adds.
    spin = te.compute((threads, ACCUMULATORS, lanes), lambda t, a, lane: multiply_add(x[lane], axis=step), name="spin")
    schedule = s_tir.Schedule(te.create_prim_func([x, spin]))
    block = schedule.get_sblock("spin")
    local = schedule.cache_write(block, 0, "local")
    thread, accumulator, lane, reduction = schedule.get_loops(block)
    schedule.reorder(thread, reduction, accumulator, lane)
    schedule.reverse_compute_at(local, thread)
    schedule.parallel(thread)
    schedule.unroll(accumulator)
    schedule.vectorize(lane)
    init = schedule.decompose_reduction(block, reduction)
    for loop, mark in zip(schedule.get_loops(init)[1:], (schedule.unroll, schedule.vectorize), strict=True):
        mark(loop)
    for loop, mark in zip(schedule.get_loops(local)[1:], (schedule.unroll, schedule.vectorize), strict=True):
        mark(loop)
    return tvm.compile(schedule.mod, target=target.tvm_target())
