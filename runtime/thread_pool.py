"""The threads that kernels run on: one pool for a process, out of the first compiled network that is loaded (`codegen/thread_pool.cc`)."""
from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

INTERFACE = ("ParallelLaunch", "tenfold_parallel_launch"), ("ParallelBarrier", "tenfold_parallel_barrier")  # TVM's name, the pool's

_pool: ctypes.CDLL | None = None


def adopt(handle: ctypes.CDLL) -> None:
    """Let the kernels of a library that TVM has loaded run on the pool of this process, and not on TVM's own.

    Generated code calls TVM's runtime through pointers, which are variables of the library that hold an address once it is loaded. One
    thread at a time may call this.
    """
    global _pool
    if _pool is None:
        _pool = handle
        ctypes.CDLL(handle._name)  # the library that the pool is in stays loaded
    for name, function in INTERFACE:
        try:
            pointer = ctypes.c_void_p.in_dll(handle, f"__TVMBackend{name}")
        except ValueError:  # no kernel calls it
            continue
        pointer.value = ctypes.cast(getattr(_pool, function), ctypes.c_void_p).value


def functions() -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    """Addresses of two functions of the pool: one sets the threads of the calling thread, one starts a loop.

    A library must have been adopted.
    """
    pool = _adopted()
    return ctypes.cast(pool.tenfold_use_threads, ctypes.c_void_p), ctypes.cast(pool.tenfold_parallel_launch, ctypes.c_void_p)


def _adopted() -> ctypes.CDLL:
    if _pool is None:
        raise RuntimeError("no library has been adopted")
    return _pool


@contextlib.contextmanager
def opened(library: str) -> Iterator[ctypes.CDLL]:
    """A library, for a while: that it stays loaded is another's care. The name is that under which it has been loaded."""
    handle = ctypes.CDLL(library)
    try:
        yield handle
    finally:
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(handle._handle))


def use_threads(threads: int) -> None:
    """Let the calling thread start its kernels on so many threads, itself among them. A library must have been adopted."""
    _adopted().tenfold_use_threads(threads)
