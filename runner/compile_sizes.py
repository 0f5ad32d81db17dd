"""One artifact for several sizes of a network: each is compiled and verified like any other, then they share a folder (`runtime.sizes`)."""
from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.artifact import Artifact
from ..runtime.batches import Batches, find_batches
from ..runtime.manifest import MANIFEST, Manifest
from ..runtime.sizes import MOST_SIZES
from ..support.errors import TenfoldError
from ..support.files.folder import check_output, output_folder
from ..support.files.temporary import TemporaryFolder
from ..support.progress import Progress
from ..targets import GpuTarget
from .data import random_inputs
from .devices.artifacts import load_if_here
from .earlier import ARTIFACT
from .size_folders import join
from .tolerance import Tolerance
from .verify import compare_arrays

if TYPE_CHECKING:
    from ..frontends import Network
    from ..targets import Target


def split_sizes(reading: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How to read a model in each of its sizes: every batch with every mapping of ``input_shapes``, where there are several.

    Parameters
    ----------
    reading : mapping
        Keywords as of `frontends.Reading`; ``batch`` and ``input_shapes`` may be sequences.

    Raises
    ------
    TenfoldError
        A sequence is empty or says something twice, or there are too many sizes.
    """
    sequences = [(name, list(reading[name])) for name in ("input_shapes", "batch") if isinstance(reading.get(name), list | tuple)]
    for name, values in sequences:
        if not values:
            raise TenfoldError(f"{name} must not be empty: give one size at least")
        if twice := [value for number, value in enumerate(values) if value in values[:number]]:
            raise TenfoldError(f"{name} {twice[0]!r} is given twice: leave it out once")
    combined = list(product(*(values for _, values in sequences)))
    if len(combined) > MOST_SIZES:
        raise TenfoldError(f"{len(combined)} sizes are more than the {MOST_SIZES} that an artifact can have: give fewer")
    return [{**reading, **{name: value for (name, _), value in zip(sequences, each, strict=True)}} for each in combined]


def compile_sizes(
    networks: Sequence[Network],
    target: Target,
    output: str | os.PathLike[str] | None,
    compile_network: Callable[..., Artifact],
    sources: Sequence[dict[str, Any]],
    **how: Any,
) -> Artifact:
    """Compile a network in several sizes to one artifact.

    Parameters
    ----------
    networks : sequence of Network
        The network, read in each size.
    target : Target
    output : path or None
        As of `compile`.
    compile_network : callable
        What compiles one of them to a folder: `runner.compile.compile_network`.
    sources : sequence of dict
        How each was read.
    **how
        The other arguments of `compile_network`.

    Raises
    ------
    TenfoldError
        Two sizes have the same inputs, or other ports than the first; the target is a GPU.
    VerificationError
        A size is wrong. Nothing is written.
    """
    if isinstance(target, GpuTarget):
        raise TenfoldError(f"target {target.name}: several sizes in one artifact are for CPUs: compile each size into a folder of its own")
    names = [_sizes_text(network) for network in networks]
    for number, network in enumerate(networks):
        _check_ports(networks[0], network)
        if names[number] in names[:number]:
            raise TenfoldError(f"{network.name}: two of the sizes have the same inputs ({names[number]}): the model fixes them; give one")
    if output is not None:
        check_output(output, ARTIFACT)
    holder = None
    if output is None:
        holder = TemporaryFolder()
        output = holder.path / "artifact"
    progress = how.pop("progress", None)
    packed: dict[str, Any] = {}  # how each size has packed its weights: the next ones read the same forms where that costs little
    with TemporaryFolder() as work:
        folders = [work / str(number) for number in range(len(networks))]
        for folder, name, network, source in zip(folders, names, networks, sources, strict=True):
            compile_network(network, target, folder, source=source, packed=packed, progress=_prefixed(progress, name), **how)
        independent = are_independent(networks, how.get("tolerance"))
        with output_folder(output, ARTIFACT) as together:
            join(folders, together, independent)
            artifact = load_if_here(together, Manifest.read(together / MANIFEST), target.cores)
    for each in (artifact, *artifact.sizes):
        each.folder = Path(output)
    if holder is not None:
        weakref.finalize(artifact, holder.remove)
    return artifact


def are_independent(networks: Sequence[Network], tolerance: float | None = None) -> bool:
    """Whether a batch gives what its images give in smaller batches, as far as the reference says of random inputs.

    It is asked of the largest batch among sizes that differ in their batch alone. In a network that, say, takes a softmax over the batch,
    images depend on each other.
    """
    forms = [tuple(tuple(tuple(port.shape) for port in ports) for ports in (network.inputs, network.outputs)) for network in networks]
    return all(_is_independent(networks, batches, tolerance) for batches in find_batches([(ins, outs) for ins, outs in forms]).values())


def _is_independent(networks: Sequence[Network], batches: Batches, tolerance: float | None) -> bool:
    *smaller, largest = batches.members
    network = networks[batches.members[largest]]
    feeds = random_inputs(network.inputs)

    def run(number: int, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        other = networks[number]
        return other.run_reference({port.name: array for port, array in zip(other.inputs, arrays, strict=True)})

    others = Batches({batch: batches.members[batch] for batch in smaller}, batches.firsts)
    parts, whole = others.run([feeds[port.name] for port in network.inputs], largest, run), network.run_reference(feeds)
    allowed = Tolerance.of(network.run_reference.precision, tolerance).value
    return all(compare_arrays(part, each).relative <= allowed for part, each in zip(parts, whole, strict=True))


def _sizes_text(network: Network) -> str:
    return ", ".join(f"{port.name} {'x'.join(map(str, port.shape))}" for port in network.inputs)


def _check_ports(first: Network, other: Network) -> None:
    for ours, theirs in ((first.inputs, other.inputs), (first.outputs, other.outputs)):
        if [(port.name, port.dtype, len(port.shape)) for port in ours] != [(port.name, port.dtype, len(port.shape)) for port in theirs]:
            raise TenfoldError(f"{first.name}: its sizes have different inputs or outputs: compile each into a folder of its own")


def _prefixed(progress: Progress | None, name: str) -> Progress | None:
    """Progress that tells which size is worked on."""
    if progress is None:
        return None
    return lambda step, done=None, total=None: progress(f"{name}: {step}", done, total)
