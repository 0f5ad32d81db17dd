"""What a network takes of a GPU: the context that all of a process share, memory, streams, events, code."""
from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Iterator

from ...support.errors import TenfoldError
from ...targets.cuda_driver import INVALID_VALUE, OUT_OF_MEMORY, Driver, DriverError, driver

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
DEVICE_ORDINAL = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
PLAIN_SHARED = 48 << 10  # bytes of dynamic shared memory that every function may have


class Context:
    """The primary context of a GPU, which PyTorch and others use, too.

    Parameters
    ----------
    index : int
        Of the GPU, by the driver's count.

    Raises
    ------
    TenfoldError
        The GPU refuses.
    """

    def __init__(self, index: int) -> None:
        self.driver, self.index = driver(), index
        self._context = ctypes.c_void_p()
        device = ctypes.c_int()
        self.driver.call("cuDeviceGet", ctypes.byref(device), index)
        self.driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        weakref.finalize(self, _release, self.driver, device).atexit = False

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make it the context of the calling thread, for the length of a block: what others chose is theirs again behind it."""
        self.driver.call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self.driver.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def gpu_of(self, address: int) -> int | None:
        """The GPU that an address lies on; None where it is no address of a GPU."""
        found = ctypes.c_int()
        try:
            self.driver.call("cuPointerGetAttribute", ctypes.byref(found), DEVICE_ORDINAL, address)
        except DriverError as error:
            if error.status != INVALID_VALUE:
                raise
            return None
        return found.value

    def own(self, holder: object, function: str, handle: object) -> None:
        """Call a function of the driver with a handle, once `holder` is gone."""
        weakref.finalize(holder, _give_back, self, function, handle).atexit = False


def _release(driver: Driver, device: ctypes.c_int) -> None:
    with contextlib.suppress(TenfoldError):
        driver.call("cuDevicePrimaryCtxRelease_v2", device)


def _give_back(context: Context, function: str, handle: object) -> None:
    """Kernels may still run that use it. In a fork, and where the GPU has failed, nothing can be given back, and nothing need be."""
    with contextlib.suppress(TenfoldError), context.current():
        with contextlib.suppress(TenfoldError):
            context.driver.call("cuCtxSynchronize")
        context.driver.call(function, handle)


class Memory:
    """Memory of a GPU, for as long as the object lives. Its context is current, here and below, while something is made.

    Raises
    ------
    TenfoldError
        The GPU has too little.
    """

    def __init__(self, context: Context, size: int) -> None:
        address = ctypes.c_uint64()
        try:
            context.driver.call("cuMemAlloc_v2", ctypes.byref(address), max(size, 1))
        except DriverError as error:
            if error.status != OUT_OF_MEMORY:
                raise
            raise TenfoldError(f"GPU {context.index} has too little memory free: {size / 1e6:.1f} MB are needed at once") from None
        self.size, self.address = size, address.value
        context.own(self, "cuMemFree_v2", self.address)


class Stream:
    """A stream: what is put into it runs in order.

    Parameters
    ----------
    context : Context
    handle : int, optional
        Of a stream that someone else has. Default: one is made.
    """

    def __init__(self, context: Context, handle: int | None = None) -> None:
        self._call = context.driver.call
        self.handle = ctypes.c_void_p(handle)
        if handle is None:
            self._call("cuStreamCreate", ctypes.byref(self.handle), NON_BLOCKING)
            context.own(self, "cuStreamDestroy_v2", self.handle)

    def copy_in(self, address: int, host: int, size: int) -> None:
        """Copy from the host's memory."""
        self._call("cuMemcpyHtoDAsync_v2", address, host, size, self.handle)

    def copy_out(self, host: int, address: int, size: int) -> None:
        """Copy to the host's memory."""
        self._call("cuMemcpyDtoHAsync_v2", host, address, size, self.handle)

    def fill(self, memory: Memory, byte: int = 0) -> None:
        """Write the same byte all over some memory."""
        self._call("cuMemsetD8Async", memory.address, byte, memory.size, self.handle)

    def behind(self, event: Event) -> None:
        """Let what comes next wait for an event of another stream."""
        self._call("cuStreamWaitEvent", self.handle, event.handle, 0)

    def wait(self) -> None:
        """Wait until all is done; TenfoldError where a kernel failed."""
        self._call("cuStreamSynchronize", self.handle)


class Event:
    """A mark in a stream."""

    def __init__(self, context: Context) -> None:
        self._call, self.handle = context.driver.call, ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(self.handle), 0)
        context.own(self, "cuEventDestroy_v2", self.handle)

    def record(self, stream: Stream) -> None:
        """Put it into a stream."""
        self._call("cuEventRecord", self.handle, stream.handle)

    def since(self, earlier: Event) -> float:
        """Milliseconds from an earlier mark to this one, once the GPU has passed both."""
        self._call("cuEventSynchronize", self.handle)
        ms = ctypes.c_float()
        self._call("cuEventElapsedTime_v2", ctypes.byref(ms), earlier.handle, self.handle)
        return ms.value


class Module:
    """Machine code that is loaded; TenfoldError where there is none for the GPU."""

    def __init__(self, context: Context, image: bytes) -> None:
        self._call, self._module, self._image = context.driver.call, ctypes.c_void_p(), image  # the driver may read it later
        self._call("cuModuleLoadData", ctypes.byref(self._module), image)
        context.own(self, "cuModuleUnload", self._module)
        self._shared: dict[str, int] = {}  # bytes that a function is ready for
        self._functions: dict[str, ctypes.c_void_p] = {}

    def function(self, name: str, shared_bytes: int) -> ctypes.c_void_p:
        """A kernel by its name, ready for so much dynamic shared memory."""
        if name not in self._functions:
            function = ctypes.c_void_p()
            self._call("cuModuleGetFunction", ctypes.byref(function), self._module, name.encode())
            self._functions[name] = function
        if shared_bytes > self._shared.get(name, PLAIN_SHARED):
            self._call("cuFuncSetAttribute", self._functions[name], DYNAMIC_SHARED, shared_bytes)
            self._shared[name] = shared_bytes
        return self._functions[name]
