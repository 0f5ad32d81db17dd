"""The library of NVIDIA's driver, by ctypes: whether it is there, and what GPUs it knows.

Only the driver is needed where a network runs: no CUDA toolkit, and no CUDA part of TVM.
"""
from __future__ import annotations

import ctypes
import functools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..support.errors import TenfoldError
from .cuda_functions import SIGNATURES

LIBRARY = "libcuda.so.1"
# CUdevice_attribute
SMS, CLOCK_KHZ, L2_BYTES, MEMORY_KHZ, MEMORY_BITS, MAJOR, MINOR = 16, 13, 38, 36, 37, 75, 76
INVALID_VALUE, OUT_OF_MEMORY = 1, 2  # CUDA_ERROR_*
NEEDED = 13  # the first major version of the driver's interface that runs what CUDA 13 compiles
FEATURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")


class DriverError(TenfoldError):
    """A function of the driver failed.

    Attributes
    ----------
    status : int
        As cuda.h numbers them.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Gpu:
    """A GPU that the driver knows.

    Attributes
    ----------
    index : int
        By the driver's count, CUDA_VISIBLE_DEVICES considered.
    name : str
    capability : tuple of int
        Its architecture: (8, 0) is ``sm_80``.
    sms : int
        Streaming multiprocessors.
    clock_ghz : float
    l2_bytes : int
    memory_bytes_per_second : float
        At both edges of the memory's clock.
    """

    index: int
    name: str
    capability: tuple[int, int]
    sms: int
    clock_ghz: float
    l2_bytes: int
    memory_bytes_per_second: float

    def runs(self, features: Iterable[str]) -> bool:
        """Whether it runs code with these features: machine code of its generation that is no newer, or PTX."""
        return any(self._runs(match) for feature in features if (match := FEATURE.fullmatch(feature)))

    def _runs(self, feature: re.Match[str]) -> bool:
        kind, major, minor, only = feature.groups()
        capability = int(major), int(minor)
        if only:  # what other GPUs of the generation do not have
            return capability == self.capability
        if kind == "compute":
            return capability <= self.capability
        return capability[0] == self.capability[0] and capability <= self.capability

    @property
    def arch(self) -> str:
        """Its architecture, as compilers call it."""
        return f"sm_{self.capability[0]}{self.capability[1]}"


class Driver:
    """The functions of the driver; each of them raises TenfoldError where it fails.

    Raises
    ------
    TenfoldError
        There is no driver, or it does not start.
    """

    def __init__(self, path: str) -> None:
        try:
            self._library = ctypes.CDLL(path)
        except OSError:
            raise TenfoldError(f"this machine has no NVIDIA driver ({path} can't be loaded)") from None
        self._process = os.getpid()
        self._functions: dict[str, Any] = {}
        self.call("cuInit", 0)
        self.version = self._int("cuDriverGetVersion") // 1000
        self._gpus: tuple[Gpu, ...] | None = None

    @property
    def usable(self) -> bool:
        """Whether this process started it: what a fork inherits of a driver is of no use."""
        return self._process == os.getpid()

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function of the driver.

        Raises
        ------
        DriverError
            It fails; the message names it and says why.
        TenfoldError
            The driver lacks it, or was started before this process was forked.
        """
        if not self.usable:
            raise TenfoldError("a GPU can't be used in a fork of a process that used it: start the process with method 'spawn'")
        status = self._function(function)(*arguments)
        if status:
            raise DriverError(f"the NVIDIA driver: {function}: {self._words(status)}", status)

    def _function(self, name: str) -> Any:
        if name not in self._functions:
            try:
                found = getattr(self._library, name)
            except AttributeError:
                raise TenfoldError(f"the NVIDIA driver has no {name}: it is too old, update it") from None
            found.argtypes = SIGNATURES[name]
            self._functions[name] = found
        return self._functions[name]

    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that there are. They are asked once; a fork knows of them too."""
        if self._gpus is None:
            self._gpus = tuple(self._gpu(index) for index in range(self._int("cuDeviceGetCount")))
        return self._gpus

    def _gpu(self, index: int) -> Gpu:
        device, name = self._int("cuDeviceGet", index), ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, len(name), device)

        def attribute(number: int) -> int:
            return self._int("cuDeviceGetAttribute", number, device)

        rate = 2e3 * attribute(MEMORY_KHZ) * attribute(MEMORY_BITS) / 8
        return Gpu(index, name.value.decode(errors="replace"), (attribute(MAJOR), attribute(MINOR)), attribute(SMS),
                   attribute(CLOCK_KHZ) / 1e6, attribute(L2_BYTES), rate)

    def _int(self, function: str, *arguments: int) -> int:
        """A number that a function writes to its first argument."""
        result = ctypes.c_int()
        self.call(function, ctypes.byref(result), *arguments)
        return result.value

    def _words(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._function("cuGetErrorString")(status, ctypes.byref(text))
        return text.value.decode() if text.value else f"error {status}"


@functools.cache
def driver() -> Driver:
    """The driver of this machine; TenfoldError where there is none. What failed is tried anew."""
    return Driver(LIBRARY)


def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine; none where there is no driver."""
    try:
        return driver().gpus()
    except TenfoldError:
        return ()
