"""The threads that kernels run on: one pool for a process, out of the first compiled network that is loaded (`passes/thread_pool.cc`)."""
from __future__ import annotations

import ctypes
import threading
from pathlib import Path

INTERFACE = ("ParallelLaunch", "tenfold_parallel_launch"), ("ParallelBarrier", "tenfold_parallel_barrier")  # TVM's name, the pool's

_lock = threading.Lock()
_pool: ctypes.CDLL | None = None


def adopt(library: Path) -> None:
    """Let the kernels of a library that TVM has loaded run on the pool of this process, and not on TVM's own.

    Generated code calls TVM's runtime through pointers, which are variables of the library that hold an address once it is loaded.
    """
    global _pool
    with _lock:
        handle = ctypes.CDLL(str(library))
        first = _pool is None
        pool = _pool = handle if first else _pool
        for name, function in INTERFACE:
            try:
                pointer = ctypes.c_void_p.in_dll(handle, f"__TVMBackend{name}")
            except ValueError:  # no kernel calls it
                continue
            pointer.value = ctypes.cast(getattr(pool, function), ctypes.c_void_p).value
        if not first:  # the one that the pool is in stays loaded
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(handle._handle))


def use_threads(threads: int) -> None:
    """Let the calling thread start its kernels on so many threads, itself among them. A library must have been adopted."""
    _pool.tenfold_use_threads(threads)
