"""Whole networks on AArch64 CPUs without a board: instructions counted under QEMU, cycles by llvm-mca, misses of simulated caches.

    python tests/benchmarks/arm/networks.py [--only NAME]... [--cpu NAME]... [--root DIR] [--json FILE]

One image, one thread, float32. Rivals run under emulation too, where ``--root`` names the folder that `root.sh` made. Every engine's result
is held against ONNX Runtime's on this machine.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import networks as dense_networks  # noqa: E402
from results import Results  # noqa: E402
from tenfold.runner.bench.modelled import Modelled, ModelledRun, llvm_version, model  # noqa: E402
from tenfold.runner.data import random_inputs  # noqa: E402
from tenfold.runner.devices.artifacts import load_on  # noqa: E402
from tenfold.runner.devices.counted import COUNTS, parse_counts  # noqa: E402
from tenfold.runner.devices.emulated import version_of  # noqa: E402
from tenfold.support.errors import TenfoldError  # noqa: E402
from tenfold.targets import resolve  # noqa: E402

ROOT = HERE.parents[2]
EXAMPLES = ROOT / "examples" / "models"
CPUS = ("cortex-a72", "neoverse-n1")
OURS, RIVALS = "tenfold", ("onnxruntime", "ncnn")
DIFFERENCE = 1e-3  # over the largest number: more is another result
ENERGY = 0.8  # of the weights, that factored networks keep
Writer = Callable[[Path], Path]


def _example(name: str, folder: Path) -> Path:
    return EXAMPLES / f"{name}.onnx"


def _factored(name: str, folder: Path) -> Path:
    """An example in factored form, by a recipe: a search would time candidates, and its plan needs images."""
    import tenfold

    tenfold.compress(EXAMPLES / f"{name}.onnx", folder / "factored", tenfold.Recipe(energy=ENERGY))
    return folder / "factored" / "model.onnx"


def _network(write: Callable[[Path], None], folder: Path) -> Path:
    write(folder / "network.onnx")
    return folder / "network.onnx"


def mobilenet_v2(classes: int = 1000) -> Any:
    """Sandler et al. (2018), width 1: inverted bottlenecks of a depthwise convolution between two pointwise ones."""
    from torch import nn

    def layer(channels: int, filters: int, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True) -> list[Any]:
        found = [nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(filters)]
        return [*found, nn.ReLU6()] if active else found

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int, stride: int, widening: int) -> None:
            super().__init__()
            inner = channels * widening
            widened = layer(channels, inner) if widening > 1 else []
            self.branch = nn.Sequential(*widened, *layer(inner, inner, 3, stride, inner), *layer(inner, filters, active=False))
            self.adds = stride == 1 and channels == filters

        def forward(self, x: Any) -> Any:
            return x + self.branch(x) if self.adds else self.branch(x)

    layers, channels = layer(3, 32, 3, 2), 32
    # Widening, filters, blocks, stride of the first one.
    groups = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    for widening, filters, count, stride in groups:
        for index in range(count):
            layers.append(Block(channels, filters, stride if index == 0 else 1, widening))
            channels = filters
    return nn.Sequential(*layers, *layer(channels, 1280), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes))


NETWORKS: dict[str, Writer] = {
    "bundled, dense": partial(_example, "cifar10_jin_baseline"),
    "bundled, factored": partial(_factored, "cifar10_jin_baseline"),
    "small VGG, dense": partial(_example, "cifar10_vgg"),
    "small VGG, factored": partial(_factored, "cifar10_vgg"),
    "SqueezeNet": partial(_network, partial(dense_networks._write_light, "squeezenet")),
    "MobileNet-v2": partial(_network, partial(dense_networks._write_module, mobilenet_v2)),
    "ResNet-18": partial(_network, dense_networks.WRITERS["resnet18"]),
}


def row_of(run: ModelledRun, target: Any) -> dict[str, Any]:
    """What a row says of one engine on one CPU."""
    peak = 8 * target.model.fma_per_cycle  # of vectors of four float32, two operations each
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


def ours(path: Path, cpu: str, x: np.ndarray, folder: Path) -> tuple[ModelledRun, np.ndarray]:
    """Compile for a CPU, and count."""
    import tenfold

    target = resolve(cpu)
    with Modelled(target) as device:
        tenfold.compile(path, target, folder / cpu, threads=1, device=device)
        artifact = load_on(device, folder / cpu, 1)
        return device.modelled(artifact.machine.handle), np.asarray(artifact(x))


def rival(engine: str, path: Path, cpu: str, x: np.ndarray, folder: Path, root: Path) -> tuple[ModelledRun, np.ndarray]:
    """Count a rival on an AArch64 Python."""
    target, system = resolve(cpu), root.resolve() / "system"
    given, result = folder / "x.npy", folder / "y.npy"
    np.save(given, x)
    model_of = path if engine == "onnxruntime" else _ncnn(path, x.shape, folder, root)
    with Modelled(target) as device:
        # Its own program is not asked for: what it would run under is.
        emulator, _, plugin = device.command()[:3]
        command = [emulator, "-plugin", plugin, "-cpu", device.cpu, "-L", system, "-E", f"PYTHONHOME={system}/usr",
                   "-E", f"PYTHONPATH={system}/site", "-E", "LD_LIBRARY_PATH=/lib/aarch64-linux-gnu:/usr/lib/aarch64-linux-gnu",
                   system / "usr" / "bin" / "python3.11", HERE / "rival.py", engine, model_of, given, result]
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


def measure(name: str, cpus: Sequence[str], root: Path | None) -> dict[str, Any]:
    """One row: a network in every engine on every CPU. A rival that fails is told in the row, and the others count."""
    import tenfold

    engines, failed = {}, {}
    with tempfile.TemporaryDirectory(prefix="tenfold-arm-") as temporary:
        folder = Path(temporary)
        path = NETWORKS[name](folder)
        x = next(iter(random_inputs(tenfold.inspect(path).inputs).values()))
        expected = reference(path, x)
        for cpu in cpus:
            for engine in (OURS, *(RIVALS if root else ())):
                try:
                    found, y = ours(path, cpu, x, folder) if engine == OURS else rival(engine, path, cpu, x, folder, root)
                    engines.setdefault(cpu, {})[engine] = row_of(found, resolve(cpu)) | {"difference": check(engine, y, expected)}
                except TenfoldError as error:
                    if engine == OURS:
                        raise
                    failed[f"{engine}, {cpu}"] = str(error)
    return {"name": name, "cpus": engines, "failed": failed}


def machine(root: Path | None, cpus: Sequence[str]) -> dict[str, Any]:
    """What the results come from."""
    versions = {"tenfold": metadata.version("tenfold"), "tvm": metadata.version("apache-tvm"), "llvm-mca": llvm_version()}
    if root:
        for engine in RIVALS:
            found = next(iter((root / "system" / "site").glob(f"{engine}-*.dist-info")), None)
            versions |= {engine: found.name.removeprefix(f"{engine}-").removesuffix(".dist-info")} if found else {}
    models = {}
    for cpu in cpus:
        with Modelled(resolve(cpu)) as device:
            models[cpu] = {"emulated": device.cpu, "model": device.model, "clock_ghz": device.target.model.clock_ghz}
            versions["qemu"] = version_of(device.emulator)
    return {"cpu": "no board: counted under emulation", "versions": versions, "models": models}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", default=[], choices=list(NETWORKS), metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--cpu", action="append", default=[], metavar="NAME", help=f"default: {', '.join(CPUS)}")
    parser.add_argument("--root", type=Path, metavar="DIR", help="what root.sh made; default: no rivals")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="keep the rows that FILE has")
    options = parser.parse_args(arguments)
    cpus, names, begin = options.cpu or CPUS, options.only or list(NETWORKS), time.perf_counter()
    try:
        results = Results("arm-networks", machine(options.root, cpus), 1, options.json)
        if options.resume:
            results.resume()
        for name in names:
            if name in results.finished():
                continue
            try:
                row = measure(name, cpus, options.root)
            except TenfoldError as error:
                row = {"name": name, "error": str(error)}
            results.add(row)
            print(f"{name} ({time.perf_counter() - begin:.0f} s): {brief(row)}", flush=True)
    except TenfoldError as error:
        sys.exit(f"networks.py: {error}")


def brief(row: dict[str, Any]) -> str:
    """A row in a few words."""
    if "error" in row:
        return row["error"]
    found = [f"{cpu} {engine} {one['cycles'] / 1e6:.1f} Mcycles ({one['core_cycles'] / 1e6:.1f} in L1)"
             for cpu, engines in row["cpus"].items() for engine, one in engines.items()]
    return ", ".join([*found, *(f"{what} failed: {why}" for what, why in row["failed"].items())])


if __name__ == "__main__":
    main()
