"""The library of NVIDIA's driver, by ctypes: whether it is there, and what GPUs it knows.

Only the driver is needed where a network runs: no CUDA toolkit, and no CUDA part of TVM.
"""
from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..support.errors import TenfoldError

LIBRARY = "libcuda.so.1"
# CUdevice_attribute
SMS, CLOCK_KHZ, L2_BYTES, MEMORY_KHZ, MEMORY_BITS, MAJOR, MINOR = 16, 13, 38, 36, 37, 75, 76
NEEDED = 13  # the first major version of the driver's interface that runs what CUDA 13 compiles


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
        major, minor = self.capability
        for feature in features:
            kind, _, number = feature.partition("_")
            capability = int(number[:-1]), int(number[-1])
            if kind == "compute" and capability <= self.capability:
                return True
            if kind == "sm" and capability[0] == major and capability[1] <= minor:
                return True
        return False

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

    def __init__(self, path: str = LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(path)
        except OSError:
            raise TenfoldError(f"this machine has no NVIDIA driver ({path} can't be loaded)") from None
        self.call("cuInit", 0)
        self.version = self._int("cuDriverGetVersion") // 1000

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function of the driver.

        Raises
        ------
        TenfoldError
            It fails; the message names it and says why.
        """
        try:
            status = getattr(self._library, function)(*arguments)
        except AttributeError:
            raise TenfoldError(f"the NVIDIA driver has no {function}: it is too old, update it") from None
        if status:
            raise TenfoldError(f"the NVIDIA driver: {function}: {self._words(status)}")

    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that there are."""
        return tuple(self._gpu(index) for index in range(self._int("cuDeviceGetCount")))

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
        self._library.cuGetErrorString(status, ctypes.byref(text))
        return text.value.decode() if text.value else f"error {status}"


@functools.cache
def driver() -> Driver:
    """The driver of this machine; TenfoldError where there is none. What failed is tried anew."""
    return Driver()


def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine; none where there is no driver."""
    try:
        return driver().gpus()
    except TenfoldError:
        return ()
