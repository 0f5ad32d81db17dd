"""What tuning recovers where the model of the machine is wrong: another machine's figures are forced on this one.

    python tests/benchmarks/tuner/forced.py [--presets NAME ...] [--seconds 120] [--threads N] [--json out.json]

Each bundled network is compiled by the right figures, and by those of each preset: the slowest of these is the model at its worst. That one
is tuned from nothing, and held against the right model's network, in turns.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np
import tenfold
from stock import compare
from tenfold.runner.bench.disturbance import Watch
from tenfold.runner.bench.environment import describe_machine
from tenfold.targets import resolve, resolve_cpu

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
NETWORKS = {"jin": "cifar10_jin_baseline", "vgg": "cifar10_vgg"}
PRESETS = ("cortex-a53", "cortex-a72", "neoverse-n1", "apple-m1", "alderlake", "cascadelake", "sapphirerapids", "zen3")


def measure(name: str, presets: list[str], seconds: float, threads: int) -> dict[str, Any]:
    """One row: the right model, the worst one, and the worst one tuned."""
    model = EXAMPLES / f"{NETWORKS[name]}.onnx"
    host = resolve("host").with_cores(threads)
    x = np.random.default_rng(0).standard_normal(_input(model), "float32")
    right = tenfold.compile(model, host, tune_log=False)
    forced = {preset: replace(host, model=replace(resolve_cpu(preset).model, clock_ghz=host.model.clock_ghz)) for preset in presets}
    compiled = {preset: tenfold.compile(model, target, tune_log=False) for preset, target in forced.items()}
    ms = compare({"right": right, **compiled}, x)
    worst = max(presets, key=lambda preset: ms[preset])
    with tempfile.TemporaryDirectory() as log:
        found = tenfold.tune(model, forced[worst], log=log, settings=tenfold.TuningSettings(minutes=seconds / 60)).to_json()
        tuned = tenfold.compile(model, forced[worst], tune_log=log)
    final = compare({"right": right, "worst": compiled[worst], "tuned": tuned}, x)
    return {"name": name, "presets": ms, "worst": worst, "ms": final, "trials": found["trials"], "seconds": found["seconds"]}


def _input(model: Path) -> tuple[int, ...]:
    import onnx

    [value] = onnx.load(model, load_external_data=False).graph.input
    return tuple(each.dim_value or 1 for each in value.type.tensor_type.shape.dim)


def main() -> None:
    """Measure all networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    threads = asked.threads or resolve("host").cores
    rows = []
    for name in NETWORKS:
        watch = Watch()
        row = {**measure(name, asked.presets, asked.seconds, threads), "cores_of_others": watch.load().others or 0.0}
        rows.append(row)
        ms = row["ms"]
        print(f"{name}: right {ms['right']:.4g} ms, by {row['worst']} {ms['worst']:.4g}, tuned from there {ms['tuned']:.4g} "
              f"in {row['trials']} trials: {ms['right'] / ms['tuned']:.1%} of the speed of the right model", flush=True)
    if asked.json is not None:
        content = {"machine": describe_machine(()), "threads": threads, "seconds": asked.seconds, "rows": rows}
        asked.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
