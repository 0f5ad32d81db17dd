"""What is on a page: what the results say, all of it escaped, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
import tenfold
from parsed_page import parse
from result_samples import SEARCH, bench, folder, layer, point, profile, report, row, searched
from tenfold.runtime.manifest import Manifest


def page(tmp_path, *what):
    size = tenfold.report(list(what), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(text.encode()) == size
    return parse(text)


def benched(tmp_path, *rows, **more):
    (tmp_path / "bench.json").write_text(json.dumps(bench(*rows, **more)))
    return tmp_path / "bench.json"


def facts(found):
    """The facts of each source by its name."""
    return {
        each.one("h3").text: dict(zip([t.text for t in each.all("dt")], [d.text for d in each.all("dd")], strict=True))
        for each in found.all("article")
    }


def cells(line):
    return {cell.attributes["data-label"]: cell.text for cell in line.all("td")}


def test_everything_of_a_search_is_there(tmp_path):
    found = page(
        tmp_path,
        searched(tmp_path / "small"),
        benched(tmp_path, row("net.onnx", "tenfold", 2.0, profile=profile()), row("net.onnx", "openvino", 4.0)),
    )
    assert {each.attributes["id"] for each in found.all("section")} == {"sides", "curve", "layers", "profile", "origins"}
    assert {link.attributes["href"][1:] for link in found.one("nav").all("a")} == {"sides", "curve", "layers", "profile", "origins"}
    gained = found.one("p", "gains").text
    assert (
        "2.00 → 1.25 ms (1.60 times as fast)" in gained
        and "accuracy 91.2% → 90.4%" in gained
        and "0.8 points lost, known to ±0.3" in gained
    )
    small, measured = facts(found).values()
    assert (
        small["budget"] == "max drop 1" and "against onnxruntime on 2 sets" in small["reading"] and "Some CPU, 2 cores" in small["machine"]
    )
    assert measured["threads"] == "2 for every engine" and "Some CPU" in measured["machine"]
    assert [code.text for code in found.all("code")] == ["tenfold compress net.onnx -o small", "tenfold bench net.onnx"]


def test_rows_stand_side_by_side(tmp_path):
    rows = row("net.onnx", "tenfold", 2.0), row("net.onnx", "openvino", 4.0, accuracy=None, max_error=None, peak_bytes=None)
    lines = page(tmp_path, searched(tmp_path / "small"), benched(tmp_path, *rows)).one(id="sides").one("tbody").all("tr")
    assert [line.one("span", "name").text for line in lines] == ["dense network", "factored network", "net.onnx", "net.onnx"]
    dense, factored, ours, rival = map(cells, lines)
    assert dense["ms (median)"] == "2.00" and dense["accuracy"] == "91.2%" and dense["MACs"] == "2 k" and not dense["memory"]
    assert factored["largest error"] == "2.0e-02" and factored["file"] == "3 kB"
    assert ours["ms (median)"] == "2.00 p90 3.00, rounds 3% apart, 50 runs" and ours["memory"] == "7 kB at its peak"
    assert rival["engine"] == "openvino" and not rival["accuracy"] and not rival["memory"] and not rival["largest error"]
    assert [line.one("span", "fill").attributes["style"] for line in lines] == [
        "width:33.33%",
        "width:20.83%",
        "width:33.33%",
        "width:66.67%",
    ]
    assert lines[3].one("span", "whisker").attributes["style"] == "left:33.33%;width:66.67%" and not lines[0].all("span", "whisker")
    assert len({frozenset(line.one("span", "fill").classes) for line in lines}) == 4  # hatched, plain, plain by another name, dotted


def test_layers_have_bars_and_reasons(tmp_path):
    part = page(tmp_path, searched(tmp_path / "small")).one(id="layers")
    conv, head = part.all("details", "layer")
    assert conv.one("span", "what").text == "channel_svd 8 error of weight 0.125 error of responses 0.0625"
    assert head.one("small", "reason").text == "minor: 1% of the MACs" and head.one("span", "what").text.startswith("dense")
    assert [button.attributes["data-show"] for button in part.all("button")] == ["ms", "macs", "params"]
    times = conv.one("span", "axis-ms")
    assert [fill.attributes["style"] for fill in times.all("span", "fill")] == ["width:100.00%", "width:46.67%"]
    assert (
        times.one("span", "figures").text == "1.50 → 0.700 ms"
        and conv.one("span", "axis-params").one("span", "figures").text == "100 → 40 parameters"
    )
    first, *_ = conv.one("tbody").all("tr")
    assert (
        first.one("th").text == "svd 1"
        and cells(first)["ms"] == "0.100"
        and len(conv.one("tbody").all("tr")) == 8
        and "11 more" in conv.text
    )
    assert conv.one("ul", "refused").text == "cp : no conv"
    mark = conv.one("svg").one("g", "mark")
    assert mark.attributes["aria-label"] == "channel_svd: 8 of 16 kept; the last of these is 0.25" and not head.one("svg").all("g", "mark")


def test_the_candidate_that_was_chosen_comes_first(tmp_path):
    path = searched(tmp_path / "small")
    content = json.loads((path / "report.json").read_text())
    content["layers"][0] |= {"method": "svd", "ranks": [19]}
    (path / "report.json").write_text(json.dumps(content))
    first, second, *_ = page(tmp_path, path).one(id="layers").all("details")[0].one("tbody").all("tr")
    assert first.one("th").text == "svd 19" and cells(first)["chosen, or why not"] == "chosen"
    assert second.one("th").text == "svd 1" and not cells(second)["chosen, or why not"]


def test_the_curve_has_a_mark_for_each_network(tmp_path):
    curve = page(tmp_path, searched(tmp_path / "small")).one(id="curve")
    charts = curve.all("svg", "chart")
    assert ["axis-ms" in charts[0].classes, "axis-macs" in charts[1].classes, "axis-bytes" in charts[2].classes] == [True] * 3
    marks = charts[0].all("g", "mark")
    assert [sorted(mark.classes - {"mark"}) for mark in marks] == [["square"], ["circle"], ["circle"], ["diamond"]]
    assert marks[1].attributes["aria-label"] == (
        "factored, 1.50 ms, 1.5 k MACs, 3 kB, accuracy 91.0%, 0.2 points lost, known to ±0.25, 1 layer factored"
    )
    assert all(mark.attributes["tabindex"] == "0" and mark.one("title").text == mark.attributes["aria-label"] for mark in marks)


def test_a_curve_of_divergences_shows_what_is_lost(tmp_path):
    measure = {**SEARCH["measure"], "name": "divergence from the dense network", "units": "nats"}
    content = report(layer("conv"), search={**SEARCH, "measure": measure})
    content["before"]["accuracy"] = content["after"]["accuracy"] = None
    path = folder(tmp_path / "small", content, point(2.0, None, 0.0), point(1.0, None, 0.05))
    curve = json.loads((path / "pareto.json").read_text())
    (path / "pareto.json").write_text(json.dumps({**curve, "measure": measure}))
    found = page(tmp_path, path).one(id="curve")
    assert "lost, nats" in found.all("svg")[0].text and "0.05 nats lost" in found.all("g", "mark")[1].attributes["aria-label"]


def test_a_profile_is_a_waterfall(tmp_path):
    found = page(tmp_path, benched(tmp_path, row("net.onnx", "tenfold", 5.0, profile=profile()))).one(id="profile")
    pool, conv = found.one("ol").all("li")
    assert pool.one("span", "name").text == "pool" and conv.one("span", "name").text == "conv" and "longest" in conv.classes
    assert pool.one("span", "fill").attributes["style"] == "left:0.00%;width:20.00%" and not pool.all("span", "peak")
    assert (
        conv.one("span", "fill").attributes["style"] == "left:20.00%;width:60.00%"
        and conv.one("span", "peak").attributes["style"] == "width:50.0%"
    )
    assert conv.one("span", "figures").text == "3.00 ms 60.0%, 50.0 GFLOP/s, 50 % of peak"
    assert "takes 5.00 ms; 1.00 ms of it outside the kernels" in found.text and "100 GFLOP/s" in found.text


def test_an_artifact_and_its_row_are_one(tmp_path, tiny_artifact, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = benched(tmp_path, row(str(tiny_artifact), "tenfold", 2.0), row(str(tiny_artifact), "onnxruntime", 3.0))
    found = page(tmp_path, tiny_artifact, path)
    lines = found.one(id="sides").one("tbody").all("tr")
    manifest = Manifest.read(tiny_artifact / "manifest.json")
    assert len(lines) == 2 and cells(lines[0])["memory"].startswith("7 kB at its peak, ") and "planned" not in cells(lines[1])["memory"]
    (alone,) = page(tmp_path, tiny_artifact).one(id="sides").one("tbody").all("tr")
    assert cells(alone)["parameters"] == str(manifest.params) and not cells(alone)["ms (median)"]
    said = facts(found)[f"{tiny_artifact} compiled, verified"]
    assert "against onnxruntime" in said["verified"] and said["precision"] == "float32" and "No command is kept" in found.text


def test_precisions_are_those_of_the_artifact_of_this_result(tmp_path, tiny_artifact):
    content = report(layer("conv"), layer("fc"))
    small = folder(tmp_path / "small", content)
    manifest = json.loads((tiny_artifact / "manifest.json").read_text())
    (tmp_path / "art").mkdir()
    for path, precision in ((small / "model.onnx", "float32"), (tmp_path / "other.onnx", "")):
        manifest["source"]["path"] = str(path)
        (tmp_path / "art" / "manifest.json").write_text(json.dumps(manifest))
        first, _ = page(tmp_path, small, tmp_path / "art").one(id="layers").all("details")
        assert (precision or "channel_svd 8 error") in first.one("span", "what").text and (
            "float32" in first.one("span", "what").text
        ) == bool(precision)


def test_precisions_of_a_search_are_told_with_the_reason(tmp_path):
    why = "not faster on bytes: 2 ms, in float32 1 ms"
    layers = layer("conv", precision="int8"), layer("fc", precision="float32", precision_reason=why)
    first, second = page(tmp_path, folder(tmp_path / "small", report(*layers))).one(id="layers").all("details")
    assert "int8" in first.one("span", "what").text and "float32" in second.one("span", "what").text
    assert "not faster on bytes" in second.text and "on bytes" not in first.text


def test_kernels_of_bytes_are_counted(tmp_path, tiny_artifact):
    manifest = json.loads((tiny_artifact / "manifest.json").read_text())
    kernel = next(each for each in manifest["kernels"] if each["macs"])
    manifest["kernels"] = [kernel, {**kernel, "precision": "int8"}, {**kernel, "precision": "int8"}]
    (tmp_path / "art").mkdir()
    (tmp_path / "art" / "manifest.json").write_text(json.dumps(manifest))
    said = facts(page(tmp_path, tmp_path / "art"))[f"{tmp_path / 'art'} compiled, verified"]
    assert said["precision"] == "int8 in 2 of 3 kernels, float32 in 1 of 3 kernels"


def test_what_is_missing_is_said(tmp_path):
    small = folder(tmp_path / "small", report(layer("conv", spectra=None)))
    missing = page(tmp_path, small).one(id="missing").text
    assert all(word in missing for word in ("--pareto", "singular values", "without a budget", "tenfold bench --json"))
    found = page(tmp_path, searched(tmp_path / "all"), benched(tmp_path, row("net.onnx", "tenfold", 5.0)))
    assert [line.text for line in found.one(id="missing").all("li")] == [
        "No profile: tenfold bench --profile --json measures where the time goes."
    ]


def test_results_of_older_versions_have_pages(tmp_path):
    """Without what later versions keep."""
    content = report(layer("conv"))
    for name in ("made", "reading", "output_error"):
        del content[name]
    for each in content["layers"]:
        del each["spectra"], each["response_error"], each["ms"], each["ms_before"]
    found = page(tmp_path, folder(tmp_path / "small", content))
    assert "No command is kept" in found.text and len(found.all("details")) == 1


def test_the_objects_of_the_api_have_pages(tmp_path, tiny_file):
    done = tenfold.compress(tiny_file, tmp_path / "small", tenfold.Recipe(energy=0.7), target="zen3")
    layers = page(tmp_path, done).all("details")
    assert [each.one("span", "name").text for each in layers] == ["conv", "fc"]
    assert [each.one("span", "what").text for each in page(tmp_path, tmp_path / "small").all("details")] == [
        each.one("span", "what").text for each in layers
    ]
    assert all(each.all("svg") for each in layers)


NAME = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> & {{ 7*7 }} \u202egnp.exe \x1b[31m"


def test_every_string_is_escaped(tmp_path):
    small = searched(tmp_path / "small", NAME)
    skipped = [{"model": NAME, "engine": NAME, "reason": NAME}]
    path = benched(tmp_path, row(NAME, NAME, 1.0, profile=profile()), skipped=skipped, command=NAME, disturbance={"warning": NAME})
    found = page(tmp_path, small, path)
    assert not found.all("img") and len(found.all("script")) == 1 and "{{ 7*7 }}" in found.text
    raw = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "\x1b" not in raw and "\u202e" not in raw and "\\u202egnp.exe \\x1b[31m" in found.text
    shown = NAME.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")
    assert found.all("details")[0].one("span", "name").text == shown
    assert not [name for each in found.all() for name in each.attributes if name.startswith("on")]


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    found = page(tmp_path, searched(tmp_path / "small"), benched(tmp_path, row("net.onnx", "tenfold", 5.0, profile=profile())))
    raw = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|\bsrc=", raw)
    assert all(link.attributes["href"].startswith("#") for link in found.all("a")) and not found.all("link")
    rules = found.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    script = re.search(r"<script>(.*?)</script>", raw, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_a_large_network_fits(tmp_path):
    """Of 500 layers with candidates and reasons, and as many kernels."""
    names = [f"stage{number // 50}.block{number % 50}.conv" for number in range(500)]
    times = json.loads((searched(tmp_path / "one") / "report.json").read_text())["layers"][0]
    values = [round(1 / rank, 6) for rank in range(1, 49)]
    many = [{**times, "name": name, "spectra": {"spatial_svd": {"ranks": list(range(1, 49)), "values": values}}} for name in names]
    small = folder(tmp_path / "small", report(*many, search=SEARCH))
    kernels = {**profile(), "kernels": [{**profile()["kernels"][1], "layers": [name]} for name in names]}
    assert tenfold.report([small, benched(tmp_path, row("net.onnx", "tenfold", 5.0, profile=kernels))], tmp_path / "page.html") < 3_000_000


@pytest.mark.parametrize("zero", ["macs", "params"])
def test_a_network_without_cost_divides_nothing_by_zero(tmp_path, zero):
    content = report(layer("conv", **{zero: 0, f"{zero}_before": 0}))
    content["before"][zero] = content["after"][zero] = 0
    assert page(tmp_path, folder(tmp_path / "small", content)).all("details")


@pytest.mark.parametrize(("costs", "begins"), [((2.0, 1.9, 1.8), False), ((2.0, 1.0, 0.5), True)])
def test_networks_of_like_cost_do_not_crowd_at_the_end_of_the_axis(tmp_path, costs, begins):
    content = report(layer("conv"), search=SEARCH)
    content["after"]["ms"] = costs[-1]
    path = folder(tmp_path / "small", content, *(point(ms, 0.9, 0.1 * number) for number, ms in enumerate(costs)))
    chart = page(tmp_path, path).one(id="curve").all("svg")[0]
    labels = [label.text for label in chart.all("text")]
    assert ("0.0" in labels) == begins


def test_a_disturbed_search_is_told(tmp_path):
    content = report(layer("conv"), search=SEARCH)
    content["made"]["disturbance"] = {"warning": "the machine was disturbed"}
    content["made"]["threads"] = 3
    said = facts(page(tmp_path, folder(tmp_path / "small", content)))[f"{tmp_path / 'small'} factored by compress"]
    assert said["disturbed"] == "the machine was disturbed" and said["threads"] == "3"
