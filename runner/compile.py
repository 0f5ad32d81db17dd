"""A trained network -> an artifact folder: built, loaded back, verified, and only then put in place."""
from __future__ import annotations

import json
import os
import platform
import weakref
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.artifact import Artifact, check_cpu, load
from ..runtime.manifest import LIBRARY, MANIFEST, WEIGHTS, Manifest, Port, sha256_of
from ..runtime.memory_plan import tensor_bytes
from ..support.errors import VerificationError
from ..support.files.folder import output_folder
from ..support.files.inputs import protect
from ..support.files.temporary import TemporaryFolder
from ..support.progress import Progress, reporter
from .build import Built, Variant, build_library, describe_target, make_variant, read_plan, require_compiler, with_threads
from .check_reading import check_images, check_reading, verification_inputs
from .data import Data
from .earlier import ARTIFACT
from .first_difference import first_difference
from .judgement import judge
from .network_facts import count_params, total_macs
from .tolerance import Tolerance

if TYPE_CHECKING:
    from ..factorization.plan import Plan
    from ..frontends import Network
    from ..targets import Target

PACKAGES = {"tenfold": "tenfold", "tvm": "apache-tvm", "numpy": "numpy", "onnxruntime": "onnxruntime"}


def compile(  # noqa: A001 - the verb of the public API
    model: Any,
    target: str | Target | dict[str, Any] | None = "host",
    output: str | os.PathLike[str] | None = None,
    *,
    plan: Plan | str | os.PathLike[str] | None = None,
    threads: int | None = None,
    data: Any = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> Artifact:
    """Compile a network and verify it against an independent engine.

    Parameters
    ----------
    model : path, onnx.ModelProto, torch.export.ExportedProgram or torch.nn.Module
    target : str, Target or dict
        A preset's name, ``host``, or a TVM target as dict or JSON.
    output : path, optional
        The folder to write; an artifact that is there already is replaced, nothing else is. Default: a temporary one that lasts as long
        as the Artifact.
    plan : Plan or path, optional
        Factor the layers that it names. The reference is then the network with the same plan applied.
    threads : int, optional
        Default: the physical cores of the target.
    data : path, dict or ndarray, optional
        Real inputs (``x``) to verify on too, besides random ones.
    tolerance : float, optional
        The largest difference from the reference that is accepted, over the largest element of an output. Default: 1e-4, and more where
        the values of the model are known less exactly (`runner.tolerance`).
    progress : callable, optional
        Called with a few words when a step begins, and with what is done of it; see `progress.Progress`.
    **reading
        How to read the model: ``input_shapes``, ``batch``, ``example_inputs`` (for an nn.Module) and the other attributes of
        `frontends.Reading`.

    Returns
    -------
    Artifact

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments.
    VerificationError
        The compiled network differs from the reference; the message says by how much and from which layer on. Nothing is written.
    """
    from ..frontends import Reading
    from ..frontends import load as load_network
    from ..targets import resolve

    Reading.of("compile", reading)
    say = reporter(progress)
    require_compiler()
    chosen = resolve(target)
    given, plan = plan, read_plan(plan)
    say("reading the network")
    network = load_network(model, **reading)
    with protect(model, given, data):
        return compile_network(network, chosen, output, plan=plan, threads=threads, data=data, tolerance=tolerance, progress=progress)


def compile_network(
    network: Network,
    target: Target,
    output: str | os.PathLike[str] | None = None,
    *,
    plan: Plan | None = None,
    threads: int | None = None,
    data: Any = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """`compile` for a network that is read already."""
    say = reporter(progress)
    require_compiler()
    target = with_threads(target, threads)
    check_cpu(f"target {target.name}", describe_target(target))
    images = None if data is None else Data.of(data)
    if images is not None:
        check_images(images, network)
    Tolerance.of(network.run_reference.precision, tolerance)  # is it one?
    variant = make_variant(network, plan)
    holder = None
    if output is None:
        holder = TemporaryFolder()
        output = holder.path / "artifact"
    with output_folder(output, ARTIFACT) as folder:
        say("compiling")
        built = build_library(variant.mod, target, folder, say)
        manifest = _manifest(variant, target, folder, built)
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        say("verifying")
        artifact = load(folder, target.cores)  # as a user will
        manifest = replace(manifest, verification=_verify(variant, target, artifact, images, tolerance))
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    artifact.folder, artifact.manifest = Path(output), manifest
    if holder is not None:
        weakref.finalize(artifact, holder.remove)
    return artifact


def _manifest(variant: Variant, target: Target, folder: Path, built: Built) -> Manifest:
    from ..passes.inventory import inventory

    network = variant.network
    memory = {**built.memory, "outputs": sum(tensor_bytes(spec.dtype, spec.shape) for spec in network.outputs)}
    return Manifest(
        name=network.name,
        model_sha256=network.sha256,
        inputs=tuple(Port(spec.name, spec.shape, spec.dtype) for spec in network.inputs),
        outputs=tuple(Port(spec.name, spec.shape, spec.dtype) for spec in network.outputs),
        target=describe_target(target),
        threads=target.cores,
        versions={**{name: metadata.version(package) for name, package in PACKAGES.items()}, "python": platform.python_version()},
        plan=None if variant.plan is None else json.loads(variant.plan.to_json()),
        library_sha256=sha256_of(folder / LIBRARY),
        weights_sha256=sha256_of(folder / WEIGHTS),
        bytes=sum((folder / name).stat().st_size for name in (LIBRARY, WEIGHTS)),
        memory={**memory, "planned": sum(memory.values())},
        kernels=built.kernels,
        pieces=built.pieces,
        macs=total_macs(inventory(variant.mod)),
        params=count_params(variant.onnx),
        verification={},
        unscheduled=built.unscheduled,
    )


def _verify(variant: Variant, target: Target, artifact: Artifact, images: Data | None, tolerance: float | None) -> dict[str, Any]:
    network, reference = variant.network, variant.reference
    allowed = Tolerance.of(network.run_reference.precision, tolerance)
    if variant.plan is not None:
        check_reading(network, images, tolerance)  # the reference is what was read
    names = [spec.name for spec in network.outputs]
    try:
        found = judge(lambda feeds: list(artifact.run(feeds).values()), reference, verification_inputs(network, images), names, allowed)
    except VerificationError as error:
        check_reading(network, images, tolerance)  # says more, where that is what is wrong
        raise VerificationError(f"{network.name}: {error}{first_difference(variant, target, allowed.value)}") from None
    note = {} if variant.plan is None else {"reference": f"{reference.name}, plan applied"}
    return {**found.to_dict(), **note}
