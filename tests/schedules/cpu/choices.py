"""What the cost models choose for the committed shapes: for the snapshots in `choices/`, and for the test that every figure decides.

    python tests/schedules/cpu/choices.py              # rewrites the snapshots

Layers come from `tests/benchmarks/shapes/`, runs of convolutions in whole networks from `choices/runs.txt`.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

if __name__ == "__main__":  # the repository of this file, wherever another one is installed
    sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from models import flattened
from shapes import read_all
from tenfold.factorization import Stage
from tenfold.schedules.cpu.chain.compute import Ends
from tenfold.schedules.cpu.chain.partition import Segment, segments
from tenfold.schedules.cpu.conv2d.cost import choose_tile
from tenfold.schedules.cpu.conv2d.groups import mergeable
from tenfold.schedules.cpu.dense.matvec import Streams, choose_streams
from tenfold.schedules.cpu.dense.matvec_chain import choose_chain
from tenfold.schedules.cpu.reduction.response_norm import chunk_rows
from tenfold.schedules.cpu.winograd.cost import choose_winograd
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.targets import Target, resolve

FOLDER = Path(__file__).parent / "choices"
RUNS = FOLDER / "runs.txt"
COMMAND = "python tests/schedules/cpu/choices.py"
# Fully connected layers of the networks in `tests/benchmarks`, inputs and outputs of each in a row.
# Grouped pointwise convolutions, as of Denton et al.: channels, filters, groups, size.
GROUPED = ((96, 576, 48, 27), (96, 96, 8, 27), (96, 48, 48, 27), (256, 256, 32, 14), (64, 64, 4, 27), (128, 128, 16, 28))
RESPONSE_NORMS = ((27, 96), (54, 96), (26, 256), (12, 256))  # rows and channels
DENSE = ((128, 128, 48), (2304, 256, 10), (9216, 4096, 4096, 1000), (25088, 4096, 4096, 1000), (512, 1000), (2048, 1000))


@dataclass(frozen=True)
class Case:
    """A choice to make: a name, and how to make it for a target, as a line of text."""

    name: str
    choose: Callable[[Target], str]


@cache
def cases() -> tuple[Case, ...]:
    """All choices, by kind: tiles and Winograd blockings of single convolutions, merged groups, chains, networks, dense layers."""
    return tuple([*_convolutions(), *_dense(), *_response_norms(), *_chains(), *_runs()])


def _convolutions() -> Iterator[Case]:
    stages: dict[tuple[ConvGeometry, int, int], str] = {}
    for shape in read_all():
        size = shape.size
        for number, stage in enumerate(shape.stages()):
            geometry = geometry_of(stage)
            suffix = f" [{number}]" if shape.form else ""
            if not depthwise(geometry, stage.in_channels):
                stages.setdefault((geometry, size, stage.in_channels), shape.name + suffix)
            size = geometry.output(size, size)[0]
    for batch in (1, 16):
        for (geometry, size, channels), name in stages.items():
            name = name if batch == 1 else f"{name} x{batch}"
            yield Case(f"tile {name}", partial(_tile, geometry, batch, size, channels))
    for (geometry, size, channels), name in stages.items():
        if geometry.kernel == (3, 3) and geometry.stride == (1, 1) and geometry.groups == 1 and not name.endswith("]"):
            yield Case(f"winograd {name}", partial(_winograd, geometry, size, channels))
    for channels, filters, groups, size in GROUPED:
        geometry = ConvGeometry(filters, (1, 1), groups=groups)
        yield Case(f"groups {channels}-{filters} {size} 1x1 g{groups}", partial(_groups, geometry, size, channels))


def _tile(geometry: ConvGeometry, batch: int, size: int, channels: int, target: Target) -> str:
    tile = choose_tile(geometry.shape(batch, size, size, channels), target)
    words = [f"{tile.pixels} x {tile.vectors}", f"{tile.rows} rows"]
    words += [word for word, said in (("flat", tile.flat), ("all weights", tile.weights_inner), ("prefetch", tile.prefetch)) if said]
    return ", ".join(words + ["one thread"] * (not tile.parallel))


def _winograd(geometry: ConvGeometry, size: int, channels: int, target: Target) -> str:
    blocking = choose_winograd(geometry.shape(1, size, size, channels), target)
    if blocking is None:
        return "direct"
    form = f"F({blocking.outputs}), {blocking.pixels} x {blocking.vectors}, {blocking.tiles} tiles, {blocking.blocks} blocks"
    return form + ", shared" * blocking.shared + ", one thread" * (not blocking.parallel)


def _groups(geometry: ConvGeometry, size: int, channels: int, target: Target) -> str:
    return f"{geometry.groups} -> {geometry.groups // mergeable(geometry, channels, 1, (size, size), target)}"


def _chains() -> Iterator[Case]:
    factored = {shape: lists for shape, lists in read_all().items() if shape.form}
    layers = [(shape.name, shape.stages(), shape.size, 1) for shape in factored]
    layers += [(f"{shape.name} x16", shape.stages(), shape.size, 16) for shape, lists in factored.items() if "resnet18-factored" in lists]
    layers += [(f"flattened {size}", flattened(128, 128, 5), size, 1) for size in (16, 32, 64)]
    for name, stages, size, batch in layers:
        yield Case(f"chain {name}", partial(_segments, links_of(stages, size, batch), Ends(source_nchw=True)))
    for shape, lists in read_all().items():
        if {"reference", "resnet50"} & set(lists) and not shape.form:
            yield Case(f"layer {shape.name}", partial(_segments, links_of(shape.stages(), shape.size, 1), Ends(source_nchw=True)))


def links_of(stages: Sequence[Stage], size: int, batch: int) -> tuple[ConvWorkload, ...]:
    """The convolutions of a chain with the sizes of their inputs."""
    links, sizes = [], (size, size)
    for stage in stages:
        links.append(ConvWorkload(geometry_of(stage), sizes, stage.in_channels, batch))
        sizes = links[-1].output
    return tuple(links)


def geometry_of(stage: Stage) -> ConvGeometry:
    """Of a stage of a chain."""
    return ConvGeometry(stage.out_channels, tuple(stage.weight.shape[2:]), stage.stride, stage.padding, stage.dilation, stage.groups)


def depthwise(geometry: ConvGeometry, channels: int) -> bool:
    """Whether it has a group for each channel and filter."""
    return geometry.groups == channels == geometry.filters


def _segments(links: tuple[ConvWorkload, ...], ends: Ends, target: Target) -> str:
    return "; ".join(_segment(segment) for segment in segments(links, target, ends))


def _segment(segment: Segment) -> str:
    if segment.blocking is not None:
        return f"{segment.count} with Winograd"
    if not segment.stages:
        return f"{segment.count} alone"
    stages = [f"{stage.pixels} x {stage.vectors}" + f" g{stage.geometry.groups}" * (stage.geometry.groups > 1 and stage.vectors > 0)
              + f" i{stage.interleaved}" * (stage.interleaved > 1) for stage in segment.stages]
    ends = [word for word, said in (("from NCHW", segment.ends.source_nchw), ("in place", segment.ends.in_place),
                                    ("to NCHW", segment.ends.result_nchw), ("averages", segment.averages)) if said]
    return ", ".join([f"{segment.count} fused ({'; '.join(stages)})", f"{segment.cut.rows} rows", f"{segment.cut.strips} strips", *ends])


def _runs() -> Iterator[Case]:
    for number, line in enumerate(RUNS.read_text().splitlines(), 1):
        name, _, run = line.split("#")[0].partition(":")
        if run.strip():
            ends, *convolutions = (part.split() for part in run.split(";"))
            links = tuple(_link(words) for words in convolutions)
            yield Case(f"run {name.strip()}, line {number}", partial(_segments, links, Ends("from" in ends, "to" in ends)))


def _link(words: list[str]) -> ConvWorkload:
    """A convolution `channels-filters size kernel [stride [padding [groups]]]`, or ``pool``, ``average`` and the same."""
    kind = words.pop(0) if words[0].isalpha() else "convolution"
    channels, filters = (int(number) for number in words.pop(0).split("-"))
    size, kernel, stride, padding, groups = words + ["1", "0", "1"][len(words) - 2 :]
    pads = tuple(map(int, padding.split(","))) if "," in padding else (int(padding),) * 4
    geometry = ConvGeometry(filters, (int(kernel),) * 2, (int(stride),) * 2, pads, groups=int(groups))
    return ConvWorkload(geometry, (int(size),) * 2, channels, 1, pools=kind == "pool", averages=kind == "average")


def _dense() -> Iterator[Case]:
    for sizes in DENSE:
        name = "-".join(map(str, sizes))
        yield Case(f"dense {name}", partial(_dense_layers, sizes))
        yield Case(f"dense chain {name}", partial(_dense_chain, sizes))
    for channels in (64, 128, 256, 512):
        yield Case(f"dense {channels}-{channels}", partial(_dense_layers, (channels, channels)))


def _dense_layers(sizes: tuple[int, ...], target: Target) -> str:
    return "; ".join(_streams(choose_streams(c, f, target)) for c, f in zip(sizes, sizes[1:], strict=False))


def _dense_chain(sizes: tuple[int, ...], target: Target) -> str:
    return "; ".join(_streams(streams) for streams in choose_chain(sizes[0], sizes[1:], target))


def _response_norms() -> Iterator[Case]:
    for rows, channels in RESPONSE_NORMS:
        yield Case(f"response norm {channels} {rows}", partial(_rows_of_chunk, rows, channels))


def _rows_of_chunk(rows: int, channels: int, target: Target) -> str:
    return f"{chunk_rows(rows, channels // target.lanes + 2, target)} rows"


def _streams(streams: Streams) -> str:
    return f"{streams.count} streams x {streams.vectors}" + ", one thread" * (not streams.parallel)


@cache
def targets() -> dict[str, Target]:
    """What the choices are made for, by name of the snapshot: presets of AVX2, AVX-512 and NEON."""
    return {name: with_cores(resolve(name), 2) for name in ("zen3", "zen4")} | {"neon": with_cores(resolve("cortex-a76"), 4)}


def with_cores(target: Target, cores: int) -> Target:
    """The target with another number of cores."""
    return replace(target, cores=cores, tvm={**target.tvm, "num-cores": cores})


def lines(target: Target) -> str:
    """The choices for a target as a text of one line each."""
    made = [(case.name, case.choose(target)) for case in cases()]
    width = max(len(name) for name, _ in made)
    return "".join(f"{name:{width}}  {choice}\n" for name, choice in made)


def snapshot(name: str) -> Path:
    """The file of a target's choices."""
    return FOLDER / f"{name}.txt"


if __name__ == "__main__":
    for name, target in targets().items():
        snapshot(name).write_text(lines(target))
        print(f"wrote {snapshot(name)}")
