"""The benchmarks of AArch64 without a board: loops are found in assembly, networks are counted, and tables say what the results hold."""
from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import run  # noqa: E402
import suite  # noqa: E402
import suites  # noqa: E402
from arm import kernels, model, networks, precision, rank_tables, tables  # noqa: E402
from models import chain_model, stage  # noqa: E402
from results import read  # noqa: E402
from rich.console import Console  # noqa: E402
from table import RESULTS, markdown  # noqa: E402
from tenfold.factorization import Layer  # noqa: E402
from tenfold.runner.bench.mca import llvm_version  # noqa: E402
from tenfold.runner.devices.emulated import emulator_for  # noqa: E402
from tenfold.search.candidates import fields  # noqa: E402
from tenfold.support.errors import TenfoldError  # noqa: E402
from tenfold.targets import resolve  # noqa: E402
from tenfold.targets.architectures import this_architecture  # noqa: E402

QUIET = Console(quiet=True)

# Two loops in a loop, and one beside them.
ASSEMBLY = """
main:
\tstp\tx29, x30, [sp, #-16]!
.LBB0_1:                                // a loop
\tmov\tx3, x1
.LBB0_2:
\tldr\tq4, [x3], #16
\tldp\tq6, q7, [sp, #32]
\tfmla\tv0.4s, v4.4s, v5.s[0]
\tfmla\tv1.4s, v4.4s, v5.s[1]
\tfmla\tv2.4s, v4.4s, v5.s[2]
\tfmla\tv3.4s, v4.4s, v5.s[3]
\tsubs\tx2, x2, #1
\tb.ne\t.LBB0_2                         // back
\tcbz\tx5, .LBB0_4
.LBB0_3:
\tfmla\tv0.4s, v4.4s, v5.4s
\tfmla\tv0.4s, v4.4s, v5.4s
\tfmla\tv0.4s, v4.4s, v5.4s
\tfmla\tv0.4s, v4.4s, v5.4s
\ttbnz\tw5, #0, .LBB0_3
.LBB0_4:
\tsubs\tx6, x6, #1
\tb.ne\t.LBB0_1
.LBB0_5:
\tstr\tq0, [x7], #16
\tcbnz\tx8, .LBB0_5
\tret
"""


def lacks_llvm() -> str:
    try:
        llvm_version()
    except TenfoldError as error:
        return str(error)
    return ""


def test_innermost_loops():
    found = list(kernels.innermost(ASSEMBLY))
    assert [depth for depth, _ in found] == [1, 1, 0]
    assert [body[0] for _, body in found] == ["ldr\tq4, [x3], #16", "fmla\tv0.4s, v4.4s, v5.4s", "str\tq0, [x7], #16"]
    assert found[0][1][-1] == "b.ne\t.LBB0_2" and len(found[0][1]) == 8


@pytest.mark.skipif(bool(lacks_llvm()), reason=lacks_llvm())
def test_loops_are_judged():
    main, other = kernels.loops_of(ASSEMBLY, "main", resolve("cortex-a72"))
    assert (main.fmla, main.accumulators, main.loads, main.stack, main.depth) == (4, 4, 2, 1, 1) and 0 < main.share_of_peak <= 1
    assert other.accumulators == 1 and other.share_of_peak < main.share_of_peak  # each waits for the one before


def loop(share: float, **changes: int) -> dict:
    return {"share_of_peak": share, "fmla": 24, "accumulators": 24, "loads": 8, "stack": 0, "instructions": 30} | changes


def test_what_falls_below_is_listed_with_the_cause():
    rows = [
        {"name": "fast", "lists": ["a"], "kind": "dense", "cpus": {"cortex-a72": [loop(0.95), loop(0.2)]}},
        {"name": "thin", "lists": ["a"], "kind": "depthwise", "cpus": {"cortex-a72": [loop(0.75)]}},
        {"name": "spilled", "lists": ["a", "b"], "kind": "dense", "cpus": {"cortex-a72": [loop(0.85, stack=7)]}},
        {"name": "loading", "lists": ["b"], "kind": "depthwise", "cpus": {"cortex-a72": [loop(0.6, loads=25)]}},
        {"name": "waiting", "lists": ["b"], "kind": "dense", "cpus": {"cortex-a72": [loop(0.5, accumulators=1)]}},
        {"name": "broken", "lists": ["b"], "error": "no"}]
    content = {"suite": "arm-kernels", "rows": rows}
    _, slow = tables.slow_table(content, ["cortex-a72"])
    assert [(row[0], row[-1]) for row in slow] == [("spilled", "spills"), ("loading", "loads"), ("waiting", "latency: few accumulators")]
    assert tables.kernels_table(content)[1] == [["a", "3", "85%", "75%", "1"], ["b", "3", "60%", "50%", "3"]]


def test_the_page_says_that_no_board_was_timed():
    found = tables.sections(RESULTS / "arm", read, markdown)
    assert {"arm-kernels", "arm-slow", "arm-networks-cortex-a72", "arm-model", "arm-worst"} <= set(found)
    assert all(tables.HONEST in text for name, text in found.items() if name not in ("arm-slow", "arm-model", "arm-worst"))
    assert "the machine was " in found["arm-model"]  # quiet or shared
    page = (RESULTS.parents[2] / "docs" / "arm.md").read_text(encoding="utf-8")
    assert "**No board was timed.**" in page and all(f"<!-- benchmark {name} -->" in page for name in found)


def lacks_emulator(architecture: str, compiler: str) -> str:
    emulator = emulator_for(architecture)
    if emulator is None or emulator.endswith("-static"):
        return f"there is no qemu-{architecture} that takes plugins"
    return lacks_llvm() if shutil.which(compiler) else f"there is no {compiler}"


def options(*words: str) -> argparse.Namespace:
    return run.options_of(words)


def test_rows_of_networks():
    without, with_images = (networks.cases(suite.Settings((1,), Path("/nowhere"), data)) for data in (None, Path("/images")))
    assert {name for case in without for name in case.lists} == {"dense", "factored"}
    searched = {case.name for case in suites.chosen(with_images, ["searched on x86"])}
    assert searched == {"bundled, searched on x86", "small VGG, searched on x86"}
    assert len(with_images) == len({case.name for case in with_images}) == len(without) + 2
    assert all((networks.PLANS / plan).exists() for plan, _ in networks.SEARCHED.values())


def test_rows_of_kernels_and_of_the_model():
    names = [case.name for case in kernels.cases(suite.Settings((1,), Path("/nowhere")))]
    assert "960-960 7 3x3 g960" in names and len(names) == len(set(names))
    rows = model.cases(suite.Settings((1,), Path("/nowhere")))
    assert [case.name for case in suites.chosen(rows, ["bundled"])] == ["bundled, 3-96 32 5x5", "bundled, 96-128 15 5x5",
                                                                       "bundled, 128-256 7 5x5"]
    # Layers of one shape are one row.
    assert len(suites.chosen(rows, ["small VGG"])) == 5


def form(core: float, cycles: float, **more: object) -> dict:
    return {"core_cycles": core, "cycles": cycles, **more}


def test_rows_on_bytes():
    rows = precision.cases(suite.Settings((1,), Path("/nowhere")))
    assert {name for case in rows for name in case.lists} == {"layers", "networks"}
    assert all(list(case.models) == ["int8", "float32"] for case in rows)
    cpus = {"cortex-a72": {"int8": form(1e6, 2e6, layers=[1, 1]), "float32": form(3e6, 3e6), "onnxruntime": form(2e6, 8e6)},
            "neoverse-n1": {"int8": form(1e6, 2e6, layers=[0, 1]), "float32": form(4e7, 8e7)}}
    machine = {"versions": {"tenfold": "1"}}
    content = {"suite": "arm-precision", "date": "2026-01-01", "machine": machine, "rows": [
        {"name": "a", "macs": 1e6, "cpus": cpus}, {"name": "b", "error": "no"}]}
    _, lines = precision.table(content)
    assert lines[0][2:8] == ["cortex-a72", "1 of 1", "1000 k", "2000 k", "3000 k", "3000 k"]
    assert lines[0][8:] == ["3.00 x", "1.50 x", "8000 k", "2.00 x", "4.00 x"]
    assert lines[1][:4] == ["", "", "neoverse-n1", "0 of 1"] and lines[1][6:] == ["40.0 M", "80.0 M", "40.00 x", "40.00 x", "-", "-", "-"]
    said = precision.section(content, markdown)
    assert tables.HONEST in said and "1.50 x with misses; 2.00 x and 4.00 x ONNX Runtime's int8" in said and "Failed: b: no." in said


@pytest.mark.parametrize("words, said", [
    (["arm", "--runs", "3"], "--runs is no option of arm"), (["arm-kernels", "--root", "x"], "--root is no option of arm-kernels"),
    (["networks", "--cpu", "zen3"], "--cpu is no option of networks"), (["arm-model", "--data", "x"], "--data is no option of arm-model"),
    (["arm", "--only", "no such"], "no row of arm fits no such")])
def test_options_that_a_suite_does_not_have(words, said):
    with pytest.raises(SystemExit, match=said):
        run.main(words)


@pytest.mark.skipif(bool(lacks_llvm()), reason=lacks_llvm())
@pytest.mark.parametrize("words, said", [
    (["--against", "openvino"], "--against openvino: no such engine here"), (["--cpu", "no-such-cpu"], "no-such-cpu"),
    (["--root", "/no/such/folder"], "there is no onnxruntime: make the folder by")])
def test_networks_that_can_not_be_counted(words, said):
    with pytest.raises(TenfoldError, match=said):
        networks.Networks(options("arm", *words), QUIET)


def engines(ours: float, *rivals: float) -> dict[str, dict[str, float]]:
    cycles = dict(zip(("tenfold", "onnxruntime", "ncnn"), (ours, *rivals), strict=False))
    return {name: {"cycles": value, "core_cycles": value / 2} for name, value in cycles.items()}


def test_networks_are_summed_up_by_form():
    rows = [{"name": "a, dense", "cpus": {"cortex-a72": engines(2.0, 8.0, 9.0)}}, {"name": "b", "cpus": {"cortex-a72": engines(4.0, 4.0)}},
            {"name": "a, searched on x86", "cpus": {"cortex-a72": engines(4.0, 3.0, 5.0)}}, {"name": "c, dense", "error": "no"}]
    assert tables.summary({"rows": rows}) == (
        "Geometric means of networks: cortex-a72, dense: 2.00 x the best rival with misses, 2.00 x all in L1; ahead with misses in 2 of 2. "
        "cortex-a72, searched on x86: 0.75 x the best rival with misses, 0.75 x all in L1; ahead with misses in 0 of 1.")
    assert tables.summary({"rows": [{"name": "b", "cpus": {"cortex-a72": engines(4.0)}}]}) == ""


def candidate(ms: float, cycles: float, core: float, macs: int, misses: tuple[int, ...] = (0, 0)) -> dict:
    return {"method": "svd", "ranks": [macs], "ms": ms, "cycles": cycles, "core_cycles": core, "miss_cycles": cycles - core, "macs": macs,
            "misses": misses}


def test_ranks_are_compared():
    cpu = resolve("cortex-a72").model
    same = [candidate(1.0, 10.0, 4.0, 1), candidate(1.2, 20.0, 3.0, 2), candidate(1.4, 30.0, 2.0, 4), candidate(9.0, 40.0, 1.0, 3)]
    found = rank_tables.agreement([same], cpu)
    assert found.number == 4
    assert found.spearman == {"with misses": pytest.approx(1), "all in L1": pytest.approx(-1), "overlapped": pytest.approx(-1),
                              "MACs alone": pytest.approx(0.8)}
    # 1.0, 1.2 and 1.4 are close to each other, 9.0 to none.
    assert found.pairs == {"with misses": 1.0, "all in L1": 0.0, "overlapped": 0.0, "MACs alone": 1.0}
    turned = [candidate(each["ms"], -each["cycles"], 1.0 + at, at) for at, each in enumerate(same)]
    found = rank_tables.agreement([turned], cpu)
    assert found.pairs["with misses"] == 0.0 and found.spearman["with misses"] == pytest.approx(-1)
    # Pairs are those within a layer: three in each.
    assert rank_tables.agreement([same, turned], cpu).pairs["with misses"] == 0.5
    assert (rank_tables.regret(same), rank_tables.regret(turned)) == (1.0, 9.0)


def test_misses_that_are_foreseen():
    few, many = candidate(1.0, 100.0, 50.0, 1, (3, 1)), candidate(1.0, 100.0, 50.0, 1, (10, 2))
    a72, n1 = resolve("cortex-a72").model, resolve("neoverse-n1").model
    assert rank_tables.overlapped(few, a72) == 50.0
    assert rank_tables.overlapped(many, a72) == pytest.approx(64 * (10 / a72.l2_bytes_per_cycle + 2 / a72.memory_bytes_per_cycle))
    three = candidate(1.0, 100.0, 1.0, 1, (10, 2, 1))
    rates = n1.l2_bytes_per_cycle, n1.l3_bytes_per_cycle, n1.memory_bytes_per_cycle
    assert rank_tables.overlapped(three, n1) == pytest.approx(64 * (10 / rates[0] + 2 / rates[1] + 1 / rates[2]))


def ranked(name: str, title: str, candidates: list[dict]) -> dict:
    return {"name": name, "lists": [title], "cores_of_others": 0.0, "candidates": candidates}


def test_tables_of_ranks():
    one = [candidate(1.0 + at, 10.0 + at, 5.0 + at, at) for at in range(5)]
    other = [candidate(1.0 + at, 10.0 + (at if at != 4 else -1), 5.0 + at, at) for at in range(5)]
    rows = [ranked("n, a", "n", one), ranked("n, b", "n", other), {"name": "n, c", "lists": ["n"], "error": "no"}]
    content = {"machine": {"code_for": "zen3"}, "rows": rows}
    headings, rows = rank_tables.ranks_table(content)
    assert [row[:2] for row in rows] == [["n, a", "5"], ["n, b", "5"], ["n, all layers", "10"], ["all", "10"]]
    assert rows[0][2] == "1.000" and rows[1][-1] == "5.00 x" and rows[2][-1] == ""
    headings, worst = rank_tables.worst_table(content)
    assert worst[0][:5] == ["n, b", "svd 4", "5000.0", "5 of 5", "1"] and len(worst[0]) == len(headings)


@pytest.mark.slow
@pytest.mark.skipif(bool(lacks_emulator("aarch64", "aarch64-linux-gnu-g++")), reason=lacks_emulator("aarch64", "aarch64-linux-gnu-g++"))
def test_a_tiny_network_is_counted(tmp_path):
    def write(folder: Path) -> Path:
        onnx.save(chain_model([stage(8, 4, (3, 3))], 8), folder / "tiny.onnx")
        return folder / "tiny.onnx"

    bench = networks.Networks(options("arm", "--cpu", "cortex-a72"), QUIET)
    assert bench.engines == ["tenfold"] and "-mcpu=cortex-a72" in bench.machine["models"]["cortex-a72"]["model"]
    row = bench.measure(suite.Case("tiny", {"network": write}))
    found = row["cpus"]["cortex-a72"]["tenfold"]
    # Winograd multiplies up to four times less.
    assert 8 * 4 * 9 * 64 * 2 / 4 < found["flops"] < found["instructions"] * 8 and found["difference"] < 1e-5
    assert 0 < found["core_cycles"] < found["cycles"] and "Mcycles" in bench.brief(row)


@pytest.mark.slow
@pytest.mark.skipif(this_architecture() != "x86_64" or bool(lacks_emulator("x86_64", "g++")), reason="x86-64 can't be counted here")
def test_candidates_of_a_tiny_layer_are_modelled_and_timed(monkeypatch):
    layer = Layer("conv", "conv2d", (16, 16, 3, 3), padding=(1, 1, 1, 1), input_size=(8, 8), output_size=(8, 8))
    (field,) = fields([layer], 8)
    tried = [each[0] for each in field.ladders.values()][:2]
    monkeypatch.setattr(model, "candidates", lambda title: [("tiny", layer, ("relax.nn.relu",), tried)])
    try:
        bench = model.Ranks(options("arm-model", "--runs", "2", "--cpu", "x86-64-v3"), QUIET)
    except TenfoldError as error:
        pytest.skip(str(error))
    row = bench.measure(suite.Case("tiny", lists=("n",)))
    assert [each["method"] for each in row["candidates"]] == ["dense", *(each.choice.method for each in tried)] and row["rounds"] == 2
    assert all(each["ms"] > 0 and 0 < each["core_cycles"] <= each["cycles"] for each in row["candidates"])
    assert "3 candidates, Spearman" in bench.brief(row)
