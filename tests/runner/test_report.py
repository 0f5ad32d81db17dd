"""What tables say."""
from __future__ import annotations

import pytest
from rich.console import Console
from tenfold.factorization import Layer
from tenfold.runner.compare import Comparison, Row
from tenfold.runner.inspect import Inspection, LayerReport
from tenfold.runner.measure import Latency
from tenfold.runner.report import comparison_table, count, inspection_table, milliseconds, size, targets_table
from tenfold.targets import presets


def text(table, width=80):
    console = Console(width=width, markup=False, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


COUNTS = [(0, "0"), (999, "999"), (1234, "1.23 k"), (117_000_000, "117 M"), (999_700, "1000 k"), (2.5e9, "2.5 G")]


@pytest.mark.parametrize(("number", "words"), COUNTS)
def test_counts(number, words):
    assert count(number) == words


@pytest.mark.parametrize(("value", "words"), [(0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1234")])
def test_milliseconds(value, words):
    assert milliseconds(value) == words


def test_sizes():
    assert (size(71_234), size(7_340_000)) == ("71 kB", "7.3 MB")


def row(model, engine, median, **values):
    facts = {"macs": 117_000_000, "params": 1_790_000, "bytes": 7_300_000, "peak_bytes": None, "accuracy": None, "max_error": None}
    return Row(model, engine, Latency(median, median, median, 50), **{**facts, **values})


def test_a_comparison_fits_80_columns_with_the_threads_and_versions():
    machine = {"cpu": "A CPU", "physical_cores": 4, "versions": {"tenfold": "0.1", "onnxruntime": "1.31.1"}}
    rows = [row("net.onnx", "tenfold", 1.5, accuracy=0.8081, max_error=5e-7), row("net.onnx", "onnxruntime", 2.5, peak_bytes=35_000_000)]
    shown = text(comparison_table(Comparison(machine, 3, rows)))
    assert max(map(len, shown.splitlines())) <= 80
    for words in ("threads of every engine: 3", "A CPU", "onnxruntime 1.31.1", "80.8%", "5e-07", "35.0", "1.50", "2.50"):
        assert words in shown


def test_names_with_brackets_are_shown_as_they_are():
    sizes = {"input_size": (8, 8), "output_size": (8, 8)}
    layer = Layer("block[0]/conv", "conv2d", (4, 1, 3, 3), groups=4, reason="depthwise [nothing to factor]", **sizes)
    inspection = Inspection("net", "ab", [], [], (LayerReport(layer, 1.0, (), layer.reason),), layer.macs, layer.params)
    shown = text(inspection_table(inspection), 120)
    assert "block[0]/conv" in shown and "depthwise [nothing to factor]" in shown and "4 groups" in shown and "100.0%" in shown


def test_presets_say_whether_they_run_here():
    flags = next(preset for preset in presets() if preset.name == "zen3").features
    shown = text(targets_table(presets(), flags), 120)
    lines = {line.split()[0]: line for line in shown.splitlines() if line.strip().startswith("zen")}
    assert "yes" in lines["zen3"] and " no " in lines["zen4"]
