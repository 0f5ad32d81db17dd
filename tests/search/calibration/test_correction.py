"""Corrections after factoring, on a small classifier."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from factor_reference import PROPERTY
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from search_fakes import classifier, images
from tenfold.factorization import METHODS, Layer
from tenfold.factorization.patches import Pool, Positions, pixels
from tenfold.factorization.plan_json import CORRECTIONS
from tenfold.frontends import load
from tenfold.frontends.reference.free_batch import free_batch
from tenfold.frontends.reference.graph_activations import GraphActivations
from tenfold.passes.factorize_onnx import factorize_onnx
from tenfold.passes.inventory import inventory, weights
from tenfold.search.calibration.correction import correct
from tenfold.search.calibration.kept_corrections import KeptCorrections
from tenfold.search.calibration.layer_sites import LayerSite
from tenfold.search.calibration.network_rewriter import NetworkRewriter
from tenfold.support.errors import TenfoldError

RANKS = {"conv1": ("channel_svd", (5,)), "conv2": ("spatial_svd", (12,)), "fc": ("svd", (3,))}
FEW = 60  # images, where their number does not matter
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
    batches = list(GraphActivations(graph, names).batches(x))
    return [np.concatenate([batch[name] for batch in batches]).astype(np.float64) for name in names]


def test_the_classifier_has_these_layers(network):
    assert {layer.name for layer in inventory(network.mod)} == set(RANKS)


@pytest.mark.slow
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
        site = LayerSite.of(model, layer, len(x), 1)
        (dense,), (ours,) = (values(network, c, x, [site.output]) for c in ({}, corrected))
        axes = (0, 2, 3) if dense.ndim == 4 else (0,)
        scale = dense.std(axis=axes)
        np.testing.assert_allclose((ours.mean(axis=axes) - dense.mean(axis=axes)) / scale, 0, atol=0.05)
        if kind == "moments":
            np.testing.assert_allclose(np.clip(ours.std(axis=axes) / scale, 0.5, 1.05), 1, atol=0.5)


@pytest.mark.slow
def test_factors_that_lose_nothing_stay_as_good(network, x):
    full = {"conv2": ("channel_svd", (32,))}
    corrected = correct(network, inventory(network.mod), chains_of(network, full), x, "response")
    (dense,), (ours,) = (values(network, c, x, ["scores"]) for c in ({}, corrected))
    np.testing.assert_allclose(ours, dense, atol=5e-3 * np.abs(dense).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["response", "fisher"])
def test_the_same_every_time(network, x, kind):
    chains = chains_of(network, RANKS)
    first, again = (correct(network, inventory(network.mod), chains, x[:FEW], kind) for _ in range(2))
    for name in chains:
        for one, other in zip(first[name].stages, again[name].stages, strict=True):
            np.testing.assert_array_equal(one.weight, other.weight)
            np.testing.assert_array_equal(one.bias, other.bias)


@pytest.mark.slow
def test_what_was_found_out_before_makes_no_difference(network, x):
    """Whichever layers it was asked for first."""
    layers, chains, known = inventory(network.mod), chains_of(network, RANKS), KeptCorrections()
    correct(network, layers, {"conv2": chains["conv2"]}, x[:FEW], "fisher", kept=known)
    assert list(known.weightings) == ["conv2"]
    warm, cold = (correct(network, layers, chains, x[:FEW], "fisher", kept=before) for before in (known, None))
    assert known.weightings.keys() == chains.keys()
    for name in chains:
        for one, other in zip(warm[name].stages, cold[name].stages, strict=True):
            np.testing.assert_array_equal(one.weight, other.weight)


def test_nothing_to_do(network, x):
    chains = chains_of(network, RANKS)
    assert correct(network, inventory(network.mod), chains, x, "none") == chains
    assert correct(network, inventory(network.mod), {}, x, "response") == {}
    with pytest.raises(TenfoldError, match="unknown correction 'more'"):
        correct(network, inventory(network.mod), chains, x, "more")


def test_without_pytorch_what_needs_gradients_says_so_and_is_not_the_default(network, x, monkeypatch):
    rewriter = NetworkRewriter.of(network)
    assert rewriter.correction() == "fisher"
    for module in ("correction", "network_rewriter"):
        monkeypatch.setattr(f"tenfold.search.calibration.{module}.find_spec", lambda name: None)
    assert rewriter.correction() == "response"
    with pytest.raises(TenfoldError, match="needs PyTorch"):
        correct(network, inventory(network.mod), chains_of(network, RANKS), x, "fisher")


def test_what_pytorch_can_not_run_is_corrected_without_gradients(network, monkeypatch):
    monkeypatch.setattr("tenfold.frontends.reference.torch_graph.OPERATORS", {})
    assert NetworkRewriter.of(network).correction() == "response"


@pytest.mark.parametrize(("behind", "found"), [
    (["Relu", "MaxPool"], (True, True)),
    (["MaxPool", "Relu"], (True, True)),
    (["Relu"], (True, False)),
    (["MaxPool"], (False, False)),
    (["Sigmoid", "MaxPool"], (False, False)),
])
def test_what_stands_behind_a_layer(behind, found):
    options = {"MaxPool": {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}}
    names = ["y", *(f"v{i}" for i in range(len(behind)))]
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    nodes += [helper.make_node(kind, [a], [b], **options.get(kind, {})) for kind, a, b in zip(behind, names, names[1:], strict=False)]
    tensors = [numpy_helper.from_array(np.zeros((4, 2, 1, 1), "float32"), "w")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", names[-1])]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], tensors))
    layer = Layer("conv", "conv2d", (4, 2, 1, 1), input_size=(9, 8), output_size=(9, 8))
    site = LayerSite.of(model, layer, 40, 1)
    assert (site.rectified, site.pool is not None) == found
    if site.pool:
        assert site.pool == Pool((3, 2), (2, 1), (1, 0), (1, 1)) and site.at.rows.shape[1] % 6 == 0


@PROPERTY
@given(data=st.data())
def test_the_largest_of_a_window_is_what_a_pooling_gives(data):
    draw = lambda low, high: (data.draw(st.integers(low, high)), data.draw(st.integers(low, high)))  # noqa: E731
    size, kernel, stride, dilation = draw(4, 9), draw(1, 3), draw(1, 3), draw(1, 2)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    pool = Pool(kernel, stride, padding, dilation)
    rows, columns = pool.windows(size)
    assume(rows and columns)
    y = np.random.default_rng(0).standard_normal((3, 2, *size)).astype("float32")
    layer = Layer("conv", "conv2d", (2, 2, 1, 1), input_size=size, output_size=size)
    at = Positions.draw_windows(layer, 3, 10**6, pool)
    ours = pixels(y, at).reshape(3, -1, pool.window, 2).max(axis=2)
    whole = torch.nn.functional.max_pool2d(torch.from_numpy(y), kernel, stride, padding, dilation).numpy()
    assert rows <= whole.shape[2] and columns <= whole.shape[3]
    kept = whole[:, :, :rows, :columns]
    expected = kept.transpose(0, 2, 3, 1).reshape(3, -1, 2)
    np.testing.assert_array_equal(ours, expected)
