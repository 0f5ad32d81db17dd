"""Histograms that grow, and the ranges that are made of them, against computations on the values themselves."""
import numpy as np
import pytest
from tenfold.quantization import CALIBRATIONS, Histogram, Quantizer, find_range
from tenfold.quantization import histogram as histograms
from tenfold.quantization.ranges import KL_BINS, KL_STEP, kl_of_threshold, squared_error


def filled(*batches) -> Histogram:
    found = Histogram()
    for batch in batches:
        found.add(np.asarray(batch, np.float32))
    return found


def long_tailed(seed: int = 0, count: int = 50_000) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, count).astype("float32")


def rectified(seed: int = 0) -> np.ndarray:
    return np.maximum(long_tailed(seed), 0)


@pytest.mark.parametrize("scales", [(1, 1, 1), (1, 10, 1000), (1000, 1, 1), (0, 1e-3, 1)])
def test_the_order_and_the_size_of_batches_do_not_matter_to_the_counts(scales):
    batches = [scale * long_tailed(seed, 1000) for seed, scale in enumerate(scales)]
    found = filled(*batches)
    values = np.concatenate(batches).astype(np.float64)
    values = values[values != 0]
    middles, counts = found.occupied()
    expected = np.unique(np.floor(values / found.width), return_counts=True)
    np.testing.assert_array_equal(np.rint(middles / found.width - 0.5), expected[0])
    np.testing.assert_array_equal(counts, expected[1])
    assert (found.low, found.high) == (min(map(np.min, batches)), max(map(np.max, batches)))
    largest = max(-found.low, found.high)
    assert largest / histograms.BINS <= found.width * (1 + 1e-6) and found.width <= 2.001 * largest / histograms.BINS


def test_zeros_are_counted_apart():
    found = filled([0, 0, 1], np.zeros(4))
    assert found.zeros == 6 and found.occupied()[1].sum() == 1
    empty = filled(np.zeros(3))
    assert empty.range == (0, 0) and all(find_range(empty, method) == (0, 0) for method in CALIBRATIONS)


def test_of_many_values_some_are_counted_and_the_extremes_are_those_of_all(monkeypatch):
    monkeypatch.setattr(histograms, "MOST_VALUES", 100)
    values = long_tailed()
    found = filled(values)
    assert (found.low, found.high) == (values.min(), values.max()) and 50 <= found.occupied()[1].sum() <= 100


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="NaN or infinity"):
        filled([1.0, value])


def test_min_max_is_exact():
    values = long_tailed()
    assert find_range(filled(values[:1000], values[1000:]), "minmax") == (values.min(), values.max())
    assert find_range(filled(np.abs(values) + 1), "minmax") == (0, (np.abs(values) + 1).max())


@pytest.mark.parametrize("values", [long_tailed(), rectified(), -rectified()])
def test_a_percentile_leaves_out_so_many_values(values):
    found = filled(values)
    low, high = find_range(found, "percentile")
    expected = np.quantile(values, [0.5e-4, 1 - 0.5e-4], method="inverted_cdf")
    assert abs(low - min(expected[0], 0)) <= found.width and abs(high - max(expected[1], 0)) <= found.width


@pytest.mark.parametrize("values", [long_tailed(), rectified(), -rectified(), np.random.default_rng(1).normal(0.3, 1, 20_000)])
def test_the_least_squared_error_is_that_of_the_values(values):
    """The range that is found is as good, on the values themselves, as the best of a search over both ends."""
    values = values.astype("float32")
    found = find_range(filled(values), "mse")

    def error(low, high):
        return float(np.square(Quantizer.of_range(low, high).round_trip(values) - values, dtype=np.float64).sum())

    low, high = min(values.min(), 0), max(values.max(), 0)
    shares = np.linspace(0.04, 1, 25)
    best = min(error(a * low, b * high) for a in shares for b in shares)
    assert error(*found) <= 1.02 * best and error(*found) <= error(low, high)
    assert squared_error(filled(values), *found) == pytest.approx(error(*found), rel=0.01)


def test_outliers_are_given_up_for_the_others():
    """One value in 10,000 lies far out: losing it costs less than wider steps for all."""
    values = np.abs(np.random.default_rng(0).standard_normal(100_000))
    values[:10] = 60.0
    assert find_range(filled(values), "minmax") == (0, 60.0)
    assert find_range(filled(values), "kl")[1] < 30.0 and find_range(filled(values[:-1] / 4), "mse")[1] < 15.0
    values[5:10] = 1.0
    assert find_range(filled(values), "percentile")[1] < 6.0


def by_hand(counts, threshold, levels):
    """The divergence as its source tells it, bin by bin."""
    reference = [float(c) for c in counts[:threshold]]
    reference[-1] += float(sum(counts[threshold:]))
    candidate = [0.0] * threshold
    for level in range(levels):
        bins = [b for b in range(threshold) if b * levels // threshold == level]
        present = [b for b in bins if counts[b]]
        for b in present:
            candidate[b] = sum(counts[c] for c in bins) / len(present)
    total, spread = sum(reference), sum(candidate)
    pairs = [[0.9999 * each / whole + 1e-4 / threshold for each, whole in ((p, total), (q, spread))]
             for p, q in zip(reference, candidate, strict=True)]
    return sum(p * np.log(p / q) for p, q in pairs)


def test_the_divergence_is_that_of_its_source():
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = rng.poisson(3 * np.exp(-np.arange(200) / 60))
        threshold, levels = int(rng.integers(40, 200)), int(rng.integers(4, 40))
        assert kl_of_threshold(counts, threshold, levels) == pytest.approx(by_hand(counts, threshold, levels), rel=1e-9)


@pytest.mark.parametrize("values, levels", [(long_tailed(), 128), (rectified(), 256)])
def test_the_threshold_is_that_of_the_least_divergence(values, levels):
    found = filled(values)
    top = found.width * histograms.BINS
    counts = np.histogram(np.abs(values[values != 0]).astype(np.float64), np.linspace(0, top, KL_BINS + 1))[0]
    last = int(np.flatnonzero(counts)[-1]) + 1
    thresholds = [*range(levels, last, KL_STEP), last]
    best = min(thresholds, key=lambda threshold: by_hand_fast(counts[:last], threshold, levels))
    assert find_range(found, "kl")[1] == pytest.approx(min(top * best / KL_BINS, values.max()), rel=1e-6)


def by_hand_fast(counts, threshold, levels):
    """`by_hand`, with the bins of a level cut out of the row."""
    bounds = [-(-level * threshold // levels) for level in range(levels + 1)]
    candidate = np.zeros(threshold)
    for start, end in zip(bounds, bounds[1:], strict=False):
        part = counts[start:end]
        candidate[start:end] = (part > 0) * part.sum() / max((part > 0).sum(), 1)
    reference = counts[:threshold].astype(float)
    reference[-1] += counts[threshold:].sum()
    p, q = (0.9999 * each / each.sum() + 1e-4 / threshold for each in (reference, candidate))
    return float((p * np.log(p / q)).sum())


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'entropy' is none of mse, minmax, percentile, kl"):
        find_range(filled([1.0]), "entropy")
