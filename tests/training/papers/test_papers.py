"""The papers' tables: runs that are there are taken, others are trained, and figures are those of the runs."""
from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import helper, numpy_helper
from tenfold import TenfoldError
from tenfold.training.data import Images
from tenfold.training.papers import TABLES, filled, krivov, precision_table, tables
from tenfold.training.recipes import recipe
from tenfold.training.run import read_summary, run_recipe


@pytest.fixture
def few(monkeypatch):
    """MNIST of a few images, by which quarter is bright."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 160)
    x = rng.integers(0, 60, (160, 1, 28, 28)).astype(np.uint8)
    for image, label in zip(x, y, strict=True):
        image[0, 14 * (label // 2) : 14 * (label // 2) + 14, 14 * (label % 2) : 14 * (label % 2) + 14] += 150
    images = Images("mnist", x[:128], y[:128], x[128:], y[128:], 10)
    monkeypatch.setattr("tenfold.training.run.read_images", lambda folder: images)
    monkeypatch.setattr(tables, "read_images", lambda folder: images)
    monkeypatch.setattr(krivov, "read_images", lambda folder: images)
    return images


@pytest.mark.slow
def test_a_table_is_filled(few, tmp_path, monkeypatch):
    rows = tuple(row for row in TABLES["calli"].rows if row.data == "mnist" and "separable" in row.network)
    monkeypatch.setitem(TABLES, "calli", tables.PaperTable("here", rows, moves=True))
    found = filled("calli", tmp_path, tmp_path / "runs", 10, lambda paths: [float(len(path.name)) for path in paths])
    for row in found["rows"]:
        summary = read_summary(tmp_path / "runs" / f"mnist-{row['network']}")
        assert row["accuracy"] == 100 * summary["test_accuracy"] and row["macs"] == summary["macs"] and row["ms"] == len("network.onnx")
        assert row["step"] == 10 and row["recipe_steps"] == recipe(row["network"]).settings.steps
    monkeypatch.setattr(tables, "run_recipe", None)  # nothing is trained again
    assert filled("calli", tmp_path, tmp_path / "runs", None, None)["rows"][0]["accuracy"] == found["rows"][0]["accuracy"]
    with pytest.raises(TenfoldError, match="table 'none': there are jin, calli"):
        filled("none", tmp_path, tmp_path, None, None)
    (tmp_path / "runs" / f"mnist-{rows[0].network}" / "summary.json").write_text(json.dumps({"network": "?"}))
    with pytest.raises(TenfoldError, match="not the summary of a run"):
        filled("calli", tmp_path, tmp_path / "runs", None, None)


def test_a_run_that_is_cut_has_the_rates_of_the_whole_one():
    how = recipe("jin_baseline")
    cut, moved = how.settings_for(cut=3900), how.settings_for(3900)
    assert cut.steps == moved.steps == 3900 and cut.schedule == how.settings.schedule != moved.schedule
    for options in ({"cut": 0}, {"cut": how.settings.steps + 1}, {"steps": 5, "cut": 5}):
        with pytest.raises(TenfoldError, match="cut"):
            how.settings_for(**options)


@pytest.mark.slow
def test_low_rank_and_low_precision(few, tmp_path):
    run_recipe("calli_convolution", tmp_path, tmp_path / "run", steps=40)
    found = precision_table(tmp_path / "run", tmp_path, energies=(1.0, 0.5), bits=(23, 7, 1))
    dense, factored = found["rows"]
    assert dense["accuracy"]["23"] == pytest.approx(100 * read_summary(tmp_path / "run")["test_accuracy"], abs=1e-6)
    assert not dense["ranks"] and factored["ranks"] and factored["macs"] < dense["macs"] and factored["parameters"] < dense["parameters"]
    assert set(factored["accuracy"]) == {"23", "7", "1"}


def test_bits_of_the_mantissa():
    """Ten are those of float16, within its range; seven those of bfloat16, whose values have no more bits than the upper half."""
    values = np.random.default_rng(0).uniform(-4, 4, 1000).astype("float32")
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(values, "w")])
    model = helper.make_model(graph)

    def kept(bits):
        return numpy_helper.to_array(krivov.rounded(model, bits).graph.initializer[0])

    np.testing.assert_array_equal(kept(10)[np.abs(values) > 1e-3], values.astype(np.float16).astype("float32")[np.abs(values) > 1e-3])
    assert not (kept(7).view(np.uint32) & 0xFFFF).any() and np.abs(kept(7) / values - 1).max() <= 2.0**-8
    np.testing.assert_array_equal(kept(23), values)
