"""What outputs are taken for, and how far two of a kind are apart."""
from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from tenfold.search.measures import output_kinds
from tenfold.search.measures.output_kinds import agreement, divergence, kind_of, kinds_of
from tenfold.support.errors import TenfoldError

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.standard_normal(shape).astype("float32")


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (normal(5, 10), "scores"),
        (normal(5, 10, 1, 1), "scores"),
        (normal(5, 1), "values"),
        (normal(5), "values"),
        (normal(5, 3, 8, 8), "values"),
        (softmax(normal(5, 3, 8, 8), axis=1), "scores"),
        (softmax(normal(5, 3, 8, 8), axis=3), "values"),
        (softmax(normal(5, 7, 4), axis=2), "scores"),
        (normal(5, 7, 4), "values"),
        (np.abs(normal(5, 7, 4)), "values"),
        (rng.integers(0, 9, (5, 7)), "classes"),
        (normal(5, 1, 8, 8) > 0, "classes"),
    ],
)
def test_the_kind_of_an_output(output, kind):
    assert kind_of(output) == kind


def test_all_images_count(monkeypatch):
    monkeypatch.setattr(output_kinds, "CHUNK", 8)
    output = softmax(normal(5, 7, 4), axis=2)
    assert kind_of(output) == "scores"
    output[4, 6] *= 2
    assert kind_of(output) == "values"


def test_what_is_asked_for_counts():
    outputs = {"a": normal(5, 3, 8, 8), "b": normal(5, 10)}
    assert kinds_of(outputs, {"a": "scores", "b": "values"}) == {"a": "scores", "b": "values"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"c": "scores"}, "--output-kind c=scores: there is no output 'c': there are 'a', 'b'"),
        ({"a": "classes"}, "--output-kind a=classes: .*float32: classes are whole numbers"),
        ({"b": "scores"}, "--output-kind b=scores: .*int64"),
    ],
)
def test_a_kind_that_an_output_can_not_have(asked, words):
    with pytest.raises(TenfoldError, match=words):
        kinds_of({"a": normal(5, 1, 8, 8), "b": rng.integers(0, 3, (5, 7))}, asked)


@pytest.mark.parametrize("chunk", [2**21, 60])
def test_divergences_are_what_their_definitions_say(monkeypatch, chunk):
    monkeypatch.setattr(output_kinds, "CHUNK", chunk)
    a, b = normal(5, 3, 4, 4), normal(5, 3, 4, 4)
    p, q = log_softmax(b.astype("float64"), axis=1), log_softmax(a.astype("float64"), axis=1)
    expected = (np.exp(p) * (p - q)).sum(axis=1).mean(axis=(1, 2))
    np.testing.assert_allclose(divergence("scores", a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(divergence("values", a, b), np.square(a.astype(float) - b).sum(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(agreement("scores", a, b), (a.argmax(1) == b.argmax(1)).mean(axis=(1, 2)))
    i, j = rng.integers(0, 2, (2, 5, 7))
    np.testing.assert_array_equal(divergence("classes", i, j), (i != j).mean(axis=1))
    sequence, other = normal(5, 6, 4), normal(5, 6, 4)
    p, q = log_softmax(other.astype("float64"), axis=2), log_softmax(sequence.astype("float64"), axis=2)
    np.testing.assert_allclose(divergence("scores", sequence, other), (np.exp(p) * (p - q)).sum(axis=2).mean(axis=1), rtol=1e-5)
