"""A trained network -> the same network in integers of eight bits, as ONNX that engines run, with what that costs."""
from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...support.errors import TenfoldError
from ...support.files.inputs import protect
from ...support.input_set import Images, InputSet, part_of
from ...support.progress import Progress, reporter
from ..check_reading import check_images, check_reading
from ..data import Data
from ..marked_file import check_output, write_marked
from .quantization import Figures, LayerQuantization, Quantization
from .rewrite import CALIBRATION_IMAGES, Rewritten, check_quantizable, evenly_spaced, layer_names, quantize_graph
from .settings import QuantizationSettings

if TYPE_CHECKING:
    import onnx

    from ...frontends import Network

MARK = "tenfold.quantized_from"  # the metadata of a file that `quantize` wrote: the SHA-256 of the model
NOISE_IMAGES = 256  # of those that are judged: what layers are compared on
NEEDS_DATA = "quantizing needs images to calibrate with: give an .npz with x, and with y for the accuracy (--data D.npz)"


def quantize(
    model: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    data: Any = None,
    settings: QuantizationSettings | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> Quantization:
    """Quantize a network after training, and write it as ONNX with QuantizeLinear and DequantizeLinear.

    Parameters
    ----------
    model : path, onnx.ModelProto, torch.export.ExportedProgram or torch.nn.Module
    output : path, optional
        The ONNX file to write. A file that `quantize` wrote before is replaced, any other one is an error.
    data : path, dict or ndarray
        Images ``x``, preprocessed, to calibrate with: those that ``held_out`` does not name, 1024 of them at the most. With labels ``y``
        the accuracy is told, on those that ``held_out`` names, or else on all.
    settings : QuantizationSettings, optional
    progress : callable, optional
        Called with a few words when a step begins, and with what is done of it; see `support.progress.Progress`.
    **reading
        How to read the model: the attributes of `frontends.Reading`, by name.

    Returns
    -------
    Quantization

    Raises
    ------
    TenfoldError
        Anything that is wrong with the arguments, there is no data, or no layer can be quantized.
    VerificationError
        The network as it was read is not the one in the file: nothing is made of it.
    """
    from ...frontends import Reading
    from ...passes.simplify.network import load

    Reading.of("quantize", reading)
    if data is None:
        raise TenfoldError(NEEDS_DATA)
    say = reporter(progress)
    with protect(model, data):
        if output is not None:
            check_output(Path(output), MARK, "quantize")
        say("reading the network")
        network = load(model, **reading)
        images = Data.of(data, network.inputs)
        check_images(images, network)
        say("comparing the network as it was read with the file")
        check_reading(network, images)
        done = quantize_network(network, images, settings, progress)
        if output is None:
            return done
        size = write_marked(done.onnx, Path(output), MARK, network.sha256)
    return replace(done, after=replace(done.after, bytes=size))


def quantize_network(
    network: Network, data: Data, settings: QuantizationSettings | None = None, progress: Progress | None = None
) -> Quantization:
    """`quantize` for a network that is read already, without a file.

    Parameters
    ----------
    network : Network
    data : Data
        That fits its inputs.
    settings : QuantizationSettings, optional
    progress : Progress, optional
    """
    from .judge import check_labels

    say, settings = reporter(progress), settings or QuantizationSettings()
    check_quantizable(network.name, network.onnx)
    check_labels(data, network.onnx)
    keep = _kept(network, settings)
    images, judging = _parts(data)
    made = quantize_graph(network.name, network.onnx, images, network.inputs[0].shape[0], settings, say, keep)
    placement = made.placement
    reports, snr = _layer_reports(made, judging.x, say)
    layers = tuple(
        LayerQuantization(name, placement.reasons[name]) if name in placement.reasons else _with_steps(reports[name], made)
        for name in layer_names(made.plain)
    )
    figures = _accuracy(network.onnx, made.quantized, judging, say)
    return Quantization(
        network.name, network.sha256, made.quantized, settings, layers, placement.operators, made.equalized, len(images),
        len(judging.x), _digest(images), *figures, snr,
    )  # fmt: skip


def _kept(network: Network, settings: QuantizationSettings) -> set[str]:
    """The layers that are to stay in float32."""
    names = layer_names(network.onnx)
    for kept in settings.keep:
        if kept not in names:
            raise TenfoldError(f"{network.name}: there is no layer {kept!r} to keep: they are {', '.join(names)}")
    return {*settings.keep, *((names[0], names[-1]) if settings.keep_ends and names else ())}


def _parts(data: Data) -> tuple[Images, Data]:
    """Images to calibrate with, and what is judged on."""
    held = data.held_out
    if held is not None and (held.all() or not held.any()):
        count = "all" if held.all() else "none"
        raise TenfoldError(f"{data.name}: held_out names {count} of the images: some must calibrate, some be judged on")
    pool = np.arange(len(data.x)) if held is None else np.flatnonzero(~held)
    if not len(pool):
        raise TenfoldError(f"{data.name}: there are no images in it")
    chosen = part_of(data.x, pool[evenly_spaced(len(pool), CALIBRATION_IMAGES)])
    if held is None:
        return chosen, data
    return chosen, Data(part_of(data.x, held), None if data.y is None else data.y[held], data.name)


def _layer_reports(made: Rewritten, images: Images, say: Progress) -> tuple[dict[str, LayerQuantization], dict[str, float]]:
    """Signal to noise of each layer that is quantized, and of each output."""
    from .judge import signal_to_noise

    some = images[evenly_spaced(len(images), NOISE_IMAGES)]
    names = [value.name for value in made.plain.graph.output if value.type.tensor_type.elem_type == 1]
    results = made.placement.results
    values = {value: made.rounded.get(value, value) for value in (*results.values(), *names)}
    noise = signal_to_noise(made.plain, made.quantized, values, some, say)
    layers = {name: LayerQuantization(name, snr=noise[value]) for name, value in results.items()}
    return layers, {name: noise[name] for name in names}


def _with_steps(report: LayerQuantization, made: Rewritten) -> LayerQuantization:
    layer, result = made.placement.layers[report.name], made.placement.results[report.name]
    step = made.quantizers[result].scale if result in made.quantizers else None
    weight = float(np.median(made.weights[report.name].scales))
    return replace(report, input_step=made.quantizers[layer.input].scale, output_step=step, weight_step=weight)


def _accuracy(plain: onnx.ModelProto, quantized: onnx.ModelProto, data: Data, say: Progress) -> tuple[Figures, Figures, float | None]:
    """Figures before and after, and the agreement."""
    from .judge import classes_of, likeliest, outputs

    sizes = plain.ByteSize(), quantized.ByteSize()
    if not classes_of(plain):
        return Figures(sizes[0], None), Figures(sizes[1], None), None
    answers = []
    for model, words in ((plain, "running the network"), (quantized, "running the quantized network")):
        (scores,) = outputs(model, data.x, say, words)
        if not isfinite(float(scores.sum(dtype=np.float64))):
            raise TenfoldError("the network gives NaN or infinity on the data")
        answers.append(likeliest(scores))
    figures = [
        Figures(size, None if data.y is None else float((answer == data.y).mean())) for size, answer in zip(sizes, answers, strict=True)
    ]
    return figures[0], figures[1], float((answers[0] == answers[1]).mean())


def _digest(images: Images) -> str:
    """SHA-256, in hex."""
    arrays = dict(images.arrays) if isinstance(images, InputSet) else {"x": images}
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        sha256.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        sha256.update(np.ascontiguousarray(arrays[name]).data)
    return sha256.hexdigest()
