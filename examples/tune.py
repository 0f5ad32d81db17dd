"""Tune a network on this machine, and see what it is worth: compiled without records and with them, timed in turns.

    python examples/tune.py                                   the bundled network, 60 trials
    python examples/tune.py model.onnx --minutes 5 --log DIR
"""
from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import tenfold

MODEL = Path(__file__).parent / "models" / "cifar10_jin_baseline.onnx"
ROUNDS = 15


def main() -> None:
    """Tune, compile twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(MODEL))
    parser.add_argument("--trials", type=int, default=60, help="candidates to measure")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    parser.add_argument("--log", help="the folder of the records; default: that of the user's cache")
    options = parser.parse_args()

    settings = tenfold.TuningSettings(trials=options.trials, minutes=options.minutes)
    tuning = tenfold.tune(options.model, log=options.log, settings=settings, progress=lambda step, *_: print(step))
    for kernel in tuning.to_json()["kernels"]:
        if kernel["kept"]:
            print(f"{kernel['workload']}: {kernel['model_ms']:.4g} -> {kernel['best_ms']:.4g} ms, {kernel['trials']} trials")

    plain = tenfold.compile(options.model, tune_log=False)
    tuned = tenfold.compile(options.model, tune_log=options.log or True)
    rng = np.random.default_rng(0)
    inputs = {port.name: rng.standard_normal(port.shape).astype(port.dtype) for port in plain.manifest.inputs}
    times = [[milliseconds(artifact, inputs) for artifact in (plain, tuned)] for _ in range(ROUNDS)]
    before, after = np.median(times, axis=0)
    print(f"network: {before:.4g} -> {after:.4g} ms, {before / after:.3f} times as fast, on {plain.manifest.threads} threads")


def milliseconds(artifact: tenfold.Artifact, inputs: dict[str, np.ndarray]) -> float:
    """Time one run, behind one that warms the caches."""
    artifact(inputs)
    begin = time.perf_counter()
    artifact(inputs)
    return 1e3 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
