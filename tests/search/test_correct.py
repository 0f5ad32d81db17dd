"""Corrections after factoring, on a small classifier."""
from __future__ import annotations

import numpy as np
import pytest
from search_fakes import classifier, images
from tenfold.errors import TenfoldError
from tenfold.factorization import METHODS
from tenfold.factorization.plan_json import CORRECTIONS
from tenfold.frontends import load
from tenfold.passes.factorize_onnx import factorize_onnx
from tenfold.passes.inventory import inventory, weights
from tenfold.search.correct import correct
from tenfold.search.free_batch import free_batch
from tenfold.search.inside import Inside
from tenfold.search.places import Place

RANKS = {"conv1": ("channel_svd", (5,)), "conv2": ("spatial_svd", (12,)), "fc": ("svd", (3,))}
GROUPED = {"conv2": ("biclustering_svd", (2, 2, 8, 8))}


@pytest.fixture(scope="module")
def network():
    return load(classifier())


@pytest.fixture(scope="module")
def x():
    return images(600)


def chains_of(network, ranks):
    arrays = weights(network.mod)
    return {
        layer.name: METHODS[ranks[layer.name][0]].factorize(arrays[layer.name], layer, ranks[layer.name][1])
        for layer in inventory(network.mod)
        if layer.name in ranks
    }


def values(network, chains, x, names):
    model = free_batch(network.onnx, x)
    graph = factorize_onnx(model, chains) if chains else model
    batches = list(Inside(graph, names).batches(x))
    return [np.concatenate([batch[name] for batch in batches]).astype(np.float64) for name in names]


def test_the_classifier_has_these_layers(network):
    assert {layer.name for layer in inventory(network.mod)} == set(RANKS)


@pytest.mark.parametrize("kind", CORRECTIONS)
@pytest.mark.parametrize("ranks", [RANKS, GROUPED], ids=["three layers", "permuted"])
def test_geometry_stays_and_the_output_does_not_get_worse(network, x, kind, ranks):
    chains = chains_of(network, ranks)
    corrected = correct(network, inventory(network.mod), chains, x, kind)
    assert list(corrected) == list(chains)
    for name, chain in corrected.items():
        assert [(s.weight.shape, s.stride, s.padding, s.groups) for s in chain.stages] == [
            (s.weight.shape, s.stride, s.padding, s.groups) for s in chains[name].stages
        ]
    (dense,) = values(network, {}, x, ["scores"])
    before, after = (np.square(values(network, c, x, ["scores"])[0] - dense).sum() for c in (chains, corrected))
    assert after <= before * 1.01
    if kind == "response":
        assert after <= 0.7 * before


@pytest.mark.parametrize("kind", ["bias", "moments"])
def test_means_and_deviations_are_restored(network, x, kind):
    corrected = correct(network, inventory(network.mod), chains_of(network, RANKS), x, kind)
    model = free_batch(network.onnx, x)
    for layer in inventory(network.mod):
        place = Place.of(model, layer, len(x), 1)
        (dense,), (ours,) = (values(network, c, x, [place.output]) for c in ({}, corrected))
        axes = (0, 2, 3) if dense.ndim == 4 else (0,)
        scale = dense.std(axis=axes)
        np.testing.assert_allclose((ours.mean(axis=axes) - dense.mean(axis=axes)) / scale, 0, atol=0.05)
        if kind == "moments":
            np.testing.assert_allclose(np.clip(ours.std(axis=axes) / scale, 0.5, 1.05), 1, atol=0.5)


def test_factors_that_lose_nothing_stay_as_good(network, x):
    full = {"conv2": ("channel_svd", (32,))}
    corrected = correct(network, inventory(network.mod), chains_of(network, full), x, "response")
    (dense,), (ours,) = (values(network, c, x, ["scores"]) for c in ({}, corrected))
    np.testing.assert_allclose(ours, dense, atol=5e-3 * np.abs(dense).max())


def test_the_same_every_time(network, x):
    chains = chains_of(network, RANKS)
    first, again = (correct(network, inventory(network.mod), chains, x, "response") for _ in range(2))
    for name in chains:
        for one, other in zip(first[name].stages, again[name].stages, strict=True):
            np.testing.assert_array_equal(one.weight, other.weight)
            np.testing.assert_array_equal(one.bias, other.bias)


def test_nothing_to_do(network, x):
    chains = chains_of(network, RANKS)
    assert correct(network, inventory(network.mod), chains, x, "none") == chains
    assert correct(network, inventory(network.mod), {}, x, "response") == {}
    with pytest.raises(TenfoldError, match="unknown correction 'more'"):
        correct(network, inventory(network.mod), chains, x, "more")
