"""By what each result was made, on which machine, and how it was verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..runner.report import count, size
from ..runtime.manifest import KERNELS_EMULATED, Manifest
from .sources import Benched, Compiled, Compressed, Source

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Origin:
    """Of one folder or file: what it is, what is to be said of it (in words, by a heading), and its command."""

    name: str
    kind: str
    facts: Facts
    command: str | None
    verified: bool | None = None


def origin(source: Source) -> Origin:
    """What a result says of itself."""
    if isinstance(source, Compressed):
        return _compressed(source)
    return _compiled(source) if isinstance(source, Compiled) else _benched(source)


def _compressed(source: Compressed) -> Origin:
    report = source.report
    made, search = report["made"] or {}, report["search"]
    threads = [] if made.get("threads") is None else [("threads", str(made["threads"]))]
    facts = [("target", report["target"]), *_machine(made.get("machine")), *threads, *_versions(made.get("versions")), *_disturbed(made)]
    facts += _search(search) if search is not None else []
    if (reading := report["reading"]) is not None:
        facts += [("reading", _verified(reading)), *(("note", note) for note in reading["notes"] or ())]
    if report["output_error"] is not None:
        facts.append(("outputs", f"differ from the dense network's by up to {report['output_error']:.2g} of the largest, on random inputs"))
    return Origin(source.name, "factored by compress", facts, made.get("command"))


def _search(search: Mapping[str, Any]) -> Facts:
    facts: Facts = []
    bounds = {name: value for name, value in (search["budget"] or {}).items() if value is not None}
    if bounds:
        facts.append(("budget", ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in bounds.items())))
    if search["images"]:
        facts.append(("images", ", ".join(f"{number} {use.replace('_', ' ')}" for use, number in search["images"].items())))
    if search["tried"] is not None and search["seconds"] is not None:
        facts.append(("search", f"{search['tried']} plans verified on the held-out images, {search['seconds']:.0f} s"))
    if search["modelled"]:
        facts.append(("times", f"modelled by {search['modelled']}; none was measured"))
    return facts


def _precisions(manifest: Manifest) -> str:
    """Of the kernels that multiply: one word, or how many have which."""
    asked = manifest.target.get("precision", "float32")
    found = Counter(kernel.get("precision", "float32") for kernel in manifest.kernels if kernel["macs"])
    if len(found) < 2:
        return next(iter(found), asked)
    return ", ".join(f"{precision} in {number} of {found.total()} kernels" for precision, number in found.most_common())


def _compiled(source: Compiled) -> Origin:
    manifest = source.manifest
    tvm = " ".join(f"{key}={value}" for key, value in manifest.target["tvm"].items())
    facts = [("network", manifest.name), ("target", f"{manifest.target['name']} ({tvm})")]
    facts += [] if manifest.on_gpu else [("threads", str(manifest.threads))]
    facts.append(("precision", _precisions(manifest)))
    facts.append(("cost", f"{count(manifest.macs)} MACs, {count(manifest.params)} parameters, {len(manifest.kernels)} kernels"))
    facts.append(("memory", ", ".join(f"{size(number)} {part}" for part, number in manifest.memory.items())))
    if manifest.simplified is not None and manifest.simplified["merges"]:
        facts.append(("merged", f"{len(manifest.simplified['merges'])} times, exactly, before compiling"))
    if manifest.tuning is not None:
        records = sum(kernel["by"] == "record" for kernel in manifest.tuning["kernels"].values())
        facts.append(("tuned", f"{records} of {len(manifest.tuning['kernels'])} kernels by records of the tuner"))
    check = manifest.verification
    if check is None:
        facts.append(("verified", f"never: tenfold verify {source.name} does that"))
    else:
        word = "emulated" if check["device"] == KERNELS_EMULATED else "verified"
        facts += [(word, f"on {check['device']}, {_verified(check)}"), *(("note", note) for note in check["notes"])]
    facts += _versions(manifest.versions)
    return Origin(source.name, "compiled", facts, manifest.command, check is not None)


def _benched(source: Benched) -> Origin:
    content = source.content
    facts = _machine(content["machine"])
    facts += [] if content["threads"] is None else [("threads", f"{content['threads']} for every engine")]
    facts += _versions(content["machine"]["versions"])
    facts += _disturbed(content)
    facts += [("no row", f"{each['model']} in {each['engine']}: {each['reason']}") for each in content["skipped"] or ()]
    return Origin(source.name, "measured by bench", facts, content["command"])


def _disturbed(what: Mapping[str, Any]) -> Facts:
    """What speaks against its times."""
    warning = (what.get("disturbance") or {}).get("warning")
    return [("disturbed", warning)] if warning else []


def _verified(check: Mapping[str, Any]) -> str:
    errors = f"largest error {check['max_abs_error']:.1e}, {check['max_rel_error']:.1e} of the largest output"
    return f"against {check['reference']} on {check['inputs']} sets of inputs: {errors} (tolerance {check['tolerance']:.1e})"


def _machine(machine: Mapping[str, Any] | None) -> Facts:
    if machine is None:
        return []
    cores = [] if machine["physical_cores"] is None else [f"{machine['physical_cores']} cores"]
    bits = [] if machine["vector_bits"] is None else [f"{machine['vector_bits']}-bit vectors"]
    words = _joined([machine["cpu"], *cores, *bits, machine["system"]])
    gpu = machine["gpu"]
    return [*([("machine", words)] if words else []), *([("GPU", _joined([gpu["name"], gpu["driver"]]))] if gpu else [])]


def _versions(versions: Mapping[str, str | None] | None) -> Facts:
    known = [f"{name} {version}" for name, version in (versions or {}).items() if version is not None]
    return [("versions", ", ".join(known))] if known else []


def _joined(words: Iterable[str | None]) -> str:
    return ", ".join(word for word in words if word)
