"""What a page is made from, read strictly: folders of `compress` and `compile`, and results of `bench`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runner.devices.artifacts import read_manifest
from ..runtime.manifest import MANIFEST, Manifest
from ..runtime.manifest_fields import amount, mapping, number, optional, record, sequence, text, texts, whole
from ..support.errors import TenfoldError
from ..support.files.json_text import read_json

MODEL, REPORT, CURVE = "model.onnx", "report.json", "pareto.json"  # of `compress`
Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class Compressed:
    """A result of `compress`: its report, and the curve where there is one. `path` is None for what was given as an object."""

    name: str
    path: Path | None
    report: dict[str, Any]
    curve: dict[str, Any] | None = None


@dataclass(frozen=True)
class Compiled:
    """An artifact."""

    name: str
    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Benched:
    """A result of `bench`."""

    name: str
    content: dict[str, Any]


Source = Compressed | Compiled | Benched


def read_sources(what: Iterable[Any]) -> list[Source]:
    """Read everything that a page is made from, in order.

    Parameters
    ----------
    what : iterable of path, Comparison or Compression
        A path is a folder of `compress` or `compile`, or a file of ``bench --json``.

    Raises
    ------
    TenfoldError
        Nothing is given, something is not there or is no such result, or something is given twice.
    """
    found = [_source(each) for each in what]
    if not found:
        raise TenfoldError("there is nothing to report: give folders of compress or compile, or files of bench --json")
    names = [source.name for source in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise TenfoldError(f"{twice}: it is given twice: leave one out")
    return found


def _source(given: Any) -> Source:
    if hasattr(given, "to_dict"):
        return _object(given)
    if not isinstance(given, str | os.PathLike):
        raise TenfoldError(f"{type(given).__name__}: give folders of compress or compile, or results of bench")
    path = Path(given)
    if path.is_dir():
        if os.path.lexists(path / REPORT):
            return _compressed(path)
        if os.path.lexists(path / MANIFEST):
            return Compiled(str(path), path, read_manifest(path))
        raise TenfoldError(f"{path}: no folder of tenfold compress or compile: there is no {REPORT} and no {MANIFEST} in it")
    return benched(str(path), read_json(path))


def benched(name: str, content: Any) -> Benched:
    """A result of `bench`, as its JSON holds it, or as it is on its way there."""
    return Benched(name, _checked(name, "tenfold bench", BENCH, json.loads(json.dumps(content))))


def _object(given: Any) -> Source:
    content, name = given.to_dict(), f"the given {type(given).__name__}"
    if isinstance(content, dict) and "rows" in content:
        return benched(name, content)
    return Compressed(name, None, _checked(name, "compress", COMPRESSED, json.loads(json.dumps(content))))


def _compressed(path: Path) -> Compressed:
    report = _checked(str(path / REPORT), "tenfold compress", COMPRESSED, read_json(path / REPORT))
    drawn = os.path.lexists(path / CURVE)
    curve = _checked(str(path / CURVE), "tenfold compress --pareto", POINTS, read_json(path / CURVE)) if drawn else None
    return Compressed(str(path), path, report, curve)


def _checked(source: str, command: str, reader: Reader, content: Any) -> dict[str, Any]:
    try:
        return reader(content)
    except KeyError as error:
        raise TenfoldError(f"{source}: no result of {command}: it lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise TenfoldError(f"{source}: no result of {command}: {error}") from None


def _with(needed: Reader, **readers: Reader) -> Reader:
    """An object with further fields, which may be absent or null: None then."""

    def read(value: Any) -> dict[str, Any]:
        found = needed(value)
        return {**found, **{name: None if found.get(name) is None else reader(found[name]) for name, reader in readers.items()}}

    return read


def _by_name(reader: Reader) -> Reader:
    return lambda value: {text(name): reader(each) for name, each in mapping(value).items()}


def _ranks(value: Any) -> tuple[int, ...]:
    return sequence(value, whole)


def _spectrum(value: Any) -> dict[str, Any]:
    found = record(ranks=_ranks, values=lambda each: sequence(each, number))(value)
    if not found["ranks"] or len(found["ranks"]) != len(found["values"]):
        raise ValueError("a spectrum has as many ranks as values, one at least")
    return found


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.60} is not true or false")
    return value


def _positive(value: Any) -> float:
    if number(value) <= 0:
        raise ValueError(f"{value} ms is no time")
    return value


MACHINE = _with(
    mapping,
    cpu=text,
    physical_cores=whole,
    vector_bits=whole,
    system=text,
    python=text,
    versions=_by_name(optional(text)),
    gpu=_with(mapping, name=text, driver=text, precision=text),
)
DISTURBANCE = _with(mapping, warning=text)
FIGURES = _with(record(macs=whole, params=whole, bytes=whole), ms=_positive, accuracy=number)
CANDIDATE = _with(record(method=text, ranks=_ranks), ms=amount, error=amount, loss=number, refused=text)
LAYER = _with(
    record(name=text, method=optional(text), ranks=_ranks, macs=whole, macs_before=whole, params=whole, params_before=whole),
    error=amount, reason=text, precision=text, precision_reason=text, response_error=amount, ms=amount, ms_before=amount,
    spectra=_by_name(_spectrum), candidates=lambda value: sequence(value, CANDIDATE), refused=_by_name(text),
)  # fmt: skip
MEASURE = record(name=text, units=text)
SEARCH = _with(
    mapping, budget=_by_name(optional(number)), measure=MEASURE, verdict=_with(mapping, drop=number, uncertainty=amount),
    images=_by_name(whole), tried=whole, seconds=amount, phases=_by_name(amount), modelled=text, labels=_flag, predicted_ms=amount,
)  # fmt: skip
VERIFIED = _with(record(reference=text, inputs=whole, max_abs_error=amount, max_rel_error=amount, tolerance=amount), notes=texts)
MADE = _with(mapping, command=text, machine=MACHINE, threads=whole, disturbance=DISTURBANCE, versions=_by_name(optional(text)))
COMPRESSED = _with(
    record(target=text, before=FIGURES, after=FIGURES, layers=lambda value: sequence(value, LAYER)),
    output_error=amount, reading=VERIFIED, search=SEARCH, made=MADE, model=text,
)  # fmt: skip
POINT = _with(record(ms=_positive, macs=whole, bytes=whole, drop=number, uncertainty=amount, layers=mapping), accuracy=number)
POINTS = _with(record(points=lambda value: sequence(value, POINT)), measure=MEASURE, labels=_flag)
LATENCY = _with(record(median=_positive), p90=amount, min=amount, runs=whole, spread=amount)
KERNEL = _with(record(function=text, layers=texts, ms=amount, share=amount), gflops=amount, peak_share=amount)
PROFILE = _with(record(kernels=lambda value: sequence(value, KERNEL), total_ms=_positive), peak_gflops=amount)
ROW = _with(
    record(model=text, engine=text, latency_ms=LATENCY, macs=whole, params=whole, bytes=whole),
    peak_bytes=whole, accuracy=number, max_error=amount, profile=PROFILE, batch=whole,
)  # fmt: skip
BENCH = _with(
    record(machine=MACHINE, rows=lambda value: sequence(value, ROW)),
    threads=whole, disturbance=DISTURBANCE, command=text,
    skipped=lambda value: sequence(value, record(model=text, engine=text, reason=text)),
)  # fmt: skip


def same_place(folder: Path, model: str) -> bool:
    """Whether a row of `bench` is of this folder."""
    return os.path.realpath(model) == os.path.realpath(folder)


def is_made_from(artifact: Compiled, source: Compressed) -> bool:
    """Whether an artifact was compiled from the network, or with the plan, of a result of `compress`."""
    path, plan = artifact.manifest.source["path"], artifact.manifest.plan
    if plan is not None:
        layers = plan.get("layers")
        return plan.get("model") == source.report["model"] and isinstance(layers, dict) and layers.keys() == _factored(source)
    return path is not None and source.path is not None and same_place(source.path / MODEL, path)


def _factored(source: Compressed) -> set[str]:
    return {layer["name"] for layer in source.report["layers"] if layer["method"] is not None}


def compressed_of(sources: Iterable[Source]) -> list[Compressed]:
    """Those of `compress`."""
    return [source for source in sources if isinstance(source, Compressed)]


def compiled_of(sources: Iterable[Source]) -> list[Compiled]:
    """Those of `compile`."""
    return [source for source in sources if isinstance(source, Compiled)]


def benched_of(sources: Iterable[Source]) -> list[Benched]:
    """Those of `bench`."""
    return [source for source in sources if isinstance(source, Benched)]


def score(value: float | None, measure: Mapping[str, Any] | None) -> str | None:
    """What a measure gave for a network: percent where it is told in points."""
    if value is None:
        return None
    return f"{value:.1%}" if measure is None or measure["units"] == "points" else f"{value:.4g}"
