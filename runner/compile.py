"""A trained network -> an artifact folder: built, loaded back on a device, verified there, and only then put in place."""
from __future__ import annotations

import functools
import json
import os
import platform
import weakref
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.artifact import Artifact
from ..runtime.manifest import MANIFEST, WEIGHTS, Manifest, Port, library_name, sha256_of
from ..runtime.memory_plan import tensor_bytes
from ..runtime.weights import pack_file
from ..support.command_line import command_line
from ..support.errors import TenfoldError
from ..support.files.folder import check_output, output_folder
from ..support.files.inputs import protect
from ..support.files.temporary import TemporaryFolder
from ..support.progress import Progress, reporter
from ..targets import CpuTarget
from ..targets.target import FLOAT32, INT8
from .build import Built, Variant, build_library, describe_target, make_variant, read_plan, require_compiler, with_threads
from .check_reading import check_images, check_reading, verification_inputs
from .compile_sizes import compile_sizes, split_sizes
from .data import Data
from .devices.artifacts import load_if_here, load_on
from .devices.choose import opened, target_on
from .devices.device import HERE, Device
from .earlier import ARTIFACT
from .first_difference import first_difference
from .kept_reference import keep_reference
from .kernel_choices import checked_choices, read_choices
from .network_facts import count_params, total_macs
from .quantize.clustering import Clustering, clustered
from .quantize.quantize import NEEDS_DATA, quantize_network
from .tolerance import Tolerance
from .tuning_records.files import named_folder
from .tuning_records.tuned import Tuned, TuneLogs
from .verification import SOURCE, verify_variant

if TYPE_CHECKING:
    from ..factorization.plan import Plan
    from ..frontends import Network, Reading
    from ..schedules.space import Point
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
    device: Device | str | None = None,
    choices: Mapping[str, Mapping[str, Any]] | str | os.PathLike[str] | None = None,
    precision: str | None = None,
    size: str | None = None,
    tune_log: TuneLogs = True,
    progress: Progress | None = None,
    **reading: Any,
) -> Artifact:
    """Compile a network and verify it against an independent engine.

    It is verified where it runs: on this machine, or through a device. Where nothing can run it, the artifact is written all the same:
    its manifest says that it is not verified, and reference.npz in its folder holds what `verify` needs to do that elsewhere.

    Parameters
    ----------
    model : path, onnx.ModelProto, torch.export.ExportedProgram or torch.nn.Module
    target : str, Target or dict
        A preset's name, ``host``, or a TVM target as dict or JSON. ``host`` means the device, where a remote one is given.
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
    device : Device or str, optional
        What verifies it: ``here``, ``HOST:PORT`` (where ``tenfold serve`` runs), ``tracker:HOST:PORT/KEY`` (any that is registered there),
        ``emulated`` or ``emulated:CPU``. Default: this machine; where that can't run the target, an emulator that is installed and can;
        else nothing.
    choices : mapping or path, optional
        What kernels are built from, by workload, instead of what the model of the machine chooses: a mapping, a JSON file that holds one,
        or the folder of an artifact whose kernels are wanted once more. Workloads that the network does not have are passed over.
    precision : str, optional
        Of the operands of products: ``float32``, or on the tensor cores of GPUs ``tf32`` or ``float16`` (also called ``fp16``). Default:
        the target's, float32. Sums, and what lies between kernels, are float32. On CPUs ``bfloat16``, where they have AVX-512 BF16 or the
        like: operands of products, and what lies between such kernels, are rounded where the model of the machine says that this is faster;
        sums are float32. Or ``float16``: weights of layers that are read once lie so in memory, all else is float32; this is what a network
        in float16 gets without it. Or ``int8``: the network is quantized first, as `quantize` does it,
        calibrated with `data`, and verified against the quantized network.
    size : str, optional
        Keep weights as indices of few values: bits of an index from 2 to 8, and ``:kmeans`` (the default) or ``:round``, such as
        ``"5:kmeans"``. weights.bin shrinks, and is unpacked when it is loaded. The artifact is verified against the network with these
        weights. No kernel is one of Winograd's then. With labels in `data` the accuracy is told. CPUs only.
    tune_log : bool or path
        Records of ``tenfold tune`` on exactly this processor, which kernels without a choice are built from: those that are shipped and
        the user's own (True), none (False), or those in a folder of logs. The manifest says what came from where.
    progress : callable, optional
        Called with a few words when a step begins, and with what is done of it; see `progress.Progress`.
    **reading
        How to read the model: ``input_shapes``, ``batch``, ``example_inputs`` (for an nn.Module) and the other attributes of
        `frontends.Reading`. Of ``batch`` there may be several, ``(1, 4, 16)``, and a sequence of ``input_shapes``: the artifact is for all
        of these sizes then, and puts other batches together from them (`runner.compile_sizes`).

    Returns
    -------
    Artifact
        Loaded on this machine. Where that can't run it, calling it is an error that says why.

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments; a device that is named but can't run the target.
    VerificationError
        The compiled network differs from the reference; the message says by how much and from which layer on. Nothing is written.
    """
    from ..frontends import Reading
    from ..passes.simplify.network import load as load_network

    readings = split_sizes(reading)
    options = [Reading.of("compile", each) for each in readings]
    say = reporter(progress)
    require_compiler()
    with target_on(device, target, say) as (chosen, where):
        made, quantized = None if size is None else Clustering.parse(size), precision == INT8
        if made is not None and precision not in (None, FLOAT32, INT8):
            raise TenfoldError(f"a size and precision {precision}: give one of them; a size keeps weights as indices of float32 numbers")
        if made is not None:
            chosen = _plain_target(chosen, plan, quantized)
        if quantized:
            _check_quantizing(plan, data)
            if output is not None:
                check_output(output, ARTIFACT)  # before the work that takes long
        chosen = chosen if precision is None or quantized else chosen.with_precision(precision)
        given, plan, points = plan, read_plan(plan), read_choices(choices)
        logs = None if isinstance(tune_log, bool) else named_folder(tune_log)
        say("reading the network")
        networks = [load_network(model, **each) for each in readings]
        if len(networks) > 1 and (quantized or made is not None):
            what = "--precision int8" if quantized else "--size"
            raise TenfoldError(f"{what} is for one size: leave the others out"
                               + ", or quantize the network first (tenfold quantize) and compile that" * quantized)
        if quantized:
            networks = [_quantized(networks[0], data, progress)]
        if made is not None:
            networks = [_clustered(networks[0], made, data, say)]
        if isinstance(chosen, CpuTarget) and made is None:
            chosen = chosen.with_stored(networks[0].run_reference.precision.dtype)
        files = (network.from_file for network in networks)
        sources = [_source(*((model, each) if is_file else (None, None))) for is_file, each in zip(files, options, strict=True)]
        with protect(model, given, data, None if isinstance(choices, Mapping) else choices, logs):
            how = {"plan": plan, "threads": threads, "data": data, "tolerance": tolerance, "device": where, "choices": points,
                   "tune_log": tune_log, "progress": progress}
            if len(networks) == 1:
                return compile_network(networks[0], chosen, output, source=sources[0], **how)
            return compile_sizes(networks, chosen, output, compile_network, sources, **how)


def compile_network(
    network: Network,
    target: Target,
    output: str | os.PathLike[str] | None = None,
    *,
    plan: Plan | None = None,
    threads: int | None = None,
    data: Any = None,
    tolerance: float | None = None,
    device: Device | str | None = None,
    choices: Mapping[str, Point] | None = None,
    tune_log: TuneLogs = True,
    source: dict[str, Any] | None = None,
    packed: dict[str, list[Point]] | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """`compile` for a network that is read already; `source` says how (`Manifest.source`), without the tolerance.

    `packed` is of other sizes of the network, see `build.build_library`.
    """
    say = reporter(progress)
    require_compiler()
    target = with_threads(target, threads)
    images = None if data is None else Data.of(data, network.inputs)
    if images is not None:
        check_images(images, network)
    allowed = Tolerance.of(network.run_reference.precision, tolerance, target.precision)
    variant = make_variant(network, plan)
    holder = None
    if output is None:
        holder = TemporaryFolder()
        output = holder.path / "artifact"
    described = describe_target(target)
    with opened(device, described, say) as (where, _), output_folder(output, ARTIFACT) as folder:
        say("compiling")
        tuned = Tuned(tune_log, target, where)
        built = build_library(variant.mod, target, folder, say, choices, tuned, packed)
        tuned.warn(built)
        if network.clustered is not None:
            network.clustered["packed"] = pack_file(folder / WEIGHTS)
        manifest = _manifest(variant, target, folder, built, {**(source or _source(None, None)), "tolerance": tolerance})
        manifest = replace(manifest, tuning=tuned.facts(built))
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        if where is None:
            say("keeping what it is to be verified with")
            artifact = load_if_here(folder, manifest, target.cores)
            manifest = replace(manifest, reference=_kept(variant, folder, manifest, images, tolerance, allowed))
        else:
            say("verifying" if where.name == HERE else f"verifying on {where.name}")
            artifact = load_on(where, folder, target.cores)  # as a user will
            explain = functools.partial(first_difference, variant, target, where, tuned)
            manifest = replace(manifest, verification=verify_variant(variant, artifact, where, images, tolerance, explain))
            if not network.from_file:
                manifest = replace(manifest, reference=_kept(variant, folder, manifest, images, tolerance, allowed))
            if where.name != HERE:
                artifact = load_if_here(folder, manifest, target.cores)
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    artifact.folder, artifact.manifest = Path(output), manifest
    if holder is not None:
        weakref.finalize(artifact, holder.remove)
    return artifact


def _check_quantizing(plan: Any, data: Any) -> None:
    if plan is not None:
        raise TenfoldError(f"precision {INT8} and a plan: write the factored network with compress, and compile its model.onnx with {INT8}")
    if data is None:
        raise TenfoldError(f"precision {INT8}: {NEEDS_DATA}")


def _plain_target(target: Target, plan: Any, quantized: bool) -> CpuTarget:
    if not isinstance(target, CpuTarget):
        raise TenfoldError(f"a size is of CPUs, {target.name} is a GPU: leave it out")
    if plan is not None or quantized:
        raise TenfoldError(f"a size and {f'precision {INT8}' if quantized else 'a plan'}: give one of them; compile what compress wrote")
    return target.with_plain_weights()


def _clustered(network: Network, how: Clustering, data: Any, say: Progress) -> Network:
    """The network with few weights."""
    images = None if data is None else Data.of(data, network.inputs)
    if images is not None:
        check_images(images, network)
    check_reading(network, images)
    return clustered(network, how, images, say)


def _quantized(network: Network, data: Any, progress: Progress | None) -> Network:
    """The quantized network, read as a file of it would be."""
    from ..frontends import load
    images = Data.of(data, network.inputs)
    check_images(images, network)
    check_reading(network, images)
    done = quantize_network(network, images, progress=progress)
    quantized = load(done.onnx)
    quantized.name, quantized.simplified, quantized.quantized = network.name, network.simplified, done.summary()
    return quantized


def _source(model: Any, options: Reading | None) -> dict[str, Any]:
    """How a model can be read again."""
    path = os.path.abspath(model) if isinstance(model, str | os.PathLike) else None
    return {"path": path, **{name: getattr(options, name, None) for name in SOURCE}}


def _manifest(variant: Variant, target: Target, folder: Path, built: Built, source: dict[str, Any]) -> Manifest:
    from ..passes.inventory import inventory

    network, library = variant.network, library_name(target.instruction_set)
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
        library_sha256=sha256_of(folder / library),
        weights_sha256=sha256_of(folder / WEIGHTS),
        bytes=sum((folder / name).stat().st_size for name in (library, WEIGHTS)),
        memory={**memory, "planned": sum(memory.values())},
        kernels=built.kernels,
        choices=checked_choices(built.choices),
        pieces=built.pieces,
        macs=total_macs(inventory(variant.mod)),
        params=count_params(variant.onnx),
        source=source,
        reference=None,
        verification=None,
        unscheduled=built.unscheduled,
        quantized=built.quantized,
        simplified=None if network.simplified is None else network.simplified.to_dict(),
        quantization=network.quantized,
        clustering=network.clustered,
        command=command_line(),
    )


def _kept(
    variant: Variant, folder: Path, manifest: Manifest, images: Data | None, tolerance: float | None, allowed: Tolerance
) -> dict[str, Any] | None:
    """Write reference.npz, where it does not become too large; what the manifest says of it. The network was read right, at least."""
    check_reading(variant.network, images, tolerance)
    ports = (*manifest.inputs, *manifest.outputs)
    facts = keep_reference(folder, ports, verification_inputs(variant.network, None), variant.reference, allowed)
    engine = variant.reference.name + ("" if variant.plan is None else ", plan applied")
    return {"engine": engine, **facts} if facts else None
