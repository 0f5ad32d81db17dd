"""Pictures: what they show, from the papers' formulas and from weights, and files that can be written again to the byte."""
from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from tenfold.factorization import METHODS, Layer
from tenfold.plots import canvas, filters, parameters, pareto, spectra
from tenfold.support.errors import TenfoldError

FIRST = Layer("conv1", "conv2d", (24, 3, 5, 5), padding=(2, 2, 2, 2), input_size=(16, 16), output_size=(16, 16))
DENSE = Layer("fc", "dense", (20, 30))


def weight(layer, seed=0):
    return np.random.default_rng(seed).standard_normal(layer.weight_shape).astype("float32")


def test_spectra_are_singular_values():
    found = spectra.spectra([FIRST, DENSE], {"conv1": weight(FIRST), "fc": weight(DENSE)})
    values = np.linalg.svd(weight(DENSE), compute_uv=False)
    np.testing.assert_allclose(found["fc"]["svd"], values / values[0], rtol=1e-5)
    assert set(found["conv1"]) == {"spatial_svd", "channel_svd", "tucker2, rank 1", "tucker2, rank 2"}
    values = np.linalg.svd(weight(FIRST).reshape(24, -1), compute_uv=False)
    np.testing.assert_allclose(found["conv1"]["channel_svd"], values / values[0], rtol=1e-5)


def test_filters_are_points_in_rgb_space():
    kernel = weight(FIRST)
    cloud = filters.points(kernel)
    assert cloud.shape == (24, 25, 3)
    np.testing.assert_array_equal(cloud[7, 5 * 2 + 3], kernel[7, :, 2, 3])


@pytest.mark.skipif("monochromatic" not in METHODS, reason="no such method")
def test_the_monochromatic_form_puts_each_filter_on_a_line():
    cloud = filters.points(filters.monochromatic(FIRST, weight(FIRST), 4))
    singular = np.linalg.svd(cloud, compute_uv=False)
    assert (singular[:, 1] <= 1e-5 * singular[:, 0]).all()


def test_usual_colours_divide_the_filters():
    assert [filters.usual_colours(replace(FIRST, weight_shape=(count, 3, 5, 5))) for count in (96, 64, 32, 20, 7, 5)] == [6, 4, 4, 5, 7, 5]


def test_before_and_after_are_two_clouds_of_the_same_colours():
    before, after = filters.draw(FIRST, weight(FIRST), 4).axes
    assert (before.get_title(), after.get_title()) == ("original", "monochromatic, 4 colours")
    clouds = [np.array(panel.collections[0]._offsets3d).T.reshape(24, 25, 3) for panel in (before, after)]
    np.testing.assert_array_equal(clouds[0], filters.points(weight(FIRST)))
    np.testing.assert_array_equal(clouds[1], filters.points(filters.monochromatic(FIRST, weight(FIRST), 4)))
    shades = [panel.collections[0].get_array().reshape(24, 25) for panel in (before, after)]
    assert (shades[0] == shades[1]).all() and (shades[0] == shades[0][:, :1]).all() and len(np.unique(shades[0])) == 24


def test_no_colours():
    with pytest.raises(TenfoldError, match="three channels"):
        filters.first_layer([DENSE])
    assert filters.first_layer([DENSE, FIRST]) is FIRST


def test_parameters_are_those_of_table_1():
    """Jin et al., section 4.3 and table 1: layer 2 of the baseline, 96 -> 128 filters of 5 x 5."""
    ratio = np.array([128 / 96])
    assert parameters.dense(ratio, 96, 5) == pytest.approx(307_200)
    assert parameters.flattened(ratio, 96, 5) == pytest.approx(128 * (128 + 96 + 20))


def test_the_curves_cross_where_it_says():
    ratio = np.array([parameters.break_even(128, 5)])
    assert parameters.dense(ratio, 128, 5) == pytest.approx(parameters.flattened(ratio, 128, 5))


POINTS = [{"ms": 2.0, "macs": 10, "bytes": 100, "accuracy": 0.9, "uncertainty": 0.1}] * 3


def test_accuracy_is_drawn_over_time_macs_and_bytes():
    dense = {"ms": 4.0, "macs": 8e6, "bytes": 3e6, "accuracy": 0.95, "uncertainty": 0.0}
    points = [dense, {**dense, "ms": 1.0, "macs": 4e6, "bytes": 1e6, "accuracy": 0.9}, {**dense, "ms": 2.0, "macs": 2e6, "bytes": 2e6}]
    figure = pareto.draw(points, "net", "agreement")
    for panel, label, factored, first in zip(
        figure.axes, ("milliseconds", "MACs, millions", "MB"), ([1, 2], [2, 4], [1, 2]), (4, 8, 3), strict=True
    ):
        assert (panel.get_xlabel(), panel.get_ylabel()) == (label, "agreement")
        assert list(panel.lines[0].get_xdata()) == factored and panel.get_xlim()[0] == 0
        square = next(line for line in panel.lines if line.get_marker() == "s")
        assert (list(square.get_xdata()), list(square.get_ydata())) == ([first], [0.95])


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_picture_is_the_same_to_the_byte(tmp_path, suffix):
    for name in ("a", "b"):
        canvas.save(pareto.draw(POINTS, "net"), [tmp_path / (name + suffix)])
    assert (tmp_path / ("a" + suffix)).read_bytes() == (tmp_path / ("b" + suffix)).read_bytes()


def test_other_kinds_of_files(tmp_path):
    with pytest.raises(TenfoldError, match="gif.*png"):
        canvas.save(parameters.draw(), [tmp_path / "a.gif"])
    with pytest.raises(TenfoldError, match="none/a.png"):
        canvas.save(parameters.draw(), [tmp_path / "none" / "a.png"])


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TenfoldError, match=r'pip install "tenfold\[report\]"'):
        canvas.panels(1)
