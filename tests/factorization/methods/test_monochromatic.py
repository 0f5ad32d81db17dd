"""The monochromatic form against planted colours, closed forms for one colour and for as many as filters, and exhaustive search."""
from itertools import combinations

import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_metrics, random_weight, sub_ranks
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Covariance, Mahalanobis

MONO = METHODS["monochromatic"]
SEEDS = st.integers(0, 2**32 - 1)


def _colours(chain):
    """The filters of each colour."""
    last = chain.stages[-1]
    order = np.arange(last.out_channels) if chain.permutation is None else np.argsort(chain.permutation)
    return {frozenset(members.tolist()) for members in order.reshape(last.groups, -1)}


def _kept_by_one_colour(weight):
    """The squared norm that filters keep with the best colour for all of them: the largest singular value of C x (F Y X)."""
    return np.linalg.svd(weight.transpose(1, 0, 2, 3).reshape(weight.shape[1], -1), compute_uv=False)[0] ** 2


@PROPERTY
@given(count=st.integers(1, 5), size=st.integers(1, 6), more=st.integers(0, 2), noise=st.sampled_from([0, 0.1]), seed=SEEDS)
def test_planted_colours_are_recovered(count, size, more, noise, seed):
    rng = np.random.default_rng(seed)
    channels = max(2, count + more)
    colours = np.linalg.qr(rng.standard_normal((channels, channels)))[0][:count]
    members = rng.permutation(count * size).reshape(count, size)
    weight = np.zeros((count * size, channels, 3, 3))
    for colour, filters in zip(colours, members, strict=True):
        weight[filters] = colour[:, None, None] * rng.standard_normal((size, 1, 3, 3))
    seen = (weight + noise * rng.standard_normal(weight.shape)).astype(np.float32)
    if count * size < 2:
        return
    chain = MONO.factorize(seen, conv_layer(count * size, channels, 3, 3), (count,))
    assert _colours(chain) == {frozenset(filters.tolist()) for filters in members}
    assert chain.relative_error(weight) < (1e-6 if noise == 0 else 0.35)


@PROPERTY
@given(layer=layers("monochromatic"), seed=SEEDS)
def test_one_colour_and_a_colour_for_each_filter_are_known(layer, seed):
    weight = random_weight(layer, seed)
    exact, norm = weight.astype(np.float64), np.sum(weight.astype(np.float64) ** 2)
    one = MONO.factorize(weight, layer, (1,)).relative_error(weight)
    assert one == pytest.approx(np.sqrt(max(1 - _kept_by_one_colour(exact) / norm, 0)), abs=1e-5)
    each = MONO.factorize(weight, layer, (layer.out_channels,)).relative_error(weight)
    kept = sum(_kept_by_one_colour(exact[f : f + 1]) for f in range(len(exact)))
    assert each == pytest.approx(np.sqrt(max(1 - kept / norm, 0)), abs=1e-5)
    for (colours,) in MONO.ladder(layer):
        assert each - 1e-6 <= MONO.factorize(weight, layer, (colours,)).relative_error(weight) <= one + 1e-6


def _two_colours(channels, seed):
    """The squared error of two colours for six filters, and those of all ten ways to halve them, by singular values, from the best on."""
    weight = random_weight(conv_layer(6, channels, 3, 3), seed)
    exact = weight.astype(np.float64)
    halves = [[0, *others] for others in combinations(range(1, 6), 2)]
    lost = sorted(1 - sum(map(_kept_by_one_colour, (exact[half], np.delete(exact, half, axis=0)))) / np.sum(exact**2) for half in halves)
    return MONO.factorize(weight, conv_layer(6, channels, 3, 3), (2,)).relative_error(weight) ** 2, lost


@PROPERTY
@given(channels=st.integers(2, 4), seed=SEEDS)
def test_two_colours_are_one_of_all_partitions(channels, seed):
    squared, lost = _two_colours(channels, seed)
    assert lost[0] - 1e-6 <= squared <= lost[-1] + 1e-6


def test_two_colours_are_near_the_best_of_all_partitions():
    """The clustering is a descent: it beats the median on random filters, which have no clusters, almost always and not always."""
    found = [_two_colours(channels, seed) for channels in (2, 3, 4) for seed in range(20)]
    assert np.mean([squared <= lost[len(lost) // 2] + 1e-6 for squared, lost in found]) >= 0.95


@PROPERTY
@given(layer=layers("monochromatic"), seed=SEEDS, part=st.floats(0, 1))
def test_a_metric_is_minimised(layer, seed, part):
    weight, ranks = random_weight(layer, seed), sub_ranks("monochromatic", layer, part)
    plain = MONO.factorize(weight, layer, ranks)
    for metric in random_metrics(layer, seed):
        chain = MONO.factorize(weight, layer, ranks, metric=metric)
        assert chain.relative_error(weight, metric) <= plain.relative_error(weight, metric) + 1e-6


def test_a_metric_takes_much_off_its_own_error():
    layer, rng = conv_layer(24, 3, 5, 5), np.random.default_rng(0)
    weight, smooth = random_weight(layer, 0), np.linalg.qr(rng.standard_normal((75, 75)))[0] * 0.8 ** np.arange(75)
    alpha = np.exp(rng.standard_normal(weight.shape))
    plain = MONO.factorize(weight, layer, (6,))
    for metric in (Covariance(smooth @ smooth.T), Mahalanobis(alpha)):
        error = MONO.factorize(weight, layer, (6,), metric=metric).relative_error(weight, metric)
        assert error < 0.9 * plain.relative_error(weight, metric)


def test_weighting_everything_alike_changes_nothing():
    layer = conv_layer(8, 3, 3, 3)
    weight = random_weight(layer, 0)
    plain = MONO.factorize(weight, layer, (4,)).relative_error(weight)
    for metric in (Mahalanobis(np.full(weight.shape, 3.0)), Covariance(np.eye(27))):
        assert MONO.factorize(weight, layer, (4,), metric=metric).relative_error(weight) == pytest.approx(plain, abs=1e-3)


def test_a_planted_weight_is_recovered_in_every_metric():
    rng = np.random.default_rng(0)
    colours = np.linalg.qr(rng.standard_normal((4, 4)))[0][:3]
    weight = (np.repeat(colours, 4, axis=0)[:, :, None, None] * rng.standard_normal((12, 1, 3, 3)))[rng.permutation(12)].astype(np.float32)
    layer = conv_layer(12, 4, 3, 3)
    for metric in random_metrics(layer, 0):
        chain = MONO.factorize(weight, layer, (3,), metric=metric)
        assert chain.relative_error(weight, metric) < 1e-4


def test_geometry_goes_to_the_second_stage():
    layer = conv_layer(6, 4, 5, 3, stride=(2, 3), padding=(1, 2, 3, 4), dilation=(2, 1), size=(21, 23))
    first, last = MONO.factorize(random_weight(layer, 0), layer, (3,)).stages
    assert (first.weight.shape, last.weight.shape, first.groups, last.groups) == ((3, 4, 1, 1), (6, 1, 5, 3), 1, 3)
    assert (last.stride, last.padding, last.dilation) == ((2, 3), (1, 2, 3, 4), (2, 1))
    assert (first.stride, first.padding, first.dilation) == ((1, 1), (0, 0, 0, 0), (1, 1))


def test_ranks():
    layer = conv_layer(96, 3, 7, 7)
    assert MONO.max_ranks(layer) == (96,) and MONO.rounded(layer, (6,), 8, True) == (6,)
    assert [colours for (colours,) in MONO.ladder(layer)] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96]
    with pytest.raises(ValueError, match="ranks 5 of monochromatic do not fit: 96 filters do not divide into 5 clusters"):
        MONO.macs(layer, (5,))
