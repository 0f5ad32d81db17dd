"""Pictures: what they show, from the papers' formulas and from weights, and files that can be written again to the byte."""
from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tenfold.factorization import METHODS, FactorChain, Layer
from tenfold.plots import canvas, filters, learned, parameters, pareto, spectra
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


def flattened_onnx():
    """A first layer of two sets, then a ReLU."""
    layer = Layer("first", "conv2d", (6, 3, 5, 5), padding=(2, 2, 2, 2), input_size=(12, 12), output_size=(12, 12))
    chain = METHODS["flattened"].outline(layer, (6,))
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(stage.weight.shape).astype("float32") for stage in chain.stages]
    chain = FactorChain(tuple(replace(stage, weight=each) for stage, each in zip(chain.stages, weights, strict=True)))
    value, nodes = "x", []
    for number, stage in enumerate(chain.stages):
        facts = {"pads": list(stage.padding), "group": stage.groups}
        nodes.append(helper.make_node("Conv", [value, f"w{number}", "b"], [f"c{number}"], f"conv{number}", **facts))
        value = f"c{number}"
    nodes.append(helper.make_node("Relu", [value], ["y"]))
    tensors = [numpy_helper.from_array(each, f"w{number}") for number, each in enumerate(weights)]
    tensors.append(numpy_helper.from_array(rng.standard_normal(6).astype("float32"), "b"))
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, c, 12, 12]) for name, c in (("x", 3), ("y", 6))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    return chain, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_learned_filters_are_the_products_of_the_lines():
    chain, model = flattened_onnx()
    found = learned.first_chain(model)
    assert len(found.stages) == 6 and all(stage.bias is None for stage in found.stages)
    lateral = [stage.weight[:, :, 0, 0] for stage in chain.stages if stage.kernel == (1, 1)]
    lines = [stage.weight[:, 0].reshape(6, 5) for stage in chain.stages if stage.kernel != (1, 1)]
    inner = np.einsum("kc,ky,kx->kcyx", lateral[0], lines[0], lines[1])
    mixed = np.einsum("fk,kcyx->fcyx", lateral[1], inner)
    expected = np.zeros((6, 3, 9, 9))
    for y in range(5):
        for x in range(5):
            expected[:, :, y : y + 5, x : x + 5] += (lines[2][:, y] * lines[3][:, x])[:, None, None, None] * mixed
    np.testing.assert_allclose(found.reconstruct(), expected, rtol=1e-4, atol=1e-5)
    kernel = learned.by_variance(found.reconstruct())
    assert (np.diff(kernel.reshape(6, -1).var(axis=1)) <= 0).all()
    titles = [panel.get_title() for panel in learned.draw(model).axes]
    assert titles == ["filters of the first layer", "vertical, stage 2", "horizontal, stage 3", "vertical, stage 5", "horizontal, stage 6"]


def test_a_mosaic_has_each_filter_in_its_own_contrast():
    kernel = weight(FIRST)
    picture = learned.mosaic(kernel)
    assert picture.shape == (5 * 6 - 1, 5 * 6 - 1, 3) and picture.min() >= 0 and picture.max() <= 1
    np.testing.assert_allclose(picture[6:11, 0:5], 0.5 + 0.5 * kernel[5].transpose(1, 2, 0) / np.abs(kernel[5]).max(), rtol=1e-5)


def test_a_network_without_first_filters_says_so():
    _, model = flattened_onnx()
    del model.graph.node[:6]
    model.graph.node[0].input[0] = "x"
    with pytest.raises(TenfoldError, match="does not begin with a convolution"):
        learned.first_chain(model)
