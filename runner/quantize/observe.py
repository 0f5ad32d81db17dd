"""One pass over images: the distribution of every value that is to be rounded, and the moments of what layers read."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ...factorization import Layer
from ...factorization.moments import Moments
from ...factorization.patches import Positions, patches
from ...frontends.reference.graph_activations import GraphActivations
from ...passes.quantize.layers import QuantizableLayer
from ...quantization import Histogram
from ...support.errors import TenfoldError
from ...support.input_set import Images
from ...support.progress import Progress

PATCHES_PER_DIMENSION = 8  # for each dimension of a layer's patches, so that their second moments hold more than noise
MIN_PATCHES = 16384  # of any layer
MAX_WIDTH = 8192  # dimensions: beyond them the moments of one layer alone would take 512 MiB
MOST_BYTES = 1 << 30  # of moments that are collected at a time: where there are more, there are further passes


class LayerMoments:
    """Moments of the patches that a layer reads, of each of its groups.

    Parameters
    ----------
    groups, width : int
        Numbers in a patch: groups x width.
    """

    def __init__(self, groups: int, width: int) -> None:
        self._groups = groups
        self._whole = Moments(width) if groups == 1 else None
        self._count, self._sum = 0, np.zeros((groups, width))
        self._products = np.zeros((groups, width, width) if groups > 1 else 0)

    def add(self, rows: np.ndarray) -> None:
        """Patches of float32: (n groups, width), the groups of a patch one after the other."""
        if self._whole is not None:
            self._whole.add(rows)
            return
        grouped = np.moveaxis(rows.reshape(-1, self._groups, rows.shape[1]), 1, 0)
        self._count += grouped.shape[1]
        self._sum += grouped.sum(axis=1, dtype=np.float64)
        self._products += np.matmul(np.swapaxes(grouped, 1, 2), grouped)

    @property
    def mean(self) -> np.ndarray:
        """(groups, width)."""
        return self._whole.mean[None] if self._whole is not None else self._sum / max(self._count, 1)

    def moment(self, group: int, centred: bool) -> np.ndarray:
        """(width, width): E[x x^T] of one group, or the covariance."""
        if self._whole is not None:
            return self._whole.covariance() if centred else self._whole.moment()
        found = self._products[group] / max(self._count, 1)
        return found - np.outer(self.mean[group], self.mean[group]) if centred else found


@dataclass(frozen=True)
class Site:
    """A layer whose moments are wanted: what it reads, and its geometry."""

    layer: Layer
    input: str


def sites(layers: Mapping[str, QuantizableLayer], geometry: Mapping[str, Layer | None]) -> list[Site]:
    """The layers whose moments can be collected.

    Parameters
    ----------
    layers : mapping of str to QuantizableLayer
    geometry : mapping of str to Layer or None
        `passes.quantize.layers.as_layer` of each.
    """
    known = [(layer, found) for name, layer in layers.items() if (found := geometry[name]) is not None]
    return [Site(found, layer.input) for layer, found in known if _width(found) <= MAX_WIDTH]


def observe(
    model: onnx.ModelProto, values: Sequence[str], wanted: Sequence[Site], images: Images, batch: int, say: Progress
) -> tuple[dict[str, Histogram], dict[str, LayerMoments]]:
    """Collect histograms of values and moments of layers.

    Parameters
    ----------
    model : onnx.ModelProto
        In float32, its batch free where that is possible.
    values : sequence of str
    wanted : sequence of Site
        Several passes are made where the moments of all would take too much memory.
    images : ndarray or InputSet
    batch : int
        Images of one run that the sites' geometry is for.
    say : Progress

    Raises
    ------
    TenfoldError
        A value is NaN or infinite.
    """
    histograms = {value: Histogram() for value in values}
    moments: dict[str, LayerMoments] = {}
    for number, part in enumerate(_parts(wanted)):
        observed = histograms if number == 0 else {}
        drawn = {site.layer.name: _positions(site.layer, len(images), batch) for site in part}
        moments |= {site.layer.name: LayerMoments(site.layer.groups, _width(site.layer)) for site in part}
        done = 0
        needed = [*observed, *(site.input for site in part)]
        for found in GraphActivations(model, needed).batches(images) if needed else ():
            count = len(next(iter(found.values())))
            say("calibrating", done, len(images))
            for value, histogram in observed.items():
                try:
                    histogram.add(found[value])
                except ValueError as error:
                    raise TenfoldError(f"the network gives {error} on the data, in the value {value!r}: there is no range for it") from None
            for site in part:
                name = site.layer.name
                moments[name].add(patches(site.layer, found[site.input], drawn[name][done : done + count]))
            done += count
    return histograms, moments


def channel_peaks(model: onnx.ModelProto, values: Sequence[str], images: Images, say: Progress) -> dict[str, np.ndarray]:
    """The largest magnitude of each channel, axis 1, of some values.

    Parameters
    ----------
    model : onnx.ModelProto
        As of `observe`.
    values : sequence of str
    images : ndarray or InputSet
    say : Progress
    """
    found: dict[str, np.ndarray] = {}
    done = 0
    for batch in GraphActivations(model, values).batches(images) if values else ():
        say("looking at ranges of channels", done, len(images))
        for name, array in batch.items():
            peaks = np.abs(array).max(axis=(0, *range(2, array.ndim)))
            found[name] = np.maximum(found[name], peaks) if name in found else peaks
        done += len(next(iter(batch.values())))
    return found


def _parts(wanted: Sequence[Site]) -> Iterator[list[Site]]:
    """Runs of layers whose moments fit into memory together; one at least."""
    part: list[Site] = []
    size = 0
    for site in wanted:
        needed = 8 * site.layer.groups * _width(site.layer) ** 2
        if part and size + needed > MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(site)
        size += needed
    yield part


def _positions(layer: Layer, images: int, batch: int) -> Positions:
    return Positions.draw(layer, images, max(PATCHES_PER_DIMENSION * _width(layer), MIN_PATCHES), batch)


def _width(layer: Layer) -> int:
    return int(np.prod(layer.weight_shape[1:]))
