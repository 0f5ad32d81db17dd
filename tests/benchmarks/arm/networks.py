"""Whole networks on AArch64 CPUs without a board: instructions counted under QEMU, cycles by llvm-mca, misses of simulated caches.

One image, one thread, float32. Rivals run under emulation too, where ``--root`` names the folder that `root.sh` made. Every engine's result
is held against ONNX Runtime's on this machine. Searched networks are replayed from plans, with the images that the search had (``--data``).
"""
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from modern.catalogue import write_modern
from networks import WRITERS, write_light, write_module
from rich.console import Console
from suite import Case, Settings, Suite, chosen_engines
from tenfold.runner.bench.mca import llvm_version
from tenfold.runner.bench.modelled import Modelled
from tenfold.runner.data import random_inputs
from tenfold.runner.devices.emulated import version_of
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve_cpu

from .engines import OURS, RIVALS, check, count, reference, row_of, version
from .tables import networks_table, summary

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "models"
PLANS = ROOT / "tests" / "benchmarks" / "results" / "search" / "xeon"  # of searches that timed on x86
CPUS = ("cortex-a72", "neoverse-n1")
ENERGY = 0.8  # of the weights, that factored networks keep
BUNDLED = {"bundled": "cifar10_jin_baseline", "small VGG": "cifar10_vgg"}
SEARCHED = {"bundled": ("jin_plan.json", "train.npz"), "small VGG": ("vgg_plan.json", "train_vgg.npz")}  # and images (`examples/data.py`)
DENSE, FACTORED, SEARCHED_ON_X86 = "dense", "factored", "searched on x86"  # lists of rows
Writer = Callable[[Path], Path]


def _example(name: str, folder: Path) -> Path:
    return EXAMPLES / f"{name}.onnx"


def _factored(name: str, folder: Path) -> Path:
    """An example in factored form, by a recipe."""
    import tenfold

    tenfold.compress(EXAMPLES / f"{name}.onnx", folder / "factored", tenfold.Recipe(energy=ENERGY))
    return folder / "factored" / "model.onnx"


def _searched(name: str, plan: Path, data: Path, folder: Path) -> Path:
    """An example as a search factored it, with the images that the search had."""
    import tenfold

    tenfold.compress(EXAMPLES / f"{name}.onnx", folder / "searched", plan, data=data)
    return folder / "searched" / "model.onnx"


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
    for widening, filters, blocks, stride in groups:
        for index in range(blocks):
            layers.append(Block(channels, filters, stride if index == 0 else 1, widening))
            channels = filters
    return nn.Sequential(*layers, *layer(channels, 1280), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes))


LARGE: dict[str, Callable[[Path], None]] = {
    "SqueezeNet": partial(write_light, "squeezenet"),
    "MobileNet-v2": partial(write_module, mobilenet_v2),
    "ResNet-18": WRITERS["resnet18"],
    "MobileNet-v3": partial(write_modern, "mobilenet_v3_large", 1),
    "EfficientNet-Lite0": partial(write_modern, "tf_efficientnet_lite0", 1),
    "ShuffleNet-v2": partial(write_modern, "shufflenet_v2_x1_0", 1),
    "YOLOv8n": partial(write_modern, "yolov8n", 1),
}


def cases(settings: Settings) -> list[Case]:
    """Every network: dense, factored by a recipe, and, where there are images, as a search factored it."""
    found = []
    for title, name in BUNDLED.items():
        writers: dict[str, Writer] = {DENSE: partial(_example, name), FACTORED: partial(_factored, name)}
        if settings.data is not None:
            plan, images = SEARCHED[title]
            writers[SEARCHED_ON_X86] = partial(_searched, name, PLANS / plan, settings.data / images)
        found += [Case(f"{title}, {form}", {"network": write}, (form,)) for form, write in writers.items()]
    return found + [Case(title, {"network": partial(_network, write)}, (DENSE,)) for title, write in LARGE.items()]


class Networks:
    """Counts and models networks.

    Parameters
    ----------
    options : argparse.Namespace
    out : Console
        Is told where there are no rivals.
    """

    def __init__(self, options: argparse.Namespace, out: Console) -> None:
        self.cpus, self.root, self.threads = tuple(options.cpu or CPUS), options.root, 1
        rivals = RIVALS if options.against is None else chosen_engines([name for name in options.against.split(",") if name], RIVALS)
        if self.root is None and rivals:
            out.print(f"without {', '.join(rivals)}: they need --root DIR, a folder that tests/benchmarks/arm/root.sh made")
            rivals = ()
        self.engines = [OURS, *rivals]
        self.machine = self._machine()

    def _machine(self) -> dict[str, Any]:
        versions = {"tenfold": metadata.version("tenfold"), "tvm": metadata.version("apache-tvm"), "llvm-mca": llvm_version()}
        for engine in self.engines[1:]:
            if (found := version(engine, self.root)) is None:
                raise TenfoldError(f"--root {self.root}: there is no {engine}: make the folder by tests/benchmarks/arm/root.sh")
            versions[engine] = found
        models = {}
        for cpu in self.cpus:
            with Modelled(resolve_cpu(cpu)) as device:
                models[cpu] = {"emulated": device.cpu, "model": device.model, "clock_ghz": device.target.model.clock_ghz}
                versions["qemu"] = version_of(device.emulator)
        return {"cpu": "no board: counted under emulation", "versions": versions, "models": models}

    def measure(self, case: Case) -> dict[str, Any]:
        """A network in every engine on every CPU. A rival that fails is told in the row, and the others count."""
        import tenfold

        found: dict[str, dict[str, Any]] = {}
        failed = {}
        with tempfile.TemporaryDirectory(prefix="tenfold-arm-") as temporary:
            folder = Path(temporary)
            path = case.models["network"](folder)
            x = next(iter(random_inputs(tenfold.inspect(path).inputs).values()))
            expected = reference(path, x)
            for cpu in self.cpus:
                for engine in self.engines:
                    try:
                        run, y = count(engine, path, cpu, x, folder, self.root)
                        found.setdefault(cpu, {})[engine] = row_of(run, resolve_cpu(cpu)) | {"difference": check(engine, y, expected)}
                    except TenfoldError as error:
                        if engine == OURS:
                            raise
                        failed[f"{engine}, {cpu}"] = str(error)
        return {"name": case.name, "cpus": found, "failed": failed}

    def brief(self, row: dict[str, Any]) -> str:
        found = [f"{cpu} {engine} {one['cycles'] / 1e6:.1f} Mcycles ({one['core_cycles'] / 1e6:.1f} in L1)"
                 for cpu, engines in row["cpus"].items() for engine, one in engines.items()]
        return ", ".join([*found, *(f"{what} failed: {why}" for what, why in row["failed"].items())])


SUITE = Suite(cases, Networks, networks_table, summary, frozenset({"cpu", "root", "data", "against"}))
