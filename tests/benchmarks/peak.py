"""The machine's float32 peak: multiply-adds on registers alone, on several threads, in the same run as what it is compared with."""
from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

STEPS = 4_000_000  # several ms: starting the threads is part of the time
ACCUMULATORS = 12  # more than latency times rate of the multiply-add units, fewer than the registers

SOURCE = """
typedef float vec __attribute__((vector_size(%(bytes)d)));
float spin(long steps, float x) {
  vec b = x - (vec){}, acc[%(n)d];
  for (int j = 0; j < %(n)d; j++) acc[j] = (float)j - (vec){};  // different, or the compiler makes one of them
  for (long i = 0; i < steps; i++) {
    #pragma GCC unroll %(n)d
    for (int j = 0; j < %(n)d; j++) acc[j] = acc[j] * b + b;
  }
  float sum = 0;
  for (int j = 0; j < %(n)d; j++) sum += acc[j][0];
  return sum;
}
"""


@functools.cache
def _spin(vector_bits: int) -> Callable[[int, float], float]:
    """The kernel, compiled; it runs without Python's lock."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "spin.c", Path(folder) / "spin.so"
        source.write_text(SOURCE % {"bytes": vector_bits // 8, "n": ACCUMULATORS})
        subprocess.run(["gcc", "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", source, "-o", library], check=True)
        spin = ctypes.CDLL(str(library)).spin
    spin.argtypes, spin.restype = [ctypes.c_long, ctypes.c_float], ctypes.c_float
    return spin


def measure_peak(threads: int, vector_bits: int, seconds: float = 1.0) -> float:
    """GFLOP/s of all threads together, the best of several goes within `seconds`."""
    spin = _spin(vector_bits)
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        workers = [threading.Thread(target=spin, args=(STEPS, 0.5)) for _ in range(threads)]
        begin = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - begin)
    return 2 * STEPS * ACCUMULATORS * (vector_bits // 32) * threads / best / 1e9
