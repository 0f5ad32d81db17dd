"""The papers' tables: runs that are there are taken, others are trained, and figures are those of the runs."""
from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tenfold
import torch
from onnx import helper, numpy_helper
from tenfold import TenfoldError
from tenfold.factorization import Choice
from tenfold.frontends import load
from tenfold.passes.factorize_onnx import factorize_onnx
from tenfold.passes.inventory import inventory, weights
from tenfold.training.data import Images
from tenfold.training.loop import OneCycle, Row
from tenfold.training.loop.curves import write_csv
from tenfold.training.networks import export_onnx
from tenfold.training.papers import Asked, compressed, denton, flattened_layer, krivov, learning_curves, pruning, reproductions, tables
from tenfold.training.recipes import recipe
from tenfold.training.run import read_summary, run_recipe
from torch import nn

SCRIPT = Path(tenfold.__file__).parent / "examples" / "reproduce.py"


def asked(folder, **options):
    return Asked(folder, folder / "runs", lambda step, done=None, total=None: None, **options)


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
    for module in (tables, krivov, pruning):
        monkeypatch.setattr(module, "read_images", lambda folder: images)
    return images


@pytest.mark.slow
def test_a_table_is_filled(few, tmp_path, monkeypatch):
    rows = tuple(row for row in tables.TABLES["calli"].rows if row.data == "mnist" and "separable" in row.network)
    monkeypatch.setitem(tables.TABLES, "calli", tables.PaperTable("here", rows, moves=True))
    found = tables.filled("calli", asked(tmp_path, epochs=10, measure=lambda paths: [float(len(path.name)) for path in paths]))
    for row in found["rows"]:
        summary = read_summary(tmp_path / "runs" / f"mnist-{row['network']}")
        assert row["accuracy"] == 100 * summary["test_accuracy"] and row["macs"] == summary["macs"] and row["ms"] == len("network.onnx")
        assert row["epoch"] == 10 and row["recipe_epochs"] == recipe(row["network"]).settings.steps and not row["one_cycle"]
    headings, cells = tables.show(found)
    assert len(cells) == 2 and {len(row) for row in cells} == {len(headings)} and cells[0][3] == "10 of 50000"
    monkeypatch.setattr(tables, "run_recipe", None)  # nothing is trained again
    assert tables.filled("calli", asked(tmp_path))["rows"][0]["accuracy"] == found["rows"][0]["accuracy"]
    (tmp_path / "runs" / f"mnist-{rows[0].network}" / "summary.json").write_text(json.dumps({"network": "?"}))
    with pytest.raises(TenfoldError, match="not the summary of a run"):
        tables.filled("calli", asked(tmp_path))


def test_a_shortened_run_in_one_cycle(few, tmp_path):
    how = recipe("jin_flattened")
    settings = how.settings_for(500, one_cycle=True)
    assert settings.schedule == OneCycle(how.peak) and settings.batch == how.cycle_batch == 64 and settings.steps == 500
    assert settings.weight_decay == how.settings.weight_decay
    folder = tables.trained("calli_separable", "mnist", asked(tmp_path, epochs=3, one_cycle=True), seed=2)
    summary = read_summary(folder)
    assert folder.name == "mnist-calli_separable-seed2" and summary["step"] == 3 and summary["settings"]["seed"] == 2
    row = tables._row(tables.PaperRow("Separable", "calli_separable", "mnist", 99.0), summary)
    assert row["one_cycle"] and tables.show({"rows": [{**row, "ms": None}]})[1][0][3] == "3 of 50000, one cycle"


def test_a_run_that_is_cut_has_the_rates_of_the_whole_one():
    how = recipe("jin_baseline")
    cut, moved = how.settings_for(cut=3900), how.settings_for(3900)
    assert cut.steps == moved.steps == 3900 and cut.schedule == how.settings.schedule != moved.schedule
    for options in ({"cut": 0}, {"cut": how.settings.steps + 1}, {"steps": 5, "cut": 5}, {"cut": 5, "one_cycle": True}):
        with pytest.raises(TenfoldError, match="cut"):
            how.settings_for(**options)


@pytest.mark.slow
def test_low_rank_and_low_precision(few, tmp_path):
    run_recipe("calli_convolution", tmp_path, tmp_path / "run", steps=40)
    found = krivov.precision_table(tmp_path / "run", tmp_path, energies=(1.0, 0.5), bits=(23, 7, 1))
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


def test_a_flattened_layer():
    """Weights as in table 1; PyTorch keeps what the count says; nothing is gained that was not measured."""
    found = flattened_layer.parameters_table(asked(Path()))
    assert [row["paper"] for row in found["rows"]] == [[row["baseline"], row["flattened"]] for row in found["rows"]]
    found = flattened_layer.memory_table(asked(Path()))
    for row in found["rows"]:
        assert row["kept_convolution"] == row["loops"] < row["kept_flattened"] == row["flattened"] < row["product"]


def test_times_of_a_flattened_layer(monkeypatch):
    monkeypatch.setattr(flattened_layer, "SIZES", (4, 6))
    found = flattened_layer.speed_table(asked(Path(), images=2))
    assert [row["size"] for row in found["rows"]] == [4, 6] and found["batch"] == 2
    assert all(value > 0 for row in found["rows"] for name in ("convolution", "flattened") for value in row[name])
    headings, cells = flattened_layer.show_speed(found)
    assert {len(row) for row in cells} == {len(headings)}


def test_curves_of_several_seeds(tmp_path, monkeypatch):
    def trained(network, data, options, *, seed, moves):
        folder = options.runs / f"{network}-{seed}"
        folder.mkdir(parents=True)
        best = 0.5 + 0.1 * seed + 0.1 * (network == "jin_flattened")
        write_csv([Row(10 * n, n, 0.1, 2.0 - n, best / 2, 2.0 - n, n * best / 2, 1.0) for n in (1, 2)], folder / "curves.csv")
        return folder

    monkeypatch.setattr(learning_curves, "trained", trained)
    found = learning_curves.curves_table(asked(tmp_path, seeds=(0, 1)))
    assert [(row["runs"], row["epoch"]) for row in found["rows"]] == [(2, 2.0)] * 2
    assert (tmp_path / "runs" / "jin-curves.png").stat().st_size
    assert [row["mean"] for row in found["rows"]] == pytest.approx([55, 65]) and found["rows"][0]["spread"] == pytest.approx(5)


def test_nodes_are_pruned(few, tmp_path, monkeypatch):
    for name, value in (("PAIRS", 2000), ("SUMMATION_STEPS", 8), ("MOST_CYCLES", 2)):
        monkeypatch.setattr(pruning, name, value)
    found = pruning.pruning_table(asked(tmp_path, epochs=4, images=64))
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["sum-count"]["before"] == [2, 1000, 1] and rows["sum-count"]["after"][1] < 1000
    assert rows["autoencoder"]["before"] == [1, 32, 64, 32, 1] and rows["autoencoder-baseline"]["after"] == [1, 4, 16, 4, 1]
    assert rows["autoencoder"]["parameters"] <= rows["autoencoder"]["parameters_before"]
    network = load(tmp_path / "runs" / "pruning" / "autoencoder-0.onnx", batch=1)
    assert [layer.weight_shape[0] for layer in inventory(network.mod)][:2] == rows["autoencoder"]["after"][1:3]
    assert (tmp_path / "runs" / "pruning" / "autoencoder-0.png").stat().st_size
    monkeypatch.setattr(pruning, "training_cycles", None)  # nothing is trained again
    assert pruning.pruning_table(asked(tmp_path))["rows"] == found["rows"]
    headings, cells = pruning.show(found)
    assert {len(row) for row in cells} == {len(headings)}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A network of two convolutions, images for it, and what compresses it: as plans say, or a copy for a search."""
    rng = np.random.default_rng(0)
    images = Images("cifar10", *(part for count in (40, 20) for part in (
        rng.integers(0, 256, (count, 3, 32, 32)).astype(np.uint8), rng.integers(0, 4, count))), 4)  # fmt: skip
    for module in (denton, compressed):
        monkeypatch.setattr(module, "read_images", lambda folder: images)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
        export_onnx(nn.Sequential(*layers), (3, 32, 32), tmp_path / "net.onnx")
    calls = []

    def compress(model, output, how, data, learn, epochs=1, cascade=False):
        calls.append((output.name, len(data[0]), None if learn is None else len(learn[0]), epochs, cascade))
        found = load(model, batch=1)
        chains = how.chains(inventory(found.mod), weights(found.mod)) if not isinstance(how, float) else {}
        output.mkdir(parents=True)
        onnx.save(factorize_onnx(found.onnx, chains) if chains else found.onnx, output / "model.onnx")
        report = {"finetuning": {"curve": [{}]}, "search": {"verdict": {"drop": 0.5}}}
        (output / "report.json").write_text(json.dumps(report))
        return report

    return tmp_path / "net.onnx", compress, calls


def test_the_first_two_layers(small, tmp_path, monkeypatch):
    model, compress, calls = small
    one, two = (0, Choice("monochromatic", (2,))), (1, Choice("channel_svd", (2,)))
    monkeypatch.setattr(denton, "forms", lambda: [denton.Form("C' = 2", "3", (one,)), denton.Form("both", "section 4.2", (one, two))])
    options = asked(tmp_path, images=10, compress=compress, measure=lambda paths: [float(8 - n) for n in range(len(paths))])
    found = denton.denton_table(model, options)
    first, both = found["rows"]
    assert [row["speedup"] for row in found["rows"]] == pytest.approx([8 / 6, (8 + 7) / (5 + 4)])
    assert first["fewer_weights"] == pytest.approx(216 / (3 * 2 + 8 * 9)) and both["fewer_macs"] > 1
    assert first["compressed"] == first["tuned"]
    assert calls == [(name, 10, 10, 1, True) for name in ("monochromatic-2", "monochromatic-2-channel_svd-2")]
    dense, factored = (load(path, batch=1) for path in sorted((tmp_path / "runs" / "denton" / "layers").glob("3-*/layer.onnx")))
    assert sum(layer.macs for layer in inventory(factored.mod)) < inventory(dense.mod)[0].macs
    assert (tmp_path / "runs" / "denton" / "denton.png").stat().st_size
    assert denton.denton_table(model, options)["rows"] == found["rows"] and len(calls) == 2
    headings, cells = denton.show(found)
    assert {len(row) for row in cells} == {len(headings)}
    with pytest.raises(TenfoldError, match="needs tenfold.compress"):
        denton.denton_table(model, replace(options, compress=None))


def test_the_papers_forms_fit_the_bundled_network():
    network = load(SCRIPT.parent / "models" / "cifar10_jin_baseline.onnx", batch=1)
    first, second = inventory(network.mod)[:2]
    assert len(denton.forms()) == len({form.name for form in denton.forms()}) == 11
    for form in denton.forms():
        assert 1 < sum((first, second)[n].macs for n, _ in form.choices) / denton._macs([first, second], form) < 15


def test_compressed_networks(small, tmp_path):
    """The search sees other test images than those that are reported on."""
    model, compress, calls = small
    options = asked(tmp_path, images=6, epochs=2, compress=compress, measure=lambda paths: [3.0, 2.0, 1.0])
    found = compressed.bundled_table([("net", model, (12.0, 9.0))], options)
    assert [row["tuned"] for row in found["rows"]] == [None, False, True] and len({row["accuracy"] for row in found["rows"]}) == 1
    assert calls == [("net", 6, None, 2, False), ("net-tuned", 6, 24, 2, False)] and found["images"] == 6
    headings, cells = compressed.show(found)
    assert [row[7] for row in cells] == ["1.0 x", "1.5 x", "3.0 x"] and cells[2][-1] == "12 x, 9 x" and len(headings) == len(cells[0])


def test_every_table_is_listed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--list"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [*reproductions(SCRIPT.parent / "models")] and {"jin", "denton", "pruning", "resnet", "bundled"} <= {*names}
