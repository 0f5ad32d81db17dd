"""Benchmarks, measured and never part of a test's verdict.

    python tests/benchmarks/run.py layers [--json FILE] [--runs N] [--threads N]

layers: single convolutions in Tenfold and in every rival that is installed, interleaved, with the share of the peak that
was measured in the same run.
"""
from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path

import numpy as np
import tenfold
from onnx import helper, numpy_helper
from peak import measure_peak
from rich.console import Console
from rich.table import Table
from tenfold.targets import resolve
from tenfold.targets.cpu import physical_cores

SHAPES = Path(__file__).parent / "shapes"
RIVALS = ("onnxruntime", "openvino", "torch")


def read_shapes(path: Path) -> list[tuple[int, ...]]:
    """Lines of integers; # begins a comment."""
    lines = (line.split("#")[0].split() for line in path.read_text().splitlines())
    return [tuple(map(int, line)) for line in lines if line]


def convolution(path: Path, channels: int, filters: int, size: int, kernel: int, stride: int) -> Path:
    """An ONNX file with one convolution, bias and ReLU, batch 1, half a kernel of padding.

    A global average pool follows: inside a network no engine turns the output of a convolution back to NCHW, and here none has to.
    """
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", strides=[stride] * 2, pads=[kernel // 2] * 4),
             helper.make_node("Relu", ["c"], ["r"], "relu"), helper.make_node("GlobalAveragePool", ["r"], ["y"], "pool")]
    weight = rng.standard_normal((filters, channels, kernel, kernel), "float32") / np.float32(np.sqrt(channels) * kernel)
    graph = helper.make_graph(nodes, "layer", [helper.make_tensor_value_info("x", 1, [1, channels, size, size])],
                              [helper.make_tensor_value_info("y", 1, [1, filters, 1, 1])],
                              [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.zeros(filters, "float32"), "b")])
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    return path


def layers(runs: int, threads: int) -> dict:
    """Each shape of `reference.txt` on its own."""
    rivals = [name for name in RIVALS if importlib.util.find_spec(name)]
    bits = resolve("host").vector_bits
    rows, machine = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for shape in read_shapes(SHAPES / "reference.txt"):
            path = convolution(Path(folder) / ("-".join(map(str, shape)) + ".onnx"), *shape)
            peak = measure_peak(threads, bits)
            found = tenfold.compare(path, against=rivals, runs=runs, threads=threads)
            machine, times = found.machine, {row.engine: row.latency_ms.median for row in found.rows}
            best = min((name for name in times if name != "tenfold"), key=times.get)
            flops = 2 * found.rows[0].macs / times["tenfold"] / 1e6
            rows.append({"shape": shape, "ms": times, "best_rival": best, "ratio": times[best] / times["tenfold"], "gflops": flops,
                         "peak_gflops": peak, "share_of_peak": flops / peak})
    return {"suite": "layers", "machine": machine, "threads": threads, "rows": rows}


def show(result: dict) -> None:
    """The result as a table."""
    table = Table(title=f"{result['machine']['cpu']}, {result['threads']} threads, batch 1, median ms")
    for heading in ("C, F, size, kernel, stride", *result["rows"][0]["ms"], "against best rival", "GFLOP/s", "share of peak"):
        table.add_column(heading, justify="right")
    for row in result["rows"]:
        table.add_row(", ".join(map(str, row["shape"])), *(f"{ms:.3f}" for ms in row["ms"].values()), f"{row['ratio']:.2f} x",
                      f"{row['gflops']:.0f}", f"{row['share_of_peak']:.0%}")
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=["layers"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=physical_cores())
    options = parser.parse_args()
    result = layers(options.runs, options.threads)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
