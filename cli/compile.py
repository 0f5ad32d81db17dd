"""`tenfold compile`: a network as a shared library, verified."""
from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..support.errors import TenfoldError
from ..targets.target import INT8
from .answer import Answer
from .app import command
from .complete import precision_names
from .options import Device, Keywords, Model, TargetOption, Threads
from .work import Work

if TYPE_CHECKING:
    from ..runtime.artifact import Artifact
    from ..runtime.manifest import Manifest

MOST_NAMED = 5  # layers that a line names


@command
def compile(
    work: Work,
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model.so, weights.bin and manifest.json.", metavar="DIR")],
    target: TargetOption = "host",
    threads: Threads = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Factor the layers that this plan names.", metavar="PLAN.json")] = None,
    choices: Annotated[
        Path | None, typer.Option("--choices", help="Build kernels as this file, or artifact, says.", metavar="FILE|DIR")
    ] = None,
    tune_log: Annotated[
        Path | None, typer.Option("--tune-log", help="Build kernels by the tuner's records in this folder, and no others.", metavar="DIR")
    ] = None,
    no_tune_log: Annotated[bool, typer.Option("--no-tune-log", help="Use no records of the tuner.")] = False,
    tolerance: Annotated[float | None, typer.Option("--tolerance", help="Largest error that passes.", metavar="T")] = None,
    device: Device = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="Of products: float32 (the default); bfloat16, float16; tf32 on GPUs; int8, with --data.",
            metavar="P",
            autocompletion=precision_names,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Real inputs x to verify on too; for int8, to calibrate with, and labels y.", metavar="D.npz"),
    ] = None,
    file_size: Annotated[
        str | None,
        typer.Option("--size", help="Keep weights as indices of 2^BITS values, by kmeans or round.", metavar="BITS[:HOW]"),
    ] = None,
    *,
    reading: Keywords,
) -> Answer:
    """Compile a network to a shared library and its weights, and verify it against an independent engine."""
    work.say("loading the compiler")
    from ..runner import compile as compiler
    from ..runner.report import size

    if tune_log is not None and no_tune_log:
        raise TenfoldError("--tune-log names records to use, --no-tune-log says to use none: give one of them")
    begin = time.perf_counter()
    artifact = compiler.compile(
        model, target, output, plan=plan, threads=threads, tolerance=tolerance, device=device, choices=choices,
        precision=precision, data=data, size=file_size, tune_log=not no_tune_log if tune_log is None else tune_log,
        progress=work.say, **reading,
    )
    manifest, seconds = artifact.manifest, time.perf_counter() - begin
    content = {"output": str(output), "seconds": round(seconds, 3), "manifest": json.loads(manifest.to_json())}
    facts, written = list(fact_lines(manifest)), manifest.bytes
    if len(artifact.sizes) > 1:
        facts, written = list(sizes_lines(output)), sum(file.stat().st_size for file in output.iterdir())
        content["sizes"] = [json.loads(each.manifest.to_json()) for each in artifact.sizes]
    facts.append(f"wrote     {output} ({size(written)}) in {seconds:.1f} s")
    return Answer([*facts, *_doubt(artifact, output)], content)


def sizes_lines(folder: Path) -> Iterator[str]:
    """The facts of each size of an artifact, and what they share."""
    from ..runtime.sizes import read_manifests, shapes_text

    for number, manifest in enumerate(read_manifests(folder)):
        yield f"size      {shapes_text(manifest)}"
        yield from (line for line in fact_lines(manifest) if not number or not line.startswith(("target ", "threads ")))
    yield from shared_lines(folder)


def shared_lines(folder: Path) -> Iterator[str]:
    """What the sizes of an artifact share."""
    from ..runner.report import size
    from ..runtime.manifest import WEIGHTS
    from ..runtime.sizes import Sizes

    together = Sizes.read(folder)
    assert together is not None  # several manifests
    stored = (folder / WEIGHTS).stat().st_size
    yield f"weights   {size(stored)} for all sizes, where a file for each would make {size(stored + together.saved)}"
    if not together.independent:
        yield "          images of a batch depend on each other: no other batch is put together from these"


def fact_lines(manifest: Manifest) -> Iterator[str]:
    """Target, costs, verification and memory of an artifact."""
    from ..runner.quantize.report import clustering_line, summary_line
    from ..runner.report import count, size
    from ..runner.simplify_report import simplified_line

    tvm = " ".join(f"{key}={value}" for key, value in manifest.target["tvm"].items())
    yield f"target    {manifest.target['name']} ({tvm})"
    yield from _precision_line(manifest)
    if not manifest.on_gpu:
        yield f"threads   {manifest.threads}"
    yield f"cost      {count(manifest.macs)} MACs, {count(manifest.params)} parameters"
    if manifest.simplified is not None and (line := simplified_line(manifest.simplified)):
        yield line
    if manifest.quantization is not None:
        yield summary_line(manifest.quantization)
    if manifest.clustering is not None:
        yield clustering_line(manifest.clustering)
    if manifest.quantized is not None:
        yield from quantized_lines(manifest.quantized)
    yield from _tuned_line(manifest)
    yield from verified_lines(manifest)
    parts = ", ".join(f"{size(number)} of {part}" for part, number in manifest.memory.items() if part != "planned")
    yield f"memory    {size(manifest.memory['planned'])}: {parts}"


def _precision_line(manifest: Manifest) -> Iterator[str]:
    """How many kernels read operands, or weights, of fewer bits than float32."""
    products = [kernel for kernel in manifest.kernels if kernel["macs"]]
    found = [kernel.get("precision", "float32") for kernel in products]
    asked = manifest.target.get("precision", "float32")
    integers = found.count(INT8)
    of_weights = [word for word in dict.fromkeys(found) if word.endswith(" weights")]
    words = [f"{asked} operands in {found.count(asked)}"] if asked in found or (asked != "float32" and not of_weights) else []
    words += [f"{word} in {found.count(word)}" for word in of_weights]
    words += [f"{INT8} in {integers}"] * (integers > 0)
    if asked != "float32" or of_weights or integers:
        words = [word for word in words if not word.startswith("float32")]
        sums = "; their sums are integers" if integers else ""
        others = "" if integers == len(products) else f"; the others, and all {'other ' * (integers > 0)}sums, are float32"
        yield f"precision {', '.join(words)} of {len(products)} kernels that multiply{sums}{others}"


def quantized_lines(quantized: Mapping[str, Any]) -> Iterator[str]:
    """How many layers of a quantized network are computed in int8, and why the others are not."""
    reasons, count = quantized["float32"], len(quantized["int8"])
    yield f"quantized {count} of {count + len(reasons)} layers are computed in int8{', the others in float32:' * bool(reasons)}"
    for reason in dict.fromkeys(reasons.values()):
        layers = [layer for layer, why in reasons.items() if why == reason]
        named = ", ".join(layers[:MOST_NAMED]) + (f" and {len(layers) - MOST_NAMED} more" if len(layers) > MOST_NAMED else "")
        yield f"          {named}: {reason}"


def _tuned_line(manifest: Manifest) -> Iterator[str]:
    """How many choices are a tuner's; or that there are records, but of other processors."""
    if manifest.tuning is None:
        return
    origins = manifest.tuning["kernels"].values()
    how = [origin["how"] for origin in origins if origin["by"] == "record"]
    others = manifest.tuning["of_other_processors"]
    if how:
        counted = ", ".join(f"{how.count(word)} {word}" for word in dict.fromkeys(how))
        yield f"tuned     {len(how)} of {len(origins)} kernels are built by records of the tuner ({counted})"
    elif others:
        yield f"tuned     no kernel: {others} record{'s' * (others > 1)} of other processors or threads: hints for a tuner, not used"


def verified_lines(manifest: Manifest) -> Iterator[str]:
    """What a verification found; nothing where there was none."""
    from ..runtime.manifest import KERNELS_EMULATED

    check = manifest.verification
    if check is None:
        return
    word = "emulated" if check["device"] == KERNELS_EMULATED else "verified"
    where = "" if check["device"] == "here" else f", {KERNELS_EMULATED}" if word == "emulated" else f" on {check['device']}"
    yield (
        f"{word}  against {check['reference']} on {check['inputs']} inputs{where}: largest error {check['max_abs_error']:.1e},"
        f" {check['max_rel_error']:.1e} of the largest output (tolerance {check['tolerance']:.1e}, {check['tolerance_reason']})"
    )
    for note in check["notes"]:
        yield f"          {note}"
    if word == "emulated":
        yield "          no GPU has run it: `tenfold verify` on a machine with one does"


def _doubt(artifact: Artifact, output: Path) -> Iterator[str]:
    """What is to be done where nothing could be verified."""
    from ..runner.devices.artifacts import Nowhere
    from ..runner.verification import advice

    if artifact.manifest.verification is None:
        lack = artifact.machine.lack if isinstance(artifact.machine, Nowhere) else "it was not asked for"
        yield f"not verified here: {lack}; {advice(output)}"
        if artifact.manifest.reference is None:
            yield "there it needs the model too (--model): its inputs and outputs are too large to keep some beside the artifact"
