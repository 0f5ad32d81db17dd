"""Times by the GPU's own clock: everything that the box times of Tenfold goes through here."""
from __future__ import annotations

import ctypes
from collections.abc import Callable

from tenfold.runtime.cuda.context import Context, Stream


class Events:
    """Two events of a stream."""

    def __init__(self, context: Context, stream: Stream) -> None:
        self._call, self._stream = context.driver.call, stream
        self._begin, self._end = ctypes.c_void_p(), ctypes.c_void_p()
        for event in (self._begin, self._end):
            self._call("cuEventCreate", ctypes.byref(event), 0)

    def of(self, launch: Callable[[], None]) -> Callable[[int], float]:
        """How many milliseconds so many launches take together, one behind the other."""

        def runs(count: int) -> float:
            self._call("cuEventRecord", self._begin, self._stream.handle)
            for _ in range(count):
                launch()
            self._call("cuEventRecord", self._end, self._stream.handle)
            self._call("cuEventSynchronize", self._end)
            taken = ctypes.c_float()
            self._call("cuEventElapsedTime", ctypes.byref(taken), self._begin, self._end)
            return taken.value

        return runs
