"""The suites, by name, and what those of layers and networks measure: lists of cases."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import denton
import halves
import onnx
import precision
import startup
import tuned_networks
from arm import kernels as arm_kernels
from arm import model as arm_model
from arm import networks as arm_networks
from arm import precision as arm_precision
from models import chain_model, flattened
from modern.catalogue import MODERN, write_modern
from networks import WRITERS, kept, network
from shapes import SHAPES, Shape, read_all
from suite import Case, Settings, Suite
from table import full_table, mean_line
from tenfold.factorization import Stage
from timed import OPTIONS, Startup, Timed

FLATTENED = Shape(128, 128, 32, 5, 1, 2, 1)  # Jin et al. (2015), figure 7
FLATTENED_SIZES = (16, 32, 48, 64, 80)


def _write(stages: Sequence[Stage], size: int, batch: int, biases: bool, folder: Path) -> Path:
    onnx.save(chain_model(stages, size, batch, biases), folder / "layer.onnx")
    return folder / "layer.onnx"


def _writer(stages: Sequence[Stage], size: int, batch: int, biases: bool = False) -> Callable[[Path], Path]:
    return partial(_write, stages, size, batch, biases)


def _named(name: str, batch: int) -> str:
    return name if batch == 1 else f"{name} x{batch}"


def layers(settings: Settings) -> list[Case]:
    """Every distinct convolution of the lists in `shapes/`, by itself."""
    return _layers(settings, SHAPES)


def _layers(settings: Settings, folder: Path) -> list[Case]:
    return [Case(_named(shape.name, batch), {"layer": _writer(shape.stages(), shape.size, batch)}, tuple(lists),
                 {"batch": batch, "form": shape.form or "dense"})
            for batch in settings.batches for shape, lists in read_all(folder).items()]


def flattened_layers(settings: Settings) -> list[Case]:
    """Jin et al., figure 7: a 128 -> 128, 5 x 5 layer, and two sets of lateral, vertical and horizontal filters in its place."""
    chain, dense = flattened(FLATTENED.channels, FLATTENED.filters, FLATTENED.kernel), FLATTENED.stages()
    return [Case(_named(f"{size} pixels", batch), {"flattened": _writer(chain, size, batch, True), "dense": _writer(dense, size, batch)},
                 (), {"batch": batch, "size": size})
            for batch in settings.batches for size in FLATTENED_SIZES]


def denton_layers(settings: Settings) -> list[Case]:
    """Denton et al.: the first two layers of their network, dense and in each of the forms."""
    cases = []
    for batch in settings.batches:
        for dense, form in denton.pairs():
            models = {"chain": _writer(form.stages(dense), dense.size, batch), "dense": _writer(dense.stages(), dense.size, batch)}
            facts = {"batch": batch, "layer": dense.name, "form": str(form), "promise": form.promise(dense)}
            cases.append(Case(_named(f"{dense.name}, {form}", batch), models, ("denton",), facts))
    return cases


def whole_networks(settings: Settings) -> list[Case]:
    """Whole networks, dense, batch 1."""
    return [Case(name, {"network": lambda folder, name=name: network(name, settings.cache)}, (), {"batch": 1}) for name in WRITERS]


def modern_networks(settings: Settings) -> list[Case]:
    """Networks of today, dense."""
    def file(name: str, batch: int, folder: Path) -> Path:
        return kept(settings.cache / f"{name}-{batch}.onnx", partial(write_modern, name, batch))

    return [Case(_named(name, batch), {"network": partial(file, name, batch)}, (), {"batch": batch}, partial(file, name, 1))
            for batch in settings.batches for name in MODERN]


def modern_layers(settings: Settings) -> list[Case]:
    """Every distinct convolution of the networks of today, by itself."""
    return _layers(settings, SHAPES / "modern")


TIMED = {
    "layers": Suite(layers, Timed, full_table, mean_line, OPTIONS),
    "flattened": Suite(flattened_layers, Timed, full_table, mean_line, OPTIONS, (1, 16, 128)),
    "denton": Suite(denton_layers, Timed, full_table, mean_line, OPTIONS),
    "networks": Suite(whole_networks, Timed, full_table, mean_line, OPTIONS),
    "modern": Suite(modern_networks, Timed, full_table, mean_line, OPTIONS, (1, 8)),
    "modern-layers": Suite(modern_layers, Timed, full_table, mean_line, OPTIONS),
    "startup": Suite(startup.cases, Startup, full_table, mean_line, OPTIONS),
}
WITHOUT_A_BOARD = {"arm": arm_networks.SUITE, "arm-kernels": arm_kernels.SUITE, "arm-model": arm_model.SUITE,
                   "arm-precision": arm_precision.SUITE}
SUITES = TIMED | WITHOUT_A_BOARD | {"tuning": tuned_networks.SUITE, "precision": precision.SUITE, "halves": halves.SUITE}


def chosen(cases: Sequence[Case], patterns: Sequence[str]) -> list[Case]:
    """The cases that are in a list of that name, or whose name fits a pattern (``*`` and ``?``) or holds it."""
    def fits(case: Case, pattern: str) -> bool:
        return pattern in case.lists or fnmatch(case.name, pattern) or pattern in case.name

    known = {name for case in cases for name in case.lists}
    # The name of a list means the list, not every row whose name holds it.
    return [case for case in cases if not patterns
            or any(pattern in case.lists if pattern in known else fits(case, pattern) for pattern in patterns)]
