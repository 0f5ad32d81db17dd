"""Networks of one model in several precisions, timed in turns: dense and factored, in float32, in int8, and mixed as a search chose it.

    python tests/benchmarks/quantized/mixed.py NETWORK --data D.npz NAME=FILE.onnx NAME=FILE.onnx ... [--work DIR] [--build]

Accuracy is on the part of the data that a search verifies on. With --build the artifacts are made and accuracy is found, in DIR; without,
they are timed, which takes half a minute on a machine that is quiet.
"""
from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tenfold
from kept_rows import content_of
from tenfold.frontends.reference.session import EXACT_SUMS_OPTION
from tenfold.runner.data import Data
from tenfold.runner.quantize.judge import likeliest, outputs
from tenfold.search.calibration.evaluation import split
from tenfold.support.files.folder import write_text

HERE = Path(__file__).parent
CALLS, ROUNDS = 60, 30  # calls of one burst, and bursts of each


def main() -> None:
    parser = argparse.ArgumentParser(description="Time networks of one model in several precisions.")
    parser.add_argument("network")
    parser.add_argument("models", nargs="+", metavar="NAME=FILE.onnx")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("out/mixed"))
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "quantized" / "mixed.json", metavar="FILE")
    options = parser.parse_args()
    models = {name: Path(file) for name, _, file in (given.partition("=") for given in options.models)}
    folders = {name: options.work / options.network / name for name in models}
    if options.build:
        _build(models, folders, options.data)
        return
    content = content_of(options.output, "mixed", tenfold.load(next(iter(folders.values()))).manifest.threads)
    content["rows"] = [row for row in content["rows"] if row["network"] != options.network]
    content["rows"] += [{"network": options.network, **row} for row in _timed(models, folders, options.data)]
    write_text(options.output, json.dumps(content, indent=1) + "\n")


def _build(models: dict[str, Path], folders: dict[str, Path], data: Path) -> None:
    for name, model in models.items():
        artifact = tenfold.compile(model, "host", folders[name])
        network = tenfold.frontends.load(model)
        held_out = split(Data.of(data, network.inputs))[1]
        (scores,) = outputs(network.onnx, held_out.x, lambda *_, **__: None, "")
        on_bytes = (artifact.manifest.quantized or {"int8": ()})["int8"]
        facts = {"accuracy": float((likeliest(scores) == held_out.y).mean()), "images": len(held_out.x), "bytes": model.stat().st_size,
                 "macs": artifact.manifest.macs, "on_bytes": len(on_bytes), "layers": len(tenfold.inspect(model).layers)}  # fmt: skip
        write_text(folders[name].with_suffix(".json"), json.dumps(facts))


def _timed(models: dict[str, Path], folders: dict[str, Path], data: Path) -> list[dict[str, Any]]:
    """Bursts in turns, ours and ONNX Runtime's integer kernels: the median of the bursts' medians."""
    import onnxruntime

    artifacts = {name: tenfold.load(folder) for name, folder in folders.items()}
    image = np.load(data)["x"][:1]
    runs = {("ms", name): lambda artifact=artifact: artifact(image) for name, artifact in artifacts.items()}
    for name, model in models.items():
        how = onnxruntime.SessionOptions()
        how.intra_op_num_threads = artifacts[name].manifest.threads
        how.add_session_config_entry(EXACT_SUMS_OPTION, "1")
        session = onnxruntime.InferenceSession(str(model), how, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: image}
        runs["onnxruntime_ms", name] = lambda session=session, feed=feed: session.run(None, feed)
    bursts: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            bursts[key].append(_burst(run))
    rows = []
    for name in models:
        times = {engine: float(np.median(found)) for (engine, of), found in bursts.items() if of == name}
        rows.append({"name": name, **json.loads(folders[name].with_suffix(".json").read_text()), **times})
    return rows


def _burst(run: Any) -> float:
    times = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begin))
    return float(np.median(times))


if __name__ == "__main__":
    main()
