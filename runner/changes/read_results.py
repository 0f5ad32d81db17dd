"""Files of results as `Results`: of `tenfold bench --json`, `compile --json`, `compress`, and of the suites of benchmarks."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...runtime.manifest import MANIFEST
from ...runtime.manifest_fields import mapping, number, optional, record, sequence, text, whole
from ...support.errors import TenfoldError
from ...support.files.json_text import read_json
from .measured import ACCURACY, BYTES, LATENCY, MACS, MEMORY, Measured, Results

REPORT = "report.json"  # of `compress`
MACHINE = ("cpu", "physical_cores", "logical_cpus", "vector_bits", "cache_bytes", "model", "models", "code_for")
KINDS = "tenfold bench --json, tenfold compile --json, the report.json of tenfold compress or a suite of benchmarks"


def read_results(given: Any) -> Results:
    """Read a file of results.

    Parameters
    ----------
    given : path, dict or an object with `to_dict`
        A file; the folder of an artifact or of `compress`; what such a file holds; a `Comparison` or `Compression`.

    Raises
    ------
    TenfoldError
        It is not there, or holds no results.
    """
    source, content = _content(given)
    try:
        if not isinstance(content, dict):
            raise TypeError("it is no object of JSON")
        results = _reader(content)(source, content)
        if any(row.figures.get(LATENCY, 1.0) <= 0 for row in results.rows):
            raise ValueError("a latency is 0 ms or less")
    except KeyError as error:
        raise TenfoldError(f"{source}: no results of {KINDS}: it lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise TenfoldError(f"{source}: no results of {KINDS}: {error}") from None
    if not results.rows:
        raise TenfoldError(f"{source}: none of its rows has a figure that can be compared")
    return results


def _content(given: Any) -> tuple[str, Any]:
    if isinstance(given, dict):
        return "the given results", given
    if hasattr(given, "to_dict"):
        return f"the given {type(given).__name__}", given.to_dict()
    if not isinstance(given, str | os.PathLike):
        raise TenfoldError(f"{type(given).__name__}: give a file of results, or what it holds")
    path = Path(given)
    if path.is_dir():
        names = [name for name in (REPORT, MANIFEST) if (path / name).is_file()]
        if not names:
            raise TenfoldError(f"{path}: no folder of tenfold compress or compile: there is no {REPORT} and no {MANIFEST} in it")
        path = path / names[0]
    return str(path), read_json(path)


def _reader(content: dict[str, Any]) -> Callable[[str, dict[str, Any]], Results]:
    if "manifest" in content or "model_sha256" in content:
        return _compiled
    if "before" in content and "after" in content:
        return _compressed
    rows = content["rows"]
    if isinstance(rows, list) and all(isinstance(row, dict) and "latency_ms" in row for row in rows):
        return _bench
    return _suite


def _bench(source: str, content: dict[str, Any]) -> Results:
    machine, threads = mapping(content["machine"]), optional(whole)(content["threads"])
    latency = record(median=number)
    rows = []
    for row in content["rows"]:
        times = latency(row["latency_ms"])
        names = {BYTES: "bytes", MEMORY: "peak_bytes", ACCURACY: "accuracy", MACS: "macs"}
        figures = {LATENCY: times["median"], **{figure: number(row[name]) for figure, name in names.items() if row.get(name) is not None}}
        spread = optional(number)(times.get("spread")) or None  # 0: of one round, whose spread nobody knows
        batch = optional(whole)(row.get("batch"))
        rows.append(Measured(text(row["model"]), text(row["engine"]), batch, None if machine.get("gpu") else threads, figures, spread))
    warning = mapping(content.get("disturbance") or {}).get("warning")
    notes = [text(warning)] if warning else []
    skipped = sequence(content.get("skipped", []), record(model=text, engine=text, reason=text))
    notes += [f"no row for {each['model']} in {each['engine']}: {each['reason']}" for each in skipped]
    return Results(source, "bench", _machine(machine), _versions(machine), rows, notes)


def _compiled(source: str, content: dict[str, Any]) -> Results:
    manifest = mapping(content.get("manifest", content))
    target, inputs = mapping(manifest["target"]), sequence(manifest["inputs"], mapping)
    sizes = sequence(inputs[0]["shape"], whole) if inputs else ()
    figures = {BYTES: number(manifest["bytes"]), MEMORY: number(mapping(manifest["memory"])["planned"]), MACS: number(manifest["macs"])}
    threads = None if target["architecture"] == "cuda" else whole(manifest["threads"])
    row = Measured(text(manifest["name"]), "tenfold", sizes[0] if sizes else None, threads, figures)
    notes = ["it was never verified"] if manifest["verification"] is None else []
    machine = {"target": " ".join(f"{name}={value}" for name, value in mapping(target["tvm"]).items())}
    return Results(source, "compile", machine, _texts(manifest["versions"]), [row], notes)


def _compressed(source: str, content: dict[str, Any]) -> Results:
    """Where it has times, the machine that they are of counts; bytes, accuracy and MACs are the same on all."""
    made = optional(mapping)(content.get("made")) or {}
    threads, timed, rows = optional(whole)(made.get("threads")), False, []
    for key, model in (("before", "dense network"), ("after", "factored network")):
        names = {LATENCY: "ms", BYTES: "bytes", ACCURACY: "accuracy", MACS: "macs"}
        found = mapping(content[key])
        figures = {figure: number(found[name]) for figure, name in names.items() if found.get(name) is not None}
        timed |= LATENCY in figures
        rows.append(Measured(model, "tenfold", None, threads, figures))
    machine = {"target": text(content["target"])}
    if timed:
        search = optional(mapping)(content.get("search")) or {}
        machine |= _machine(optional(mapping)(made.get("machine")) or {})
        machine |= {"times": f"modelled by {text(search['modelled'])}"} if search.get("modelled") else {}
    versions = {"model": text(content["model"])[:12], **_texts(made.get("versions") or {})}
    warning = (optional(mapping)(made.get("disturbance")) or {}).get("warning")
    return Results(source, "compress", machine, versions, rows, [text(warning)] if timed and warning else [])


def _suite(source: str, content: dict[str, Any]) -> Results:
    machine, threads = mapping(content["machine"]), optional(whole)(content["threads"])
    rows, failed = [], []
    for row in sequence(content["rows"], mapping):
        name, batch = text(row["name"]), optional(whole)(row.get("batch"))
        if "error" in row:
            failed.append(f"{name} failed: {row['error']}")
        for part, engine, figures in _parts(row):
            rows.append(Measured(f"{name}{part and f', {part}'}", engine, batch, threads, figures))
    return Results(source, text(content["suite"]), _machine(machine), _versions(machine), rows, failed)


def _parts(row: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, float]]]:
    """(what of the row, engine, figures): of networks and layers, of models of CPUs, of tuning, of starting."""
    models = mapping(row.get("models", {}))
    for model, found in models.items():
        macs = {MACS: number(found["macs"])} if "macs" in found else {}
        for engine, ms in mapping(found["ms"]).items():
            yield model if len(models) > 1 else "", engine, {LATENCY: number(ms), **(macs if engine == "tenfold" else {})}
    for cpu, engines in mapping(row.get("cpus", {})).items():
        for engine, found in engines.items() if isinstance(engines, dict) else ():
            yield cpu, engine, {LATENCY: number(found["ms"])}
    for engine, ms in mapping(row.get("ms", {})).items():
        yield "", engine, {LATENCY: number(ms)}
    for engine, seconds in mapping(row.get("s", {})).items():
        yield "", engine, {LATENCY: 1e3 * number(seconds["median"])}
    for engine, peak in mapping(row.get("peak_bytes", {})).items():
        yield "", engine, {MEMORY: number(peak)}


def _machine(machine: dict[str, Any]) -> dict[str, Any]:
    gpu = mapping(machine.get("gpu") or {})
    found = {name: machine.get(name) for name in MACHINE} | {"gpu": gpu.get("name"), "precision": gpu.get("precision")}
    return {name: value for name, value in found.items() if value is not None}


def _versions(machine: dict[str, Any]) -> dict[str, str]:
    gpu = mapping(machine.get("gpu") or {})
    more = {"python": machine.get("python"), "system": machine.get("system"), "driver": gpu.get("driver")}
    return _texts({**machine["versions"], **{name: value for name, value in more.items() if value is not None}})


def _texts(values: Any) -> dict[str, str]:
    return {name: text(value) for name, value in mapping(values).items() if value is not None}
