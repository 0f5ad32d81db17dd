"""The rows of a comparison, opened: every network in every engine that can run it."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.sizes import read_manifests, shapes_text
from ...support.errors import TenfoldError
from ...support.progress import Progress
from ...targets import GpuTarget, resolve
from ..data import Data, Spec, random_inputs
from ..devices.artifacts import read_manifest
from ..devices.device import HERE
from ..devices.here import Here
from ..network_facts import count_params, total_macs
from ..size_folders import extract
from .engines import Engine, Tenfold, describe

if TYPE_CHECKING:
    from ...frontends import Network
    from ..devices.device import Device


@dataclass
class Entry:
    """A network, loaded in an engine."""

    model: str  # as the user gave it
    engine: Engine
    path: Path  # what the engine loaded
    inputs: Sequence[Spec]
    macs: int
    params: int
    bytes: int

    @property
    def engine_name(self) -> str:
        """What tables call the engine."""
        return self.engine.name


@dataclass
class Entries:
    """All of them, the network that errors are measured from (the first model file), and what could not be opened, with the reason."""

    entries: list[Entry] = field(default_factory=list)
    reference: Network | None = None
    skipped: list[tuple[str, str, str]] = field(default_factory=list)


def open_entries(
    paths: Sequence[str | os.PathLike[str]],
    rivals: Sequence[type[Engine]],
    folder: Path,
    threads: int,
    target: Any,
    reading: Mapping[str, Any],
    images: Data | None,
    say: Progress,
    device: Device | None = None,
) -> Entries:
    """Compile the model files into `folder`, and load everything: what Tenfold runs on the device, where there is one.

    Raises
    ------
    TenfoldError
        A path that is neither model nor artifact, or data that does not fit. A rival that can't run a network is no error.
    """
    opened = Entries()
    for number, given in enumerate(paths):
        model, path = os.fspath(given), Path(given)
        if path.is_dir():
            alone = _alone(path, reading, folder / f"size{number}")
            opened.entries.append(_artifact(model, alone, threads, device))
        else:
            _model(opened, model, folder / str(number), rivals, threads, target, reading, say, device)
        if images is not None:
            _check_images(images, opened.entries[-1])
    return opened


def _alone(folder: Path, reading: Mapping[str, Any], output: Path) -> Path:
    """An artifact of one size: of several the first that is as the options of reading say, by itself in the folder `output`."""
    manifests = read_manifests(folder)
    if len(manifests) == 1:
        return folder
    batch, shapes = reading.get("batch"), reading.get("input_shapes") or {}
    for number, manifest in enumerate(manifests, 1):
        known = {port.name: port.shape for port in manifest.inputs}
        if all(known.get(name) == tuple(shape) for name, shape in shapes.items()) and any(batch in (None, *s[:1]) for s in known.values()):
            return extract(folder, number, output)
    raise TenfoldError(f"{folder}: it has no such size, but: {'; '.join(map(shapes_text, manifests))}")


def runs_on_gpu(paths: Sequence[str | os.PathLike[str]], target: Any) -> bool:
    """Whether a network runs on a GPU: an artifact that is for one, or model files that are compiled for one."""
    folders = [Path(path) for path in paths if os.path.isdir(path)]
    return any(read_manifest(folder).on_gpu for folder in folders) or (len(folders) < len(paths) and isinstance(resolve(target), GpuTarget))


def _artifact(model: str, folder: Path, threads: int, device: Device | None) -> Entry:
    engine = Tenfold(device)
    engine.start()
    engine.prepare(folder, threads)
    manifest = engine.artifact.manifest
    return Entry(model, engine, folder, manifest.inputs, manifest.macs, manifest.params, manifest.bytes)


def _model(
    opened: Entries,
    model: str,
    folder: Path,
    rivals: Sequence[type[Engine]],
    threads: int,
    target: Any,
    reading: Mapping[str, Any],
    say: Progress,
    device: Device | None,
) -> None:
    import onnx

    from ...frontends import Reading
    from ...frontends import load as load_network
    from ...passes.inventory import inventory
    from ...passes.simplify.network import simplified
    from ..compile import compile_network

    say(f"reading {model}")
    chosen = resolve(target)
    network = load_network(model, **reading)
    small = simplified(network) if Reading.of("bench", reading).simplify else network
    compile_network(
        small,
        chosen,
        folder / "artifact",
        threads=None if isinstance(chosen, GpuTarget) else threads,
        device=device or HERE,
        progress=lambda step, done=None, total=None: say(f"{step} ({model})", done, total),
    )
    ours = _artifact(model, folder / "artifact", threads, device)
    opened.entries.append(ours)
    opened.reference = opened.reference or network
    normalised = folder / "normalised.onnx"
    onnx.save(network.onnx, normalised)
    feeds, as_given = random_inputs(network.inputs), bool(set(reading) <= {"simplify"})
    # Rivals run the network as it was given.
    macs = ours.macs if small.onnx is network.onnx else total_macs(inventory(network.mod))
    params = count_params(network.onnx)
    for kind in rivals:
        if device is not None and not isinstance(device, Here):
            opened.skipped.append((model, kind.name, f"rivals are measured on this machine, not on {device.name}"))
            continue
        path = _file_for(kind, Path(model), normalised, not as_given)
        say(f"loading {model} in {kind.name}")
        try:
            kind.check()
            engine = kind()
            engine.start()
            engine.prepare(path, threads)
            engine.run(feeds)
        except Exception as error:  # whatever a foreign engine raises, the others still have their rows
            opened.skipped.append((model, kind.name, describe(error)))
            continue
        opened.entries.append(Entry(model, engine, path, network.inputs, macs, params, _size(Path(model))))


def _file_for(kind: type[Engine], model: Path, normalised: Path, fixed: bool) -> Path:
    """The file as the user gave it where the engine can run it as it is; otherwise the normalised ONNX graph."""
    if model.suffix.lower() == kind.reads[0] and not fixed:
        return model
    return normalised


def _size(path: Path) -> int:
    """Bytes of a model file, with the files that it keeps its weights in."""
    import onnx

    size = path.stat().st_size
    if path.suffix.lower() == ".onnx":
        proto = onnx.load(path, load_external_data=False)
        entries = (entry for tensor in proto.graph.initializer for entry in tensor.external_data if entry.key == "location")
        size += sum((path.parent / name).stat().st_size for name in {entry.value for entry in entries})
    return size


def _check_images(images: Data, one: Entry) -> None:
    if len(one.inputs) != 1:
        raise TenfoldError(f"{one.model}: it has {len(one.inputs)} inputs; data can be given for networks of one input only")
    images.check(one.inputs[0], one.model)
