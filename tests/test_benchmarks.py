"""The benchmarks' structure: lists of shapes, models, operation counts, results, tables. What they measure is never tested."""
from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import denton  # noqa: E402
import numpy as np  # noqa: E402
import picture  # noqa: E402
import race  # noqa: E402
import results  # noqa: E402
import run  # noqa: E402
import shapes  # noqa: E402
import suite  # noqa: E402
import suites  # noqa: E402
import table  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from models import chain_model, flattened  # noqa: E402
from networks import WRITERS  # noqa: E402
from tenfold.factorization import FactorChain  # noqa: E402
from tenfold.runner.bench.measure import Latency  # noqa: E402
from tenfold.support.errors import TenfoldError  # noqa: E402

SETTINGS = suite.Settings((1,), Path("/nowhere"))


def macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of the convolutions of a model, from the shapes that ONNX infers."""
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    sizes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info}
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return sum(int(np.prod(weights[node.input[1]]) * np.prod(sizes[node.output[0]][2:]) * sizes[node.output[0]][0])
               for node in model.graph.node if node.op_type == "Conv")


def test_a_line_is_a_layer(tmp_path):
    lines = "# a comment\n\n 3 96 224 7 2 0  # first\n96 256 26 5 1 2 2\n128 128 28 3\n128 128 28 3 : tucker2 64 48\n"
    (tmp_path / "net.txt").write_text(lines)
    first, grouped, dense, factored = shapes.read(tmp_path / "net.txt")
    assert first.layer.output_size == (109, 109) and first.layer.macs == 96 * 3 * 49 * 109 * 109
    assert grouped.layer.weight_shape == (256, 48, 5, 5)
    assert dense.padding == 1 and dense.layer.output_size == (28, 28)
    assert [stage.weight.shape for stage in factored.stages()] == [(64, 128, 1, 1), (48, 64, 3, 3), (128, 48, 1, 1)]
    assert [shape.name for shape in (first, grouped, dense, factored)] == [
        "3-96 224 7x7/2 p0", "96-256 26 5x5 g2", "128-128 28 3x3", "128-128 28 3x3 tucker2 64,48"]


@pytest.mark.parametrize(
    "line", ["3 96", "3 96 224 x", "1 2 3 4 5 6 1 8 9", "4 4 8 3 : nothing 2", "4 4 8 3 : tucker2 2", "4 4 8 3 : tucker2 2 5"])
def test_a_line_that_is_no_layer_is_named(tmp_path, line):
    (tmp_path / "net.txt").write_text(f"3 4 5 3\n{line}\n")
    with pytest.raises(ValueError, match="net.txt, line 2"):
        shapes.read(tmp_path / "net.txt")


def test_the_lists_are_the_networks():
    """The convolutions of the networks as the papers give them, in MACs of a list's distinct layers times how often they occur."""
    lists = {path.stem: shapes.read(path) for path in shapes.SHAPES.glob("*.txt")}
    assert {"alexnet", "zfnet", "vgg16", "vgg19", "resnet18", "resnet50", "jin", "denton"} <= set(lists)
    for name, often, total in [("alexnet", [1] * 5, 0.60e9), ("vgg16", [1, 1, 1, 1, 1, 2, 1, 2, 3], 15.35e9),
                               ("vgg19", [1, 1, 1, 1, 1, 3, 1, 3, 4], 19.51e9), ("resnet18", [1, 4, 1, 1, 3, 1, 1, 3, 1, 1, 3], 1.814e9)]:
        found = sum(count * shape.layer.macs for count, shape in zip(often, lists[name], strict=True))
        assert found == pytest.approx(total, rel=0.02), name


def test_factored_lists_are_cheaper():
    factored = [shape for shape in shapes.read_all() if shape.form]
    assert len(factored) >= 20
    for shape in factored:
        times = shape.layer.macs / FactorChain(shape.stages()).macs(*shape.layer.input_size)
        assert 2.5 < times < 4, shape.name


def test_every_distinct_layer_is_measured_once():
    names = [case.name for case in suites.layers(SETTINGS)]
    assert len(names) == len(set(names))
    found = {case.name: case.lists for case in suites.layers(SETTINGS)}
    assert found["64-64 224 3x3"] == ("vgg16", "vgg19")


@given(channels=st.integers(1, 6), filters=st.integers(1, 6), size=st.integers(4, 9), batch=st.integers(1, 3))
def test_flattened_layers_cost_what_the_paper_says(channels, filters, size, batch):
    """Jin et al., section 4.3: F (F + C + 2 X + 2 Y) weights, each used once a pixel."""
    model = chain_model(flattened(channels, filters, 3), size, batch, biases=True)
    onnx.checker.check_model(model, full_check=True)
    assert macs(model) == batch * size**2 * filters * (filters + channels + 2 * 3 + 2 * 3)
    biases = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 1]
    assert len(biases) == 6


@pytest.mark.parametrize(("dense", "form"), denton.pairs(), ids=lambda value: getattr(value, "name", None))
def test_chains_of_denton_cost_what_table_1_says(dense, form):
    model = chain_model(form.stages(dense), dense.size)
    assert macs(model) == form.operations(dense)
    assert form.promise(dense) > 2


def test_chains_of_denton_have_the_weights_of_table_2():
    weights = {str(form): sum(stage.weight.size for stage in form.stages(dense)) for dense, form in denton.pairs()}
    assert weights["monochromatic C'=6"] == 3 * 6 + 49 * 96
    assert weights["biclustering outer G=48 H=2 K=6"] == 48 * 2 * 6 * (2 + 25 + 128)
    assert weights["biclustering svd G=2 H=2 K1=19 K2=24"] == 4 * (48 * 19 + 19 * 25 * 24 + 24 * 128)


def test_models_run(tmp_path):
    """One of each kind, in the smallest form, through ONNX Runtime."""
    small = shapes.Shape(4, 8, 9, 3, 2, 1, 1)
    ranks = {"monochromatic": (2,), "biclustering svd": (2, 2, 2, 3), "biclustering outer": (2, 2, 3)}
    forms = [denton.Form(name, parameters) for name, parameters in ranks.items()]
    for stages in (small.stages(), flattened(4, 8, 3), *(form.stages(small) for form in forms)):
        model = chain_model(stages, small.size, batch=2)
        onnx.checker.check_model(model, full_check=True)
        (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": np.ones((2, 4, 9, 9), "float32")})
        assert y.shape == (2, 8, 1, 1) and np.ptp(y) > 0


def test_networks_are_the_published_ones():
    torch = pytest.importorskip("torch")
    import networks

    with torch.device("meta"):
        found = {name: sum(p.numel() for p in getattr(networks, name)().parameters()) for name in ("vgg16", "resnet18", "resnet50")}
    assert found == {"vgg16": 138_357_544, "resnet18": 11_689_512, "resnet50": 25_557_032}
    assert set(found) | {"alexnet", "zfnet", "vgg19"} == set(WRITERS)


def test_a_list_or_a_pattern_chooses_rows():
    cases = suites.layers(SETTINGS)
    assert {case.name for case in suites.chosen(cases, ["jin"])} == {"3-96 32 5x5", "96-128 15 5x5", "128-256 7 5x5"}
    assert all("tucker2" in case.name for case in suites.chosen(cases, ["tucker2"]))
    assert {case.name for case in suites.chosen(cases, ["64-64 * 3x3"])} == {"64-64 56 3x3", "64-64 224 3x3"}
    assert suites.chosen(cases, ["no such layer"]) == []


VERSIONS = {"tenfold": "0", "onnxruntime": "1", "torch": "2", "tvm": "3"}
MACHINE = {"cpu": "a CPU", "physical_cores": 2, "vector_bits": 256, "versions": VERSIONS}


def latencies(**medians):
    return {name: Latency(ms, ms * 1.1, ms * 0.9, 7) for name, ms in medians.items()}


def example_row(name="64-64 56 3x3", lists=("vgg16",)):
    """A chain of 1 MMAC in 2 ms against 3 ms, in place of a layer of 10 MMAC that takes 8 ms, and 9 ms in the best rival."""
    case = race.Case(name, {"chain": None, "dense": None}, lists, {"promise": 10.0})
    chain = race.figures(latencies(tenfold=2.0, onnxruntime=3.0, torch=4.0), 1.0, 1_000_000, 100.0)
    dense = race.figures(latencies(tenfold=8.0, onnxruntime=9.0, torch=10.0), 7.0, 10_000_000, 100.0)
    models = {"chain": chain, "dense": dense}
    return {"name": name, "lists": list(lists), **case.facts, "cores_of_others": 0.0, "models": models, **race.compared(case, models)}


def test_what_a_row_says():
    row = example_row()
    chain = row["models"]["chain"]
    assert (chain["best_rival"], chain["ratio"]) == ("onnxruntime", 1.5)
    assert chain["gflops"] == pytest.approx(1.0) and chain["share_of_peak"] == pytest.approx(0.01)
    assert chain["kernels_share_of_peak"] == pytest.approx(0.02)
    assert row["speedup"] == {"tenfold": 4.0, "onnxruntime": 3.0, "torch": 2.5}
    assert row["against_dense_rival"] == 4.5 and row["share_of_promise"] == pytest.approx(0.4)


def test_runs_fit_the_time_there_is(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(race, "time", clock)

    def call(seconds):
        clock.now += seconds

    def plan(seconds):
        return race.Race((), 1, runs=50, seconds=12).plan([lambda: call(seconds), lambda: call(seconds)])

    assert plan(0.001) == (50, 10)
    assert plan(0.1) == (30, 10)
    assert plan(3.0) == (race.FEWEST_RUNS, race.FEWEST_ROUNDS)


def test_rows_are_written_as_they_come_and_resumed(tmp_path, capsys):
    path = tmp_path / "layers.json"
    first = results.Results("layers", MACHINE, 2, path)
    first.add({"name": "a", "models": {}})
    first.add({"name": "b", "error": "no"})
    again = results.Results("layers", MACHINE, 2, path)
    again.resume()
    assert again.finished() == {"a"}
    again.add({"name": "b", "models": {}})
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["a", "b"] and again.finished() == {"a", "b"}
    with pytest.raises(TenfoldError, match="threads differs"):
        results.Results("layers", MACHINE, 3, path).resume()
    path.write_text("{}")
    with pytest.raises(TenfoldError, match="not a file of results"):
        again.resume()


def test_a_row_that_fails_does_not_stop_the_others_but_an_interrupt_does(tmp_path, monkeypatch):
    from rich.console import Console

    cases = [suite.Case(name) for name in "abc"]
    found = results.Results("layers", MACHINE, 2, tmp_path / "r.json")

    def measure(case):
        if case.name == "a":
            raise ValueError("broken")
        if case.name == "c":
            raise KeyboardInterrupt
        return example_row("b")

    with pytest.raises(KeyboardInterrupt):
        run.run(cases, measure, found, Console(quiet=True))
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [(row["name"], row.get("error")) for row in rows] == [("a", "broken"), ("b", None)]


PAGE = "# T\n<!-- benchmark denton -->\nold\n<!-- end -->\ntext\n<!-- benchmark layers -->\nkept\n<!-- end -->\n"


def result(suite="denton", **more):
    content = results.Results(suite, MACHINE, 2, date="2026-01-02T00:00:00+00:00", rows=[example_row()]).content()
    return content | more


def test_tables_replace_what_is_between_their_markers():
    new = table.rewritten(PAGE, {"denton": table.section(result())})
    assert "\nold" not in new and "kept" in new and new.startswith("# T\n") and "-->\ntext\n<!--" in new
    lines = [line for line in new.splitlines() if line.startswith("|")]
    assert lines[0].split(" | ")[2:5] == ["Tenfold, ms", "ONNX Runtime, ms", "PyTorch channels-last, ms"]
    assert lines[2] == "| 64-64 56 3x3 | 1 M | 2.00 | 3.00 | 4.00 | 1.50 x | 1 | 1% | 2% | 4.00 x | 4.50 x | 10.00 x | 40% |"
    assert "2 threads for every engine" in new and "2026-01-02" in new and "mean against the best rival 1.50 x; ahead in 1 of 1 rows" in new
    assert table.rewritten(new, {"denton": table.section(result())}) == new
    with pytest.raises(TenfoldError, match="no markers for networks"):
        table.rewritten(PAGE, {"networks": table.section(result("networks"))})


def test_layers_are_summed_up_by_list():
    rows = [example_row("a", ("vgg16", "vgg19")), example_row("b", ("vgg16",))]
    rows[1]["models"]["chain"] |= {"ratio": 0.75, "share_of_peak": 0.03, "kernels_share_of_peak": 0.04}
    headings, cells = table.layers_table(result("layers", rows=rows))
    assert cells[0] == ["vgg16", "2", "1.06 x", "0.75 x", "1 of 2", "2%", "3%", "2%"]
    assert cells[1] == ["vgg19", "1", "1.50 x", "1.50 x", "1 of 1", "1%", "2%", "2%"] and len(cells) == 2
    assert len(headings) == len(cells[0])


def test_startup_has_seconds_and_bytes():
    seconds = {"name": "a", "s": {"tenfold": {"median": 0.5}, "torch": {"median": 7.25}}}
    memory = {"name": "b", "peak_bytes": {"tenfold": 150_000_000, "onnxruntime": None}, "manifest_memory": {"planned": 120_000_000}}
    headings, cells = table.full_table(result("startup", rows=[seconds, memory]))
    assert headings == ["", "Tenfold", "ONNX Runtime", "PyTorch channels-last"]
    assert cells == [["a", "0.50 s", "-", "7.25 s"], ["b, peak", "150 MB", "-", "-"], ["b, planned", "120 MB", "-", "-"]]


def test_failures_are_told_on_the_page():
    assert "Failed: c: broken." in table.section(result(rows=[example_row(), {"name": "c", "error": "broken"}]))


def test_the_command_rewrites_and_checks(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "denton.json").write_text(json.dumps(result()))
    arguments = ["--results", str(tmp_path), "--page", str(tmp_path / "page.md")]
    with pytest.raises(SystemExit, match="not what the results say"):
        table.main([*arguments, "--check"])
    table.main(arguments)
    table.main([*arguments, "--check"])
    assert "1.50 x" in (tmp_path / "page.md").read_text()


ROOT = Path(__file__).parent.parent


def test_the_pages_have_markers_for_every_suite_that_was_measured():
    pages = ("README.md", "docs/benchmarks.md")
    marked = {page: {match[2] for match in table.MARKED.finditer((ROOT / page).read_text())} for page in pages}
    measured = {path.stem for path in table.RESULTS.glob("*.json")}
    assert marked == {"README.md": {"networks"}, "docs/benchmarks.md": {*measured, *table.SEARCHES}}
    assert {*suites.TIMED} - measured <= {"modern-layers"}  # to be measured


def test_the_pages_are_what_the_results_say():
    table.main(["--check"])
    for name in ("avx2", "zen5"):
        folder = table.RESULTS / name
        table.main(["--results", str(folder), "--page", str(folder / "README.md"), "--check"])


def test_a_changed_figure_is_found(tmp_path, monkeypatch):
    page = tmp_path / "benchmarks.md"
    page.write_text((ROOT / "docs/benchmarks.md").read_text().replace("| resnet50 | 4.09 G | 23.7 |", "| resnet50 | 4.09 G | 22.7 |"))
    with pytest.raises(SystemExit, match="not what the results say"):
        table.main(["--page", str(page), "--check"])


def test_the_picture_is_what_the_results_say():
    assert picture.PATH.read_text() == picture.drawn()


def test_the_picture_shows_every_network_that_lost_little():
    points = [point for name in picture.PANELS for point in picture.points(name)]
    assert len(points) == 2 * 2 * (1 + 1 + 6)
    shown = sum(point.lost <= picture.MOST_LOST for point in points)
    drawn = picture.drawn()
    assert drawn.count("<circle") + drawn.count('<rect class="hollow"') == shown + len(picture.ENGINES)
