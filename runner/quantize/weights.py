"""The constants of one layer in integers."""
from __future__ import annotations

import numpy as np

from ...passes.quantize.layers import QuantizableLayer
from ...passes.quantize.qdq import QuantizedWeight
from ...quantization import round_nearest, round_with_feedback, weight_scales
from .observe import LayerMoments
from .settings import QuantizationSettings

LARGEST_BIAS = 2**30  # steps: half of what 32 bits hold, so that the sum of products has room


def quantize_layer(
    layer: QuantizableLayer,
    weight: np.ndarray,
    bias: np.ndarray | None,
    step: float,
    moments: LayerMoments | None,
    settings: QuantizationSettings,
) -> QuantizedWeight:
    """Choose the steps of a layer's weight, round it, and let the bias make up for the mean of what that changes.

    Parameters
    ----------
    layer : QuantizableLayer
    weight : ndarray
        In float32.
    bias : ndarray or None
    step : float
        Of the layer's input.
    moments : LayerMoments or None
        Of its input; without them weights are rounded to the nearest.
    settings : QuantizationSettings
    """
    rows = layer.rows(weight).astype(np.float64)
    offsets = np.zeros(len(rows)) if bias is None else np.broadcast_to(bias.reshape(-1).astype(np.float64), (len(rows),))
    scales = weight_scales(rows, settings.per_channel, settings.clip_weights)
    needed = (np.abs(offsets) / (step * LARGEST_BIAS)).astype(np.float32)  # a channel of tiny weights and a large bias
    scales = np.maximum(scales, needed if settings.per_channel else needed.max())
    corrected = settings.correct_bias and layer.takes_bias and moments is not None
    rounded = _rounded(layer, rows, scales, moments if settings.feedback else None, corrected)
    if corrected:
        assert moments is not None
        lost = rounded * scales[:, None].astype(np.float64) - rows
        groups = lost.reshape(layer.groups, -1, lost.shape[1])
        offsets = offsets - np.einsum("gfd,gd->gf", groups, moments.mean).reshape(-1)
    whole = None
    if bias is not None or corrected:
        whole = np.clip(np.rint(offsets / (step * scales.astype(np.float64))), -(2**31), 2**31 - 1).astype(np.int32)
    return QuantizedWeight(layer.weight_of(rounded, weight), scales if settings.per_channel else scales[0], whole)


def _rounded(
    layer: QuantizableLayer, rows: np.ndarray, scales: np.ndarray, moments: LayerMoments | None, centred: bool
) -> np.ndarray:
    """Of each group by itself; `centred`: the bias will take up what the mean of the output is off by."""
    if moments is None:
        return round_nearest(rows, scales)
    found, each = np.empty(rows.shape, np.int8), len(rows) // layer.groups
    for group in range(layer.groups):
        part = slice(group * each, (group + 1) * each)
        found[part] = round_with_feedback(rows[part], scales[part], moments.moment(group, centred))
    return found
