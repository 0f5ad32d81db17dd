"""How long until the first answer: compiling, loading and the first inference of ResNet-50, each in a process of its own.

    python tests/benchmarks/startup.py compile MODEL THREADS          (what the suite runs; prints seconds)
    python tests/benchmarks/startup.py first ENGINE FILE INPUTS THREADS

`first` begins after the import that a user writes: ``import tenfold``, ``import onnxruntime`` and so on. What Tenfold
imports later, when it loads an artifact, counts. torch.compile keeps what it compiled in a cache on disk, and loads it from there after
the first of the processes.
"""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NETWORK = "resnet50"
REPEATS = 5
COMPILE, FIRST, MEMORY = "compile", "load and first inference", "memory"


def cases(settings: Any) -> list[Any]:
    """One row each for compiling, the first inference and memory."""
    from networks import network
    from suite import Case

    return [Case(f"{NETWORK}, {what}", {what: lambda folder: network(NETWORK, settings.cache)}) for what in (COMPILE, FIRST, MEMORY)]


def measure(case: Any, race: Any) -> dict[str, Any]:
    """A row of the suite, for the rivals and threads of a `race.Race`."""
    ((what, write),) = case.models.items()
    with tempfile.TemporaryDirectory(prefix="tenfold-bench-") as folder:
        model = write(Path(folder))
        row = {"name": case.name, "what": what}
        if what == COMPILE:
            return row | {"s": {"tenfold": _seconds([_probe("compile", model, race.threads) for _ in range(2)])}}
        files, inputs, manifest = _files(model, Path(folder), race)
        return row | (_memory if what == MEMORY else _first)(files, inputs, race) | {"manifest_memory": manifest.get("memory")}


def _files(model: Path, folder: Path, race: Any) -> tuple[dict[str, Path], Path, dict[str, Any]]:
    """What each engine loads, the inputs, and the artifact's manifest."""
    import numpy as np
    import onnx
    import tenfold
    from tenfold.frontends import load
    from tenfold.runner.data import random_inputs

    network = load(model)
    onnx.save(network.onnx, folder / "normalised.onnx")
    tenfold.compile(model, output=folder / "artifact", threads=race.threads)
    np.savez(folder / "inputs.npz", **random_inputs(network.inputs))
    files = {name: folder / "normalised.onnx" if name.startswith("torch") else model for name in race.rivals}
    manifest = json.loads((folder / "artifact" / "manifest.json").read_text(encoding="utf-8"))
    return {"tenfold": folder / "artifact", **files}, folder / "inputs.npz", manifest


def _first(files: dict[str, Path], inputs: Path, race: Any) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(REPEATS):  # interleaved
        for name, path in files.items():
            seconds[name].append(_probe("first", name, path, inputs, race.threads))
    return {"s": {name: _seconds(values) for name, values in seconds.items()}}


def _memory(files: dict[str, Path], inputs: Path, race: Any) -> dict[str, Any]:
    import numpy as np
    from tenfold.runner.bench.peak_memory import peak_bytes

    with np.load(inputs) as content:
        arrays = dict(content)
    return {"peak_bytes": {name: peak_bytes(name, path, arrays, race.threads) for name, path in files.items()}}


def _probe(*arguments: Any) -> float:
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _seconds(values: list[float]) -> dict[str, Any]:
    import numpy as np

    return {"median": float(np.median(values)), "min": min(values), "runs": len(values)}


def _compile(model: str, threads: str) -> float:
    import tenfold

    begin = time.perf_counter()
    tenfold.compile(model, threads=int(threads))
    return time.perf_counter() - begin


def _first_inference(name: str, path: str, inputs: str, threads: str) -> float:
    import numpy as np
    import tenfold

    with np.load(inputs) as content:
        feeds = dict(content)
    if name == "tenfold":
        begin = time.perf_counter()
        tenfold.load(path, int(threads)).run(feeds)
        return time.perf_counter() - begin
    from tenfold.runner.bench.engines import ENGINES

    engine = ENGINES[name]()
    engine.start()
    begin = time.perf_counter()
    engine.prepare(Path(path), int(threads))
    engine.run(feeds)
    return time.perf_counter() - begin


if __name__ == "__main__":
    print({"compile": _compile, "first": _first_inference}[sys.argv[1]](*sys.argv[2:]))
