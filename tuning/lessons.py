"""What records teach a cost model: of the same workload on the same machine, which of two points was faster, and by how much.

A record has the workload only as text, so its kernel is made again from the layers that the text says (`Layers`), for the target of the
session. Records of other processors teach the order of points there, which is much the same: the features hold the machine's figures
of the target, as far as they are known.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from ..runner.tuning_records.record import Record
from ..schedules.backend import Kernel, backend_of
from ..schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from ..schedules.space import Point, Value
from ..support.errors import TenfoldError
from ..targets import Target, resolve
from .cost_model import Group
from .features import FeatureMaker
from .pool import Key, key_of

MOST_GROUPS = 400  # that are learned from: making features of more would take longer than it helps
CONVOLUTION = re.compile(r"conv2d (\d+)x(\d+)x(\d+)x(\d+) filters (\d+) kernel (\d+)x(\d+)((?: \w+ [\dx-]+)*)( gathered)?")
DENSE = re.compile(r"dense (\d+)x(\d+) filters (\d+)")


def lessons(records: Iterable[Record], target: Target) -> list[Group]:
    """Return what can be learned from records for a target of the same instruction set.

    Each gives two points of a workload: the one that was found, and the model's choice of the record's machine.
    """
    groups = []
    for (workload, machine), found in _by_workload(records, target).items():
        kernel = _kernel(workload, machine)
        if kernel is None:
            continue
        make = FeatureMaker(kernel, machine)
        times: dict[Key, tuple[Point, float]] = {}
        for record in found:
            for point, ms in ((record.choice, record.ratio), (kernel.point, 1.0)):
                times.setdefault(key_of(point), (point, ms))
        rows = [(make(_as_knobs(point)), ms) for point, ms in times.values() if _as_knobs(point) in kernel.space()]
        if len(rows) > 1:
            groups.append(Group(np.stack([vector for vector, _ in rows]), np.array([ms for _, ms in rows])))
        if len(groups) == MOST_GROUPS:
            break
    return groups


def _by_workload(records: Iterable[Record], target: Target) -> Mapping[tuple[str, Target], list[Record]]:
    """Records that fit, by workload and machine; the machine is the target itself, or the preset of its name."""
    found: dict[tuple[str, Target], list[Record]] = {}
    machines: dict[tuple[str, int], Target | None] = {}
    for record in records:
        if record.processor.instruction_set != target.instruction_set or record.ratio >= 1:
            continue
        key = record.processor.name, record.cores
        if key not in machines:
            machines[key] = _machine(*key, target)
        machine = machines[key]
        if machine is not None:
            found.setdefault((record.workload, machine), []).append(record)
    return found


def _machine(name: str, cores: int, target: Target) -> Target | None:
    own = str(target.tvm.get("mcpu") or target.tvm.get("arch") or target.name)
    if name == own.replace(".", "-") and cores == target.cores:
        return target
    for preset in (name, name.replace("znver", "zen")):  # AMD's by LLVM's names
        try:
            found = resolve(preset)
        except TenfoldError:
            continue
        return found.with_cores(cores)
    return None


def _kernel(workload: str, target: Target) -> Kernel | None:
    """The kernel of one layer that a text names; None for chains and runs, whose records are few."""
    backend = backend_of(target)
    dense, convolution = DENSE.fullmatch(workload), CONVOLUTION.fullmatch(workload)
    if dense is not None:
        return backend.dense(DenseWorkload(*map(int, dense.groups())))
    if convolution is None:
        return None
    *numbers, rest, gathered = convolution.groups()
    batch, height, width, channels, filters, rows, columns = map(int, numbers)
    words = rest.split()
    values = {name: tuple(map(int, value.split("x"))) for name, value in zip(words[::2], words[1::2], strict=True)}
    groups = values.pop("groups", (1,))[0]
    try:
        geometry = ConvGeometry(filters, (rows, columns), groups=groups, **values)  # type: ignore[arg-type]
    except TypeError:
        return None
    return backend.convolution(ConvWorkload(geometry, (height, width), channels, batch, gathered is not None))


def _as_knobs(point: Point) -> dict[str, Value]:
    return {knob: tuple(value) if isinstance(value, list) else value for knob, value in point.items()}

