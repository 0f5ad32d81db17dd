"""Statistics in one pass, against all patches at once."""
from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from search_fakes import classifier, images
from tenfold.factorization import Layer
from tenfold.factorization.moments import Moments
from tenfold.factorization.patches import Positions, patches, pixels
from tenfold.frontends import load
from tenfold.frontends.reference import graph_activations
from tenfold.frontends.reference.free_batch import free_batch
from tenfold.frontends.reference.graph_activations import GraphActivations
from tenfold.passes.inventory import inventory
from tenfold.search.calibration import moments
from tenfold.search.calibration.moments import calibrate, layer_values
from tenfold.support.errors import TenfoldError


@pytest.fixture(scope="module")
def network():
    return load(classifier())


def all_patches(layer, x):
    """By definition: every pixel of the output, (images x pixels, C Y X)."""
    top, left, bottom, right = layer.padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    found = []
    for image in x:
        for i in range(layer.output_size[0]):
            for j in range(layer.output_size[1]):
                rows = i * layer.stride[0] + layer.dilation[0] * np.arange(layer.kernel[0])
                columns = j * layer.stride[1] + layer.dilation[1] * np.arange(layer.kernel[1])
                found.append(image[:, rows[:, None], columns].ravel())
    return np.array(found)


@pytest.mark.parametrize("geometry", [{}, {"stride": (2, 1)}, {"dilation": (1, 2), "padding": (0, 2, 1, 3)}])
def test_patches_are_what_the_kernel_meets(geometry):
    stride, dilation, padding = (geometry.get(name, (1, 1)) for name in ("stride", "dilation", "padding"))
    padding = padding if len(padding) == 4 else (1, 1, 1, 1)
    size = tuple((7 + 2 * i + padding[i] + padding[i + 2] - dilation[i] * 2 - 1) // stride[i] + 1 for i in range(2))
    layer = Layer("c", "conv2d", (5, 3, 3, 3), stride, padding, dilation, input_size=(7, 9), output_size=size)
    x = np.random.default_rng(0).standard_normal((4, 3, 7, 9)).astype("float32")
    at = Positions.draw(layer, 4, 10**9)
    np.testing.assert_array_equal(patches(layer, x, at), all_patches(layer, x))
    y = np.random.default_rng(1).standard_normal((4, 5, *size)).astype("float32")
    np.testing.assert_array_equal(pixels(y, at), y.transpose(0, 2, 3, 1).reshape(-1, 5))


def test_positions_are_the_same_every_time_and_enough():
    layer = Layer("c", "conv2d", (5, 3, 3, 3), input_size=(12, 12), output_size=(10, 10))
    at, again = Positions.draw(layer, 8, 50), Positions.draw(layer, 8, 50)
    assert at.rows.shape == (8, 7) and at.rows.max() < 10 and at.columns.max() < 10
    np.testing.assert_array_equal(at.rows, again.rows)
    np.testing.assert_array_equal(at.columns, again.columns)


def test_statistics_are_those_of_all_patches(network, monkeypatch):
    monkeypatch.setattr(moments, "MIN_PATCHES", 10**9)  # every position
    monkeypatch.setattr("tenfold.factorization.moments.BLOCK_ROWS", 100)  # several blocks
    layers, x = inventory(network.mod), images(70)
    found = calibrate(network, layers, x).statistics
    session = GraphActivations(network.onnx, [layer_values(network.onnx, [layer])[layer.name][0] for layer in layers])
    inputs = [np.concatenate(parts) for parts in zip(*[list(values.values()) for values in session.batches(x)], strict=True)]
    for layer, value in zip(layers, inputs, strict=True):
        rows = all_patches(layer, value) if layer.kind == "conv2d" else value.reshape(len(x), -1)
        statistics = found[layer.name]
        assert statistics.count == len(rows)
        np.testing.assert_allclose(statistics.mean, rows.mean(axis=0), atol=1e-5 * np.abs(rows).max())
        expected = rows.T.astype(np.float64) @ rows / len(rows)
        np.testing.assert_allclose(statistics.moment, expected, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(statistics.moment, statistics.moment.T)


def test_memory_does_not_grow_with_the_images(network, monkeypatch):
    """A pass over four times as many holds no more than what their positions take."""
    monkeypatch.setattr("tenfold.factorization.moments.BLOCK_ROWS", 256)  # that both fill
    layers, x = inventory(network.mod), images(4000)
    peaks = []
    for count in (1000, 4000):
        tracemalloc.start()
        found = calibrate(network, layers, x[:count])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.images == count
    activations = 4 * 3000 * 32 * 8 * 8  # bytes of one layer's outputs for the images more
    assert peaks[1] - peaks[0] < 0.1 * activations


def test_large_images_come_a_few_at_a_time(network, monkeypatch):
    model, x = free_batch(network.onnx, images(70)), images(70)
    whole = [len(values["c2"]) for values in GraphActivations(model, ["c2"]).batches(x)]
    monkeypatch.setattr(graph_activations, "MOST_BYTES_HELD", 5 * 4 * 32 * 8 * 8 + 100)
    few = list(GraphActivations(model, ["c2"]).batches(x))
    assert whole == [32, 32, 6] and {len(values["c2"]) for values in few} == {5} and len(few) == 14
    monkeypatch.setattr(graph_activations, "MOST_BYTES_HELD", 1)
    assert [len(values["c2"]) for values in GraphActivations(model, ["c2"]).batches(x[:3])] == [1, 1, 1]


def test_a_sample_of_positions_is_near_to_all(network):
    layers, x = inventory(network.mod), images(1200)
    conv = next(layer for layer in layers if layer.kind == "conv2d")
    found = calibrate(network, [conv], x).statistics[conv.name]
    assert found.count < 1200 * np.prod(conv.output_size)
    expected = np.cov(all_patches(conv, x[:200]).T) + 0  # inputs of mean zero, away from borders
    assert np.linalg.norm(found.moment - expected) < 0.1 * np.linalg.norm(expected)


def test_answers_are_summed_with_their_rows():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5000, 6)).astype("float32") + 1, rng.standard_normal((5000, 3)).astype("float32") - 2
    moments = Moments(6, 3)
    for start in range(0, 5000, 700):
        moments.add(x[start : start + 700], y[start : start + 700])
    both = np.cov(np.hstack([x, y]).T, bias=True)
    np.testing.assert_allclose(moments.covariance(), both[:6, :6], atol=1e-4)
    np.testing.assert_allclose(moments.cross_covariance(), both[6:, :6], atol=1e-4)
    assert moments.variance() == pytest.approx(np.trace(both[6:, 6:]), rel=1e-4)


def test_unknown_layer(network):
    with pytest.raises(TenfoldError, match="no layer 'nosuch'"):
        layer_values(network.onnx, [Layer("nosuch", "dense", (2, 2))])
