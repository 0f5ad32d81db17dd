"""What quantizing did, for the terminal: one row for each layer, and what the network lost."""
from __future__ import annotations

from collections.abc import Iterator
from math import isinf
from typing import Any

from ...support.listing import Listing
from ..report import dim, size
from .quantization import Quantization


def report(done: Quantization) -> Iterator[Any]:
    """A table and some lines."""
    yield _layers(done)
    settings = done.settings
    parts = [f"{done.quantized} of {len(done.layers)} layers"]
    parts += [f"{count} {kind}" for kind, count in done.operators.items()]
    yield f"int8      {', '.join(parts)}; activations of {settings.activations}, ranges by {settings.calibration}" + (
        f" from {done.calibration_images} images"
    )
    if done.equalized:
        yield f"equalized the channels between {done.equalized} pairs of layers"
    yield "outputs   " + ", ".join(f"{name} {_decibels(value)}" for name, value in done.snr.items()) + " (signal to noise)"
    if done.agreement is not None:
        accuracy = ""
        if done.before.accuracy is not None and done.after.accuracy is not None:
            accuracy = f"accuracy {done.before.accuracy:.2%} -> {done.after.accuracy:.2%}, "
        yield f"judged    on {done.judged_images} images: {accuracy}the likeliest class stays on {done.agreement:.2%}"
    yield f"bytes     {size(done.before.bytes)} -> {size(done.after.bytes)}"


def summary_line(summary: dict[str, Any]) -> str:
    """One line, of `Quantization.summary`, as a manifest has it.

    Parameters
    ----------
    summary : dict
    """
    accuracy = ""
    if summary["accuracy"] is not None:
        accuracy = f", accuracy {summary['accuracy_before']:.2%} -> {summary['accuracy']:.2%} on {summary['judged_images']} images"
    return (
        f"quantized {summary['layers']} of {summary['of']} layers to {summary['precision']}, ranges by {summary['calibration']} from"
        f" {summary['calibration_images']} images{accuracy}"
    )


def clustering_line(facts: dict[str, Any]) -> str:
    """One line, of what a manifest says of few weights.

    Parameters
    ----------
    facts : dict
    """
    accuracy = "" if facts["accuracy"] is None else f", accuracy {facts['accuracy_before']:.2%} -> {facts['accuracy']:.2%}"
    return (
        f"weights   of {facts['layers']} layers are indices of {facts['bits']} bits by {facts['method']}: error of the weights"
        f" {facts['weight_error']:.1%}{accuracy}"
    )


def _layers(done: Quantization) -> Listing:
    headings = ["layer", "input\nstep", "weight\nstep", "output\nstep", "signal to\nnoise, dB", "in float32 because"]
    table = Listing(headings, range(1, 5), remark=True)
    for layer in done.layers:
        if layer.reason is not None:
            table.add_row(layer.name, "", "", "", "", dim(layer.reason))
        else:
            steps = (layer.input_step, layer.weight_step, layer.output_step)
            cells = ["-" if step is None else f"{step:.3g}" for step in steps]
            table.add_row(layer.name, *cells, "-" if layer.snr is None else _decibels(layer.snr).removesuffix(" dB"))
    return table


def _decibels(value: float) -> str:
    return "exact" if isinf(value) and value > 0 else f"{value:.1f} dB"
