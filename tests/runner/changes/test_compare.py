"""What `compare` says of two files of results."""
from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest
import tenfold
from rich.console import Console
from tenfold import cli
from tenfold.runner.bench.compare import Comparison, Row
from tenfold.runner.bench.measure import Latency
from tenfold.runner.changes.compare import BETTER, SAME, WORSE, compare
from tenfold.runner.changes.table import changes_lines, changes_table, summary
from tenfold.support.errors import TenfoldError

RESULTS = Path(tenfold.__file__).parent / "tests" / "benchmarks" / "results"
MACHINE = {"cpu": "A CPU", "physical_cores": 2, "vector_bits": 512, "python": "3.12.1", "versions": {"tenfold": "0.1.0", "tvm": "0.27"}}


def row(model="net.onnx", engine="tenfold", ms=1.0, spread=0.01, **facts):
    return {"model": model, "engine": engine, "latency_ms": {"median": ms, "p90": ms, "min": ms, "runs": 50, "spread": spread},
            "macs": 1000, "params": 10, "bytes": 4000, "peak_bytes": 10_000, "accuracy": 0.9, "max_error": 1e-7, "batch": 1} | facts


def bench(*rows, **facts):
    return {"machine": MACHINE, "threads": 2, "disturbance": None, "rows": list(rows), "skipped": []} | facts


def verdict(old, new, figure="latency_ms", **options):
    (found,) = compare(bench(old), bench(new), **options).rows
    return found.figures[figure].verdict


@pytest.mark.parametrize(("ms", "spreads", "threshold", "expected"), [
    (1.04, (0.0, 0.0), 5, SAME),
    (1.06, (0.0, 0.0), 5, WORSE),
    (1.06, (0.0, 0.0), 7, SAME),
    (1.001, (0.0, 0.0), 0, WORSE),
    (1.06, (0.1, 0.0), 5, SAME),  # the spread of either run is noise
    (1.06, (0.0, 0.1), 5, SAME),
    (1.12, (0.1, 0.1), 5, WORSE),
    (0.96, (0.0, 0.0), 5, SAME),
    (0.94, (0.0, 0.0), 5, BETTER),
    (0.94, (0.0, 0.1), 5, SAME),
])
def test_a_time_changed_by_more_than_the_threshold_and_both_spreads(ms, spreads, threshold, expected):
    old, new = row(spread=spreads[0]), row(ms=ms, spread=spreads[1])
    assert verdict(old, new, threshold=threshold) == expected
    assert verdict(new, old, threshold=threshold) == {WORSE: BETTER, BETTER: WORSE, SAME: SAME}[expected]


@pytest.mark.parametrize(("figure", "name", "old", "new", "expected"), [
    ("bytes", "bytes", 4000, 4300, WORSE),
    ("bytes", "bytes", 4000, 4100, SAME),
    ("memory", "peak_bytes", 10_000, 9000, BETTER),
    ("macs", "macs", 1000, 1100, WORSE),
    ("accuracy", "accuracy", 0.9, 0.894, WORSE),
    ("accuracy", "accuracy", 0.9, 0.895, SAME),
    ("accuracy", "accuracy", 0.9, 0.91, BETTER),
])
def test_other_figures(figure, name, old, new, expected):
    found = compare(bench(row(**{name: old})), bench(row(**{name: new})))
    assert found.rows[0].figures[figure].verdict == expected and not found.slower
    assert [each.new.model for each in found.having(WORSE, (figure,))] == ["net.onnx"] * (expected == WORSE)


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda path: "/".join(path.parts[-2:]))
def test_the_results_of_this_project_equal_themselves(path):
    content = json.loads(path.read_text())
    if "suite" not in content and not all("latency_ms" in each for each in content.get("rows", [{}])) or "cuda" in path.parts:
        with pytest.raises(TenfoldError):
            compare(path, path)
        return
    try:
        found = compare(path, path)
    except TenfoldError as error:
        # Cycles of loops, or accuracy and bytes by settings: no times.
        assert path.name == "kernels.json" or path.parent.name in ("arm", "quantized"), error
        return
    assert found.rows and not found.missing and not found.added and not found.differences
    assert {one.verdict for each in found.rows for one in each.figures.values()} == {SAME}


def test_a_suite_is_matched_row_by_row():
    old = json.loads((RESULTS / "zen5" / "denton.json").read_text())
    new = copy.deepcopy(old)
    new["rows"].reverse()
    part = next(iter(new["rows"][3]["models"].values()))
    part["ms"]["openvino"] *= 2
    part["ms"]["torch"] /= 2
    found = compare(old, new)
    assert [(each.new.model, each.new.engine) for each in found.slower] == [(f"{new['rows'][3]['name']}, chain", "openvino")]
    assert [each.new.engine for each in found.having(BETTER)] == ["torch"] and not found.missing


def test_rows_are_matched_by_model_engine_batch_and_threads():
    old = bench(row("a"), row("a", "onnxruntime"), row("a", batch=4), row("old/b", ms=1), row("c"))
    new = bench(row("d"), row("new/b", ms=2), row("a", batch=4), row("a", "onnxruntime"), row("a", batch=8))
    found = compare(old, new)
    keys = [(each.old.model, each.new.model, each.new.engine, each.new.batch) for each in found.rows]
    assert keys == [("a", "a", "onnxruntime", 1), ("a", "a", "tenfold", 4), ("old/b", "new/b", "tenfold", 1)]
    assert [(each.model, each.batch) for each in found.missing] == [("a", 1), ("c", 1)]
    assert [(each.model, each.batch) for each in found.added] == [("d", 1), ("a", 8)]
    assert [each.new.model for each in found.slower] == ["new/b"]


def test_a_file_that_does_not_tell_the_batch_fits_any():
    found = compare(bench(row(batch=None)), bench(row(batch=4)))
    assert len(found.rows) == 1 and not found.missing


def test_the_path_counts_before_the_name():
    found = compare(bench(row("x/net", ms=1), row("y/net", ms=5)), bench(row("y/net", ms=5), row("x/net", ms=1)))
    assert {each.figures["latency_ms"].verdict for each in found.rows} == {SAME}


def test_other_machines_are_refused():
    old, new = bench(row()), bench(row(), machine={**MACHINE, "cpu": "B CPU", "versions": {"tenfold": "0.2.0", "tvm": "0.27"}})
    with pytest.raises(TenfoldError, match="cpu: A CPU, now B CPU.*--across-machines"):
        compare(old, new)
    assert compare(old, new, across_machines=True).differences == ["cpu: A CPU, now B CPU", "tenfold: 0.1.0, now 0.2.0"]


def test_other_versions_are_told_and_compared():
    new = bench(row(ms=2), machine={**MACHINE, "versions": {"tenfold": "0.2.0", "tvm": "0.27"}})
    found = compare(bench(row()), new)
    assert found.differences == ["tenfold: 0.1.0, now 0.2.0"] and found.slower


def test_what_one_machine_does_not_tell_is_no_difference():
    assert compare(bench(row()), bench(row(), machine={**MACHINE, "cpu": None})).differences == []


def test_other_threads_are_another_row():
    with pytest.raises(TenfoldError, match="2 threads.*4.*--across-machines"):
        compare(bench(row()), bench(row(), threads=4))
    assert compare(bench(row()), bench(row(), threads=4), across_machines=True).differences == ["threads: 2, now 4"]


def test_a_comparison_is_taken_as_it_is():
    old = Comparison(MACHINE, 2, [Row("net", "tenfold", Latency(1, 1, 1, 9, 0.02), 9, 9, 9, None, None, None, batch=1)])
    new = Comparison(MACHINE, 2, [Row("net", "tenfold", Latency(2, 2, 2, 9, 0.04), 9, 9, 9, None, None, None, batch=1)])
    (found,) = compare(old, new).slower
    assert found.figures["latency_ms"].relative == 1 and found.figures["latency_ms"].noise == 0.05


def test_artifacts(tiny_artifact, tmp_path):
    manifest = json.loads((tiny_artifact / "manifest.json").read_text())
    (tmp_path / "old.json").write_text(json.dumps({"output": "out", "seconds": 1.0, "manifest": manifest}))
    larger = {**manifest, "memory": {**manifest["memory"], "planned": 2 * manifest["memory"]["planned"]}}
    found = compare(tmp_path / "old.json", larger)
    assert {name: one.verdict for name, one in found.rows[0].figures.items()} == {"bytes": SAME, "memory": WORSE, "macs": SAME}
    assert compare(tiny_artifact, tmp_path / "old.json").rows[0].figures["macs"].old == manifest["macs"]
    with pytest.raises(TenfoldError, match="different machines or targets"):
        compare(manifest, {**manifest, "target": {**manifest["target"], "tvm": {"kind": "llvm", "mcpu": "other"}}})


def test_reports_of_compress(tmp_path):
    figures = {"macs": 100, "params": 9, "bytes": 400, "ms": 2.0, "accuracy": 0.9}
    report = {"model": "0" * 64, "target": "host", "before": figures, "after": {**figures, "ms": 1.0}, "layers": [], "search": None}
    (tmp_path / "report.json").write_text(json.dumps(report))
    found = compare(tmp_path, {**report, "model": "1" * 64, "after": {**figures, "ms": 1.5, "accuracy": 0.8}})
    assert [each.new.model for each in found.slower] == ["factored network"]
    assert found.differences == ["model: 000000000000, now 111111111111"]
    assert found.rows[1].figures["accuracy"].verdict == WORSE and "1 of 2 rows slower" in summary(found)
    untimed = compare(report, {**report, "before": {**figures, "ms": None}, "after": {**figures, "ms": None}})
    assert not any("latency_ms" in each.figures for each in untimed.rows)
    assert any("latency_ms of dense network" in line and "not in" in line for line in changes_lines(untimed))


def report(ms=2.0, made=None, search=None):
    figures = {"macs": 100, "params": 9, "bytes": 400, "ms": ms, "accuracy": 0.9}
    return {"model": "0" * 64, "target": "host", "before": figures, "after": figures, "layers": [], "search": search, "made": made}


def made(threads=2, **machine):
    return {"command": None, "machine": {**MACHINE, **machine}, "threads": threads, "versions": {"tenfold": "0.1.0"}}


@pytest.mark.parametrize(("old", "new", "words"), [
    (report(made=made()), report(made=made(cpu="B CPU")), "cpu: A CPU, now B CPU"),
    (report(made=made()), report(made=made(gpu={"name": "A GPU"})), None),  # that one has a GPU and the other has none is not told
    (report(made=made(gpu={"name": "A GPU"})), report(made=made(gpu={"name": "B GPU"})), "gpu: A GPU, now B GPU"),
    (report(made=made()), report(made=made(vector_bits=256)), "vector_bits: 512, now 256"),
    (report(search={"modelled": "cycles of A"}), report(search={"modelled": "cycles of B"}), "times: modelled by cycles of A, now"),
    (report(made=made()), report(made=made(threads=1)), "2 threads"),
    (report(made=made()), report(made=made()), None),
    (report(None, made=made()), report(None, made=made(cpu="B CPU")), None),  # nothing in them was measured
])
def test_reports_of_compress_from_other_machines(old, new, words):
    if words is None:
        compare(old, new)
        return
    with pytest.raises(TenfoldError, match=f"{words}.*--across-machines"):
        compare(old, new)
    (found,) = compare(old, new, across_machines=True).differences
    assert found.split(":")[0] in words or found == "threads: 2, now 1"


def test_times_of_an_unknown_machine_are_told():
    def told(old, new):
        return any(line.startswith("machines  ") for line in changes_lines(compare(old, new)))

    assert told(report(), report(made=made())) and told(report(made={"command": "x", "machine": None}), report())
    assert not told(report(made=made()), report(made=made())) and not told(report(None), report(None))


def test_a_disturbed_search_is_a_note():
    disturbed = report(made={**made(), "disturbance": {"warning": "the machine was disturbed"}})
    assert "note      the given results: the machine was disturbed" in list(changes_lines(compare(report(made=made()), disturbed)))


@pytest.mark.parametrize(("content", "words"), [
    ("{", "not JSON"),
    ("[]", "no object"),
    ("{}", "'rows'"),
    ('{"rows": []}', "'machine'"),
    (json.dumps(bench()), "none of its rows"),
    (json.dumps(bench(row(ms="fast"))), "'fast' is no number"),
    (json.dumps(bench(row(ms=0))), "0 ms"),
    (json.dumps(bench(row(accuracy=[]))), "no number"),
    (json.dumps(bench(row(), threads="two")), "no whole number"),
    (json.dumps(bench(row(), machine=[])), "no object"),
    (json.dumps(bench(row(), machine={})), "'versions'"),
    (json.dumps(bench(row(), disturbance=[1])), "no object"),
    (json.dumps(bench(row(), skipped=["net"])), "no object"),
    ('{"manifest": {}}', "'target'"),
    ('{"before": {}, "after": {}}', "'target'"),
    (json.dumps(report(made=[])), "no object"),
    (json.dumps(report(made={"threads": "two"})), "no whole number"),
    (json.dumps(report(made={"machine": 3})), "no object"),
    (json.dumps(bench(row("other"))), "nothing to compare"),
])
def test_files_that_hold_no_results(content, words, tmp_path):
    (tmp_path / "a.json").write_text(content)
    for order in ((tmp_path / "a.json", bench(row())), (bench(row()), tmp_path / "a.json")):
        with pytest.raises(TenfoldError) as found:
            compare(*order)
        assert "a.json" in str(found.value) and words in str(found.value)


@pytest.mark.parametrize("options", [{"threshold": -1}, {"max_drop": -0.1}, {"threshold": float("nan")}])
def test_bounds_of_the_options(options):
    with pytest.raises(TenfoldError, match="must be 0 or more"):
        compare(bench(row()), bench(row()), **options)


@pytest.mark.parametrize("given", [3, None, "none.json", "."])
def test_what_is_no_file(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TenfoldError):
        compare(given, bench(row()))


def test_the_table_says_it_all():
    old = bench(row("a", ms=1), row("b", spread=0), row("c"), row("e", accuracy=None))
    new = bench(row("a", ms=1.5, bytes=5000), row("b"), row("d"), row("e"), disturbance={"warning": "the machine was disturbed"},
                skipped=[{"model": "c", "engine": "tenfold", "reason": "it can't be compiled"}])
    found = compare(old, new)
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(changes_table(found))
    text = captured.get()
    assert "+50.0%" in text and "slower" in text and "+25.0%" in text and "5.0%?" in text
    lines = list(changes_lines(found))
    assert any(line.startswith("missing") and "c in tenfold" in line for line in lines)
    assert any(line.startswith("added") and "d in tenfold" in line for line in lines)
    assert any("accuracy of e in tenfold" in line for line in lines) and any("the machine was disturbed" in line for line in lines)
    assert any("no row for c in tenfold: it can't be compiled" in line for line in lines)
    assert lines[-1] == "1 of 3 rows slower (most: a in tenfold, +50.0%), 0 faster, 1 with larger files, 1 missing, 1 added"


def test_noise_that_hides_a_change_is_told():
    found = compare(bench(row("a"), row("b", spread=0.6)), bench(row("a", ms=1.04), row("b", ms=1.5)))
    assert not found.slower
    (line,) = [line for line in changes_lines(found) if line.startswith("noisy")]
    assert "b in tenfold" in line and "a in tenfold" not in line


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run `tenfold compare` in a folder with old.json, slow.json and large.json: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    far = bench(row(), machine={**MACHINE, "cpu": "B"})
    files = {"old": bench(row()), "slow": bench(row(ms=2)), "large": bench(row(bytes=9000)), "far": far}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tenfold", "compare", *arguments])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("arguments", "expected"), [
    (["old.json", "old.json"], 0),
    (["old.json", "slow.json"], 1),
    (["slow.json", "old.json"], 0),
    (["old.json", "slow.json", "--threshold", "150"], 0),
    (["old.json", "slow.json", "--fail-on", ""], 0),
    (["old.json", "large.json"], 0),
    (["old.json", "large.json", "--fail-on", "latency,bytes"], 1),
    (["old.json", "far.json"], 2),
    (["old.json", "far.json", "--across-machines"], 0),
    (["old.json", "none.json"], 2),
    (["old.json", "slow.json", "--fail-on", "speed"], 2),
    (["old.json", "slow.json", "--json", "old.json"], 2),
])
def test_exit_codes(command, arguments, expected, tmp_path):
    before = (tmp_path / "old.json").read_text()
    code, out, err = command(*arguments)
    assert code == expected and (tmp_path / "old.json").read_text() == before
    assert err.count("\n") == (expected == 2) and bool(out) == (expected != 2), err


def test_json(command):
    code, out, err = command("old.json", "slow.json", "--json", "-")
    content = json.loads(out)
    assert code == 1 and content["worse"] and content["slower"] == 1 and "1 of 1 rows slower" in err
    assert content["rows"][0]["figures"]["latency_ms"] == {"old": 1.0, "new": 2.0, "relative": 1.0, "noise": 0.05, "verdict": "worse"}
