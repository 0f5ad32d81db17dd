"""Verdicts against their definitions, and data that does not fit."""
from __future__ import annotations

import numpy as np
import pytest
from conftest import tiny_network
from scipy.special import log_softmax
from search_fakes import classifier, images, labels
from tenfold.factorization import METHODS
from tenfold.frontends import load
from tenfold.passes.inventory import inventory, weights
from tenfold.runner.data import Data
from tenfold.search.calibration.evaluation import Judge, check, log_probabilities, split
from tenfold.support.errors import TenfoldError


@pytest.fixture(scope="module")
def network():
    return load(classifier())


def scores_of(network, x, chains):
    from tenfold.frontends.reference import onnxruntime_reference
    from tenfold.passes.factorize_onnx import factorize_onnx

    run = onnxruntime_reference(factorize_onnx(network.onnx, chains)) if chains else network.reference
    return np.concatenate([run({"x": image[None]})[0] for image in x])


def test_a_verdict_is_what_its_definitions_say(network):
    x = images(60)
    y = labels(classifier(), x)
    layer = inventory(network.mod)[1]
    chains = {layer.name: METHODS["channel_svd"].factorize(weights(network.mod)[layer.name], layer, (3,))}
    verdict = Judge(network, Data(x, y)).judge(chains)
    dense, ours = scores_of(network, x, {}), scores_of(network, x, chains)
    assert verdict.accuracy == (ours.argmax(1) == y).mean() < 1
    assert verdict.agreement == (ours.argmax(1) == dense.argmax(1)).mean() < 1
    assert verdict.drop == pytest.approx(100 * ((dense.argmax(1) == y).mean() - verdict.accuracy))
    p, q = log_softmax(dense, axis=1), log_softmax(ours, axis=1)
    assert verdict.kl == pytest.approx((np.exp(p) * (p - q)).sum(1).mean(), rel=1e-3)
    differences = (dense.argmax(1) == y).astype(float) - (ours.argmax(1) == y)
    assert verdict.uncertainty == pytest.approx(100 * differences.std() / np.sqrt(60), rel=1e-6)


def test_without_labels_agreement_stands_in(network):
    x = images(40)
    layer = inventory(network.mod)[1]
    chains = {layer.name: METHODS["channel_svd"].factorize(weights(network.mod)[layer.name], layer, (2,))}
    verdict = Judge(network, Data(x)).judge(chains)
    assert verdict.accuracy is None
    assert verdict.drop == pytest.approx(100 * (1 - verdict.agreement)) and verdict.drop > 0


def test_the_dense_network_loses_nothing(network):
    verdict = Judge(network, Data(images(20))).judge({})
    assert (verdict.kl, verdict.drop, verdict.agreement) == (0, 0, 1) and verdict.uncertainty > 0


def test_probabilities_and_logits_are_told_apart():
    logits = np.random.default_rng(0).standard_normal((5, 4)) * 3
    expected = log_softmax(logits, axis=1)
    np.testing.assert_allclose(log_probabilities(logits), expected, atol=1e-9)
    np.testing.assert_allclose(log_probabilities(np.exp(expected)), expected, atol=1e-9)
    assert np.isfinite(log_probabilities(np.array([[1.0, 0.0]]))).all()


def test_the_split_is_the_same_every_time_and_has_every_image_once():
    data = Data(np.arange(101, dtype="float32").reshape(101, 1), np.arange(101))
    (a, b), (c, _) = split(data), split(data)
    assert sorted([*a.y, *b.y]) == list(range(101))
    np.testing.assert_array_equal(a.y, c.y)
    np.testing.assert_array_equal(a.x[:, 0], a.y)
    assert abs(len(a.y) - len(b.y)) <= 1


def test_the_data_may_say_what_is_held_out():
    held_out = np.arange(101) % 4 == 0
    data = Data.of({"x": np.arange(101, dtype="float32").reshape(101, 1), "y": np.arange(101), "held_out": held_out})
    calibrating, verifying = split(data)
    np.testing.assert_array_equal(verifying.y, np.arange(0, 101, 4))
    np.testing.assert_array_equal(calibrating.x[:, 0], np.flatnonzero(~held_out))


@pytest.mark.parametrize(
    ("held_out", "words"),
    [(np.zeros(20, bool), "0 of 20"), (np.ones(20, bool), "20 of 20"), (np.zeros(20, int), "int64"), (np.zeros(9, bool), "[9]")],
)
def test_what_is_held_out_must_make_sense(held_out, words):
    with pytest.raises(TenfoldError, match="held_out.*") as error:
        split(Data.of({"x": images(20), "held_out": held_out}))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Data(images(20)[:, :3]), "x has shape"),
        (Data(images(20).astype("float64")), "float64"),
        (Data(images(20), np.zeros(20)), "whole numbers"),
        (Data(images(20), np.full(20, 6)), "classes 0 to 5"),
        (Data(images(20), np.full(20, -1)), "classes 0 to 5"),
    ],
)
def test_data_that_does_not_fit(network, data, words):
    with pytest.raises(TenfoldError, match=words):
        check(network, data)


def test_too_few_images():
    with pytest.raises(TenfoldError, match="at least 16"):
        split(Data(images(15)))


def test_a_network_that_is_no_classifier():
    data = Data(np.zeros((20, 3, 8, 8), "float32"))
    with pytest.raises(TenfoldError, match="classifier"):
        check(load(tiny_network(classes=1)), data)
