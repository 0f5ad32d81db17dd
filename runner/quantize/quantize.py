"""A trained network -> the same network in integers of eight bits, as ONNX that engines run, with what that costs."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
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
from .settings import QuantizationSettings

if TYPE_CHECKING:
    import onnx

    from ...frontends import Network
    from ...passes.quantize.graph import Graph
    from ...passes.quantize.placement import Placement
    from ...passes.quantize.qdq import QuantizedWeight
    from ...quantization import Quantizer

MARK = "tenfold.quantized_from"  # the metadata of a file that `quantize` wrote: the SHA-256 of the model
CALIBRATION_IMAGES = 1024  # of those given, evenly spaced
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
    from ...passes.quantize.equalize import equalize
    from ...passes.quantize.graph import Graph
    from ...passes.quantize.prepare import prepare
    from ...passes.quantize.qdq import quantize_onnx
    from .judge import check_labels

    say, settings = reporter(progress), settings or QuantizationSettings()
    _check_network(network)
    check_labels(data, network.onnx)
    plain = prepare(network.onnx)
    plain, pairs = equalize(plain) if settings.equalize else (plain, 0)
    graph = Graph(plain)
    placement = _placement(network.name, graph, settings)
    calibrating, judging = _parts(data)
    quantizers, weights = _calibrated(graph, placement, calibrating, network.inputs[0].shape[0], settings, say)
    quantized, rounded = quantize_onnx(plain, placement, quantizers, weights)
    report = _layer_reports(plain, quantized, placement, rounded, judging.x, say)
    layers = tuple(
        LayerQuantization(name, placement.reasons[name])
        if name in placement.reasons
        else _with_steps(report[0][name], placement, quantizers, weights[name])
        for name in _layer_names(graph)
    )
    figures = _accuracy(network.onnx, quantized, judging, say)
    return Quantization(
        network.name, network.sha256, quantized, settings, layers, placement.operators, pairs, len(calibrating), len(judging.x),
        _digest(calibrating), *figures, report[1],
    )  # fmt: skip


def _check_network(network: Network) -> None:
    for node in network.onnx.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"):
            raise TenfoldError(f"{network.name}: it is quantized already (node {node.name!r}): give the network in float32")
    from ...passes.quantize.qdq import OLDEST_OPSET

    opset = next((entry.version for entry in network.onnx.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise TenfoldError(f"{network.name}: opset {opset} has no steps for channels: export it with opset {OLDEST_OPSET} or later")


def _layer_names(graph: Graph) -> list[str]:
    from ...passes.quantize.layers import LAYERS

    return [node.name for node in graph.nodes if node.op_type in LAYERS]


def _placement(name: str, graph: Graph, settings: QuantizationSettings) -> Placement:
    from ...passes.quantize.placement import place

    names = _layer_names(graph)
    for kept in settings.keep:
        if kept not in names:
            raise TenfoldError(f"{name}: there is no layer {kept!r} to keep: they are {', '.join(names)}")
    placement = place(graph, {*settings.keep, *((names[0], names[-1]) if settings.keep_ends and names else ())})
    if not placement.layers:
        reason = next((f"{layer}: {why}" for layer, why in placement.reasons.items()), "it has no convolution and no dense layer")
        raise TenfoldError(f"{name}: there is nothing to quantize: {reason}")
    return placement


def _parts(data: Data) -> tuple[Images, Data]:
    """Images to calibrate with, and what is judged on."""
    held = data.held_out
    if held is not None and (held.all() or not held.any()):
        count = "all" if held.all() else "none"
        raise TenfoldError(f"{data.name}: held_out names {count} of the images: some must calibrate, some be judged on")
    pool = np.arange(len(data.x)) if held is None else np.flatnonzero(~held)
    if not len(pool):
        raise TenfoldError(f"{data.name}: there are no images in it")
    chosen = part_of(data.x, pool[_evenly_spaced(len(pool), CALIBRATION_IMAGES)])
    if held is None:
        return chosen, data
    return chosen, Data(part_of(data.x, held), None if data.y is None else data.y[held], data.name)


def _evenly_spaced(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def _calibrated(
    graph: Graph, placement: Placement, images: Images, batch: int, settings: QuantizationSettings, say: Progress
) -> tuple[dict[str, Quantizer], dict[str, QuantizedWeight]]:
    """The quantizer of each value, and the constants of each layer."""
    from ...frontends.reference.free_batch import free_batch
    from ...passes.quantize.layers import as_layer
    from ...quantization import Quantizer, find_range
    from .observe import observe, sites
    from .weights import quantize_layer

    wanted = settings.feedback or settings.correct_bias
    geometry = {name: as_layer(graph, layer) if wanted else None for name, layer in placement.layers.items()}
    sources = list(dict.fromkeys(placement.values.values()))
    histograms, moments = observe(
        free_batch(graph.model, images), sources, sites(placement.layers, geometry), images, batch, say
    )  # fmt: skip
    found = {}
    for number, source in enumerate(sources):
        say("choosing ranges", number, len(sources))
        found[source] = Quantizer.of_range(*find_range(histograms[source], settings.calibration), settings.activations)
    quantizers = {value: found[source] for value, source in placement.values.items()}
    weights = {}
    for number, (name, layer) in enumerate(placement.layers.items()):
        say("rounding weights", number, len(placement.layers))
        weight, bias = graph.constant(layer.weight), None if layer.bias is None else graph.constant(layer.bias)
        assert weight is not None  # a layer's is
        weights[name] = quantize_layer(layer, weight, bias, quantizers[layer.input].scale, moments.pop(name, None), settings)
    return quantizers, weights


def _layer_reports(
    plain: onnx.ModelProto, quantized: onnx.ModelProto, placement: Placement, rounded: Mapping[str, str], images: Images, say: Progress
) -> tuple[dict[str, LayerQuantization], dict[str, float]]:
    """Signal to noise of each layer that is quantized, and of each output."""
    from .judge import signal_to_noise

    some = images[_evenly_spaced(len(images), NOISE_IMAGES)]
    names = [value.name for value in plain.graph.output if value.type.tensor_type.elem_type == 1]
    values = {value: rounded.get(value, value) for value in (*placement.results.values(), *names)}
    noise = signal_to_noise(plain, quantized, values, some, say)
    layers = {name: LayerQuantization(name, snr=noise[value]) for name, value in placement.results.items()}
    return layers, {name: noise[name] for name in names}


def _with_steps(
    report: LayerQuantization, placement: Placement, quantizers: Mapping[str, Quantizer], weight: QuantizedWeight
) -> LayerQuantization:
    layer, result = placement.layers[report.name], placement.results[report.name]
    made = quantizers[result].scale if result in quantizers else None
    return replace(report, input_step=quantizers[layer.input].scale, output_step=made, weight_step=float(np.median(weight.scales)))


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
