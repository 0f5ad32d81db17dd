"""The kernels of the committed shape lists (`tests/benchmarks/shapes`), of runs of them, and of fully connected layers, for a target."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "schedules" / "cpu"))

import numpy as np
from choices import DENSE, GROUPED, cases, links_of, read_all
from tenfold.schedules.backend import Kernel, backend_of
from tenfold.schedules.cpu.chain.compute import Ends
from tenfold.schedules.cpu.convolution_run import ConvolutionRun as CpuRun
from tenfold.schedules.cuda.convolution_run import ConvolutionRun as GpuRun
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from tenfold.schedules.space import Point, Space
from tenfold.targets import CpuTarget, Target, resolve
from tenfold.tuning.pool import drawn


@cache
def convolutions() -> tuple[ConvWorkload, ...]:
    """Of all lists, each once."""
    found = {link: None for shape in read_all() for link in links_of(shape.stages(), shape.size, 1)}
    grouped = [ConvWorkload(ConvGeometry(filters, (1, 1), groups=groups), (size,) * 2, channels, 1)
               for channels, filters, groups, size in GROUPED]
    return (*found, *grouped)


@cache
def runs() -> tuple[tuple[ConvWorkload, ...], ...]:
    """Factored layers, and runs of layers in networks."""
    factored = [links_of(shape.stages(), shape.size, 1) for shape in read_all() if shape.form]
    networks = [case.choose.args[0] for case in cases() if case.name.startswith("run ")]
    return (*factored, *networks)


def dense_layers() -> Iterator[tuple[DenseWorkload, ...]]:
    """Of one row, in runs; and of several rows."""
    for sizes in DENSE:
        yield tuple(DenseWorkload(1, channels, filters) for channels, filters in zip(sizes, sizes[1:], strict=False))
    yield from ((DenseWorkload(rows, 512, 1000),) for rows in (1, 3, 64))


def named(name: str) -> Target:
    """A preset, with as many cores on every machine."""
    found = resolve(name)
    return found.with_cores(4) if isinstance(found, CpuTarget) else found


def kernels(target: Target, step: int = 1, first: int = 0) -> Iterator[Kernel | CpuRun | GpuRun]:
    """Every `step`th of all kernels, from a first one; of runs the cut, and the chains that it has."""
    backend = backend_of(target)
    for workload in convolutions()[first::step]:
        yield backend.convolution(workload)
    for links in runs()[first::step]:
        if len(links) <= 5:
            yield CpuRun(links, target, Ends()) if isinstance(target, CpuTarget) else GpuRun(links, target)
        yield from (part.kernel for part in backend.convolution_run(links, False, False) if part.kernel is not None)
    for layers in list(dense_layers())[first::step]:
        whole = backend.dense_run(layers) if len(layers) > 1 else None
        yield whole if whole is not None else backend.dense(layers[0])


def some(space: Space, count: int, seed: int = 0) -> list[Point]:
    """The chosen point, and others of each algorithm."""
    rng = np.random.default_rng(seed)
    return [space.chosen, *(point for knobs in space.alternatives for point in drawn(knobs, count, rng))]
