"""Layers and networks in 16 bits: ours in bfloat16, or with weights in float16, against our float32 and against OpenVINO in both.

ONNX Runtime has neither on a CPU: its float16 models are computed in float32. Everything of a row is interleaved.
"""
from __future__ import annotations

import functools
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import precision as layers
import tenfold
from modern.catalogue import write_modern
from networks import WRITERS, kept, network
from race import OURS
from suite import Case, Settings, Suite, Table
from tenfold.runner.bench.disturbance import Watch
from tenfold.runner.bench.engines import Engine, OpenVino, Tenfold
from tenfold.runner.bench.measure import measure
from tenfold.runner.data import random_inputs
from tenfold.runner.report import count, milliseconds
from timed import OPTIONS, Timed

NETWORKS = {name: ("bfloat16",) for name in ("resnet50", "mobilenet_v2", "googlenet")} | {
    name: ("bfloat16", "float16") for name in ("alexnet", "vgg16")}
HALVES = {"bfloat16": "bf16", "float16": "f16"}  # what OpenVINO calls them


class OpenVinoBfloat16(OpenVino):
    """OpenVINO in bfloat16, which it takes by itself where a CPU has it."""

    precision = "bf16"


class OpenVinoFloat16(OpenVino):
    """OpenVINO in float16, or what it takes instead where a CPU has no such products."""

    precision = "f16"


RIVALS: dict[str, type[Engine]] = {"bfloat16": OpenVinoBfloat16, "float16": OpenVinoFloat16}


def cases(settings: Settings) -> list[Case]:
    """The layers of the suite precision, and a few networks, batch 1."""
    found = [Case(shape.name, {"layer": functools.partial(layers.float32_convolution, shape)}, ("layers",), {"precision": "bfloat16"})
             for shape in layers.SHAPES]
    found += [Case("dense {} x {} -> {}".format(*sizes), {"layer": functools.partial(layers.float32_dense, sizes)}, ("layers",),
                   {"precision": "bfloat16"}) for sizes in layers.DENSE]

    def file(name: str, folder: Path) -> Path:
        if name in WRITERS:
            return network(name, settings.cache)
        return kept(settings.cache / f"{name}-1.onnx", functools.partial(write_modern, name, 1))

    return found + [Case(f"{name}, {precision}", {"network": functools.partial(file, name)}, ("networks",), {"precision": precision})
                    for name, precisions in NETWORKS.items() for precision in precisions]


class Halves(Timed):
    """Times a model in 16 bits and in float32, in both engines."""

    def measure(self, case: Case) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="tenfold-bench-") as folder:
            [write] = case.models.values()
            file, precision = write(Path(folder)), case.facts["precision"]
            ours = {name: tenfold.compile(file, output=Path(folder) / name, threads=self.threads, precision=name)
                    for name in (precision, "float32")}
            engines: dict[str, Engine] = {f"{OURS} {name}": Tenfold() for name in ours}
            paths = {f"{OURS} {name}": artifact.folder for name, artifact in ours.items()}
            if OpenVino.name in self.engines:
                engines |= {f"{OpenVino.name} {precision}": RIVALS[precision](), f"{OpenVino.name} float32": OpenVino()}
            for name, engine in engines.items():
                engine.start()
                engine.prepare(paths.get(name, file), self.threads)
            feeds = random_inputs(ours[precision].inputs)
            calls = [functools.partial(engine.run, feeds) for engine in engines.values()]
            runs, rounds = self.race.plan(calls)
            watch = Watch()
            latencies = dict(zip(engines, measure(calls, runs, rounds), strict=True))
            others = watch.load().others or 0.0
        manifest = ours[precision].manifest
        kernels = Counter(kernel.get("precision", "float32") for kernel in manifest.kernels if kernel["macs"])
        return {"name": case.name, "lists": list(case.lists), **case.facts, "macs": manifest.macs, "kernels": dict(kernels),
                "ms": {name: latency.median for name, latency in latencies.items()},
                "p90_ms": {name: latency.p90 for name, latency in latencies.items()}, "runs": runs, "cores_of_others": others}

    def brief(self, row: dict[str, Any]) -> str:
        return ", ".join(f"{name} {ms:.3f}" for name, ms in row["ms"].items()) + f" ms, {row['kernels']}"


def table(result: dict[str, Any]) -> Table:
    """One line for each layer and network."""
    rivals = [name for name in (OpenVino.name,) if any(f"{name} float32" in row["ms"] for row in _measured(result))]
    headings = ["", "MACs", "in 16 bits", "kernels in 16 bits", "ms", "float32, ms", "against our float32"]
    headings += [f"OpenVINO {kind}" for name in rivals for kind in ("16 bits, ms", "float32, ms")]
    headings += ["against it in 16 bits"] * bool(rivals)
    rows = []
    for row in _measured(result):
        ms, precision = row["ms"], row["precision"]
        halves = sum(number for kind, number in row["kernels"].items() if kind != "float32")
        own, wide = ms[f"{OURS} {precision}"], ms[f"{OURS} float32"]
        cells = [row["name"], count(row["macs"]), precision, f"{halves} of {sum(row['kernels'].values())}", milliseconds(own),
                 milliseconds(wide), f"{wide / own:.2f} x"]
        for name in rivals:
            theirs = ms.get(f"{name} {precision}")
            cells += ["-" if theirs is None else milliseconds(theirs), milliseconds(ms[f"{name} float32"])]
            cells.append("-" if theirs is None else f"{theirs / own:.2f} x")
        rows.append(cells)
    return headings, rows


def mean(result: dict[str, Any]) -> str:
    """The geometric means of the ratios, of layers and of networks in bfloat16."""
    said = []
    for group in ("layers", "networks"):
        rows = [row for row in _measured(result) if group in row["lists"] and row["precision"] == "bfloat16"]
        for words, name in (("our float32", f"{OURS} float32"), ("OpenVINO's bfloat16", f"{OpenVino.name} bfloat16")):
            ratios = _ratios(rows, name)
            said += [f"{group} against {words} {geometric_mean(ratios):.2f} x"] if ratios else []
    return "geometric means in bfloat16: " + ", ".join(said) if said else ""


def _measured(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that did not fail."""
    return [row for row in result["rows"] if "error" not in row]


def _ratios(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [row["ms"][name] / row["ms"][f"{OURS} {row['precision']}"] for row in rows if name in row["ms"]]


SUITE = Suite(cases, Halves, table, mean, OPTIONS)
