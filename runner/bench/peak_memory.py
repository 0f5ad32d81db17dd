"""Peak memory of one engine with one network, in a process of its own.

``python -m tenfold.runner.bench.peak_memory ENGINE PATH INPUTS.npz THREADS`` prints the bytes: the peak of the resident set
(VmHWM) while the network is loaded and run three times, less the resident set just before it is loaded. The interpreter and the engine's
libraries are thus not counted; weights, packed copies of them, code made at run time, activations and thread stacks are.
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from ...runtime.arrays import write_arrays
from ...support.files.temporary import TemporaryFolder
from .engines import ENGINES

RUNS = 3
TIMEOUT = 600


def peak_bytes(engine: str, path: str | os.PathLike[str], inputs: dict[str, np.ndarray], threads: int) -> int | None:
    """Measure in a fresh process; None where that fails, or where there is no /proc."""
    with TemporaryFolder() as folder:
        feeds = folder / "inputs.npz"
        write_arrays(feeds, inputs)
        command = [sys.executable, "-m", __name__, engine, os.fspath(path), str(feeds), str(threads)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
            return int(done.stdout.split()[-1])
        except (subprocess.SubprocessError, OSError, ValueError, IndexError):
            return None


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _main(name: str, path: str, feeds: str, threads: str) -> None:
    with np.load(feeds) as content:
        inputs = dict(content)
    engine = ENGINES[name]()
    engine.start()
    # The highest mark so far may be that of the imports: 5 resets it to what is resident now (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    engine.prepare(Path(path), int(threads))
    for _ in range(RUNS):
        engine.run(inputs)
    print(_status("VmHWM") - before)


if __name__ == "__main__":
    _main(*sys.argv[1:])
