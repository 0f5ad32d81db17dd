"""Results as `compress` and `bench` write them, made up: a page says what they say, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SEARCH = {
    "budget": {"max_drop": 1.0, "speedup": None}, "measure": {"name": "accuracy", "units": "points", "truth": True, "outputs": {}},
    "predicted_ms": 1.3, "images": {"calibration": 200, "held_out": 100}, "tried": 4, "seconds": 12.5,
    "phases": {"choosing": 1.0}, "labels": True,
    "verdict": {"accuracy": 0.9, "agreement": 0.95, "kl": 0.1, "drop": 0.8, "uncertainty": 0.3, "kl_uncertainty": 0.01, "expected": None},
}  # fmt: skip
MACHINE = {"cpu": "Some CPU", "physical_cores": 2, "logical_cpus": 4, "vector_bits": 256, "cache_bytes": {"l1": 1, "l2": 2, "l3": 3},
           "system": "Linux 6", "python": "3.11.7", "versions": {"tenfold": "0.1.0", "tvm": "0.27"}}  # fmt: skip


def layer(name: str, method: str | None = "channel_svd", macs: int = 400, **more: Any) -> dict[str, Any]:
    """A layer of 1000 MACs and 100 parameters."""
    dense = {"method": None, "ranks": [], "error": None, "macs": 1000, "params": 100, "reason": "minor: 1% of the MACs"}
    factored = {"method": method, "ranks": [8], "error": 0.125, "macs": macs, "params": 40, "reason": None}
    spectrum = {"ranks": [1, 8, 16], "values": [1.0, 0.25, 0.0]}
    costs = {"macs_before": 1000, "params_before": 100, "response_error": None, "ms": None, "ms_before": None}
    return {"name": name, **(factored if method else dense), **costs, "spectra": {method or "channel_svd": spectrum}, **more}


def report(*layers: dict[str, Any], search: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What is in report.json."""
    times = {"ms": 2.0, "accuracy": 0.912} if search else {"ms": None, "accuracy": None}
    after = {"ms": 1.25, "accuracy": 0.904} if search else times
    return {
        "model": "0" * 64, "target": "zen3", "before": {"macs": 2000, "params": 200, "bytes": 5000, **times},
        "after": {"macs": 1400, "params": 140, "bytes": 3000, **after}, "output_error": 0.02, "search": search, "layers": list(layers),
        "reading": {"reference": "onnxruntime", "inputs": 2, "max_abs_error": 1e-6, "max_rel_error": 2e-6, "tolerance": 1e-4,
                    "tolerance_reason": "float32 values", "notes": []},
        "made": {"command": "tenfold compress net.onnx -o small", "machine": MACHINE, "versions": {"tenfold": "0.1.0"}}, **more,
    }  # fmt: skip


def point(ms: float, accuracy: float | None, drop: float, layers: int = 1) -> dict[str, Any]:
    """A network of a curve."""
    plan = {f"l{number}": {"method": "svd", "ranks": [4]} for number in range(layers)}
    return {
        "ms": ms,
        "predicted_ms": ms,
        "macs": int(1000 * ms),
        "bytes": 3000,
        "accuracy": accuracy,
        "drop": drop,
        "uncertainty": 0.25,
        "layers": plan,
    }


def row(model: str, engine: str, ms: float, **more: Any) -> dict[str, Any]:
    """A row of bench."""
    latency = {"median": ms, "p90": 1.5 * ms, "min": 0.5 * ms, "runs": 50, "spread": 0.03}
    costs = {"macs": 2000, "params": 200, "bytes": 5000, "peak_bytes": 7000, "accuracy": 0.912, "max_error": 1e-6, "batch": 1}
    return {"model": model, "engine": engine, "latency_ms": latency, **costs, **more}


def profile() -> dict[str, Any]:
    """Two kernels of 1 and 3 ms in a call of 5 ms; the second reaches half the peak."""
    first = {
        "function": "fused_pool",
        "layers": [],
        "output": [1, 4],
        "ms": 1.0,
        "share": 0.2,
        "gflops": None,
        "peak_share": None,
        "launches": [],
    }
    second = {
        "function": "conv2d",
        "layers": ["conv"],
        "output": [1, 4],
        "ms": 3.0,
        "share": 0.6,
        "gflops": 50.0,
        "peak_share": 0.5,
        "launches": [],
    }
    return {"kernels": [first, second], "total_ms": 5.0, "peak_gflops": 100.0}


def bench(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What is in a file of bench --json."""
    return {
        "machine": MACHINE,
        "threads": 2,
        "disturbance": None,
        "rows": list(rows),
        "skipped": [],
        "command": "tenfold bench net.onnx",
        **more,
    }


def folder(path: Path, content: dict[str, Any], *points: dict[str, Any]) -> Path:
    """A folder of compress, as far as a page reads it."""
    path.mkdir()
    (path / "report.json").write_text(json.dumps(content))
    if points:
        (path / "pareto.json").write_text(json.dumps({"labels": True, "measure": SEARCH["measure"], "points": list(points)}))
    return path


def searched(path: Path, name: str = "conv") -> Path:
    """One with all there is: a search, a curve, candidates, a layer that stays dense."""
    candidates = [{"method": "svd", "ranks": [n], "metric": "covariance", "macs": 10, "ms": n / 10, "dense_ms": 2.0, "error": 0.1,
                   "loss": 0.01, "refused": None if n % 2 else f"beaten by {name}", "evaluated": None} for n in range(1, 20)]  # fmt: skip
    times = {"ms": 0.7, "ms_before": 1.5, "response_error": 0.0625, "candidates": candidates, "refused": {"cp": f"no {name}"}}
    dense = layer("head", None, **{**times, "ms": 0.5, "ms_before": 0.5, "candidates": []})
    content = report(layer(name, **times), dense, search=SEARCH)
    return folder(path, content, point(2.0, 0.912, 0.0, 0), point(1.5, 0.91, 0.2), point(1.25, 0.904, 0.8, 2))
