"""What tables say."""
from __future__ import annotations

import io

import pytest
from rich.console import Console
from tenfold.factorization import Layer
from tenfold.runner.abilities import Ability
from tenfold.runner.bench.compare import Comparison, Row
from tenfold.runner.bench.disturbance import Load
from tenfold.runner.bench.measure import Latency, Measurement
from tenfold.runner.bench.profile import KernelTime, Profile
from tenfold.runner.bench.profile_report import profile_table
from tenfold.runner.inspect import Inspection, LayerReport
from tenfold.runner.report import (
    UNLIMITED,
    comparison_table,
    console,
    count,
    inspection_table,
    milliseconds,
    show,
    size,
    targets_table,
)
from tenfold.search.compression import Compression, Figures, LayerChange
from tenfold.search.tables import compression_table
from tenfold.support.listing import Listing
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
    measurement = Measurement([each.latency_ms for each in rows], Load(2.0, 4, 1.2, 0.0, 5.0))
    shown = text(comparison_table(Comparison(machine, 3, rows, measurement=measurement)))
    assert max(map(len, shown.splitlines())) <= 80
    assert "While it was measured, others took 1.2 of 4 CPUs." in " ".join(shown.split())
    for words in ("threads of every engine: 3", "A CPU", "onnxruntime 1.31.1", "80.8%", "5e-07", "35.0", "1.50", "2.50"):
        assert words in shown


def test_names_with_brackets_are_shown_as_they_are():
    sizes = {"input_size": (8, 8), "output_size": (8, 8)}
    layer = Layer("block[0]/conv", "conv2d", (4, 1, 3, 3), groups=4, reason="depthwise [nothing to factor]", **sizes)
    inspection = Inspection("net", "ab", [], [], (LayerReport(layer, 1.0, (), layer.reason),), layer.macs, layer.params)
    shown = text(inspection_table(inspection), 120)
    assert "block[0]/conv" in shown and "depthwise [nothing to factor]" in shown and "4 groups" in shown and "100.0%" in shown


def test_presets_say_what_can_be_done_for_them():
    can = {preset.name: Ability(True, preset.name == "zen3", False) for preset in presets()}
    shown = text(targets_table(presets(), can), 120)
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip().startswith("zen")}
    assert lines["zen3"][8:11] == ["yes", "yes", "no"] and lines["zen4"][8:11] == ["yes", "no", "no"]


LONG = ["backbone.layer1.0.downsample.0.conv_with_a_name[/x]", "model.encoder.blocks.11.attn.qkv", "x" * 120]
FORMS = ("spatial_svd", "channel_svd", "biclustering_outer", "decoupled_pointwise_first")


def long_layers():
    sizes = {"input_size": (56, 56), "output_size": (56, 56)}
    return [Layer(name, "conv2d", (512, 512, 3, 3), **sizes) for name in LONG]


def tables():
    """Every table, with long names: (table, words that must stay whole)."""
    reports = tuple(LayerReport(layer, 1 / 3, FORMS, None) for layer in long_layers())
    yield inspection_table(Inspection("net", "ab", [], [], reports, 10**9, 10**6)), [*LONG, *FORMS, "512x512x3x3"]
    changes = tuple(LayerChange(name, "biclustering_outer", (24, 24, 4), 0.1, 10**6, 10**8, 1, 1, None) for name in LONG)
    left = LayerChange("fc", None, (), None, 1, 1, 1, 1, "minor: 0.1% of the MACs and 2.3% of the parameters, not worth its error")
    facts = {"before": Figures(2, 4, 9), "after": Figures(1, 3, 5), "output_error": 0.1, "reading": {}, "files": ()}
    done = Compression(plan=None, layers=(*changes, left), **facts)
    yield compression_table(done), [*LONG, "biclustering_outer", "24, 24, 4", "parameters,"]
    paths, engines = [f"/home/user/{name}.onnx" for name in LONG], ("tenfold", "torch-compile")
    rows = [row(path, engine, 1.5, accuracy=0.8, max_error=5e-7) for path in paths for engine in engines]
    machine = {"cpu": "A CPU", "physical_cores": 4, "versions": {"tenfold": "0.1", "onnxruntime": "1.31.1"}}
    yield comparison_table(Comparison(machine, 3, rows)), [*paths, "torch-compile", "onnxruntime"]
    can = {preset.name: Ability(True, False, True) for preset in presets()}
    yield targets_table(presets(), can), ["sapphirerapids", "skylake-avx512", "generation),"]
    kernel = KernelTime("fused_conv2d_relu_with_a_long_name", (LONG[0], LONG[1]), (1, 56, 56, 64), 1.0, 0.5, 10.0, 0.1)
    yield profile_table(Profile((kernel, kernel), 2.5, 100.0), LONG[0]), [LONG[0], LONG[1], "conv2d_relu_with_a_long_name"]


@pytest.mark.parametrize("width", [40, 80, 120, UNLIMITED])
def test_names_are_never_broken(width):
    for table, words in tables():
        out = Console(width=width, markup=False, highlight=False, color_system=None, file=(stream := io.StringIO()))
        show([table], out)
        lines = stream.getvalue().splitlines()
        for word in words:
            assert any(word in line for line in lines), (word, lines)


def test_in_80_columns_only_names_are_wider():
    for table, _ in tables():
        stream = io.StringIO()
        show([table], Console(width=80, markup=False, highlight=False, color_system=None, file=stream))
        for line in stream.getvalue().splitlines():
            assert len(line.rstrip()) <= 80 or any(name in line for name in LONG), line


def test_in_a_pipe_a_row_is_a_line():
    table, _ = next(tables())
    stream = io.StringIO()
    show([table], console(stream))
    lines = [line for line in stream.getvalue().splitlines() if LONG[0] in line]
    assert len(lines) == 1 and "decoupled_pointwise_first" in lines[0] and "512x512x3x3" in lines[0]


def test_what_is_shown_is_no_markup():
    stream = io.StringIO()
    table = Listing(["a"], title="[bold]t[/x]", caption=":boom: [/]")
    table.add_row("[/x]\x1b[31m\n")
    show([table, "[link=x]l[/link] \x07"], console(stream))
    assert all(words in stream.getvalue() for words in ("[bold]t[/x]", ":boom: [/]", r"[/x]\x1b[31m\n", r"[link=x]l[/link] \x07"))
