"""What a network takes of a GPU: the context that all of a process share, memory, functions, streams."""
from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

from ...targets.cuda_driver import Driver, driver
from .launches import Launch

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
PLAIN_SHARED = 48 << 10  # bytes of dynamic shared memory that every function may have

Pointer = ctypes.c_uint64  # CUdeviceptr


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
        self.driver: Driver = driver()
        self._context = ctypes.c_void_p()
        self._device = ctypes.c_int()
        self.driver.call("cuDeviceGet", ctypes.byref(self._device), index)
        self.driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        weakref.finalize(self, self.driver.call, "cuDevicePrimaryCtxRelease_v2", self._device).atexit = False

    def use(self) -> None:
        """Make it the context of the calling thread."""
        self.driver.call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> Memory:
        """Memory of the GPU; TenfoldError where it has too little."""
        return Memory(self, size)

    def stream(self) -> Stream:
        """A stream of one's own."""
        return Stream(self)

    def module(self, image: bytes) -> Module:
        """Load machine code; TenfoldError where there is none for the GPU."""
        return Module(self, image)


class Memory:
    """Memory of a GPU, for as long as the object lives."""

    def __init__(self, context: Context, size: int) -> None:
        self.size, address = size, Pointer()
        context.driver.call("cuMemAlloc_v2", ctypes.byref(address), max(size, 1))
        self.address = int(address.value)
        weakref.finalize(self, context.driver.call, "cuMemFree_v2", Pointer(self.address)).atexit = False


class Stream:
    """A stream: what is put into it runs in order."""

    def __init__(self, context: Context) -> None:
        self._call, self.handle = context.driver.call, ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(self.handle), NON_BLOCKING)
        weakref.finalize(self, self._call, "cuStreamDestroy_v2", self.handle).atexit = False

    def copy_in(self, address: int, host: int, size: int) -> None:
        """Copy from the host's memory."""
        self._call("cuMemcpyHtoDAsync_v2", Pointer(address), ctypes.c_void_p(host), ctypes.c_size_t(size), self.handle)

    def copy_out(self, host: int, address: int, size: int) -> None:
        """Copy to the host's memory."""
        self._call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(host), Pointer(address), ctypes.c_size_t(size), self.handle)

    def wait(self) -> None:
        """Wait until all is done; TenfoldError where a kernel failed."""
        self._call("cuStreamSynchronize", self.handle)

    def capture(self) -> None:
        """Begin to note what is put into it, instead of running it."""
        self._call("cuStreamBeginCapture_v2", self.handle, THREAD_LOCAL)

    def captured(self) -> Graph:
        """End that, and return it as something that can be launched at once."""
        graph = ctypes.c_void_p()
        self._call("cuStreamEndCapture", self.handle, ctypes.byref(graph))
        return Graph(self._call, graph)


class Graph:
    """Kernels that are launched together."""

    def __init__(self, call: Any, graph: ctypes.c_void_p) -> None:
        self._call, self._executable = call, ctypes.c_void_p()
        call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        call("cuGraphDestroy", graph)
        weakref.finalize(self, call, "cuGraphExecDestroy", self._executable).atexit = False

    def launch(self, stream: Stream) -> None:
        """Put the kernels into a stream."""
        self._call("cuGraphLaunch", self._executable, stream.handle)


class Module:
    """Machine code that is loaded."""

    def __init__(self, context: Context, image: bytes) -> None:
        self._call, self._module, self._image = context.driver.call, ctypes.c_void_p(), image
        self._call("cuModuleLoadData", ctypes.byref(self._module), ctypes.c_char_p(image))
        self._functions: dict[str, ctypes.c_void_p] = {}
        weakref.finalize(self, self._call, "cuModuleUnload", self._module).atexit = False

    def function(self, name: str, shared_bytes: int) -> ctypes.c_void_p:
        """A kernel by its name, ready for so much dynamic shared memory."""
        if name not in self._functions:
            function = ctypes.c_void_p()
            self._call("cuModuleGetFunction", ctypes.byref(function), self._module, name.encode())
            self._functions[name] = function
        if shared_bytes > PLAIN_SHARED:
            self._call("cuFuncSetAttribute", self._functions[name], DYNAMIC_SHARED, shared_bytes)
        return self._functions[name]


class BoundLaunch:
    """A launch with the addresses that its kernel takes.

    Parameters
    ----------
    module : Module
    launch : Launch
    operands : sequence of Pointer
        Of the function: tensors, then buffers. They are read when it is launched.
    """

    def __init__(self, module: Module, launch: Launch, operands: Sequence[Pointer]) -> None:
        self._call, self._launch = module._call, launch
        self._function = module.function(launch.kernel, launch.shared_bytes)
        self._pointers = [operands[position] for position in launch.arguments]  # kept: the driver gets their addresses
        self._parameters = (ctypes.c_void_p * len(self._pointers))(*(ctypes.addressof(pointer) for pointer in self._pointers))

    def into(self, stream: Stream) -> None:
        """Put it into a stream."""
        launch = self._launch
        sizes = (*launch.grid, *launch.block, launch.shared_bytes)
        self._call("cuLaunchKernel", self._function, *sizes, stream.handle, self._parameters, None)
