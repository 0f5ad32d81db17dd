"""One network on an AArch64 CPU that is not there, in Tenfold and in rivals: instructions counted under QEMU, cycles by the model."""
from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tenfold.runner.bench.modelled import Modelled, ModelledRun, model
from tenfold.runner.devices.artifacts import load_on
from tenfold.runner.devices.counted import COUNTS, parse_counts
from tenfold.support.errors import TenfoldError
from tenfold.targets import CpuTarget, resolve_cpu

OURS, RIVALS = "tenfold", ("onnxruntime", "ncnn")
PROGRAM = Path(__file__).with_name("rival.py")
DIFFERENCE = 1e-3  # over the largest number: more is another result


def row_of(run: ModelledRun, target: CpuTarget) -> dict[str, Any]:
    """What a row says of one engine on one CPU."""
    peak = 2 * target.lanes * target.model.fma_per_cycle
    return {**asdict(run), "cycles": run.cycles, "ms": run.cycles / target.model.clock_ghz / 1e6,
            "share_of_peak": run.flops / run.cycles / peak, "share_of_peak_in_l1": run.flops / run.core_cycles / peak}


def reference(path: Path, x: np.ndarray) -> np.ndarray:
    """ONNX Runtime's result on this machine."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def check(engine: str, found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, over the largest number; TenfoldError if it is another result."""
    difference = float(np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max())
    if not difference < DIFFERENCE:
        raise TenfoldError(f"{engine} differs from ONNX Runtime on this machine by {difference:.1e}")
    return difference


def count(engine: str, path: Path, cpu: str, x: np.ndarray, folder: Path, root: Path | None) -> tuple[ModelledRun, np.ndarray]:
    """Run a network once in an engine, and count.

    Parameters
    ----------
    engine : str
    path : Path
        An ONNX file.
    cpu : str
        A preset.
    x : ndarray
        The input.
    folder : Path
        To work in.
    root : Path or None
        What `root.sh` made, for rivals.

    Returns
    -------
    ModelledRun, ndarray
        And the output.
    """
    if engine == OURS:
        return _ours(path, cpu, x, folder)
    assert root is not None
    return _rival(engine, path, cpu, x, folder, root)


def _ours(path: Path, cpu: str, x: np.ndarray, folder: Path) -> tuple[ModelledRun, np.ndarray]:
    import tenfold

    target = resolve_cpu(cpu)
    with Modelled(target) as device:
        tenfold.compile(path, target, folder / cpu, threads=1, device=device)
        artifact = load_on(device, folder / cpu, 1)
        return device.modelled(artifact.machine.handle), np.asarray(artifact(x))


def _rival(engine: str, path: Path, cpu: str, x: np.ndarray, folder: Path, root: Path) -> tuple[ModelledRun, np.ndarray]:
    """Count a rival on an AArch64 Python."""
    target, system = resolve_cpu(cpu), root.resolve() / "system"
    given, result = folder / "x.npy", folder / "y.npy"
    np.save(given, x)
    loaded = path if engine == "onnxruntime" else _ncnn(path, x.shape, folder, root)
    with Modelled(target) as device:
        # Its own program is not asked for: what it would run under is.
        emulator, _, plugin = device.command()[:3]
        command = [emulator, "-plugin", plugin, "-cpu", device.cpu, "-L", system, "-E", f"PYTHONHOME={system}/usr",
                   "-E", f"PYTHONPATH={system}/site", "-E", "LD_LIBRARY_PATH=/lib/aarch64-linux-gnu:/usr/lib/aarch64-linux-gnu",
                   system / "usr" / "bin" / "python3.11", PROGRAM, engine, loaded, given, result]
        done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise TenfoldError(f"{engine}: {said[:200]}")
        return model(parse_counts((folder / COUNTS).read_text()), target), np.load(result)


def _ncnn(path: Path, shape: Sequence[int], folder: Path, root: Path) -> Path:
    """The network in ncnn's form, without the end of its files' names."""
    made = folder / "ncnn" / "network"
    if not made.with_suffix(".ncnn.bin").exists():
        made.parent.mkdir(exist_ok=True)
        made.with_suffix(".onnx").write_bytes(path.read_bytes())
        sizes = f"inputshape=[{','.join(map(str, shape))}]"
        done = subprocess.run([str(root.resolve() / "pnnx" / "pnnx" / "pnnx"), str(made.with_suffix(".onnx")), sizes, "fp16=0"],
                              cwd=made.parent, capture_output=True, text=True, errors="replace")
        if not made.with_suffix(".ncnn.bin").exists():
            raise TenfoldError(f"pnnx: {(done.stderr.strip().splitlines() or ['no file'])[-1][:200]}")
    return made


def version(engine: str, root: Path) -> str | None:
    """Of a rival that `root.sh` installed; None if it is not there."""
    found = next(iter((root / "system" / "site").glob(f"{engine}-*.dist-info")), None)
    return None if found is None else found.name.removeprefix(f"{engine}-").removesuffix(".dist-info")
