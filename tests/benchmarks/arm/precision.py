"""Layers and networks on bytes on AArch64 CPUs without a board, against the same in float32, and against ONNX Runtime on the QDQ model.

Layers are those of the suite precision. Networks are quantized as `tenfold quantize` does it. One image, one thread: instructions are
counted under QEMU, cycles come from llvm-mca, misses from a simulated cache.
"""
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
import precision
from rich.console import Console
from suite import Case, Settings, Suite, Table, chosen_engines
from tenfold.runner.bench.modelled import ModelledRun
from tenfold.runner.data import random_inputs
from tenfold.runner.report import count as short
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve_cpu

from .engines import OURS, count
from .networks import BUNDLED, EXAMPLES, LARGE, Networks
from .tables import HONEST, TITLES, cpus_of, sound

ORT = "onnxruntime"
INT8, FLOAT32 = "int8", "float32"
IMAGES = EXAMPLES / "cifar10_test_500.npz"
RANDOM_IMAGES = 16  # to calibrate networks whose weights are random
DIFFERENCE = 0.03   # of bytes over the largest number: some steps of the last quantizer, since integer kernels round averages as they like


def cases(settings: Settings) -> list[Case]:
    """Every layer of the suite precision, and whole networks."""
    found = [Case(case.name, case.models, ("layers",)) for case in precision.cases(settings)]
    found += [Case(title, _pair(lambda folder, name=name: EXAMPLES / f"{name}.onnx", IMAGES), ("networks",))
              for title, name in BUNDLED.items()]
    return found + [Case(title, _pair(partial(_written, write), None), ("networks",)) for title, write in LARGE.items()]


def _pair(write: Callable[[Path], Path], images: Path | None) -> dict[str, Callable[[Path], Path]]:
    return {INT8: partial(_quantized, write, images), FLOAT32: write}


def _written(write: Callable[[Path], None], folder: Path) -> Path:
    path = folder / "network.onnx"
    if not path.exists():
        write(path)
    return path


def _quantized(write: Callable[[Path], Path], images: Path | None, folder: Path) -> Path:
    import tenfold

    path, data = write(folder), images
    if data is None:
        data = folder / "images.npz"
        inputs = tenfold.inspect(path).inputs
        made = [next(iter(random_inputs(inputs, seed).values()))[0] for seed in range(RANDOM_IMAGES)]
        np.savez(data, x=np.stack(made))
    tenfold.quantize(path, folder / "quantized.onnx", data=data)
    return folder / "quantized.onnx"


class Precision(Networks):
    """Counts and models both forms of a row; ONNX Runtime's of bytes too, where ``--root`` has it."""

    def __init__(self, options: argparse.Namespace, out: Console) -> None:
        against = None if options.against is None else chosen_engines([name for name in options.against.split(",") if name], [ORT])
        super().__init__(argparse.Namespace(**{**vars(options), "against": ORT if against is None else ",".join(against)}), out)

    def measure(self, case: Case) -> dict[str, Any]:
        """A row on every CPU."""
        import tenfold

        found: dict[str, dict[str, Any]] = {cpu: {} for cpu in self.cpus}
        macs = 0
        with tempfile.TemporaryDirectory(prefix="tenfold-arm-") as temporary:
            for form, write in case.models.items():
                folder = Path(temporary) / form
                folder.mkdir()
                path = write(folder)
                inspected = tenfold.inspect(path)
                macs = inspected.macs
                x = next(iter(random_inputs(inspected.inputs).values()))
                expected = reference(path, x)
                for cpu in self.cpus:
                    run, y = count(OURS, path, cpu, x, folder, None)
                    check(OURS, y, expected)
                    found[cpu][form] = row_of(run, cpu)
                    if form == INT8:
                        found[cpu][form]["layers"] = on_bytes(folder / cpu)
                    for engine in self.engines[1:] if form == INT8 else ():
                        run, y = count(engine, path, cpu, x, folder, self.root)
                        check(engine, y, expected)
                        found[cpu][engine] = row_of(run, cpu)
        return {"name": case.name, "lists": list(case.lists), "macs": macs, "cpus": found}

    def brief(self, row: dict[str, Any]) -> str:
        parts = [f"{cpu} {forms[FLOAT32]['core_cycles'] / forms[INT8]['core_cycles']:.2f} x in L1, "
                 f"{forms[FLOAT32]['cycles'] / forms[INT8]['cycles']:.2f} x with misses" for cpu, forms in row["cpus"].items()]
        return "; ".join(parts)


def row_of(run: ModelledRun, cpu: str) -> dict[str, Any]:
    """What a row keeps of a run."""
    return {"instructions": run.instructions, "core_cycles": run.core_cycles, "cycles": run.cycles, "misses": run.misses,
            "ms": run.cycles / resolve_cpu(cpu).model.clock_ghz / 1e6}


def on_bytes(folder: Path) -> list[int]:
    """How many layers of an artifact are computed on bytes, and of how many."""
    from tenfold.runner.devices.artifacts import read_manifest

    quantized = read_manifest(folder).quantized
    assert quantized is not None
    return [len(quantized[INT8]), len(quantized[INT8]) + len(quantized[FLOAT32])]


def reference(path: Path, x: np.ndarray) -> np.ndarray:
    """ONNX Runtime's result on this machine, of the graph as it is written: float32 between quantizers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def check(engine: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Raise TenfoldError for another result."""
    difference = float(np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max())
    if not difference < DIFFERENCE:
        raise TenfoldError(f"{engine} differs from ONNX Runtime on this machine by {difference:.1e}")


def table(content: dict[str, Any]) -> Table:
    """One line for each row and CPU."""
    rival = any(ORT in forms for row in sound(content) for forms in row["cpus"].values())
    headings = ["", "MACs", "CPU", "layers in int8", "int8: cycles, all in L1", "with misses", "float32: all in L1", "with misses",
                "against our float32: in L1", "with misses"]
    headings += [f"{TITLES[ORT]} int8: with misses", "against it: in L1", "with misses"] * rival
    rows = []
    for row in sound(content):
        for number, (cpu, forms) in enumerate(row["cpus"].items()):
            ours, wide, other = forms[INT8], forms[FLOAT32], forms.get(ORT)
            cells = [row["name"] if not number else "", short(row["macs"]) if not number else "", cpu, "{} of {}".format(*ours["layers"])]
            cells += [_thousands(each[name]) for each in (ours, wide) for name in ("core_cycles", "cycles")]
            cells += [f"{wide[name] / ours[name]:.2f} x" for name in ("core_cycles", "cycles")]
            if rival:
                cells += ["-"] * 3 if other is None else [
                    _thousands(other["cycles"]), *(f"{other[name] / ours[name]:.2f} x" for name in ("core_cycles", "cycles"))]
            rows.append(cells)
    return headings, rows


def _thousands(cycles: float) -> str:
    return f"{cycles / 1e6:.1f} M" if cycles >= 1e7 else f"{cycles / 1e3:.0f} k"


def caption(content: dict[str, Any]) -> str:
    """What the results come from, and geometric means, by CPU."""
    parts = [HONEST]
    for cpu in cpus_of(content):
        rows = [row["cpus"][cpu] for row in sound(content)]
        gains = [geometric_mean(forms[FLOAT32][name] / forms[INT8][name] for forms in rows) for name in ("core_cycles", "cycles")]
        said = f"{cpu}, geometric means: {gains[0]:.2f} x our float32 all in L1, {gains[1]:.2f} x with misses"
        both = [forms for forms in rows if ORT in forms]
        if both:
            against = [geometric_mean(forms[ORT][name] / forms[INT8][name] for forms in both) for name in ("core_cycles", "cycles")]
            said += f"; {against[0]:.2f} x and {against[1]:.2f} x {TITLES[ORT]}'s int8"
        parts.append(said + ".")
    versions = ", ".join(f"{name} {version}" for name, version in content["machine"]["versions"].items())
    failed = [f"{row['name']}: {row['error']}" for row in content["rows"] if "error" in row]
    return " ".join([*parts, f"{content['date'][:10]}; {versions}.", *(f"Failed: {'; '.join(failed)}." for _ in failed[:1])])


def section(content: dict[str, Any], markdown: Callable[[Table], str]) -> str:
    """What stands between the markers of the page."""
    return f"{markdown(table(content))}\n{caption(content)}\n"


SUITE = Suite(cases, Precision, table, caption, frozenset({"cpu", "root", "against"}))
