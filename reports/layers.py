"""What became of each layer, as bars before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..runner.report import count, milliseconds
from ..targets.target import FLOAT32
from .chart import Chart
from .curves import spectra
from .sources import Compiled, Compressed, is_made_from

MOST_CANDIDATES = 8  # of a layer that are listed
AXES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "ms": ("milliseconds", milliseconds),
    "macs": ("MACs", count),
    "params": ("parameters", count),
}


@dataclass(frozen=True)
class Bars:
    """Two bars: lengths in percent of the longest of all layers, and their figures."""

    before: float
    after: float
    words: tuple[str, str]


@dataclass(frozen=True)
class LayerView:
    """A layer. `errors`: what of, and how large; `others`: how many candidates are not listed."""

    name: str
    method: str
    ranks: str
    precision: str
    errors: tuple[tuple[str, str], ...]
    reason: str
    bars: dict[str, Bars]
    spectra: Chart | None
    candidates: tuple[dict[str, str], ...]
    others: int
    refused: Mapping[str, str]


def layer_views(source: Compressed, artifacts: Sequence[Compiled]) -> list[LayerView]:
    """All layers, in their order. Precisions are those of the artifacts that were compiled from this result, or what a search chose."""
    layers, precisions = source.report["layers"], _precisions([each for each in artifacts if is_made_from(each, source)])
    longest = {axis: max((max(layer[f"{axis}_before"], layer[axis]) for layer in layers), default=1) or 1 for axis in axes(source)}
    mixed = any((layer["precision"] or FLOAT32) != FLOAT32 for layer in layers)
    chosen = {layer["name"]: (layer["precision"] or FLOAT32) if mixed else "" for layer in layers}
    return [_view(layer, longest, _precision(layer["name"], precisions) or chosen[layer["name"]]) for layer in layers]


def axes(source: Compressed) -> dict[str, str]:
    """What bars can show, in words: milliseconds only where all layers have them."""
    layers = source.report["layers"]
    return {
        axis: label for axis, (label, _) in AXES.items()
        if all(layer[axis] is not None and layer[f"{axis}_before"] is not None for layer in layers)
    }  # fmt: skip


def _view(layer: Mapping[str, Any], longest: Mapping[str, float], precision: str) -> LayerView:
    named = {"weight": layer["error"], "responses": layer["response_error"]}
    found = layer["candidates"] or ()
    order = sorted(found, key=lambda each: (each["refused"] is not None, each["ms"] is None, each["ms"] or 0.0))
    shown = sorted(order, key=lambda each: not _is_chosen(each, layer))[:MOST_CANDIDATES]
    return LayerView(
        name=layer["name"],
        method=layer["method"] or "dense",
        ranks=", ".join(map(str, layer["ranks"])),
        precision=precision,
        errors=tuple((what, f"{error:.3g}") for what, error in named.items() if error is not None),
        reason="; ".join(reason for reason in (layer["reason"], layer["precision_reason"]) if reason),
        bars={axis: _bars(layer, axis, most) for axis, most in longest.items()},
        spectra=spectra(layer["spectra"] or {}, layer["ranks"]),
        candidates=tuple(_candidate(each, _is_chosen(each, layer)) for each in shown),
        others=len(found) - len(shown),
        refused=layer["refused"] or {},
    )


def _bars(layer: Mapping[str, Any], axis: str, longest: float) -> Bars:
    before, after, words = layer[f"{axis}_before"], layer[axis], AXES[axis][1]
    return Bars(100 * before / longest, 100 * after / longest, (words(before), words(after)))


def _is_chosen(option: Mapping[str, Any], layer: Mapping[str, Any]) -> bool:
    return (option["method"], option["ranks"]) == (layer["method"], layer["ranks"])


def _candidate(option: Mapping[str, Any], chosen: bool) -> dict[str, str]:
    return {
        "form": f"{option['method']} {', '.join(map(str, option['ranks']))}",
        "ms": "" if option["ms"] is None else milliseconds(option["ms"]),
        "error": "" if option["error"] is None else f"{option['error']:.3g}",
        "loss": "" if option["loss"] is None else f"{option['loss']:.2g}",
        "refused": "chosen" if chosen else option["refused"] or "",
    }


def _precisions(artifacts: Sequence[Compiled]) -> dict[str, str]:
    """Of the operands of products, by the names of stages or layers."""
    return {
        name: kernel.get("precision", FLOAT32)
        for source in artifacts for kernel in source.manifest.kernels if kernel["macs"] for name in kernel["layers"]
    }  # fmt: skip


def _precision(layer: str, known: Mapping[str, str]) -> str:
    """Of a layer, or of the stages that it became: ``conv.0``, ``conv.1``."""
    found = [
        precision
        for name, precision in known.items()
        if name == layer or (name.startswith(f"{layer}.") and name[len(layer) + 1 :].isdigit())
    ]
    return ", ".join(dict.fromkeys(found))
