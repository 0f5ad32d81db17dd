"""Verifying an artifact through a device: against its model, or against what was kept of that; and the record of it in the manifest."""
from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..runtime.artifact import Artifact
from ..runtime.manifest import MANIFEST, REFERENCE, Manifest, Port
from ..runtime.sizes import numbered, read_manifests
from ..support.errors import TenfoldError, VerificationError
from ..support.files.folder import locked
from ..support.files.regular import read_regular
from ..support.files.whole import destination, write_text
from ..support.progress import Progress, reporter
from ..targets.target import FLOAT32
from .check_reading import check_images, check_reading, verification_inputs
from .data import Data
from .devices.artifacts import load_on, read_manifest
from .devices.choose import opened
from .devices.device import Device
from .judgement import Verified, judge
from .kept_reference import KeptReference
from .rounding_tolerance import rounding_tolerance
from .tolerance import Tolerance

if TYPE_CHECKING:
    from ..frontends import Network
    from ..frontends.reference import Reference
    from .build import Variant

SOURCE = ("input_shapes", "batch", "outputs")  # options of reading a model that an artifact remembers


def verify(
    folder: str | os.PathLike[str],
    model: Any = None,
    *,
    device: Device | str | None = None,
    data: Any = None,
    tolerance: float | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Verify an artifact on a device, and note in its manifest that it was.

    Parameters
    ----------
    folder : path
        What `compile` wrote.
    model : path or object, optional
        What it was compiled from, to compare with. Default: the file that the manifest names, if it is still there and the same; else
        reference.npz in the folder. A factored network is compared with that first: factors that another machine computes from the
        same plan may be others.
    device : Device or str, optional
        Where it runs: ``here``, ``HOST:PORT``, ``tracker:HOST:PORT/KEY``, ``emulated`` or ``emulated:CPU``. Default: this machine, or an
        emulator where this can't run it.
    data : path, dict or ndarray, optional
        Real inputs to verify on, besides random ones; with the model only.
    tolerance : float, optional
        Default: the one that was asked for when it was compiled.
    trust : bool
        As of `compile`.
    progress : callable, optional
        Called with a few words when a step begins.

    Returns
    -------
    Manifest
        As it is now. Of an artifact of several sizes each is verified, and this is the first one's.

    Raises
    ------
    TenfoldError
        The folder is no artifact, there is nothing to compare it with, the model is another one, or no device can run it.
    VerificationError
        It is wrong. The manifest stays as it was.
    """
    path, say = Path(folder), reporter(progress)
    first = read_manifest(path)
    manifests = read_manifests(path)
    files = [path / numbered(MANIFEST, number) for number in range(1, len(manifests) + 1)]
    before = [read_regular(file) for file in files]
    for file in files:
        destination(file)  # what can't be written is told before the work
    images = None if data is None else Data.of(data, first.inputs)
    done = []
    with opened(device, first.target, say) as (where, lack):
        if where is None:
            raise TenfoldError(f"{path}: it can't run here: {lack}: {advice(path)}")
        given = [_variant(path, number, manifest, model, trust, say) for number, manifest in enumerate(manifests, 1)]
        say(f"loading it on {where.name}")
        sizes = load_on(where, path).sizes
        say("verifying")
        for manifest, artifact, expected in zip(manifests, sizes, given, strict=True):
            asked = manifest.source["tolerance"] if tolerance is None else tolerance
            if isinstance(expected, KeptReference):
                found = _verify_kept(expected, artifact, manifest, where, images, asked)
            else:
                if images is not None:
                    check_images(images, expected.network)
                found = verify_variant(expected, artifact, where, images, asked)
            done.append(replace(manifest, verification=found))
    with locked(path):
        for file, content in zip(files, before, strict=True):
            if read_regular(file) != content:
                raise TenfoldError(f"{file}: it was changed while this ran: nothing was written")
        for file, manifest in zip(files, done, strict=True):
            write_text(file, manifest.to_json())
    return done[0]


def verify_variant(
    variant: Variant,
    artifact: Artifact,
    device: Device,
    images: Data | None,
    tolerance: float | None,
    explain: Callable[[float], str] = lambda tolerance: "",
) -> dict[str, Any]:
    """Compare an artifact with the network that it was compiled from; what the manifest says of it.

    Parameters
    ----------
    variant : Variant
    artifact : Artifact
        Loaded on the device.
    device : Device
    images : Data or None
    tolerance : float or None
        As of `compile`.
    explain : callable
        Of the tolerance; what to add to the message where the network is wrong.

    Raises
    ------
    VerificationError
        It differs.
    """
    network, reference = variant.network, variant.reference
    precision = artifact.manifest.target.get("precision", FLOAT32)
    allowed = Tolerance.of(network.run_reference.precision, tolerance, precision)
    if variant.plan is not None:
        check_reading(network, images, tolerance)  # the reference is what was read
    names = [spec.name for spec in network.outputs]

    def judged(allowed: Tolerance) -> Verified:
        return judge(lambda feeds: list(artifact.run(feeds).values()), reference, verification_inputs(network, images), names, allowed)

    try:
        try:
            found = judged(allowed)
        except VerificationError:
            wider = None if tolerance is not None else rounding_tolerance(reference, verification_inputs(network, images), precision)
            if wider is None or wider.value <= allowed.value:
                raise
            found = judged(wider)
    except VerificationError as error:
        check_reading(network, images, tolerance)  # says more, where that is what is wrong
        raise VerificationError(f"{network.name}: {error}{explain(allowed.value)}") from None
    note = {} if variant.plan is None else {"reference": f"{reference.name}, plan applied"}
    return {"device": device.describe(), **found.to_dict(), **note}


def advice(folder: str | os.PathLike[str]) -> str:
    """How an artifact can be verified that can't run here."""
    here, there = shlex.quote(os.fspath(folder)), shlex.quote(Path(folder).name)
    return f"run `tenfold verify {here} --device HOST:PORT`, or copy it there and run `tenfold verify {there}`"


def _verify_kept(
    kept: KeptReference, artifact: Artifact, manifest: Manifest, device: Device, images: Data | None, tolerance: float | None
) -> dict[str, Any]:
    if images is not None:
        raise TenfoldError(f"{artifact.folder}: real inputs need the model to compare with: give it with --model")
    allowed = kept.tolerance if tolerance in (None, kept.tolerance.value) else replace(kept.tolerance, value=tolerance, reason="as asked")
    names = [port.name for port in manifest.outputs]
    sets = [feeds for feeds, _ in kept.sets]
    try:
        # It has what a judgement asks a reference for.
        found = judge(lambda feeds: list(artifact.run(feeds).values()), cast("Reference", kept), sets, names, allowed)
    except VerificationError as error:
        raise VerificationError(f"{artifact.folder}: {error}; against the model (--model) more can be told") from None
    return {"device": device.describe(), **found.to_dict()}


def _variant(folder: Path, number: int, manifest: Manifest, model: Any, trust: bool, say: Progress) -> Variant | KeptReference:
    """What an artifact is compared with."""
    named = manifest.source["path"]
    if model is not None:
        network = _network(manifest, model, trust, say)
        if network.sha256 != manifest.model_sha256:
            raise TenfoldError(f"{network.name}: this is not the model that {folder} was compiled from (the SHA-256 differs)")
        return _fitting(folder, manifest, network)
    kept = manifest.reference is not None
    if named is not None and os.path.isfile(named) and not (kept and manifest.plan):
        network = _network(manifest, named, trust, say)
        if network.sha256 == manifest.model_sha256:
            return _fitting(folder, manifest, network)
    if kept:
        return KeptReference.read(folder, manifest, number)
    what = "it was compiled from no file" if named is None else f"{named} is not there, or is another model by now"
    raise TenfoldError(f"{folder}: there is nothing to compare it with: {what}, and there is no {REFERENCE}: give the model with --model")


def _network(manifest: Manifest, model: Any, trust: bool, say: Progress) -> Network:
    from ..passes.simplify.network import load as load_network
    from .build import require_compiler

    require_compiler()
    say("reading the network")
    return load_network(model, **{name: manifest.source[name] for name in SOURCE}, trust=trust, simplify=manifest.simplified is not None)


def _fitting(folder: Path, manifest: Manifest, network: Network) -> Variant:
    from ..factorization.plan import Plan
    from .build import make_variant

    for ours, theirs in ((manifest.inputs, network.inputs), (manifest.outputs, network.outputs)):
        if ours != tuple(Port(spec.name, spec.shape, spec.dtype) for spec in theirs):
            raise TenfoldError(f"{network.name}: read as {folder} says, it has other inputs or outputs than that: compile it again")
    plan = None if manifest.plan is None else Plan.from_json(json.dumps(manifest.plan), f"{folder / MANIFEST}: plan")
    return make_variant(network, plan)
