"""From the distribution of a tensor to the range that eight bits are spent on.

`minmax`      all that was seen
`percentile`  without the outermost values on either side
`mse`         the range with the least mean squared error of rounding and saturation
`kl`          of the magnitude whose distribution, quantized, diverges least from what it was (Migacz, 8-bit inference with TensorRT, 2017)
"""
from __future__ import annotations

import numpy as np

from .histogram import Histogram
from .quantizer import LEVELS, Quantizer

CALIBRATIONS = ("mse", "minmax", "percentile", "kl")
OUTSIDE = 1e-4  # part of the values beyond a percentile, of both ends together
SHARES = np.linspace(0.02, 1, 99)  # of the whole range that are tried
ROUNDS = 3  # of choosing one end while the other stays
KL_BINS = 2048  # of magnitudes, as in the source
KL_STEP = 8  # bins between thresholds that are tried
SMOOTHING = 1e-4  # part of both distributions that all bins share alike: what was seen where the other has nothing is no infinity


def find_range(histogram: Histogram, method: str = "mse") -> tuple[float, float]:
    """The range of a tensor to quantize; 0 lies within.

    Parameters
    ----------
    histogram : Histogram
    method : str
        Of `CALIBRATIONS`.

    Returns
    -------
    tuple of float
        Low and high.
    """
    if method not in CALIBRATIONS:
        raise ValueError(f"calibration {method!r} is none of {', '.join(CALIBRATIONS)}")
    if method == "minmax" or not len(histogram.occupied()[0]):
        return histogram.range
    return {"mse": _least_squares, "percentile": _percentile, "kl": _divergence}[method](histogram)


def squared_error(histogram: Histogram, low: float, high: float) -> float:
    """The sum of the squares of what a quantizer of this range changes values by.

    Parameters
    ----------
    histogram : Histogram
    low, high : float
    """
    middles, counts = histogram.occupied()
    return float(counts @ np.square(Quantizer.of_range(low, high).round_trip(middles) - middles))


def _least_squares(histogram: Histogram) -> tuple[float, float]:
    whole = histogram.range
    best = list(whole)
    for _ in range(ROUNDS):
        before = tuple(best)
        for side in (0, 1):
            if whole[side]:
                tried = [whole[side] * share for share in SHARES]
                ends = [(end, best[1]) if side == 0 else (best[0], end) for end in tried]
                best[side] = tried[int(np.argmin([squared_error(histogram, *pair) for pair in ends]))]
        if tuple(best) == before:
            break
    return best[0], best[1]


def _percentile(histogram: Histogram) -> tuple[float, float]:
    return min(histogram.quantile(OUTSIDE / 2), 0.0), max(histogram.quantile(1 - OUTSIDE / 2), 0.0)


def _divergence(histogram: Histogram) -> tuple[float, float]:
    counts = histogram.magnitudes()
    counts = counts.reshape(KL_BINS, -1).sum(axis=1)
    width = histogram.width * len(histogram.magnitudes()) / KL_BINS
    used = int(np.flatnonzero(counts)[-1]) + 1
    levels = LEVELS // 2 if histogram.low < 0 < histogram.high else LEVELS
    thresholds = [*range(levels, used, KL_STEP), used]
    divergences = [kl_of_threshold(counts[:used], each, levels) for each in thresholds]
    magnitude = width * thresholds[int(np.argmin(divergences))]
    return max(histogram.range[0], -magnitude), min(histogram.range[1], magnitude)


def kl_of_threshold(counts: np.ndarray, threshold: int, levels: int) -> float:
    """How far the distribution lies from itself, saturated at a threshold and quantized: a Kullback-Leibler divergence, in nats.

    Parameters
    ----------
    counts : ndarray
        Of magnitudes, by bins.
    threshold : int
        Bins that are kept; what lies beyond is added to the last of them.
    levels : int
        That these bins are quantized to. Each level's count is spread over those of its bins that are not empty. Both distributions are
        smoothed.
    """
    kept = counts[:threshold].astype(np.float64)
    saturated = kept.copy()
    saturated[-1] += counts[threshold:].sum()
    level = np.arange(threshold) * levels // threshold if threshold > levels else np.arange(threshold)
    present = (kept > 0).astype(np.float64)
    sums, sizes = np.bincount(level, kept), np.bincount(level, present)
    spread = present * (sums / np.maximum(sizes, 1))[level]
    if not spread.any():
        return np.inf
    p, q = ((1 - SMOOTHING) * each / each.sum() + SMOOTHING / threshold for each in (saturated, spread))
    return float((p * np.log(p / q)).sum())
