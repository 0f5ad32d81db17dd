"""The Fisher information of layers' outputs, against what it is for a softmax."""
from __future__ import annotations

import numpy as np
import pytest
from search_fakes import classifier, images
from tenfold.frontends import load
from tenfold.frontends.reference.fisher import output_fisher, runs
from tenfold.frontends.reference.free_batch import free_batch
from tenfold.frontends.reference.graph_activations import GraphActivations
from tenfold.search.calibration.evaluation import log_probabilities

LAYERS = ("conv1", "conv2", "fc")


@pytest.fixture(scope="module")
def found():
    network, x = load(classifier()), images(1500)
    model = free_batch(network.onnx, x)
    nodes = {node.name: node.output[0] for node in model.graph.node}
    scores = np.concatenate([batch["scores"] for batch in GraphActivations(model, ["scores"]).batches(x)]).astype(np.float64)
    return output_fisher(model, {name: nodes[name] for name in LAYERS}, x), scores


def test_of_scores_it_is_that_of_a_softmax(found):
    """The mean of diag(p) - p p^T, with labels drawn from p: their chance error with 1500 images."""
    fisher, scores = found
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    expected = np.diag(p.mean(axis=0)) - p.T @ p / len(p)
    assert np.linalg.norm(fisher["fc"] - expected) < 0.15 * np.linalg.norm(expected)


def test_it_is_symmetric_and_not_negative(found):
    for matrix in found[0].values():
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-9 * np.abs(matrix).max())
        assert np.linalg.eigvalsh(matrix).min() > -1e-6 * np.trace(matrix)


def test_it_foresees_what_a_small_error_costs(found):
    """An error e of the scores moves the probabilities by e^T F e / 2 nats."""
    fisher, scores = found
    error = 0.05 * np.random.default_rng(0).standard_normal(scores.shape[1])

    before, after = log_probabilities(scores), log_probabilities(scores + error)
    nats = (np.exp(before) * (before - after)).sum(axis=1).mean()
    assert error @ fisher["fc"] @ error / 2 == pytest.approx(nats, rel=0.2)


def test_the_operators_have_to_be_known(monkeypatch):
    model = load(classifier()).onnx
    assert runs(model)
    monkeypatch.setattr("tenfold.frontends.reference.torch_graph.OPERATORS", {})
    assert not runs(model)
