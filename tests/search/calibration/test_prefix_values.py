"""Values from layer to layer are those of the whole network; plans that begin alike share corrected chains."""
from __future__ import annotations

import numpy as np
import pytest
from deployed_networks import arrays, two_by_two
from search_fakes import classifier, images
from tenfold.factorization import METHODS
from tenfold.frontends import load
from tenfold.frontends.reference.free_batch import free_batch
from tenfold.frontends.reference.graph_activations import GraphActivations
from tenfold.passes.factorize_onnx import factorize_onnx
from tenfold.passes.inventory import inventory, weights
from tenfold.search.calibration import correction, prefix_values
from tenfold.search.calibration.correction import correct
from tenfold.search.calibration.kept_corrections import KeptCorrections
from tenfold.search.calibration.layer_sites import LayerSite
from tenfold.search.calibration.prefix_values import PrefixValues
from tenfold.support.input_set import InputSet

COUNT = 70
RANKS = {"conv1": (5,), "conv2": (6,)}


def networks():
    return {"classifier": (classifier(), images(COUNT)), "two inputs": (two_by_two(), InputSet(arrays(two_by_two(), COUNT)))}


def chains_of(network, **ranks):
    arrays, layers = weights(network.mod), {layer.name: layer for layer in inventory(network.mod)}
    return {name: METHODS["channel_svd"].factorize(arrays[name], layers[name], rank) for name, rank in {**RANKS, **ranks}.items()}


@pytest.mark.parametrize("name", ["classifier", "two inputs"])
@pytest.mark.parametrize("held", [2**30, 0])
def test_values_are_those_of_the_whole_network(monkeypatch, name, held):
    monkeypatch.setattr(prefix_values, "HELD_BYTES", held)
    model, x = networks()[name]
    network = load(model)
    free, chains = free_batch(network.onnx, x), chains_of(network)
    before, done = PrefixValues(free, x), {}
    for layer in inventory(network.mod):
        site = LayerSite.of(free, layer, COUNT, 1)
        before.advance(layer.name, done)
        ours = np.concatenate([each[site.input] for each in before.batches(before.inside(layer.name, done), [site.input])])
        graph = factorize_onnx(free, done) if done else free
        whole = np.concatenate([each[site.input] for each in GraphActivations(graph, [site.input]).batches(x)])
        np.testing.assert_allclose(ours, whole, atol=1e-4 * np.abs(whole).max())
        kept = set(before._place.values)
        assert site.input in kept if held else kept == {value.name for value in free.graph.input}
        if layer.name in chains:
            done[layer.name] = chains[layer.name]


def test_a_layer_further_in_front_is_begun_from_the_images():
    model, x = networks()["classifier"]
    network = load(model)
    before = PrefixValues(free_batch(network.onnx, x), x)
    before.advance("fc", {})
    before.advance("conv1", {})
    assert set(before._place.values) == {"x"}


def test_a_network_whose_batch_can_not_be_freed_is_run_from_its_images():
    model, x = networks()["classifier"]
    network = load(model)
    before = PrefixValues(network.onnx, x)
    before.advance("fc", {})
    assert set(before._place.values) == {"x"}
    assert len(list(before.batches(before.inside("fc", {}), ["scores"]))) == COUNT


@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", ["response", "moments"])
def test_plans_that_begin_alike_share_what_was_found(monkeypatch, kind):
    model, x = networks()["classifier"]
    network, layers = load(model), None
    layers = inventory(network.mod)
    first = chains_of(network)
    second = {**first, "conv2": chains_of(network, conv2=(9,))["conv2"]}
    asked = []
    real = correction._corrected
    monkeypatch.setattr(correction, "_corrected", lambda site, *more: asked.append(site.layer.name) or real(site, *more))
    kept = KeptCorrections()
    correct(network, layers, first, x, kind, kept=kept)
    warm = correct(network, layers, second, x, kind, kept=kept)
    again = correct(network, layers, first, x, kind, kept=kept)
    assert asked == ["conv1", "conv2", "conv2"]
    asked.clear()
    for plan, found in ((second, warm), (first, again)):
        cold = correct(network, layers, plan, x, kind)
        for name in plan:
            for one, other in zip(cold[name].stages, found[name].stages, strict=True):
                np.testing.assert_array_equal(one.weight, other.weight)
                np.testing.assert_array_equal(one.bias, other.bias)
    assert asked == ["conv1", "conv2"] * 2


def test_another_kind_or_another_chain_shares_nothing():
    kept, (one, other, corrected) = KeptCorrections(), (object(), object(), object())
    kept.keep("bias", [("conv1", one)], corrected)
    assert kept.prefix("bias", [("conv1", one), ("conv2", other)]) == [corrected]
    for kind, name, chain in (("response", "conv1", one), ("bias", "conv1", other), ("bias", "conv2", one)):
        assert kept.prefix(kind, [(name, chain)]) == []
