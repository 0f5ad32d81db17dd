"""A graph in float32, and images to calibrate with -> the graph with quantizers, around all of its layers or some.

What `quantize` does to a whole network, and a search to the layers that it chose: exact rewrites, equalization, ranges, rounding.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...support.errors import TenfoldError
from ...support.input_set import Images
from ...support.progress import Progress
from .settings import QuantizationSettings

if TYPE_CHECKING:
    import onnx

    from ...passes.quantize.graph import Graph
    from ...passes.quantize.placement import Placement
    from ...passes.quantize.qdq import QuantizedWeight
    from ...quantization import Quantizer

CALIBRATION_IMAGES = 1024  # of those given, evenly spaced
PEAK_IMAGES = 256  # of these, that say how large channels become
ANY_STEP = 2.0**-6  # of what is only timed


@dataclass(frozen=True)
class Rewritten:
    """A graph with quantizers, and all that was chosen for it.

    Attributes
    ----------
    plain : onnx.ModelProto
        What they were put into: in float32, rewritten and equalized.
    quantized : onnx.ModelProto
    placement : Placement
    rounded : dict of str to str
        The name of each rounded value, as floats.
    quantizers : dict of str to Quantizer
        By value.
    weights : dict of str to QuantizedWeight
        By layer.
    equalized : int
        Pairs of layers that channels were scaled between.
    """

    plain: onnx.ModelProto
    quantized: onnx.ModelProto
    placement: Placement
    rounded: dict[str, str]
    quantizers: Mapping[str, Quantizer]
    weights: Mapping[str, QuantizedWeight]
    equalized: int


def check_quantizable(name: str, model: onnx.ModelProto) -> None:
    """TenfoldError for a network that is quantized already, or whose opset has no quantizers for channels."""
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"):
            raise TenfoldError(f"{name}: it is quantized already (node {node.name!r}): give the network in float32")
    from ...passes.quantize.qdq import OLDEST_OPSET

    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise TenfoldError(f"{name}: opset {opset} has no steps for channels: export it with opset {OLDEST_OPSET} or later")


def layer_names(model: onnx.ModelProto) -> list[str]:
    """The layers of a graph, whether they can be quantized or not, in order."""
    from ...passes.quantize.layers import LAYERS

    return [node.name for node in model.graph.node if node.op_type in LAYERS]


def quantize_graph(
    name: str, model: onnx.ModelProto, images: Images, batch: int, settings: QuantizationSettings, say: Progress,
    keep: Collection[str] = (),
) -> Rewritten:
    """Quantize the layers of a graph, and what lies between them.

    Parameters
    ----------
    name : str
        What errors call the network.
    model : onnx.ModelProto
        Normalised. Not modified.
    images : ndarray or InputSet
        To calibrate with: all of them.
    batch : int
        Of the graph's inputs.
    settings : QuantizationSettings
        Its `keep` and `keep_ends` are left to the caller.
    say : Progress
    keep : collection of str
        Layers that stay in float32.

    Raises
    ------
    TenfoldError
        No layer can be quantized.
    """
    from ...passes.quantize.prepare import prepare
    from ...passes.quantize.qdq import quantize_onnx

    plain, pairs = _equalized(prepare(model), images, settings, say) if settings.equalize else (prepare(model), 0)
    graph, placement = _placed(name, plain, keep)
    quantizers, weights = _calibrated(graph, placement, images, batch, settings, say)
    quantized, rounded = quantize_onnx(plain, placement, quantizers, weights)
    return Rewritten(plain, quantized, placement, rounded, quantizers, weights, pairs)


def with_any_steps(name: str, model: onnx.ModelProto, keep: Collection[str]) -> onnx.ModelProto:
    """The graph with quantizers whose steps are of any size: it computes nothing of use, in the time of one that was calibrated."""
    from ...passes.quantize.prepare import prepare
    from ...passes.quantize.qdq import quantize_onnx
    from ...quantization import Quantizer
    from .weights import quantize_layer

    graph, placement = _placed(name, prepare(model), keep)
    settings = QuantizationSettings(feedback=False, correct_bias=False)
    quantizers = dict.fromkeys(placement.values, Quantizer(ANY_STEP, 0))
    weights = {}
    for name, layer in placement.layers.items():
        weight, bias = graph.constant(layer.weight), None if layer.bias is None else graph.constant(layer.bias)
        assert weight is not None  # a layer's is
        weights[name] = quantize_layer(layer, weight, bias, ANY_STEP, None, settings)
    return quantize_onnx(graph.model, placement, quantizers, weights)[0]


def calibrating(images: Images) -> Images:
    """Those of some images that quantizers are calibrated with."""
    return images[evenly_spaced(len(images), CALIBRATION_IMAGES)]


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Indices of at most so many of `count` things, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def _equalized(model: onnx.ModelProto, images: Images, settings: QuantizationSettings, say: Progress) -> tuple[onnx.ModelProto, int]:
    """By what channels are on images; where a weight has one step for all its filters, by the weights."""
    from ...frontends.reference.free_batch import free_batch
    from ...passes.quantize.equalize import equalize
    from ...passes.quantize.smooth import smooth, smoothed_values
    from .observe import channel_peaks

    if not settings.per_channel:
        return equalize(model)
    some = images[evenly_spaced(len(images), PEAK_IMAGES)]
    return smooth(model, channel_peaks(free_batch(model, some), smoothed_values(model), some, say))


def _placed(name: str, plain: onnx.ModelProto, keep: Collection[str]) -> tuple[Graph, Placement]:
    from ...passes.quantize.graph import Graph
    from ...passes.quantize.placement import place

    graph = Graph(plain)
    placement = place(graph, keep)
    if not placement.layers:
        reason = next((f"{layer}: {why}" for layer, why in placement.reasons.items()), "it has no convolution and no dense layer")
        raise TenfoldError(f"{name}: there is nothing to quantize: {reason}")
    return graph, placement


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
