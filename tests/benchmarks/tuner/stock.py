"""Tenfold's tuner against stock MetaSchedule: single layers, the same seconds for both, then timed in turns.

    python tests/benchmarks/tuner/stock.py [--seconds 120] [--threads N] [--only NAME]... [--json out.json]

Stock is what TVM offers for a Relax network: `tune_relax` with its own design space, evolutionary search, XGBoost model, and its local
builder and runner. Its seconds begin with its first measurement: what its processes take to start is not counted.
"""
from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx
from models import chain_model
from shapes import Shape

LAYERS = {  # of ResNet-50, VGG-16, MobileNet-v2, and Jin et al.
    "3x3, 64 to 64, 56": Shape(64, 64, 56, 3, 1, 1, 1),
    "3x3, 128 to 128, 28": Shape(128, 128, 28, 3, 1, 1, 1),
    "3x3, 256 to 256, stride 2, 28": Shape(256, 256, 28, 3, 2, 1, 1),
    "1x1, 256 to 512, 28": Shape(256, 512, 28, 1, 1, 0, 1),
    "depthwise 3x3, 144, 56": Shape(144, 144, 56, 3, 1, 1, 144),
    "5x5, 128 to 128, 32": Shape(128, 128, 32, 5, 1, 2, 1),
}
ROUNDS, BURST = 21, 0.05  # of a comparison; seconds of a burst


def tune_stock(model: Path, seconds: float, threads: int, folder: Path) -> tuple[Callable[[np.ndarray], Any], int]:
    """Return a layer as stock MetaSchedule tunes it, and how many candidates it measured."""
    import tvm
    from tvm import relax
    from tvm.ir.utils import derived_object
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.s_tir import meta_schedule as ms
    from tvm.s_tir.meta_schedule.measure_callback import AddToDatabase, PyMeasureCallback, UpdateCostModel

    ends: list[float] = []  # of measured candidates

    @derived_object
    class Clock(PyMeasureCallback):
        def apply(self, scheduler: Any, task: Any, candidates: Any, built: Any, measured: Any) -> None:
            ends.extend([time.monotonic()] * len(measured))
            if ends[-1] - ends[0] > seconds:
                raise TimeoutError  # comes back out of TVM as a RuntimeError

    passes = relax.transform
    mod = tvm.transform.Sequential([
        passes.DecomposeOpsForInference(), passes.LegalizeOps(), passes.AnnotateTIROpPattern(), passes.FoldConstant(), passes.FuseOps(),
        passes.FuseTIR()])(from_onnx(onnx.load(model)))
    target = tvm.target.Target({**_host(), "num-cores": threads})
    (folder / "stock").mkdir()
    logging.disable(logging.WARNING)
    try:
        ms.relax_integration.tune_relax(
            mod, {}, target, str(folder / "stock"), max_trials_global=100_000, num_trials_per_iter=16, seed=1,
            measure_callbacks=[AddToDatabase(), UpdateCostModel(), Clock()])
    except RuntimeError:
        if not ends or ends[-1] - ends[0] <= seconds:
            raise
    finally:
        logging.disable(logging.NOTSET)
    database = ms.database.JSONDatabase(work_dir=str(folder / "stock"))
    with target, database:
        tuned = passes.MetaScheduleApplyDatabase(enable_warning=True)(mod)
    machine = relax.VirtualMachine(tvm.relax.build(tuned, target), tvm.cpu())
    return lambda x: machine["main"](tvm.runtime.tensor(x)), len(ends)


def tune_own(model: Path, seconds: float, threads: int, folder: Path) -> tuple[dict[str, Callable[[np.ndarray], Any]], dict[str, Any]]:
    """Return a layer by the models and as Tenfold tunes it, and what `tune` says of it."""
    import tenfold

    log_ = folder / "log"
    found = tenfold.tune(model, log=log_, threads=threads, settings=tenfold.TuningSettings(minutes=seconds / 60)).to_json()
    return {"untuned": tenfold.compile(model, threads=threads, tune_log=False),
            "tuned": tenfold.compile(model, threads=threads, tune_log=log_)}, found


def compare(networks: dict[str, Callable[[np.ndarray], Any]], x: np.ndarray) -> dict[str, float]:
    """Return milliseconds of each: the median of bursts, in turns."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS):
        for name, network in networks.items():
            network(x)
            begin = now = time.perf_counter()
            runs = 0
            while now - begin < BURST:
                network(x)
                runs += 1
                now = time.perf_counter()
            times[name].append((now - begin) / runs * 1e3)
    return {name: round(median(each), 5) for name, each in times.items()}


def measure(name: str, seconds: float, threads: int) -> dict[str, Any]:
    """One row."""
    shape = LAYERS[name]
    with tempfile.TemporaryDirectory() as place:
        folder, model = Path(place), Path(place) / "layer.onnx"
        onnx.save(chain_model(shape.stages(), shape.size, 1, False), model)
        stock, trials = tune_stock(model, seconds, threads, folder)
        own, found = tune_own(model, seconds, threads, folder)
        x = np.random.default_rng(0).standard_normal((1, shape.channels, shape.size, shape.size), "float32")
        np.testing.assert_allclose(np.asarray(own["tuned"](x)), stock(x).numpy(), rtol=0, atol=1e-3)
        ms = compare({"stock": stock, **own}, x)
        reached = _trials_to(found, ms)
    return {"name": name, "ms": ms, "stock_trials": trials, "trials": found["trials"], "seconds": found["seconds"],
            "trials_to_stock": reached}


def _trials_to(found: dict[str, Any], ms: dict[str, float]) -> int:
    """How many trials it took until it was as fast as stock is in the end."""
    kernel = max(found["kernels"], key=lambda each: each["model_ms"] or 0.0)  # not the average behind it
    goal = kernel["best_ms"] * ms["stock"] / ms["tuned"]
    return next((trials for trials, best in kernel["curve"] if best is not None and best <= goal), -1)


def _host() -> dict[str, Any]:
    from tenfold.targets import resolve

    return {key: value for key, value in resolve("host").tvm.items() if key in ("kind", "mtriple", "mcpu", "mattr")}


def main() -> None:
    """Measure all layers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--json", type=Path, help="file of the rows; those that it has already are kept")
    asked = parser.parse_args()
    from tenfold.runner.bench.disturbance import Watch
    from tenfold.runner.bench.environment import describe_machine
    from tenfold.targets import resolve

    threads = asked.threads or resolve("host").cores
    os.environ["TVM_NUM_THREADS"] = str(threads)
    machine = describe_machine(())
    rows = json.loads(asked.json.read_text())["rows"] if asked.json is not None and asked.json.exists() else []
    for name in asked.only or LAYERS:
        if name in [row["name"] for row in rows]:
            continue
        watch = Watch()
        row = {**measure(name, asked.seconds, threads), "cores_of_others": watch.load().others or 0.0}
        rows.append(row)
        ms = row["ms"]
        print(f"{name}: stock {ms['stock']:.4g} ms in {row['stock_trials']} trials; the model's choice {ms['untuned']:.4g}, tuned "
              f"{ms['tuned']:.4g} ms in {row['trials']} trials, as fast as stock after {row['trials_to_stock']}", flush=True)
        if asked.json is not None:
            content = {"machine": machine, "threads": threads, "seconds": asked.seconds, "rows": rows}
            asked.json.write_text(json.dumps(content, indent=1) + "\n")
    ratios = [row["ms"]["stock"] / row["ms"]["tuned"] for row in rows]
    print(f"geometric mean: {exp(mean(map(log, ratios))):.2f} times as fast as stock")


if __name__ == "__main__":
    main()
